"""Which block of outputs an Ethos-U works on at a time.

``compiler_block`` chooses as Vela does: of all blocks whose input and accumulators, double-buffered, fit the block memory,
the one that fetches least: elements of the input (with the rim that windows share) and of the weights (once for each
block position) for each output, in single precision; half as much where two input blocks hold the whole input. Of equals
the first, except that small blocks that cover more of the input win. On U85 that is the rule for convolutions alone; other
operations have their own (:mod:`ethos_area`). The choice depends on the layer and the array alone, not on the memories.

``candidates`` is a small fixed set of blocks that fit: powers of two, with either order of traversal. A layer that takes
the fastest of them never costs less than a smaller layer, as any block for the larger one serves the smaller one too.
Vela's rule lacks that property: one channel more may lead it to a better block. Of random enlargements of a convolution
2 % cost less by its rule, at most by a third on U55 and by half on U85.

Source: ethos-u-vela 5.2.0, regor; all 546 blocks of U55 and U65 in its debug databases of three networks reproduced, and
those of U85 but for elementwise operations.
"""

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from fxsim.cost.ethos_area import LIMIT as WIDE_LIMIT
from fxsim.cost.ethos_area import area_block, input_unit
from fxsim.cost.ethos_array import CHANNELS_PER_PASS, Core, Size
from fxsim.cost.ethos_ops import Operation
from fxsim.cost.layer import ceil_div
from fxsim.model.qtype import Array

LIMIT = Size(32, 64, 128)
"""largest block of U55 and U65"""
DEPTH_STEP = 16
WIDE_SUM = 64
"""bits that a wide accumulator of a U85 takes"""
SUB_KERNEL = 8
MOVED = Size(4, 4, 128)
"""the block of a transposition"""
SIDES = (1, 2, 4, 8, 16, 32, 64)
DEPTHS = (16, 32, 128)


class Block(NamedTuple):
    """Outputs that are worked on at once, the input that they need, and in which order the weights come."""

    output: Size
    input: Size
    micro: Size
    by_part: bool = False
    """parts of the kernel come first, rather than the input channels"""
    sparse: bool = False
    """U85: at most two of four weights are not zero, and the others take no time"""


