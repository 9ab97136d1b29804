"""Layers on the packed kernels: weights and constants in their layout, once for each bound layer.

Legal wherever the order of the additions does not matter, or is the plain one: see :func:`native_of`.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fxsim.arith.requantize import WIDE, fifteen_bits
from fxsim.kernels import _finish as schemes
from fxsim.kernels import isa, packed
from fxsim.kernels._vectors import KINDS, LANES, Kind
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import INT32, Border, Native, address
from fxsim.sim.fused import constants
from fxsim.sim.layer import Layer, reach

FOLDED_SHIFT = 22
"""right shift up to which a zero point of 8 bits, shifted left, leaves room for the sum"""
LEFT_FREE = 30
"""widest accumulator whose clamped steps are whole in 32 bits"""
RING = 36 * 1024
"""bytes of a ring of lines that leave room in the first cache for what else a layer touches"""
WHOLE = 640 * 1024
"""bytes of the lines of a whole image that the second cache holds"""
NARROW = 16
"""columns of a strip below which the rests of its tiles cost more than the first cache saves"""
INT8, INT16 = (-128, 127), (-(1 << 15), (1 << 15) - 1)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of products over windows, as :class:`Layer` has them, and nothing of what comes after."""

    geometry: Geometry
    pad: tuple[int, int, int, int]
    weight: Array
    """``(KH, KW, C / G, O)``"""
    bias: Array
    x_zero: int
    dtype: np.dtype[Any]
    """of the input"""
    position: int = 0
    saturated: int = 0
    """bits of the register if every step is clamped to it"""

    @property
    def group(self) -> int:
        """How many inputs a word may hold: what the ranges of inputs and weights allow."""
        if self.saturated:
            return 1
        least, most = int(self.weight.min()), int(self.weight.max())
        if self.dtype.itemsize == 1 and _within(least, most, INT8):
            return 4
        inputs = np.iinfo(self.dtype)
        shifted = inputs.min - self.x_zero, inputs.max - self.x_zero
        return 2 if _within(*shifted, INT16) and _within(least, most, INT16) else 1

    @property
    def limits(self) -> tuple[int, int]:
        """The least and greatest value of the register."""
        half = 1 << max(self.saturated - 1, 0)
        return -half, half - 1

    @property
    def bits(self) -> int:
        """Of an input; negative if it has a sign."""
        return self.dtype.itemsize * 8 * (-1 if self.dtype.kind == "i" else 1)

    def first(self, kind: Kind, weights: Array) -> tuple[Array, int, int]:
        """``(what sums start from, what is taken off an input, the word's value of padding)``."""
        bias = self.bias.astype(np.int64)
        if kind.group < 4:
            return bias.astype(np.int32), self.x_zero, 0
        lifted = self.x_zero + (int(self.dtype == np.int8) - int(kind.signed)) * 128
        return (bias - lifted * weights.sum(axis=0, dtype=np.int64)).astype(np.int32), 0, lifted


@dataclass(frozen=True, slots=True)
class Rescale:
    """What becomes of the sums: a scheme of :mod:`fxsim.kernels._finish`."""

    scheme: int
    parameters: tuple[Array, ...]
    """of each channel"""
    zero: int
    low: int
    high: int
    limits: tuple[float, float]
    """of a float product, without the zero point"""

    def constants(self, held: list[Array], size: int, period: int, elements: int) -> tuple[list[Array], list[int]]:
        """``held`` and what a block points at besides, and the words that say so; an output has ``elements``."""
        parameters = self.parameters or (np.zeros(1, np.int32),)
        channels = _aligned(np.concatenate([_repeat(p, period, size) for p in parameters]))
        limits = np.array(self.limits, np.float64).view(np.int64)
        words = np.array([self.zero, self.low, self.high, *limits, elements], np.int64)
        return [*held, channels, words], [address(channels), size, address(words)]


SUMS = Rescale(schemes.SUMS, (), 0, *INT32, (0.0, 0.0))
"""the sums themselves, in 32 bits"""


def _within(least: int, most: int, limits: tuple[int, int]) -> bool:
    return limits[0] <= least and most <= limits[1]


def _rescale(layer: Layer, out: np.dtype[Any]) -> Rescale | None:
    """The layer's requantization, the quickest that is proved; None where there is no compiled one."""
    rescale = _engines(layer, out)
    if rescale is None or rescale.scheme == schemes.FLOAT32_ABOVE or out.itemsize > 1:
        return rescale
    found = constants(layer)
    if found is None:
        return rescale
    parameters = found.scales, np.full_like(found.scales, schemes.MAGIC + layer.zero), found.offsets
    limits = schemes.MAGIC + layer.clamp[0], schemes.MAGIC + layer.clamp[1]
    if found.single:
        return Rescale(schemes.FOLDED, parameters[:2], layer.zero, *layer.clamp, limits)
    return Rescale(schemes.FUSED, parameters, layer.zero, *layer.clamp, limits)


