"""Slow, readable twins of the kernels, on Python ints and exact fractions. They share no code with fxsim."""

from fractions import Fraction

import numpy as np


def round_fraction(x: Fraction, rule: str) -> int:
    """``x`` rounded by the definition of each rule."""
    below = x.numerator // x.denominator
    if rule == "jam":
        return below if below % 2 else below + 1
    if rule == "jam_unbiased":
        return below if x == below or below % 2 else below + 1
    if rule == "trn_mag":
        return below + 1 if x < 0 else below
    if x == below:
        return below
    above, middle = below + 1, x - below == Fraction(1, 2)
    nearest = above if x - below > Fraction(1, 2) else below
    toward_zero = below if x > 0 else above
    away = above if x > 0 else below
    even = below if below % 2 == 0 else above
    odd = above if below % 2 == 0 else below
    ties = {"pos": above, "neg": below, "zero": toward_zero, "away": away, "even": even, "odd": odd}
    if rule == "ties_dpu":
        return (above if x < 0 else even) if middle else nearest
    if rule.startswith("ties_"):
        return ties[rule.removeprefix("ties_")] if middle else nearest
    return {"to_neg": below, "to_pos": above, "to_zero": toward_zero, "to_away": away}[rule]


def wrap(v: int, bits: int) -> int:
    """Two's complement: the remainder that lies in the register's range."""
    half = 1 << (bits - 1)
    return (v + half) % (2 * half) - half


def saturate(v: int, bits: int) -> int:
    """The nearest value that the register holds."""
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, v))


def tflite_multiply(x: int, q: int, shift: int) -> int:
    """TFLite's MultiplyByQuantizedMultiplier, as its C++ text has it: nudge, truncating division, masked shift."""
    left, right = max(shift, 0), max(-shift, 0)
    product = wrap(x << left, 32) * q
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    high = abs(nudged) // (1 << 31) * (1 if nudged >= 0 else -1)
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> right) + (1 if (high & mask) > threshold else 0)


def conv(x, w, bias, x_zero, stride, dilation, pad, groups, bits, policy):
    """``(N, H, W, C)`` by ``(KH, KW, C / G, O)``; taps outside the image are skipped; register checked at every step."""
    n, h, wid, _ = x.shape
    kh, kw, cg, o = w.shape
    top, bottom, left, right = pad
    oh = (h + top + bottom - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (wid + left + right - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    fit = {"wrap": wrap, "saturate": saturate}[policy]
    acc = np.zeros((n, oh, ow, o), np.int64)
    low = high = overflows = 0
    for b, y, z, q in np.ndindex(*acc.shape):
        s = 0
        for i, j, k in np.ndindex(kh, kw, cg):
            yy, xx = y * stride[0] + i * dilation[0] - top, z * stride[1] + j * dilation[1] - left
            if 0 <= yy < h and 0 <= xx < wid:
                exact = s + (int(x[b, yy, xx, q // (o // groups) * cg + k]) - x_zero) * int(w[i, j, k, q])
                s = fit(exact, bits)
                overflows += s != exact
                low, high = min(low, s), max(high, s)
        exact = s + int(bias[q])
        s = fit(exact, bits)
        overflows += s != exact
        low, high = min(low, s), max(high, s)
        acc[b, y, z, q] = s
    return acc, (low, high, overflows)


def average_pool(x, kernel, stride, pad):
    """``(sum +- count / 2) / count`` in C integers, over the cells inside the image."""
    n, h, w, c = x.shape
    oh = (h + pad[0] + pad[1] - kernel[0]) // stride[0] + 1
    ow = (w + pad[2] + pad[3] - kernel[1]) // stride[1] + 1
    out = np.zeros((n, oh, ow, c), np.int64)
    for b, y, z, k in np.ndindex(*out.shape):
        y0, x0 = y * stride[0] - pad[0], z * stride[1] - pad[2]
        cells = [
            int(x[b, i, j, k])
            for i in range(max(0, y0), min(h, y0 + kernel[0]))
            for j in range(max(0, x0), min(w, x0 + kernel[1]))
        ]
        total, count = sum(cells), len(cells)
        half = count // 2
        out[b, y, z, k] = (total + half) // count if total > 0 else -((-total + half) // count)
    return out
