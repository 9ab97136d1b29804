"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: attributes, output shapes, work.

Layouts are those of the .tflite format: input ``(N, H, W, C)``; CONV_2D weight ``(O, KH, KW, C / groups)``;
DEPTHWISE_CONV_2D weight ``(1, KH, KW, O)``; FULLY_CONNECTED weight ``(O, K)``; bias ``(O,)``.
"""

from dataclasses import dataclass
from typing import Literal

from fxsim.errors import ModelError
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Activated, Attributes, Operands, OpSpec, WorkFn, need, rank, total_bytes
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work, WorkKind

Padding = Literal["SAME", "VALID"] | tuple[int, int, int, int]
"""``SAME`` (odd padding goes to the end), ``VALID``, or explicit (top, bottom, left, right)."""
BiasType = Literal["", "int32", "int64"]
"""What the file says of the bias of an int16 layer, whether it has one or not; empty: nothing."""
WEIGHT_AXES: dict[str, tuple[int, int | None]] = {
    "CONV_2D": (0, 3),
    "DEPTHWISE_CONV_2D": (3, None),
    "TRANSPOSE_CONV": (0, 3),
    "FULLY_CONNECTED": (0, 1),
}
"""op -> the weight's axis of output channels and that of input channels, over which products are summed"""
ACTIVATION_TYPES = ("int8", "uint8", "int16", "float32")
BIAS_TYPES = ("int32", "int64", "float32")


