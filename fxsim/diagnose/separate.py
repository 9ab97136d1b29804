"""What the data could not tell apart: which arithmetics are proved to be the same, and inputs on which the others differ.

A clamped requantization is a rising step function of the accumulator. It is the same as another exactly if both reach
every output at the same accumulator, which bisection over the reachable accumulators of a channel finds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose.bounds import Pair, edges, finals, summing, unbounded
from fxsim.diagnose.cases import Case
from fxsim.diagnose.explain_sums import Member
from fxsim.diagnose.explain_ways import Way, Ways, alike_together
from fxsim.diagnose.machines import Work
from fxsim.diagnose.pairwise import Side, held_against
from fxsim.diagnose.reachable import Reach, reached
from fxsim.diagnose.refining import refining
from fxsim.diagnose.sameness import Steps, plainer, steps_of, unwrapped
from fxsim.diagnose.separate_inputs import (
    Aim,
    Pages,
    Spot,
    drawn_windows,
    every_window,
    image_shape,
    last_spots,
    most_telling,
    noise,
    spots,
    styles,
    write_window,
)
from fxsim.diagnose.windows import summed
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics
from fxsim.sim.base import INT32
from fxsim.sim.layer import RESCALED_BITS, Layer
from fxsim.sim.rescale import parts

STEPS = 512
"""outputs whose thresholds are looked at; a type with more is not proved"""
TARGETS = 4000
"""accumulators that are looked at for one that separates"""
MOST_WRAPPED = 1 << 14
"""the same of outputs before they wrap"""
MANY = 64
"""members from which on inputs are first sought for what differs on the probes alone"""
COMPARED = 8
"""kinds that each is held against"""
LAYOUTS = 4
"""paddings, and ways to sum, that inputs are made for"""
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
    low: npt.NDArray[np.int64] = field(init=False)
    high: npt.NDArray[np.int64] = field(init=False)
    every: Array | None = field(init=False)
    """all windows that there can be, of a layer of one or two taps"""
    _marks: dict[Any, Any] = field(default_factory=dict)
    _steps: dict[Any, Steps | None] = field(default_factory=dict)
    _sums: dict[Any, Array] = field(default_factory=dict)
    _reach: dict[Any, list[Reach]] = field(default_factory=dict)
    _aims: dict[Any, Aim] = field(default_factory=dict)
    _by_mark: dict[Any, Kind] = field(default_factory=dict)
    probes: Array = field(init=False)
    """accumulators ``(rows, channels)`` around every step of the first member"""

    def __post_init__(self) -> None:
        """Sorts the members into kinds."""
        summed_as = [layer for m in self.members if (layer := self.ways.layer_for(m.settings)) is not None]
        both = [finals(of) for layer in {id(v): v for v in summed_as}.values() for of in (layer, unbounded(layer))]
        ends = INT32 if self.ways.layer.accumulator.bits <= 32 else (lowest(RESCALED_BITS), highest(RESCALED_BITS))
        low, high = np.min([s[0] for s in both], axis=0), np.max([s[1] for s in both], axis=0)
        self.low, self.high = np.clip(low, *ends), np.clip(high, *ends)  # what a requantization takes
        self.probes, self.every = self._probes(), every_window(self.ways.layer)

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

    @property
    def kinds(self) -> list[Kind]:
        """The members by what is proved to be one function: by :meth:`inputs` more than before it."""
        if not self._by_mark:
            self._by_mark = self._sorted(self._marked)
        return list({id(kind): kind for kind in self._by_mark.values()}.values())

    def _sorted(self, marked: Callable[[OpNumerics], tuple[Any, Way, Layer] | None]) -> dict[Any, Kind]:
        kinds: dict[Any, Kind] = {}
        for member in self.members:
            found = marked(member.settings)
            if found is not None:
                mark, way, layer = found
                kinds.setdefault(mark, Kind([], way, layer)).members.append(member)
        return kinds

    def _probed(self, settings: OpNumerics) -> tuple[Any, Way, Layer] | None:
        """Equal for two arithmetics that are the same on the probes, proved to be so elsewhere or not."""
        way, layer = self.ways.of(settings), self.ways.layer_for(settings)
        if way is None or layer is None:
            return None
        if way.key not in self._marks:
            tail = way.tail_way.of(self.probes, layer).tobytes() if way.rest(layer) else b""
            self._marks[way.key] = hash(way.of(self.probes, layer).tobytes()), way.rest(layer), hash(tail)
        return (self.ways.summing(layer), self._marks[way.key]), way, layer

    def _marked(self, settings: OpNumerics) -> tuple[Any, Way, Layer] | None:
        way, layer = self.ways.of(settings), self.ways.layer_for(settings)
        if way is None or layer is None:
            return None
        key = settings.accumulator, settings.operands, way.key
        if key not in self._marks:
            self._marks[key] = self._enumerated(layer, way) if self.every is not None else self._mark(layer, way)
        return self._marks[key], way, layer

    def holds(self, settings: OpNumerics) -> bool:
        """True if ``settings`` are proved to be the same function as a member."""
        found = self._marked(settings)
        return found is not None and bool(self.kinds) and found[0] in self._by_mark

    def _enumerated(self, layer: Layer, way: Way) -> Any:  # noqa: ANN401
        """What all windows give: nothing else can come, but at the edges."""
        assert self.every is not None
        alike = self.ways.summing(layer)
        if alike not in self._sums:
            self._sums[alike] = summed(layer, self.every)
        accs, of = self._sums[alike], list(way.tail_channels(layer))
        made = way.of(accs, layer)
        tail = way.tail_way.of(accs, layer)[:, of] if of else made[:, of]
        place = () if np.array_equal(made[:, of], tail) else (way.rest(layer), tail.tobytes())
        return alike[0], place, made.tobytes()

    def _mark(self, layer: Layer, way: Way) -> Any:  # noqa: ANN401
        """Equal for two arithmetics only if they are proved to be one function of the layer's input."""
        steps, alike = self._steps_of(way), self.ways.summing(layer)
        low, high = finals(layer)
        if np.any(low < self.low) or np.any(high > self.high):
            return alike, way.key
        if steps is None:
            steps = self._steps_of(way, (low, high))  # there may be fewer
            if steps is None:
                return alike, way.key
        elif not way.wraps:
            plain = plainer(layer, steps.clamped)
            layer, alike = (layer, alike) if plain is layer else (plain, summing(plain))
        everywhere = self._reach_of(layer, alike, 0)
        mark = steps.mark(everywhere, self._reach_of(layer, alike, steps.rest) if steps.rest else everywhere)
        if not any(shown := Steps.shown(mark)):
            return "constant", mark
        edges, x_zero, _, weight, register = alike
        return edges, x_zero, layer.bias[shown].tobytes(), weight, register, mark

    def _reach_of(self, layer: Layer, alike: Any, rest: int) -> list[Reach]:  # noqa: ANN401
        """What each channel can be; within the last ``rest`` elements of an output, if it is not 0."""
        if (alike, rest) not in self._reach:
            of = [[spot[3] for spot in last_spots(layer, rest, c)] for c in range(layer.geometry.out_c)]
            self._reach[alike, rest] = reached(layer, of if rest else None)
        return self._reach[alike, rest]

    def _steps_of(self, way: Way, span: Pair | None = None) -> Steps | None:
        """Where its outputs rise, between accumulators of all members or of ``span``; None where too often."""
        key = way.key, None if span is None else (span[0].tobytes(), span[1].tobytes())
        if key not in self._steps:
            layer, span = self.ways.layer, span or (self.low, self.high)
            wide = unwrapped(way, layer, span) if way.wraps else way
            few = wide.clamp[1] - wide.clamp[0] <= (MOST_WRAPPED if way.wraps else STEPS)
            self._steps[key] = steps_of(way, layer, span) if few else None
        return self._steps[key]

    @property
    def proved(self) -> bool:
        """Members of one kind are the same for every input."""
        return True

    def inputs(self, most: int = 24) -> list[tuple[Array, ...]]:
        """Inputs of the layer, an entry an inference, on which its kinds differ; empty if none were found."""
        if len(self.members) > MANY:
            found = self._telling_apart(list(self._sorted(self._probed).values()), most)
            if found:
                return found
        return self._telling_apart(self.kinds, most) or self._decided(most)

    def _decided(self, most: int) -> list[tuple[Array, ...]]:
        """Inputs for what no drawn ones tell apart, two kinds at a time; those that are proved the same become one."""
        work, rng, known, images = Work(), np.random.default_rng(5), list[Kind](), list[Array]()
        for kind in self.kinds[:MANY]:
            for other in known[:COMPARED]:
                found = held_against(Side(kind.layer, kind.way), Side(other.layer, other.way), work, rng)
                if found == []:
                    self._merge(kind, other)
                elif found is not None:
                    images += found
                if found is not None:
                    break
            else:
                known.append(kind)
            if len(images) >= most:
                break
        if len(self.kinds) > 1 and not images:
            images = list(noise(self.ways.layer, rng))
        return self._those_that_tell(self.kinds, images, most) if images else []

    def _merge(self, kind: Kind, into: Kind) -> None:
        into.members += kind.members
        self._by_mark = {mark: into if k is kind else k for mark, k in self._by_mark.items()}

    def _telling_apart(self, kinds: list[Kind], most: int) -> list[tuple[Array, ...]]:
        if len(kinds) < 2:
            return []
        images = [*self._made_inputs(kinds), *styles(self.ways.layer, np.random.default_rng(1))]
        return self._those_that_tell(kinds, images, most)

    def _those_that_tell(self, kinds: list[Kind], images: list[Array], most: int) -> list[tuple[Array, ...]]:
        given = [self._around(image) for image in images]
        size = self.ways.layer.geometry.outputs

        def whole(layer: Layer) -> Array:
            accs = [layer.accumulate(x[layer.position]) for x in given]
            return np.concatenate([acc.reshape(-1, acc.shape[-1]) for acc in accs])

        channels = self.ways.layer.geometry.out_c
        flat = np.tile(np.arange(size // channels) * channels, len(given))
        outs = self._codes(kinds, whole, flat, size, len(given))
        return [given[i] for i in refining(outs, most)]

    def _codes(
        self, kinds: list[Kind], accumulators: Callable[[Layer], Array], flat: Array, size: int, columns: int
    ) -> Array:
        """``(kinds, columns)``: equal in a column only where two kinds give the same outputs in that share of all rows."""
        sums = [self.ways.summing(kind.layer) for kind in kinds]
        order = alike_together(alike_together(range(len(sums)), lambda n: kinds[n].way.product), lambda n: sums[n])
        found = np.empty((len(sums), columns), np.int64)
        last: tuple[Any, Any] = (None, None)
        acc, seen, weight = np.empty(0), None, np.empty(0, np.int64)
        for n in order:
            kind = kinds[n]
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
        """Images whose last outputs tell a rounding of what lies beyond the last full block of elements."""
        for way in ways:
            rest = way.rest(layer)
            places = [(c, spot) for c in way.tail_channels(layer) for spot in last_spots(layer, rest, c)]
            made = (self._tail(layer, way, channel, spot, rng) for channel, spot in places)
            yield from islice((image for image in made if image is not None), TAILS)

    def _tail(self, layer: Layer, way: Way, channel: int, spot: Spot, rng: np.random.Generator) -> Array | None:
        """An image that tells it at one output, or None."""
        if self.every is not None:
            accs = summed(layer, self.every)[:, channel]
        elif (steps := self._steps_of(way)) is not None:
            main, tail = steps.main[:, channel], steps.tail[:, steps.of.index(channel)]
            reach = self._reach_of(layer, self.ways.summing(layer), way.rest(layer))[channel]
            accs = reach.near(np.concatenate([v[main != tail] for v in (main, tail)]))
        else:
            return None
        rows = np.repeat(accs[:, np.newaxis], layer.geometry.out_c, axis=1)
        differ = np.flatnonzero((way.of(rows, layer) != way.tail_way.of(rows, layer))[:, channel])
        for row in rng.permutation(differ)[:TAILS]:
            aimed = self._window(layer, spot, channel, int(accs[row]), rng) if self.every is None else self.every[row]
            if aimed is not None:
                image = np.full(image_shape(layer), layer.x_zero, layer.input_dtype)
                write_window(layer, image, spot, aimed)
                return image
        return None

    def _window(self, layer: Layer, spot: Spot, channel: int, target: int, rng: np.random.Generator) -> Array | None:
        """Stored inputs of a window that make an accumulator; None if none were found."""
        key = id(layer), repr(spot[3]), channel
        if key not in self._aims:
            self._aims[key] = Aim(layer, spot[3], channel)
        return self._aims[key].window(target, rng)

    def _made_inputs(self, kinds: list[Kind]) -> list[Array]:
        """Images whose windows the kinds were seen to differ on."""
        layer, rng = kinds[0].layer, np.random.default_rng(2 + len(kinds))
        distinct = list({k.way.key: k.way for k in kinds}.values())
        images = list(self._tails(layer, distinct, rng))
        drawn = self.every if self.every is not None else drawn_windows(layer, self._shown(kinds[0].way), rng)
        outs = self._codes(kinds, lambda of: summed(of, drawn), np.zeros(len(drawn), np.int64), 0, len(drawn))
        chosen = most_telling(outs)
        for edged in list({edges(k.layer)[:3]: k.layer for k in kinds}.values())[:LAYOUTS]:  # windows lie elsewhere
            page = Pages(edged, spots(edged), images)
            for i in chosen:
                write_window(edged, page.image, page.place, drawn[i])
                page.turn()
        if self.every is None:
            by_sum: dict[Any, list[Kind]] = {}
            for kind in kinds:
                by_sum.setdefault(self.ways.summing(kind.layer), []).append(kind)
            self._aim(Pages(layer, spots(layer), images), layer, distinct, rng)
            for several in [v for v in by_sum.values() if len(v) > 1 and v[0].layer is not layer][:LAYOUTS]:
                of = several[0].layer
                self._aim(Pages(of, spots(of), images), of, list({k.way.key: k.way for k in several}.values()), rng)
        return images

    def _shown(self, way: Way) -> tuple[Array, Array]:
        """The accumulators of each channel between which its outputs are not clamped."""
        low, high = way.clamp if not way.wraps else (-300, 300)
        real = np.where(way.scales.real > 0, way.scales.real, 1).astype(np.float64)
        ends = (low - way.zero) / real, (high - way.zero) / real
        clipped = [np.broadcast_to(np.clip(v, self.low, self.high), self.low.shape) for v in ends]
        return clipped[0], clipped[1]

    def _aim(self, page: "Pages", layer: Layer, ways: Sequence[Way], rng: np.random.Generator) -> None:
        """Puts accumulators on which requantizations differ under windows of their own."""
        probes = self._telling(layer, ways, rng)
        made = np.stack([way.of(probes, layer) for way in ways])
        differ = np.argwhere(np.any(made != made[:1], axis=0))
        differ = differ[rng.permutation(len(differ))[:TARGETS]]
        outs = made[:, differ[:, 0], differ[:, 1]]
        for i in most_telling(outs):
            row, channel = differ[i]
            window = self._window(layer, page.place, int(channel), int(probes[row, channel]), rng)
            if window is not None:
                page.write(int(channel), window)

    def _telling(self, layer: Layer, ways: Sequence[Way], rng: np.random.Generator) -> Array:
        """Accumulators ``(rows, channels)`` next to the thresholds that not all ways share, and around all steps."""
        steps = [s for way in ways[:MANY] if (s := self._steps_of(way)) is not None]
        reach, columns = self._reach_of(layer, self.ways.summing(layer), 0), []
        for channel, of in enumerate(reach):
            found = np.concatenate([np.zeros(0, np.int64), *(s.main[:, channel] for s in steps)])
            each, times = np.unique(found, return_counts=True)
            near = of.near(each[times < len(steps)])
            columns.append(rng.permutation(near)[:TARGETS])
        rows = max(map(len, columns))
        filled = [np.resize(c, rows) if len(c) else np.full(rows, r.low) for c, r in zip(columns, reach, strict=True)]
        ends = np.array([(r.low, r.high) for r in reach]).T
        return np.concatenate([np.stack(filled, axis=1), np.clip(self.probes, *ends)])
