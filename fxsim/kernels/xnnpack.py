"""Element by element as XNNPACK computes: sums with one shift, conversions with 8-bit fractions, means.

Flat arrays; results are clamped to ``low..high``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.rounding import from_float, ties_even
from fxsim.arith.xnnpack import convert, weighted_sum
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]
F32 = np.float32


@cache
def add() -> Kernel:
    """``f(a, b, zeros, multipliers, shift, zero, low, high, out)``; a difference where the second multiplier is negative."""
    stamp, total = STAMP, weighted_sum

    @kernel
    def f(a, b, zeros, multipliers, shift, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            x, y = np.int64(a[i]) - zeros[0], np.int64(b[i]) - zeros[1]
            out[i] = min(max(total(x, y, multipliers[0], multipliers[1], shift) + zero, low), high)

    return f


@cache
def leaky() -> Kernel:
    """``f(x, x_zero, positive, negative, zero, low, high, out)``: rescaled by one of two multipliers, by its sign."""
    stamp, apply = STAMP, convert

    @kernel
    def f(x, x_zero, positive, negative, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            v = np.int64(x[i]) - x_zero
            out[i] = min(max(apply(v, positive if v >= 0 else negative) + zero, low), high)

    return f


@cache
def affine32() -> Kernel:
    """``f(acc, scale, offset, low, high, out)``: ``rint(acc * scale + offset)``, both steps rounded to float32."""
    stamp, rule = STAMP, ties_even

    @kernel
    def f(acc, scale, offset, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            product = F32(acc[i]) * scale
            v = F32(product + offset)
            out[i] = min(max(from_float(rule, min(max(np.float64(v), -(2.0**40)), 2.0**40)), low), high)

    return f


@cache
def quantize() -> Kernel:
    """``f(x, inverse, zero, low, high, out)``: ``clamp(rint(x * inverse) + zero)``, the product in float32, ties to even."""
    stamp, rule = STAMP, ties_even

    @kernel
    def f(x, inverse, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            v = min(max(np.float64(x[i] * inverse), -(2.0**40)), 2.0**40)
            out[i] = min(max(from_float(rule, v) + zero, low), high)

    return f
