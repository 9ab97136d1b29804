"""When two requantizations are the same: a clamped one is a rising step function of the accumulator.

It is settled by its thresholds, the least accumulator that gives each output or more, which bisection finds; and where
only some accumulators can be reached, by how many of them lie below each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace as _named

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose.bounds import (
    INFINITE_BITS,
    WHOLE,
    Pair,
    ends,
    held,
    increments,
    pairs,
    register,
    unbounded,
)
from fxsim.diagnose.explain_ways import Way
from fxsim.diagnose.reachable import Reach
from fxsim.kernels.ordered import FREE_BITS
from fxsim.model.qtype import Array
from fxsim.numerics import Accumulator
from fxsim.sim.base import INT32
from fxsim.sim.layer import Layer

Ints = npt.NDArray[np.int64]
GREATEST_HALF = 65504
"""the greatest finite float16"""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The thresholds of a way, ``(outputs, channels)``; ``tail`` of what lies beyond the last full block of elements."""

    main: Ints
    tail: Ints
    of: tuple[int, ...]
    """the channels that have a tail"""
    rest: int
    """elements that do"""
    least: int
    """the output below the first threshold"""
    limits: tuple[int, int] | None
    """of the output's type, where what lies outside of it wraps"""

    def mark(self, reached: Sequence[Reach], beyond: Sequence[Reach]) -> tuple[Any, ...]:
        """Equal for two ways only if they are the same on what each channel can reach, and beyond the last full block."""
        main = [self._seen(t, r) for t, r in zip(self.main.T, reached, strict=True)]
        tail = [self._seen(t, beyond[n]) for t, n in zip(self.tail.T, self.of, strict=True)]
        same = tail == [self._seen(self.main[:, n], beyond[n]) for n in self.of]
        return (*main, () if same else (self.rest, *tail))

    @staticmethod
    def shown(mark: tuple[Any, ...]) -> npt.NDArray[np.bool_]:
        """The channels of such a mark whose outputs are not always the same."""
        return np.array([bool(begins) or bool(mark[-1]) for _, _, begins in mark[:-1]])

    def _seen(self, thresholds: Ints, reach: Reach) -> tuple[int, bool, bytes]:
        """The least output, whether any wraps, and below which of the reachable accumulators each other begins."""
        ranks, most = reach.ranks(thresholds)
        begins = ranks[(ranks > 0) & (ranks < most)]
        least = self.least + int(np.count_nonzero(ranks == 0))
        greatest = least + len(begins)
        wraps = self.limits is not None and not self.limits[0] <= least <= greatest <= self.limits[1]
        return least, wraps, begins.tobytes()

    @property
    def clamped(self) -> Pair:
        """``(low, high)`` of each channel: up to and from which accumulator every output is at the end of its clamp."""
        least, most = self.main[0] - 1, self.main[-1].copy()
        if self.of:
            of = list(self.of)
            least[of], most[of] = np.minimum(least[of], self.tail[0] - 1), np.maximum(most[of], self.tail[-1])
        return least, most


def steps_of(way: Way, layer: Layer, span: Pair) -> Steps:
    """The thresholds of ``way`` between the accumulators of ``span``."""
    of, info = list(way.tail_channels(layer)), np.iinfo(way.dtype)
    limits = (int(info.min), int(info.max)) if way.wraps else None
    way = unwrapped(way, layer, span) if way.wraps else way
    main = thresholds(way, layer, *span)
    tail = thresholds(way.tail_way, layer, *span)[:, of] if of else main[:, :0]
    return Steps(main, tail, tuple(of), way.rest(layer), way.clamp[0], limits)


def thresholds(way: Way, layer: Layer, low: Ints, high: Ints) -> Ints:
    """``(outputs, channels)``: the least accumulator of ``low..high`` that gives each output or more; ``high + 1``: none."""
    steps = np.arange(way.clamp[0] + 1, way.clamp[1] + 1)[:, np.newaxis]
    below, above = _around(way, layer, steps, low, high)
    while np.any(above - below > 1):
        middle = np.clip((below + above) >> 1, low, high)
        enough = way.of(middle, layer) >= steps
        above = np.where(enough, np.minimum(above, middle), above)
        below = np.where(enough, below, np.maximum(below, middle))
    return above


