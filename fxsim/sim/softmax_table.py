"""Variant ``float_table`` of SOFTMAX."""

import numpy as np

from fxsim.arith.exp import exp32
from fxsim.arith.multiplier import float32
from fxsim.errors import UnsupportedOp
from fxsim.kernels.softmax_table import softmax_table
from fxsim.model.ops.softmax import Softmax
from fxsim.sim import moves, softmax
from fxsim.sim.base import Arrays, Bound, Site, scalar_quant


def soft_max(site: Site) -> Bound:
    """``out = round(exp(beta * x) / sum(exp(beta * x)) / out_scale) + out_zero`` along the last axis, in float32.

    Inputs of 8 bits; others as SOFTMAX itself.

    Source: tflite/kernels/activations.cc; optimized_ops.h, PopulateSoftmaxLookupTable @ LiteRT 2.3.0.
    """
    site.types(output="int8 uint8 int16")
    x, out, attrs = site.input(0), site.outputs[0], site.node.attributes
    assert isinstance(attrs, Softmax)
    if x.qtype.name not in ("int8", "uint8"):
        return softmax.soft_max(site)
    out_scale, out_zero = scalar_quant(out)
    expected = 2.0**-out.qtype.bits
    if abs(out_scale - expected) > 0.001 * expected or out_zero != out.qtype.min or not x.shape or not x.shape[-1]:
        raise UnsupportedOp(
            f"output scale is {out_scale:g}, zero point {out_zero}; supported: {expected:g} and {out.qtype.min}"
        )
    step = float32(-scalar_quant(x)[0] * attrs.beta)
    table = np.array([exp32(float32(step * d)) for d in range(256)], np.float32)
    kernel, depth, low, high = softmax_table(), x.shape[-1], out.qtype.min, out.qtype.max

    def run(inputs: Arrays, outputs: Arrays) -> None:
        rows = inputs[0].reshape(-1, depth)
        kernel(rows, table, np.float32(out_scale), out_zero, low, high, outputs[0].reshape(-1, depth))

    return Bound(run, native=moves.softmax_by_table(x, out, table, np.float32(out_scale)))


VARIANTS = {("SOFTMAX", "float_table"): soft_max}
