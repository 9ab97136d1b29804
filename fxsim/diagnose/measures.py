"""How two arrays differ: counts in LSB, where the differences sit, and the measures that other tools print."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fxsim.diagnose.differences import Difference
from fxsim.kernels import differences as compiled
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array, Shape
from fxsim.nearness import cosine, sqnr_db

LANES = (4, 8, 16, 32, 64)
"""vector widths after whose tails and positions differences are searched"""
CHANCE = 1e-3
"""a place is told where elements at random would lie in one like it less often"""
LISTED = 8
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
    """The row of tensor ``t``; ``found`` is the :func:`difference` of its arrays."""
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
    if found.mismatches < 4:
        return
    told, shape = found.told, found.shape
    if found.greatest >= 256 and all(by % 256 == 0 for by in found.histogram):
        yield "all by multiples of 256: a register wrapped, or bytes were lost"
    elif told[compiled.LEAST] > 0:
        yield "all upward"
    elif told[compiled.MOST] < 0:
        yield "all downward"
    if told[compiled.PARTICULAR] and len(shape) > 2:
        yield from _edges(shape, told)
    total, several = shape[-1] if shape else 1, told[compiled.CHANNELS]
    few = told[compiled.PARTICULAR] and several <= max(1, total // 4)
    if total > 1 and few and _telling(found.mismatches, several, total):
        channels = found.seen.nonzero()[0][: LISTED + 1].tolist()
        yield f"only in channel{'s' if len(channels) > 1 else ''} {_list(channels)} of {total}"
    yield from _lanes(found)


def _telling(elements: int, some: int, places: int, choices: int | None = None) -> bool:
    """True if elements strewn evenly over ``places`` would all fall into ``some`` less often than ``CHANCE``.

    That is ``choices (some / places)^elements`` at most; ``choices`` are the ways to choose them, by default all that are.
    """
    ways = _log_choices(places, some) if choices is None else math.log(choices)
    return ways - elements * math.log(places / some) < math.log(CHANCE)


def _log_choices(places: int, some: int) -> float:
    return math.lgamma(places + 1) - math.lgamma(some + 1) - math.lgamma(places - some + 1)


def _edges(shape: Shape, told: list[int]) -> Iterator[str]:
    """Rows and columns of images: padding."""
    height, width = shape[-3:-1]
    if told[compiled.INNER]:
        return
    wrong = told[compiled.MISMATCHES]
    top, bottom, left, right = told[compiled.TOP : compiled.RIGHT + 1]
    for first, last, size, what in ((top, bottom, height, "row"), (left, right, width, "column")):
        if size > 2 and first == last and first in (0, size - 1) and _telling(wrong, 1, size, 2):
            yield f"only in the {'first' if first == 0 else 'last'} {what}"
    if height > 2 and width > 2 and top < bottom and left < right:
        cells, inner = height * width, (height - 2) * (width - 2)
        if _telling(wrong, cells - inner, cells, 1):
            yield "only at the border: padding"


def _lanes(found: Difference) -> Iterator[str]:
    """Positions modulo a vector's width, and the tail that fills no vector."""
    size, wrong = found.elements, found.mismatches
    seen = found.told[compiled.LANES_LOW] | found.told[compiled.LANES_HIGH] << 32
    if seen.bit_count() <= 32:  # with more, there are more than half of any width's lanes
        folded = {LANES[-1]: seen}
        for lanes in LANES[-2::-1]:
            folded[lanes] = seen = (seen | seen >> lanes) & ((1 << lanes) - 1)
        for lanes in LANES:
            of = folded[lanes].bit_count()
            if size >= 4 * lanes and of <= lanes // 2 and _telling(wrong, of, lanes):
                inside = (n for n in range(lanes) if folded[lanes] >> n & 1)
                yield f"only where index mod {lanes} is {_list(list(islice(inside, LISTED + 1)))}"
                return
    if found.first <= size - LANES[-1]:
        return
    tails = [lanes for lanes in LANES if size % lanes and found.first >= size - size % lanes]
    if tails and _telling(wrong, size % tails[0], size, 1):
        yield f"only in the tail after blocks of {tails[0]}"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:LISTED])) + (", ..." if len(numbers) > LISTED else "")
