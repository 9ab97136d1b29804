"""What the data could not tell apart: which arithmetics are proved to be the same, and inputs on which the others differ.

A clamped requantization is a rising step function of the accumulator. It is the same as another exactly if both reach
every output at the same accumulator, which bisection over the reachable accumulators of a channel finds.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose.cases import Case
from fxsim.diagnose.explain_sums import Member
from fxsim.diagnose.explain_ways import Way, Ways
from fxsim.diagnose.separate_inputs import (
    Spot,
    at,
    drawn_windows,
    every_window,
    image_shape,
    reach,
    spots,
    styles,
    write_window,
)
from fxsim.diagnose.windows import spans, summed, summing
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics
from fxsim.sim.base import INT32
from fxsim.sim.layer import Layer
from fxsim.sim.rescale import parts

STEPS = 512
"""outputs whose thresholds are looked at; a type with more is not proved"""
TARGETS = 4000
"""accumulators that are looked at for one that separates"""
MOST_WRAPPED = 1 << 14
"""the same of outputs before they wrap"""
TAILS = 8
"""accumulators that are tried for one way to round what lies beyond the last full block"""


@dataclass(slots=True, eq=False)
class Kind:
    """Arithmetics that are proved to be one function of the layer's input."""

    members: list[Member]
    way: Way
    layer: Layer


