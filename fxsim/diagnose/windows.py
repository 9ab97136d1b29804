"""Windows of a sum of products, taken out and summed alone: what a device's accumulators must have been."""

from dataclasses import replace
from typing import Any

import numpy as np

from fxsim.diagnose.cases import Case
from fxsim.kernels.ordered import HIGH, LOW
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.layer import Layer


def rises(acc: Array, out: Array) -> bool:
    """True if in each channel outputs never fall where accumulators rise, and are equal where those are."""
    order = np.argsort(acc, axis=0, kind="stable")
    a, y = np.take_along_axis(acc, order, 0), np.take_along_axis(out, order, 0)
    step, rise = np.diff(a, axis=0), np.diff(y, axis=0)
    return not bool(np.any((rise < 0) | ((step == 0) & (rise != 0))))


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
