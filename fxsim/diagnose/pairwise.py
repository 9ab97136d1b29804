"""Two arithmetics held against each other: images on which they differ, or the proof that there are none.

What a search over drawn windows leaves is decided here, where it can be: by every whole sum of two registers that lose
nothing before their end; by every state that two registers reach together; or by sums driven beyond a register's end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace as _named

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose.bounds import WHOLE, edges, finals, flat_weight, outside, register, summing
from fxsim.diagnose.explain_ways import Way
from fxsim.diagnose.machines import Joint, Work, fitted, machine, side_by_side
from fxsim.diagnose.reachable import reached
from fxsim.diagnose.sameness import thresholds
from fxsim.diagnose.separate_inputs import Aim, Driven, Spot, image_shape, products_under, spots, write
from fxsim.model.qtype import Array
from fxsim.numerics import Accumulator
from fxsim.sim.base import Scales
from fxsim.sim.layer import Layer
from fxsim.sim.registers import masks

Ints = npt.NDArray[np.int64]
MOST_SUMS = 1 << 22
"""whole sums that are looked at"""
SLOWER = 8
"""steps of a machine that take as long as to requantize a sum"""
FOUND = 4
"""images that are enough to tell two"""
STEPS = 512
"""outputs whose thresholds are looked at"""
MANY = 64
"""taps from which on a machine is not followed"""
TARGETS = 8
"""accumulators that are tried for one image"""
CHANNELS = 16
"""channels whose sums are driven beyond a register's end"""
DRIVES = 3
"""ways to pass a register's end that are tried in each channel"""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two: how it sums, and how it requantizes."""

    layer: Layer
    way: Way

    def of(self, channel: int, *, tail: bool = False) -> Callable[[Ints], Ints]:
        """The outputs of one channel's accumulators; ``tail``: beyond the last full block of elements."""
        way, scales = self.way, self.way.scales
        rounding = way.rounding
        if way.over_elements:
            rounding = way.tail if tail and channel in way.tail_channels(self.layer) else rounding
        elif way.lanes and channel >= self.layer.geometry.out_c // way.lanes * way.lanes:
            rounding = way.tail
        at = slice(channel, channel + 1)
        alone = replace(way, scales=Scales(scales.q[at], scales.shift[at], scales.real[at]), rounding=rounding, lanes=0)
        layer = replace(self.layer, geometry=replace(self.layer.geometry, out_c=1))
        return lambda acc: alone.of(acc[:, np.newaxis], layer)[:, 0]

    def fixed(self, channel: int) -> int | None:
        """The one output that a channel has, whatever the input; None: it has others, or that is not known."""
        low, high = (v[channel : channel + 1] for v in finals(self.layer))
        if self.way.wraps:
            return None
        ends = {int(self.of(channel, tail=t)(v)[0]) for t in (False, True) for v in (low, high)}
        return ends.pop() if len(ends) == 1 else None

    def outputs(self, image: Array) -> Array:
        """Those of an image, as of full blocks of elements."""
        return self.way.of(self.layer.accumulate(image).reshape(-1, self.layer.geometry.out_c), self.layer)

    @property
    def rest(self) -> int:
        """Elements beyond the last full block of elements."""
        return self.way.rest(self.layer)


def held_against(one: Side, other: Side, work: Work, rng: np.random.Generator) -> list[Array] | None:
    """Images on which the two differ; empty if it is proved that none does; None if neither was found."""
    if _windows(one.layer) != _windows(other.layer):
        return None
    found = _by_whole_sums(one, other, work, rng)
    if found is None:
        found = _by_states(one, other, work, rng)
    if found is None and summing(one.layer) != summing(other.layer):
        found = [image for side in (one, other) for image in _driven_once(side, work, rng)]
        found = [image for image in found if not np.array_equal(one.outputs(image), other.outputs(image))] or None
    return found


def _windows(layer: Layer) -> tuple[object, ...]:
    """Where its windows lie; and of those that read on beyond the image, what stands outside."""
    return layer.pad, layer.spread, layer.dropped, any(layer.dropped) and edges(layer)


