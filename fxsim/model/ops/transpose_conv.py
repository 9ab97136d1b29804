"""TRANSPOSE_CONV: attributes, output shape, work.

Inputs: output shape ``(4,)``, weight ``(O, KH, KW, C)``, input ``(N, H, W, C)``, bias ``(O,)``. An output shape that is
computed at run time must be the declared one.
"""

from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, OpSpec, need, rank, total_bytes, vector
from fxsim.model.ops.conv import ACTIVATION_TYPES, BIAS_TYPES, BiasType, Window, check_bias, window_1d
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work


@dataclass(frozen=True, slots=True)
class TransposeConv(Window):
    """TRANSPOSE_CONV; the padding is that of the convolution from the output to the input."""

    bias_type: BiasType = ""

    def before(self, geometry: Geometry) -> tuple[int, int]:
        """Rows above and columns left of the output that are cut off."""
        if not isinstance(self.padding, str):
            return self.padding[0], self.padding[2]
        g = geometry
        return (
            window_1d(g.out_h, g.kernel_h, self.stride_h, 1, self.padding)[1],
            window_1d(g.out_w, g.kernel_w, self.stride_w, 1, self.padding)[1],
        )


def transpose_geometry(inputs: Operands, shape: Shape, attrs: TransposeConv) -> Geometry:
    """The loop bounds of the convolution over the spread input that a transpose convolution is: its stride is 1."""
    w, x = need(inputs[1], "weight"), need(inputs[2], "input")
    n, h, wid, c = rank(x, "input", 4)
    o, kh, kw, d = rank(w, "weight", 4)
    if c != d or min(o, kh, kw, d, h, wid) < 1:
        raise ModelError(f"weight {w.name!r} has shape {list(w.shape)}; allowed: [O, KH, KW, {c}]")
    if len(shape) != 4 or (shape[0], shape[3]) != (n, o) or min(shape) < 1:
        raise ModelError(f"the output shape is {list(shape)}; allowed: [{n}, height, width, {o}]")
    if min(attrs.stride_h, attrs.stride_w) < 1:
        raise ModelError(f"stride is {attrs.stride_h}x{attrs.stride_w}; allowed: at least 1")
    check_bias(inputs[3] if len(inputs) > 3 else None, o)
    return Geometry(n, h, wid, c, shape[1], shape[2], o, kh, kw)


def _infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, TransposeConv)
    if not need(inputs[0], "output shape").constant:
        return ()
    g = transpose_geometry(inputs, vector(inputs[0], "output shape"), attrs)
    return ((g.batch, g.out_h, g.out_w, g.out_c),)


def _work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    assert isinstance(attrs, TransposeConv)
    w, x, out = need(inputs[1], "weight"), need(inputs[2], "input"), need(outputs[0], "output")
    g = transpose_geometry(inputs, out.shape, attrs)
    return Work(
        "conv",
        macs=g.batch * g.in_h * g.in_w * g.window * g.out_c,
        elements=out.elements,
        requantized=out.elements if out.quant is not None else 0,
        input_bytes=x.nbytes,
        weight_bytes=w.nbytes,
        bias_bytes=total_bytes(inputs[3:]),
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
        weight_bits=w.qtype.bits,
        per_channel=w.quant is not None and not w.quant.per_tensor,
        geometry=g,
    )


SPECS = (
    OpSpec(
        "TRANSPOSE_CONV",
        TransposeConv,
        _infer,
        _work,
        3,
        4,
        dtypes=(("int32",), ("int8", "uint8", "float32"), ACTIVATION_TYPES, BIAS_TYPES),
        data_input=2,
    ),
)
