"""Binds ops on numbers without a scale: float32 in IEEE 754 arithmetic, and integers, which wrap.

The engines clamp a float result to the fused activation's bounds; without one these are the greatest finite numbers, so
that a sum or product never becomes infinite.
"""

from collections.abc import Callable

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.ops.base import Activation
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Site

Function = Callable[..., Array]
GREATEST = float(np.finfo(np.float32).max)
BOUNDS: dict[str, tuple[float, float]] = {
    "NONE": (-GREATEST, GREATEST),
    "RELU": (0.0, GREATEST),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def is_plain(site: Site, i: int = 0) -> bool:
    """True if input ``i`` is of a type that engines compute without scales."""
    return site.input(i).qtype.name in ("float32", "int32", "int64", "bool")


def same_types(site: Site) -> None:
    """Holds all inputs and the output to the type of input 0."""
    name = site.input(0).qtype.name
    site.types(**{f"input{i}": name for i in range(1, len(site.inputs))}, output=name)


def apply(site: Site, function: Function, activation: Activation | None = None) -> Bound:
    """``out = function(*inputs)`` by numpy's rules; with an activation (``"NONE"`` counts), clamped as the engines do.

    Raises:
        UnsupportedOp: on mixed types, or a fused activation of integers (the engines disagree).
    """
    same_types(site)
    real = site.input(0).qtype.kind == "float"
    if activation not in (None, "NONE") and not (real and activation in BOUNDS):
        raise UnsupportedOp(f"fused activation is {activation} on {site.input(0).qtype.name}; supported: NONE")
    bounds = BOUNDS[activation] if activation is not None and real else None

    def run(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(all="ignore"):
            y = function(*inputs)
            outputs[0][...] = y if bounds is None else clamp(y, *bounds)

    return Bound(run)


def clamp(x: Array, low: float, high: float) -> Array:
    """``x`` between two bounds; what is no number stays, and so does the sign of a zero."""
    low32, high32 = np.float32(low), np.float32(high)
    x = np.where(x < low32, low32, x)
    result: Array = np.where(x > high32, high32, x)
    return result


def raw(site: Site, function: Function) -> Bound:
    """``out = function(*inputs)`` on the tensors' own numbers, whatever their scales."""
    same_types(site)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(all="ignore"):
            outputs[0][...] = function(*inputs)

    return Bound(run)
