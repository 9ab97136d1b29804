"""Which accumulators a few taps can make, all of them, and inputs that make one.

A set of integers is held as the bits of one integer; a tap adds each of its products to it, by shifts. A register that
saturates at each step gathers what passes its ends there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose.bounds import Mask, covers, finals, flat_weight, outside, register, scaled, stored
from fxsim.model.qtype import Array
from fxsim.sim.layer import Layer

FEW = 16
"""taps whose sums are all looked at"""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What a channel's accumulator can be: ``sums``, or anything of ``low..high`` where those were not looked at."""

    low: int
    high: int
    sums: Ints | None

    def near(self, values: Ints) -> Ints:
        """The reachable accumulators next to ``values``: from each on, and below it."""
        if self.sums is None:
            near: Ints = np.clip(np.concatenate([values, values - 1]), self.low, self.high)
        else:
            place = np.searchsorted(self.sums, values)
            near = self.sums[np.clip(np.concatenate([place, place - 1]), 0, len(self.sums) - 1)]
        return near

    def ranks(self, thresholds: Ints) -> tuple[Ints, int]:
        """How many of them lie below each threshold, and how many there are."""
        if self.sums is not None:
            return np.searchsorted(self.sums, thresholds), len(self.sums)
        return np.clip(thresholds, self.low, self.high + 1) - self.low, self.high + 1 - self.low


@dataclass(slots=True, eq=False)
class Chain:
    """Sums of one product from each row of ``tables``, added in turn to ``start`` within ``ends``."""

    tables: Ints
    """``(taps, inputs)``"""
    start: int = 0
    ends: tuple[int, int] | None = None
    """of a register that saturates, at each step or at the last alone"""
    last_alone: bool = False
    _sets: list[tuple[int, int]] = field(init=False)
    """after each tap: the least sum, and the set above it as bits"""
    _arrays: dict[int, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Makes the sets."""
        self._sets = [(self.start, 1)]
        for n, table in enumerate(self.tables):
            self._sets.append(self._within(n, *_added(*self._sets[-1], table)))

    def _saturates(self, tap: int) -> bool:
        return self.ends is not None and (not self.last_alone or tap == len(self.tables) - 1)

    def _within(self, tap: int, least: int, bits: int) -> tuple[int, int]:
        if self.ends is None or not self._saturates(tap):
            return least, bits
        low, high = self.ends
        if least < low:
            passed = bits & ((1 << (low - least)) - 1)
            least, bits = low, (bits >> (low - least)) | (1 if passed else 0)
        top = high - least
        if top < 0:
            return high, 1
        if bits >> (top + 1):
            bits = (bits & ((1 << (top + 1)) - 1)) | (1 << top)
        return least, bits

    def _array(self, n: int) -> npt.NDArray[np.bool_]:
        if n not in self._arrays:
            bits = self._sets[n][1]
            raw = np.frombuffer(bits.to_bytes(bits.bit_length() // 8 + 1, "little"), np.uint8)
            self._arrays[n] = np.unpackbits(raw, bitorder="little").astype(np.bool_)
        return self._arrays[n]

    @property
    def span(self) -> tuple[int, int]:
        """The least and the greatest sum."""
        least, bits = self._sets[-1]
        return least, least + bits.bit_length() - 1

    @property
    def sums(self) -> Ints:
        """All of them, in order."""
        return np.flatnonzero(self._array(len(self.tables))) + self._sets[-1][0]

    def solve(self, target: int, rng: np.random.Generator) -> Ints | None:
        """The column of each tap's product, so that the sum is ``target``; None if no inputs make it."""
        last = len(self.tables)
        if not _has(self._array(last), np.array([target - self._sets[last][0]]))[0]:
            return None
        chosen = np.zeros(last, np.int64)
        for n in reversed(range(last)):
            held, least = self._array(n), self._sets[n][0]
            wanted = target - self.tables[n] - least  # places of what the sum may have been before
            if self.ends is not None and self._saturates(n) and target in self.ends:
                found = self._beyond(held, wanted, up=target == self.ends[1], rng=rng)
            else:
                found = np.where(_has(held, wanted), wanted, -1)
            chosen[n] = rng.choice(np.flatnonzero(found >= 0))
            target = int(found[chosen[n]]) + least
        return chosen

    @staticmethod
    def _beyond(held: npt.NDArray[np.bool_], wanted: Ints, up: bool, rng: np.random.Generator) -> Ints:
        """For each product a place from which it takes the sum to the register's end or past it; -1: there is none."""
        places = np.flatnonzero(held)
        cut = np.searchsorted(places, wanted, side="left" if up else "right")
        low, high = (cut, np.full_like(cut, len(places))) if up else (np.zeros_like(cut), cut)
        at = low + (rng.random(len(cut)) * (high - low)).astype(np.int64)
        return np.where(high > low, places[np.minimum(at, len(places) - 1)], -1)


def _has(held: npt.NDArray[np.bool_], places: Ints) -> npt.NDArray[np.bool_]:
    inside = (places >= 0) & (places < len(held))
    return inside & held[np.where(inside, places, 0)]


def _added(least: int, bits: int, table: Ints) -> tuple[int, int]:
    """The set with each product of ``table`` added."""
    values = np.unique(table)
    first, steps = int(values[0]), np.unique(np.diff(values))
    if len(steps) == 1:  # evenly spaced: double what is there
        step, made, count = int(steps[0]), 1, len(values)
        while made < count:
            more = min(made, count - made)
            bits |= bits << (more * step)
            made += more
        return least + first, bits
    found = 0
    for v in values.tolist():
        found |= bits << (v - first)
    return least + first, found


def chains(layer: Layer, channel: int, of: Iterable[Mask] | None = None) -> list[Chain] | None:
    """All sums of a channel, a chain for each kind of window; None where there are too many, or it adds up otherwise."""
    a = register(layer)
    weight, bias = flat_weight(layer)[:, channel], int(layer.bias[channel])
    if len(weight) > FEW or (a is not None and (a.order != "sequential" or a.product_bits)):
        return None
    if a is not None and a.bits < 64 and a.overflow == "wrap":
        return None
    ends = (lowest(a.bits), highest(a.bits)) if a is not None and a.bits < 64 else None
    made = table(layer, weight)
    fixed = made[:, outside(layer) - stored(layer)[0]]
    last = np.full((1, made.shape[1]), bias)
    found = []
    for cover in covers(layer, of):
        rows = np.where(cover[:, np.newaxis], made, fixed[:, np.newaxis])
        found.append(Chain(np.concatenate([rows, last]), 0, ends, a is not None and a.at == "end"))
    return found


def reached(layer: Layer, of: Sequence[Sequence[Mask]] | None = None) -> list[Reach]:
    """What the accumulator of each channel can be, whatever the input; or in the windows ``of`` that channel."""
    low, high = finals(layer)
    found = []
    for channel in range(len(low)):
        made = chains(layer, channel, (of[channel] or None) if of is not None else None)
        sums = None if made is None else np.unique(np.concatenate([c.sums for c in made]))
        found.append(Reach(int(low[channel]), int(high[channel]), sums))
    return found


def table(layer: Layer, weight: Array) -> Ints:
    """``(taps, inputs)``: the scaled product of each weight with each stored input."""
    low, high = stored(layer)
    x = np.repeat(np.arange(low, high + 1)[:, np.newaxis], len(weight), axis=1)
    return np.ascontiguousarray(scaled(layer, weight, x).T)
