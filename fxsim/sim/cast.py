"""Binds CAST: changes of element type without scales."""

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.qtype import Array, QType
from fxsim.sim.base import Arrays, Bound, Site


def saturated(x: Array, to: QType, of_nan: int) -> Array:
    """``x`` without its fraction, saturated to the integers of ``to``; ``of_nan`` where it is not a number."""
    low, high = float(to.min), float(to.max + 1)
    inside = (x > low - 1) & (x < high)  # low - 1 is exact, or rounds to low where floats are that coarse
    cut: Array = np.where(inside, x, np.float32(0)).astype(to.dtype)
    cut[x <= low], cut[x >= high], cut[np.isnan(x)] = to.min, to.max, of_nan
    return cut


def cast(site: Site) -> Bound:
    """The same number in another type: rounded to the nearest float32, cut to an integer, or whether it is not 0.

    Integers that do not fit lose their upper bits; floats saturate. Variants for NaN: ``nan_is_max`` and ``nan_is_zero``.

    Source: tflite/kernels/cast.cc @ LiteRT 2.3.0; micro/kernels/cast.cc.
    """
    x, out = site.input(0).qtype, site.outputs[0].qtype
    narrow = min(x.bits, out.bits) < 8
    if narrow and x != out and {x.name, out.name} not in ({"int4", "float32"}, {"int2", "float32"}):
        raise UnsupportedOp(f"casts {x.name} to {out.name}; supported for int2 and int4: from and to float32")
    of_nan = out.max if site.variant("nan_is_max", "nan_is_zero") == "nan_is_max" else 0

    def run(inputs: Arrays, outputs: Arrays) -> None:
        if x.kind == "float" and out.kind == "int":
            outputs[0][...] = saturated(inputs[0], out, of_nan)
        else:
            outputs[0][...] = inputs[0].astype(out.dtype)

    return Bound(run)


BINDINGS = {"CAST": cast}
