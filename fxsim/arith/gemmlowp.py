"""gemmlowp's functions on fixed-point numbers: exp, reciprocal, logistic, tanh, in 32-bit integers.

A number of format Qm.n holds ``raw / 2**n`` with ``n = 31 - m``. All are exact compiled on int64.

Source: gemmlowp fixedpoint/fixedpoint.h; tflite/kernels/internal/common.h @ LiteRT 2.3.0.
"""

from fxsim.arith.overflow import saturate
from fxsim.arith.requantize import high_multiply
from fxsim.arith.rounding import shift_right, ties_away

ONE = (1 << 31) - 1
"""1.0 in Q0.31, as near as it can be"""


def exp_on_negative_quarter(a: int) -> int:
    """``exp(a)`` for ``-1/4 <= a < 0``, Q0.31 to Q0.31: Taylor series of degree 4 around -1/8."""
    x = a + (1 << 28)
    x2 = high_multiply(x, x)
    x3 = high_multiply(x2, x)
    x4 = high_multiply(x2, x2)
    quarter_x4 = shift_right(ties_away, x4, 2)
    poly = shift_right(ties_away, high_multiply(quarter_x4 + x3, 715827883) + x2, 1)
    return 1895147668 + high_multiply(1895147668, x + poly)


def _barrel(result: int, remainder: int, bit: int, factor: int) -> int:
    return high_multiply(result, factor) if remainder & (1 << bit) != 0 else result


def exp_on_negative_values(a: int, integer_bits: int) -> int:
    """``exp(a)`` for ``a <= 0``, Q``integer_bits`` (at most 5) to Q0.31."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    part = (a & (quarter - 1)) - quarter
    remainder = part - a
    result = exp_on_negative_quarter(saturate(part << integer_bits, 32))
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
    return ONE if a == 0 else result


def _newton(a: int) -> int:
    """``2 / (1 + a)`` for ``0 <= a <= 1``, Q0.31 to Q2.29: three Newton-Raphson steps."""
    half_denominator = (a + ONE + 1) >> 1
    x = 1515870810 + high_multiply(half_denominator, -1010580540)
    for _ in range(3):
        rest = (1 << 29) - high_multiply(half_denominator, x)
        x = x + saturate(high_multiply(x, rest) << 2, 32)
    return x


def one_over_one_plus_x(a: int) -> int:
    """``1 / (1 + a)`` for ``0 <= a <= 1``, Q0.31 to Q0.31."""
    return saturate(_newton(a) << 1, 32)


def reciprocal(x: int, integer_bits: int) -> tuple[int, int]:
    """``(r, e)`` with ``1 / x = r * 2**-e`` (``r`` in Q0.31) for ``0 < x < 2**32`` in Q``integer_bits``."""
    headroom = 0
    while x << headroom < 1 << 31 and headroom < 32:
        headroom += 1
    return one_over_one_plus_x((x << headroom) - (1 << 31)), integer_bits - headroom


def logistic(a: int, integer_bits: int) -> int:
    """``1 / (1 + exp(-a))``, Q``integer_bits`` to Q0.31."""
    if a == 0:
        return 1 << 30
    positive = one_over_one_plus_x(exp_on_negative_values(-abs(a), integer_bits))
    return positive if a > 0 else ONE - positive


def tanh(a: int, integer_bits: int) -> int:
    """``tanh(a)``, Q``integer_bits`` (at most 4) to Q0.31, as ``2 / (1 + exp(-2 a)) - 1``."""
    if a == 0:
        return 0
    positive = saturate((_newton(exp_on_negative_values(-abs(a), integer_bits + 1)) - (1 << 29)) << 2, 32)
    return positive if a > 0 else -positive
