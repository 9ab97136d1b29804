"""Windows of a sum of products, taken out and summed alone: what a device's accumulators must have been."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace as _named

from fxsim.arith.overflow import highest, lowest
from fxsim.diagnose.cases import Case
from fxsim.kernels.ordered import HIGH, LOW
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.numerics import Accumulator
from fxsim.sim.layer import Layer


def rises(acc: Array, out: Array) -> bool:
    """True if in each channel outputs never fall where accumulators rise, and are equal where those are."""
    order = np.argsort(acc, axis=0, kind="stable")
    a, y = np.take_along_axis(acc, order, 0), np.take_along_axis(out, order, 0)
    step, rise = np.diff(a, axis=0), np.diff(y, axis=0)
    return not bool(np.any((rise < 0) | ((step == 0) & (rise != 0))))


def spans(layer: Layer) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``(low, high)`` of each channel, between which every running sum stays, whatever the input and the order."""
    low, high = (v - layer.x_zero for v in layer.input_range)
    low, high = min(low, 0), max(high, 0)
    flat, bias = layer.weight.reshape(-1, layer.weight.shape[-1]).astype(np.int64), layer.bias.astype(np.int64)
    shift = layer.accumulator.product_shift
    least, most = (
        (v >> shift).sum(axis=0) for v in (np.minimum(flat * low, flat * high), np.maximum(flat * low, flat * high))
    )
    least, most = least - (len(flat) if shift else 0), most + (len(flat) if shift else 0)  # whatever the rounding
    return np.minimum(least, least + bias), np.maximum(most, most + bias)


def exact(layer: Layer) -> bool:
    """True if it is proved that the register gives the whole sum, whatever the input."""
    a, (low, high) = layer.accumulator, spans(layer)
    least, most = int(low.min(initial=0)), int(high.max(initial=0))
    if a.product_shift or a.product_bits or least < lowest(a.bits) or most > highest(a.bits):
        return False
    if a.order in ("float32", "float16"):
        whole = 1 << (24 if a.order == "float32" else 11)
        return -whole <= least and most <= whole
    return a.order not in ("pairs16", "spill16") or _pairs_fit(layer)


def _pairs_fit(layer: Layer) -> bool:
    """True if no sum of 16 bits can overflow: of two neighbouring products, or of all up to a spill, taken as at the end."""
    lift = 128 if layer.input_dtype == np.int8 else 0
    low, high = (v + lift for v in layer.input_range)
    flat = layer.weight.reshape(-1, layer.weight.shape[-1]).astype(np.int64)
    if len(flat) % 2:
        flat = np.concatenate([flat, np.zeros_like(flat[:1])])
    least, most = np.minimum(flat * low, flat * high), np.maximum(flat * low, flat * high)
    pairs = [v.reshape(-1, 2, flat.shape[1]).sum(axis=1) for v in (least, most)]
    if layer.accumulator.order == "spill16":
        pairs = [np.minimum(np.cumsum(pairs[0], axis=0), pairs[0]), np.maximum(np.cumsum(pairs[1], axis=0), pairs[1])]
    return bool(pairs[0].min() >= lowest(16) and pairs[1].max() <= highest(16))


def summing(layer: Layer) -> tuple[Any, ...]:
    """Equal for two ways to sum only if they are proved to give the same accumulators for every input."""
    edges = (layer.pad, layer.dropped, layer.fill) if any(layer.pad) or any(layer.dropped) else ()
    return edges, layer.x_zero, layer.bias.tobytes(), hash(layer.weight.tobytes()), register(layer)


def register(layer: Layer) -> Accumulator | None:
    """The layer's accumulator, or a simpler one that is proved to give the same; None: the whole sum."""
    if exact(layer):
        return None
    a, (low, high) = layer.accumulator, spans(layer)
    if a.product_bits:
        return a
    whole = {"float32": 1 << 24, "float16": 1 << 11}.get(a.order, 1 << 62)
    if a.order in ("sequential", "float32", "float16") and not a.lanes and -whole <= low.min() and high.max() <= whole:
        # only what becomes of the products counts; a float sum that loses nothing meets the register once
        a = _named(a, order="sequential", at=a.at if a.order == "sequential" else "end")
        if lowest(a.bits) <= low.min() and high.max() <= highest(a.bits):
            return _named(a, bits=64, overflow="wrap", at="step")
    elif _widest(layer) <= highest(a.bits):
        a = _named(a, bits=64, overflow="wrap", at="step")
    return _named(a, at="step") if a.overflow == "wrap" and a.order == "sequential" else a


def _widest(layer: Layer) -> int:
    """A bound of every running sum in any order, whatever an order adds to the inputs and takes away at the end."""
    low, high = layer.input_range
    flat = np.abs(layer.weight.reshape(-1, layer.weight.shape[-1]).astype(np.int64))
    return int((flat.sum(axis=0) * 2 * (high - low + 1) + np.abs(layer.bias.astype(np.int64)) + len(flat)).max())


def windows(layer: Layer, x: Array) -> Array:
    """Every window of one inference: ``(N, OH, OW, KH, KW, C)``, a view of the padded input."""
    g, image = layer.geometry, layer.padded(x)
    n, _, _, c = image.shape
    s = image.strides
    shape = (n, g.out_h, g.out_w, g.kernel_h, g.kernel_w, c)
    steps = (s[0], s[1] * g.stride_h, s[2] * g.stride_w, s[1] * g.dilation_h, s[2] * g.dilation_w, s[3])
    return np.lib.stride_tricks.as_strided(image, shape, steps, writeable=False)


def alone(layer: Layer, count: int) -> Layer:
    """The layer as one that takes ``count`` windows, as images of their own, to one output position each."""
    g = layer.geometry
    small = Geometry(count, g.kernel_h, g.kernel_w, g.in_c, 1, 1, g.out_c, g.kernel_h, g.kernel_w, groups=g.groups)
    changes: dict[str, Any] = {
        "geometry": small,
        "window": (1, 1, 1, 1),
        "pad": (0, 0, 0, 0),
        "spread": (1, 1),
        "dropped": (0, 0),
    }
    if hasattr(layer, "channels_first"):
        changes |= {"channels_first": False, "transposed": False}
    return replace(layer, **changes)


def sampled(case: Case, layer: Layer, at: Array) -> Array:
    """The accumulators ``(len(at), O)`` at the positions ``at``."""
    patches = np.empty(
        (len(at), layer.geometry.kernel_h, layer.geometry.kernel_w, layer.geometry.in_c), layer.input_dtype
    )
    for i in np.unique(at[:, 0]):
        of = at[:, 0] == i
        _, b, y, x = at[of].T
        patches[of] = windows(layer, case.inputs[i][layer.position])[b, y, x]
    return summed(layer, patches)


def summed(layer: Layer, patches: Array) -> Array:
    """The accumulators of windows, ``(windows, O)``."""
    small = alone(layer, len(patches))
    return small.accumulate(patches).reshape(len(patches), -1).astype(np.int64)


def reached(layer: Layer, case: Case) -> tuple[int, int]:
    """The least and greatest value that any register held on the data."""
    low, high = 0, 0
    for given in case.inputs:
        seen = layer.watched(given[layer.position])[1]
        low, high = min(low, int(seen[:, LOW].min())), max(high, int(seen[:, HIGH].max()))
    return low, high
