"""What the data could not tell apart: which arithmetics are proved to be the same, and inputs on which the others differ.

A clamped requantization is a rising step function of the accumulator. It is the same as another exactly if both reach
every output at the same accumulator, which bisection over the reachable accumulators of a channel finds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose.cases import Case
from fxsim.diagnose.explain_sums import Member
from fxsim.diagnose.explain_ways import Way, Ways
from fxsim.diagnose.separate_inputs import (
    STYLES,
    at,
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
from fxsim.sim.layer import Layer
from fxsim.sim.rescale import parts

STEPS = 512
"""outputs whose thresholds are looked at; a type with more is not proved"""
TARGETS = 4000
"""accumulators that are looked at for one that separates"""
TAILS = 20
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
    probes: Array = field(init=False)
    """accumulators ``(rows, channels)`` around every step of the first member"""

    def __post_init__(self) -> None:
        """Sorts the members into kinds."""
        summed_as = [layer for m in self.members if (layer := self.ways.layer_for(m.settings)) is not None]
        both = [spans(layer) for layer in {id(v): v for v in summed_as}.values()]
        self.low, self.high = np.min([s[0] for s in both], axis=0), np.max([s[1] for s in both], axis=0)
        self.probes, self.every = self._probes(), every_window(self.ways.layer)
        self.kinds = list(self._sorted().values())

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
        if self.every is not None:
            return self._enumerated(layer, way), way, layer
        if way.key not in self._marks:
            self._marks[way.key] = self._mark(way)
        sums = settings.accumulator, settings.operands, way.key
        if sums not in self._marks:
            self._marks[sums] = self._sum_mark(layer, way)
        return (self._marks[way.key], self._marks[sums]), way, layer

    def holds(self, settings: OpNumerics) -> bool:
        """True if ``settings`` are proved to be the same function as a member."""
        found = self._marked(settings)
        return found is not None and found[0] in self._sorted()

    def _enumerated(self, layer: Layer, way: Way) -> Any:  # noqa: ANN401
        """What all windows give: nothing else can come, but at the edges."""
        assert self.every is not None
        accs = summed(layer, self.every)
        made, of = way.of(accs, layer), list(way.tail_channels(layer))
        tail = way.tail_way.of(accs, layer)[:, of] if of else made[:, of]
        place = () if np.array_equal(made[:, of], tail) else (way.lanes, way.tail)
        return summing(layer)[0], place, made.tobytes()

    def _mark(self, way: Way) -> Any:  # noqa: ANN401
        """Equal for two ways only if they are proved to be one function of every reachable accumulator."""
        if way.wraps or way.clamp[1] - way.clamp[0] > STEPS:
            return way.key
        main, of = thresholds(way, self.ways.layer, self.low, self.high), list(way.tail_channels(self.ways.layer))
        mark = main.tobytes(), way.clamp
        if not of:
            return mark
        tail = thresholds(way.tail_way, self.ways.layer, self.low, self.high)[:, of]
        return mark if np.array_equal(tail, main[:, of]) else (*mark, tail.tobytes(), way.lanes)

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

    def inputs(self, most: int = 8) -> list[tuple[Array, ...]]:
        """Inputs of the layer, an entry an inference, on which its kinds differ; empty if none were found."""
        if len(self.kinds) < 2:
            return []
        images = [*self._made_inputs(), *styles(self.ways.layer, np.random.default_rng(1))]
        given = [self._around(image) for image in images]
        outs = [[self._output(kind, x).tobytes() for x in given] for kind in self.kinds]
        return [given[i] for i in refining(outs, most)]

    def _output(self, kind: Kind, given: tuple[Array, ...]) -> Array:
        layer = kind.layer
        acc = layer.accumulate(given[layer.position])
        rows = acc.reshape(-1, acc.shape[-1])
        seen = parts(kind.way.scheme, rows, kind.way.scales)
        return kind.way.outputs(rows, np.arange(len(rows)) * rows.shape[1], seen, layer, layer.geometry.outputs)

    def _around(self, image: Array) -> tuple[Array, ...]:
        """All inputs of the layer, with ``image`` in the place of its data."""
        layer = self.ways.layer
        given = list(self.case.inputs[0])
        given[layer.position] = np.ascontiguousarray(layer.as_input(image)).reshape(given[layer.position].shape)
        return tuple(given)

    def _outputs_of_probes(self, ways: Sequence[Way], layer: Layer) -> Array:
        """``(kinds, rows, channels)``: what all windows give; of larger layers, what the probed accumulators do."""
        if self.every is None:
            return np.stack([way.of(self.probes, layer) for way in ways])
        return np.stack([k.way.of(summed(k.layer, self.every), k.layer) for k in self.kinds])

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
        """Images that put accumulators on which the kinds' requantizations differ under windows of their own."""
        layer, rng = self.kinds[0].layer, np.random.default_rng(2)
        distinct = list({k.way.key: k.way for k in self.kinds}.values())
        made = self._outputs_of_probes(distinct, layer)
        differ = np.argwhere(np.any(made != made[:1], axis=0))
        differ = differ[rng.permutation(len(differ))[:TARGETS]]
        outs = [[int(m[r, c]) for r, c in differ] for m in made]
        places, images = spots(layer), list(self._tails(layer, distinct, rng))
        image, used = None, 0
        for i in _ordered(outs) if len(differ) else ():
            row, channel = differ[i]
            if image is None or used == len(places):
                image, used = np.full(image_shape(layer), layer.x_zero, layer.input_dtype), 0
                images.append(image)
            if self.every is not None:
                write_window(layer, image, places[used], self.every[row])
                used += 1
            elif reach(layer, image, places[used], int(channel), int(self.probes[row, channel]), rng):
                used += 1
            if len(images) > STYLES:
                break
        return images


def _ordered(outs: list[list[int]]) -> list[int]:
    """The columns, those first that separate most; each several times over, since not every accumulator can be reached."""
    left, found = list(range(len(outs[0]))), []
    for _ in range(4):
        chosen = refining([[row[i] for i in left] for row in outs], 24)
        found += [left[i] for i in chosen]
        left = [i for n, i in enumerate(left) if n not in set(chosen)]
        if not left:
            break
    return found


def refining(outs: Sequence[Sequence[Any]], most: int) -> list[int]:
    """The columns, at most so many, that tell most rows apart, chosen one after the other."""
    groups: list[list[int]] = [list(range(len(outs)))]
    chosen: list[int] = []
    columns = range(len(outs[0])) if outs else range(0)
    while len(chosen) < most and any(len(p) > 1 for p in groups):
        best, count = -1, len(groups)
        for c in columns:
            n = sum(len({outs[r][c] for r in p}) for p in groups)
            if n > count:
                best, count = c, n
        if best < 0:
            break
        chosen.append(best)
        split: list[list[int]] = []
        for p in groups:
            by: dict[Any, list[int]] = {}
            for r in p:
                by.setdefault(outs[r][best], []).append(r)
            split += by.values()
        groups = split
    return chosen


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
