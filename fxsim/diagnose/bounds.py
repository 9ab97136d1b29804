"""What sums can reach, exactly, and which ways to sum are therefore proved to be the same.

Every product rises or falls with its input, and every order of additions, rounding and saturation keeps that direction:
whatever a register holds is greatest where each product is. So one window that takes each input at the end that the
sign of its weight asks for reaches every greatest running sum at once, in the layer's own kernel.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace as _named

from fxsim.arith.overflow import highest, lowest
from fxsim.kernels.ordered import FREE_BITS, HIGH, LOW
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.numerics import Accumulator
from fxsim.sim.layer import Layer
from fxsim.sim.registers import masks

Pair = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""least and greatest value of each channel"""
WHOLE = {"float32": 1 << 24, "float16": 1 << 11}
"""up to which sum a float register holds every integer"""
INFINITE_BITS = 50
"""a sum that needs more comes of a float's infinity, which becomes the register's own end"""
TWO_AT_A_TIME = ("pairs16", "spill16")


@dataclass(frozen=True, slots=True)
class Ends:
    """What the register of each channel reaches: at any step, and at the last."""

    running: Pair
    final: Pair


def stored(layer: Layer) -> tuple[int, int]:
    """The least and greatest stored input that a window can hold, with what stands outside the image."""
    low, high, fill = *layer.input_range, outside(layer)
    beyond = (0,) if any(layer.dropped) else ()  # what follows in memory
    return min(low, fill, *beyond), max(high, fill, *beyond)


Mask = tuple[list[int], list[int]]
"""kernel rows and columns that lie in the image"""


