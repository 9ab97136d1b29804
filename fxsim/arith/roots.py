"""Inverse square root and logarithm of integers by Newton's and a rational step, in 32-bit fixed point.

Source: tflite/kernels/internal/common.h (GetInvSqrtQuantizedMultiplierExp, log_x_for_x_greater_than_or_equal_to_1,
GetReciprocal) @ LiteRT 2.3.0.
"""

from fxsim.arith.gemmlowp import one_over_one_plus_x, reciprocal
from fxsim.arith.overflow import saturate
from fxsim.arith.requantize import double_rounding, high_multiply
from fxsim.arith.rounding import shift_right, ties_away
from fxsim.arith.x86 import rounding_shift_right

HALF_ROOT_2 = 1518500250
"""sqrt(1/2) in Q0.31"""


def inverse_square_root(x: int) -> tuple[int, int]:
    """``(q, shift)`` with ``1 / sqrt(x) ~ q * 2**(shift - 31)`` for ``1 <= x < 2**31``; 0 counts as 1.

    Five Newton-Raphson steps from 1, in Q3.28, on ``x`` scaled by a power of four.
    """
    if x <= 1:
        return (1 << 31) - 1, 0
    right = 11
    while x >= 1 << 29:
        x, right = x >> 2, right + 1
    while x < 1 << 27:
        x, right = x << 2, right - 1
    half = shift_right(ties_away, x >> 1, 1)
    y = 1 << 28
    for _ in range(5):
        cube = saturate(high_multiply(high_multiply(y, y), y) << 6, 32)
        y = saturate((high_multiply((1 << 28) + (1 << 27), y) - high_multiply(half, cube)) << 3, 32)
    y = high_multiply(y, HALF_ROOT_2)
    return (y << -right, 0) if right < 0 else (y, -right)


def reciprocal_root(x: int, q: int, shift: int, out_zero: int, high: int) -> int:
    """``1 / sqrt(x) * q * 2**(shift - 31) + out_zero`` for ``x >= 0``, at most ``high``, which 0 becomes.

    ``1 / sqrt(x)`` is rounded to 20 fraction bits in between.

    Source: tflite/kernels/elementwise.cc, RsqrtEvalQuantizedInt8 @ LiteRT 2.3.0.
    """
    if x <= 0:
        return high
    inverse, exponent = inverse_square_root(x)
    fine = double_rounding(ties_away, 1, inverse, exponent + 20)
    return min(double_rounding(ties_away, fine, q, shift - 20) + out_zero, high)


def _leading_zeros(x: int) -> int:
    n = 0
    while n < 32 and x << n < 1 << 31:
        n += 1
    return n


def logarithm(x: int, integer_bits: int) -> int:
    """``log(x)`` for ``x >= 1``, Q``integer_bits`` to Q5.26: a rational function around ``2**-1/4`` after range reduction."""
    middle = 1805811301  # 2**-1/4
    quarter = 1 << 23  # Q6.25
    zeros = _leading_zeros(x)
    r_a = saturate(high_multiply(saturate(x << (zeros - 1), 32), HALF_ROOT_2) << 1, 32)
    pow_a = saturate(((integer_bits - zeros) << 25) + quarter, 32)
    headroom = _leading_zeros(high_multiply(x, HALF_ROOT_2)) - 1
    r_b = saturate(x << headroom, 32)
    pow_b = saturate(((integer_bits - headroom) << 25) - quarter, 32)
    r, power = min(r_a, r_b), max(pow_a, pow_b)
    total = r + middle
    p = (total + 1) >> 1  # RoundingHalfSum of positive numbers
    q = (r - middle) * 2
    square = high_multiply(q, q)
    numerator = high_multiply(q, r) + high_multiply(high_multiply(q, square), 117049297)
    inner = 1057819769 + q + high_multiply(127690142, square)
    denominator_minus_one = high_multiply(p, inner) + high_multiply(638450708, q)
    ratio = high_multiply(shift_right(ties_away, numerator, 6), one_over_one_plus_x(denominator_minus_one))
    return saturate((high_multiply(power, 1488522236) + ratio) << 1, 32)


def quotient(a: int, b: int, q: int, shift: int) -> int:
    """``a / b * q * 2**(shift - 31)`` for ``abs(a) < 2**31``, ``0 < abs(b) < 2**31``: by the reciprocal of ``b``.

    ``a`` is shifted left as far as it can; both products are rounded ties up, the last shift ties away. That shift is
    often beyond 31 where the quotient is below 1, so that x86's shifts show (see :mod:`fxsim.arith.x86`).

    Source: tflite/kernels/internal/reference/div.h @ LiteRT 2.3.0.
    """
    if b < 0:
        a, b = -a, -b
    inverse, over_unit = reciprocal(b, 31)
    headroom = _leading_zeros(a if a >= 0 else ~a) - 1
    scaled = high_multiply(high_multiply(a << headroom, inverse), q)
    return rounding_shift_right(scaled, over_unit + headroom - shift, 32)
