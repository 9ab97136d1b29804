"""The sides of the ready claims: compositions of the rules of arith, as plain functions of integers.

They say what is compared; how anything is rounded stands in :mod:`fxsim.arith` alone.
"""

from collections.abc import Callable

from fxsim.arith.rounding import Rule, divide, shift_right

Scheme = Callable[[Rule, int, int, int], int]


def output(
    scheme: Scheme, rule: Rule, acc: int, q: int, shift: int, zero_point: int = 0, low: int = 0, high: int = 0
) -> int:
    """``clamp(acc * q * 2**(shift - 31) + zero_point, low, high)``: an output as a layer writes it."""
    return min(max(scheme(rule, acc, q, shift) + zero_point, low), high)


def rounded(rule: Rule, value: int, shift: int) -> int:
    """``value / 2**shift``, rounded."""
    return shift_right(rule, value, shift)


def rounded_next(rule: Rule, value: int, shift: int) -> int:
    """``(value + 1) / 2**shift``, rounded."""
    return shift_right(rule, value + 1, shift)


def rounded_negative(rule: Rule, value: int, shift: int) -> int:
    """``-value / 2**shift``, rounded."""
    return shift_right(rule, -value, shift)


def negative_rounded(rule: Rule, value: int, shift: int) -> int:
    """``value / 2**shift``, rounded, and its sign changed."""
    return -shift_right(rule, value, shift)


def rounded_twice(rule: Rule, value: int, shift: int) -> int:
    """``value / 2**shift``, rounded, brought back to the finer grid and rounded once more."""
    return shift_right(rule, shift_right(rule, value, shift) << shift, shift)


def rounded_whole(rule: Rule, whole: int, shift: int) -> int:
    """``whole * 2**shift / 2**shift``, rounded, though there is nothing to round."""
    return shift_right(rule, whole << shift, shift)


def itself(whole: int, shift: int) -> int:
    """``whole``."""
    return whole


def scaled_error(rule: Rule, denominator: int, value: int, shift: int) -> int:
    """``denominator * 2**shift * |round(value / 2**shift) - value / 2**shift|``, an integer."""
    return denominator * abs((shift_right(rule, value, shift) << shift) - value)


def scaled_bound(numerator: int, value: int, shift: int) -> int:
    """``numerator * 2**shift``."""
    return numerator << shift


def period_error(rule: Rule, period: int, shift: int) -> int:
    """The sum of ``2**shift * round(v / 2**shift) - v`` over the ``2**(shift + 1)`` integers ``v`` of one period."""
    total = 0
    first = period << (shift + 1)
    for k in range(2 << shift):
        total += (shift_right(rule, first + k, shift) << shift) - (first + k)
    return total


def nothing(period: int, shift: int) -> int:
    """0."""
    return 0


def average_error(rule: Rule, denominator: int, total: int, count: int) -> int:
    """``denominator * count * |round(total / count) - total / count|``, an integer."""
    return denominator * abs(divide(rule, total, count) * count - total)


def average_bound(numerator: int, total: int, count: int) -> int:
    """``numerator * count``."""
    return numerator * count