def covers(layer: Layer, of: Iterable[Mask] | None = None) -> npt.NDArray[np.bool_]:
    """``(windows, taps)``: which taps lie in the image, for each window (or those ``of``) that none sees more than."""
    g = layer.geometry
    taps = np.ones((1, g.kernel_h, g.kernel_w, g.in_c // g.groups), np.bool_)
    if any(layer.dropped):
        return taps.reshape(1, -1)
    seen = [(rows, columns) for _, _, rows, columns in masks(layer)] if of is None else list(of)
    found: list[npt.NDArray[np.bool_]] = []
    for mask in sorted(seen, key=lambda m: -len(m[0]) * len(m[1])):
        cover = np.zeros_like(taps[0])
        cover[np.ix_(*mask)] = True
        if not any(np.all(cover <= more) for more in found):
            found.append(cover)
    return np.array(found).reshape(len(found), -1)


def outside(layer: Layer) -> int:
    """What stands outside the image."""
    return layer.x_zero if layer.fill is None else layer.fill


def flat_weight(layer: Layer) -> npt.NDArray[np.int64]:
    """``(taps, channels)``, in the order of the products."""
    return layer.weight.reshape(-1, layer.weight.shape[-1]).astype(np.int64)


def rows_of(layer: Layer, count: int) -> Layer:
    """The layer as one that is given ``(count, channels * taps)`` inputs: a window of its own for each channel."""
    taps, channels = flat_weight(layer).shape
    g = Geometry(count, 1, 1, channels * taps, 1, 1, channels, 1, 1, groups=channels)
    return replace(
        layer,
        geometry=g,
        weight=layer.weight.reshape(1, 1, taps, channels),
        window=(1, 1, 1, 1),
        pad=(0, 0, 0, 0),
        spread=(1, 1),
        dropped=(0, 0),
    )


def ends(layer: Layer) -> Ends:
    """What the layer's register reaches, whatever the input; a saturating one with its saturation.

    Of a register that wraps, what one without end would reach.
    """
    a = layer.accumulator
    if a.overflow == "wrap":
        layer = replace(layer, accumulator=_named(a, bits=FREE_BITS))
    return _ends(_Same(_content(layer), layer))


@dataclass(frozen=True, slots=True)
class _Same:
    """A layer that is looked up by its content."""

    key: Hashable
    layer: Layer

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.key == other.key


def _content(layer: Layer) -> tuple[Any, ...]:
    """All that its sums depend on."""
    edges = layer.pad, layer.spread, layer.dropped, layer.fill, layer.window
    sums = layer.x_zero, layer.input_range, layer.bias.tobytes(), layer.weight.shape, hash(layer.weight.tobytes())
    return layer.geometry, edges, sums, layer.accumulator


@lru_cache(maxsize=512)
def _ends(same: _Same) -> Ends:
    layer = same.layer
    weight, cover, (low, high) = flat_weight(layer), covers(layer), stored(layer)
    rises = weight.T > 0
    sides = [np.where(rises, a, b) for a, b in ((low, high), (high, low))]
    x = np.stack([np.where(cover[:, np.newaxis], side, outside(layer)) for side in sides])
    image = x.reshape(-1, 1, 1, weight.size).astype(layer.input_dtype)
    acc, seen = rows_of(layer, len(image)).watched(image)
    rows = acc.reshape(-1, acc.shape[-1])
    return Ends((seen[:, LOW], seen[:, HIGH]), (rows.min(axis=0), rows.max(axis=0)))


def unbounded(layer: Layer) -> Layer:
    """The layer with a register that nothing overflows."""
    return replace(layer, accumulator=_named(layer.accumulator, bits=64, overflow="wrap", at="step"))


def rising(a: Accumulator) -> bool:
    """True if what the register holds never falls where a product rises, as long as it does not wrap."""
    return not a.product_bits or a.product_overflow == "saturate"


def held(pair: Pair, bits: int) -> bool:
    """True if a register of so many bits holds it."""
    return lowest(bits) <= int(pair[0].min()) and int(pair[1].max()) <= highest(bits)


def finals(layer: Layer) -> Pair:
    """``(low, high)`` of each channel, between which every accumulator lies."""
    a, channels = layer.accumulator, layer.weight.shape[-1]
    whole = np.full(channels, lowest(a.bits), np.int64), np.full(channels, highest(a.bits), np.int64)
    if not rising(a) or (a.order in WHOLE and a.overflow == "wrap" and not held(ends(layer).final, a.bits)):
        return whole
    low, high = ends(layer).final
    if a.overflow == "saturate" or held((low, high), a.bits):
        return low, high
    turns = [(v + (1 << (a.bits - 1))) >> a.bits for v in (low, high)]
    once = turns[0] == turns[1]  # all of them wrap as often
    return tuple(np.where(once, v - (turns[0] << a.bits), end) for v, end in zip((low, high), whole, strict=True))  # type: ignore[return-value]


def register(layer: Layer) -> Accumulator | None:
    """The layer's accumulator, or a simpler one that is proved to give the same; None: the whole sum."""
    a = layer.accumulator
    if not rising(a):
        return a
    a = _plainly(a)
    bare = not (a.product_shift or a.product_bits)
    if bare:
        a = _named(a, product_rounding="to_neg", product_overflow="saturate")
    free = ends(replace(layer, accumulator=_named(a, bits=FREE_BITS, overflow="wrap")))
    if not held(free.running, INFINITE_BITS):
        return a
    once = a.overflow == "wrap" or a.at == "end"  # only what comes of the whole sum counts
    fits = held(free.final if once else free.running, a.bits)
    lossless = _lossless(layer, a)
    if lossless and (fits or once or a.order == "sequential"):
        a = _named(a, order="sequential", lanes=0)
    elif lossless and a.order == "float16":
        a = _named(a, order="float32")
    if fits:
        return None if bare and a.order == "sequential" else _named(a, bits=64, overflow="wrap", at="step")
    return _named(a, at="step") if a.overflow == "wrap" else a


def _plainly(a: Accumulator) -> Accumulator:
    """Of two names of one register, one."""
    if a.order == "pairs16" and (a.bits, a.overflow, a.at) == (16, "saturate", "step"):
        a = _named(a, order="spill16", lanes=0)
    if a.order == "spill16" and not a.lanes and a.bits >= 16 and a.overflow == "saturate":
        a = _named(a, at="end")  # until then its own 16 bits hold the sum
    return a


def _lossless(layer: Layer, a: Accumulator) -> bool:
    """True if it is proved that the order of the additions makes no difference to the whole sum."""
    if a.order in WHOLE:
        plain = _named(a, order="sequential", lanes=0, bits=FREE_BITS, overflow="wrap")
        low, high = ends(replace(layer, accumulator=plain, bias=np.zeros_like(layer.bias))).running  # it comes later
        return -WHOLE[a.order] <= int(low.min()) and int(high.max()) <= WHOLE[a.order]
    if a.order in TWO_AT_A_TIME:
        return not (a.product_shift or a.product_bits) and _pairs_fit(replace(layer, accumulator=a))
    return True


def _pairs_fit(layer: Layer) -> bool:
    """True if no sum of 16 bits can overflow: of two neighbouring products, or of all up to a spill, taken as at the end."""
    least, most = pairs(layer)
    if layer.accumulator.order == "spill16":
        least, most = np.minimum(np.cumsum(least, axis=0), least), np.maximum(np.cumsum(most, axis=0), most)
    return bool(least.min() >= lowest(16) and most.max() <= highest(16))


def summing(layer: Layer) -> tuple[Any, ...]:
    """Equal for two ways to sum only if they are proved to give the same accumulators for every input."""
    return edges(layer), layer.x_zero, layer.bias.tobytes(), hash(layer.weight.tobytes()), register(layer)


def edges(layer: Layer) -> tuple[Any, ...]:
    """Equal for two layers only if they are given the same windows."""
    filled, pad, (below, right) = layer.spread != (1, 1) or any(p > 0 for p in layer.pad), layer.pad, layer.dropped
    if below and not right and pad[1] >= 0 and (not filled or outside(layer) == 0):
        return (pad[0], pad[1] + below, *pad[2:]), layer.spread, (0, 0), 0  # zeros follow the last row
    return pad, layer.spread, layer.dropped, outside(layer) if filled else None


def products(layer: Layer) -> tuple[Array, Array]:
    """``(least, greatest)`` scaled product of each tap, ``(taps, channels)``."""
    weight, (low, high) = flat_weight(layer), stored(layer)
    x = np.stack([np.where(weight > 0, a, b) for a, b in ((low, high), (high, low))])
    made = scaled(layer, weight.reshape(-1), x.reshape(2, -1))
    return made[0].reshape(weight.shape), made[1].reshape(weight.shape)


def scaled(layer: Layer, weight: Array, x: Array) -> Array:
    """The scaled products ``(rows, weights)`` of stored inputs ``(rows, weights)``, as the layer's register gets them."""
    count, size = x.shape
    one = replace(
        rows_of(layer, count),
        geometry=Geometry(count, 1, 1, size, 1, 1, size, 1, 1, groups=size),
        weight=weight.reshape(1, 1, 1, -1).astype(layer.weight.dtype),
        bias=np.zeros(size, layer.bias.dtype),
        accumulator=_named(layer.accumulator, order="sequential", lanes=0, bits=FREE_BITS, overflow="wrap"),
    )
    return one.watched(x.reshape(count, 1, 1, size).astype(layer.input_dtype))[0].reshape(x.shape)


def increments(layer: Layer) -> tuple[Array, Array, Array] | None:
    """``(least, greatest)`` of what is added to the register, ``(steps, channels)``, and what comes last; None: unknown.

    What comes last is the bias, and the share of what an order adds to the inputs.
    """
    a, whole = layer.accumulator, layer
    layer, last = lifted(layer)
    if a.order == "sequential":
        return *products(layer), last
    if a.order == "pairs16":
        least, most = pairs(whole)
        return np.clip(least, lowest(16), highest(16)), np.clip(most, lowest(16), highest(16)), last
    if a.lanes or a.order not in ("float32", "float16", "spill16"):
        return None
    low, high = ends(replace(whole, accumulator=_named(a, bits=FREE_BITS, overflow="wrap"))).final  # all at once
    return (low - last)[np.newaxis], (high - last)[np.newaxis], last


def lifted(layer: Layer) -> tuple[Layer, Array]:
    """The layer whose products are those that its order adds, and what comes last."""
    bias = layer.bias.astype(np.int64)
    if layer.accumulator.order not in TWO_AT_A_TIME:
        return layer, bias
    lift = _lift(layer)
    last = bias - (layer.x_zero + lift) * flat_weight(layer).sum(axis=0)
    return replace(layer, x_zero=-lift, fill=outside(layer)), last


def pairs(layer: Layer) -> tuple[Array, Array]:
    """``(least, greatest)`` sum of each two neighbouring products, as they come before they meet 16 bits."""
    least, most = products(lifted(layer)[0])
    return _by_two(least), _by_two(most)


def _by_two(products: Array) -> Array:
    """Sums of neighbours."""
    if len(products) % 2:
        products = np.concatenate([products, np.zeros_like(products[:1])])
    both: Array = products.reshape(-1, 2, products.shape[1]).sum(axis=1)
    return both


def _lift(layer: Layer) -> int:
    """What makes the stored inputs unsigned."""
    return 128 if layer.input_dtype == np.int8 else 0
