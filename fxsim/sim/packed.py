"""Layers on the packed kernels: weights and constants in their layout, once for each bound layer.

Legal wherever the order of the additions does not matter, or is the plain one: see :func:`native_of`.
"""

from functools import partial
from typing import Any

import numpy as np

from fxsim.kernels import _tiles as t
from fxsim.kernels import isa, packed
from fxsim.model.qtype import Array

from fxsim.sim.base import INT32, Native, address
from fxsim.sim.layer import Layer

LEFT_FREE = 30
"""widest accumulator whose clamped steps are whole in 32 bits"""
INT8, INT16 = (-128, 127), (-(1 << 15), (1 << 15) - 1)


def _group(layer: Layer) -> int:
    """How many inputs a word may hold: what the ranges of inputs and weights allow."""
    if layer.policy == "saturate":
        return 1
    low, high = layer.input_range
    narrow = layer.weight.size == 0 or (INT8[0] <= layer.weight.min() and layer.weight.max() <= INT8[1])
    if layer.input_dtype.itemsize == 1 and narrow:
        return 4
    fits = low - layer.x_zero >= INT16[0] and high - layer.x_zero <= INT16[1]
    return 2 if fits and (narrow or (INT16[0] <= layer.weight.min() and layer.weight.max() <= INT16[1])) else 1


def _scheme(layer: Layer, out: np.dtype[Any]) -> tuple[int, list[Array], list[int], list[float]] | None:
    """``(scheme, parameters a channel, [zero, low, high], limits)``; None where there is no compiled one."""
    s, channels, (low, high) = layer.scales, layer.geometry.out_c, layer.clamp
    settings, ends = [layer.zero, low, high], [-(2.0**31), 2.0**31 - 128]
    if layer.lanes and layer.lanes_over == "elements" and layer.tail != layer.rounding:
        return None
    whole = channels - channels % layer.lanes if layer.lanes else channels
    rules = {layer.rounding} | ({layer.tail} if whole < channels else set())
    if layer.scheme in ("double_rounding", "single_rounding") and rules <= {"ties_away", "ties_pos"}:
        away = np.full(channels, -(layer.rounding == "ties_away"), np.int32)
        away[whole:] = -(layer.tail == "ties_away")
        q = s.q.astype(np.int32)
        if layer.scheme == "single_rounding":
            return t.SINGLE, [q, (31 - s.shift).astype(np.int32), away], settings, ends
        left, right = np.maximum(s.shift, 0), np.maximum(-s.shift, 0)
        rest = ((np.int64(1) << right) - 1).astype(np.int32)
        return t.DOUBLE, [q, left.astype(np.int32), right.astype(np.int32), rest, away], settings, ends
    if (layer.scheme, rules) == ("float32", {"ties_even"}) and s.real.dtype == np.float32:
        if layer.saturating == "above":
            return t.FLOAT32, [s.real], [layer.zero, low, np.iinfo(out).max], [ends[0], high - layer.zero]
        if layer.saturating:
            return t.FLOAT32, [s.real], settings, [low - layer.zero, high - layer.zero]
        return t.FLOAT32_X86, [s.real], settings, ends
    if (layer.scheme, rules) == ("float64", {"ties_away"}) and layer.saturating != "above":
        if layer.saturating:
            return t.FLOAT64, [s.real], settings, [low - layer.zero, high - layer.zero]
        return t.FLOAT64_X86, [s.real], settings, ends
    return None


