"""Softmax of integers by gemmlowp's fixed-point exp and reciprocal."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.gemmlowp import exp_on_negative_values, reciprocal
from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import high_multiply
from fxsim.arith.rounding import shift_right, ties_away
from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]
DIFF_INTEGER_BITS = 5
SUM_INTEGER_BITS = 12


@cache
def softmax() -> Kernel:
    """``f(x, q, shift, diff_min, low, high, out)``: ``exp(x) / sum(exp(x))`` along the rows of ``(rows, depth)``.

    Differences to the row's maximum below ``diff_min`` count as minus infinity; the others are scaled to Q5.26, their
    exponentials summed in Q12.19, and the quotient rounded (ties away) to as many bits as ``high - low`` spans.

    False if a row's sum is too large (512 for 8 bits of output) or wraps to 0: there the engines abort or are undefined.

    Source: tflite/kernels/internal/reference/softmax.h @ LiteRT 2.3.0.
    """
    stamp, tie = STAMP, ties_away

    @kernel
    def f(x, q, shift, diff_min, low, high, out):
        if stamp < 0:
            return False
        bits, sound = 0, True
        while high - low >= 1 << bits:
            bits += 1
        depth = x.shape[1]
        powers = np.empty(depth, np.int64)
        for r in range(x.shape[0]):
            top = np.int64(x[r, 0])
            for c in range(depth):
                top = max(top, np.int64(x[r, c]))
            total = np.int64(0)
            for c in range(depth):
                diff = np.int64(x[r, c]) - top
                powers[c] = -1
                if diff >= diff_min:
                    scaled = high_multiply(wrap(diff << shift, 32), q)
                    powers[c] = exp_on_negative_values(scaled, DIFF_INTEGER_BITS)
                    total += shift_right(tie, powers[c], SUM_INTEGER_BITS)
            total &= (1 << 32) - 1  # the reciprocal takes the register as unsigned
            scale, over_unit = reciprocal(total, SUM_INTEGER_BITS)
            exponent = over_unit + 31 - bits
            sound &= total != 0 and 0 <= exponent <= 31
            exponent = min(max(exponent, 0), 31)
            for c in range(depth):
                out[r, c] = low
                if powers[c] >= 0:
                    v = shift_right(tie, high_multiply(scale, powers[c]), exponent) + low
                    out[r, c] = min(max(v, low), high)
        return sound

    return f
