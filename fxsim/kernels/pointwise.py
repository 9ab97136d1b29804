"""Element by element: sums, differences and quotients of two tensors, functions of one, float to integer."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith import roots
from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES, from_float
from fxsim.kernels._jit import STAMP, jitable, kernel

Kernel = Callable[..., Any]


def _sum(x: int, y: int) -> int:
    return x + y


def _difference(x: int, y: int) -> int:
    return x - y


def _squared_difference(x: int, y: int) -> int:
    return wrap((x - y) * (x - y), 32)


JOINS = {"sum": jitable(_sum), "difference": jitable(_difference), "squared_difference": jitable(_squared_difference)}


@cache
def join(scheme: str, rounding: str, how: str) -> Kernel:
    """``f(a, b, zeros, q, shift, left, zero, low, high, out)``: both terms rescaled to one scale, joined, rescaled.

    ``t = M2 * join(M0 * ((a - zeros[0]) << left), M1 * ((b - zeros[1]) << left))``; ``M`` from ``q[i], shift[i]``.

    Source: tflite/kernels/internal/reference/add.h, sub.h; squared_difference.cc @ LiteRT 2.3.0.
    """
    apply, rule, joined, stamp = NARROW[scheme], RULES[rounding], JOINS[how], STAMP

    @kernel
    def f(a, b, zeros, q, shift, left, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            x = apply(rule, (np.int64(a[i]) - zeros[0]) << left, q[0], shift[0])
            y = apply(rule, (np.int64(b[i]) - zeros[1]) << left, q[1], shift[1])
            out[i] = min(max(apply(rule, joined(x, y), q[2], shift[2]) + zero, low), high)

    return f


@cache
def each(function: Callable[..., int]) -> Kernel:
    """``f(out, x, *settings)``: ``out = function(x, *settings)``, element by element; ``function`` is one of arith."""
    stamp = STAMP

    @kernel
    def f(out, x, *settings):  # noqa: ANN002
        if stamp < 0:
            return
        for i in range(out.size):
            out[i] = function(np.int64(x[i]), *settings)

    return f


@cache
def quotient() -> Kernel:
    """``f(a, b, a_zero, b_zero, q, shift, zero, low, high, out)``: ``clamp(a / b * q * 2**(shift - 31) + zero)``.

    Source: tflite/kernels/internal/reference/div.h @ LiteRT 2.3.0.
    """
    divided, stamp = roots.quotient, STAMP

    @kernel
    def f(a, b, a_zero, b_zero, q, shift, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            v = divided(np.int64(a[i]) - a_zero, np.int64(b[i]) - b_zero, q, shift)
            out[i] = min(max(wrap(v + zero, 32), low), high)

    return f


@cache
def quantize(rounding: str, saturating: bool) -> Kernel:
    """``f(x, scale, zero, low, high, out)``: ``clamp(round(x / scale) + zero)``, the quotient in float32.

    A quotient beyond 32 bits saturates, or becomes ``-2**31`` (the "integer indefinite" of x86) and the sum wraps.

    Source: tflite/kernels/internal/reference/quantize.h @ LiteRT 2.3.0; Intel SDM, CVTTSS2SI.
    """
    rule, stamp, limit = RULES[rounding], STAMP, 1 << 31

    @kernel
    def f(x, scale, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            v = min(max(np.float64(x[i] / scale), -(2.0**40)), 2.0**40)
            rounded = from_float(rule, v)
            if not saturating and not -limit <= rounded < limit:
                rounded = -limit
            total = rounded + zero if saturating else wrap(rounded + zero, 32)
            out[i] = min(max(total, low), high)

    return f