def _whole(layer: Layer) -> tuple[Layer, Callable[[Ints], Ints]] | None:
    """The layer with a register that nothing overflows, and what its own holds of such a sum; None: that is not all."""
    a = register(layer)
    if a is None:
        return replace(layer, accumulator=Accumulator(bits=64), policy="wrap"), lambda s: s
    if a.product_bits or a.order in WHOLE or not (a.overflow == "wrap" or a.at == "end"):
        return None  # a float's infinity is the register's own end
    bits, overflow = a.bits, a.overflow
    free = replace(layer, accumulator=_named(a, bits=64, overflow="wrap", at="step"), policy="wrap")
    return free, lambda s: fitted(s, bits, overflow)


def _by_whole_sums(one: Side, other: Side, work: Work, rng: np.random.Generator) -> list[Array] | None:
    first, second = _whole(one.layer), _whole(other.layer)
    if first is None or second is None or summing(first[0]) != summing(second[0]):
        return None
    (free, held), (_, others) = first, second
    low, high = finals(free)
    count = sum(int(b) - int(a) for a, b in zip(low, high, strict=True))
    if count > MOST_SUMS or not work.spend(SLOWER * count, SLOWER * count):
        return None
    same, images = True, list[Array]()
    for channel, reach in enumerate(reached(free)):
        every = reach.sums if reach.sums is not None else np.arange(reach.low, reach.high + 1)
        apart, alike = _compared(one, other, channel, held(every), others(every))
        same = same and alike
        for target in rng.permutation(every[apart])[:TARGETS].tolist():
            images += _aimed(free, channel, target, rng)
        if len(images) >= FOUND:
            break
    return images if same or images else None


def _compared(one: Side, other: Side, channel: int, a: Ints, b: Ints) -> tuple[npt.NDArray[np.bool_], bool]:
    """Where a channel's outputs differ, the one holding ``a`` while the other holds ``b``; and if they never do.

    They may beyond the last full block of elements alone.
    """
    apart = one.of(channel)(a) != other.of(channel)(b)
    if apart.any() or not (one.rest or other.rest):
        return apart, not apart.any()
    both = ((True, True),) if one.rest == other.rest else ((True, True), (True, False), (False, True))
    alike = all(np.array_equal(one.of(channel, tail=t)(a), other.of(channel, tail=u)(b)) for t, u in both)
    return apart, alike


def _by_states(one: Side, other: Side, work: Work, rng: np.random.Generator) -> list[Array] | None:
    layer, same, images = one.layer, True, list[Array]()
    low, high = layer.input_range
    if len(flat_weight(layer)) > MANY or (any(layer.dropped) and not low <= outside(layer) <= high):
        return None
    for channel in range(layer.geometry.out_c):
        fixed = one.fixed(channel), other.fixed(channel)
        if None not in fixed and fixed[0] == fixed[1]:
            continue
        for spot, cover in _places(one.layer, other.layer):
            of = [side.layer for side, value in zip((one, other), fixed, strict=True) if value is None] or [layer]
            joint = _followed(of, channel, cover, work)
            if joint is None:
                return images or None
            held = joint.accumulators
            a, b = (
                v if value is None else np.full_like(v, finals(side.layer)[0][channel])
                for v, side, value in zip((held[0], held[-1]), (one, other), fixed, strict=True)
            )
            apart, alike = _compared(one, other, channel, a, b)
            same = same and alike
            for state in rng.permutation(np.flatnonzero(apart))[:FOUND] if spot is not None else ():
                assert spot is not None
                chosen = joint.inputs(int(state), rng) + low
                images.append(_written(layer, spot, channel, chosen))
            if len(images) >= FOUND:
                return images
    return images if same or images else None


def _followed(layers: list[Layer], channel: int, cover: npt.NDArray[np.bool_], work: Work) -> Joint | None:
    """The registers of the layers side by side: one, where they are the same."""
    distinct = list({summing(layer): layer for layer in layers}.items())
    key = tuple(alike for alike, _ in distinct), channel, cover.tobytes()
    if key not in work.known:
        made = [machine(layer, channel, cover) for _, layer in distinct]
        work.known[key] = None if None in made else side_by_side(tuple(m for m in made if m is not None), work)
    found: Joint | None = work.known[key]
    return found


