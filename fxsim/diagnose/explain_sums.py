"""The search on sums of products: accumulators once for each way to sum, then every way to requantize them.

A way to sum (width, order, padding, ...) gives accumulators; where they rise in a channel and the device's output falls,
no clamped requantization can be right. What is left is tried on a sample, then confirmed on all elements.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose import quirks
from fxsim.diagnose.cases import Case
from fxsim.diagnose.explain_fits import Fits, Sums
from fxsim.diagnose.explain_ways import Way, Ways, alike_together
from fxsim.diagnose.windows import reached, rises, sampled
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics
from fxsim.sim.layer import Layer
from fxsim.sim.rescale import parts

SAMPLE = 4096
"""elements on which every candidate is tried first"""
CACHED = 1 << 14
"""elements at a time whose parts the cache holds"""
POSITIONS = 96
"""output positions that they come from, at most"""
NEAR = 3
"""nearest arithmetics from which any two steps are taken; from all others, not along the :data:`LONG_AXES`"""
LONG_AXES = ("multiplier", "lanes")


@dataclass(frozen=True, slots=True)
class Member:
    """One arithmetic: how many quirks it is away from a shipped profile, which it may be itself."""

    settings: OpNumerics
    quirks: int
    profiles: tuple[str, ...] = ()
    behaviour: tuple[Any, ...] = field(default=(), compare=False, repr=False)
    """members of equal behaviour are the same function"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found: ``fitting`` reproduces every bit, the simplest first."""

    fitting: tuple[Member, ...]
    nearest: tuple[tuple[int, OpNumerics], ...]
    """the shipped arithmetics and the user's, by how many of the ``tried`` elements they miss"""
    tried: int
    ties: int = 0
    """elements that lie halfway between two outputs, under the first of ``fitting``"""


def ordered(members: list[Member], users: OpNumerics) -> list[Member]:
    """The simplest first: what ships, what few quirks make, what is nearest to the user's own."""
    return sorted(members, key=lambda m: (m.quirks, not m.profiles, quirks.distance(m.settings, users)))


