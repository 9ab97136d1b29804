"""Binds SOFTMAX."""

import math

from fxsim.arith.multiplier import quantize_multiplier
from fxsim.errors import DomainError, UnsupportedOp
from fxsim.kernels.softmax import DIFF_INTEGER_BITS, softmax
from fxsim.model.ops.softmax import Softmax
from fxsim.sim.base import Arrays, Bound, Site, scalar_quant


def soft_max(site: Site) -> Bound:
    """``out = round(256 * exp(beta * x) / sum(exp(beta * x))) - 128`` along the last axis, in integers.

    Source: tflite/kernels/internal/reference/softmax.h; quantization_util.cc, PreprocessSoftmaxScaling @ LiteRT 2.3.0.
    """
    site.types(input0="int8 uint8", output="int8 uint8 int16")
    x, out = site.input(0), site.outputs[0]
    attrs = site.node.attributes
    assert isinstance(attrs, Softmax)
    scale, (out_scale, out_zero) = scalar_quant(x)[0], scalar_quant(out)
    expected = 2.0**-out.qtype.bits
    if abs(out_scale - expected) > 0.001 * expected or out_zero != out.qtype.min or not x.shape or not x.shape[-1]:
        raise UnsupportedOp(
            f"output scale is {out_scale:g}, zero point {out_zero}; supported: {expected:g} and {out.qtype.min}"
        )
    real = min(attrs.beta * scale * (1 << (31 - DIFF_INTEGER_BITS)), (1 << 31) - 1.0)
    if not real > 1:
        raise UnsupportedOp(f"beta * scale is {attrs.beta * scale:g}; allowed: above 2**-26")
    q, shift = quantize_multiplier(real)
    diff_min = -math.floor(((1 << DIFF_INTEGER_BITS) - 1) * (1 << (31 - DIFF_INTEGER_BITS)) / (1 << shift))
    kernel, depth = softmax(), x.shape[-1]
    low, high = out.qtype.min, out.qtype.max

    def run(inputs: Arrays, outputs: Arrays) -> None:
        if not kernel(inputs[0].reshape(-1, depth), q, shift, diff_min, low, high, outputs[0].reshape(-1, depth)):
            raise DomainError(
                f"SOFTMAX {site.node.name!r}: a row's exponentials add up to {1 << (out.qtype.bits + 1)} or more, or wrap "
                "to almost 0 in the 32-bit sum: the engine aborts there"
            )

    return Bound(run)


BINDINGS = {"SOFTMAX": soft_max}
