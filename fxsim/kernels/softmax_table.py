"""Softmax of 8-bit integers by a table of float32 exponentials."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.rounding import from_float, ties_away
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]
F32 = np.float32


@cache
def softmax_table() -> Kernel:
    """``f(x, table, scale, zero, low, high, out)``: ``exp(x) / sum(exp(x))`` along the rows of ``(rows, depth)``.

    ``table[d]`` is the exponential of ``d`` below a row's maximum. The sum runs in float32 from the first element on;
    ``round(table[d] * (1 / (sum * scale))) + zero``, ties away from zero, and where the output is uint8 (``low`` is 0)
    ``trunc(... + 1/2)`` in float32.

    Source: tflite/kernels/internal/optimized/optimized_ops.h, Softmax @ LiteRT 2.3.0.
    """
    stamp, rule = STAMP, ties_away

    @kernel
    def f(x, table, scale, zero, low, high, out):
        if stamp < 0:
            return
        depth = x.shape[1]
        for r in range(x.shape[0]):
            top = np.int64(x[r, 0])
            for c in range(depth):
                top = max(top, np.int64(x[r, c]))
            total = F32(0)
            for c in range(depth):
                total = F32(total + table[top - np.int64(x[r, c])])
            inverse = F32(F32(1) / F32(total * scale))
            for c in range(depth):
                part = F32(table[top - np.int64(x[r, c])] * inverse)
                if low == 0:
                    v = np.int64(F32(part + F32(0.5)))
                else:
                    v = from_float(rule, np.float64(part)) + zero
                out[r, c] = min(max(v, low), high)

    return f
