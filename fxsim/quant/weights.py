"""How the weights of one layer become integers: scales, clipping, groups and codebooks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxsim.model.graph import Encoding
from fxsim.model.qtype import INT8, Array, QType, QuantParams
from fxsim.quant.quantizers import apot_levels, kmeans, log2_levels, nearest, quantile, to_integers, to_levels
from fxsim.quant.rules import Decision, affine
from fxsim.quant.scheme import Scheme

Reals = npt.NDArray[np.float64]
SHARES = np.linspace(1.0, 0.02, 99)
"""of the greatest magnitude: the clippings that a search tries"""
CODED = 1 << 14
"""weights beyond so many are counted in so many bins before a codebook is made of them"""


@dataclass(frozen=True, slots=True)
class Rounded:
    """A weight as integers; ``levels``: those that each may be, rising; empty where they differ from group to group."""

    decision: Decision
    raw: Array
    levels: Array


def quantize_weight(w: Array, axis: int, scheme: Scheme) -> Rounded:
    """The type, scales and raw integers of a weight whose output channels lie along ``axis``.

    Symmetric scales are ``max|w| / max``; with the correction ``clip``, and always below 3 bits, the scale has the least
    squared error instead.
    """
    real = np.asarray(w, np.float64)
    if scheme.codebook in ("kmeans", "quantile"):
        return _codebook(real, axis, scheme)
    if scheme.granularity == "group":
        return _groups(real, axis, scheme)
    qtype = scheme.weight_type
    if not scheme.weights_symmetric:
        params = affine(float(real.min()), float(real.max()), qtype, power_of_two=scheme.power_of_two)
        return Rounded(Decision(qtype, params), to_integers(real, qtype, params), grid_of(qtype))
    rows = _rows(real, axis, scheme)
    search = "clip" in scheme.corrections or scheme.weight_bits < 3
    if scheme.codebook in ("log2", "apot"):
        levels = (log2_levels if scheme.codebook == "log2" else apot_levels)(scheme.weight_bits)
        params = _params(_scales(rows, levels, search=search), axis, scheme)
        encoding = Encoding(scheme.codebook, scheme.weight_bits)
        return Rounded(Decision(INT8, params, encoding), to_levels(real, levels, params).astype(np.int8), levels)
    grid = grid_of(qtype)
    params = _params(_scales(rows, grid, search=search), axis, scheme)
    return Rounded(Decision(qtype, params), to_integers(real, qtype, params), grid)


def grid_of(qtype: QType) -> Array:
    """All integers of the type."""
    return np.array([-1, 1]) if qtype.bits == 1 else np.arange(qtype.min, qtype.max + 1)


def _rows(real: Reals, axis: int, scheme: Scheme) -> Reals:
    """``(scales, elements)``: the weights that share one scale."""
    if scheme.granularity == "tensor":
        return real.reshape(1, -1)
    return np.moveaxis(real, axis, 0).reshape(real.shape[axis], -1)


def _params(scales: Reals, axis: int, scheme: Scheme) -> QuantParams:
    """Scales as the file holds them."""
    if scheme.power_of_two:
        scales = np.exp2(np.ceil(np.log2(scales) - 1e-9))
    kept = tuple(float(s) for s in np.maximum(scales, 2.0**-60).astype(np.float32))
    return QuantParams(kept, (0,) * len(kept), axis if scheme.granularity != "tensor" else None)


def _scales(rows: Reals, levels: Array, *, search: bool) -> Reals:
    """One scale for each row, so that ``scale * levels`` holds it, or is nearest to it; rows of zeros have the median."""
    top = np.abs(rows).max(axis=1)
    full = top / float(levels[-1])
    scales = _least_squares(rows, levels, full) if search else full
    some = top > 0
    return np.where(some, scales, np.median(scales[some]) if some.any() else 1.0)


def _least_squares(rows: Reals, levels: Array, full: Reals) -> Reals:
    """The scale with the least ``sum((w - scale * q)**2)`` of each row, among shares of the full one, then refined.

    For given integers ``q`` the best scale is ``sum(w * q) / sum(q * q)``; it and the integers take turns.
    """
    safe = np.where(full > 0, full, 1.0)
    best, least = safe.copy(), np.full(len(rows), np.inf)

    def consider(scale: Reals) -> Array:
        q = on_levels(levels, rows / scale[:, None])
        error = np.sum((rows - scale[:, None] * q) ** 2, axis=1)
        better = error < least
        best[better], least[better] = scale[better], error[better]
        return q

    for share in SHARES:
        consider(share * safe)
    for _ in range(4):
        q = consider(best.copy())
        power = np.sum(q * q, axis=1)
        refined = np.sum(rows * q, axis=1) / np.where(power > 0, power, 1)
        consider(np.where(refined > 0, refined, best))
    return best


def on_levels(levels: Array, x: Reals) -> Reals:
    """The level nearest to each element."""
    if len(levels) > 2 and levels[-1] - levels[0] == len(levels) - 1:
        return np.clip(np.round(x), levels[0], levels[-1])
    on: Reals = levels.astype(np.float64)[nearest(x, levels)]
    return on


def _groups(real: Reals, axis: int, scheme: Scheme) -> Rounded:
    """Neighbouring inputs of a channel share a whole multiple of the channel's scale: ``w = scale * multiple * q``.

    The raw integer is ``multiple * q``, within 8 bits; stored are ``q`` and, for each group, the multiple.

    Source: Dai et al.: VS-Quant, MLSys 2021 (two-level scales).
    """
    qtype = scheme.weight_type
    moved = np.moveaxis(real, axis, 0)
    flat = moved.reshape(len(moved), -1)
    size = scheme.group
    padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % size))).reshape(len(flat), -1, size)
    most = 127 // (1 << (qtype.bits - 1))  # a multiple times the least integer still fits 8 bits
    search = "clip" in scheme.corrections or qtype.bits < 3
    levels = np.arange(qtype.min, qtype.max + 1)
    fine = _scales(padded.reshape(-1, size), levels, search=search).reshape(padded.shape[:2])
    fine = np.where(np.abs(padded).max(axis=2) > 0, fine, 0.0)
    channel = fine.max(axis=1) / most
    channel = np.where(channel > 0, channel, np.median(channel[channel > 0]) if np.any(channel > 0) else 1.0)
    params = _params(channel, axis, Scheme())
    stored = np.array(params.scale)[:, None]
    multiple = np.clip(np.round(fine / stored), 1, most)
    q = np.clip(np.round(padded / (stored * multiple)[..., None]), qtype.min, qtype.max)
    raw = (q * multiple[..., None]).reshape(len(flat), -1)[:, : flat.shape[1]]
    side = (multiple.size * most.bit_length() + 7) // 8
    whole = np.moveaxis(raw.reshape(moved.shape), 0, axis).astype(np.int8)
    return Rounded(Decision(INT8, params, Encoding("groups", qtype.bits, side)), whole, np.zeros(0, np.int64))


def _codebook(real: Reals, axis: int, scheme: Scheme) -> Rounded:
    """One codebook of 8-bit integers for the layer, of weights that are scaled per tensor or channel first."""
    entries = 1 << scheme.weight_bits
    top = np.abs(_rows(real, axis, scheme)).max(axis=1)
    params = _params(np.where(top > 0, top / 127, 1.0), axis, scheme)
    shape = [1] * real.ndim
    if not params.per_tensor:
        shape[axis] = -1
    x = real / np.reshape(params.scale, shape)
    flat, mass = x.reshape(-1), None
    if scheme.codebook == "kmeans" and flat.size > CODED:
        count, edges = np.histogram(flat, CODED)
        sums = np.histogram(flat, edges, weights=flat)[0]
        flat, mass = (sums / np.maximum(count, 1))[count > 0], count[count > 0]
    coded = kmeans(flat, entries, weight=mass) if scheme.codebook == "kmeans" else quantile(flat, entries)
    book = np.unique(np.clip(np.round(coded.codebook), -127, 127))
    raw: Array = book[nearest(x, book)].astype(np.int8)
    encoding = Encoding(scheme.codebook, scheme.weight_bits, entries)
    return Rounded(Decision(QType(8, narrow_range=True), params, encoding), raw, book)