@dataclass(slots=True, eq=False)
class Search:
    """A search on one layer. ``users`` is the arithmetic of the user's own simulation, ``bases`` what others have."""

    case: Case
    users: OpNumerics
    bases: dict[OpNumerics, list[str]]
    ways: Ways = field(init=False)
    at: Array = field(init=False)
    """the sample's positions: inference, batch, row, column"""
    out: Array = field(init=False)
    rows: list[Array] = field(init=False)
    fits: Fits = field(init=False)

    def __post_init__(self) -> None:
        """Draws the sample: where the user's simulation is wrong, at the borders, and anywhere."""
        self.ways = Ways(self.case, self.users)
        layer = self.ways.layer
        self.rows = [layer.as_rows(out[0]) for out in self.case.outputs]
        self.at = self._drawn(layer)
        self.out = np.stack([self.rows[i][j, k, m] for i, j, k, m in self.at]).astype(np.int64)
        _, b, y, x = self.at.T
        g = layer.geometry
        flat = (((b * g.out_h) + y) * g.out_w + x) * g.out_c
        self.fits = Fits(self.ways, self.out, flat)

    def _drawn(self, layer: Layer) -> Array:
        g = layer.geometry
        size = max(4, min(POSITIONS, SAMPLE // g.out_c))
        shape = (len(self.rows), g.batch, g.out_h, g.out_w)
        wrong = np.zeros(shape, np.int64)
        for i, (made, theirs) in enumerate(zip(self.case.run(self.users), self.rows, strict=True)):
            wrong[i] = np.count_nonzero(layer.as_rows(made[0]) != theirs, axis=-1)
        worst = np.argsort(-wrong.reshape(-1), kind="stable")[: size // 2]
        corners = [(0, 0, y, x) for y in (0, g.out_h - 1) for x in (0, g.out_w - 1)]
        ends = [int(np.ravel_multi_index(c, shape)) for c in corners]
        anywhere = np.random.default_rng(0).permutation(wrong.size)[:size]
        chosen = list(dict.fromkeys([*worst.tolist(), *ends, *anywhere.tolist()]))[:size]
        return np.array(np.unravel_index(np.array(chosen), shape)).T

    def _sums(self, settings: OpNumerics, count: int) -> Sums | None:
        layer = self.ways.layer_for(settings)
        if layer is None:
            return None
        acc = sampled(self.case, layer, self.at)
        return Sums(settings, layer, acc, rises(acc, self.out), count, {_key(settings)}, self.ways.summing(layer))

    def run(self) -> Outcome:
        """All arithmetics of the catalogue that reproduce the layer."""
        sums = self._all_sums()
        nearest = self._ranked(sums)
        groups = _groups(sums)
        ways = self._all_ways([s for _, s in nearest], [g[0] for g in groups if min(s.quirks for s in g) == 0])
        found = [m for group in groups for m in self._fitting(group, ways)]
        seconds = self._second(sums, {m.behaviour[0] for m in found})
        bare = [w for w in ways if not w[2]]
        found += [m for group in _groups(seconds) for m in self._fitting(group, bare)]
        sums += seconds
        fitting, ties = self._confirmed(found, sums)
        fitting = ordered(fitting, self.users)
        return Outcome(tuple(fitting), tuple(nearest), self.out.size, ties)

    def _all_sums(self) -> list[Sums]:
        """The user's, those of the bases, and those of one quirk off any, if any input could tell them apart."""
        usual = self._sums(self.users, 0)
        assert usual is not None
        found = [usual]
        for base in self.bases:
            self._take(found, base, 0)
        for of in {_key(s): s for s in (*self.bases, self.users)}.values():
            for n, several in enumerate(quirks.SUMS.values()):
                for q in several:
                    self._take(found, q.apply(of), 1, n)
        return found

    def _second(self, sums: list[Sums], fitting: set[int]) -> list[Sums]:
        """Ways to sum with two quirks: off those of one that fit and show in the data; off all of them if none fits."""
        usual, made = sums[0], []
        shown = [s for s in sums if s.quirks == 1 and not np.array_equal(s.acc, usual.acc)]
        operands = [axis[0].part == "operands" for axis in quirks.SUMS.values()]  # so few that any two are tried
        for of in shown:
            fits, plain = id(of) in fitting, operands[of.axis]
            for n, axis in enumerate(quirks.SUMS.values()):
                after = n > of.axis and (not fitting or (plain and operands[n]))
                if after or (fits and n != of.axis):
                    made += [q.apply(of.settings) for q in axis]
        found: list[Sums] = []
        known = {s.alike for s in sums}
        for settings in dict.fromkeys(made):
            layer = self.ways.layer_for(settings)
            if layer is None or (alike := self.ways.summing(layer)) in known:
                continue
            known.add(alike)
            sums_of = self._sums(settings, 2)
            if sums_of is not None and sums_of.rises:
                found.append(sums_of)
        return found

    def _take(self, found: list[Sums], settings: OpNumerics, count: int, axis: int = -1) -> None:
        for known in found:
            if _key(settings) in known.same:
                return
        layer = self.ways.layer_for(settings)
        if layer is None:
            return
        alike = self.ways.summing(layer)
        for known in found:
            if alike == known.alike and known.quirks == 0:
                known.same.add(_key(settings))
                return
        sums = self._sums(settings, count)
        if sums is not None:
            sums.axis = axis
            found.append(sums)

    def _ranked(self, sums: list[Sums]) -> list[tuple[int, OpNumerics]]:
        rows = []
        for settings in dict.fromkeys((self.users, *self.bases)):
            of = next((s for s in sums if _key(settings) in s.same), None)
            way = self.ways.of(settings)
            if of is not None and way is not None:
                rows.append((int(np.count_nonzero(self.fits.made(way, of) != self.out)), settings))
        return sorted(rows, key=lambda r: r[0])

    def _all_ways(self, bases: list[OpNumerics], plain: list[Sums]) -> list[tuple[Way, OpNumerics, int]]:
        """Every distinct requantization with the fewest quirks that make it; the bases' own all of them.

        With two quirks only what fits one of the sums ``plain``, which have none.
        """
        own: list[tuple[Way, OpNumerics, int]] = []
        others: dict[Any, tuple[Way, OpNumerics, int]] = {}
        seen = set()
        for settings, count in _candidates(bases):
            if count and settings.variant not in quirks.OVERRULING:  # which depend on all settings
                alike = settings.requantize, settings.variant
                if alike in seen:
                    continue
                seen.add(alike)
                if count == 2 and all(self.fits.refuted(settings, of) for of in plain):
                    continue
            way = self.ways.of(settings)
            if way is None:
                continue
            if count == 0:
                own.append((way, settings, 0))
            elif way.key not in others and (count == 1 or any(self.fits.holds(way, of) for of in plain)):
                others[way.key] = way, settings, count
        known = {way.key for way, _, _ in own}
        return own + [row for key, row in others.items() if key not in known]

    def _fitting(self, group: list[Sums], ways: list[tuple[Way, OpNumerics, int]]) -> Iterator[Member]:
        """Members whose outputs are right on the sample; all of ``group`` have the same accumulators there."""
        first, least = group[0], min(s.quirks for s in group)
        for way, settings, count in ways:
            if count + least > 2 or not self.fits.holds(way, first):
                continue
            for sums in group:
                own = _key(settings) in sums.same
                total = count + (0 if own and not sums.quirks else max(1, sums.quirks))
                if total <= 2:
                    whole = settings if own else _joined(settings, sums.settings)
                    yield Member(whole, total, tuple(self.bases.get(whole, ())), (id(sums), way.key))

    def _confirmed(self, found: list[Member], sums: list[Sums]) -> tuple[list[Member], int]:
        """The members that are right on every element, one for each behaviour; and the ties that the first one met."""
        ways = {m.behaviour[1]: self.ways.of(m.settings) for m in found}
        usual, ties, span = sums[0], 0, None
        kept: dict[tuple[Any, ...], Member] = {}
        plain = self._whole(usual)
        right: dict[Any, bool] = {}
        for of in sums:
            members = [m for m in found if m.behaviour[0] == id(of)]
            accs = plain
            if members and of is not usual:
                span = span or reached(usual.layer, self.case)
                own = plain if _untouched(of, usual, span) else self._whole(of)
                accs = plain if all(map(np.array_equal, own, plain)) else own
            named = None if accs is plain else id(of)
            products: dict[Any, dict[Any, Way]] = {}
            for member in members:
                way = ways[member.behaviour[1]]
                assert way is not None
                if (named, way.key) not in right:
                    products.setdefault(way.product, {})[way.key] = way
            for alike in products.values():
                held, halves = self._right(alike, of.layer, accs)
                right |= {(named, key): key in held for key in alike}
                ties = ties or halves
            for member in alike_together(members, lambda m: m.behaviour[1][2]):
                way = ways[member.behaviour[1]]
                if way is not None and right[named, way.key]:
                    old = kept.get(member.behaviour)
                    names = tuple(dict.fromkeys((*(old.profiles if old else ()), *member.profiles)))
                    best = member if old is None or member.quirks < old.quirks else old
                    kept[member.behaviour] = replace(best, profiles=names)
        return list(kept.values()), ties

    def _whole(self, of: Sums) -> list[Array]:
        """The accumulators of all elements, an array an inference."""
        return [of.layer.accumulate(given[of.layer.position]) for given in self.case.inputs]

    def _right(
        self, alike: dict[Any, Way], layer: Layer, accs: list[Array], at_once: int = CACHED
    ) -> tuple[set[Any], int]:
        """Which ways of one product make all elements, by key; and how many elements are ties, if one does."""
        left, ties, size = dict(alike), 0, layer.geometry.outputs
        way = next(iter(left.values()))
        for acc, theirs in zip(accs, self.rows, strict=True):
            rows = acc.reshape(-1, acc.shape[-1])
            wanted, step = theirs.reshape(rows.shape), max(1, at_once // rows.shape[1])
            for start in range(0, len(rows), step):
                some, made = rows[start : start + step], wanted[start : start + step]
                seen, flat = parts(way.scheme, some, way.scales), np.arange(start, start + len(some)) * rows.shape[1]
                if seen is None and step < len(rows):  # what a kernel alone knows, it knows of all elements
                    return self._right(alike, layer, accs, rows.size)
                left = {k: w for k, w in left.items() if np.array_equal(w.outputs(some, flat, seen, layer, size), made)}
                if not left:
                    return set(), 0
                ties += 0 if seen is None else int(np.count_nonzero(seen[2]))
        return set(left), ties


def _candidates(bases: list[OpNumerics]) -> Iterator[tuple[OpNumerics, int]]:
    """``(settings, quirks)``: the bases, one quirk off any, two off the nearest, off others along the short axes."""
    yield from ((base, 0) for base in bases)
    yield from ((s, 1) for base in bases for s in _one_off(base))
    yield from ((s, 2) for n, base in enumerate(bases) for s in _two_off(base, n < NEAR))


@lru_cache(maxsize=64)
def _one_off(base: OpNumerics) -> list[OpNumerics]:
    return [q.apply(base) for several in quirks.REQUANTIZE.values() for q in several]


@lru_cache(maxsize=64)
def _two_off(base: OpNumerics, near: bool) -> list[OpNumerics]:
    axes = {k: v for k, v in quirks.REQUANTIZE.items() if near or k not in LONG_AXES}
    return [b.apply(a.apply(base)) for a, b in quirks.pairs(axes)]


def _key(settings: OpNumerics) -> tuple[Any, Any]:
    """What the sum depends on."""
    return settings.accumulator, settings.operands


def _joined(settings: OpNumerics, sums: OpNumerics) -> OpNumerics:
    """The requantization of the one with the sums of the other."""
    return msgspec.structs.replace(settings, accumulator=sums.accumulator, operands=sums.operands)


def _groups(sums: list[Sums]) -> list[list[Sums]]:
    """Ways to sum by their accumulators on the sample."""
    groups: dict[bytes, list[Sums]] = {}
    for s in sums:
        groups.setdefault(s.acc.tobytes(), []).append(s)
    return list(groups.values())


def _untouched(of: Sums, usual: Sums, span: tuple[int, int]) -> bool:
    """True if the way to sum is the usual one but for a register that the data never left."""
    a, b = of.settings.accumulator, usual.settings.accumulator
    alike = msgspec.structs.replace(a, bits=b.bits, overflow=b.overflow, at=b.at) == b
    fits = lowest(a.bits) <= span[0] and span[1] <= highest(a.bits)
    return alike and fits and of.settings.operands == usual.settings.operands and a.order == "sequential"
