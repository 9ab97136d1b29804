"""What calibration remembers of one tensor, in bounded memory, and the ranges that can be read from it.

One observer gathers all that any method needs, so that a model is calibrated once and quantized in many ways.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fxsim.kernels.histogram import histogram
from fxsim.model.qtype import Array, QType

BINS = 4096
"""of a histogram over ``-reach..reach``; ``reach`` doubles when a value lies beyond, and neighbours are merged"""
MOMENTUM = 0.1
"""of the moving average: what one more batch adds"""
CANDIDATES = 100
"""clipping ranges that a search tries"""
Reals = npt.NDArray[np.float64]
Range = tuple[float, float]


@dataclass(slots=True)
class Observer:
    """The values of one tensor so far."""

    low: float = np.inf
    high: float = -np.inf
    average_low: float = 0.0
    average_high: float = 0.0
    batches: int = 0
    elements: int = 0
    reach: float = 0.0
    """the histogram covers ``-reach..reach``; 0 before the first value other than 0"""
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def update(self, x: Array) -> None:
        """Takes in one batch of finite values."""
        low, high = float(x.min()), float(x.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        first = not self.batches
        self.average_low = low if first else self.average_low + MOMENTUM * (low - self.average_low)
        self.average_high = high if first else self.average_high + MOMENTUM * (high - self.average_high)
        self.batches += 1
        self.elements += x.size
        most = max(-low, high)
        if most == 0:  # the histogram has no width yet, or keeps it
            self.histogram[BINS // 2] += x.size
            return
        if self.reach == 0:
            self.reach = most
        while most > self.reach:
            self._double()
        histogram()(x.reshape(-1), BINS / 2 / self.reach, self.histogram)

    def _double(self) -> None:
        """Twice the reach, half the resolution."""
        merged = np.zeros(BINS, np.int64)
        merged[BINS // 4 : BINS - BINS // 4] = self.histogram.reshape(-1, 2).sum(axis=1)
        self.histogram, self.reach = merged, 2 * self.reach

    @property
    def centres(self) -> Reals:
        """The middle of each bin."""
        width = 2 * self.reach / BINS
        return np.asarray((np.arange(BINS) + 0.5) * width - self.reach, np.float64)

    def state(self) -> tuple[Array, Array]:
        """``(reals, counts)``: all there is to save."""
        reals = np.array([self.low, self.high, self.average_low, self.average_high, self.reach], np.float64)
        return reals, np.concatenate([[self.batches, self.elements], self.histogram]).astype(np.int64)

    @classmethod
    def restored(cls, reals: Array, counts: Array) -> "Observer":
        """An observer from its :meth:`state`."""
        low, high, average_low, average_high, reach = map(float, reals)
        return cls(low, high, average_low, average_high, int(counts[0]), int(counts[1]), reach, counts[2:].copy())


def min_max(seen: Observer, qtype: QType, percent: float) -> Range:
    """The least and the greatest value."""
    return seen.low, seen.high


def moving_average(seen: Observer, qtype: QType, percent: float) -> Range:
    """Least and greatest value of each batch, averaged: ``a += 0.1 * (batch - a)``."""
    return seen.average_low, seen.average_high


def percentile(seen: Observer, qtype: QType, percent: float) -> Range:
    """What holds ``percent`` of all values, as many left out below as above; interpolated within a bin."""
    if seen.reach == 0:
        return seen.low, seen.high
    edges = np.linspace(-seen.reach, seen.reach, BINS + 1)
    share = np.concatenate([[0.0], np.cumsum(seen.histogram) / seen.histogram.sum()])
    out = (1 - percent / 100) / 2
    low, high = np.interp([out, 1 - out], share, edges)
    return float(np.clip(low, seen.low, seen.high)), float(np.clip(high, seen.low, seen.high))


def entropy(seen: Observer, qtype: QType, percent: float) -> Range:
    """The clipping whose quantized distribution tells most of the true one: least Kullback-Leibler divergence.

    For each of 100 thresholds ``T``: P is the histogram with what lies beyond ``-T..T`` counted at the ends, Q its bins
    inside, averaged over the cells of one integer (over the bins of a cell that are not empty). ``sum(p * log(p / q))``.

    Source: Migacz, 8-bit Inference with TensorRT, GTC 2017.
    """
    if seen.reach == 0 or qtype.bits > 8:  # no histogram tells 2**16 cells apart
        return seen.low, seen.high
    counts, zero = seen.histogram.astype(np.float64), BINS // 2
    counts[zero] = min(counts[zero], counts[[zero - 1, zero + 1]].max())  # what a ReLU leaves is exact in every range
    return _clipped(seen, _best(seen, lambda low, high: _divergence(seen, counts, low, high, qtype)))


def _divergence(seen: Observer, counts: Reals, low: float, high: float, qtype: QType) -> float:
    """The Kullback-Leibler divergence of the clipped counts from the quantized ones."""
    width = 2 * seen.reach / BINS
    first = int(np.clip(np.floor((low + seen.reach) / width), 0, BINS - 1))
    last = int(np.clip(np.ceil((high + seen.reach) / width), first + 1, BINS))
    inside = counts[first:last]
    p = inside.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[last:].sum()
    if not inside.any():
        return np.inf
    levels = min(qtype.max - qtype.min + 1, len(inside))
    cell = np.arange(len(inside)) * levels // len(inside)
    present = (inside > 0).astype(np.float64)
    mean = np.bincount(cell, inside, levels) / np.maximum(np.bincount(cell, present, levels), 1)
    q = np.where(present > 0, mean[cell], 0.0)
    p, q = p / p.sum(), q / q.sum()
    tiny = 1e-12  # a bin that only the clipped values fill costs, but not infinitely much
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / np.maximum(q[some], tiny))))


def mean_squared_error(seen: Observer, qtype: QType, percent: float) -> Range:
    """The clipping with the least mean squared error of rounding inside and clamping outside.

    Cells narrower than a bin count as ``step**2 / 12``.
    """
    if seen.reach == 0:
        return seen.low, seen.high
    x, mass = seen.centres, seen.histogram.astype(np.float64)
    some = mass > 0
    x, mass, width = x[some], mass[some], 2 * seen.reach / BINS

    def error(low: float, high: float) -> float:
        step = (high - low) / (qtype.max - qtype.min)
        inside = np.clip(x, low, high)
        if step > 2 * width:
            inside = np.clip(np.round((inside - low) / step) * step + low, low, high)
            return float(np.sum(mass * (x - inside) ** 2))
        return float(np.sum(mass * (x - inside) ** 2) + mass.sum() * step**2 / 12)

    return _clipped(seen, _best(seen, error))


def _clipped(seen: Observer, share: float) -> Range:
    """The range cut to that share of the greatest magnitude."""
    threshold = share * max(-seen.low, seen.high)
    return max(seen.low, -threshold), min(seen.high, threshold)


def _best(seen: Observer, cost: Callable[[float, float], float]) -> float:
    """The share of the greatest magnitude with the least cost; of two as good, the greater."""
    shares = np.linspace(1.0, 1 / CANDIDATES, CANDIDATES)
    costs = []
    for share in shares:
        low, high = _clipped(seen, share)
        costs.append(cost(min(low, 0.0), max(high, 0.0)) if high > low else np.inf)
    return float(shares[int(np.argmin(costs))])


METHODS: dict[str, Callable[[Observer, QType, float], Range]] = {
    "min_max": min_max,
    "moving_average": moving_average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mean_squared_error,
}
"""calibration method -> the range that it reads from what was observed"""