def _places(one: Layer, other: Layer) -> Iterator[tuple[Spot | None, npt.NDArray[np.bool_]]]:
    """Each kind of window, where it lies, and which of its taps lie in the image.

    Those that see less than others may be left out where what stands outside could stand inside, and is the same for both.
    """
    taps = np.ones(one.weight.shape[:3], np.bool_)
    if any(one.dropped):
        yield None, taps.reshape(-1)
        return
    seen = sorted(masks(one), key=lambda m: -len(m[2]) * len(m[3]))
    low, high = one.input_range
    fewest = outside(one) == outside(other) and low <= outside(one) <= high
    found: list[npt.NDArray[np.bool_]] = []
    for y, x, rows, columns in seen:
        cover = np.zeros_like(taps)
        cover[np.ix_(rows, columns)] = True
        if not (fewest and any(np.all(cover <= more) for more in found)):
            found.append(cover)
            yield (0, y, x, (rows, columns)), cover.reshape(-1)


def _written(layer: Layer, spot: Spot, channel: int, values: Ints) -> Array:
    """An image with a window of the group of ``channel`` alone."""
    g = layer.geometry
    per = g.in_c // g.groups
    start = channel // (g.out_c // g.groups) * per
    image = np.full(image_shape(layer), layer.x_zero, layer.input_dtype)
    cells = values.reshape(g.kernel_h, g.kernel_w, per)[np.ix_(*spot[3])].astype(layer.input_dtype)
    write(layer, image, spot, cells, slice(start, start + per))
    return image


def _aimed(
    layer: Layer, channel: int, target: int, rng: np.random.Generator, first: Driven | None = None
) -> list[Array]:
    """An image with a window whose accumulator is ``target``, or none."""
    spot = spots(layer, 1)[0]
    window = Aim(layer, spot[3], channel, first).window(target, rng)
    if window is None:
        return []
    g = layer.geometry
    start = channel // (g.out_c // g.groups) * (per := g.in_c // g.groups)
    return [_written(layer, spot, channel, window[..., start : start + per].astype(np.int64))]


def _driven_once(side: Side, work: Work, rng: np.random.Generator) -> list[Array]:
    key = "driven", summing(side.layer), side.way.key
    if key not in work.known:
        work.known[key] = list(islice(driven(side, rng), 2 * FOUND))
    found: list[Array] = work.known[key]
    return found


def driven(side: Side, rng: np.random.Generator) -> Iterator[Array]:
    """Images whose sums pass a saturating register's end, and come back to where an output shows what was lost."""
    layer, way = side.layer, side.way
    a = register(layer)
    few = not way.wraps and way.clamp[1] - way.clamp[0] <= STEPS
    if a is None or a.order != "sequential" or a.overflow == "wrap" or a.at == "end" or not few:
        return
    spot = spots(layer, 1)[0]
    (least_sum, most_sum), bias = finals(layer), layer.bias.astype(np.int64)
    steps = thresholds(way, layer, least_sum, most_sum)
    for channel in rng.permutation(layer.geometry.out_c)[:CHANNELS].tolist():
        rises = steps[:, channel]
        rises = rises[(rises > least_sum[channel]) & (rises <= most_sum[channel])]
        made = products_under(layer, spot[3], channel)
        for up in (True, False):
            sign, end = (1, highest(a.bits)) if up else (-1, -lowest(a.bits))
            most, least = (sign * made).max(axis=1), (sign * made).min(axis=1)
            peaks, back = np.cumsum(most), np.cumsum(least[::-1])[::-1] - least + end + sign * int(bias[channel])
            begins = np.unique(sign * rises + (0 if up else 1))
            shown = np.flatnonzero((peaks > end) & (back < (begins[-1] if len(begins) else -np.inf)))
            for n in rng.permutation(shown)[:DRIVES]:
                above = begins[begins > back[n]]
                target = sign * (int(rng.choice(above[:TARGETS])) - 1)
                yield from _aimed(layer, channel, target, rng, (int(n) + 1, up, sign * int(peaks[n] - end)))
