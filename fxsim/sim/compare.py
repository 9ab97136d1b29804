"""Binds comparisons, logic, and choices by them."""

from collections.abc import Callable

import numpy as np

from fxsim.arith.multiplier import quantize_multiplier
from fxsim.arith.requantize import high_multiply
from fxsim.arith.x86 import rounding_shift_right
from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.sim import plain
from fxsim.sim.base import Arrays, Bound, Site, scalar_quant

Compare = Callable[..., Array]
SCALED16 = ("EQUAL", "NOT_EQUAL")
"""comparisons that bring 16-bit tensors to one scale; the others compare their raw numbers"""


def _scaled(site: Site, t: Tensor) -> Array:
    """For each raw number of ``t``, counted from the least: ``round(2**8 * scale * (x - zero))``.

    From a scale of 1 on it is what x86 makes of a right shift by a negative number.

    Source: tflite/kernels/comparisons.cc, reference/comparisons.h @ LiteRT 2.3.0.
    """
    scale, zero = scalar_quant(t)
    q, shift = quantize_multiplier(scale)
    if shift > 0 and (scale == 1 or _below_one(site)):
        raise UnsupportedOp(f"tensor {t.name!r} has scale {scale:g}: the engine aborts on it")
    raw = range(t.qtype.min, t.qtype.max + 1)
    return np.array([rounding_shift_right(high_multiply((x - zero) << 8, q), -shift, 32) for x in raw], np.int64)


def _compare(function: Compare) -> Callable[[Site], Bound]:
    def bind(site: Site) -> Bound:
        """``out = function(a_scale * (a - a_zero), b_scale * (b - b_zero))``, both rounded to 8 fraction bits first.

        Variants: ``any_scale``, and ``below_one`` (other scales abort; no int16).
        """
        a, b = site.input(0), site.input(1)
        site.types(input1=a.qtype.name, output="bool")
        if _below_one(site) and a.qtype.name == "int16":
            raise UnsupportedOp(
                f"input0 {a.name!r} is int16: the engine refuses it, or compares by scales that it never set"
            )
        if plain.is_plain(site) or (a.qtype.name == "int16" and site.node.op not in SCALED16):
            return Bound(lambda inputs, outputs: _set(outputs, function(*inputs)))
        left, right = _scaled(site, a), _scaled(site, b)

        def run(inputs: Arrays, outputs: Arrays) -> None:
            x, y = (t[v.astype(np.int64) - s.qtype.min] for t, v, s in zip((left, right), inputs, (a, b), strict=True))
            _set(outputs, function(x, y))

        return Bound(run)

    return bind


def _below_one(site: Site) -> bool:
    return site.variant("any_scale", "below_one") == "below_one"


def _set(outputs: Arrays, value: Array) -> None:
    outputs[0][...] = value


def _logical(function: Compare) -> Callable[[Site], Bound]:
    def bind(site: Site) -> Bound:
        """``out = function(*inputs)`` of truth values."""
        return plain.raw(site, function)

    return bind


def select(site: Site) -> Bound:
    """``out = x where condition else y``, of raw numbers; a condition of one axis chooses whole slices (SELECT).

    Source: tflite/kernels/select.cc @ LiteRT 2.3.0.
    """
    condition, x = site.input(0), site.input(1)
    site.types(input2=x.qtype.name, output=x.qtype.name)
    extra = len(x.shape) - len(condition.shape) if site.node.op == "SELECT" and condition.shape != () else 0
    shape = condition.shape + (1,) * extra

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = np.where(inputs[0].reshape(shape), inputs[1], inputs[2])

    return Bound(run)


BINDINGS = {
    "EQUAL": _compare(np.equal),
    "NOT_EQUAL": _compare(np.not_equal),
    "LESS": _compare(np.less),
    "LESS_EQUAL": _compare(np.less_equal),
    "GREATER": _compare(np.greater),
    "GREATER_EQUAL": _compare(np.greater_equal),
    "LOGICAL_AND": _logical(np.logical_and),
    "LOGICAL_OR": _logical(np.logical_or),
    "LOGICAL_NOT": _logical(np.logical_not),
    "SELECT": select,
    "SELECT_V2": select,
}
