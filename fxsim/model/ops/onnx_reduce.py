"""Ops of ONNX over whole axes: Softmax, means, sums and layer normalization."""

import math
from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, need, normal_axis, same_shape, total_bytes, vector
from fxsim.model.ops.onnx_base import (
    ANY,
    BYTE,
    INDEX,
    REAL,
    OnnxSpec,
    always,
    at,
    broadcast_all,
    one,
    same_type,
    scalar,
)
from fxsim.model.qtype import INT64, Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Softmax(Attributes):
    """Softmax, LogSoftmax and QLinearSoftmax. Before opset 13 (``flatten``) all axes from ``axis`` on are one row."""

    axis: int = -1
    flatten: bool = False


@dataclass(frozen=True, slots=True)
class ReduceAxes(Attributes):
    """ReduceMean, ReduceSum, ReduceMax and their kin. Without axes all are reduced, or none if ``noop``."""

    keep: bool = True
    noop: bool = False


@dataclass(frozen=True, slots=True)
class ArgAxis(Attributes):
    """ArgMax and ArgMin: the position of the first of equal values, or of the ``last``."""

    axis: int = 0
    keep: bool = True
    last: bool = False


@dataclass(frozen=True, slots=True)
class RunningSum(Attributes):
    """CumSum: whether an element's own value is left out, and whether sums run from the end."""

    exclusive: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class GroupNorm(Attributes):
    """GroupNormalization and InstanceNormalization (0 groups: one for each channel); ``per_group``: so are their scales."""

    groups: int = 0
    epsilon: float = 1e-5
    per_group: bool = False


@dataclass(frozen=True, slots=True)
class LpNorm(Attributes):
    """LpNormalization, by the sum of absolute values (1) or the root of squares (2)."""

    axis: int = -1
    p: int = 2


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


def _infer_arg(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, ArgAxis)
    shape = need(inputs[0], "input").shape
    axis = normal_axis(attrs.axis, len(shape))
    if not shape[axis]:
        raise ModelError(f"axis {axis} of the input is empty; allowed: at least 1")
    return ((*shape[:axis], *((1,) if attrs.keep else ()), *shape[axis + 1 :]),)


def _infer_running(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    normal_axis(int(scalar(at(inputs, 1), "axis")), len(need(inputs[0], "input").shape))
    return same_shape(inputs, attrs, outputs)


def _infer_lp(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, LpNorm)
    if attrs.p not in (1, 2):
        raise ModelError(f"p is {attrs.p}; allowed: 1 or 2")
    normal_axis(attrs.axis, len(need(inputs[0], "input").shape))
    return same_shape(inputs, attrs, outputs)


def _infer_group_norm(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, GroupNorm)
    x = need(inputs[0], "input")
    if len(x.shape) < 3:
        raise ModelError(f"input {x.name!r} has shape {list(x.shape)}; allowed: (N, C, ...)")
    groups = attrs.groups or x.shape[1]
    if groups < 1 or x.shape[1] % groups:
        raise ModelError(f"num_groups is {attrs.groups}; allowed: divisors of {x.shape[1]}")
    count = groups if attrs.per_group else x.shape[1]
    for i in (1, 2):
        if need(inputs[i], f"input {i}").shape != (count,):
            raise ModelError(f"input {i} has shape {list(need(inputs[i], '').shape)}; allowed: [{count}]")
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
    passes = 4 if isinstance(attrs, LayerNorm | GroupNorm) else 2 if isinstance(attrs, LpNorm) else 1
    return Work(
        "reduce",
        elements=out.elements,
        element_ops=passes * x.elements,
        input_bytes=x.nbytes,
        weight_bytes=total_bytes([t for t in inputs[1:] if t is not None and t.qtype.kind == "float"]),
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
    )


_SUMMED = ("float32", "int32", "int64")
_REDUCTIONS = ("ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
SPECS = (
    *(OnnxSpec(op, Softmax, _infer_softmax, _work_softmax, dtypes=(REAL,)) for op in ("Softmax", "LogSoftmax")),
    OnnxSpec(
        "QLinearSoftmax", Softmax, _infer_softmax, _work_softmax, 4, 5,
        dtypes=(BYTE, REAL, BYTE, REAL, BYTE), params=((0, 1, 2),), output_params=(3, 4),
    ),
    *(
        OnnxSpec(op, ReduceAxes, _infer_reduce, _work_reduce, 1, 2, shape_inputs=(1,), dtypes=(REAL, INDEX))
        for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", *_REDUCTIONS)
    ),
    *(
        OnnxSpec(op, ArgAxis, _infer_arg, _work_reduce, dtypes=(ANY,), types=always(INT64))
        for op in ("ArgMax", "ArgMin")
    ),
    OnnxSpec("CumSum", RunningSum, _infer_running, _work_reduce, 2, 2, shape_inputs=(1,), dtypes=(_SUMMED, INDEX)),
    OnnxSpec("LpNormalization", LpNorm, _infer_lp, _work_reduce, dtypes=(REAL,)),
    *(
        OnnxSpec(op, GroupNorm, _infer_group_norm, _work_reduce, 3, 3, dtypes=(REAL,))
        for op in ("GroupNormalization", "InstanceNormalization")
    ),
    OnnxSpec("LayerNormalization", LayerNorm, _infer_layer_norm, _work_reduce, 2, 3, dtypes=(REAL,)),
)  # fmt: skip
