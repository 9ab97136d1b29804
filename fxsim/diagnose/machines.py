"""Registers as machines that take one product after the other: every state that two of them reach side by side.

What few taps can make is followed exactly: the states that both registers can be in after each tap, whatever the inputs,
and back from any of the last ones to inputs that lead there.
"""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.overflow import highest, lowest, wrap
from fxsim.diagnose.bounds import TWO_AT_A_TIME, flat_weight, lifted, outside, register, stored
from fxsim.diagnose.reachable import table
from fxsim.kernels.ordered import FREE_BITS
from fxsim.model.qtype import Array
from fxsim.numerics import Accumulator
from fxsim.sim.layer import Layer

Ints = npt.NDArray[np.int64]
State = tuple[Ints, Ints]
"""what a register holds, and the first of two products that are yet to be added to it together"""
ORDERS = ("sequential", *TWO_AT_A_TIME, "float32", "float16")
HALF_ENDS = 65520
"""from which on a float16 is infinite"""
TABLE = 1 << 27
"""states that there might be, up to which each is marked in a table"""
SORTED = 1 << 21
"""of more, so many are sorted"""
CHOICES = 1 << 10
"""products of one tap"""
STEPS = 1 << 23
"""at one tap"""
STATES = 1 << 20
"""after one tap"""


@lru_cache(maxsize=8)
def _halves(most: int, infinite: int) -> Ints:
    """``0..most, -most..-1`` rounded to float16."""
    value = np.concatenate([np.arange(most + 1), np.arange(-most, 0)])
    finite = np.abs(value) < HALF_ENDS
    rounded = np.where(finite, value, 0).astype(np.float16).astype(np.int64)
    return np.where(finite, rounded, np.sign(value) * infinite)


@dataclass(slots=True)
class Work:
    """Steps of machines that may yet be taken, and what came of those that were."""

    left: int = 1 << 29
    known: dict[Any, Any] = field(default_factory=dict)

    def spend(self, steps: int, most: int) -> bool:
        """True if so many may be: no more than ``most`` at once."""
        if steps > min(self.left, most):
            return False
        self.left -= steps
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One channel's register under one kind of window."""

    a: Accumulator
    tables: list[Ints]
    """of each tap: its product with each input, or the one that it has outside the image"""
    last: int
    """what is added at the end"""

    @property
    def _wide(self) -> int:
        return FREE_BITS if self.a.at == "end" else self.a.bits

    def step(self, tap: int, state: State, product: int) -> State:
        """The states after a tap's product."""
        (s, waiting), order = state, self.a.order
        if order in TWO_AT_A_TIME:
            if tap % 2 == 0 and tap + 1 < len(self.tables):
                return s, np.full_like(s, product)
            pair = fitted(waiting + product, 16, "saturate")
            narrow = order == "spill16"
            return fitted(s + pair, *((16, "saturate") if narrow else (self._wide, self.a.overflow))), np.zeros_like(s)
        if order == "float32":
            return (s + product).astype(np.float32).astype(np.int64), waiting
        if order == "float16":
            return self._half(s + product), waiting
        return fitted(s + product, self._wide, self.a.overflow), waiting

    @property
    def _infinite(self) -> int:
        """Stands for infinity, which no product takes back."""
        return HALF_ENDS + 2 * max(int(np.abs(t).max()) for t in self.tables)

    def _half(self, value: Ints) -> Ints:
        most = int(np.abs(value).max())
        return _halves(1 << most.bit_length(), self._infinite)[value]

    def accumulators(self, s: Ints) -> Ints:
        """What the register holds at the very end."""
        if self.a.order == "float16":
            s = np.where(s >= HALF_ENDS, highest(self._wide), np.where(s <= -HALF_ENDS, lowest(self._wide), s))
        if self.a.order not in ("sequential", "pairs16"):
            s = fitted(s, self._wide, self.a.overflow)
        return fitted(s + self.last, self.a.bits, self.a.overflow)


def fitted(value: Ints, bits: int, overflow: str) -> Ints:
    """What a register holds of integers: the policies of :mod:`fxsim.arith.overflow` on arrays."""
    if bits >= FREE_BITS:
        return value
    if overflow == "saturate":
        clipped: Ints = np.clip(value, lowest(bits), highest(bits))
        return clipped
    return wrap(value, bits)  # type: ignore[return-value,arg-type]


