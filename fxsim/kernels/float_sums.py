"""Sums of float32 products, one after the other as the engines add them: dense, convolution and depthwise layers.

Shapes as in :mod:`fxsim.kernels.accumulate`, all float32; the input comes padded with zeros.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.kernels._jit import STAMP, jitable, kernel

Kernel = Callable[..., Any]


def multiply_add(a, b, c):  # noqa: ANN201
    """``a * b + c`` of float32 numbers, rounded once to float32: the twin of :func:`fxsim.kernels.float32.fma`.

    The product is exact in float64. Rounding its sum twice goes wrong only where the first lands between two float32
    numbers in the middle, having lost something: then the sign of what was lost decides.
    """
    product, term = np.float64(a) * np.float64(b), np.float64(c)
    total = product + term
    share = total - product
    lost = (product - (total - share)) + (term - share)
    near = np.float64(np.float32(total))
    other = near + 2 * (total - near)
    if lost != 0 and total != near and np.float64(np.float32(other)) == other:
        near = max(near, other) if lost > 0 else min(near, other)
    return np.float32(near)


jitable(multiply_add)


@cache
def sums(fused: bool, bias_first: bool, columns_first: bool) -> Kernel:
    """``f(x, w, bias, window, groups, out)``: products added in the order kernel row, column, input channel.

    ``fused``: each product and sum is rounded once; ``bias_first``: the sum starts from the bias, else it is added at the
    end; ``columns_first``: kernel columns are outside of rows.
    """
    stamp = STAMP

    @kernel
    def f(x, w, bias, window, groups, out):
        if stamp < 0:
            return
        n, oh, ow, o = out.shape
        kh, kw, c, _ = w.shape
        og = o // groups
        for b in range(n):
            for y in range(oh):
                for z in range(ow):
                    row = out[b, y, z]
                    for q in range(o):
                        row[q] = bias[q] if bias_first else np.float32(0)
                    for t in range(kh * kw):
                        i, j = (t % kh, t // kh) if columns_first else (t // kw, t % kw)
                        tap = x[b, y * window[0] + i * window[2], z * window[1] + j * window[3]]
                        for g in range(groups):
                            for k in range(c):
                                v = tap[g * c + k]
                                for q in range(g * og, (g + 1) * og):
                                    if fused:
                                        row[q] = multiply_add(v, w[i, j, k, q], row[q])
                                    else:
                                        row[q] = row[q] + v * w[i, j, k, q]
                    if not bias_first:
                        for q in range(o):
                            row[q] = row[q] + bias[q]

    return f
