"""How many bytes an Ethos-U stores a layer's weights in: an estimate of the size of their compressed stream.

The stream holds the weights less their zero point in the order in which the array takes them, padded with zeros to whole
micro-blocks. Values become indices: the 32 most frequent ones first, if they are half of all, then the others by
magnitude; an index is coded as ``q + 1 + div`` bits with ``q = index >> div`` (Golomb-Rice, ``div`` 0 to 5, with ``q``
limited to 2 or not), or with a fixed number of bits. Where zeros come in runs and are five times as frequent as any
other value, runs are coded instead. The encoder may change ``div`` along the way: the estimate lets groups of 1, 2, 4, ...
micro-blocks of weights choose theirs, for a header of 23 bits each, and takes the best grouping.

Only the counts of values in each group enter, so that the estimate takes a millisecond for 100 kB.

Source: ethos-u-vela 5.2.0, weight encoder; the sum over a network is within 3 % for 10 networks.
"""

import math
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from fxsim.cost.layer import ceil_div
from fxsim.model.qtype import Array

HEADER_BITS = 23
"""a change of the code: run code, length, divider, limit, flag"""
PALETTE_BITS = 13
PALETTE = 32
ZERO = 255
"""index of weight 0 in a histogram: weights less their zero point are -255 to 255"""
ALIGNMENT = 16
GROUPS = 256
"""most groups of weights that are looked at"""
RUN_DIVIDERS = 4
CHANNELS = 16
SYMMETRIC = 127
"""largest weight that an array which skips zeros takes"""
SPARSE = 8
"""weights of which at least so many to one are zero are counted by those that are not"""
PIECE = 1 << 13
"""numbers that are worked on at once"""
NO_CODE = 1000.0
LAST_INDEX = 511
"""largest index that can be coded"""


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a layer less their zero point, as ``(O, KH, KW, I)``; what they take is remembered with them."""

    values: Array
    sizes: dict[tuple[object, ...], int] = field(default_factory=dict)

    def encoded_bytes(self, order: str, micro_depth: int, input_depth: int, taps: int, streams: int) -> int:
        """Bytes of the stream.

        Args:
            order: ``depthwise``, ``part`` (of the kernel first) or ``deep`` (input channels first).
            micro_depth: output channels of a micro-block.
            input_depth: input channels that weights are padded to.
            taps: kernel elements that weights are padded to.
            streams: cores that have a stream each.
        """
        key = order, micro_depth, input_depth, taps, streams
        if key not in self.sizes:
            total, (o, kh, kw, i) = 0, self.values.shape
            whole = self.values.reshape(o, kh * kw, i)[..., : 1 if order == "depthwise" else i]
            for s in range(min(streams, o)):
                w = whole[s::streams]
                bits = _bits(w, _Order(order, micro_depth, input_depth, taps, w.shape))
                total += ceil_div(math.ceil(bits), 8 * ALIGNMENT) * ALIGNMENT
            self.sizes[key] = total
        return self.sizes[key]

    def plain_bytes(self, micro_depth: int, input_depth: int, taps: int) -> int:
        """Bytes without a code: a byte for each weight and each zero of the padding, less for at most 16 different ones."""
        o, kh, kw, i = self.values.shape
        padded = [ceil_div(n, unit) * unit for n, unit in ((o, micro_depth), (kh * kw, taps), (i, input_depth))]
        key = ("distinct",)
        if key not in self.sizes:
            self.sizes[key] = int(np.count_nonzero(np.bincount(self.values.ravel() + np.int64(ZERO))))
        distinct = self.sizes[key]
        return padded[0] * padded[1] * padded[2] // (4 if distinct <= 4 else 2 if distinct <= 16 else 1)

    def two_of_four(self) -> bool:
        """True if at most two of any four consecutive input channels have a weight, and none is beyond -127 to 127."""
        key = ("two of four",)
        if key not in self.sizes:
            narrow = max(-int(self.values.min()), int(self.values.max())) <= SYMMETRIC
            used = _padded(self.values != 0, 3, 4) if narrow else np.ones(4)
            self.sizes[key] = int((used.reshape(-1, 4).sum(axis=1) <= 2).all())
        return bool(self.sizes[key])


def _padded(a: Array, axis: int, unit: int) -> Array:
    rest = -a.shape[axis] % unit
    if not rest:
        return a
    return np.pad(a, [(0, rest if i == axis else 0) for i in range(a.ndim)])


@cache
def _code_bits() -> Array:
    """Bits of each index (rows) in each code (columns); NO_CODE where it has none."""
    index = np.arange(1024)
    rows = []
    for limited in (False, True):
        for div in range(6):
            q = index >> div
            bits = np.minimum(q + 1, 2) + div if limited else q + 1 + div
            rows.append(np.where(q > (2 if limited else 31), NO_CODE, bits))
    return np.ascontiguousarray(np.transpose(rows))


def _palette(places: Array, counts: Array) -> tuple[Array, int, int]:
    """The index of each value that occurs, the bits of the table of frequent ones, and those of an uncoded index.

    ``places`` are of the values in rising order, by magnitude: 0, (1, -1), (2, -2), ... An uncoded index of 0 bits is not
    usable.
    """
    largest, distinct = max(int(places[0]), int(places[-1])), len(places)
    most = min(distinct, PALETTE, LAST_INDEX if distinct <= PALETTE else LAST_INDEX - largest)
    frequent = np.argsort(-places - (counts << 10))[:most]
    if counts[frequent].sum() < counts.sum() // 2:
        frequent = frequent[:0]
    index = places + (len(frequent) - min(int(places.min()), PALETTE - 1))
    index[frequent] = np.arange(len(frequent))
    entry = max(2, int(places[frequent].max() if len(frequent) else largest).bit_length())
    plain = 0
    if not len(frequent):
        plain = entry
    elif distinct <= PALETTE:
        plain = max(1, (len(frequent) - 1).bit_length())
    return index, len(frequent) * entry, plain


class _Order(NamedTuple):
    """How the weights ``(O, K, I)`` of a stream follow each other: rows of micro-blocks, padded, in groups of rows."""

    name: str
    micro: int
    deep: int
    taps: int
    shape: tuple[int, int, int]

    @property
    def columns(self) -> int:
        """Micro-blocks that hold all output channels."""
        return ceil_div(self.shape[0], self.micro)

    @property
    def pieces(self) -> int:
        """Rows that the micro-blocks of deep arrays are cut into, as codes change within them."""
        return self.deep // CHANNELS if self.name == "deep" and self.deep > 2 * CHANNELS and self.shape[1] == 1 else 1

    @property
    def rows(self) -> int:
        """Rows of the stream."""
        return self.columns * ceil_div(self.shape[2], self.deep) * self.pieces

    @property
    def row_weights(self) -> int:
        """Weights of a row, with padding."""
        return ceil_div(self.shape[1], self.taps) * self.taps * self.micro * self.deep // self.pieces

    @property
    def joined(self) -> int:
        """Rows of a group."""
        return ceil_div(self.rows, GROUPS)

    def places(self, flat: Array) -> Array:
        """Where in the stream weights lie, by their index in ``(O, K, I)``."""
        lane = min(self.deep, 8)
        steps, whole = self.deep // lane, self.row_weights * self.pieces
        taps = whole // (self.micro * self.deep)
        tap, eight = (1, taps) if self.name == "part" else (steps, 1)
        o, k, i = (np.arange(n) for n in self.shape)
        of_o = o // self.micro * whole + o % self.micro * lane
        of_k = k * (tap * self.micro * lane)
        of_i = i // self.deep * (self.columns * whole) + i % lane
        of_i += i % self.deep // lane * (eight * self.micro * lane)
        at_o, at_k, at_i = np.unravel_index(flat, self.shape)
        return np.asarray(of_o[at_o] + of_k[at_k] + of_i[at_i])


def _histograms(w: Array, order: _Order, low: int, high: int) -> Array:
    """How often each value from ``low`` to ``high`` occurs in each group of rows, without the padding."""
    values, joined, pieces = high - low + 1, order.joined, order.pieces
    columns, deep = order.columns * pieces, order.deep // pieces
    table = np.zeros((ceil_div(order.rows, joined), values), np.int32)
    step = order.deep * max(1, PIECE // (order.deep * w.shape[0] * w.shape[1]))
    block = np.arange(w.shape[0])[:, None] // order.micro * pieces
    for at in range(0, w.shape[2], step):  # a whole layer at once would take fresh memory, which is slow
        part = w[:, :, at : at + step]
        channel = np.arange(at, at + part.shape[2])
        row = channel // order.deep * columns + channel % order.deep // deep
        first = at // order.deep * columns // joined
        last = ((at + part.shape[2] - 1) // order.deep * columns + columns - 1) // joined + 1
        cell = (block - first) * values - low + row * values
        if joined > 1:
            cell = ((row + block) // joined - first) * values - low
        found = np.bincount((cell[:, None] + part).ravel(), minlength=(last - first) * values).reshape(-1, values)
        if step >= w.shape[2]:
            return found
        table[first:last] += found
    return table


def _bits(w: Array, order: _Order) -> float:
    """Bits of a stream whose groups of rows may each have a code of their own."""
    sparse, total = np.count_nonzero(w) * SPARSE < w.size, order.rows * order.row_weights
    if sparse:
        flat = np.flatnonzero(w != 0)
        places, few = order.places(flat), w.ravel()[flat] + np.int64(ZERO)
        occurs = np.bincount(few, minlength=2 * ZERO + 1)
        occurs[ZERO] = 1
        values = np.flatnonzero(occurs) - ZERO
        cell = places // (order.row_weights * order.joined) * len(values) + (np.cumsum(occurs > 0) - 1)[few]
        shape = ceil_div(order.rows, order.joined), len(values)
        table = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
    else:
        low, high = min(int(w.min()), 0), max(int(w.max()), 0)
        values, table = np.arange(low, high + 1), _histograms(w, order, low, high)
    zero = int(np.searchsorted(values, 0))
    if sparse or total > w.size:
        table[:, zero] += order.row_weights * order.joined - table.sum(axis=1)
        table[-1, zero] -= order.row_weights * order.joined * len(table) - total
    counts = table.sum(axis=0)
    zeros = int(counts[zero])
    counts[zero] = 0
    bits, runs = float(HEADER_BITS + PALETTE_BITS + 3), None
    if zeros > 5 * int(counts.max()):
        runs = _zero_runs(places if sparse else order.places(np.flatnonzero(w != 0)), total, zeros)
    if runs is None:
        counts[zero] = zeros
    else:
        dividers = np.arange(RUN_DIVIDERS)
        bits += float(((runs >> dividers[:, None]).sum(axis=1) + len(runs) * (1 + dividers)).min())
    used = np.flatnonzero(counts)
    if len(used):
        index, table_bits, plain = _palette((np.abs(values[used]) << 1) | (values[used] < 0), counts[used])
        # single precision where it is exact
        kind = np.float32 if order.row_weights * order.joined * NO_CODE < 1 << 24 else np.float64
        codes = np.zeros((len(values), _code_bits().shape[1] + (plain > 0)), kind)
        codes[used, : _code_bits().shape[1]] = _code_bits()[index]
        if plain:
            codes[used, -1] = plain
        # in pieces that a library of linear algebra does not spread over threads, which would take ten times as long
        step = PIECE // len(values)
        pieces = [table[at : at + step].astype(kind) @ codes for at in range(0, len(table), step)]
        bits += table_bits + _best_grouping(np.concatenate(pieces, dtype=np.float64))
    return bits


def _zero_runs(places: Array, total: int, zeros: int) -> Array | None:
    """The zeros before each other value, and behind the last; None if fewer than half of them stand beside another."""
    ends = np.zeros(total + 2, bool)
    ends[0] = ends[-1] = ends[places + 1] = True
    runs = np.diff(np.flatnonzero(ends)) - 1
    return np.asarray(runs) if int(runs[runs > 1].sum()) >= zeros // 2 else None


def _best_grouping(cost: Array) -> float:
    """Least bits of groups (rows) in codes (columns), with a header for each change of the code.

    Groups are joined by 1, 2, 4, ...; all of them together have one code.
    """
    whole = float(cost.sum(axis=0).min())
    if len(cost) == 1:
        return whole
    levels = [cost]
    while len(levels[-1]) > 2:
        c = levels[-1]
        joined = c[::2].copy()
        joined[: len(c) // 2] += c[1::2]
        levels.append(joined)
    starts = np.array([0, *accumulate(len(c) for c in levels[:-1])])
    every = np.concatenate(levels)
    code = every.argmin(axis=1)
    least = every.min(axis=1)
    changed = code[1:] != code[:-1]
    changed[starts[1:] - 1] = False
    least[1:] += HEADER_BITS * changed
    return min(whole, float(np.add.reduceat(least, starts).min()))