def window_1d(size: int, kernel: int, stride: int, dilation: int, pad: tuple[int, int] | str) -> tuple[int, int]:
    """Output size and padding before, along one axis."""
    reach = (kernel - 1) * dilation + 1
    if pad == "SAME":
        out = -(-size // stride)
        return out, max(0, (out - 1) * stride + reach - size) // 2
    before, after = (0, 0) if isinstance(pad, str) else pad
    return (size + before + after - reach) // stride + 1, before


@dataclass(frozen=True, slots=True)
class Window(Activated):
    """A sliding window with a fused activation."""

    stride_h: int = 1
    stride_w: int = 1
    padding: Padding = "VALID"

    def output(self, h: int, w: int, kh: int, kw: int, dh: int = 1, dw: int = 1) -> tuple[int, int, int, int]:
        """``(out_h, out_w, pad_top, pad_left)`` for an input of ``h x w``.

        Raises:
            ModelError: if a size is below 1 or the window does not fit.
        """
        for what, v in (
            ("stride", min(self.stride_h, self.stride_w)),
            ("dilation", min(dh, dw)),
            ("kernel", min(kh, kw)),
        ):
            if v < 1:
                raise ModelError(f"{what} is {v}; allowed: at least 1")
        pads = (self.padding, self.padding) if isinstance(self.padding, str) else (self.padding[:2], self.padding[2:])
        oh, top = window_1d(h, kh, self.stride_h, dh, pads[0])
        ow, left = window_1d(w, kw, self.stride_w, dw, pads[1])
        if oh < 1 or ow < 1:
            raise ModelError(f"a {kh}x{kw} window (dilation {dh}x{dw}) does not fit an input of {h}x{w}")
        return oh, ow, top, left


@dataclass(frozen=True, slots=True)
class Conv2D(Window):
    """CONV_2D and DEPTHWISE_CONV_2D."""

    dilation_h: int = 1
    dilation_w: int = 1
    bias_type: BiasType = ""


@dataclass(frozen=True, slots=True)
class FullyConnected(Activated):
    """FULLY_CONNECTED."""

    keep_dims: bool = False
    bias_type: BiasType = ""
    asymmetric: bool = False
    """how float32 inputs are quantized for int8 weights"""


def check_bias(bias: Tensor | None, channels: int) -> None:
    """A bias has one element for each output channel."""
    if bias is not None and bias.elements != channels:
        raise ModelError(f"bias {bias.name!r} has {bias.elements} elements; the layer has {channels} output channels")


def conv_geometry(inputs: Operands, attrs: Conv2D, *, depthwise: bool) -> Geometry:
    """The loop bounds of a convolution; checks that input, weight and bias fit each other."""
    x, w = need(inputs[0], "input"), need(inputs[1], "weight")
    n, h, wid, c = rank(x, "input", 4)
    o, kh, kw, d = rank(w, "weight", 4)
    if depthwise:
        if o != 1 or c < 1 or d % c:
            raise ModelError(f"weight {w.name!r} has shape {list(w.shape)}; allowed: [1, KH, KW, multiple of {c}]")
        o, groups = d, c
    else:
        if d < 1 or c % d or o % (c // d):
            raise ModelError(
                f"weight {w.name!r} has shape {list(w.shape)}, which fits no grouping of {c} input channels"
            )
        groups = c // d
    check_bias(inputs[2] if len(inputs) > 2 else None, o)
    oh, ow, _, _ = attrs.output(h, wid, kh, kw, attrs.dilation_h, attrs.dilation_w)
    return Geometry(
        n, h, wid, c, oh, ow, o, kh, kw, attrs.stride_h, attrs.stride_w, attrs.dilation_h, attrs.dilation_w, groups
    )


def dense_geometry(inputs: Operands) -> Geometry:
    """The loop bounds of a dense layer: rows along ``out_w``."""
    x, w = need(inputs[0], "input"), need(inputs[1], "weight")
    o, k = rank(w, "weight", 2)
    if k < 1 or x.elements % k:
        raise ModelError(
            f"input {x.name!r} of {x.elements} elements does not divide into rows of {k} (weight {w.name!r})"
        )
    check_bias(inputs[2] if len(inputs) > 2 else None, o)
    rows = x.elements // k
    return Geometry(1, 1, rows, k, 1, rows, o)


def _geometry(op: str, inputs: Operands, attrs: Attributes) -> Geometry:
    if op == "FULLY_CONNECTED":
        return dense_geometry(inputs)
    assert isinstance(attrs, Conv2D)
    return conv_geometry(inputs, attrs, depthwise=op == "DEPTHWISE_CONV_2D")


def _infer_conv(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    g = _geometry("CONV_2D", inputs, attrs)
    return ((g.batch, g.out_h, g.out_w, g.out_c),)


def _infer_depthwise(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    g = _geometry("DEPTHWISE_CONV_2D", inputs, attrs)
    return ((g.batch, g.out_h, g.out_w, g.out_c),)


def _infer_dense(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    g = dense_geometry(inputs)
    x = need(inputs[0], "input")
    assert isinstance(attrs, FullyConnected)
    if attrs.keep_dims:
        return ((*x.shape[:-1], g.out_c),)
    return ((g.out_w, g.out_c),)


def _work(kind: WorkKind, op: str) -> WorkFn:
    def work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
        g = _geometry(op, inputs, attrs)
        x, w, out = need(inputs[0], "input"), need(inputs[1], "weight"), need(outputs[0], "output")
        return Work(
            kind,
            macs=g.outputs * g.window,
            elements=out.elements,
            requantized=out.elements if out.quant is not None else 0,
            input_bytes=x.nbytes,
            weight_bytes=w.nbytes,
            bias_bytes=total_bytes(inputs[2:]),
            output_bytes=out.nbytes,
            activation_bits=x.qtype.bits,
            weight_bits=w.qtype.bits,
            per_channel=w.quant is not None and not w.quant.per_tensor,
            geometry=g,
        )

    return work


_WEIGHTS = ("int8", "uint8", "int4", "float32")
_TYPES = (ACTIVATION_TYPES, _WEIGHTS, BIAS_TYPES)
_DENSE = (ACTIVATION_TYPES, (*_WEIGHTS, "int2"), BIAS_TYPES)

SPECS = (
    OpSpec("CONV_2D", Conv2D, _infer_conv, _work("conv", "CONV_2D"), 2, 3, dtypes=_TYPES),
    OpSpec("DEPTHWISE_CONV_2D", Conv2D, _infer_depthwise, _work("depthwise", "DEPTHWISE_CONV_2D"), 2, 3, dtypes=_TYPES),
    OpSpec("FULLY_CONNECTED", FullyConnected, _infer_dense, _work("dense", "FULLY_CONNECTED"), 2, 3, dtypes=_DENSE),
)
