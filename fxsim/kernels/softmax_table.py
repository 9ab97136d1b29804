"""Softmax of 8-bit integers by a table of float32 exponentials."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.rounding import from_float, ties_away
from fxsim.kernels._jit import STAMP, carray, jitable, kernel, native
from fxsim.kernels._vectors import memory, word
from fxsim.kernels.softmax import INTEGERS

Kernel = Callable[..., Any]
F32 = np.float32


@jitable
def table_rows(rule, x, table, scale, zero, low, high, out):  # noqa: ANN201
    """The rows of :func:`softmax_table`."""
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


@cache
def softmax_table() -> Kernel:
    """``f(x, table, scale, zero, low, high, out)``: ``exp(x) / sum(exp(x))`` along the rows of ``(rows, depth)``.

    ``table[d]`` is the exponential of ``d`` below a row's maximum. The sum runs in float32 from the first element on;
    ``round(table[d] * (1 / (sum * scale))) + zero``, ties away from zero, and where the output is uint8 (``low`` is 0)
    ``trunc(... + 1/2)`` in float32.

    Source: tflite/kernels/internal/optimized/optimized_ops.h, Softmax @ LiteRT 2.3.0.
    """
    stamp, rule, rows = STAMP, ties_away, table_rows

    @kernel
    def f(x, table, scale, zero, low, high, out):
        if stamp < 0:
            return
        rows(rule, x, table, scale, zero, low, high, out)

    return f


@cache
def native_softmax_table(in_bits: int, out_bits: int) -> Any:  # noqa: ANN401
    """As :func:`softmax_table`, a C function of the address of a block.

    The block's words: input, output, room, rows, depth, zero, low, high, and the address of the table, with ``scale`` behind
    its 256 entries. Bits are negative for signed integers.
    """
    stamp, rule, rows, x_type, y_type = STAMP, ties_away, table_rows, INTEGERS[in_bits], INTEGERS[out_bits]

    @native
    def f(block):
        if stamp < 0:
            return
        shape = word(block, 3), word(block, 4)
        x, y = carray(memory(word(block, 0)), shape, x_type), carray(memory(word(block, 1)), shape, y_type)
        table = carray(memory(word(block, 8)), 257, np.float32)
        rows(rule, x, table, table[256], word(block, 5), word(block, 6), word(block, 7), y)

    return f