@dataclass(slots=True, eq=False)
class Separation:
    """The kinds of a layer's fitting members, and a search for inputs that tell them apart."""

    case: Case
    members: Sequence[Member]
    ways: Ways
    kinds: list[Kind] = field(init=False)
    low: npt.NDArray[np.int64] = field(init=False)
    high: npt.NDArray[np.int64] = field(init=False)
    every: Array | None = field(init=False)
    """all windows that there can be, of a layer of one or two taps"""
    _marks: dict[Any, Any] = field(default_factory=dict)
    _by_mark: dict[Any, Kind] = field(init=False)
    probes: Array = field(init=False)
    """accumulators ``(rows, channels)`` around every step of the first member"""

    def __post_init__(self) -> None:
        """Sorts the members into kinds."""
        summed_as = [layer for m in self.members if (layer := self.ways.layer_for(m.settings)) is not None]
        both = [spans(layer) for layer in {id(v): v for v in summed_as}.values()]
        self.low, self.high = np.min([s[0] for s in both], axis=0), np.max([s[1] for s in both], axis=0)
        self.probes, self.every = self._probes(), every_window(self.ways.layer)
        self._by_mark = self._sorted()
        self.kinds = list(self._by_mark.values())

    def _probes(self) -> Array:
        way = self.ways.of(self.members[0].settings)
        assert way is not None
        real = way.scales.real.astype(np.float64)
        halves = (
            np.arange(way.clamp[0] - way.zero - 1, way.clamp[1] - way.zero + 2)
            if not way.wraps
            else np.arange(-300, 301)
        )
        if len(halves) > STEPS:
            halves = np.random.default_rng(0).choice(halves, STEPS, replace=False)
        steps = np.sort(np.concatenate([halves, halves + 0.5]))[:, np.newaxis]
        at = np.rint(steps / np.where(real > 0, real, 1))
        near = np.concatenate([at + d for d in (-2, -1, 0, 1, 2)])
        clipped: Array = np.clip(near, self.low, self.high).astype(np.int64)
        return clipped

    def _sorted(self) -> dict[Any, Kind]:
        kinds: dict[Any, Kind] = {}
        for member in self.members:
            found = self._marked(member.settings)
            if found is not None:
                mark, way, layer = found
                kinds.setdefault(mark, Kind([], way, layer)).members.append(member)
        return kinds

    def _marked(self, settings: OpNumerics) -> tuple[Any, Way, Layer] | None:
        way, layer = self.ways.of(settings), self.ways.layer_for(settings)
        if way is None or layer is None:
            return None
        sums = settings.accumulator, settings.operands, way.key
        if way.key not in self._marks:
            self._marks[way.key] = self._mark(way)
        if self.every is not None:
            alike = summing(layer), self._marks[way.key]
            if alike not in self._marks:
                self._marks[alike] = self._enumerated(layer, way)
            return self._marks[alike], way, layer
        if sums not in self._marks:
            self._marks[sums] = self._sum_mark(layer, way)
        return (self._marks[way.key], self._marks[sums]), way, layer

    def holds(self, settings: OpNumerics) -> bool:
        """True if ``settings`` are proved to be the same function as a member."""
        found = self._marked(settings)
        return found is not None and found[0] in self._by_mark

    def _enumerated(self, layer: Layer, way: Way) -> Any:  # noqa: ANN401
        """What all windows give: nothing else can come, but at the edges."""
        assert self.every is not None
        accs = summed(layer, self.every)
        made, of = way.of(accs, layer), list(way.tail_channels(layer))
        tail = way.tail_way.of(accs, layer)[:, of] if of else made[:, of]
        place = () if np.array_equal(made[:, of], tail) else (way.rest(layer), tail.tobytes())
        return summing(layer)[0], place, made.tobytes()

    def _mark(self, way: Way) -> Any:  # noqa: ANN401
        """Equal for two ways only if they are proved to be one function of every reachable accumulator."""
        key, wraps = way.key, way.wraps
        if wraps:
            way = self._unwrapped(way)
        if way.clamp[1] - way.clamp[0] > (MOST_WRAPPED if wraps else STEPS):
            return key
        main, of = thresholds(way, self.ways.layer, self.low, self.high), list(way.tail_channels(self.ways.layer))
        mark = main.tobytes(), way.clamp, wraps
        if not of:
            return mark
        tail = thresholds(way.tail_way, self.ways.layer, self.low, self.high)[:, of]
        return mark if np.array_equal(tail, main[:, of]) else (*mark, tail.tobytes(), way.rest(self.ways.layer))

    def _unwrapped(self, way: Way) -> Way:
        """The way before its outputs wrap: clamped to what can be reached."""
        wide = replace(way, clamp=(INT32[0] + 1, INT32[1]))
        ends = wide.of(np.stack([self.low, self.high]), self.ways.layer)
        return replace(way, clamp=(int(ends.min()), int(ends.max())))

    def _sum_mark(self, layer: Layer, way: Way) -> Any:  # noqa: ANN401
        """Equal for two ways to sum only if they are proved to give the same outputs under ``way``."""
        mark = summing(layer)
        a = mark[-1]
        plain = a is not None and a.order == "sequential" and not (a.product_shift or a.product_bits)
        if plain and a.overflow == "saturate" and not way.wraps and hidden(replace(layer, accumulator=a), way):
            return *mark[:-1], None
        return mark

    @property
    def proved(self) -> bool:
        """Members of one kind are the same for every input."""
        return True

    def inputs(self, most: int = 24) -> list[tuple[Array, ...]]:
        """Inputs of the layer, an entry an inference, on which its kinds differ; empty if none were found."""
        if len(self.kinds) < 2:
            return []
        images = [*self._made_inputs(), *styles(self.ways.layer, np.random.default_rng(1))]
        given = [self._around(image) for image in images]
        size = self.ways.layer.geometry.outputs

        def whole(layer: Layer) -> Array:
            accs = [layer.accumulate(x[layer.position]) for x in given]
            return np.concatenate([acc.reshape(-1, acc.shape[-1]) for acc in accs])

        channels = self.ways.layer.geometry.out_c
        flat = np.tile(np.arange(size // channels) * channels, len(given))
        outs = self._codes(whole, flat, size, len(given))
        return [given[i] for i in refining(outs, most)]

    def _codes(self, accumulators: Callable[[Layer], Array], flat: Array, size: int, columns: int) -> Array:
        """``(kinds, columns)``: equal in a column only where two kinds give the same outputs in that share of all rows."""
        sums = [summing(kind.layer) for kind in self.kinds]
        order = sorted(range(len(sums)), key=lambda n: (hash(sums[n]), hash(self.kinds[n].way.product)))
        found = np.empty((len(sums), columns), np.int64)
        last: tuple[Any, Any] = (None, None)
        acc, seen, weight = np.empty(0), None, np.empty(0, np.int64)
        for n in order:
            kind = self.kinds[n]
            if sums[n] != last[0]:
                acc, last = accumulators(kind.layer), (sums[n], None)
            if kind.way.product != last[1]:
                seen, last = parts(kind.way.scheme, acc, kind.way.scales), (sums[n], kind.way.product)
            made = kind.way.outputs(acc, flat, seen, kind.layer, size).reshape(columns, -1)
            if not weight.size:
                weight = np.random.default_rng(3).integers(-(1 << 62), 1 << 62, made.shape[1])
            found[n] = made @ weight
        return found

    def _around(self, image: Array) -> tuple[Array, ...]:
        """All inputs of the layer, with ``image`` in the place of its data."""
        layer = self.ways.layer
        given = list(self.case.inputs[0])
        given[layer.position] = np.ascontiguousarray(layer.as_input(image)).reshape(given[layer.position].shape)
        return tuple(given)

    def _tails(self, layer: Layer, ways: Sequence[Way], rng: np.random.Generator) -> Iterator[Array]:
        """Images whose last output tells a rounding of what lies beyond the last full block of elements."""
        g = layer.geometry
        last = at(layer, g.out_h - 1, g.out_w - 1)
        for way in ways:
            of = list(way.tail_channels(layer))
            if not of:
                continue
            accs = self.probes if self.every is None else summed(layer, self.every)
            differ = np.argwhere(way.of(accs, layer)[:, of] != way.tail_way.of(accs, layer)[:, of])
            for row, n in differ[:TAILS]:
                image = np.full(image_shape(layer), layer.x_zero, layer.input_dtype)
                if self.every is not None:
                    write_window(layer, image, last, self.every[row])
                elif not reach(layer, image, last, of[n], int(accs[row, of[n]]), rng):
                    continue
                yield image
                break

    def _made_inputs(self) -> list[Array]:
        """Images whose windows the kinds were seen to differ on."""
        layer, rng = self.kinds[0].layer, np.random.default_rng(2 + len(self.kinds))
        distinct = list({k.way.key: k.way for k in self.kinds}.values())
        images, places = list(self._tails(layer, distinct, rng)), spots(layer)
        drawn = self.every if self.every is not None else drawn_windows(layer, self._shown(), rng)
        outs = self._codes(lambda of: summed(of, drawn), np.zeros(len(drawn), np.int64), 0, len(drawn))
        page = _Pages(layer, places, images)
        for i in _ordered(outs):
            write_window(layer, page.image, page.place, drawn[i])
            page.turn()
        if self.every is None:
            page.fresh()
            self._aim(page, distinct, rng)
        return images

    def _shown(self) -> tuple[Array, Array]:
        """The accumulators of each channel between which the first kind's outputs are not clamped."""
        way = self.kinds[0].way
        low, high = way.clamp if not way.wraps else (-300, 300)
        real = np.where(way.scales.real > 0, way.scales.real, 1).astype(np.float64)
        ends = (low - way.zero) / real, (high - way.zero) / real
        clipped = [np.broadcast_to(np.clip(v, self.low, self.high), self.low.shape) for v in ends]
        return clipped[0], clipped[1]

    def _aim(self, page: "_Pages", ways: Sequence[Way], rng: np.random.Generator) -> None:
        """Puts accumulators on which requantizations differ under windows of their own."""
        layer = self.kinds[0].layer
        made = np.stack([way.of(self.probes, layer) for way in ways])
        differ = np.argwhere(np.any(made != made[:1], axis=0))
        differ = differ[rng.permutation(len(differ))[:TARGETS]]
        outs = made[:, differ[:, 0], differ[:, 1]]
        for i in _ordered(outs):
            row, channel = differ[i]
            if reach(layer, page.image, page.place, int(channel), int(self.probes[row, channel]), rng):
                page.turn()


@dataclass(slots=True, eq=False)
class _Pages:
    """Images that are filled window by window."""

    layer: Layer
    places: list[Spot]
    images: list[Array]
    used: int = 0
    image: Array = field(init=False)

    def __post_init__(self) -> None:
        self.fresh()

    @property
    def place(self) -> Spot:
        return self.places[self.used]

    def turn(self) -> None:
        """The window is filled: on to the next."""
        if self.used == 0:
            self.images.append(self.image)
        self.used += 1
        if self.used == len(self.places):
            self.fresh()

    def fresh(self) -> None:
        """A new image."""
        self.image, self.used = np.full(image_shape(self.layer), self.layer.x_zero, self.layer.input_dtype), 0


def _ordered(outs: Array) -> list[int]:
    """The columns, those first that separate most; each several times over, since not every accumulator can be reached."""
    left, found = np.arange(outs.shape[1]), list[int]()
    for _ in range(4):
        chosen = refining(outs[:, left], 24)
        found += left[chosen].tolist()
        left = np.delete(left, chosen)
    return found


def refining(outs: Array | Sequence[Sequence[Any]], most: int) -> list[int]:
    """The columns, at most so many, that tell most rows apart, chosen one after the other."""
    codes = outs if isinstance(outs, np.ndarray) else _coded(outs)
    if codes.size == 0:
        return []
    first = _first_alike(codes)
    rows, weight = np.arange(len(first)), np.random.default_rng(4).integers(-(1 << 62), 1 << 62, len(first))
    columns = np.unique(weight @ first, return_index=True)[1]  # of those that tell the same, one
    told = np.count_nonzero(first == rows[:, np.newaxis], axis=0) - 1
    gains = [(-int(told[c]), int(c)) for c in columns if told[c]]
    heapq.heapify(gains)
    groups, chosen = np.zeros(len(first), np.int64), list[int]()
    while gains and len(chosen) < most:
        column = heapq.heappop(gains)[1]
        whole, split = len(np.unique(groups)), groups * len(first) + first[rows, column]
        ranked = np.sort(split)
        gain = np.count_nonzero(ranked[1:] != ranked[:-1]) + 1 - whole if len(rows) else 0
        if gain and gains and gain < -gains[0][0]:
            heapq.heappush(gains, (-int(gain), column))  # less than it was: others have told some of it
        elif gain:
            chosen.append(column)
            _, groups, sizes = np.unique(split, return_inverse=True, return_counts=True)
            several = sizes[groups] > 1
            rows, groups = rows[several], groups[several]
    return chosen


def _first_alike(codes: Array) -> Array:
    """For each entry, the first row that has its value in its column."""
    order = np.argsort(codes, axis=0, kind="stable")
    ranked = np.take_along_axis(codes, order, 0)
    starts = np.concatenate([np.ones_like(ranked[:1], np.bool_), ranked[1:] != ranked[:-1]])
    at = np.maximum.accumulate(np.where(starts, np.arange(len(codes))[:, np.newaxis], 0), axis=0)
    found = np.empty(codes.shape, np.int64)
    np.put_along_axis(found, order, np.take_along_axis(order, at, 0), 0)
    return found


def _coded(outs: Sequence[Sequence[Any]]) -> Array:
    """A number for each value."""
    known: dict[Any, int] = {}
    return np.array([[known.setdefault(v, len(known)) for v in row] for row in outs], np.int64)


def thresholds(
    way: Way, layer: Layer, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """``(outputs, channels)``: the least accumulator of ``low..high`` that gives each output or more; ``high + 1``: none."""
    steps = np.arange(way.clamp[0] + 1, way.clamp[1] + 1)[:, np.newaxis]
    below = np.broadcast_to(low - 1, (len(steps), len(low))).copy()
    above = np.broadcast_to(high + 1, below.shape).copy()
    while np.any(above - below > 1):
        middle = (below + above) >> 1
        middle = np.clip(middle, low, high)
        enough = way.of(middle, layer) >= steps
        above, below = (
            np.where(enough, np.minimum(above, middle), above),
            np.where(enough, below, np.maximum(below, middle)),
        )
    return above


def hidden(layer: Layer, way: Way) -> bool:
    """True if it is proved that the output clamp hides every saturation of the register.

    Where a sum of the first products can pass the register's end, what the others can take away again must leave the
    output at the end of its clamp.
    """
    a = layer.accumulator
    ends = thresholds(way, layer, *spans(layer))
    most, least = ends[-1], ends[0] - 1
    top, bottom = highest(a.bits), lowest(a.bits)
    x_low, x_high = (v - layer.x_zero for v in layer.input_range)
    x_low, x_high = min(x_low, 0), max(x_high, 0)
    flat = layer.weight.reshape(-1, layer.weight.shape[-1]).astype(np.int64)
    up, down = np.maximum(flat * x_low, flat * x_high), np.minimum(flat * x_low, flat * x_high)
    bias = layer.bias.astype(np.int64)
    tail = np.zeros_like(bias)
    highest_sums, lowest_sums = np.cumsum(up, axis=0), np.cumsum(down, axis=0)
    rest_down, rest_up = down.sum(axis=0) - lowest_sums, up.sum(axis=0) - highest_sums
    if a.at == "end":
        highest_sums, lowest_sums, rest_down, rest_up = (
            v[-1:] for v in (highest_sums, lowest_sums, rest_down, rest_up)
        )
        highest_sums, lowest_sums, bias = highest_sums + bias, lowest_sums + bias, tail
    passes, falls = highest_sums > top, lowest_sums < bottom
    final = (highest_sums[-1] + bias > top) & (top < most), (lowest_sums[-1] + bias < bottom) & (bottom > least)
    shown = np.any(passes & (top + rest_down + bias < most)) or np.any(falls & (bottom + rest_up + bias > least))
    return not (shown or np.any(final[0]) or np.any(final[1]))
