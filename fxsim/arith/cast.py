"""From one fixed-point format to another: ``value * 2**-shift``, rounded by a rule, fitted by an overflow policy.

Rounding comes first, then overflow (IEEE 1666, 7.10.9). Exact compiled on int64 for any signed source of up to 64 bits,
any unsigned one of up to 63, targets of up to 64 bits and any shift; on Python ints for everything. Wider sources,
compiled: :mod:`fxsim.arith.wide`.
"""

from fxsim.arith.overflow import Overflow
from fxsim.arith.rounding import Rule, shift_right

RAW_CARRY = 1
"""ap_fixed: the carry that WRAP_SM looks at is that of the value before rounding"""
LOST_CARRY = 2
"""ac_fixed: a rounding carry out of 32 bits is lost in an unsigned target (seen for sources of 40 and 48 bits)"""


def held(value: int, bits: int, signed: bool) -> int:
    """The low ``bits`` bits of ``value``, as the register reads them; compiled, 64 unsigned bits come as a signed word."""
    half = 1 << (bits - 1)
    mask = (half << 1) - 1
    return ((value + half) & mask) - half if signed else value & mask


def fit(overflow: Overflow, value: int, left: int, carry_of: int, bits: int, signed: bool, wrap_bits: int) -> int:
    """``value * 2**left`` in a register. ``carry_of`` is the integer whose bit ``bits - left`` counts as the carry.

    All that the policy asks of ``k = value * 2**left`` is read off ``value``, since ``k`` may not fit any machine word.
    """
    head = bits - left  # the bits of value from here on lie above the register
    top = value >> (head - 1) if head >= 1 else value  # the register's sign bit and all above it
    if signed:
        above = top > 0
        below = top < -1 if head >= 1 else value < 0
    else:
        above = (top >> 1 if head >= 1 else value) > 0
        below = value < 0
    carry = (carry_of >> (head - 1) >> 1 if head >= 1 else carry_of if head == 0 else 0) & 1 == 1
    low = held(value << left if head >= 1 else 0, bits, signed)
    return overflow(low, below, above, carry, value < 0, bits, signed, wrap_bits)


def fits_word(value: int) -> bool:
    """True for a value of int64: always, where compiled."""
    return (value >> 63 == 0) | (value >> 63 == -1)


def rounded(rule: Rule, value: int, shift: int) -> int:
    """``value / 2**shift``, rounded; exact compiled for any int64 ``value`` and any ``shift >= 0``."""
    if shift <= 62 or not fits_word(value):
        return shift_right(rule, value, shift)
    if shift <= 64:  # two bits fewer, the least of the rest keeping in mind whether anything was lost
        return shift_right(rule, (value >> 2) | ((value & 3) != 0), shift - 2)
    return rule(-1 if value < 0 else 0, value != 0, False, value < 0)


def cast(
    rule: Rule, overflow: Overflow, value: int, shift: int, bits: int, signed: bool, wrap_bits: int, quirk: int
) -> int:
    """``value * 2**-shift`` as a register of ``bits`` bits holds it; ``quirk`` is 0 or one of the deviations below."""
    if shift <= 0:
        return fit(overflow, value, -shift, value, bits, signed, wrap_bits)
    k = rounded(rule, value, shift)
    floor = value >> (min(shift, 63) if fits_word(value) else shift)
    if quirk == LOST_CARRY and not signed and floor == (1 << 32) - 1 and k == 1 << 32:
        k = 0
    return fit(overflow, k, 0, floor if quirk == RAW_CARRY else k, bits, signed, wrap_bits)