def _around(way: Way, layer: Layer, steps: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Accumulators below and from which on each output is given: within one output of the real one, where that holds."""
    s = way.scales
    multiplier = s.real.astype(np.float64) if way.scheme.startswith("float") else s.q * 2.0 ** (s.shift - 31)
    one = 1 / np.where(multiplier > 0, multiplier, 1.0)
    middle, apart = (steps - way.zero - 0.5) * one, one + 2
    near = [np.clip(v, low - 1, high + 1).astype(np.int64) for v in (middle - apart, middle + apart)]
    under, over = (way.of(np.clip(v, low, high), layer) >= steps for v in near)
    below = np.where((near[0] >= low) & ~under, near[0], low - 1)
    above = np.where((near[1] <= high) & over, near[1], high + 1)
    return below, above


def plainer(layer: Layer, clamped: Pair) -> Layer:
    """A layer with a simpler accumulator, of which it is proved that clamped outputs never tell it from the given one.

    ``clamped`` as in :class:`Steps`.
    """
    a = register(layer)
    if a is None or a.product_bits:
        return layer
    layer = replace(layer, accumulator=a)
    if not held(ends(unbounded(layer)).running, INFINITE_BITS):
        return replace(layer, accumulator=_with_infinity(layer, clamped))
    if a.overflow == "saturate" and hidden(layer, clamped):
        layer = unbounded(layer)
    a = layer.accumulator
    if a.bits < FREE_BITS or a.lanes:
        return layer
    simpler = {"spill16": "pairs16"}.get(a.order, "sequential")
    if a.order != simpler and _order_hidden(layer, clamped):
        return plainer(replace(layer, accumulator=_named(a, order=simpler)), clamped)
    return layer


def _with_infinity(layer: Layer, clamped: Pair) -> Accumulator:
    """One for all registers that hold every finite sum of halves, and whose own end in the place of infinity is clamped."""
    a, bias = layer.accumulator, int(np.abs(layer.bias.astype(np.int64)).max())
    least, most = int(clamped[0].min()), int(clamped[1].max())
    top, bottom = highest(a.bits) - bias, lowest(a.bits) + bias
    wide = top >= max(most, GREATEST_HALF) and bottom <= min(least, -GREATEST_HALF)
    settled = a.at == "step" or a.overflow == "saturate"
    return _named(a, bits=32, at="step") if a.order == "float16" and wide and settled and a.bits <= 32 else a


def _order_hidden(layer: Layer, clamped: Pair) -> bool:
    """True if it is proved that the clamp hides all that a narrow sum on the way loses."""
    a = layer.accumulator
    if a.order in WHOLE:
        added = increments(replace(layer, accumulator=_named(a, order="sequential")))
        assert added is not None
        least, most = ends(layer).running
        greatest = max(-int(least.min()), int(most.max()), 1)
        unit = -(-(1 << greatest.bit_length()) // WHOLE[a.order])  # of the last place, at most
        return not _shown(*added, -WHOLE[a.order], WHOLE[a.order], clamped, slack=unit * len(added[0]))
    added = increments(replace(layer, accumulator=_named(a, order="pairs16")))
    assert added is not None
    if a.order == "spill16":
        return not _shown(*added, lowest(16), highest(16), clamped)
    if a.product_shift:  # of inputs that are lifted, other products
        return False
    (down, up), (least, most), last = pairs(layer), clamped, added[2]
    high, low = highest(16) + down.sum(axis=0) - down + last, lowest(16) + up.sum(axis=0) - up + last
    return not (np.any((up > highest(16)) & (high < most)) or np.any((down < lowest(16)) & (low > least)))


def hidden(layer: Layer, clamped: Pair) -> bool:
    """True if it is proved that the output clamp hides every saturation of the register.

    Where a sum of the first products can pass the register's end, what the others can take away again must leave the
    output at the end of its clamp: ``clamped`` as in :class:`Steps`.
    """
    a, (least, most) = layer.accumulator, clamped
    top, bottom = highest(a.bits), lowest(a.bits)
    added = increments(layer)
    if added is None:
        return False
    down, up, last = added
    final = up.sum(axis=0) + last, down.sum(axis=0) + last
    if np.any((final[0] > top) & (top < most)) or np.any((final[1] < bottom) & (bottom > least)):
        return False
    return a.at == "end" or not _shown(down, up, last, bottom, top, clamped)


def _shown(down: Ints, up: Ints, last: Ints, bottom: int, top: int, clamped: Pair, slack: int = 0) -> bool:
    """True unless each running sum beyond ``bottom..top`` is proved to end where outputs are clamped."""
    least, most = clamped
    highs, lows = np.cumsum(up, axis=0), np.cumsum(down, axis=0)
    rest_down, rest_up = lows[-1] - lows, highs[-1] - highs
    above = (highs > top) & (top + rest_down + last - slack < most)
    below = (lows < bottom) & (bottom + rest_up + last + slack > least)
    return bool(np.any(above) or np.any(below))


def unwrapped(way: Way, layer: Layer, span: Pair) -> Way:
    """A way whose outputs wrap, before they do: clamped to what can be reached."""
    wide = replace(way, clamp=(INT32[0] + 1, INT32[1]))
    ends: Array = wide.of(np.stack(span), layer)
    return replace(way, clamp=(int(ends.min()), int(ends.max())))
