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
from fxsim.diagnose.windows import spans, summed, summing
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics
from fxsim.sim.layer import Layer
from fxsim.sim.registers import masks
from fxsim.sim.rescale import parts

STEPS = 512
"""outputs whose thresholds are looked at; a type with more is not proved"""
TARGETS = 4000
"""accumulators that are looked at for one that separates"""
TRIES = 60
"""of making an input for one accumulator"""
MOST_WINDOWS = 1 << 16
TAILS = 20
"""accumulators that are tried for one way to round what lies beyond the last full block"""
STYLES = 40
"""whole inputs that are drawn for what accumulators alone do not show"""


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
        both = [spans(self.ways.layer), spans(replace(self.ways.layer, x_zero=0))]
        self.low, self.high = (f(both[0][i], both[1][i]) for i, f in enumerate((np.minimum, np.maximum)))
        self.probes, self.every = self._probes(), every_window(self.ways.layer)
        self.kinds = list(self._sorted().values())

    def _probes(self) -> Array:
        way = self.ways.of(self.members[0].settings)
        assert way is not None
        real = way.scales.real.astype(np.float64)
        halves = np.arange(way.clamp[0] - way.zero - 1, way.clamp[1] - way.zero + 2) if not way.wraps else np.arange(-300, 301)
        if len(halves) > STEPS:
            halves = np.random.default_rng(0).choice(halves, STEPS, replace=False)
        steps = np.sort(np.concatenate([halves, halves + 0.5]))[:, np.newaxis]
        at = np.rint(steps / np.where(real > 0, real, 1))
        near = np.concatenate([at + d for d in (-2, -1, 0, 1, 2)])
        return np.clip(near, self.low, self.high).astype(np.int64)

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
        made, tail = way.of(accs, layer), way.tail_way.of(accs, layer) if way.over_elements else None
        place = () if tail is None or np.array_equal(made, tail) else (way.lanes, way.tail)
        return summing(layer)[0], place, made.tobytes()

    def _mark(self, way: Way) -> Any:  # noqa: ANN401
        """Equal for two ways only if they are proved to be one function of every reachable accumulator."""
        if way.wraps or way.clamp[1] - way.clamp[0] > STEPS:
            return way.key
        main = thresholds(way, self.ways.layer, self.low, self.high).tobytes()
        if not way.over_elements or self.ways.layer.geometry.outputs % max(way.lanes, 1) == 0:
            return main, way.clamp
        tail = thresholds(way.tail_way, self.ways.layer, self.low, self.high).tobytes()
        return (main, way.clamp) if tail == main else (main, way.clamp, tail, way.lanes)

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
            rest = g.outputs % way.lanes if way.over_elements and way.lanes else 0
            channels = range(max(0, g.out_c - rest), g.out_c)
            differ = np.argwhere(way.of(self.probes, layer) != way.tail_way.of(self.probes, layer)) if rest else ()
            for row, channel in [d for d in differ if d[1] in channels][:TAILS]:
                image = np.full(_image_shape(layer), layer.x_zero, layer.input_dtype)
                if reach(layer, image, last, int(channel), int(self.probes[row, channel]), rng):
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
                image, used = np.full(_image_shape(layer), layer.x_zero, layer.input_dtype), 0
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
    groups, chosen = [list(range(len(outs)))], []
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


