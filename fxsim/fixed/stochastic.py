"""Stochastic rounding with random bits that depend on the seed and on the place of the element, and on nothing else.

Two generators: ``counter`` hashes (seed, index) by the finalizer of SplitMix64, so that any thread may compute any
element; ``lfsr`` is the 32-bit Galois shift register with polynomial 0x80200003, as small hardware has it.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014; Xilinx XAPP 052 (taps 32, 22, 2, 1).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError

Raw = npt.NDArray[Any]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LFSR_MASK = 0x80200003


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


def shift_right(raw: Raw, shift: int, rule: str, seed: int, generator: str = "counter") -> Raw:
    """``raw / 2**shift``, rounded up or down at random.

    ``stochastic_weighted`` goes up with the probability of the fraction, so that the mean is exact; with
    ``stochastic_equal`` an inexact value goes up with probability 1/2, with ``stochastic_coin`` any value does.
    """
    if shift <= 0:
        return raw
    flat = [int(v) for v in raw.reshape(-1)]
    if generator not in ("counter", "lfsr"):
        raise DomainError(f"generator is {generator!r}; allowed: 'counter', 'lfsr'")
    bits = lfsr_bits(seed, len(flat)) if generator == "lfsr" else [int(v) for v in counter_bits(seed, len(flat))]
    width = 32 if generator == "lfsr" else 64
    result = []
    for value, random in zip(flat, bits, strict=True):
        if rule == "stochastic_weighted":
            dither = random >> (width - shift) if shift <= width else random << (shift - width)
            result.append((value + dither) >> shift)
        else:
            floor = value >> shift
            moves = rule == "stochastic_coin" or value != floor << shift
            result.append(floor + (random >> (width - 1) if moves else 0))
    return np.array(result, dtype=raw.dtype if raw.dtype == object else np.int64).reshape(raw.shape)
