"""How arrays differ from others of their shapes and types, in LSB: what one compiled pass over each pair tells."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxsim.kernels import differences as compiled
from fxsim.kernels.differences import BINS, FIGURES
from fxsim.model.qtype import Array, Shape

COMPILED = "?bBh"
"""numpy's codes of the types that are compared as they are: flags, int8, uint8, int16; all others as int64"""
WORD = np.iinfo(np.int64)
NONE: Array = np.empty(0, np.int64)


@dataclass(slots=True, eq=False)
class Difference:
    """How one array differs from another of its shape and type: the other less it, in LSB (units in the last place)."""

    shape: Shape
    told: list[int]
    """the figures of :mod:`fxsim.kernels.differences`"""
    histogram: dict[int, int]
    """difference -> elements, zero left out"""
    summed: bool
    """True if ``told`` holds the sums"""

    @property
    def elements(self) -> int:
        """All elements."""
        return self.told[compiled.ELEMENTS]

    @property
    def first(self) -> int:
        """Index of the first differing element in C order, in the array made flat."""
        return self.told[compiled.FIRST]

    @property
    def mismatches(self) -> int:
        """Elements that differ."""
        return self.told[compiled.MISMATCHES]

    @property
    def greatest(self) -> int:
        """The greatest absolute difference."""
        return max(self.told[compiled.MOST], -self.told[compiled.LEAST])

    @property
    def apart(self) -> int:
        """The sum of all differences."""
        return self.told[compiled.APART] if self.summed else sum(by * n for by, n in self.histogram.items())

    @property
    def index(self) -> tuple[int, ...]:
        """Of the first differing element."""
        found, rest = [], self.first
        for size in self.shape[:0:-1]:
            rest, at = divmod(rest, size)
            found.append(at)
        return (rest, *reversed(found)) if self.shape else ()


class Differences:
    """How each of several arrays differs from another of its shape and type. NaN equals NaN."""

    pairs: Sequence[tuple[Array, Array]]
    figures: npt.NDArray[np.int64]
    """a row per pair: see :func:`fxsim.kernels.differences.differences`"""

    def __init__(self, pairs: Sequence[tuple[Array, Array]]) -> None:
        """``other - mine`` of pairs ``(mine, other)``, by one pass over each."""
        end = FIGURES * len(pairs)
        self._told = told = np.empty(end + 2 * BINS * len(pairs) + BINS, np.int64)
        seen = np.empty(max((_channels(mine.shape) for mine, _ in pairs), default=0), np.uint8)
        self.figures = told[:end].reshape(-1, FIGURES)
        self.pairs = pairs
        self._far: list[tuple[Array, Array] | None] = [None] * len(pairs)  # the histogram beyond its own bins
        differences = compiled.differences()
        for k, (mine, other) in enumerate(pairs):
            a, b = _pair(mine, other)
            shape = mine.shape
            rows, columns = shape[-3:-1] if len(shape) > 2 else (1, 1)
            far = np.empty(a.size, np.int64) if a.itemsize > 1 else NONE
            end = differences(a, b, rows, columns, _channels(shape), far, seen, told, k, end)
            if far is not NONE and (distant := self.figures[k, compiled.FAR]):
                self._far[k] = np.unique(far[:distant], return_counts=True)

    @property
    def elements(self) -> npt.NDArray[np.int64]:
        """Of each pair, all elements."""
        return self.figures[:, compiled.ELEMENTS]

    @property
    def mismatches(self) -> npt.NDArray[np.int64]:
        """Of each pair, the elements that differ."""
        return self.figures[:, compiled.MISMATCHES]

    @property
    def greatest(self) -> list[int]:
        """Of each pair, the greatest absolute difference."""
        return [max(most, -least) for least, most in self.figures[:, compiled.LEAST : compiled.MOST + 1].tolist()]

    @property
    def close(self) -> npt.NDArray[np.int64]:
        """Of each pair, the elements that differ by ``STEPS`` at most."""
        return self.figures[:, compiled.CLOSE]

    @property
    def reach(self) -> npt.NDArray[np.int64]:
        """Of each pair that differs, from the least to the greatest of ``mine``, or ``ENOUGH``."""
        return self.figures[:, compiled.REACH]

    def of(self, rows: Sequence[int]) -> "Differences":
        """Some of the pairs, in another order."""
        found = copy(self)
        found.pairs, found._far = [self.pairs[k] for k in rows], [self._far[k] for k in rows]
        found.figures = self.figures[rows]
        return found

    def __getitem__(self, k: int) -> Difference | None:
        """Pair ``k``; None if its arrays are equal."""
        figures: list[int] = self.figures[k].tolist()
        if figures[compiled.FIRST] < 0:
            return None
        mine = self.pairs[k][0]
        pairs, end = figures[compiled.PAIRS : compiled.END + 1]
        counts = iter(self._told[pairs:end].tolist())
        histogram = dict(zip(counts, counts, strict=True))
        if (far := self._far[k]) is not None:
            histogram = dict(sorted([*histogram.items(), *zip(*(v.tolist() for v in far), strict=True)]))
        return Difference(mine.shape, figures, histogram, mine.dtype.char in COMPILED)


def difference(mine: Array, other: Array) -> Difference | None:
    """``other - mine`` of two arrays of one shape and type; None if they are equal. NaN equals NaN."""
    return Differences([(mine, other)])[0]


def _channels(shape: Shape) -> int:
    return shape[-1] if shape else 1


def farther(mine: Array, other: Array, steps: int, most: int) -> int:
    """How many elements of two arrays of one type are more than so many steps apart; beyond ``most`` the count ends early."""
    return int(compiled.farther()(*_pair(mine, other), steps, most))


def differs(a: Array, b: Array) -> Array:
    """Where two arrays differ; NaN equals NaN."""
    apart: Array = a != b
    return apart & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else apart


def _pair(mine: Array, other: Array) -> tuple[Array, Array]:
    """Both arrays as the kernels take them."""
    a, b = _words(mine), _words(other)
    if mine.dtype.itemsize == 8:  # what is further apart than a word can say
        b = np.clip(b, np.where(a > 0, a, 0) + WORD.min, np.where(a < 0, a, 0) + WORD.max)
    return a, b


def _words(x: Array) -> Array:
    """The array flat, as the kernels take it: floats by their place among all floats of their type."""
    if x.dtype.char not in COMPILED:
        x = _places(x) if x.dtype.kind == "f" else x.astype(np.int64)
    x = x.ravel() if x.dtype.kind != "b" else x.ravel().view(np.uint8)
    return x if x.flags.writeable else x.copy()


def _places(x: Array) -> npt.NDArray[np.int64]:
    """Neighbouring floats are one apart; all NaN are one."""
    kind = f"i{x.dtype.itemsize}"
    bits = np.where(np.isnan(x), x.dtype.type(np.nan), x).view(kind).astype(np.int64)
    return np.where(bits < 0, -(bits & np.iinfo(kind).max), bits)
