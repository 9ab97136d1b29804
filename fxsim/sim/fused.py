"""Requantization by two operations in float32, where that was proved to be the engine's own function of every sum."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxsim.kernels import fused, isa
from fxsim.sim.layer import Layer, reach

Floats = npt.NDArray[np.float32]
MOST = 1 << 30
"""what neither sums nor their products with the real scale reach"""
LEVELS = 256
"""outputs that a proof takes"""


@dataclass(frozen=True, slots=True)
class Constants:
    """Of :func:`fxsim.kernels.fused.fused`, or where ``single`` of :func:`fxsim.kernels.fused.folded`, for each channel."""

    single: bool
    scales: Floats
    offsets: Floats


def constants(layer: Layer) -> Constants | None:
    """The constants that were proved for every sum that a channel can have; None unless all channels are."""
    low, high = (end - layer.zero for end in layer.clamp)
    single = layer.scheme == "float32"
    if not 0 < high - low < LEVELS or not (single or isa.fused()):
        return None
    least, most = reach(layer)
    s, n, farthest = layer.scales, layer.geometry.out_c, np.maximum(most, -least)
    lifted = np.maximum(s.real.astype(np.float64), 2.0 ** s.shift.astype(np.float64))
    if farthest.max() >= MOST or (farthest * lifted).max() >= MOST or s.real.min() <= 0:
        return None
    made = Constants(single, s.real.astype(np.float32), np.zeros(n, np.float32))
    if single and layer.rounding == "ties_even" and not layer.lanes and layer.zero % 2 == 0:
        return made  # an even zero point moves no tie
    whole = n - n % layer.lanes if layer.lanes else n
    for rounding, of in ((layer.rounding, slice(0, whole)), (layer.tail, slice(whole, n))):
        parts = s.q[of], s.shift[of], s.real[of], least[of], most[of]
        room = made.scales[of], made.offsets[of]
        if (
            room[0].size
            and fused.proof(layer.scheme, rounding)(*parts, low, high, layer.zero & 1, *room) < room[0].size
        ):
            return None
    return made
