"""Rounding: from an exact quotient to an integer, one function for each rule.

A rule sees the exact value as ``floor + fraction`` with ``0 <= fraction < 1``, and of the fraction only what any rule
needs: ``inexact`` (fraction > 0), ``tie`` (fraction = 1/2) and ``above`` (fraction > 1/2). It returns ``floor`` or
``floor + 1``. The shift form, the divide form and the float forms of all rules follow from that one text.

Names say where the value goes: ``to_*`` rules move every inexact value, ``ties_*`` rules go to the nearest integer
and move only ties. Foreign names belong to dialects, since one word means different rules in different libraries.

Source: definitions as in IEEE 1666 (SystemC) 7.10.9.1 and gemmlowp fixedpoint.h, each checked by exhaustion in the tests.
"""

import math
from collections.abc import Callable

Rule = Callable[[int, bool, bool, bool], int]


def to_neg(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The greatest integer not above the value (floor; SC_TRN)."""
    return floor


def to_pos(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The least integer not below the value (ceiling)."""
    return floor + inexact


def to_zero(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The value without its fraction (truncation; SC_TRN_ZERO)."""
    return floor + (inexact & (floor < 0))


def to_away(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The next integer away from zero."""
    return floor + (inexact & (floor >= 0))


def ties_pos(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The nearest integer, ties toward plus infinity (SC_RND; ``floor(x + 1/2)``)."""
    return floor + (above | tie)


def ties_neg(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The nearest integer, ties toward minus infinity (SC_RND_MIN_INF)."""
    return floor + above


def ties_zero(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The nearest integer, ties toward zero (SC_RND_ZERO)."""
    return floor + (above | (tie & (floor < 0)))


def ties_away(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The nearest integer, ties away from zero (SC_RND_INF; C ``round``; gemmlowp RoundingDivideByPOT)."""
    return floor + (above | (tie & (floor >= 0)))


def ties_even(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The nearest integer, ties to the even one (SC_RND_CONV; IEEE 754 default; C ``rint``)."""
    return floor + (above | (tie & (floor & 1 == 1)))


def ties_odd(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The nearest integer, ties to the odd one (AC_RND_CONV_ODD)."""
    return floor + (above | (tie & (floor & 1 == 0)))


def ties_dpu(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The nearest integer, ties up below zero and to the even one above it (the rounding of Xilinx DPUs)."""
    return floor + (above | (tie & ((floor < 0) | (floor & 1 == 1))))


def jam(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The floor with its least bit set, even where the value is exact (von Neumann rounding)."""
    return floor | 1


def jam_unbiased(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The floor, its least bit set where the value is not exact (sticky rounding)."""
    return floor | inexact


def trn_mag(floor: int, inexact: bool, tie: bool, above: bool) -> int:
    """The floor plus the sign bit: magnitude truncation as adders do it, off by one on exact negative values."""
    return floor + (floor < 0)


NEAREST_AND_DIRECTED: dict[str, Rule] = {
    f.__name__: f
    for f in (to_neg, to_pos, to_zero, to_away, ties_pos, ties_neg, ties_zero, ties_away, ties_even, ties_odd)
}
"""the rules that every value's own position decides and that leave integers alone"""
RULES: dict[str, Rule] = NEAREST_AND_DIRECTED | {f.__name__: f for f in (ties_dpu, jam, jam_unbiased, trn_mag)}


def shift_right(rule: Rule, value: int, shift: int) -> int:
    """``value / 2**shift``, rounded by ``rule``; exact for ``0 <= shift <= 62`` and any int64 ``value``."""
    floor = value >> shift
    rest = value - (floor << shift)
    half = (1 << shift) >> 1
    return rule(floor, rest > 0, (rest == half) & (shift > 0), rest > half)


def divide(rule: Rule, value: int, divisor: int) -> int:
    """``value / divisor``, rounded by ``rule``; exact for ``1 <= divisor < 2**62`` and any int64 ``value``."""
    floor = value // divisor
    rest = value - floor * divisor
    return rule(floor, rest > 0, 2 * rest == divisor, 2 * rest > divisor)


def from_float(rule: Rule, value: float) -> int:
    """A float64 rounded to an integer by ``rule``, exactly; ``abs(value) < 2**62`` compiled, any finite value otherwise."""
    whole = math.trunc(value)
    fraction = abs(value - whole)  # exact: the low bits of value itself
    below = (value < 0) & (fraction > 0)
    return rule(whole - below, fraction > 0, fraction == 0.5, (fraction < 0.5) if below else (fraction > 0.5))
