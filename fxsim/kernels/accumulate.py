"""Sums of products: the accumulators of dense, convolution and depthwise layers.

Every kernel adds up ``(input - input_zero) * weight`` into a 32-bit accumulator, in the order kernel row, kernel column,
input channel, and adds the bias last. The input comes padded with its zero point, so that a tap outside the image adds
zero. Outputs are innermost: then every policy vectorizes, saturation at each step too.

Shapes: input ``(N, H, W, C)`` padded; weight ``(KH, KW, C / G, O)``, or ``(KH, KW, O)`` for depthwise; bias ``(O,)``;
accumulator int32 ``(N, OH, OW, O)``. ``window`` is ``(stride_h, stride_w, dilation_h, dilation_w)``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.overflow import wrap
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]
WORD_BITS = 64
"""sums of that width wrap by themselves"""


@cache
def conv(policy: str, width: int = 32) -> Kernel:
    """``f(x, w, bias, x_zero, window, groups, low, high, acc)``: a convolution; a dense layer is one of 1x1.

    ``policy`` is ``"wrap"``: sums modulo ``2**width`` (the caller wraps narrower registers once at the end, which is the
    same), or ``"saturate"``: clamped to ``low..high`` after every product and after the bias. ``acc`` has ``width`` bits.
    """
    saturating, whole, stamp = policy == "saturate", width == WORD_BITS, STAMP

    @kernel
    def f(x, w, bias, x_zero, window, groups, low, high, acc):
        if stamp < 0:
            return
        n, oh, ow, o = acc.shape
        kh, kw, c, _ = w.shape
        og = o // groups
        for b in range(n):
            for y in range(oh):
                for z in range(ow):
                    for g in range(groups):
                        row = acc[b, y, z, g * og : (g + 1) * og]
                        row[:] = 0
                        for i in range(kh):
                            for j in range(kw):
                                tap = x[b, y * window[0] + i * window[2], z * window[1] + j * window[3]]
                                for k in range(c):
                                    v = np.int64(tap[g * c + k]) - x_zero
                                    weights = w[i, j, k, g * og : (g + 1) * og]
                                    for q in range(og):
                                        s = np.int64(row[q]) + v * np.int64(weights[q])
                                        s = min(max(s, low), high) if saturating else s if whole else wrap(s, width)
                                        row[q] = s
                        for q in range(og):
                            s = np.int64(row[q]) + np.int64(bias[g * og + q])
                            s = min(max(s, low), high) if saturating else s if whole else wrap(s, width)
                            row[q] = s

    return f


@cache
def depthwise(policy: str, width: int = 32) -> Kernel:
    """``f(x, w, bias, x_zero, window, low, high, acc)``: each output channel sees the input channel of its own index.

    For a depth multiplier above 1 the caller repeats the input channels. ``policy`` and ``width`` as in :func:`conv`.
    """
    saturating, whole, stamp = policy == "saturate", width == WORD_BITS, STAMP

    @kernel
    def f(x, w, bias, x_zero, window, low, high, acc):
        if stamp < 0:
            return
        n, oh, ow, o = acc.shape
        for b in range(n):
            for y in range(oh):
                for z in range(ow):
                    row = acc[b, y, z]
                    row[:] = 0
                    for i in range(w.shape[0]):
                        for j in range(w.shape[1]):
                            tap = x[b, y * window[0] + i * window[2], z * window[1] + j * window[3]]
                            weights = w[i, j]
                            for q in range(o):
                                s = np.int64(row[q]) + (np.int64(tap[q]) - x_zero) * np.int64(weights[q])
                                s = min(max(s, low), high) if saturating else s if whole else wrap(s, width)
                                row[q] = s
                    for q in range(o):
                        s = np.int64(row[q]) + np.int64(bias[q])
                        s = min(max(s, low), high) if saturating else s if whole else wrap(s, width)
                        row[q] = s

    return f
