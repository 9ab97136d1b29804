"""Casts of integers of up to 129 bits, as sums and products of 64-bit values are: a sign and two words.

``(negative, high, low)`` is ``high * 2**64 + low - negative * 2**128``. Of each word only the low 64 bits count, read as
unsigned; so the same text is exact on Python ints and on int64, whose arithmetic wraps. What a rule asks of its floor is
the sign and the last bit, so that rules run on a small number of the same sign and parity.

The twin of :mod:`fxsim.arith.cast`, which takes its integer in one piece.
"""

from fxsim.arith.cast import LOST_CARRY, RAW_CARRY, held
from fxsim.arith.overflow import Overflow, wrap
from fxsim.arith.rounding import Rule

Wide = tuple[bool, int, int]
Rounded = tuple[bool, int, int, int]
"""a wide integer, and by how much it was rounded up: 0 or 1"""
HALF = (1 << 32) - 1


def word(x: int) -> int:
    """The low 64 bits as a signed number: for comparisons, since words are otherwise never brought into a range."""
    return wrap(x, 64)


def right(x: int, n: int) -> int:
    """The word ``x``, read as unsigned, without its low ``n`` bits; ``0 <= n <= 64``."""
    return (x >> n) & ((1 << (63 - n) << 1) - 1) if n < 64 else 0


def left(x: int, n: int) -> int:
    """The word ``x`` with ``n`` zeros below, ``0 <= n <= 64``."""
    return x << n if n < 64 else 0


def from_word(value: int, signed: bool) -> Wide:
    """``value``; an unsigned one may come as the signed word of the same bits."""
    negative = signed & (value < 0)
    return negative, (-1 if negative else 0), value


def floor_shift(negative: bool, high: int, low: int, n: int) -> Wide:
    """``floor(x / 2**n)`` for any ``n >= 0``."""
    fill = -1 if negative else 0
    if n >= 64:
        high, low = fill, (high if n < 128 else fill)
        n = n - 64 if n < 128 else 0
    return negative, right(high, n) | left(fill, 64 - n), right(low, n) | left(high, 64 - n)


def any_below(negative: bool, high: int, low: int, n: int) -> bool:
    """Whether ``x`` has a bit set among its low ``n >= 0``."""
    if n <= 64:
        return word(left(low, 64 - n)) != 0
    return (word(low) != 0) | (word(left(high, 128 - min(n, 128))) != 0) | ((n > 128) & negative)


def scale(negative: bool, high: int, low: int, n: int) -> Wide:
    """``x * 2**n``, ``n >= 0``; where that is no wide integer, one of that sign and low 65 bits that no register holds."""
    _, top_high, top_low = floor_shift(negative, high, low, 128 - n if n < 128 else 0)
    fill = -1 if negative else 0
    lost = (word(top_high) != fill) | (word(top_low) != fill)
    if n > 128:
        lost = negative | lost
    m = min(n, 128)
    if m >= 64:
        high, low, m = low, 0, m - 64
    high, low = left(high, m) | right(low, 64 - m), left(low, m)
    if lost:  # bit 65 unlike the sign
        high = high & ~2 if negative else high | 2
    return negative, high, low


def carry(a: int, b: int, total: int) -> int:
    """The carry out of the top bit of words that were added to ``total``, a carry into the last bit included."""
    return right((a & b) | ((a | b) & ~total), 63)


def plus(a: int, a_signed: bool, a_left: int, b: int, b_signed: bool, b_left: int) -> Wide:
    """``a * 2**a_left + b * 2**b_left``, a wide integer."""
    a_negative, a_high, a_low = from_word(a, a_signed)
    b_negative, b_high, b_low = from_word(b, b_signed)
    a_negative, a_high, a_low = scale(a_negative, a_high, a_low, a_left)
    b_negative, b_high, b_low = scale(b_negative, b_high, b_low, b_left)
    low = a_low + b_low
    high = a_high + b_high + carry(a_low, b_low, low)
    sign = (1 if a_negative else 0) + (1 if b_negative else 0) + carry(a_high, b_high, high)
    return sign & 1 == 1, high, low


def times(a: int, a_signed: bool, b: int, b_signed: bool) -> Wide:
    """``a * b``, by halves of 32 bits."""
    a0, a1, b0, b1 = a & HALF, (a >> 32) & HALF, b & HALF, (b >> 32) & HALF
    first = a0 * b0
    second = a1 * b0 + ((first >> 32) & HALF)
    third = a0 * b1 + (second & HALF)
    low = (third << 32) | (first & HALF)
    high = a1 * b1 + ((second >> 32) & HALF) + ((third >> 32) & HALF)
    a_negative, b_negative = a_signed & (a < 0), b_signed & (b < 0)
    high = high - (b if a_negative else 0) - (a if b_negative else 0)
    return (a_negative != b_negative) & ((word(high) != 0) | (word(low) != 0)), high, low


def round_wide(rule: Rule, negative: bool, high: int, low: int, shift: int, marks: bool) -> Rounded:
    """``x * 2**-shift``, rounded; a rule that ``marks`` acts where nothing is dropped too."""
    if shift <= 0:
        inexact = tie = above = False
        negative, high, low = scale(negative, high, low, -shift)
    else:
        _, _, half = floor_shift(negative, high, low, shift - 1)
        more = any_below(negative, high, low, shift - 1)
        tie, above = (half & 1 == 1) & (not more), (half & 1 == 1) & more
        inexact = (half & 1 == 1) | more
        negative, high, low = floor_shift(negative, high, low, shift)
    up = 0
    if marks or shift > 0:
        small = (low & 1) - (2 if negative else 0)
        up = rule(small, inexact, tie, above) - small
    low = low + up
    if up == 1 and word(low) == 0:
        high = high + 1
        negative = negative & (word(high) != 0)
    return negative, high, low, up


def fit_wide(
    overflow: Overflow,
    negative: bool,
    high: int,
    low: int,
    up: int,
    bits: int,
    signed: bool,
    wrap_bits: int,
    quirk: int,
) -> int:
    """A rounded wide integer in a register of at most 64 bits; ``quirk`` as of :func:`fxsim.arith.cast.cast`."""
    if quirk == LOST_CARRY and not signed and up == 1 and word(high) == 0 and word(low) == 1 << 32:
        low = 0
    kept = held(low, bits, signed)
    same_sign = (kept < 0) == negative if signed else not negative
    fits = same_sign & (word(high) == (-1 if negative else 0)) & (word(kept) == word(low))
    raw_low = low - up if quirk == RAW_CARRY else low
    raw_high = high - 1 if quirk == RAW_CARRY and up == 1 and word(low) == 0 else high
    carried = (right(raw_low, bits) if bits < 64 else raw_high) & 1 == 1
    return overflow(
        kept, (not fits) & negative, (not fits) & (not negative), carried, negative, bits, signed, wrap_bits
    )
