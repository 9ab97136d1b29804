"""Slow, readable twins of rounding, overflow and casts: the exact value first, then the definition. No code of fxsim's."""

from fractions import Fraction

from tests import naive

RAW_CARRY, LOST_CARRY = 1, 2


def round_exact(x: Fraction, rule: str) -> int:
    """``x`` rounded by the definition of each rule, those of adders and DPUs included."""
    below = x.numerator // x.denominator
    exact, tie = x == below, x - below == Fraction(1, 2)
    if rule == "jam":
        return below if below % 2 == 1 else below + 1
    if rule == "jam_unbiased":
        return below if exact or below % 2 == 1 else below + 1
    if rule == "trn_mag":
        return below if x >= 0 else below + 1
    if rule == "ties_dpu":
        return naive.round_fraction(x, "ties_pos" if tie and x < 0 else "ties_even")
    return naive.round_fraction(x, rule)


def bit(k: int, i: int) -> int:
    """Bit ``i`` of an integer, as two's complement of any width has it; those right of the point are 0."""
    return k // (1 << i) % 2 if i >= 0 else 0


def modulo(k: int, bits: int, signed: bool) -> int:
    """The number of the register that is ``k`` modulo ``2**bits``."""
    low = -(1 << (bits - 1)) if signed else 0
    return (k - low) % (1 << bits) + low


def replace_top(limit: int, k: int, bits: int, signed: bool, n: int) -> int:
    """The top ``n`` bits of ``limit``, the other ones of ``k``, bit by bit."""
    pattern = sum(bit(limit if i >= bits - n else k, i) << i for i in range(bits))
    return modulo(pattern, bits, signed)


def overflow(policy: str, k: int, bits: int, signed: bool, n: int, carry_of: int | None = None) -> int:
    """What the register holds for the exact integer ``k``: numbers.md, section 2, line by line."""
    low = -(1 << (bits - 1)) if signed else 0
    high = low + (1 << bits) - 1
    fits, limit = low <= k <= high, low if k < low else high
    if policy in ("wrap", "wrap_ones"):
        if n == 0 or fits:
            return modulo(k, bits, signed)
        if policy == "wrap_ones" and not signed and k < 0:
            limit = high
        return limit if n >= bits else replace_top(limit, k, bits, signed, n)
    if policy == "saturate":
        return k if fits else limit
    if policy == "saturate_symmetric_hls" and bits == 1:
        return k if fits else limit
    if policy in ("saturate_symmetric", "saturate_symmetric_hls"):
        return max(-high, min(k, high)) if signed else (k if fits else limit)
    if policy == "zero":
        return k if fits else 0
    if policy == "numeric_std":
        if not signed:
            return modulo(k, bits, False)
        return k % (1 << (bits - 1)) + (low if k < 0 else 0)
    assert policy in ("wrap_sign_magnitude", "wrap_sign_magnitude_hls"), policy
    if not signed:
        return modulo(k, bits, False)
    if policy == "wrap_sign_magnitude_hls" and fits:
        return k
    if n == 0:
        return modulo(k if bit(k, bits - 1) == bit(k if carry_of is None else carry_of, bits) else ~k, bits, True)
    if n == 1:
        return modulo(k if bit(k, bits - 1) == (k < 0) else ~k, bits, True)
    if fits:
        return k
    if n >= bits:
        return limit
    return replace_top(limit, ~k if bit(k, bits - n) == (k < 0) else k, bits, True, n)


def cast(
    rule: str, policy: str, value: int, shift: int, bits: int, signed: bool, wrap_bits: int, quirk: int = 0
) -> int:
    """``value * 2**-shift``: nothing to round without a right shift; else by the rule, then into the register."""
    if shift <= 0:
        return overflow(policy, value * 2**-shift, bits, signed, wrap_bits)
    x = Fraction(value, 2**shift)
    k, floor = round_exact(x, rule), x.numerator // x.denominator
    if quirk == LOST_CARRY and not signed and floor == 2**32 - 1 and k == 2**32:
        k = 0
    return overflow(policy, k, bits, signed, wrap_bits, floor if quirk == RAW_CARRY else k)


def quantize(rule: str, policy: str, x: float, frac_bits: int, bits: int, signed: bool, wrap_bits: int = 0) -> int:
    """A float times ``2**frac_bits``, rounded by the rule even where it is an integer, in a register."""
    return overflow(policy, round_exact(Fraction(x) * Fraction(2) ** frac_bits, rule), bits, signed, wrap_bits)


class Word(int):
    """An int64 as compiled code has it: results wrap, and a shift by a count outside 0..63 is an error."""

    def _shift(self, n: int) -> int:
        assert 0 <= n <= 63, f"a word is shifted by {int(n)}"
        return int(n)

    def __lshift__(self, n: int) -> "Word":
        return word(int(self) << self._shift(n))

    def __rlshift__(self, other: int) -> "Word":
        return word(other << self._shift(self))

    def __rshift__(self, n: int) -> "Word":
        return word(int(self) >> self._shift(n))

    def __rrshift__(self, other: int) -> "Word":
        return word(other >> self._shift(self))

    def __add__(self, other: int) -> "Word":
        return word(int(self) + int(other))

    def __radd__(self, other: int) -> "Word":
        return word(int(self) + int(other))

    def __sub__(self, other: int) -> "Word":
        return word(int(self) - int(other))

    def __rsub__(self, other: int) -> "Word":
        return word(int(other) - int(self))

    def __neg__(self) -> "Word":
        return word(-int(self))

    def __invert__(self) -> "Word":
        return word(~int(self))

    def __and__(self, other: int) -> "Word":
        return word(int(self) & int(other))

    def __rand__(self, other: int) -> "Word":
        return word(int(self) & int(other))

    def __or__(self, other: int) -> "Word":
        return word(int(self) | int(other))

    def __ror__(self, other: int) -> "Word":
        return word(int(self) | int(other))


def word(k: int) -> Word:
    """``k`` modulo ``2**64``."""
    return Word(modulo(k, 64, True))
