"""TOSA's RESCALE in integers: the double rounding written as one sum and one shift; and its division by a reciprocal.

Source: TOSA specification 1.0, RESCALE, ``apply_scale_32`` with ``double_round``; AVG_POOL2D, ``reciprocal_scale``.
"""

from fxsim.arith.rounding import Rule, shift_right


def tosa_double_rounding(rule: Rule, acc: int, q: int, shift: int) -> int:
    """``acc * q * 2**(shift - 31)``, rounded to nearest by two nudges and one arithmetic shift.

    ``(acc * q + 2**(30 - shift) + n) >> (31 - shift)`` with ``n = 2**30`` for ``acc >= 0``, ``-2**30`` below it, and 0 where
    ``shift >= 0``. It equals gemmlowp's double rounding with ``ties_away`` for every accumulator of 32 bits, every
    multiplier ``2**30 <= q < 2**31`` and every ``-31 <= shift <= 0`` (proved in the tests). A left shift does not wrap.

    ``rule`` is not asked, since the nudges are the rounding; it is there so that all schemes are called alike. Exact
    compiled on int64 in the range of the other integer schemes.
    """
    right = 31 - shift
    nudge = 1 << (right - 1)
    if shift < 0:
        nudge += (1 << 30) if acc >= 0 else -(1 << 30)
    return (acc * q + nudge) >> right


def reciprocal(divisor: int) -> tuple[int, int]:
    """``(q, shift)`` with ``1 / divisor`` at ``q / 2**shift`` or just below it, for ``1 <= divisor <= 2**30``.

    ``q = ((2**30 + 1) << k) // divisor`` of 31 bits and ``shift = 30 + k``, where ``2**(k - 1) < divisor <= 2**k``.
    """
    k = 0
    for i in range(30):
        k += (1 << i) < divisor
    return (((1 << 30) + 1) << k) // divisor, 30 + k


def divide_by_reciprocal(rule: Rule, value: int, divisor: int) -> int:
    """``value / divisor`` as a product with :func:`reciprocal`, rounded by ``rule``; TOSA's averages have ``ties_pos``.

    Since the reciprocal is too great rather than too small, ties of either sign go away from zero. Exact compiled for
    ``abs(value) < 2**31``.
    """
    q, shift = reciprocal(divisor)
    return shift_right(rule, value * q, shift)
