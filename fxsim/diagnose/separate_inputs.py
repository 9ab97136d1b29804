"""Inputs made to measure: an accumulator aimed at, a window filled, whole images of noise and of sums that climb."""

from collections.abc import Iterator

import numpy as np

from fxsim.diagnose.windows import spans, summed
from fxsim.model.qtype import Array
from fxsim.sim.layer import Layer
from fxsim.sim.registers import masks

TRIES = 60
"""of making an input for one accumulator"""
STYLES = 40
"""whole inputs that are drawn for what accumulators alone do not show"""
DRAWN = 4096
"""windows that are drawn for what accumulators alone do not show"""
MOST_WINDOWS = 1 << 16

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


def image_shape(layer: Layer) -> tuple[int, int, int, int]:
    """``(N, H, W, C)`` of the layer's data."""
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
    least, most = spans(layer)
    widest, turn = np.argsort(least - most, kind="stable"), 0
    for n in range(STYLES):
        image = np.full(shape, zero, layer.input_dtype)
        for spot in places:
            channel, turn = int(widest[turn // 2 % g.out_c]), turn + 1
            weight = layer.weight[np.ix_(spot[2], spot[3])][..., channel].astype(np.int64)
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
