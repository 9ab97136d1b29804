"""Requantization by one multiply-add in float32, where it was proved to be the engine's own function of every sum."""

import numpy as np

from fxsim.arith.overflow import highest, lowest
from fxsim.kernels import fused, isa
from fxsim.model.qtype import Array
from fxsim.sim.layer import Layer

MAGIC = 1.5 * 2**23
"""added to a float32, it leaves no room for a fraction: the lowest bits are the integer"""
MOST = 1 << 30
"""what neither sums nor their products with the real scale reach"""
LEVELS = 256


def multiply_add(layer: Layer) -> tuple[Array, Array] | None:
    """``(scales, offsets)`` of each channel, float32; None unless all are proved. See :func:`fxsim.kernels.fused.level`."""
    low, high = (end - layer.zero for end in layer.clamp)
    if not isa.fused() or not 0 < high - low < LEVELS:
        return None
    least, most = reach(layer)
    s, channels = layer.scales, layer.geometry.out_c
    lifted = np.maximum(most, -least).astype(np.float64) * np.maximum(
        s.real.astype(np.float64), 2.0 ** np.maximum(s.shift, 0)
    )
    if lifted.max() >= MOST or np.maximum(most, -least).max() >= MOST or s.real.min() <= 0:
        return None
    whole = channels - channels % layer.lanes if layer.lanes else channels
    scales, offsets = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for rounding, of in ((layer.rounding, slice(0, whole)), (layer.tail, slice(whole, channels))):
        f = fused.steps(layer.scheme, rounding)
        parts = s.q[of], s.shift[of], s.real[of], least[of], most[of]
        if parts[0].size and f(*parts, low, high, layer.zero & 1, scales[of], offsets[of]) < parts[0].size:
            return None
    return scales, offsets


def reach(layer: Layer) -> tuple[Array, Array]:
    """The least and greatest sum of each channel, for inputs of the layer's range and its padding."""
    if layer.policy == "saturate":
        bits = layer.accumulator.bits
        return np.full(layer.geometry.out_c, lowest(bits)), np.full(layer.geometry.out_c, highest(bits))
    weight = layer.weight.reshape(-1, layer.geometry.out_c).astype(np.int64)
    up, down = np.maximum(weight, 0).sum(axis=0), np.minimum(weight, 0).sum(axis=0)
    low, high = (end - layer.x_zero for end in layer.input_range)
    low, high, bias = min(low, 0), max(high, 0), layer.bias.astype(np.int64)
    return bias + up * low + down * high, bias + up * high + down * low