def _engines(layer: Layer, out: np.dtype[Any]) -> Rescale | None:
    """The layer's requantization, instruction by instruction as the engine computes it."""
    s, channels, (low, high) = layer.scales, layer.geometry.out_c, layer.clamp
    zero, ends = layer.zero, (-(2.0**31), 2.0**31 - 128)
    free = float(low - zero), float(high - zero)
    if layer.lanes and layer.lanes_over == "elements" and layer.tail != layer.rounding:
        return None
    whole = channels - channels % layer.lanes if layer.lanes else channels
    rules = {layer.rounding} | ({layer.tail} if whole < channels else set())
    if layer.scheme in ("double_rounding", "single_rounding") and rules <= {"ties_away", "ties_pos"}:
        away = np.full(channels, -(layer.rounding == "ties_away"), np.int32)
        away[whole:] = -(layer.tail == "ties_away")
        if layer.scheme == "single_rounding":
            parameters = s.q.astype(np.int32), (31 - s.shift).astype(np.int32), away
            return Rescale(schemes.SINGLE, parameters, zero, low, high, ends)
        if np.all(s.shift <= 0) and np.all(s.shift >= -FOLDED_SHIFT) and _most(layer) < 1 << 30 and out.itemsize == 1:
            right = -s.shift
            half = ((np.int64(1) << right) >> 1) + (np.int64(zero) << right)
            made = (*(v.astype(np.int32) for v in (s.q, right, half)), np.where(right > 0, away, 0).astype(np.int32))
            return Rescale(schemes.DOUBLE_SMALL, made, zero, low, high, ends)
        return Rescale(schemes.DOUBLE, (*double_parameters(s.q, s.shift), away), zero, low, high, ends)
    if layer.scheme in WIDE and rules == {"ties_pos"} and _agreeing(layer):
        parameters = _reduced(s.q), (15 - s.shift).astype(np.int32), np.zeros(channels, np.int32)
        return Rescale(schemes.SINGLE, parameters, zero, low, high, ends)
    if (layer.scheme, rules) == ("float32", {"ties_even"}) and s.real.dtype == np.float32:
        if layer.saturating == "above" and s.real.max() >= 0.5:  # only then a product can leave 32 bits
            top = int(np.iinfo(out).max)
            return Rescale(schemes.FLOAT32_ABOVE, (s.real,), zero, low, top, (ends[0], float(high - zero)))
        scheme = schemes.FLOAT32 if layer.saturating else schemes.FLOAT32_X86
        return Rescale(scheme, (s.real,), zero, low, high, free)
    if (layer.scheme, rules) == ("float64", {"ties_away"}) and layer.saturating != "above":
        scheme = schemes.FLOAT64 if layer.saturating else schemes.FLOAT64_X86
        return Rescale(scheme, (s.real,), zero, low, high, free)
    return None


def _reduced(q: Array) -> Array:
    return np.array([fifteen_bits(int(v)) for v in q], np.int32)


def _agreeing(layer: Layer) -> bool:
    """Whether both schemes of :data:`WIDE` are one rounding: where one cuts a bit early, nothing may be cut off."""
    if layer.scheme == "reduced_multiplier":
        return True
    return bool(np.all(_most(layer) * _reduced(layer.scales.q).astype(np.int64) >> 14 - layer.scales.shift <= INT32[1]))


def _most(layer: Layer) -> int:
    """What no whole sum's magnitude exceeds."""
    least, most = reach(layer)
    return int(max(most.max(), -least.min()))


def double_parameters(q: Array, shift: Array, left: int = 0) -> list[Array]:
    """The parameters of double rounding but ``away``, for values that are first shifted ``left``."""
    right = np.maximum(-shift, 0)
    rest = (np.int64(1) << right) - 1
    return [np.asarray(v).astype(np.int32) for v in (q, np.maximum(shift, 0) + left, right, rest)]


