"""Stochastic rounding with random bits that depend on the seed and on the place of the element, and on nothing else.

Two generators: ``counter`` hashes (seed, index) by the finalizer of SplitMix64, so that any thread may compute any
element; ``lfsr`` is the 32-bit Galois shift register with polynomial 0x80200003, as small hardware has it.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014; Xilinx XAPP 052 (taps 32, 22, 2, 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError, listed

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LFSR_MASK = 0x80200003
WIDTHS = {"counter": 64, "lfsr": 32}
"""generator -> random bits of an element"""


def counter_bits(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """64 random bits for each of ``count`` elements: SplitMix64 of ``seed``, element by element."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN) + np.uint64(seed % (1 << 64))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return result


def lfsr_bits(seed: int, count: int) -> list[int]:
    """``count`` successive states of the 32-bit Galois register, starting from ``seed`` (which must not be 0)."""
    state = seed % (1 << 32)
    if state == 0:
        raise DomainError("seed is 0 modulo 2**32; allowed for an LFSR: any other")
    states = []
    for _ in range(count):
        state = (state >> 1) ^ (LFSR_MASK if state & 1 else 0)
        states.append(state)
    return states


@dataclass(frozen=True, slots=True)
class Source:
    """Where random bits come from: ``counter`` or ``lfsr``, and the seed."""

    seed: int = 0
    generator: str = "counter"

    def __post_init__(self) -> None:
        if self.generator not in WIDTHS:
            raise DomainError(f"generator is {self.generator!r}; allowed: {listed(WIDTHS)}")

    @property
    def width(self) -> int:
        """Random bits of an element."""
        return WIDTHS[self.generator]

    def bits(self, count: int) -> list[int]:
        """``width`` random bits for each of ``count`` elements."""
        return lfsr_bits(self.seed, count) if self.generator == "lfsr" else counter_bits(self.seed, count).tolist()


def shift_right(values: Sequence[int], shifts: Sequence[int], rule: str, source: Source) -> list[int]:
    """``value / 2**shift``, rounded up or down at random; values that are not shifted stay.

    ``stochastic_weighted`` goes up with the probability of the fraction, so that the mean is exact; with
    ``stochastic_equal`` an inexact value goes up with probability 1/2, with ``stochastic_coin`` any value does.
    """
    width = source.width
    result = []
    for value, shift, random in zip(values, shifts, source.bits(len(values)), strict=True):
        if shift <= 0:
            result.append(value)
        elif rule == "stochastic_weighted":
            dither = random >> (width - shift) if shift <= width else random << (shift - width)
            result.append((value + dither) >> shift)
        else:
            floor = value >> shift
            moves = rule == "stochastic_coin" or value != floor << shift
            result.append(floor + (random >> (width - 1) if moves else 0))
    return result