def machine(layer: Layer, channel: int, cover: npt.NDArray[np.bool_]) -> Machine | None:
    """The register of a channel where ``cover`` of its taps lie in the image; None where its order is not known here."""
    a = register(layer) or Accumulator(bits=64)
    if a.order not in ORDERS or a.lanes:
        return None
    of, last = lifted(replace(layer, accumulator=a))
    made, (low, high), begins = table(of, flat_weight(layer)[:, channel]), layer.input_range, stored(layer)[0]
    inside, beyond = made[:, low - begins : high - begins + 1], made[:, outside(layer) - begins]
    if a.order == "float16" and int(np.abs(made).max()) > HALF_ENDS:
        return None
    return Machine(a, [inside[n] if cover[n] else beyond[n : n + 1] for n in range(len(made))], int(last[channel]))


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """One machine or two that are given the same inputs."""

    machines: tuple[Machine, ...]
    states: list[Array] = field(default_factory=list)
    """after each tap, ``(2 * machines, states)``: what each holds, and what waits"""

    @property
    def accumulators(self) -> list[Ints]:
        """What each holds at the end, wherever they can at once."""
        return [m.accumulators(self.states[-1][2 * n]) for n, m in enumerate(self.machines)]

    def choices(self, tap: int) -> list[tuple[int, list[int]]]:
        """``(input, products)`` of a tap, one input for each products that differ; inputs are counted from the least."""
        of = np.stack([m.tables[tap] for m in self.machines])
        _, first = np.unique(of, axis=1, return_index=True)
        return [(int(i), of[:, i].tolist()) for i in first]

    def step(self, tap: int, states: Array, products: list[int]) -> list[Ints]:
        """The states after one choice."""
        after: list[Ints] = []
        for n, machine in enumerate(self.machines):
            after += machine.step(tap, (states[2 * n], states[2 * n + 1]), products[n])
        return after

    def inputs(self, state: int, rng: np.random.Generator) -> Ints:
        """Of each tap, the input that leads to a last state, counted from the least."""
        wanted, found = self.states[-1][:, state], np.zeros(len(self.states) - 1, np.int64)
        for tap in reversed(range(len(found))):
            before, choices = self.states[tap], self.choices(tap)
            for n in rng.permutation(len(choices)):
                given, products = choices[n]
                after = np.array(self.step(tap, before, products))
                hits = np.flatnonzero(np.all(after.T == wanted, axis=1))
                if len(hits):
                    found[tap], wanted = given, before[:, rng.choice(hits)]
                    break
        return found


def side_by_side(machines: tuple[Machine, ...], work: Work) -> Joint | None:
    """Every state that they reach; None where there are too many."""
    joint = Joint(machines)
    joint.states.append(np.zeros((2 * len(machines), 1), np.int64))
    for tap in range(len(machines[0].tables)):
        after = _after(joint, tap, work)
        if after is None:
            return None
        joint.states.append(after)
    return joint


def _after(joint: Joint, tap: int, work: Work) -> Array | None:
    """The states after a tap, each once."""
    before, choices = joint.states[tap], [products for _, products in joint.choices(tap)]
    steps = before.shape[1] * len(choices)
    if len(choices) > CHOICES or not work.spend(steps, STEPS):
        return None

    def columns(products: list[int]) -> list[Ints]:
        """A second machine's by how they differ from the first's: they are mostly the same."""
        made = joint.step(tap, before, products)
        return made[:2] + [v - first for v, first in zip(made[2:], made[:2], strict=False)]

    ends = [np.array([(c.min(), c.max()) for c in columns(products)]) for products in choices]
    low, high = np.min(ends, axis=0)[:, 0], np.max(ends, axis=0)[:, 1]
    sizes = [int(v) for v in high - low + 1]
    count = math.prod(sizes)
    if count > (TABLE if steps > SORTED else 1 << 62):
        return None

    def codes(products: list[int]) -> Ints:
        code = np.zeros(before.shape[1], np.int64)
        for column, least, size in zip(columns(products), low, sizes, strict=True):
            code = code * size + (column - least) if size > 1 else code
        return code

    if count <= TABLE and steps * 64 > count:
        marked = np.zeros(count, np.bool_)
        for products in choices:
            marked[codes(products)] = True
        found = np.flatnonzero(marked)
    else:
        found = np.unique(np.concatenate([codes(products) for products in choices]))
    if len(found) > STATES:
        return None
    split: Array = np.array(np.unravel_index(found, sizes)) + low[:, np.newaxis]
    split[2:] += split[: len(split) - 2]
    return split