def native_of(layer: Layer, out: np.dtype[Any], instructions: str | None = None) -> Native | None:
    """The layer compiled for outputs of type ``out``; None where only the general kernels compute what it needs.

    That is: other orders and roundings, registers of 31 bits and more that saturate, of less than 32 that wrap, and of
    more than 32, several groups that mix channels, inputs that are cut or spread or padded with other than their zero
    point, and outputs without a clamp or with the zero point added before they are rounded.
    """
    g, a = layer.geometry, layer.accumulator
    clamped = layer.policy == "saturate"
    narrow = layer.policy == "wrap" and a.overflow == "wrap" and a.bits < layer.width
    if not a.plain or layer.width != 32 or narrow or (clamped and a.bits > LEFT_FREE):
        return None
    if layer.spread != (1, 1) or min(layer.pad) < 0:
        return None
    if (
        layer.fill not in (None, layer.x_zero)
        or any(layer.dropped)
        or layer.zero_point == "before"
        or layer.clamp == INT32
    ):
        return None
    rescale = _rescale(layer, out)
    if rescale is None:
        return None
    sums = Sums(
        g,
        layer.pad,
        layer.weight,
        layer.bias,
        layer.x_zero,
        layer.input_dtype,
        layer.position,
        a.bits if clamped else 0,
    )
    return native(sums, rescale, out, instructions)


def native_within(layer: Layer, out: np.dtype[Any], border: Border) -> Native | None:
    """As :func:`native_of`, of a layer whose input comes without its ``border`` of zero points."""
    g, (top, bottom, left, right) = layer.geometry, border
    inner = replace(g, in_h=g.in_h - top - bottom, in_w=g.in_w - left - right)
    top, bottom, left, right = (a + b for a, b in zip(layer.pad, border, strict=True))
    if min(layer.pad) < 0:
        return None
    return native_of(replace(layer, geometry=inner, pad=(top, bottom, left, right)), out)


