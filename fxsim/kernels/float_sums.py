"""Sums of float32 products, one after the other as the engines add them: dense, convolution and depthwise layers.

Shapes as in :mod:`fxsim.kernels.accumulate`, all float32; the input comes padded with zeros.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.kernels._jit import STAMP, intrinsic, kernel, overload, types
from fxsim.kernels.isa import fused as has_fused

Kernel = Callable[..., Any]
Floats = npt.NDArray[np.float32]


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


@intrinsic
def _fused(typing_context, a, b, c):
    def emit(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, b, c), emit


@overload(multiply_add)
def _compiled(a, b, c):
    if has_fused() and a == b == c == types.float32:

        def once(a, b, c):
            return _fused(a, b, c)

        return once
    return multiply_add


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


@cache
def blocked(fused: bool) -> Kernel:
    """``f(rows, columns, size, acc, out)``: the matrix product of ``rows (M, K)`` and ``columns (K, N)``, K in blocks.

    A block of ``size`` products is summed by itself, from 0 on, and added to the blocks before it. ``fused``: each product
    and sum is rounded once, else each by itself, and three products that are left are a block of two and one of one.
    ``acc`` ``(N,)`` is room for a block.
    """
    stamp = STAMP

    @kernel
    def f(rows, columns, size, acc, out):
        if stamp < 0:
            return
        depth, n = columns.shape
        for m in range(rows.shape[0]):
            start = 0
            while start < depth:
                count = min(size, depth - start)
                if not fused and count == 3:
                    count = 2
                acc[:] = 0
                for k in range(start, start + count):
                    w = rows[m, k]
                    for j in range(n):
                        acc[j] = multiply_add(w, columns[k, j], acc[j]) if fused else acc[j] + w * columns[k, j]
                for j in range(n):
                    out[m, j] = out[m, j] + acc[j] if start else acc[j]
                start += count

    return f


def eighths(rows: Floats, column: Floats) -> Floats:
    """``rows (M, K) @ column (K,)``: in 8 sums, of every eighth product, that are then added up. No step is fused.

    Rows go four at a time, then two, then one, and each has its own order of the 8 sums.
    """
    pad = -column.size % 8
    products = np.pad(rows * column, ((0, 0), (0, pad))).reshape(len(rows), -1, 2, 4)
    sums = np.zeros((len(rows), 2, 4), np.float32)
    for step in range(products.shape[1]):
        sums = sums + products[:, step]
    a, b, c, d = np.moveaxis(sums, 2, 0)
    fours, twos = len(rows) & ~3, len(rows) & ~1
    out: Floats = (((a + b) + c) + d).sum(1)
    pairs = (a + c).sum(1) + (b + d).sum(1)
    out[fours:] = pairs[fours:]
    out[twos:] = ((a + b) + (c + d)).sum(1)[twos:]
    return out
