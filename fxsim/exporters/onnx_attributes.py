"""The attributes of ONNX operators as the file holds them: what ``importers/onnx_options.py`` reads, at :data:`OPSET`."""

from collections.abc import Callable
from typing import Any

from fxsim.errors import UnsupportedOp, listed
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes, Operands, need
from fxsim.model.ops.layout import Axis
from fxsim.model.ops.onnx_conv import OnnxConv, OnnxConvTranspose, OnnxWindow
from fxsim.model.ops.onnx_dense import Gemm
from fxsim.model.ops.onnx_layout import OnnxReshape, Pad, Permutation
from fxsim.model.ops.onnx_make import Blocks, Triangle
from fxsim.model.ops.onnx_pointwise import Alpha, BatchNorm, Modulo, OnnxGelu
from fxsim.model.ops.onnx_pool import GlobalPool, OnnxPool
from fxsim.model.ops.onnx_quantize import Cast, Linear, MultiThreshold, Quant
from fxsim.model.ops.onnx_reduce import ArgAxis, GroupNorm, LayerNorm, LpNorm, ReduceAxes, RunningSum, Softmax
from fxsim.model.ops.onnx_resize import OnnxResize
from fxsim.model.qtype import QType

OPSET = 21
Fields = dict[str, Any]
CodeOf = Callable[[QType], int]


def _window(a: OnnxWindow) -> Fields:
    fields: Fields = {"kernel_shape": a.kernel, "strides": a.strides, "dilations": a.dilations, "pads": a.pads}
    if a.auto_pad != "NOTSET":
        fields |= {"auto_pad": a.auto_pad, "pads": ()}
    return fields


def _conv(op: str, a: OnnxConv) -> Fields:
    fields = {**_window(a), "group": a.group}
    return fields | {"output_padding": a.extra, "output_shape": a.shape} if isinstance(a, OnnxConvTranspose) else fields


def _pool(op: str, a: OnnxPool) -> Fields:
    fields = {**_window(a), "ceil_mode": int(a.ceil_mode)}
    return fields if op == "MaxPool" else fields | {"count_include_pad": int(a.count_include_pad)}


def _softmax(op: str, a: Softmax) -> Fields:
    if op == "QLinearSoftmax":
        return {"axis": a.axis, "opset": 12 if a.flatten else 13}
    return {"axis": a.axis}


def _gemm(op: str, a: Gemm) -> Fields:
    fields = {"alpha": a.alpha, "transA": int(a.transpose_a), "transB": int(a.transpose_b)}
    return fields if op == "QGemm" else {**fields, "beta": a.beta}


def _alpha(op: str, a: Alpha) -> Fields:
    second = {"HardSigmoid": {"beta": a.beta}, "Selu": {"gamma": a.beta}}
    return {"alpha": a.alpha, **second.get(op, {})}


def _resize(op: str, a: OnnxResize) -> Fields:
    return {
        "mode": a.mode,
        "coordinate_transformation_mode": a.place,
        "nearest_mode": a.nearest,
        "axes": a.axes,
        "cubic_coeff_a": a.cubic,
        "exclude_outside": int(a.exclude),
    }


def _group_norm(op: str, a: GroupNorm) -> Fields:
    if a.per_group:
        raise UnsupportedOp(f"has a scale for each group, as before opset 21; supported: opset {OPSET}")
    return {"epsilon": a.epsilon, **({"num_groups": a.groups} if op == "GroupNormalization" else {})}


FIELDS: dict[type[Attributes], Callable[[str, Any], Fields]] = {
    Attributes: lambda op, a: {},
    OnnxConv: _conv,
    OnnxConvTranspose: _conv,
    OnnxPool: _pool,
    GlobalPool: lambda op, a: {"channels_last": 1} if a.channels_last else {},
    Gemm: _gemm,
    Linear: lambda op, a: {"axis": a.axis, **({"block_size": a.block} if a.block else {})},
    Quant: lambda op, a: {"signed": int(a.signed), "narrow": int(a.narrow), "rounding_mode": a.rounding},
    MultiThreshold: lambda op, a: {"out_scale": a.out_scale, "out_bias": a.out_bias, "data_layout": a.layout},
    Softmax: _softmax,
    ReduceAxes: lambda op, a: {"keepdims": int(a.keep), "noop_with_empty_axes": int(a.noop)},
    LayerNorm: lambda op, a: {"axis": a.axis, "epsilon": a.epsilon},
    BatchNorm: lambda op, a: {"epsilon": a.epsilon},
    Alpha: _alpha,
    OnnxGelu: lambda op, a: {"approximate": "tanh" if a.tanh else "none"},
    Modulo: lambda op, a: {"fmod": int(a.fmod)},
    Axis: lambda op, a: {"axis": a.axis},
    OnnxReshape: lambda op, a: {"allowzero": int(a.allow_zero)},
    Permutation: lambda op, a: {"perm": a.perm},
    Pad: lambda op, a: {"mode": a.mode},
    Blocks: lambda op, a: {"blocksize": a.size, **({"mode": "CRD"} if a.columns_first else {})},
    Triangle: lambda op, a: {"upper": int(a.upper)},
    ArgAxis: lambda op, a: {"axis": a.axis, "keepdims": int(a.keep), "select_last_index": int(a.last)},
    RunningSum: lambda op, a: {"exclusive": int(a.exclusive), "reverse": int(a.reverse)},
    GroupNorm: _group_norm,
    LpNorm: lambda op, a: {"axis": a.axis, "p": a.p},
    OnnxResize: _resize,
}
"""attributes -> op's name and they -> the file's attributes; empty tuples and texts are left out"""


def fields_of(op: str, attributes: Attributes, inputs: Operands, outputs: list[Tensor], code_of: CodeOf) -> Fields:
    """The attributes of a node by name.

    Raises:
        UnsupportedOp: on what opset 21 cannot say.
    """
    if isinstance(attributes, Cast):
        return {"to": code_of(attributes.to)}
    if type(attributes) not in FIELDS:
        raise UnsupportedOp(
            f"attributes {type(attributes).__name__} cannot be written; supported: {listed(t.__name__ for t in FIELDS)}"
        )
    x = inputs[0] if inputs else None
    if isinstance(attributes, Softmax) and attributes.flatten and op != "QLinearSoftmax":
        shape = need(x, "input").shape
        if attributes.axis % len(shape) != len(shape) - 1:
            raise UnsupportedOp(
                f"is flattened from axis {attributes.axis} on, as before opset 13; supported: opset {OPSET}"
            )
    fields = FIELDS[type(attributes)](op, attributes)
    if isinstance(attributes, Linear) and attributes.output is not None:
        fields["output_dtype"] = code_of(attributes.output)
    if op == "Split" and (len(inputs) < 2 or inputs[1] is None):
        fields["num_outputs"] = len(outputs)
    if op == "BatchNormalization":
        fields["training_mode"] = 0
    return {k: v for k, v in fields.items() if not isinstance(v, tuple | str) or v}
