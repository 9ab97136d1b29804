"""Sums and products of 64-bit values, rounded and fitted into registers: the arith of two words, a loop a step.

In between lie four int64 rows of ``wide``: negative, high word, low word, rounded up. Operands of 64 unsigned bits come as
int64 of the same bits, and so does such a result.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from fxsim.arith import wide
from fxsim.arith.overflow import OVERFLOWS, of_misfit
from fxsim.arith.rounding import RULES
from fxsim.kernels._jit import INTEGER, STAMP, kernel

Kernel = Callable[..., Any]
NEGATIVE, HIGH, LOW, UP = range(4)
ROWS = 4
MARKING = ("jam",)
"""rules that act where nothing is dropped too"""


@cache
def add() -> Kernel:
    """``f(a, a_signed, a_left, b, b_signed, b_left, out)``: ``a * 2**a_left + b * 2**b_left`` as wide integers."""
    plus, word, stamp = wide.plus, wide.word, STAMP

    @kernel
    def f(a, a_signed, a_left, b, b_signed, b_left, out):
        if stamp < 0:
            return
        for i in range(a.size):
            negative, high, low = plus(INTEGER(a[i]), a_signed, a_left, INTEGER(b[i]), b_signed, b_left)
            out[NEGATIVE, i], out[HIGH, i], out[LOW, i] = negative, word(high), word(low)

    return f


@cache
def multiply() -> Kernel:
    """``f(a, a_signed, b, b_signed, out)``: ``a * b`` as wide integers."""
    times, word, stamp = wide.times, wide.word, STAMP

    @kernel
    def f(a, a_signed, b, b_signed, out):
        if stamp < 0:
            return
        for i in range(a.size):
            negative, high, low = times(INTEGER(a[i]), a_signed, INTEGER(b[i]), b_signed)
            out[NEGATIVE, i], out[HIGH, i], out[LOW, i] = negative, word(high), word(low)

    return f


@cache
def round_by(rounding: str) -> Kernel:
    """``f(x, shift)``: the wide integers ``x`` times ``2**-shift``, rounded, in place."""
    rule, marks, round_wide, word, stamp = RULES[rounding], rounding in MARKING, wide.round_wide, wide.word, STAMP

    @kernel
    def f(x, shift):
        if stamp < 0:
            return
        for i in range(x.shape[1]):
            given = INTEGER(x[NEGATIVE, i]) != 0, INTEGER(x[HIGH, i]), INTEGER(x[LOW, i])
            negative, high, low, up = round_wide(rule, given[0], given[1], given[2], shift, marks)
            x[NEGATIVE, i], x[HIGH, i], x[LOW, i], x[UP, i] = negative, word(high), word(low), up

    return f


@cache
def fit(overflow: str) -> Kernel:
    """``f(x, bits, signed, wrap_bits, quirk, out)``: rounded wide integers in registers; policy ``misfit`` only tells."""
    policy, fit_wide, word, stamp = (OVERFLOWS | {"misfit": of_misfit})[overflow], wide.fit_wide, wide.word, STAMP

    @kernel
    def f(x, bits, signed, wrap_bits, quirk, out):
        if stamp < 0:
            return
        for i in range(x.shape[1]):
            negative, high, low, up = (
                INTEGER(x[NEGATIVE, i]) != 0,
                INTEGER(x[HIGH, i]),
                INTEGER(x[LOW, i]),
                INTEGER(x[UP, i]),
            )
            out[i] = word(fit_wide(policy, negative, high, low, up, bits, signed, wrap_bits, quirk))

    return f