def _up(n: Any, unit: int) -> Any:  # noqa: ANN401  (integers or arrays of them)
    return -(-n // unit) * unit


def by_part(op: Operation, core: Core, *, sparse: bool = False) -> bool:
    """True if a convolution uses the array better with parts of the kernel first."""
    if op.kind != "conv":
        return False
    c, n = op.input.d, op.taps
    if core.wide:
        unit, least = (10, 4) if sparse else (5, 2)
        taps = n // unit * unit + max(n % unit, least)
        return bool(c / _up(c, 16) * (n / taps) >= c / _up(c, 128 if sparse else 64))
    deep, part = (32, 4) if op.input_bits == 8 else (16, 2)
    return bool(c <= 8 or c / _up(c, 8) * (n / _up(n, part)) >= c / _up(c, deep))


def micro_of(op: Operation, core: Core) -> Size:
    """The micro-block that wastes least of the outputs."""
    bits = min(op.input_bits // 16, 2)
    fit = [m.size for m in core.micro if op.kind in m.kinds[bits]] or [core.micro[0].size]

    def waste(u: Size) -> int:
        return int(_up(op.output.h, u.h) * _up(op.output.w, u.w) * _up(op.output.d, u.d))

    return min(fit, key=waste)


def input_depth(op: Operation, core: Core, micro: Size, *, part: bool, sparse: bool = False) -> int:
    """Channels of an input block of an operation that sums over channels."""
    c = op.input.d
    if not core.wide:
        most, unit = (16, 4) if op.input_bits == 16 else (16 if part else 32, core.input_micro)
        return int(_up(min(c, most), unit))
    if part:
        return 16
    if op.input_bits == 32 or (core.macs <= 256 and micro.d == 16 and not sparse):
        return 32
    return 128 if sparse and op.input_bits == 8 else 64


def _unit(core: Core, micro: Size, depth_bits: int) -> tuple[int, int, int]:
    """Height, width and bytes of channels that an input block is rounded up to."""
    return input_unit(core, micro, depth_bits) if core.wide else (micro.h, micro.w, 1)


def _fits_banks(op: Operation, core: Core, ib: Any, ib_depth: Any, out: Any, depth: Any, lookup: bool) -> Any:  # noqa: ANN401
    bank, banks, output_banks, end_banks, i8, i16, i32, e8, e16, a32, a40 = core.banks
    elementwise = op.kind == "elementwise"
    granule = {8: (i8, e8), 16: (i16, e16)}.get(op.input_bits, (i32, i32))[elementwise]
    wide = op.input_bits == 16 and op.kind in ("conv", "depthwise", "sum") and op.scaled
    used = _up(-(-ib * _up(ib_depth * (op.input_bits // 8), 8) // bank) * 2, granule)
    free = banks - max(2 if lookup else 0, end_banks) - output_banks
    if elementwise:
        scalar = op.second is not None and (op.second.elements == 1 or op.input.elements == 1) and op.input_bits <= 16
        return used * (1 if scalar else 2) <= free
    sums = -(-out * _up(depth, 8) * (40 if wide else 32) // 8 // bank) * 2
    return used + _up(sums, a40 if wide else a32) <= free


def _fits_buffers(op: Operation, core: Core, ib: Any, ib_depth: Any, out: Any, depth: Any, copies: int) -> Any:  # noqa: ANN401
    if op.kind == "elementwise":
        return out * _up(depth, DEPTH_STEP) * (op.output_bits // 8) <= core.buffers[4]
    wide = op.input_bits == 16 and op.kind in ("conv", "depthwise") and op.scaled
    copies = 1 if op.per_channel and not op.copies else copies
    room = ib * ib_depth * (op.input_bits // 8) * copies <= core.buffers[2]
    return room & (out * _up(depth, DEPTH_STEP) * (WIDE_SUM if wide else 32) // 8 * copies <= core.buffers[3])


def _depths(op: Operation, core: Core, micro: Size, limit: int) -> list[int]:
    end = _up(max(min(op.output.d, limit), DEPTH_STEP if core.wide else 1), micro.d)
    d, found = max(micro.d, min(end, DEPTH_STEP)), []
    if d < op.output.d:
        d = _up(d, DEPTH_STEP)
    while d <= end:
        found.append(d)
        d += micro.d
        if d < op.output.d:
            d = _up(d, DEPTH_STEP)
    return found or [end]


class _Grid(NamedTuple):
    """All blocks of the search, as arrays that broadcast over depth, height and width."""

    h: Array
    w: Array
    d: Array
    rows: Array
    """rows that hold anything"""
    input_h: Array
    input_w: Array
    input_d: Array
    held_d: Array
    """channels of an input block with what they are rounded up to"""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Depths, heights, widths."""
        return self.d.size, self.h.size, self.w.size

    def input(self, z: int, y: int, x: int) -> Size:
        """The input block at a place of the grid."""
        h, w = (a[min(z, len(a) - 1)] for a in (self.input_h, self.input_w))
        return Size(int(h.flat[y]), int(w.flat[x]), int(self.input_d.flat[z]))


def _grid(op: Operation, core: Core, micro: Size, big: Size, *, part: bool, sparse: bool) -> _Grid:
    ofm, limit = op.output, WIDE_LIMIT if core.wide else LIMIT
    depths = np.array(_depths(op, core, micro, limit.d))
    h = np.arange(micro.h, _up(min(ofm.h, limit.h), micro.h) + 1, micro.h)[None, :, None]
    w = np.arange(micro.w, _up(min(ofm.w, limit.w), micro.w) + 1, micro.w)[None, None, :]
    d = depths[:, None, None]
    fixed = input_depth(op, core, micro, part=part, sparse=sparse)
    unit_h, unit_w, unit_d = _unit(core, micro, (int(depths[0]) if op.per_channel else fixed) * op.input_bits)
    if op.per_channel and core.wide:  # deeper blocks are rounded up otherwise
        each = [_unit(core, micro, int(n) * op.input_bits) for n in depths]
        unit_h, unit_w, unit_d = np.transpose(each)[:, :, None, None]
    reach = [min(r, SUB_KERNEL) for r in op.reach]
    input_h = _up((h - 1) * op.stride[0] + reach[0], unit_h)
    input_w = _up((w - 1) * op.stride[1] + reach[1], unit_w)
    depth = d if op.per_channel else np.full_like(d, fixed)
    held = np.minimum(depth, big.d) if core.wide and not op.per_channel else depth
    rows = np.minimum(h, ofm.h) if ofm.h == 1 and op.kernel[0] == 1 and micro.h == 2 else h
    words = np.maximum(unit_d * 8 // op.input_bits, 1) if core.wide else 1
    return _Grid(h, w, d, rows, input_h, input_w, depth, _up(held, words))


def _fits(op: Operation, core: Core, g: _Grid) -> Array:
    area = g.input_h * g.input_w
    if core.wide:
        fits = _fits_buffers(op, core, area, g.held_d, g.h * g.w, g.d, 2)
        if not fits.any():
            fits = _fits_buffers(op, core, area, g.held_d, g.h * g.w, g.d, 1)
    else:
        fits = _fits_banks(op, core, area, g.input_d, g.rows * g.w, g.d, op.stage == "lookup")
    return np.broadcast_to(fits, g.shape)


def _cost(op: Operation, g: _Grid, big: Size, *, whole: bool) -> Array:
    """Elements that a block fetches for each output, in the single precision and the order of Vela's search.

    ``whole``: the kernel covers the input once; then blocks to do.
    """
    f4, ofm = np.float32, op.output
    area = g.input_h * g.input_w
    if op.kind == "elementwise" or whole:
        cost = f4(ofm.elements) / (g.h * g.w * g.d).astype(f4)
    else:
        positions = -(-ofm.h // g.rows) * -(-ofm.w // g.w)
        weights = ((op.taps if op.weights else 0) * big.d * positions).astype(f4)
        if op.kind != "depthwise":
            weights = weights * ((f4(ofm.d) / g.d.astype(f4)) * g.d.astype(f4))
        repeats = ceil_div(op.reach[0], SUB_KERNEL) * ceil_div(op.reach[1], SUB_KERNEL)
        read = (area * big.d * repeats).astype(f4) * (f4(ofm.w) / g.w.astype(f4)) * (f4(ofm.h) / g.rows.astype(f4))
        if not op.per_channel:
            read = read * (-(-ofm.d // g.d)).astype(f4)
        cost = (read + weights) / f4(ofm.elements)
    cost = np.broadcast_to(cost, g.shape)
    depth = g.held_d if op.copies else g.input_d
    return np.where(big.elements < area * depth * 2, cost / f4(2), cost)


def _long_rows(op: Operation, core: Core, micro: Size) -> Block:
    """A U85's block of an elementwise operation: rows as long as the output memory, of more channels if the layer's end."""
    h, wide = (min(_up(n, u), most) for n, u, most in zip(op.output[:2], micro[:2], WIDE_LIMIT[:2], strict=True))
    w, d = core.buffers[4] * 8 // op.output_bits // DEPTH_STEP, DEPTH_STEP
    more = min(w // max(min(w, wide), micro.w), ceil_div(min(op.output.d, WIDE_LIMIT.d), DEPTH_STEP))
    if more > 1:
        w, d = w // more, d * more
    size = Size(h, _up(w, micro.w), d)
    return Block(size, size, micro)


@lru_cache(maxsize=4096)
def compiler_block(op: Operation, core: Core, *, sparse: bool = False) -> Block:
    """The block that Vela would choose."""
    if op.kind == "move":
        return Block(MOVED, MOVED._replace(d=CHANNELS_PER_PASS), core.micro[0].size)
    micro, part, big = micro_of(op, core), by_part(op, core, sparse=sparse), op.input
    if op.second is not None and not op.chained and op.second.elements > big.elements:
        big = op.second
    if core.wide and op.kind == "elementwise":
        return _long_rows(op, core, micro)
    if core.wide and op.kind != "conv" and not op.copies:
        depth = input_depth(op, core, micro, part=False) if op.kind == "sum" else 0
        bits = WIDE_SUM if op.input_bits == 16 and op.kind == "depthwise" and op.scaled else 32
        return Block(*area_block(op, core, micro, depth, bits), micro)
    g = _grid(op, core, micro, big, part=part, sparse=sparse)
    fits = _fits(op, core, g)
    whole = core.wide and op.kind == "conv" and op.reach == op.input[:2] and op.output[:2] == (1, 1)
    cost = np.where(fits, _cost(op, g, big, whole=whole), np.float32(np.inf))
    z, y, x = _first_or_coverage(cost, g, big)
    output = Size(int(g.h.flat[y]), int(g.w.flat[x]), int(g.d.flat[z]))
    return Block(output, g.input(z, y, x), micro, part, sparse)


def _first_or_coverage(cost: Array, g: _Grid, ifm: Size) -> tuple[int, int, int]:
    """The first of the cheapest blocks, or one of at most 4x4 of the same cost that covers most of the input."""
    ties = np.flatnonzero(cost == cost.min())
    best, least = int(ties[0]), float("inf")
    for i in ties[1:]:
        z, y, x = (int(n) for n in np.unravel_index(i, cost.shape))
        if g.h.flat[y] <= 4 and g.w.flat[x] <= 4:
            held = g.input(z, y, x)
            covered = min(held.h, ifm.h) * min(held.w, ifm.w)
            share = float(np.float32(ifm.h * ifm.w) / np.float32(max(covered, 1)))
            if share <= least:
                best, least = int(i), share
    z, y, x = (int(n) for n in np.unravel_index(best, cost.shape))
    return z, y, x


@lru_cache(maxsize=1024)
def candidates(op: Operation, core: Core) -> tuple[Block, ...]:
    """Blocks that fit for an operation with that kernel, stride, input depth and bits.

    Only blocks of which another would do the same in less time depend on the size of the output: those four times it.
    """
    limit = WIDE_LIMIT if core.wide else LIMIT
    found = []
    for m in core.micro:
        if not any(op.kind in kinds for kinds in m.kinds[min(op.input_bits // 16, 2) :]):
            continue  # what wider inputs may use, narrower ones may
        u = m.size
        sides = [[s for s in SIDES if u[i] <= s <= limit[i] and s < 4 * max(op.output[i], u[i])] for i in (0, 1)]
        depths = sorted({u.d, *(d for d in DEPTHS if u.d <= d < 4 * max(op.output.d, u.d))})
        orders = (False, True) if op.kind == "conv" else (False,)
        for part, (h, w, d) in product(orders, product(*sides, depths)):
            depth = d if op.per_channel else input_depth(op, core, u, part=part)
            unit_h, unit_w, _ = _unit(core, u, depth * op.input_bits)
            reach = [min(r, SUB_KERNEL) for r in op.reach]
            ih = int(_up((h - 1) * op.stride[0] + reach[0], unit_h))
            iw = int(_up((w - 1) * op.stride[1] + reach[1], unit_w))
            if core.wide:
                fits = _fits_buffers(op, core, ih * iw, depth, h * w, d, 2)
            else:
                fits = _fits_banks(op, core, ih * iw, depth, h * w, d, op.stage == "lookup")
            if fits:
                found.append(Block(Size(h, w, d), Size(ih, iw, depth), u, part))
    return tuple(found) or (compiler_block(op, core),)
