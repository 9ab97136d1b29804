"""Accumulators to output integers: one vector loop, compiled for each scheme and rounding rule."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import double_rounding, single_rounding
from fxsim.arith.rounding import RULES, from_float
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]


@cache
def requantize(scheme: str, rounding: str, saturating: bool = False) -> Kernel:
    """``f(acc, q, shift, scale, zero, low, high, out)``: ``out = clamp(round(acc * M) + zero, low, high)``.

    ``acc`` ``(rows, channels)``; the real scale ``M`` of a channel is ``q * 2**(shift - 31)`` for the integer schemes and
    ``scale`` (float64 or float32) for the float ones.

    The sum with ``zero`` wraps at 32 bits, as it does in the engines. A float product beyond 32 bits saturates (and so
    does the sum), or becomes ``-2**31`` (the "integer indefinite" of x86: CVTTSD2SI).
    """
    rule, stamp, limit = RULES[rounding], STAMP, 1 << 31

    if scheme in ("double_rounding", "single_rounding"):
        apply = double_rounding if scheme == "double_rounding" else single_rounding

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
                if not saturating and not -limit <= v < limit:
                    v = -limit
                total = v + zero if saturating else wrap(v + zero, 32)
                out[r, c] = min(max(total, low), high)

    return g
