"""Average and maximum over sliding windows; cells outside the image do not count.

Shapes: input ``(N, H, W, C)``, output ``(N, OH, OW, C)``; ``window`` is ``(kernel_h, kernel_w, stride_h, stride_w, top,
left)``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.overflow import POLICIES
from fxsim.arith.rounding import RULES, divide
from fxsim.arith.tosa import divide_by_reciprocal
from fxsim.kernels._jit import STAMP, carray, jitable, kernel, native
from fxsim.kernels._vectors import memory, word
from fxsim.kernels.softmax import INTEGERS

Kernel = Callable[..., Any]
DIVISIONS = {"exact": divide, "reciprocal": divide_by_reciprocal}


@cache
def average(rounding: str, division: str = "exact", whole: bool = False, overflow: str = "") -> Kernel:
    """``f(x, window, low, high, out)``: the sum divided by the number of cells inside the image, rounded.

    ``whole`` divides by all the cells of the window instead. With an ``overflow`` policy of :data:`POLICIES`, ``window`` has
    a seventh entry, the bits of the register in which the sum overflows so at every step. With ``ties_away`` it is
    ``(sum +- n / 2) / n`` in C, as TFLite and CMSIS-NN compute. ``division`` is one of :data:`DIVISIONS`.

    Source: tflite/kernels/internal/reference/integer_ops/pooling.h @ LiteRT 2.3.0.
    """
    mean, rule, stamp = DIVISIONS[division], RULES[rounding], STAMP
    narrow, fit = overflow != "", POLICIES[overflow or "wrap"]

    @kernel
    def f(x, window, low, high, out):
        if stamp < 0:
            return
        n, oh, ow, c = out.shape
        total = np.empty(c, np.int64)
        for b in range(n):
            for y in range(oh):
                for z in range(ow):
                    y0, x0 = y * window[2] - window[4], z * window[3] - window[5]
                    count = 0
                    total[:] = 0
                    for i in range(max(y0, 0), min(y0 + window[0], x.shape[1])):
                        for j in range(max(x0, 0), min(x0 + window[1], x.shape[2])):
                            count += 1
                            for k in range(c):
                                total[k] += np.int64(x[b, i, j, k])
                                if narrow:
                                    total[k] = fit(total[k], window[6])
                    if whole:
                        count = window[0] * window[1]
                    for k in range(c):
                        out[b, y, z, k] = min(max(mean(rule, total[k], count), low), high)

    return f


@jitable
def greatest(x, window, low, high, out):  # noqa: ANN201
    """What :func:`maximum` fills ``out`` with."""
    n, oh, ow, c = out.shape
    for b in range(n):
        for y in range(oh):
            for z in range(ow):
                y0, x0 = y * window[2] - window[4], z * window[3] - window[5]
                row = out[b, y, z]
                row[:] = low
                for i in range(max(y0, 0), min(y0 + window[0], x.shape[1])):
                    for j in range(max(x0, 0), min(x0 + window[1], x.shape[2])):
                        for k in range(c):
                            row[k] = max(row[k], x[b, i, j, k])
                for k in range(c):
                    row[k] = min(np.int64(row[k]), high)


@cache
def maximum() -> Kernel:
    """``f(x, window, low, high, out)``: the greatest value of each window, clamped to ``low..high``."""
    stamp, fill = STAMP, greatest

    @kernel
    def f(x, window, low, high, out):
        if stamp < 0:
            return
        fill(x, window, low, high, out)

    return f


@cache
def native_maximum(bits: int) -> Any:  # noqa: ANN401
    """As :func:`maximum`, a C function of the address of a block; ``bits`` are negative for signed integers.

    The block's words: input, output, room, batch, height, width, channels, height and width of the output, ``window``,
    ``low`` and ``high``.
    """
    stamp, fill, element = STAMP, greatest, INTEGERS[bits]

    @native
    def f(block):
        if stamp < 0:
            return
        n, c = word(block, 3), word(block, 6)
        x = carray(memory(word(block, 0)), (n, word(block, 4), word(block, 5), c), element)
        y = carray(memory(word(block, 1)), (n, word(block, 7), word(block, 8), c), element)
        window = (
            word(block, 9), word(block, 10), word(block, 11), word(block, 12), word(block, 13), word(block, 14),
        )  # fmt: skip
        fill(x, window, word(block, 15), word(block, 16), y)

    return f
