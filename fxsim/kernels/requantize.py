"""Accumulators to output integers: one vector loop, compiled for each scheme and rounding rule."""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np

from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import NARROW, WIDE
from fxsim.arith.rounding import RULES, from_float
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]
INTEGER = NARROW | WIDE


@cache
def requantize(scheme: str, rounding: str, saturating: bool | Literal["above"] = False) -> Kernel:
    """``f(acc, q, shift, scale, zero, low, high, out)``: ``out = clamp(round(acc * M) + zero, low, high)``.

    ``acc`` ``(rows, channels)``; the real scale ``M`` of a channel is ``q * 2**(shift - 31)`` for the integer schemes and
    ``scale`` (float64 or float32) for the float ones.

    The sum with ``zero`` wraps at 32 bits, as it does in the engines. A float product beyond 32 bits saturates (and so
    does the sum), or becomes ``-2**31`` (the "integer indefinite" of x86: CVTTSD2SI). With ``saturating = "above"`` it is
    limited to ``high - zero`` first, so that it can become ``-2**31`` below only; the sum with ``zero`` saturates to the
    output's type, and ``low`` alone clamps it.
    """
    rule, stamp, limit = RULES[rounding], STAMP, 1 << 31
    above, free = saturating == "above", saturating is True

    if scheme in INTEGER:
        apply = INTEGER[scheme]

        @kernel
        def f(acc, q, shift, scale, zero, low, high, out):
            if stamp < 0:
                return
            for r in range(acc.shape[0]):
                for c in range(acc.shape[1]):
                    v = apply(rule, np.int64(acc[r, c]), np.int64(q[c]), np.int64(shift[c]))
                    out[r, c] = min(max(wrap(v + zero, 32), low), high)

        return f

    @kernel
    def g(acc, q, shift, scale, zero, low, high, out):
        if stamp < 0:
            return
        for r in range(acc.shape[0]):
            for c in range(acc.shape[1]):
                product = scale.dtype.type(acc[r, c]) * scale[c]
                # Beyond +-2**40 all is alike; the bound keeps the conversion to an integer defined.
                v = from_float(rule, min(max(np.float64(product), -(2.0**40)), 2.0**40))
                if above:
                    total = wrap(max(min(v, high - zero), -limit) + zero, 32)
                    out[r, c] = max(min(total, np.iinfo(out.dtype).max), low)
                    continue
                if not free and not -limit <= v < limit:
                    v = -limit
                total = v + zero if free else wrap(v + zero, 32)
                out[r, c] = min(max(total, low), high)

    return g


@cache
def product(scheme: str, rounding: str) -> Kernel:
    """``f(x, zero, q, shift, out_zero, low, high, out)``: the product of each row of ``(rows, n)``, rescaled at every step.

    The last product is rescaled once more. ``scheme`` is one of wider accumulators.

    Source: tflite/kernels/internal/reference/reduce.h, QuantizedReduceProd @ LiteRT 2.3.0.
    """
    apply, rule, stamp = INTEGER[scheme], RULES[rounding], STAMP

    @kernel
    def f(x, zero, q, shift, out_zero, low, high, out):
        if stamp < 0:
            return
        for r in range(x.shape[0]):
            v = np.int64(x[r, 0]) - zero
            for c in range(1, x.shape[1]):
                v = apply(rule, v * (np.int64(x[r, c]) - zero), q, shift)
            out[r] = min(max(wrap(apply(rule, v, q, shift) + out_zero, 32), low), high)

    return f
