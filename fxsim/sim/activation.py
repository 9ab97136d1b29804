"""Binds functions of single elements: LOGISTIC."""

import math
from collections.abc import Callable

import numpy as np

from fxsim.arith import gemmlowp
from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import high_multiply
from fxsim.arith.rounding import shift_right, ties_away
from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.sim.base import Arrays, Bound, Site, scalar_quant


def table(x: Tensor, function: Callable[[int], int]) -> Bound:
    """A layer that looks up one of 256 entries: ``function`` of the raw input."""
    entries = np.array([function(v) for v in range(x.qtype.min, x.qtype.max + 1)], x.qtype.dtype)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        np.take(entries, inputs[0].astype(np.int64) - x.qtype.min, out=outputs[0])

    return Bound(run)


def logistic(site: Site) -> Bound:
    """``out = clamp(round(256 / (1 + exp(-x_scale * (x - x_zero))))) - 128)``.

    Variants: ``float_table`` (float32 throughout, ties away) and ``fixed_point`` (gemmlowp's Q4.27 logistic).

    Source: tflite/kernels/activations.cc and internal/common.h, LUTPopulateInt8 @ LiteRT 2.3.0;
    tensorflow/lite/micro/kernels/logistic_common.cc and reference/integer_ops/logistic.h.
    """
    site.types(input0="int8", output="int8")
    x, out = site.input(0), site.outputs[0]
    (scale, zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    if out_scale != 1 / 256 or out_zero != -128:
        raise UnsupportedOp(f"output scale is {out_scale}, zero point {out_zero}; supported: 1/256 and -128")
    if site.variant("float_table", "fixed_point") == "float_table":
        one = np.float32(1)

        def from_float(v: int) -> int:
            with np.errstate(over="ignore"):
                real = np.float32(scale) * np.float32(v - zero)
                value = one / (one + np.float32(np.exp(-np.float64(real))))
            return min(max(math.floor(float(value) * 256 + 0.5) - 128, -128), 127)

        return table(x, from_float)
    mantissa, shift = math.frexp(scale * (1 << 27))
    q = round(mantissa * (1 << 31))
    # C leaves shifts outside 0..63 undefined; x86 takes the count modulo 64 (32 below): tiny scales have radius 0.
    radius = math.floor(15 * (1 << 27) / wrap(1 << (shift & 63), 64))
    left, right = max(shift, 0) & 31, max(-shift, 0)

    def fixed_point(v: int) -> int:
        value = v - zero
        if value <= -radius:
            return -128
        if value >= radius:
            return 127
        scaled = shift_right(ties_away, high_multiply(wrap(value << left, 32), q), right)
        raw = gemmlowp.logistic(scaled, 4)
        return min(max(shift_right(ties_away, raw, 23) - 128, -128), 127)

    return table(x, fixed_point)


BINDINGS = {"LOGISTIC": logistic}
