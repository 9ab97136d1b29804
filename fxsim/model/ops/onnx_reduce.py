"""Ops of ONNX over whole axes: Softmax, means, sums and layer normalization."""

import math
from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, need, normal_axis, same_shape, total_bytes, vector
from fxsim.model.ops.onnx_base import BYTE, INDEX, REAL, OnnxSpec, at, broadcast_all, one, same_type
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Softmax(Attributes):
    """Softmax, LogSoftmax and QLinearSoftmax. Before opset 13 (``flatten``) all axes from ``axis`` on are one row."""

    axis: int = -1
    flatten: bool = False


@dataclass(frozen=True, slots=True)
class ReduceAxes(Attributes):
    """ReduceMean, ReduceSum, ReduceMax, ReduceMin. Without axes all are reduced, or none if ``noop``."""

    keep: bool = True
    noop: bool = False


@dataclass(frozen=True, slots=True)
class LayerNorm(Attributes):
    """LayerNormalization over the axes from ``axis`` on."""

    axis: int = -1
    epsilon: float = 1e-5


def softmax_rows(shape: Shape, attrs: Softmax) -> tuple[int, int]:
    """The axis counted from 0, and the number of elements that one softmax spans."""
    axis = normal_axis(attrs.axis, len(shape))
    return axis, math.prod(shape[axis:]) if attrs.flatten else shape[axis]


def _infer_softmax(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Softmax)
    x = need(inputs[0], "input")
    one(inputs, **{f"parameter_{i}": i for i in range(1, len(inputs))})
    same_type(inputs, 0, 2, 4)
    softmax_rows(x.shape, attrs)
    return same_shape(inputs, attrs, outputs)


def reduced_axes(inputs: Operands, attrs: ReduceAxes) -> tuple[int, ...]:
    """The axes that are reduced, counted from 0."""
    n = len(need(inputs[0], "input").shape)
    given = at(inputs, 1)
    axes = vector(given, "axes") if given is not None else ()
    if not axes:
        return () if attrs.noop else tuple(range(n))
    found = tuple(sorted(normal_axis(a, n) for a in axes))
    if len(set(found)) != len(found):
        raise ModelError(f"axes are {list(axes)}; allowed: each axis once")
    return found


def _infer_reduce(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, ReduceAxes)
    axes, x = reduced_axes(inputs, attrs), need(inputs[0], "input")
    if not x.elements:
        raise ModelError(f"input {x.name!r} has shape {list(x.shape)}; allowed: at least one element")
    return (tuple(1 if i in axes else s for i, s in enumerate(x.shape) if attrs.keep or i not in axes),)


def _infer_layer_norm(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, LayerNorm)
    x = need(inputs[0], "input")
    normal_axis(attrs.axis, len(x.shape))
    if broadcast_all(inputs) != x.shape:
        raise ModelError(f"scale or bias does not broadcast to the input's shape {list(x.shape)}")
    return (x.shape,)


def _work_softmax(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    return Work(
        "softmax",
        elements=out.elements,
        element_ops=4 * out.elements,
        requantized=out.elements if len(inputs) > 1 else 0,
        input_bytes=x.nbytes,
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
    )


def _work_reduce(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    passes = 4 if isinstance(attrs, LayerNorm) else 1
    return Work(
        "reduce",
        elements=out.elements,
        element_ops=passes * x.elements,
        input_bytes=x.nbytes,
        weight_bytes=total_bytes([t for t in inputs[1:] if t is not None and t.qtype.kind == "float"]),
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
    )


SPECS = (
    *(OnnxSpec(op, Softmax, _infer_softmax, _work_softmax, dtypes=(REAL,)) for op in ("Softmax", "LogSoftmax")),
    OnnxSpec(
        "QLinearSoftmax", Softmax, _infer_softmax, _work_softmax, 4, 5,
        dtypes=(BYTE, REAL, BYTE, REAL, BYTE), params=((0, 1, 2),), output_params=(3, 4),
    ),
    *(
        OnnxSpec(op, ReduceAxes, _infer_reduce, _work_reduce, 1, 2, shape_inputs=(1,), dtypes=(REAL, INDEX))
        for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
    ),
    OnnxSpec("LayerNormalization", LayerNorm, _infer_layer_norm, _work_reduce, 2, 3, dtypes=(REAL,)),
)  # fmt: skip