def native(sums: Sums, rescale: Rescale, out: np.dtype[Any], instructions: str | None = None) -> Native | None:
    """The sums and what becomes of them, compiled; None where there is no kernel for the geometry or the types."""
    g = sums.geometry
    apart = g.groups == g.in_c == g.out_c and g.groups > 1
    if not isa.compiled() or (g.groups > 1 and not apart) or (apart and g.kernel_h * g.kernel_w > packed.LINES // 8):
        return None
    if 0 in (g.batch, g.in_h, g.in_w, g.out_h, g.out_w, sums.weight.size) or out.kind not in "iu":
        return None
    if (out.itemsize > 2) != (rescale.scheme == schemes.SUMS):
        return None
    code = isa.kind(instructions or isa.chosen(), sums.group)
    return (_apart if apart else _dense)(sums, rescale, out, code)


def _repeat(values: Array, period: int, size: int) -> Array:
    """``values`` of each channel in rows of ``period``, at least ``size`` of them; beyond, the last one again."""
    tiled = np.tile(values, max(1, period // len(values)))
    return np.concatenate([tiled, np.full(max(0, size - len(tiled)), tiled[-1])]).astype(values.dtype)


def _aligned(values: Array) -> Array:
    """A copy in one piece that begins with a line of the cache: vectors that straddle two cost twice."""
    room = np.empty(values.nbytes + 63, np.uint8)
    start = -address(room) % 64
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def _elements(group: int) -> np.dtype[Any]:
    return np.dtype(f"i{4 // group}")


def _dense(sums: Sums, rescale: Rescale, out: np.dtype[Any], code: int) -> Native:
    g, kind = sums.geometry, KINDS[code]
    group, each = kind.group, 4 // kind.group
    top, bottom, left, right = sums.pad
    h, w = g.in_h + top + bottom, g.in_w + left + right
    merged = g.dilation_w == 1
    inner = g.in_c * (g.kernel_w if merged else 1)
    weight = sums.weight.reshape(-1, inner, g.out_c)
    taps = [(i, j) for i in range(g.kernel_h) for j in range(1 if merged else g.kernel_w)]
    runs = np.array([(i * g.dilation_h * w + j * g.dilation_w) * g.in_c * each for i, j in taps], np.int64)
    n, y, z = np.ogrid[: g.batch, : g.out_h, : g.out_w]
    at = (((n * h + y * g.stride_h) * w + z * g.stride_w) * g.in_c * each).reshape(-1).astype(np.int64)
    steps = -(-inner // group)
    offsets = (runs[:, np.newaxis] + 4 * np.arange(steps)).reshape(-1)
    rows, blocks = _tile(isa.tiles(code, bool(sums.saturated)), len(at), g.out_c, steps * len(taps))
    width = blocks * LANES
    panels = -(-g.out_c // width)
    full = np.zeros((len(taps), steps * group, panels * width), _elements(group))
    full[:, :inner, : g.out_c] = weight
    words = full.reshape(len(taps), steps, group, panels, width).transpose(3, 0, 1, 4, 2)
    first, zero, padding = sums.first(kind, sums.weight.reshape(-1, g.out_c))
    size = panels * width
    at = np.concatenate([at, np.full(-len(at) % rows, at[-1])])
    held = [_aligned(words), at, offsets, _repeat(first, 0, size)]
    held, common = rescale.constants(held, size, g.out_c, g.outputs)
    if any(sums.pad):
        lines = g.batch, g.in_h, g.in_w * g.in_c, (top * w + left) * g.in_c, (left + right) * g.in_c
        spread = *lines, (right + bottom * w) * g.in_c
    else:
        spread = 1, 1, g.batch * h * w * g.in_c, 0, 0, 0
    block = [
        zero, padding, *spread, address(held[1]), g.batch * g.out_h * g.out_w, address(held[2]), len(offsets),
        address(held[0]), panels, address(held[3]), *sums.limits, *common, g.out_c, each,
    ]  # fmt: skip
    function = partial(
        packed.dense, code, sums.bits, int(bool(sums.saturated)), rows, blocks, rescale.scheme, out.itemsize * 8
    )
    room = packed.TILE + g.batch * h * w * g.in_c * each + packed.SLACK
    return Native(function, np.array(block, np.int64), tuple(held), room, (sums.position,))


def _tile(tiles: tuple[tuple[int, int], ...], windows: int, channels: int, steps: int) -> tuple[int, int]:
    """The tile that takes the least time: products, loads, and what a tile costs besides."""

    def cost(tile: tuple[int, int]) -> float:
        rows, blocks = tile
        count = -(-windows // rows) * -(-channels // (blocks * LANES))
        return count * (steps * max(rows * blocks / 2, (rows + blocks) / 2, 3) + 20 + 2 * rows * blocks)

    return min(tiles, key=cost)


def _apart(sums: Sums, rescale: Rescale, out: np.dtype[Any], code: int) -> Native:
    g, kind = sums.geometry, KINDS[code]
    group, each, c = kind.group, 4 // kind.group, g.in_c
    top, _, left, right = sums.pad
    fold = c < LANES and LANES % c == 0
    pitch = LANES if fold else c
    blocks = -(-pitch // LANES)
    words = -(-g.kernel_w // group)
    size = blocks * LANES
    taps = sums.weight.reshape(g.kernel_h, g.kernel_w, c)
    full = np.zeros((g.kernel_h, words * group, size), _elements(group))
    full[:, : g.kernel_w, :pitch] = np.tile(taps, (1, 1, pitch // c))
    packed_words = full.reshape(g.kernel_h, words, group, blocks, LANES).transpose(3, 0, 1, 4, 2)
    first, zero, padding = sums.first(kind, taps.reshape(-1, c))
    span, out_h, out_w = (g.kernel_h - 1) * g.dilation_h + 1, g.out_h, g.out_w
    whole = (out_h - 1 + span) * out_w * c * 4
    if words == g.stride_h == g.batch == 1 and whole <= WHOLE:  # all lines at once: the image is one line of pixels
        span, out_h, out_w = out_h - 1 + span, 1, out_h * out_w
    columns = -(-out_w * c // pitch)
    held, common = rescale.constants([_aligned(packed_words), _repeat(first, pitch, size)], size, pitch, out_w * c)
    line_bytes = (left + g.in_w + right + words * group * g.dilation_w) * c * each + packed.SLACK
    ring = -(-line_bytes // 64) * 64
    rows = 1 if columns == 1 else 8 if kind.lanes == LANES else 4
    fitting = RING // (4 * c * words * span) // rows * rows
    strips = -(-columns // fitting) if fitting >= NARROW and not fold and out_h > 1 else 1
    strip = -(-columns // strips // rows) * rows if strips > 1 else columns
    plane = 4 * (strip if strips > 1 else g.out_w) * c + (4 * LANES if out_h > 1 else 0)
    block = [
        zero, padding, g.batch, g.in_h, g.in_w * c, top, left * c, right * c, out_h, g.out_w, c, g.stride_h,
        g.stride_w, g.dilation_h, g.dilation_w, g.kernel_h, words, address(held[0]), blocks, address(held[1]), *sums.limits,
        *common, pitch, columns, ring, strip, (g.kernel_w - 1) * g.dilation_w + 1, span, plane,
    ]  # fmt: skip
    room = packed.TILE + ring + span * words * (4 * LANES + plane) + (rows + 1) * size * 4 + packed.SLACK
    function = partial(
        packed.apart,
        code,
        sums.bits,
        int(bool(sums.saturated)),
        min(group, g.kernel_w),
        rows,
        rescale.scheme,
        out.itemsize * 8,
        int(strips > 1),
    )
    return Native(function, np.array(block, np.int64), tuple(held), room, (sums.position,))
