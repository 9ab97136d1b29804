"""gemmlowp's logistic and tanh in 16-bit registers: the functions of :mod:`fxsim.arith.gemmlowp` with rounded constants.

A number of format Qm.n holds ``raw / 2**n`` with ``n = 15 - m``. All are exact compiled on int64.

Source: gemmlowp fixedpoint/fixedpoint.h; tflite/kernels/internal/optimized/optimized_ops.h @ LiteRT 2.3.0.
"""

from fxsim.arith.overflow import saturate, wrap
from fxsim.arith.rounding import shift_right, ties_away, ties_pos

ONE = (1 << 15) - 1
"""1.0 in Q0.15, as near as it can be"""
ONE_2 = 1 << 13
"""1.0 in Q2.13"""


def high(a: int, b: int) -> int:
    """``a * b / 2**15``, nearest, ties toward plus infinity."""
    return shift_right(ties_pos, a * b, 15)


def constant(raw: int) -> int:
    """A constant of 32 bits as one of 16, ties away from zero."""
    return shift_right(ties_away, raw, 16)


def doubled(x: int, times: int) -> int:
    """``x * 2**times``, saturated to 16 bits."""
    return saturate(x << times, 16)


def exp_on_negative_quarter(a: int) -> int:
    """``exp(a)`` for ``-1/4 <= a < 0``, Q0.15 to Q0.15: Taylor series of degree 4 around -1/8."""
    x = a + (1 << 12)
    x2 = high(x, x)
    x3 = high(x2, x)
    quarter_x4 = shift_right(ties_away, high(x2, x2), 2)
    poly = shift_right(ties_away, high(quarter_x4 + x3, constant(715827883)) + x2, 1)
    return saturate(constant(1895147668) + high(constant(1895147668), x + poly), 16)


def _barrel(result: int, remainder: int, bit: int, factor: int) -> int:
    return high(result, constant(factor)) if remainder & (1 << bit) != 0 else result


def exp_on_negative_values(a: int, integer_bits: int) -> int:
    """``exp(a)`` for ``a <= 0``, Q``integer_bits`` (1 to 7) to Q0.15."""
    fraction_bits = 15 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    part = (a & (quarter - 1)) - quarter
    remainder = part - a
    result = exp_on_negative_quarter(doubled(part, integer_bits))
    result = _barrel(result, remainder, fraction_bits - 2, 1672461947)
    result = _barrel(result, remainder, fraction_bits - 1, 1302514674)
    result = _barrel(result, remainder, fraction_bits, 790015084)
    if integer_bits > 1:
        result = _barrel(result, remainder, fraction_bits + 1, 290630308)
    if integer_bits > 2:
        result = _barrel(result, remainder, fraction_bits + 2, 39332535)
    if integer_bits > 3:
        result = _barrel(result, remainder, fraction_bits + 3, 720401)
    if integer_bits > 4:
        result = _barrel(result, remainder, fraction_bits + 4, 242)
    if integer_bits > 5 and a < -(32 << fraction_bits):
        result = 0
    return ONE if a == 0 else result


def reciprocal_of_half(a: int) -> int:
    """``2 / (1 + a)`` for ``0 <= a <= 1``, Q0.15 to Q2.13: three Newton-Raphson steps."""
    half_denominator = (a + ONE + 1) >> 1
    x = constant(1515870810) + high(half_denominator, constant(-1010580540))
    for _ in range(3):
        x = wrap(x + doubled(high(x, ONE_2 - high(half_denominator, x)), 2), 16)
    return x


def logistic(a: int) -> int:
    """``1 / (1 + exp(-a))``, Q3.12 to Q0.15."""
    if a == 0:
        return 1 << 14
    positive = doubled(reciprocal_of_half(exp_on_negative_values(-abs(a), 3)), 1)
    return positive if a > 0 else ONE - positive


def tanh_of(a: int, integer_bits: int) -> int:
    """``tanh(a)``, Q``integer_bits`` (0 to 6) to Q0.15, as ``2 / (1 + exp(-2 a)) - 1``."""
    if a == 0:
        return 0
    size = doubled(reciprocal_of_half(exp_on_negative_values(-abs(a), integer_bits + 1)) - ONE_2, 2)
    return size if a > 0 else -size


def tanh(a: int, shift: int) -> int:
    """``tanh(a * 2**shift)``, Q3.12 to Q0.15; ``shift`` 0 or 1 saturates first."""
    return tanh_of(doubled(a, shift), 3)