def native_of(layer: Layer, out: np.dtype[Any], instructions: str | None = None) -> Native | None:
    """The layer compiled for outputs of type ``out``; None where only the general kernels compute what it needs.

    That is: other orders and roundings, registers of 31 bits and more that saturate, of less than 32 that wrap, and of
    more than 32, several groups that mix channels, inputs that are cut or spread or padded with other than their zero
    point, and outputs without a clamp or with the zero point added before they are rounded.
    """
    g, a = layer.geometry, layer.accumulator
    clamped = layer.policy == "saturate"
    narrow = layer.policy == "wrap" and a.overflow == "wrap" and a.bits < layer.width
    if not a.plain or layer.width != 32 or narrow or (clamped and a.bits > LEFT_FREE):  # noqa: PLR2004
        return None
    separate = g.groups == g.in_c == g.out_c and g.groups > 1
    if separate and g.kernel_h > packed.LINES // 8:
        return None
    if (g.groups > 1 and not separate) or layer.spread != (1, 1) or min(layer.pad) < 0 or not layer.weight.size:
        return None
    if layer.fill not in (None, layer.x_zero) or any(layer.dropped) or layer.zero_point == "before" or layer.clamp == INT32:
        return None
    if 0 in (g.batch, g.in_h, g.in_w, g.out_h, g.out_w) or out.kind not in "iu" or out.itemsize > 2:  # noqa: PLR2004
        return None
    scheme = _scheme(layer, out)
    if scheme is None:
        return None
    isa_ = instructions or isa.chosen()
    code = isa.kind(isa_, _group(layer))
    return (_apart if separate else _dense)(layer, out, code, clamped, scheme)


def _first(layer: Layer, group: int, sums: Array) -> tuple[Array, int, int]:
    """``(what sums start from, what is taken off an input, the word's value of padding)``."""
    bias = layer.bias.astype(np.int64)
    if group < 4:  # noqa: PLR2004
        return bias.astype(np.int32), layer.x_zero, 0
    lifted = layer.x_zero + (128 if layer.input_dtype == np.int8 else 0)
    return (bias - lifted * sums).astype(np.int32), 0, lifted


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


def _bits(layer: Layer) -> int:
    return layer.input_dtype.itemsize * 8 * (-1 if layer.input_dtype.kind == "i" else 1)


def _elements(group: int) -> type[np.signedinteger[Any]]:
    return {4: np.int8, 2: np.int16, 1: np.int32}[group]


