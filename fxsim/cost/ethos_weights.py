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

from dataclasses import dataclass, field
from functools import cache

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
            total = 0
            for s in range(min(streams, self.values.shape[0])):
                bits = _bits(_stream(self.values[s::streams], order, micro_depth, input_depth, taps))
                total += ceil_div(int(np.ceil(bits)), 8 * ALIGNMENT) * ALIGNMENT
            self.sizes[key] = total
        return self.sizes[key]

    def plain_bytes(self, micro_depth: int, input_depth: int, taps: int) -> int:
        """Bytes without a code: a byte for each weight and each zero of the padding, less for at most 16 different ones."""
        o, kh, kw, i = self.values.shape
        padded = [ceil_div(n, unit) * unit for n, unit in ((o, micro_depth), (kh * kw, taps), (i, input_depth))]
        key = ("distinct",)
        if key not in self.sizes:
            self.sizes[key] = int(np.count_nonzero(np.bincount(self.values.ravel() + ZERO)))
        distinct = self.sizes[key]
        return padded[0] * padded[1] * padded[2] // (4 if distinct <= 4 else 2 if distinct <= 16 else 1)

    def two_of_four(self) -> bool:
        """True if at most two of any four consecutive input channels have a weight."""
        key = ("two of four",)
        if key not in self.sizes:
            used = _padded(self.values != 0, 3, 4)
            self.sizes[key] = int((used.reshape(-1, 4).sum(axis=1) <= 2).all())
        return bool(self.sizes[key])


def _padded(a: Array, axis: int, unit: int) -> Array:
    rest = -a.shape[axis] % unit
    if not rest:
        return a
    return np.pad(a, [(0, rest if i == axis else 0) for i in range(a.ndim)])


def _stream(w: Array, order: str, micro: int, deep: int, taps: int) -> Array:
    """The weights in the order of the array, a micro-block of output channels in each row."""
    o, kh, kw, i = w.shape
    k = _padded(_padded(w.reshape(o, kh * kw, i), 0, micro), 1, taps)
    n = k.shape[1]
    if order == "depthwise":
        return k[:, :, 0].reshape(-1, micro, n).transpose(0, 2, 1).reshape(-1, n * micro)
    k = _padded(k, 2, deep)
    blocks = k.reshape(-1, micro, n, k.shape[2] // deep, deep // 8, 8)
    if order == "part":
        return blocks.transpose(3, 0, 4, 2, 1, 5).reshape(-1, n * micro * deep)
    return blocks.transpose(3, 0, 2, 4, 1, 5).reshape(-1, n * micro * deep)


@cache
def _code_bits() -> Array:
    """Bits of each index (columns) in each code (rows); 1000 where it has none."""
    index = np.arange(1024)
    rows = []
    for limited in (False, True):
        for div in range(6):
            q = index >> div
            bits = np.minimum(q + 1, 2) + div if limited else q + 1 + div
            rows.append(np.where(q > (2 if limited else 31), 1000.0, bits))
    return np.array(rows)


@cache
def _places() -> Array:
    """The order of the values -255 to 255 by magnitude: 0, (1, -1), (2, -2), ..."""
    v = np.arange(-ZERO, ZERO + 1)
    return (np.abs(v) << 1) | (v < 0)


def _palette(counts: Array) -> tuple[Array, int, int]:
    """The index of each value, the bits of the table of frequent values, and those of an uncoded index (0: not usable)."""
    places, used = _places(), counts > 0
    largest, distinct = int(places[used].max()), int(used.sum())
    frequent = np.lexsort((-places, -counts))[: min(distinct, PALETTE, 511 if distinct <= PALETTE else 511 - largest)]
    if counts[frequent].sum() < counts.sum() // 2:
        frequent = frequent[:0]
    first = places[used & (places < PALETTE - 1)]
    offset = int(first.min()) if len(first) else PALETTE - 1
    index = places + len(frequent) - offset
    index[frequent] = np.arange(len(frequent))
    entry = max(2, int(places[frequent].max() if len(frequent) else largest).bit_length())
    plain = 0
    if not len(frequent):
        plain = entry
    elif distinct <= PALETTE:
        plain = max(1, (len(frequent) - 1).bit_length())
    return np.clip(index, 0, 1023), len(frequent) * entry, plain


def _bits(stream: Array) -> float:
    """Bits of a stream whose rows may each have a code of their own."""
    joined = ceil_div(len(stream), GROUPS)
    groups, values = ceil_div(len(stream), joined), 2 * ZERO + 1
    first = np.arange(len(stream), dtype=np.int64) // joined * values + ZERO
    table = np.bincount((first[:, None] + stream).ravel(), minlength=groups * values).reshape(groups, values)
    counts = table.sum(axis=0)
    others = counts.copy()
    others[ZERO] = 0
    zeros, runs = int(counts[ZERO]), False
    flat = stream.ravel()
    if zeros > 5 * int(others.max()):
        zero = flat == 0
        both = zero[1:] & zero[:-1]
        beside = np.append(both, False)
        beside[1:] |= both
        runs = int(np.count_nonzero(beside)) >= zeros // 2
    if runs:
        counts = others
    bits = float(HEADER_BITS + PALETTE_BITS + 3)
    if counts.any():
        index, table_bits, plain = _palette(counts)
        codes = _code_bits()[:, index].T
        if plain:
            codes = np.hstack([codes, np.full((len(codes), 1), float(plain))])
        used = np.flatnonzero(counts)
        bits += table_bits + _best_grouping(table[:, used].astype(float) @ codes[used])
    if runs:
        gaps = np.diff(np.flatnonzero(np.concatenate([[True], flat != 0, [True]]))) - 1
        bits += min(float(((gaps >> div) + 1 + div).sum()) for div in range(4))
    return bits


def _best_grouping(cost: Array) -> float:
    """Least bits of groups (rows) in codes (columns), with a header for each change of the code."""
    best, joined = float(cost.sum(axis=0).min()), 1
    while joined < len(cost):
        together = np.add.reduceat(cost, np.arange(0, len(cost), joined), axis=0)
        changes = int(np.count_nonzero(np.diff(together.argmin(axis=1))))
        best = min(best, float(together.min(axis=1).sum()) + HEADER_BITS * changes)
        joined *= 2
    return best
