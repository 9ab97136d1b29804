"""Bilinear interpolation between the four input pixels around an output pixel."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.rounding import RULES, shift_right
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]


@cache
def fixed(rounding: str) -> Kernel:
    """``f(x, rows, columns, bits, out)``: weights of ``bits`` fraction bits, the sum of ``2 * bits`` rounded once.

    ``x`` ``(N, H, W, C)``; ``rows`` and ``columns`` ``(3, size)``: the pixel before, the pixel after, and the weight of
    the latter, ``0..2**bits`` where both pixels lie in the input.

    Source: tflite/kernels/internal/reference/resize_bilinear.h, ResizeBilinearInteger @ LiteRT 2.3.0.
    """
    rule, stamp = RULES[rounding], STAMP

    @kernel
    def f(x, rows, columns, bits, out):
        if stamp < 0:
            return
        one = np.int64(1) << bits
        for n in range(out.shape[0]):
            for i in range(out.shape[1]):
                y0, y1, wy = rows[0, i], rows[1, i], rows[2, i]
                for j in range(out.shape[2]):
                    x0, x1, wx = columns[0, j], columns[1, j], columns[2, j]
                    for c in range(out.shape[3]):
                        above = np.int64(x[n, y0, x0, c]) * (one - wx) + np.int64(x[n, y0, x1, c]) * wx
                        below = np.int64(x[n, y1, x0, c]) * (one - wx) + np.int64(x[n, y1, x1, c]) * wx
                        out[n, i, j, c] = shift_right(rule, above * (one - wy) + below * wy, 2 * bits)

    return f
