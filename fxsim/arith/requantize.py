"""Requantization: an accumulator times a real scale, as an integer. One function for each scheme.

Integer schemes take the scale as ``q * 2**(shift - 31)`` (see :mod:`fxsim.arith.multiplier`). All are exact compiled on
int64 for accumulators of at most 32 bits, ``0 <= q < 2**31`` and ``-31 <= shift <= 30``. The zero point is added afterwards.
"""

from fxsim.arith.overflow import wrap
from fxsim.arith.rounding import Rule, shift_right, ties_pos


def high_multiply(value: int, q: int) -> int:
    """``value * q / 2**31``, nearest, ties toward plus infinity.

    Equals gemmlowp's SaturatingRoundingDoublingHighMul, whose nudge and truncating division come to the same;
    its saturation concerns only ``q = -2**31``, which no multiplier is.
    """
    return shift_right(ties_pos, value * q, 31)


def double_rounding(rule: Rule, acc: int, q: int, shift: int) -> int:
    """``acc * q * 2**(shift - 31)``, rounded twice: after the 31-bit high multiply (ties up), then after the right shift.

    ``rule(high(acc << max(shift, 0), q) / 2**max(-shift, 0))``. With ``ties_away`` it is TFLite's reference
    MultiplyByQuantizedMultiplier, with ``ties_pos`` that of its optimized kernels. The left shift wraps at 32 bits.

    Source: gemmlowp fixedpoint.h; tflite/kernels/internal/common.cc @ LiteRT 2.3.0.
    """
    left = max(shift, 0)
    return shift_right(rule, high_multiply(wrap(acc << left, 32), q), max(-shift, 0))


def single_rounding(rule: Rule, acc: int, q: int, shift: int) -> int:
    """``acc * q * 2**(shift - 31)``, rounded once by ``rule``.

    With ``ties_pos`` it is TFLite built with TFLITE_SINGLE_ROUNDING.

    Source: tflite/kernels/internal/common.cc @ LiteRT 2.3.0.
    """
    return shift_right(rule, acc * q, 31 - shift)


SCHEMES = ("double_rounding", "single_rounding", "float64", "float32")
"""The integer schemes above, and the product ``acc * scale`` in float64 or float32, rounded once by the rule."""
