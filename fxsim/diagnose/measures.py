"""How two arrays differ: counts in LSB, where the differences sit, and the measures that other tools print."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.nearness import cosine, sqnr_db

LANES = (4, 8, 16, 32, 64)
"""vector widths after whose tails and positions differences are searched"""


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of a comparison. Differences are dump minus fxsim, in LSB (for floats: in units in the last place)."""

    layer: int
    """index of the layer that makes the tensor; -1 for an input"""
    op: str
    tensor: int
    name: str
    elements: int
    mismatches: int
    exact: float
    """share of equal elements, 0..1"""
    max_lsb: int
    """greatest absolute difference"""
    bias_lsb: float
    """mean signed difference"""
    histogram: dict[int, int]
    """difference -> elements, zero left out"""
    first_index: tuple[int, ...] | None
    """index of the first differing element in C order"""
    where: str
    """where all differing elements sit, if that is a place of its own"""
    cosine: float
    """cosine of the angle between the real values; 1 for two tensors of zeros"""
    sqnr_db: float
    """power of fxsim's real values over that of the difference, in decibel; infinite if equal"""
    rmse: float
    """root mean square of the difference of the real values"""


def row(t: Tensor, layer: int, op: str, mine: Array, other: Array) -> Row:
    """The row of tensor ``t``, whose arrays have one shape and type."""
    difference = lsb(mine, other)
    flat = difference.reshape(-1)
    wrong = np.flatnonzero(flat)
    values, counts = np.unique(flat[wrong], return_counts=True)
    n = flat.size
    near = (1.0, float("inf"), 0.0)  # of equal tensors
    if wrong.size:
        a, b = _reals(t, mine), _reals(t, other)
        near = (cosine(a, b), sqnr_db(a, b), float(np.sqrt(np.mean((a - b) ** 2))))
    return Row(
        layer=layer,
        op=op,
        tensor=t.index,
        name=t.name,
        elements=n,
        mismatches=int(wrong.size),
        exact=1.0 - wrong.size / n if n else 1.0,
        max_lsb=int(np.abs(values).max()) if wrong.size else 0,
        bias_lsb=float(flat.mean()) if n else 0.0,
        histogram={int(v): int(c) for v, c in zip(values, counts, strict=True)},
        first_index=tuple(int(i) for i in np.unravel_index(wrong[0], difference.shape)) if wrong.size else None,
        where="; ".join(places(difference)) if wrong.size else "",
        cosine=near[0],
        sqnr_db=near[1],
        rmse=near[2],
    )


def _reals(t: Tensor, raw: Array) -> npt.NDArray[np.float64]:
    x = t.reals(raw)
    return np.where(np.isfinite(x), x, 0.0).reshape(-1)


def lsb(mine: Array, other: Array) -> npt.NDArray[np.int64]:
    """``other - mine`` in LSB: integers as they are, float32 by their place among all floats. NaN equals NaN."""
    if mine.dtype.kind != "f":
        return other.astype(np.int64) - mine.astype(np.int64)
    return np.where(np.isnan(mine) & np.isnan(other), 0, _place(other) - _place(mine))


def _place(x: Array) -> npt.NDArray[np.int64]:
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def places(difference: npt.NDArray[np.int64]) -> Iterator[str]:
    """What is particular of where and by how much elements differ; each statement holds for every one of them."""
    wrong = difference != 0
    count, axes = int(wrong.sum()), difference.ndim
    if count < 4:
        return
    if np.all(difference[wrong] % 256 == 0):
        yield "all by multiples of 256: a register wrapped, or bytes were lost"
    elif np.all(difference[wrong] > 0):
        yield "all upward"
    elif np.all(difference[wrong] < 0):
        yield "all downward"
    if axes >= 3:
        yield from _edges(wrong)
    channels = np.flatnonzero(wrong.reshape(-1, wrong.shape[-1]).any(axis=0)) if axes else np.array([0])
    total = wrong.shape[-1] if axes else 1
    if axes and len(channels) <= max(1, total // 4) and total > 1:
        listed = ", ".join(map(str, channels[:8])) + (", ..." if len(channels) > 8 else "")
        yield f"only in channel{'s' if len(channels) > 1 else ''} {listed} of {total}"
    yield from _lanes(np.flatnonzero(wrong), wrong.size)


def _edges(wrong: npt.NDArray[np.bool_]) -> Iterator[str]:
    """Rows and columns of images: padding."""
    rows, columns = (
        np.flatnonzero(wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != axis))) for axis in (-3, -2)
    )
    height, width = wrong.shape[-3:-1]
    for seen, size, what in ((rows, height, "row"), (columns, width, "column")):
        if size > 2 and len(seen) == 1 and seen[0] in (0, size - 1):
            yield f"only in the {'first' if seen[0] == 0 else 'last'} {what}"
    inner = wrong[..., 1:-1, 1:-1, :]
    if height > 2 and width > 2 and len(rows) > 1 and len(columns) > 1 and inner.size and not inner.any():
        yield "only at the border: padding"


def _lanes(at: npt.NDArray[np.int64], size: int) -> Iterator[str]:
    """Positions modulo a vector's width, and the tail that fills no vector."""
    for lanes in LANES:
        if size >= 4 * lanes:
            seen = np.unique(at % lanes)
            if len(seen) <= lanes // 2 and len(at) >= 8:
                inside = ", ".join(map(str, seen[:8])) + (", ..." if len(seen) > 8 else "")
                yield f"only where index mod {lanes} is {inside}"
                return
    tails = [lanes for lanes in LANES if size % lanes and at.min() >= size - size % lanes]
    if tails:
        yield f"only in the tail after blocks of {tails[0]}"
