"""Whether a register is wide enough for a dot product, with the worst input spelled out."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import SupportsIndex

from fxsim.arith.bounds import bits_needed, dot_range
from fxsim.arith.overflow import highest, lowest
from fxsim.errors import DomainError
from fxsim.prove.claims import Certificate, Counterexample, Progress, Range, as_range


@dataclass(frozen=True, slots=True)
class AccumulatorClaim:
    """Every running sum of ``sum(w[i] * x[i]) + bias``, in every order of its terms, fits a signed register.

    A counterexample to it is the input that reaches the sum farthest outside.
    """

    weights: tuple[int, ...]
    low: int
    high: int
    bits: int
    bias: int

    @property
    def name(self) -> str:
        """What is claimed, in words."""
        return f"a dot product of {len(self.weights)} weights with bias {self.bias} cannot overflow {self.bits} bits"

    @property
    def variables(self) -> Mapping[str, Range]:
        """The inputs ``x[0]``, ``x[1]``, ..."""
        return {f"x[{i}]": (self.low, self.high) for i in range(len(self.weights))}

    @property
    def size(self) -> int:
        """How many inputs there are."""
        return math.prod([self.high - self.low + 1] * len(self.weights))

    def sums(self, values: Mapping[str, int]) -> Range:
        """The least and the greatest running sum of one input, over all orders of its terms."""
        terms = [self.bias, *(w * values[f"x[{i}]"] for i, w in enumerate(self.weights))]
        return sum(t for t in terms if t < 0), sum(t for t in terms if t > 0)

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether all running sums of one input fit."""
        return bits_needed(*self.sums(values)) <= self.bits

    def worst(self, upward: bool) -> dict[str, int]:
        """The input whose running sum goes farthest up, or down: terms of one sign as large as they get, others as small."""

        def pick(weight: int) -> int:
            return self.high if (weight > 0) == upward else self.low

        return {f"x[{i}]": pick(w) for i, w in enumerate(self.weights)}

    def decide(self, progress: Progress | None) -> Certificate | Counterexample:
        """By the exact range of the sums; the worst inputs show that both its ends are reached."""
        start = time.perf_counter()
        positive, negative = sum(w for w in self.weights if w > 0), sum(w for w in self.weights if w < 0)
        bottom, top = dot_range(positive, negative, self.low, self.high, self.bias)
        up, down = self.worst(True), self.worst(False)
        if (self.sums(down)[0], self.sums(up)[1]) != (bottom, top):
            raise AssertionError(f"{self.name}: the worst inputs do not reach {bottom} .. {top}")
        facts: dict[str, object] = {"running sums": f"{bottom} .. {top}", "bits needed": bits_needed(bottom, top)}
        seconds = time.perf_counter() - start
        if bits_needed(bottom, top) <= self.bits:
            facts |= {"greatest sum at": tuple(up.values()), "least sum at": tuple(down.values())}
            return Certificate(self, "exact range", "arith.bounds", self.size, seconds, facts)
        over, under = top - highest(self.bits), lowest(self.bits) - bottom
        at, reached, limit = (up, top, highest(self.bits)) if over >= under else (down, bottom, lowest(self.bits))
        return Counterexample(self, at, reached, limit, "exact range", "arith.bounds", seconds, facts)


def accumulator_cannot_overflow(
    weights: Iterable[SupportsIndex], low: int, high: int, bits: int, bias: int = 0
) -> AccumulatorClaim:
    """No running sum of ``sum(w[i] * x[i]) + bias`` with ``low <= x[i] <= high`` leaves a signed register of ``bits`` bits.

    The claim covers every order in which terms and bias are added. ``weights`` are the integers of one output (a flat
    array will do); ``low .. high`` are the inputs less their zero point.

    Raises:
        DomainError: there are no weights, or the range or the register is empty.
    """
    given = tuple(w.__index__() for w in weights)
    if not given:
        raise DomainError("accumulator_cannot_overflow: no weights")
    if bits < 1:
        raise DomainError(f"accumulator_cannot_overflow: bits is {bits}; allowed: 1 and above")
    low, high = as_range("x", (int(low), int(high)))
    return AccumulatorClaim(given, low, high, int(bits), int(bias))