def _dense(layer: Layer, out: np.dtype[Any], code: int, clamped: bool, scheme: Any) -> Native:  # noqa: ANN401
    g, kind = layer.geometry, t.KINDS[code]
    group, each = kind.group, 4 // kind.group
    top, bottom, left, right = layer.pad
    h, w = g.in_h + top + bottom, g.in_w + left + right
    merged = g.dilation_w == 1
    inner = g.in_c * (g.kernel_w if merged else 1)
    weight = layer.weight.reshape(-1, inner, g.out_c)
    taps = [(i, j) for i in range(g.kernel_h) for j in range(1 if merged else g.kernel_w)]
    runs = np.array([(i * g.dilation_h * w + j * g.dilation_w) * g.in_c * each for i, j in taps], np.int64)
    n, y, z = np.ogrid[: g.batch, : g.out_h, : g.out_w]
    at = (((n * h + y * g.stride_h) * w + z * g.stride_w) * g.in_c * each).reshape(-1).astype(np.int64)
    steps = -(-inner // group)
    rows, blocks = _tile(isa.tiles(code, clamped), len(at), g.out_c, steps * len(taps))
    width = blocks * t.LANES
    panels = -(-g.out_c // width)
    full = np.zeros((len(taps), steps * group, panels * width), _elements(group))
    full[:, :inner, : g.out_c] = weight
    words = full.reshape(len(taps), steps, group, panels, width).transpose(3, 0, 1, 4, 2)
    first, zero, padding = _first(layer, group, layer.weight.reshape(-1, g.out_c).sum(axis=0, dtype=np.int64))
    size = panels * width
    at = np.concatenate([at, np.full(-len(at) % rows, at[-1])])
    held, common = _constants(scheme, [_aligned(words), at, runs, _repeat(first, 0, size)], size, g.out_c)
    elements = g.batch * g.out_h * g.out_w * g.out_c
    held[-1][5] = elements
    if any(layer.pad):
        lines = g.batch, g.in_h, g.in_w * g.in_c, (top * w + left) * g.in_c, (left + right) * g.in_c
        spread = *lines, (right + bottom * w) * g.in_c
    else:
        spread = 1, 1, g.batch * h * w * g.in_c, 0, 0, 0
    low, high = _limits(layer)
    block = [
        zero, padding, *spread, address(held[1]), g.batch * g.out_h * g.out_w, address(held[2]), len(taps), steps,
        address(held[0]), panels, address(held[3]), low, high, *common, g.out_c, each,
    ]  # fmt: skip
    function = partial(packed.dense, code, _bits(layer), int(clamped), rows, blocks, scheme[0], out.itemsize * 8)
    room = packed.TILE + g.batch * h * w * g.in_c * each + packed.SLACK
    return Native(function, np.array(block, np.int64), tuple(held), room, (layer.position,))


def _tile(tiles: tuple[tuple[int, int], ...], windows: int, channels: int, steps: int) -> tuple[int, int]:
    """The tile that takes the least time: products, loads, and what a tile costs besides."""

    def cost(tile: tuple[int, int]) -> float:
        rows, blocks = tile
        count = -(-windows // rows) * -(-channels // (blocks * t.LANES))
        return count * (steps * max(rows * blocks / 2, (rows + blocks) / 2, 3) + 20 + 2 * rows * blocks)

    return min(tiles, key=cost)


def _apart(layer: Layer, out: np.dtype[Any], code: int, clamped: bool, scheme: Any) -> Native:  # noqa: ANN401
    g, kind = layer.geometry, t.KINDS[code]
    group, each, c = kind.group, 4 // kind.group, g.in_c
    top, _, left, right = layer.pad
    fold = c < t.LANES and t.LANES % c == 0
    pitch = t.LANES if fold else c
    columns = -(-g.out_w * c // pitch)
    blocks = -(-pitch // t.LANES)
    words = -(-g.kernel_w // group)
    size = blocks * t.LANES
    taps = layer.weight.reshape(g.kernel_h, g.kernel_w, c)
    full = np.zeros((g.kernel_h, words * group, size), _elements(group))
    full[:, : g.kernel_w, : pitch] = np.tile(taps, (1, 1, pitch // c))
    packed_words = full.reshape(g.kernel_h, words, group, blocks, t.LANES).transpose(3, 0, 1, 4, 2)
    first, zero, padding = _first(layer, group, taps.sum(axis=(0, 1), dtype=np.int64))
    held, common = _constants(scheme, [_aligned(packed_words), _repeat(first, pitch, size)], size, pitch)
    held[-1][5] = g.out_w * c
    line_bytes = (left + g.in_w + right + words * group * g.dilation_w) * c * each + packed.SLACK
    ring = -(-line_bytes // 64) * 64
    rows = 8 if kind.lanes == t.LANES else 4
    low, high = _limits(layer)
    block = [
        zero, padding, g.batch, g.in_h, g.in_w * c, top, left * c, right * c, g.out_h, g.out_w, c, g.stride_h,
        g.stride_w, g.dilation_h, g.dilation_w, g.kernel_h, words, address(held[0]), blocks, address(held[1]), low, high,
        *common, pitch, columns, ring,
    ]  # fmt: skip
    span = (g.kernel_h - 1) * g.dilation_h + 1
    room = packed.TILE + ring + span * words * 4 * (g.out_w * c + t.LANES) + (rows + 1) * size * 4 + packed.SLACK
    function = partial(packed.apart, code, _bits(layer), int(clamped), min(group, g.kernel_w), rows, scheme[0], out.itemsize * 8)
    return Native(function, np.array(block, np.int64), tuple(held), room, (layer.position,))


def _limits(layer: Layer) -> tuple[int, int]:
    half = 1 << (layer.accumulator.bits - 1)
    return -half, half - 1


def _constants(scheme: Any, held: list[Array], size: int, period: int) -> tuple[list[Array], list[int]]:  # noqa: ANN401
    """All that a block points at, and the words on the parameters; of the settings the last one is still to be filled in."""
    _, parameters, settings, limits = scheme
    channels = _aligned(np.concatenate([_repeat(p, period, size) for p in parameters]))
    words = np.array([*settings, *np.array(limits, np.float64).view(np.int64), 0], np.int64)
    held = [*held, channels, words]
    return held, [address(channels), size, address(words)]
