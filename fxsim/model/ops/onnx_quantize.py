"""Ops of ONNX and QONNX that change how a value is held: QuantizeLinear, DequantizeLinear, Quant, MultiThreshold, ..."""

from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes, InferFn, Operands, elementwise_work, lookup_work, need, normal_axis
from fxsim.model.ops.onnx_base import ANY, REAL, OnnxSpec, always, at, broadcast_all, same_type
from fxsim.model.qtype import FLOAT32, UINT8, QType, Shape


@dataclass(frozen=True, slots=True)
class Linear(Attributes):
    """QuantizeLinear and DequantizeLinear. ``block`` is the number of elements along ``axis`` for each scale (0: all)."""

    axis: int = 1
    block: int = 0
    output: QType | None = None
    """the output type where no zero point says it"""


@dataclass(frozen=True, slots=True)
class Cast(Attributes):
    """Cast, to ``to``."""

    to: QType = FLOAT32


@dataclass(frozen=True, slots=True)
class Quant(Attributes):
    """QONNX's Quant and Trunc."""

    signed: bool = True
    narrow: bool = False
    rounding: str = "ROUND"


@dataclass(frozen=True, slots=True)
class MultiThreshold(Attributes):
    """QONNX's MultiThreshold; ``layout`` as FINN writes it, with a C for the channel axis (empty: by rank)."""

    out_scale: float = 1.0
    out_bias: float = 0.0
    layout: str = ""


def scale_shape(x: Tensor, scale: Tensor, attrs: Linear) -> tuple[Shape, int]:
    """The shape in which ``scale`` broadcasts against ``x``, and the block of elements along its axis (1: none).

    Raises:
        ModelError: if the scale's shape fits neither the tensor, nor an axis, nor blocks along it.
    """
    if scale.elements == 1 and len(scale.shape) <= 1 and not attrs.block:
        return (), 1
    axis = normal_axis(attrs.axis, len(x.shape))
    if attrs.block:
        wanted = list(x.shape)
        wanted[axis] = -(-x.shape[axis] // attrs.block)
        if attrs.block < 1 or scale.shape != tuple(wanted):
            raise ModelError(
                f"scale {scale.name!r} has shape {list(scale.shape)}; allowed for blocks of {attrs.block}: {wanted}"
            )
        return scale.shape, attrs.block
    if scale.shape != (x.shape[axis],):
        raise ModelError(
            f"scale {scale.name!r} has shape {list(scale.shape)}; allowed: one value or [{x.shape[axis]}] (axis {axis})"
        )
    return tuple(s if i == axis else 1 for i, s in enumerate(x.shape)), 1


def _infer_linear(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Linear)
    x, scale, zero = need(inputs[0], "input"), need(inputs[1], "scale"), at(inputs, 2)
    scale_shape(x, scale, attrs)
    if zero is not None and zero.shape != scale.shape and not zero.elements == scale.elements == 1:
        raise ModelError(
            f"zero point {zero.name!r} has shape {list(zero.shape)}; allowed: that of the scale, {list(scale.shape)}"
        )
    return (x.shape,)


def _infer_dequantize(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    same_type(inputs, 0, 2)
    return _infer_linear(inputs, attrs, outputs)


def _quantized(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[QType, ...]:
    assert isinstance(attrs, Linear)
    zero = at(inputs, 2)
    return (zero.qtype if zero is not None else attrs.output or UINT8,)


def _infer_dynamic(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    if not x.elements:
        raise ModelError(f"input {x.name!r} has shape {list(x.shape)}; allowed: at least one element")
    return x.shape, (), ()


def _cast_type(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[QType, ...]:
    assert isinstance(attrs, Cast)
    return (attrs.to,)


def _like_first(scales: tuple[int, ...]) -> InferFn:
    def infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
        x = need(inputs[0], "input")
        if broadcast_all(inputs, 0, *scales) != x.shape:
            raise ModelError(f"a scale or zero point does not broadcast to the input's shape {list(x.shape)}")
        return (x.shape,)

    return infer


def channel_axis(x: Tensor, attrs: MultiThreshold) -> int:
    """The axis of the channels of a MultiThreshold's input."""
    layout = attrs.layout or {2: "NC", 3: "NWC", 4: "NCHW"}.get(len(x.shape), "")
    axis = layout.index("C") if "C" in layout else 1
    if axis >= len(x.shape):
        raise ModelError(f"input {x.name!r} of shape {list(x.shape)} has no axis {axis} for channels")
    return axis


def _infer_threshold(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, MultiThreshold)
    x, t = need(inputs[0], "input"), need(inputs[1], "thresholds")
    channels = x.shape[channel_axis(x, attrs)]
    if len(t.shape) != 2 or t.shape[0] not in (1, channels):
        raise ModelError(f"thresholds {t.name!r} have shape {list(t.shape)}; allowed: [{channels} or 1, thresholds]")
    return (x.shape,)


_SMALL = ("int4", "uint4", "int8", "uint8", "int16", "uint16")
SPECS = (
    OnnxSpec(
        "QuantizeLinear", Linear, _infer_linear, elementwise_work, 2, 3,
        dtypes=(REAL, REAL, _SMALL), types=_quantized, output_params=(1, 2),
    ),
    OnnxSpec(
        "DequantizeLinear", Linear, _infer_dequantize, elementwise_work, 2, 3,
        dtypes=((*_SMALL, "int32"), REAL, (*_SMALL, "int32")), types=always(FLOAT32), params=((0, 1, 2),),
    ),
    OnnxSpec(
        "DynamicQuantizeLinear", Attributes, _infer_dynamic, elementwise_work, 1, 1, 1, 3,
        dtypes=(REAL,), types=always(UINT8, FLOAT32, UINT8),
    ),
    OnnxSpec("Cast", Cast, lambda i, a, o: (need(i[0], "input").shape,), elementwise_work, dtypes=(ANY,), types=_cast_type),
    OnnxSpec("Quant", Quant, _like_first((1, 2)), elementwise_work, 4, 4, dtypes=(REAL,), types=always(FLOAT32)),
    OnnxSpec("BipolarQuant", Attributes, _like_first((1,)), elementwise_work, 2, 2, dtypes=(REAL,), types=always(FLOAT32)),
    OnnxSpec("Trunc", Quant, _like_first((1, 2)), elementwise_work, 5, 6, dtypes=(REAL,), types=always(FLOAT32)),
    OnnxSpec(
        "MultiThreshold", MultiThreshold, _infer_threshold, lookup_work, 2, 2, dtypes=(REAL,), types=always(FLOAT32)
    ),
)  # fmt: skip
