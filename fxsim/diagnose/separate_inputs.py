"""Inputs made to measure: an accumulator aimed at, a window filled, whole images of noise and of sums that climb."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fxsim.diagnose.bounds import Mask, finals, lifted, outside, stored
from fxsim.diagnose.reachable import Chain, table
from fxsim.diagnose.refining import refining
from fxsim.diagnose.windows import summed
from fxsim.model.qtype import Array
from fxsim.sim.layer import Layer
from fxsim.sim.registers import masks

FINE = 10
"""smallest weights that make up exactly for what the others leave"""
TRIES = 60
"""of making an input for one accumulator"""
STYLES = 40
"""whole inputs that are drawn for what accumulators alone do not show"""
NOISE = 8192
"""images of noise that are drawn for what nothing else shows"""
NOISE_PRODUCTS = 1 << 24
"""of all of them"""
DRAWN = 4096
"""windows that are drawn for what accumulators alone do not show"""
MOST_WINDOWS = 1 << 16

Spot = tuple[int, int, int, Mask]
"""batch, output row and column; kernel rows and columns that lie in the image"""
Driven = tuple[int, bool, int]
"""how many of a window's first taps drive its sum as far as they can, whether up, and what the register loses of it"""


def at(layer: Layer, b: int, y: int, x: int) -> Spot:
    """The output position, and what of its window lies in the image."""
    g, (top, _, left, _), (down, across) = layer.geometry, layer.pad, layer.spread

    def inside(o: int, stride: int, dilation: int, kernel: int, size: int, before: int, apart: int) -> list[int]:
        places = [divmod(o * stride + i * dilation - before, apart) for i in range(kernel)]
        return [i for i, (p, between) in enumerate(places) if 0 <= p < size and not between]

    rows = inside(y, g.stride_h, g.dilation_h, g.kernel_h, g.in_h, top, down)
    return b, y, x, (rows, inside(x, g.stride_w, g.dilation_w, g.kernel_w, g.in_w, left, across))