def thresholds(way: Way, layer: Layer, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """``(outputs, channels)``: the least accumulator within ``low..high`` that gives each output or more; ``high + 1``: none."""
    steps = np.arange(way.clamp[0] + 1, way.clamp[1] + 1)[:, np.newaxis]
    below = np.broadcast_to(low - 1, (len(steps), len(low))).copy()
    above = np.broadcast_to(high + 1, below.shape).copy()
    while np.any(above - below > 1):
        middle = (below + above) >> 1
        middle = np.clip(middle, low, high)
        enough = way.of(middle, layer) >= steps
        above, below = np.where(enough, np.minimum(above, middle), above), np.where(enough, below, np.maximum(below, middle))
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
        highest_sums, lowest_sums, rest_down, rest_up = (v[-1:] for v in (highest_sums, lowest_sums, rest_down, rest_up))
        highest_sums, lowest_sums, bias = highest_sums + bias, lowest_sums + bias, tail
    passes, falls = highest_sums > top, lowest_sums < bottom
    final = (highest_sums[-1] + bias > top) & (top < most), (lowest_sums[-1] + bias < bottom) & (bottom > least)
    shown = np.any(passes & (top + rest_down + bias < most)) or np.any(falls & (bottom + rest_up + bias > least))
    return not (shown or np.any(final[0]) or np.any(final[1]))


Spot = tuple[int, int, list[int], list[int]]
"""output row and column; kernel rows and columns that lie in the image"""


def at(layer: Layer, y: int, x: int) -> Spot:
    """The output position, and what of its window lies in the image."""
    g, (top, _, left, _), (down, across) = layer.geometry, layer.pad, layer.spread

    def inside(o: int, stride: int, dilation: int, kernel: int, size: int, before: int, apart: int) -> list[int]:
        places = [divmod(o * stride + i * dilation - before, apart) for i in range(kernel)]
        return [i for i, (p, between) in enumerate(places) if 0 <= p < size and not between]

    rows = inside(y, g.stride_h, g.dilation_h, g.kernel_h, g.in_h, top, down)
    return y, x, rows, inside(x, g.stride_w, g.dilation_w, g.kernel_w, g.in_w, left, across)


def _image_shape(layer: Layer) -> tuple[int, int, int, int]:
    g = layer.geometry
    return g.batch, g.in_h, g.in_w, g.in_c


def spots(layer: Layer, most: int = 64) -> list[Spot]:
    """Output positions whose windows do not touch, the one that sees most of the image first."""
    best = max(masks(layer), key=lambda m: len(m[2]) * len(m[3]))
    g, (top, _, left, _) = layer.geometry, layer.pad
    if layer.spread != (1, 1) or len(best[2]) < g.kernel_h or len(best[3]) < g.kernel_w:
        return [best]
    reach_h, reach_w = (g.kernel_h - 1) * g.dilation_h + 1, (g.kernel_w - 1) * g.dilation_w + 1

    def inside(outs: int, stride: int, reach: int, size: int, before: int) -> Iterator[int]:
        free = 0
        for o in range(outs):
            start = o * stride - before
            if start >= free and start + reach <= size:
                yield o
                free = start + reach

    ys = list(inside(g.out_h, g.stride_h, reach_h, g.in_h, top))
    xs = list(inside(g.out_w, g.stride_w, reach_w, g.in_w, left))
    found = [(y, x, best[2], best[3]) for y in ys for x in xs][:most]
    return found or [best]


def reach(layer: Layer, image: Array, spot: Spot, channel: int, target: int, rng: np.random.Generator) -> bool:
    """Writes under the window at ``spot`` an input whose accumulator in ``channel`` is ``target``, if it finds one.

    It aims at a plain sum, looks at what the layer's own register makes of it, and corrects its aim.
    """
    _, _, rows, columns = spot
    g, (low, high) = layer.geometry, layer.input_range
    weight = layer.weight[np.ix_(rows, columns)][..., channel].astype(np.int64).reshape(-1)
    x_low, x_high = low - layer.x_zero, high - layer.x_zero
    per = g.in_c // g.groups
    first = channel // (g.out_c // g.groups) * per
    window = np.full((1, g.kernel_h, g.kernel_w, g.in_c), layer.x_zero, layer.input_dtype)
    aim = target
    for attempt in range(TRIES):
        share = attempt / TRIES
        v = rng.integers(int(x_low * share), int(x_high * share) + 1, len(weight))
        rest = aim - int(layer.bias[channel]) - int(v @ weight)
        for i in np.argsort(-np.abs(weight), kind="stable"):
            if rest == 0 or weight[i] == 0:
                break
            step = round(rest / int(weight[i]))
            step = min(max(step, x_low - int(v[i])), x_high - int(v[i]))
            v[i] += step
            rest -= step * int(weight[i])
        if rest:
            continue
        cells = (v + layer.x_zero).reshape(len(rows), len(columns), per)
        window[np.ix_([0], rows, columns, range(first, first + per))] = cells[np.newaxis]
        got = int(summed(layer, window)[0, channel])
        if got == target:
            write(layer, image, spot, cells, slice(first, first + per))
            return True
        aim += target - got
    return False


def every_window(layer: Layer) -> Array | None:
    """``(windows, KH, KW, C)``: all stored inputs of a window, alike in all groups; None where there are too many."""
    g, (low, high) = layer.geometry, layer.input_range
    per = g.in_c // g.groups
    taps, size = g.kernel_h * g.kernel_w * per, high - low + 1
    if taps > 2 or size**taps > MOST_WINDOWS:
        return None
    values = np.stack([v.reshape(-1) for v in np.meshgrid(*[np.arange(low, high + 1)] * taps, indexing="ij")], axis=-1)
    shaped = values.reshape(-1, g.kernel_h, g.kernel_w, per)
    return np.tile(shaped, (1, 1, 1, g.groups)).astype(layer.input_dtype)


def write_window(layer: Layer, image: Array, spot: Spot, window: Array) -> None:
    """Puts a whole window ``(KH, KW, C)`` under an output position."""
    write(layer, image, spot, window[np.ix_(spot[2], spot[3])], slice(None))


def write(layer: Layer, image: Array, spot: Spot, cells: Array, of: slice) -> None:
    """Puts stored inputs ``(rows, columns, channels)`` under a window."""
    y, x, rows, columns = spot
    g, (top, _, left, _), (down, across) = layer.geometry, layer.pad, layer.spread
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            at_y, at_x = y * g.stride_h + r * g.dilation_h - top, x * g.stride_w + c * g.dilation_w - left
            image[0, at_y // down, at_x // across, of] = cells[i, j]


def styles(layer: Layer, rng: np.random.Generator) -> Iterator[Array]:
    """Whole inputs: noise of every amplitude, and for channels in turn sums that climb to a peak, with and without return."""
    low, high = layer.input_range
    x_low, x_high, zero = low - layer.x_zero, high - layer.x_zero, layer.x_zero
    shape, g = _image_shape(layer), layer.geometry
    for n in range(STYLES // 4):
        share = 2.0 ** (-n / 2)
        noise = rng.uniform(x_low * share, x_high * share, shape) if n % 2 else rng.choice([x_low * share, x_high * share], shape)
        yield (np.rint(noise) + zero).astype(layer.input_dtype)
    places, per = spots(layer), g.in_c // g.groups
    for n in range(STYLES):
        image = np.full(shape, zero, layer.input_dtype)
        for spot in places:
            channel = int(rng.integers(g.out_c))
            weight = layer.weight[np.ix_(spot[2], spot[3])][..., channel].astype(np.int64)
            flat = weight.reshape(-1)
            up = np.where(flat > 0, x_high, x_low)
            share = 2.0 ** -rng.uniform(0, n / 5)
            cells = np.rint(up * share)
            if n % 4:  # climbs first, then returns
                gains = np.cumsum(np.abs(flat * cells))
                keep = gains <= gains[-1] * rng.uniform(0.45, 0.6)
                other = np.rint(np.where(flat > 0, x_low, x_high) * share)
                cells = np.where(keep, cells, other) * (1 if n % 2 or min(-x_low, x_high) <= 0 else -1)
            cells = np.clip(cells, x_low, x_high)
            first = channel // (g.out_c // g.groups) * per
            write(layer, image, spot, (cells + zero).reshape(weight.shape), slice(first, first + per))
        yield image
