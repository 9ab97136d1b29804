"""Requantization: an accumulator times a real scale, as an integer. One function for each scheme.

Integer schemes take the scale as ``q * 2**(shift - 31)`` (see :mod:`fxsim.arith.multiplier`). All are exact compiled on
int64 for accumulators of at most 32 bits, ``0 <= q < 2**31`` and ``-31 <= shift <= 30``. The zero point is added afterwards.
"""

from collections.abc import Callable

from fxsim.arith.overflow import wrap
from fxsim.arith.rounding import Rule, shift_right, ties_pos
from fxsim.arith.tosa import tosa_double_rounding

Scheme = Callable[[Rule, int, int, int], int]


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


def floored_double_rounding(rule: Rule, acc: int, q: int, shift: int) -> int:
    """``acc * q * 2**(shift - 31)``, rounded twice: down after the 31-bit high multiply, by ``rule`` after the right shift.

    :func:`double_rounding` without the high multiply's nudge. With ``ties_away`` it is ESP-NN's vector code built with
    NN_SKIP_NUDGE.

    Source: esp_nn_multiply_by_quantized_mult_esp32s3.S, ``use_nudge`` off @ ESP-NN 1.2.
    """
    left = max(shift, 0)
    return shift_right(rule, wrap(acc << left, 32) * q >> 31, max(-shift, 0))


def single_rounding(rule: Rule, acc: int, q: int, shift: int) -> int:
    """``acc * q * 2**(shift - 31)``, rounded once by ``rule``.

    With ``ties_pos`` it is TFLite built with TFLITE_SINGLE_ROUNDING, with ``ties_away`` TVM's TONEAREST and the converters
    of NVDLA, with ``to_neg`` PULP-NN. A power of two is the multiplier ``2**30``.

    Source: tflite/kernels/internal/common.cc @ LiteRT 2.3.0.
    """
    return shift_right(rule, acc * q, 31 - shift)


def reduced_multiplier(rule: Rule, acc: int, q: int, shift: int) -> int:
    """``acc * q * 2**(shift - 31)`` of a 64-bit accumulator: ``q`` is rounded to 15 bits first, then one rounding.

    Exact compiled for ``abs(acc) < 2**47`` and ``-31 <= shift <= 14``. With ``ties_pos`` it is TFLite's
    MultiplyByQuantizedMultiplier of an int64; the result is cut to 32 bits.

    Source: tflite/kernels/internal/common.cc @ LiteRT 2.3.0.
    """
    return wrap(shift_right(rule, acc * fifteen_bits(q), 15 - shift), 32)


def reduced_multiplier_halved(rule: Rule, acc: int, q: int, shift: int) -> int:
    """As :func:`reduced_multiplier`, but cut to 32 bits one bit before the end, which alone is rounded.

    Both agree wherever the result fits 31 bits, with ``ties_pos``.

    Source: arm_nnsupportfunctions.h, arm_nn_requantize_s64 @ CMSIS-NN 7.0.
    """
    return shift_right(rule, wrap(acc * fifteen_bits(q) >> (14 - shift), 32), 1)


def fifteen_bits(q: int) -> int:
    """A 31-bit multiplier as a 15-bit one: ``q / 2**16`` rounded, ties up, at most ``2**15 - 1``."""
    return min((q + (1 << 15)) >> 16, (1 << 15) - 1)


NARROW: dict[str, Scheme] = {
    f.__name__: f for f in (double_rounding, single_rounding, floored_double_rounding, tosa_double_rounding)
}
"""the integer schemes of 32-bit accumulators"""
WIDE: dict[str, Scheme] = {f.__name__: f for f in (reduced_multiplier, reduced_multiplier_halved)}
"""the integer schemes of wider accumulators"""
SCHEMES = (*NARROW, "float64", "float32")
"""The integer schemes of 32-bit accumulators; and ``acc * scale`` in float64 or float32, rounded once by the rule."""
WIDE_SCHEMES = tuple(WIDE)
"""The integer schemes of wider accumulators."""