def last_spots(layer: Layer, rest: int, channel: int) -> list[Spot]:
    """The output positions of ``channel`` whose elements are among the last ``rest``."""
    g = layer.geometry
    rows = g.outputs // g.out_c
    last = (p for p in range(max(0, (g.outputs - rest) // g.out_c), rows) if p * g.out_c + channel >= g.outputs - rest)
    return [at(layer, *(int(v) for v in np.unravel_index(p, (g.batch, g.out_h, g.out_w)))) for p in last]


def image_shape(layer: Layer) -> tuple[int, int, int, int]:
    """``(N, H, W, C)`` of the layer's data."""
    g = layer.geometry
    return g.batch, g.in_h, g.in_w, g.in_c


def spots(layer: Layer, most: int = 64) -> list[Spot]:
    """Output positions whose windows do not touch, the one that sees most of the image first."""
    y, x, *seen = max(masks(layer), key=lambda m: len(m[2]) * len(m[3]))
    g, (top, _, left, _) = layer.geometry, layer.pad
    mask, batches = (seen[0], seen[1]), range(g.batch)
    if layer.spread != (1, 1) or len(seen[0]) < g.kernel_h or len(seen[1]) < g.kernel_w:
        return [(b, y, x, mask) for b in batches][:most]
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
    found = [(b, y, x, mask) for b in batches for y in ys for x in xs][:most]
    return found or [(b, y, x, mask) for b in batches][:most]


@dataclass(slots=True, eq=False)
class Aim:
    """Makes inputs of one kind of window whose accumulator in ``channel`` is a given one."""

    layer: Layer
    mask: Mask
    channel: int
    driven: Driven | None = None
    tables: Array = field(init=False)
    """``(taps, inputs)``: the products of the taps in the image that may be chosen, the greatest weights first"""
    order: Array = field(init=False)
    fine: Chain = field(init=False)
    """all sums of the smallest weights, which make up for what is left"""
    rest: int = field(init=False)
    """the bias, what comes from outside the image, and what is held of the taps that are driven"""
    middles: tuple[int, int] = field(init=False)
    """inputs that are drawn around: the zero point, and what makes no product of what is added up"""
    fixed: Array = field(init=False)
    """the inputs of all taps in the image, those that are chosen at 0"""

    def __post_init__(self) -> None:
        """Makes the tables."""
        (layer, last), n, (least, most) = lifted(self.layer), self.channel, self.layer.input_range
        near, none = (min(max(v, least), most) - least for v in (self.layer.x_zero, layer.x_zero))
        self.middles = near, none
        weight = layer.weight[..., n].astype(np.int64)
        inside = weight[np.ix_(*self.mask)].reshape(-1)
        made = table(layer, weight.reshape(-1))
        out = np.ones(weight.shape, np.bool_)
        out[np.ix_(*self.mask)] = False
        self.rest = int(last[n]) + int(made[out.reshape(-1), outside(layer) - stored(layer)[0]].sum())
        made, (drives, up, lost) = products_under(layer, self.mask, n), self.driven or (0, True, 0)
        self.fixed = np.zeros(len(made), np.int64)
        self.fixed[:drives] = np.argmax(made[:drives] if up else -made[:drives], axis=1)
        self.rest += int(made[np.arange(drives), self.fixed[:drives]].sum()) - lost
        self.order = np.lexsort((np.arange(len(inside)), -np.abs(inside)))
        self.order = self.order[self.order >= drives]
        self.tables = made[self.order]
        few = max(0, int(np.count_nonzero(inside[self.order])) - FINE)
        self.fine = Chain(self.tables[few:])

    def window(self, target: int, rng: np.random.Generator) -> Array | None:
        """``(KH, KW, C)`` stored inputs that make ``target``, or None if none were found.

        It aims at a plain sum, looks at what the layer's own register makes of it, and corrects its aim.
        """
        layer, g = self.layer, self.layer.geometry
        per = g.in_c // g.groups
        first = self.channel // (g.out_c // g.groups) * per
        window = np.full((1, g.kernel_h, g.kernel_w, g.in_c), outside(layer), layer.input_dtype)
        place = np.ix_([0], *self.mask, range(first, first + per))
        aims, chosen = [target - self.rest] * 2, self.fixed.copy()
        for attempt in range(TRIES):
            found = self._chosen(aims[attempt % 2], self.middles[attempt % 2], attempt / TRIES, rng)
            if found is None:
                if len(self.fine.tables) == len(self.tables):
                    return None  # no inputs make it
                continue
            chosen[self.order] = found
            window[place] = (chosen + layer.input_range[0]).reshape(1, len(self.mask[0]), len(self.mask[1]), per)
            got = int(summed(layer, window)[0, self.channel])
            if got == target:
                made: Array = window[0]
                return made
            aims[attempt % 2] += target - got
        return None

    def _chosen(self, aim: int, zero: int, share: float, rng: np.random.Generator) -> Array | None:
        """The input of each tap, from the least on, in order; the greater the share the farther from ``zero`` they are."""
        few = len(self.tables) - len(self.fine.tables)
        size = self.tables.shape[1]
        drawn = rng.integers(int(zero * (1 - share)), zero + int((size - 1 - zero) * share) + 1, few)
        chosen = np.clip(drawn, 0, size - 1)
        if self.driven is not None:  # all the way back, but for some
            back = np.argmin(self.tables[:few] * (1 if self.driven[1] else -1), axis=1)
            chosen = np.where(rng.random(few) < share, zero, back)
        left = aim - int(self.tables[np.arange(few), chosen].sum())
        low, high = self.fine.span
        middle = (low + high) // 2
        for n in range(few):
            if low <= left <= high and rng.random() < 0.9:
                break
            held = left + int(self.tables[n, chosen[n]])
            chosen[n] = int(np.argmin(np.abs(held - self.tables[n] - middle)))
            left = held - int(self.tables[n, chosen[n]])
        fine = self.fine.solve(left, rng)
        return None if fine is None else np.concatenate([chosen, fine])


def products_under(layer: Layer, mask: Mask, channel: int) -> Array:
    """``(taps, inputs)``: a channel's scaled products of the taps in the image with each input."""
    inside = layer.weight[..., channel].astype(np.int64)[np.ix_(*mask)].reshape(-1)
    low, high = layer.input_range
    return table(layer, inside)[:, low - stored(layer)[0] : high - stored(layer)[0] + 1]


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


def drawn_windows(layer: Layer, shown: tuple[Array, Array], rng: np.random.Generator, count: int = DRAWN) -> Array:
    """``(count, KH, KW, C)``: some taps drive a sum to its peak, the others bring it back to where an output shows it.

    ``shown`` are the accumulators of each channel between which outputs are not clamped. What drives is a first stretch
    of the taps, whole pairs of them, or any; every fourth window is noise.
    """
    g, (low, high) = layer.geometry, layer.input_range
    x_low, x_high, per, outs = low - layer.x_zero, high - layer.x_zero, g.in_c // g.groups, g.out_c // g.groups
    taps = g.kernel_h * g.kernel_w * per
    found = np.zeros((count, g.kernel_h, g.kernel_w, g.in_c), np.int64)
    for group in range(g.groups):
        channel = group * outs + rng.integers(0, outs, count)
        weight = layer.weight.reshape(taps, g.out_c).T[channel].astype(np.int64)
        up = weight * rng.choice([-1, 1], (count, 1)) > 0
        drive, back = np.where(up, x_high, x_low), np.where(up, x_low, x_high)
        stretch = np.arange(taps) < rng.integers(0, taps + 1, (count, 1))
        pairs = np.repeat(rng.random((count, taps // 2 + 1)) < rng.random((count, 1)), 2, axis=1)[:, :taps]
        any_tap = rng.random((count, taps)) < rng.random((count, 1))
        drives = np.choose(rng.integers(0, 4, (count, 1)), [stretch, stretch, pairs, any_tap])
        share = np.where(rng.random((count, 1)) < 0.5, 1, 2.0 ** -rng.uniform(0, 4, (count, 1)))
        driven = np.rint(np.where(drives, drive * share, 0))
        target = rng.uniform(*(v[channel] for v in shown)) - layer.bias[channel]
        returned = np.where(drives, 0, back)
        whole = (returned * weight).sum(axis=1)
        part = np.clip((target - (driven * weight).sum(axis=1)) / np.where(whole == 0, 1, whole), 0, 1)
        values = driven + np.rint(returned * part[:, np.newaxis])
        noise = rng.random((count, taps)) * (x_high - x_low) + x_low
        ends = np.where(noise > 0, x_high, x_low)
        n = np.arange(count)[:, np.newaxis]
        values = np.where(n % 8 == 0, np.rint(noise * share), np.where(n % 8 == 1, ends, values))
        shape = count, g.kernel_h, g.kernel_w, per
        found[..., group * per : (group + 1) * per] = np.clip(values, x_low, x_high).reshape(shape)
    return (found + layer.x_zero).astype(layer.input_dtype)


def write_window(layer: Layer, image: Array, spot: Spot, window: Array) -> None:
    """Puts a whole window ``(KH, KW, C)`` under an output position."""
    write(layer, image, spot, window[np.ix_(*spot[3])], slice(None))


def write(layer: Layer, image: Array, spot: Spot, cells: Array, of: slice) -> None:
    """Puts stored inputs ``(rows, columns, channels)`` under a window."""
    b, y, x, (rows, columns) = spot
    g, (top, _, left, _), (down, across) = layer.geometry, layer.pad, layer.spread
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            at_y, at_x = y * g.stride_h + r * g.dilation_h - top, x * g.stride_w + c * g.dilation_w - left
            image[b, at_y // down, at_x // across, of] = cells[i, j]


def noise(layer: Layer, rng: np.random.Generator) -> Iterator[Array]:
    """As many images of noise as are soon run."""
    low, high = layer.input_range
    for _ in range(min(NOISE, NOISE_PRODUCTS // (layer.geometry.outputs * layer.weight[..., 0].size))):
        share = 2.0 ** -rng.uniform(0, 4)
        image = rng.uniform((low - layer.x_zero) * share, (high - layer.x_zero) * share, image_shape(layer))
        yield (np.rint(image) + layer.x_zero).astype(layer.input_dtype)


def styles(layer: Layer, rng: np.random.Generator) -> Iterator[Array]:
    """Whole inputs: noise of every amplitude, and for channels in turn sums that climb to a peak, with and without return."""
    low, high = layer.input_range
    x_low, x_high, zero = low - layer.x_zero, high - layer.x_zero, layer.x_zero
    shape, g = image_shape(layer), layer.geometry
    for n in range(STYLES // 4):
        share = 2.0 ** (-n / 2)
        noise = (
            rng.uniform(x_low * share, x_high * share, shape)
            if n % 2
            else rng.choice([x_low * share, x_high * share], shape)
        )
        yield (np.rint(noise) + zero).astype(layer.input_dtype)
    places, per = spots(layer), g.in_c // g.groups
    least, most = finals(layer)
    widest, turn = np.argsort(least - most, kind="stable"), 0
    for n in range(STYLES):
        image = np.full(shape, zero, layer.input_dtype)
        for spot in places:
            channel, turn = int(widest[turn // 2 % g.out_c]), turn + 1
            weight = layer.weight[np.ix_(*spot[3])][..., channel].astype(np.int64)
            flat = weight.reshape(-1) * (1 if turn % 2 else -1)
            share = 2.0 ** -rng.uniform(0, n / 5)
            cells = np.rint(np.where(flat > 0, x_high, x_low) * share)
            if n % 4:  # climbs first, then returns
                gains = np.cumsum(np.abs(flat * cells))
                other = np.rint(np.where(flat > 0, x_low, x_high) * share)
                cells = np.where(gains <= gains[-1] * rng.uniform(0.45, 0.7), cells, other)
            first = channel // (g.out_c // g.groups) * per
            cells = (np.clip(cells, x_low, x_high) + zero).reshape(weight.shape)
            write(layer, image, spot, cells, slice(first, first + per))
        yield image


@dataclass(slots=True, eq=False)
class Pages:
    """Images that are filled window by window."""

    layer: Layer
    places: list[Spot]
    images: list[Array]
    used: int = 0
    image: Array = field(init=False)

    def __post_init__(self) -> None:
        """Begins an image."""
        self.fresh()

    @property
    def place(self) -> Spot:
        """The next window."""
        return self.places[self.used]

    def write(self, channel: int, window: Array) -> None:
        """Fills the group of ``channel`` in the next window."""
        g = self.layer.geometry
        per = g.in_c // g.groups
        of = slice(start := channel // (g.out_c // g.groups) * per, start + per)
        write(self.layer, self.image, self.place, window[np.ix_(*self.place[3])][..., of], of)
        self.turn()

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


def most_telling(outs: Array) -> list[int]:
    """The columns, those first that separate most; each several times over, since not every accumulator can be reached."""
    left, found = np.arange(outs.shape[1]), list[int]()
    for _ in range(4):
        chosen = refining(outs[:, left], 24)
        found += left[chosen].tolist()
        left = np.delete(left, chosen)
    return found
