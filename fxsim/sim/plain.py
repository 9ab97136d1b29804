"""Binds ops on numbers without a scale: float32 in IEEE 754 arithmetic, and integers, which wrap.

The engines clamp a float result to the fused activation's bounds; without one these are the greatest finite numbers, so
that a sum or product never becomes infinite. Under the variant ``flushed`` it may, but numbers too small to be normal
count as zeros.
"""

from collections.abc import Callable

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.ops.base import Activation
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Site

Function = Callable[..., Array]
GREATEST, LEAST_NORMAL = float(np.finfo(np.float32).max), np.finfo(np.float32).tiny
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
    flushes = real and site.numerics.variant == "flushed"
    if flushes and activation == "NONE":
        bounds = None

    def run(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(all="ignore"):
            y = flushed(function(*map(flushed, inputs))) if flushes else function(*inputs)
            outputs[0][...] = y if bounds is None else clamp(y, *bounds)

    return Bound(run)


def flushed(x: Array) -> Array:
    """``x`` with zeros, of the same sign, for what is too small to be a normal float32."""
    return np.asarray(np.where(np.abs(x) < LEAST_NORMAL, np.copysign(np.float32(0), x), x))


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


def floor(site: Site) -> Bound:
    """``out`` = the greatest integer not above ``x``."""
    return raw(site, np.floor)


def ceil(site: Site) -> Bound:
    """``out`` = the least integer not below ``x``."""
    return raw(site, np.ceil)


def _round_by_floor(x: Array) -> Array:
    below = np.floor(x)
    rest = x - below
    down = (rest < 0.5) | ((rest == 0.5) & (np.fmod(below, 2) == 0))
    return np.asarray(np.where(down, below, below + np.float32(1)))


def round_(site: Site) -> Bound:
    """``out`` = the integer nearest to ``x``, ties to the even one.

    Variants: ``by_floor`` (what rounds up to zero is +0) and ``signed_zero``.

    Source: tflite/kernels/internal/reference/round.h @ LiteRT 2.3.0.
    """
    return raw(site, _round_by_floor if site.variant("by_floor", "signed_zero") == "by_floor" else np.rint)


def square(site: Site) -> Bound:
    """``out = x * x``."""
    return raw(site, np.square)


BINDINGS = {"FLOOR": floor, "CEIL": ceil, "ROUND": round_, "SQUARE": square}
