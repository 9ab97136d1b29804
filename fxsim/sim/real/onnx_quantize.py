"""QuantizeLinear and DequantizeLinear of ONNX: the same real number, held otherwise."""

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.onnx_base import OnnxSpec
from fxsim.model.ops.onnx_quantize import Linear, scale_shape
from fxsim.model.qtype import Array
from fxsim.sim.base import Site
from fxsim.sim.real.base import Binding, RealFn, Values, is_real, optional, shared, value
from fxsim.sim.real.layout import same


def measured(site: Site) -> None:
    """Holds the quantized operands of an ONNX op to scales that their tensors are known by.

    Raises:
        UnsupportedOp: on a scale that is computed at run time, is one of blocks, or is another than another layer's.
    """
    spec = site.spec
    if not isinstance(spec, OnnxSpec):
        return
    described = [(site.optional(data), site.optional(scale)) for data, scale, _ in spec.params]
    if spec.output_params is not None:
        described.append((site.outputs[0], site.optional(spec.output_params[0])))
    for t, scale in described:
        if t is not None and t.qtype.kind == "int" and scale is not None and not _known_by(t, scale):
            raise UnsupportedOp(
                f"tensor {t.name!r} has scale {scale.name!r}, which is computed at run time, one of blocks, or another "
                "than that of another layer; supported: constants, one for each tensor"
            )


def _known_by(t: Tensor, scale: Tensor) -> bool:
    if t.quant is None or scale.data is None:
        return False
    return np.array_equal(np.asarray(scale.data, np.float32).reshape(-1), np.asarray(t.quant.scale, np.float32))


def dequantize(site: Site) -> RealFn:
    """``scale * (x - zero_point)``: the value that a tensor of known scale stands for already."""
    attrs, x = site.node.attributes, site.input(0)
    assert isinstance(attrs, Linear)
    if is_real(x):
        return same(site)
    shape, block = scale_shape(x, site.input(1), attrs)
    axis = attrs.axis

    def run(values: Values) -> list[Array]:
        def spread(p: Array) -> Array:
            p = p.reshape(shape)
            return p if block == 1 else np.repeat(p, block, axis).take(range(x.shape[axis]), axis)

        raw, zero = value(values, 0).astype(np.float64), optional(values, 2)
        return [(raw if zero is None else raw - spread(zero)) * spread(value(values, 1))]

    return shared((1, 2), run)


BINDINGS: dict[str, Binding] = {"QuantizeLinear": same, "DequantizeLinear": dequantize}
