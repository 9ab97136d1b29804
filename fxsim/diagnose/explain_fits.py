"""Which requantizations make a sample's outputs of its accumulators: most are refuted by one element, and by few steps."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fxsim.diagnose import quirks
from fxsim.diagnose.explain_ways import Way, Ways
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics
from fxsim.sim.base import scheme_of
from fxsim.sim.layer import Layer
from fxsim.sim.rescale import Parts, part, parts

FIRST = 512
"""elements of the sample that come first"""
TELLING = 16
"""elements that are remembered for having refuted a way"""


@dataclass(slots=True, eq=False)
class Sums:
    """A way to sum, and its accumulators on the sample. ``same`` holds what is proved to sum alike."""

    settings: OpNumerics
    layer: Layer
    acc: Array
    rises: bool
    quirks: int
    same: set[Any]
    alike: tuple[Any, ...]
    """see :func:`fxsim.diagnose.bounds.summing`"""
    axis: int = -1
    """of the one quirk, among those of :data:`fxsim.diagnose.quirks.SUMS`"""


@dataclass(slots=True, eq=False)
class Fits:
    """The outputs ``(rows, channels)`` of a sample; ``flat`` is where in its output each row begins."""

    ways: Ways
    out: Array
    flat: Array
    _parts: dict[Any, Parts | None] = field(default_factory=dict)
    _bare: Any = None
    _telling: list[tuple[int, int]] = field(default_factory=list)
    """elements of the sample, ``(row, channel)``, that refuted a way of late, the last one first"""
    _far: list[tuple[int, int]] = field(default_factory=list)
    """elements of one channel whose outputs are far from the zero point, and not clamped"""
    _fits: dict[Any, bool] = field(default_factory=dict)
    _dead: dict[Any, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Picks the elements that are asked first."""
        far = np.abs(self.out - self.ways.zero)  # short of the clamp, multipliers show most
        far[(self.out == self.out.min()) | (self.out == self.out.max())] = 0
        channel = int(far.sum(axis=0).argmax())  # one, as each has another scale
        self._far = [(int(n), channel) for n in np.argsort(-far[:, channel], kind="stable")[: TELLING // 2]]

    def made(self, way: Way, sums: Sums) -> Array:
        """The way's outputs of the sample."""
        return self._part(way, sums, len(self.out))

    def _part(self, way: Way, sums: Sums, rows: int) -> Array:
        """The outputs of the sample's first ``rows``, where the user's simulation misses most."""
        if self._bare is not sums.acc:
            self._parts, self._bare = {}, sums.acc
        key = rows, way.product
        if key not in self._parts:
            self._parts[key] = parts(way.scheme, sums.acc[:rows], way.scales)
        size = sums.layer.geometry.outputs
        return way.outputs(sums.acc[:rows], self.flat[:rows], self._parts[key], sums.layer, size)

    def refuted(self, settings: OpNumerics, sums: Sums) -> bool:
        """True if at one element, far from the zero point, no arithmetic with the multipliers of ``settings`` is right."""
        key = id(sums.acc), quirks.scale_key(settings.requantize)
        if key not in self._dead:
            self._dead[key] = any(self._unreached(settings, sums, row, channel) for row, channel in self._far)
        return self._dead[key]

    def _unreached(self, settings: OpNumerics, sums: Sums, row: int, channel: int) -> bool:
        scales = self.ways.scales(settings, channel)
        if scales is None:
            return True
        scheme, _ = scheme_of(settings.requantize, self.ways.layer.accumulator.bits)
        seen = part(scheme, int(sums.acc[row, channel]), scales, 0)
        return seen is not None and int(self.out[row, channel]) not in self.ways.makes(seen[0])

    def _wrong(self, way: Way, sums: Sums, row: int, channel: int) -> bool:
        made = way.one(int(sums.acc[row, channel]), channel, int(self.flat[row]), sums.layer)
        return made is not None and made != self.out[row, channel]

    def holds(self, way: Way, sums: Sums) -> bool:
        """True if the way makes the sample's outputs of the accumulators."""
        key = id(sums.acc), way.key
        if key not in self._fits:
            self._fits[key] = (sums.rises or way.wraps or way.over_elements) and self._fits_all(way, sums)
        return self._fits[key]

    def _fits_all(self, way: Way, sums: Sums) -> bool:
        """As :meth:`holds`: element by element where others failed, then on more, then on all."""
        for n, (row, channel) in enumerate(self._telling):
            if self._wrong(way, sums, row, channel):
                self._telling.insert(0, self._telling.pop(n))
                return False
        for rows in (max(1, FIRST // self.out.shape[1]), len(self.out)):
            wrong = np.argwhere(self._part(way, sums, rows) != self.out[:rows])
            if len(wrong):
                self._telling = [(int(wrong[0, 0]), int(wrong[0, 1])), *self._telling[: TELLING - 1]]
                return False
        return True
