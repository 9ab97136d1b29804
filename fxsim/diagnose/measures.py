"""How two arrays differ: counts in LSB, where the differences sit, and the measures that other tools print."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fxsim.diagnose.differences import Difference
from fxsim.kernels import differences as compiled
from fxsim.kernels.differences import NAMED
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.nearness import cosine, sqnr_db

LANES = (4, 8, 16, 32, 64)
"""vector widths after whose tails and positions differences are searched"""
CHANCE = 1e-3
"""a place is told where elements at random would lie in one like it less often"""
LISTED = NAMED - 1
"""channels or lanes that are told one by one"""


class Row(NamedTuple):
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


def row(t: Tensor, layer: int, op: str, mine: Array, other: Array, found: Difference | None) -> Row:
    """The row of tensor ``t``; ``found`` tells how its arrays differ."""
    n = mine.size
    if found is None:
        return Row(layer, op, t.index, t.name, n, 0, 1.0, 0, 0.0, {}, None, "", 1.0, math.inf, 0.0)
    wrong = found.mismatches
    return Row(
        layer, op, t.index, t.name, n, wrong, 1.0 - wrong / n, found.greatest, found.apart / n, found.histogram,
        found.index, "; ".join(places(found)), *_nearness(t, mine, other, found),
    )  # fmt: skip


def _nearness(t: Tensor, mine: Array, other: Array, found: Difference) -> tuple[float, float, float]:
    """Cosine, SQNR in decibel and root mean square difference of the real values, from exact sums where there are."""
    if not found.summed or (t.quant is not None and not t.quant.per_tensor):
        a, b = _reals(t, mine), _reals(t, other)
        return cosine(a, b), sqnr_db(a, b), float(np.sqrt(np.mean((a - b) ** 2)))
    scale, zero, n = 1.0, 0, mine.size
    if t.quant is not None and t.qtype.kind == "int":
        scale, zero = t.quant.scale[0], t.quant.zero_point[0]
    told, noise = found.told, found.told[compiled.NOISE]
    signal = told[compiled.SQUARES] + zero * (n * zero - 2 * told[compiled.SUM])  # of mine - zero
    cross = told[compiled.PRODUCTS] - told[compiled.SQUARES] - zero * found.apart  # of (mine - zero) * (other - mine)
    norms = signal * (signal + 2 * cross + noise)
    return (
        (signal + cross) / math.sqrt(norms) if norms else 0.0,
        10 * math.log10(signal / noise) if signal else -math.inf,
        scale * math.sqrt(noise / n),
    )


def _reals(t: Tensor, raw: Array) -> npt.NDArray[np.float64]:
    x = t.reals(raw)
    return np.where(np.isfinite(x), x, 0.0).reshape(-1)


def places(found: Difference) -> Iterator[str]:
    """What is particular of where and by how much elements differ: it holds for every one of them, and hardly by chance."""
    wrong, told, shape = found.mismatches, found.told, found.shape
    if found.greatest >= 256 and wrong >= 4 and all(by % 256 == 0 for by in found.histogram):
        yield "all by multiples of 256: a register wrapped, or bytes were lost"
    elif math.log(2) * (1 - wrong) < math.log(CHANCE) and not told[compiled.LEAST] < 0 < told[compiled.MOST]:
        yield "all upward" if told[compiled.MOST] > 0 else "all downward"
    edges, channels = [], 0
    if told[compiled.PARTICULAR]:
        edges = list(_edges(found)) if len(shape) > 2 else []
        yield from edges
        total, several = shape[-1] if shape else 1, told[compiled.CHANNELS]
        if (
            several <= max(1, total // 4)
            and total > 1
            and _telling(found, found.elements // total * several, total, several)
        ):
            channels = total
            which = told[compiled.CHANNEL : compiled.CHANNEL + several]
            yield f"only in channel{'s' if several > 1 else ''} {_list(which)} of {total}"
    lanes = list(_lanes(found, channels))
    yield from lanes
    if not lanes and not edges:
        yield from _tail(found)


def _telling(found: Difference, members: int, places: int = 1, some: int = 1) -> bool:
    """True if chance would choose so few elements for all that differ less often than ``CHANCE``.

    ``members`` lie in ``some`` of a tensor's ``places``: of all ways to draw the elements that differ, a share of
    ``C(members, n) / C(elements, n)`` lies within these, and they may be any of ``C(places, some)``.
    """
    n = found.mismatches
    chance = _log_choices(members, n) - _log_choices(found.elements, n) + _log_choices(places, some)
    return chance < math.log(CHANCE)


def _log_choices(places: int, some: int) -> float:
    return math.lgamma(places + 1) - math.lgamma(some + 1) - math.lgamma(places - some + 1)


def _edges(found: Difference) -> Iterator[str]:
    """Rows and columns of images: padding."""
    told, (height, width) = found.told, found.shape[-3:-1]
    if told[compiled.INNER]:
        return
    top, bottom, left, right = told[compiled.TOP : compiled.RIGHT + 1]
    for first, last, size, what in ((top, bottom, height, "row"), (left, right, width, "column")):
        if size > 2 and first == last and first in (0, size - 1) and _telling(found, found.elements // size, 2):
            yield f"only in the {'first' if first == 0 else 'last'} {what}"
    if height > 2 and width > 2 and top < bottom and left < right:
        pixels = found.elements // (height * width)
        if _telling(found, found.elements - pixels * (height - 2) * (width - 2)):
            yield "only at the border: padding"


def _lanes(found: Difference, channels: int) -> Iterator[str]:
    """Positions modulo a vector's width, unless they are those of ``channels``, which are told."""
    size, seen = found.elements, found.told[compiled.LANES_LOW] | found.told[compiled.LANES_HIGH] << 32
    if seen.bit_count() > 32:  # more than half of any width's lanes
        return
    folded = {LANES[-1]: seen}
    for lanes in LANES[-2::-1]:
        folded[lanes] = seen = (seen | seen >> lanes) & ((1 << lanes) - 1)
    for lanes in LANES:
        inside = [n for n in range(lanes) if folded[lanes] >> n & 1]
        members = sum((size - n - 1) // lanes + 1 for n in inside)
        if size >= 4 * lanes and len(inside) <= lanes // 2 and _telling(found, members, lanes, len(inside)):
            if not channels or channels % lanes:
                yield f"only where index mod {lanes} is {_list(inside[: LISTED + 1])}"
            return


def _tail(found: Difference) -> Iterator[str]:
    """Elements that fill no vector."""
    size = found.elements
    if found.first <= size - LANES[-1]:
        return
    tails = [lanes for lanes in LANES if size % lanes and found.first >= size - size % lanes]
    if tails and _telling(found, size % tails[0]):
        yield f"only in the tail after blocks of {tails[0]}"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:LISTED])) + (", ..." if len(numbers) > LISTED else "")
