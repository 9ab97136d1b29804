"""Dot products of +1 and -1 by XNOR and population count: 32 products a word.

Values are bits, packed along the channels into uint32 words; unused bits of the last word are equal in both operands.
Then ``sum(x * w) = depth - 2 * popcount(x ^ w)``, whichever of the two values a set bit stands for.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.kernels._intrinsics import xor_popcount
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]
_COLUMNS = 1024
"""Outputs of one block: 8 rows of weights and one of accumulators stay in the first cache."""


@cache
def conv() -> Kernel:
    """``f(x, w, window, taps, depth, acc)``: a binary convolution; a dense layer is one of 1x1.

    Shapes: x uint32 ``(N, H, W, C / 32)`` padded; w uint32 ``(KH * KW * C / 32, O)``; acc int32 ``(N, OH, OW, O)``.
    ``window`` is ``(stride_h, stride_w, dilation_h, dilation_w)``, ``taps`` ``(KH, KW)``, ``depth`` the number of products.

    Eight words of the reduction are counted for each visit of an accumulator; outputs are innermost, so that LLVM counts
    in vectors.
    """
    stamp = STAMP

    @kernel
    def f(x, w, window, taps, depth, acc):
        if stamp < 0:
            return
        n, oh, ow, o = acc.shape
        c, words = x.shape[3], w.shape[0]
        patch = np.empty(words, np.uint32)
        for start in range(0, o, _COLUMNS):
            stop = min(start + _COLUMNS, o)
            for b in range(n):
                for y in range(oh):
                    for z in range(ow):
                        k = 0
                        for i in range(taps[0]):
                            for j in range(taps[1]):
                                tap = x[b, y * window[0] + i * window[2], z * window[1] + j * window[3]]
                                for p in range(c):
                                    patch[k + p] = tap[p]
                                k += c
                        row = acc[b, y, z, start:stop]
                        row[:] = depth
                        k = 0
                        while k + 8 <= words:
                            a0, a1, a2, a3 = patch[k], patch[k + 1], patch[k + 2], patch[k + 3]
                            a4, a5, a6, a7 = patch[k + 4], patch[k + 5], patch[k + 6], patch[k + 7]
                            w0, w1 = w[k, start:stop], w[k + 1, start:stop]
                            w2, w3 = w[k + 2, start:stop], w[k + 3, start:stop]
                            w4, w5 = w[k + 4, start:stop], w[k + 5, start:stop]
                            w6, w7 = w[k + 6, start:stop], w[k + 7, start:stop]
                            for q in range(stop - start):
                                count = (
                                    xor_popcount(a0, w0[q])
                                    + xor_popcount(a1, w1[q])
                                    + xor_popcount(a2, w2[q])
                                    + xor_popcount(a3, w3[q])
                                    + xor_popcount(a4, w4[q])
                                    + xor_popcount(a5, w5[q])
                                    + xor_popcount(a6, w6[q])
                                    + xor_popcount(a7, w7[q])
                                )
                                row[q] = np.int64(row[q]) - 2 * np.int64(count)
                            k += 8
                        while k < words:
                            a0, w0 = patch[k], w[k, start:stop]
                            for q in range(stop - start):
                                row[q] = np.int64(row[q]) - 2 * np.int64(xor_popcount(a0, w0[q]))
                            k += 1

    return f


@cache
def slow_conv() -> Kernel:
    """The slow twin of :func:`conv`: one output, one word, one bit at a time."""
    stamp = STAMP

    @kernel
    def f(x, w, window, taps, depth, acc):
        if stamp < 0:
            return
        n, oh, ow, o = acc.shape
        c = x.shape[3]
        for b in range(n):
            for y in range(oh):
                for z in range(ow):
                    for q in range(o):
                        total = np.int64(depth)
                        for i in range(taps[0]):
                            for j in range(taps[1]):
                                for p in range(c):
                                    tap = x[b, y * window[0] + i * window[2], z * window[1] + j * window[3], p]
                                    word = np.int64(tap) ^ np.int64(w[(i * taps[1] + j) * c + p, q])
                                    for bit in range(32):
                                        total -= 2 * ((word >> bit) & 1)
                        acc[b, y, z, q] = total

    return f


@cache
def both() -> Kernel:
    """``f(x, window, out)``: the bits that are set in all cells of a window that lie in the image, word by word.

    Shapes: x and out int32 ``(N, H, W, C)``; ``window`` is ``(kernel_h, kernel_w, stride_h, stride_w, top, left)``.

    Source: larq_compute_engine/core/bmaxpool.h @ e6860fc.
    """
    stamp = STAMP

    @kernel
    def f(x, window, out):
        if stamp < 0:
            return
        n, oh, ow, c = out.shape
        for b in range(n):
            for y in range(oh):
                for z in range(ow):
                    y0, x0 = y * window[2] - window[4], z * window[3] - window[5]
                    row = out[b, y, z]
                    row[:] = -1
                    for i in range(max(y0, 0), min(y0 + window[0], x.shape[1])):
                        for j in range(max(x0, 0), min(x0 + window[1], x.shape[2])):
                            for k in range(c):
                                row[k] = np.int64(row[k]) & np.int64(x[b, i, j, k])

    return f
