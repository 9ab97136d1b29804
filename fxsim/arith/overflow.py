"""Overflow: what becomes of an integer that does not fit its register. One function for each policy.

Two's complement registers of ``bits`` bits hold ``-2**(bits-1) .. 2**(bits-1) - 1``.
"""

from collections.abc import Callable

Policy = Callable[[int, int], int]


def lowest(bits: int) -> int:
    """``-2**(bits - 1)``, the least value of a signed register; exact compiled for ``1 <= bits <= 63``."""
    return -(1 << (bits - 1))


def highest(bits: int) -> int:
    """``2**(bits - 1) - 1``, the greatest value of a signed register; exact compiled for ``1 <= bits <= 63``."""
    return (1 << (bits - 1)) - 1


def wrap(value: int, bits: int) -> int:
    """``value`` modulo ``2**bits``, as a signed number: the low bits are kept, as plain adders do (SC_WRAP).

    Exact compiled for ``1 <= bits <= 62`` and ``abs(value) < 2**62``.
    """
    half = 1 << (bits - 1)
    return ((value + half) & ((half << 1) - 1)) - half


def saturate(value: int, bits: int) -> int:
    """``value`` clamped to the register's range (SC_SAT); exact compiled for ``1 <= bits <= 63``."""
    return min(max(value, lowest(bits)), highest(bits))


POLICIES: dict[str, Policy] = {"wrap": wrap, "saturate": saturate}
