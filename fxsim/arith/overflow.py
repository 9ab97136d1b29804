"""Overflow: what becomes of an integer that does not fit its register. One function for each policy.

Registers have ``bits`` bits: two's complement ``-2**(bits-1) .. 2**(bits-1) - 1``, or unsigned ``0 .. 2**bits - 1``.

A policy does not see the integer ``k`` itself, which may be wider than any machine word, but all that a policy may
depend on: ``low`` (its low ``bits`` bits, read as the register reads them), ``below`` and ``above`` (``k`` is under or
over the register's range), ``carry`` (bit ``bits`` of ``k``) and ``negative``. So the compiled forms are exact for
registers of up to 64 bits, whatever ``k`` was.

Source: IEEE 1666 (SystemC) 7.10.9.2, checked against 2,107,168 vectors of SystemC 2.3.4 in the tests.
"""

from collections.abc import Callable

Policy = Callable[[int, int], int]
"""(value, bits) of a signed register"""
Overflow = Callable[[int, bool, bool, bool, bool, int, bool, int], int]
"""(low, below, above, carry, negative, bits, signed, wrap_bits)"""


def lowest(bits: int, signed: bool = True) -> int:
    """The least value of a register; exact compiled for ``1 <= bits <= 64``."""
    return -(1 << (bits - 1)) if signed else 0


def highest(bits: int, signed: bool = True) -> int:
    """The greatest value of a register; exact compiled for ``1 <= bits <= 64`` (unsigned 64: as the pattern -1)."""
    return (1 << (bits - 1)) - 1 if signed else (1 << (bits - 1) << 1) - 1


def wrap(value: int, bits: int) -> int:
    """``value`` modulo ``2**bits``, as a signed number: the low bits are kept, as plain adders do (SC_WRAP).

    Exact compiled for ``1 <= bits <= 64``: int64 arithmetic itself wraps.
    """
    half = 1 << (bits - 1)
    return ((value + half) & ((half << 1) - 1)) - half


def saturate(value: int, bits: int) -> int:
    """``value`` clamped to a signed register's range (SC_SAT); exact compiled for ``1 <= bits <= 63``."""
    return min(max(value, lowest(bits)), highest(bits))


POLICIES: dict[str, Policy] = {"wrap": wrap, "saturate": saturate}
"""what an accumulator may do at each step"""


def _top_of(limit: int, low: int, bits: int, wrap_bits: int) -> int:
    """The top ``wrap_bits`` bits of ``limit`` over the other bits of ``low``."""
    mask = (1 << (bits - wrap_bits)) - 1
    return (limit & ~mask) | (low & mask)


def of_wrap(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """Keeps the low bits; with ``wrap_bits`` n > 0 the top n bits saturate where the value does not fit (SC_WRAP)."""
    if wrap_bits == 0 or not (below | above):
        return low
    limit = lowest(bits, signed) if below else highest(bits, signed)
    return limit if wrap_bits >= bits else _top_of(limit, low, bits, wrap_bits)


def of_wrap_ones(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """As :func:`of_wrap`, but an unsigned value below zero gets ones in its top bits (AP_WRAP of ap_ufixed)."""
    if wrap_bits > 0 and below and not signed:
        ones = highest(bits, False)
        return ones if wrap_bits >= bits else _top_of(ones, low, bits, wrap_bits)
    return of_wrap(low, below, above, carry, negative, bits, signed, wrap_bits)


def of_saturate(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """The nearest value that fits (SC_SAT)."""
    if below:
        return lowest(bits, signed)
    return highest(bits, signed) if above else low


def of_saturate_symmetric(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """The nearest value that fits, the least one excepted: ``-highest .. highest`` (SC_SAT_SYM)."""
    if signed and (below or (low == lowest(bits, True) and not above)):
        return -highest(bits, True)
    return of_saturate(low, below, above, carry, negative, bits, signed, wrap_bits)


def of_saturate_symmetric_hls(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """As :func:`of_saturate_symmetric`, but a signed register of 1 bit holds -1 (AP_SAT_SYM, AC_SAT_SYM)."""
    if signed and bits == 1:  # without "signed", the compiler compiles the loop of kernels/wide.py wrongly
        return of_saturate(low, below, above, carry, negative, bits, signed, wrap_bits)
    return of_saturate_symmetric(low, below, above, carry, negative, bits, signed, wrap_bits)


def of_zero(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """Zero where the value does not fit (SC_SAT_ZERO)."""
    return 0 if below | above else low


def of_wrap_sign_magnitude(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """Wraps back and forth instead of around, so that the sign is kept (SC_WRAP_SM); signed registers only."""
    if not signed:
        return low
    top = low < 0
    if wrap_bits == 0:
        return low if top == carry else ~low
    if wrap_bits == 1:
        return low if top == negative else ~low
    if not (below | above):
        return low
    limit = lowest(bits, True) if below else highest(bits, True)
    if wrap_bits >= bits:
        return limit
    flip = ((low >> (bits - wrap_bits)) & 1 == 1) == negative
    return _top_of(limit, ~low if flip else low, bits, wrap_bits)


def of_wrap_sign_magnitude_hls(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """As :func:`of_wrap_sign_magnitude`, but a value that fits is left alone whatever the carry says (AP_WRAP_SM)."""
    if not (below | above):
        return low
    return of_wrap_sign_magnitude(low, below, above, carry, negative, bits, signed, wrap_bits)


def of_numeric_std(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """Keeps the sign and the low ``bits - 1`` bits (resize of VHDL's numeric_std); unsigned values wrap."""
    if not signed:
        return low
    mask = highest(bits, True)
    return (low & mask) - (mask + 1) if negative else low & mask


def of_misfit(
    low: int, below: bool, above: bool, carry: bool, negative: bool, bits: int, signed: bool, wrap_bits: int
) -> int:
    """-1 or 1 where the value lies below or above the register, 0 where it fits: a policy that only tells."""
    if below:
        return -1
    return 1 if above else 0


OVERFLOWS: dict[str, Overflow] = {
    "wrap": of_wrap,
    "wrap_ones": of_wrap_ones,
    "saturate": of_saturate,
    "saturate_symmetric": of_saturate_symmetric,
    "saturate_symmetric_hls": of_saturate_symmetric_hls,
    "zero": of_zero,
    "wrap_sign_magnitude": of_wrap_sign_magnitude,
    "wrap_sign_magnitude_hls": of_wrap_sign_magnitude_hls,
    "numeric_std": of_numeric_std,
}
"""what a cast may do; ``error`` is the ninth, and is the caller's affair"""
