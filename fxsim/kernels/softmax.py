"""Functions of the rows of integers ``(rows, depth)``: softmax, its logarithm, and the row over its length."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.gemmlowp import exp_on_negative_values, reciprocal
from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import NARROW, double_rounding, high_multiply
from fxsim.arith.roots import inverse_square_root, logarithm
from fxsim.arith.rounding import RULES, shift_right, ties_away, ties_pos
from fxsim.arith.tables import interpolate
from fxsim.kernels._jit import STAMP, carray, jitable, kernel, native
from fxsim.kernels._vectors import memory, word

Kernel = Callable[..., Any]
DIFF_INTEGER_BITS = 5
LOG_INTEGER_BITS = 4
SUM_INTEGER_BITS = 12
INTEGERS = {-8: np.int8, 8: np.uint8, -16: np.int16}


@jitable
def softmax_rows(x, q, shift, diff_min, low, high, out):  # noqa: ANN201
    """The rows of :func:`softmax`."""
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
                total += shift_right(ties_away, powers[c], SUM_INTEGER_BITS)
        total &= (1 << 32) - 1  # the reciprocal takes the register as unsigned
        scale, over_unit = reciprocal(total, SUM_INTEGER_BITS)
        exponent = over_unit + 31 - bits
        sound &= total != 0 and 0 <= exponent <= 31
        exponent = min(max(exponent, 0), 31)
        for c in range(depth):
            out[r, c] = low
            if powers[c] >= 0:
                v = shift_right(ties_away, high_multiply(scale, powers[c]), exponent) + low
                out[r, c] = min(max(v, low), high)
    return sound


@cache
def softmax() -> Kernel:
    """``f(x, q, shift, diff_min, low, high, out)``: ``exp(x) / sum(exp(x))`` along the rows of ``(rows, depth)``.

    Differences to the row's maximum below ``diff_min`` count as minus infinity; the others are scaled to Q5.26, their
    exponentials summed in Q12.19, and the quotient rounded (ties away) to as many bits as ``high - low`` spans.

    False if a row's sum is too large (512 for 8 bits of output) or wraps to 0: there the engines abort or are undefined.

    Source: tflite/kernels/internal/reference/softmax.h @ LiteRT 2.3.0.
    """
    stamp, rows = STAMP, softmax_rows

    @kernel
    def f(x, q, shift, diff_min, low, high, out):
        if stamp < 0:
            return False
        return rows(x, q, shift, diff_min, low, high, out)

    return f


@cache
def native_softmax(in_bits: int, out_bits: int) -> Any:  # noqa: ANN401
    """As :func:`softmax`, a C function of the address of a block; for rows that cannot be too long.

    The block's words: input, output, room, rows, depth, and the parameters. Bits are negative for signed integers.
    """
    stamp, row_function, x_type, y_type = STAMP, softmax_rows, INTEGERS[in_bits], INTEGERS[out_bits]

    @native
    def f(block):
        if stamp < 0:
            return
        shape = word(block, 3), word(block, 4)
        x, y = carray(memory(word(block, 0)), shape, x_type), carray(memory(word(block, 1)), shape, y_type)
        row_function(x, word(block, 5), word(block, 6), word(block, 7), word(block, 8), word(block, 9), y)

    return f


@cache
def softmax16(scheme: str, rounding: str) -> Kernel:
    """``f(x, q, shift, exponentials, reciprocals, out)``: ``2**15 * exp(x) / sum(exp(x))`` along the rows, by two tables.

    ``exponentials`` is ``exp`` over -10..0, which the differences to the row's maximum are scaled to; ``reciprocals`` is
    ``1 / (1 + r)`` over 0..1; both have 513 entries in Q0.15.

    Source: tflite/kernels/internal/reference/softmax.h, SoftmaxInt16 @ LiteRT 2.3.0.
    """
    apply, rule, stamp = NARROW[scheme], RULES[rounding], STAMP

    @kernel
    def f(x, q, shift, exponentials, reciprocals, out):
        if stamp < 0:
            return
        depth = x.shape[1]
        powers = np.empty(depth, np.int64)
        for r in range(x.shape[0]):
            top = np.int64(x[r, 0])
            for c in range(depth):
                top = max(top, np.int64(x[r, c]))
            total = np.int64(0)
            for c in range(depth):
                scaled = apply(rule, np.int64(x[r, c]) - top, q, shift) + 32767
                powers[c] = interpolate(min(max(scaled, -32768), 32767), exponentials)
                total += powers[c]
            headroom = 0
            while headroom < 31 and total << (headroom + 1) < 1 << 31:
                headroom += 1
            fraction = shift_right(ties_pos, total << headroom, 14) - (1 << 15) - (1 << 16)
            inverse = interpolate(min(max(fraction, -32768), 32767), reciprocals)
            for c in range(depth):
                v = shift_right(ties_pos, powers[c] * inverse, 30 - headroom)
                out[r, c] = min(max(v, 0), 32767)

    return f


@cache
def log_softmax() -> Kernel:
    """``f(x, q, shift, back_q, back_shift, diff_min, low, high, out)``: ``log(exp(x) / sum(exp(x)))`` along the rows.

    As :func:`softmax`; the logarithm is taken in Q5.26 and rounded (ties away) to 4 fraction bits. ``back`` scales from
    Q5.26 to the input: differences that would leave 32 bits become ``low``. False if a sum leaves 32 bits.

    Source: tflite/kernels/internal/reference/integer_ops/log_softmax.h @ LiteRT 2.3.0.
    """
    stamp, tie = STAMP, ties_away

    @kernel
    def f(x, q, shift, back_q, back_shift, diff_min, low, high, out):
        if stamp < 0:
            return False
        sound = True
        depth = x.shape[1]
        for r in range(x.shape[0]):
            top = np.int64(x[r, 0])
            for c in range(depth):
                top = max(top, np.int64(x[r, c]))
            total = np.int64(0)
            for c in range(depth):
                diff = np.int64(x[r, c]) - top
                if diff >= diff_min:
                    scaled = high_multiply(wrap(diff << shift, 32), q)
                    total += shift_right(tie, exp_on_negative_values(scaled, DIFF_INTEGER_BITS), SUM_INTEGER_BITS)
            sound &= total < 1 << 31
            log_sum = logarithm(min(total, (1 << 31) - 1), SUM_INTEGER_BITS)
            least = max(diff_min - 1, double_rounding(tie, log_sum - (1 << 31), back_q, back_shift))
            for c in range(depth):
                diff = np.int64(x[r, c]) - top
                out[r, c] = low
                if diff > least:
                    scaled = high_multiply(wrap(diff << shift, 32), q)
                    v = shift_right(tie, scaled - log_sum, 31 - DIFF_INTEGER_BITS - LOG_INTEGER_BITS) + high
                    out[r, c] = min(max(v, low), high)
        return sound

    return f


@cache
def l2_normalize(scheme: str, rounding: str) -> Kernel:
    """``f(x, zero, left, out_zero, low, high, out)``: ``128 * x / sqrt(sum(x * x)) + out_zero`` along the rows.

    ``zero`` is taken off ``x``; ``left`` of the seven bits of 128 come before the first rounding.

    Source: tflite/kernels/internal/reference/integer_ops/l2normalization.h @ LiteRT 2.3.0.
    """
    apply, rule, stamp = NARROW[scheme], RULES[rounding], STAMP

    @kernel
    def f(x, zero, left, out_zero, low, high, out):
        if stamp < 0:
            return
        for r in range(x.shape[0]):
            total = np.int64(0)
            for c in range(x.shape[1]):
                v = np.int64(x[r, c]) - zero
                total += v * v
            q, shift = inverse_square_root(wrap(total, 32))
            for c in range(x.shape[1]):
                v = apply(rule, (np.int64(x[r, c]) - zero) << left, q, shift + 7 - left)
                out[r, c] = min(max(v + out_zero, low), high)

    return f
