"""Element by element as vector code computes: full blocks of lanes one way, what is left over another.

Which way is ``way[i]``: :data:`SCALAR` for the left over, as the reference kernels compute; the block's own way otherwise.
These are LiteRT's NEON kernels, which x86-64 builds run on SSE.

Source: tflite/kernels/internal/optimized/integer_ops/{add,mul,mean}.h, optimized_ops.h @ LiteRT 2.3.0;
NEON_2_SSE.h of ARM_NEON_2_x86_SSE.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.lanes import add_16, shift_32
from fxsim.arith.overflow import saturate, wrap
from fxsim.arith.requantize import double_rounding, high_multiply
from fxsim.arith.rounding import from_float, shift_right, ties_away, ties_even, ties_pos
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]
SCALAR, SHIFT_FIRST, SHIFT_LAST = 0, 1, 2
"""ways of a sum's terms"""
BLOCK, CUT = 1, 2
"""ways of a product or rescale"""


@cache
def add(bits: int) -> Kernel:
    """``f(a, b, way, zeros, q, shift, left, zero, low, high, out)``: as :func:`fxsim.kernels.pointwise.join`, by ``way``.

    ``SHIFT_FIRST``: a term is shifted by ``left + shift`` before the high multiply, so rounded once; ``SHIFT_LAST``: it is
    shifted right afterwards, toward minus infinity. In both the sum of 8-bit tensors is cut to 16 bits, and the zero point
    added there.
    """
    stamp, away, narrow = STAMP, ties_away, bits == 8

    @kernel
    def f(a, b, way, zeros, q, shift, left, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            x, y = np.int64(a[i]) - zeros[0], np.int64(b[i]) - zeros[1]
            if way[i] == SCALAR:
                total = double_rounding(away, x << left, q[0], shift[0]) + double_rounding(
                    away, y << left, q[1], shift[1]
                )
                out[i] = min(max(double_rounding(away, total, q[2], shift[2]) + zero, low), high)
                continue
            if way[i] == SHIFT_FIRST:
                x, y = shift_32(x, left + shift[0]), shift_32(y, left + shift[1])
                total = high_multiply(x, q[0]) + high_multiply(y, q[1])
            else:
                total = (high_multiply(x << left, q[0]) >> -shift[0]) + (high_multiply(y << left, q[1]) >> -shift[1])
            v = shift_right(away, high_multiply(total, q[2]), -shift[2])
            out[i] = min(max(add_16(v, zero) if narrow else v + zero, low), high)

    return f


@cache
def multiply() -> Kernel:
    """``f(product, way, q, shift, zero, low, high, out)``: ``product`` rescaled, the scheme's ties away from zero.

    A block saturates the result to 16 bits, ``CUT`` cuts it; the zero point is added there, wrapping.
    """
    stamp, away = STAMP, ties_away

    @kernel
    def f(product, way, q, shift, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            v = double_rounding(away, np.int64(product[i]), q, shift)
            if way[i] == SCALAR:
                v = wrap(v + zero, 32)
            else:
                v = add_16(saturate(v, 16) if way[i] == BLOCK else v, zero)
            out[i] = min(max(v, low), high)

    return f


@cache
def rescale() -> Kernel:
    """``f(acc, way, q, shift, zero, low, high, out)``: rescaled with ties up in a block, else away from zero."""
    stamp, away, up = STAMP, ties_away, ties_pos

    @kernel
    def f(acc, way, q, shift, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            if way[i] == BLOCK:
                v = double_rounding(up, np.int64(acc[i]), q, shift)
            else:
                v = double_rounding(away, np.int64(acc[i]), q, shift)
            out[i] = min(max(wrap(v + zero, 32), low), high)

    return f


@cache
def quantize() -> Kernel:
    """``f(x, way, inverse, scale, zero, low, high, out)``: ``clamp(round(x / scale) + zero)``.

    In a block ``x * inverse`` in float32, ties to even; else ``x / scale`` in float64, ties away. Beyond 32 bits either
    becomes ``-2**31`` and the sum wraps.
    """
    stamp, even, away, limit = STAMP, ties_even, ties_away, 1 << 31

    @kernel
    def f(x, way, inverse, scale, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            if way[i] == BLOCK:
                v = from_float(even, min(max(np.float64(x[i] * inverse), -(2.0**40)), 2.0**40))
            else:
                v = from_float(away, min(max(np.float64(x[i]) / scale, -(2.0**40)), 2.0**40))
            if not -limit <= v < limit:
                v = -limit
            out[i] = min(max(wrap(v + zero, 32), low), high)

    return f
