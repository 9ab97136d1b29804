"""The version that an operator of a ``.tflite`` file bears: the least whose kernel takes its types and options.

Source: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc @ 03f49db5.
"""

from collections.abc import Callable

from fxsim.model.graph import Tensor
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Attributes, Operands, need
from fxsim.model.ops.conv import Conv2D, FullyConnected
from fxsim.model.ops.gather import Gather, StridedSlice
from fxsim.model.ops.resize import Resize
from fxsim.model.ops.transpose_conv import TransposeConv

VersionFn = Callable[[Operands, Operands, Attributes], int]


def _type(operands: Operands, position: int) -> str:
    t = operands[position] if position < len(operands) else None
    return "" if t is None else t.qtype.name


def _per_channel(t: Tensor) -> bool:
    return t.quant is not None and not t.quant.per_tensor


def _rank(operands: Operands) -> int:
    return max((len(t.shape) for t in operands if t is not None), default=0)


def _broadcasts(operands: Operands) -> bool:
    return len({t.shape for t in operands if t is not None}) > 1


def _conv(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    assert isinstance(attrs, Conv2D)
    x, w = need(inputs[0], "input"), need(inputs[1], "weight")
    if attrs.bias_type and x.qtype.name == "int16":
        return 8
    if w.shape[-1] != x.shape[-1]:
        return 6
    kinds = {("int8", "int8"): 3, ("int8", "int4"): 7, ("float32", "int8"): 5 if _per_channel(w) else 2}
    return kinds.get((x.qtype.name, w.qtype.name), 1)


def _depthwise(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    assert isinstance(attrs, Conv2D)
    x, w = need(inputs[0], "input"), need(inputs[1], "weight")
    kinds = {("int8", "int8"): 3, ("int8", "int4"): 7, ("float32", "int8"): 6 if _per_channel(w) else 4}
    dilated = (attrs.dilation_h, attrs.dilation_w) != (1, 1)
    return kinds.get((x.qtype.name, w.qtype.name), 2 if dilated else 1)


def _dense(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    assert isinstance(attrs, FullyConnected)
    x, w = need(inputs[0], "input"), need(inputs[1], "weight")
    types = (x.qtype.name, w.qtype.name)
    if types[1] == "int2":
        return 14
    if types == ("int16", "int4"):
        return 13
    if types == ("float32", "int8") and _per_channel(w):
        return 12
    if attrs.bias_type and types[0] == "int16":
        return 11
    kinds = {("int8", "int8"): 4, ("int8", "int4"): 10, ("float32", "int8"): 9 if attrs.asymmetric else 3}
    least = max(5 if attrs.keep_dims else 1, 6 if len(inputs) == 2 or inputs[2] is None else 1)
    return max(least, kinds.get(types, 1))


def _transpose_conv(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    assert isinstance(attrs, TransposeConv)
    if attrs.bias_type and _type(inputs, 2) == "int16":
        return 5
    if attrs.activation != "NONE":
        return 4
    return 3 if _type(inputs, 3) else 2 if _type(inputs, 1) == "int8" else 1


def _sum(by_shape: int, wide: int) -> VersionFn:
    def version(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
        assert isinstance(attrs, Sum)
        kind = _type(inputs, 0)
        if kind == "int64":
            return 4
        if kind == "int16" and not attrs.pot_scale_int16:
            return wide
        if by_shape and _broadcasts(inputs) and _rank(inputs) > 4:
            return by_shape
        return 2 if kind == "int8" else 1

    return version


def _mul(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    kind = _type(inputs, 0)
    by_type = {"uint32": 7, "int64": 5, "int16": 4}
    if kind in by_type:
        return by_type[kind]
    scales = [t.quant.scale[0] if t is not None and t.quant is not None else 0.0 for t in (*inputs, *outputs)]
    if all(scales) and scales[0] * scales[1] / scales[2] >= 1.0:
        return 3
    return 2 if kind == "int8" else 1


def _gather(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    assert isinstance(attrs, Gather)
    kind = _type(inputs, 0)
    if kind == "int4" or _type(inputs, 1) == "int16":
        return 7 if kind == "int4" else 6
    return 5 if attrs.batch_dims else {"int16": 4, "bool": 3, "int8": 2}.get(kind, 1)


def _strided_slice(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    assert isinstance(attrs, StridedSlice)
    kind = _type(inputs, 0)
    if attrs.offset or kind == "uint32":
        return 8 if attrs.offset else 7
    if attrs.ellipsis_mask or attrs.new_axis_mask:
        return 6
    return 4 if _rank(inputs[:1]) > 4 else {"bool": 3, "int8": 2}.get(kind, 1)


def _resize(by_corners: bool) -> VersionFn:
    def version(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
        assert isinstance(attrs, Resize)
        kind = _type(inputs, 0)
        if kind == "int16":
            return 4
        return 3 if attrs.half_pixel_centers or (by_corners and attrs.align_corners) else 2 if kind == "int8" else 1

    return version


def _transpose(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    kind, rank = _type(inputs, 0), _rank(inputs[:1])
    if kind == "int4" or rank > 6:
        return 7 if rank <= 6 else 8
    return 6 if rank > 5 else 5 if kind == "int16" else 4 if rank > 4 else {"bool": 3, "int8": 2}.get(kind, 1)


def _pad(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    by_type = {"int16": 3, "int8": 2}
    kind = _type(inputs, 0)
    return 5 if kind == "bool" else 4 if _rank(inputs[:1]) > 4 else by_type.get(kind, 1)


def _slice(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    kind = _type(inputs, 0)
    if kind in ("int4", "uint32"):
        return 7 if kind == "int4" else 6
    return 5 if _rank(inputs[:1]) > 4 else {"int16": 4, "int8": 2}.get(kind, 1)


def _dequantize(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    by_type = {"int2": 7, "int4": 6, "int16": 3, "float16": 3}
    return by_type.get(
        _type(inputs, 0), (5 if _per_channel(need(inputs[0], "input")) else 2) if _type(inputs, 0) == "int8" else 1
    )


def _quantize(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    if "int4" in (_type(inputs, 0), _type(outputs, 0)):
        return 4
    return 3 if _per_channel(need(outputs[0], "output")) else 2 if _type(outputs, 0) == "int16" else 1


def _limits(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    kind = _type(inputs, 0)
    return 4 if kind == "int16" else 3 if _broadcasts(inputs) and _rank(inputs) > 4 else 2 if kind == "int8" else 1


def _cast(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    types = {_type(inputs, 0), _type(outputs, 0)}
    for kinds, version in (
        ({"int2"}, 8),
        ({"int4"}, 6),
        ({"float16", "float64"}, 5),
        ({"uint16"}, 4),
        ({"int8"}, 3),
        ({"uint32"}, 2),
    ):
        if types & kinds:
            return version
    return 1


def _lstm(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    kinds = {("int16", "int8"): 5, ("float32", "int8"): 2}
    return kinds.get((_type(inputs, 0), _type(inputs, 2)), 1)


def _by_type(versions: dict[str, int], least: int = 1, position: int = 0) -> VersionFn:
    return lambda inputs, outputs, attrs: versions.get(_type(inputs, position), least)


def _blocks(inputs: Operands, outputs: Operands, attrs: Attributes) -> int:
    kind = _type(inputs, 0)
    return 4 if kind == "int16" else 3 if _rank(inputs[:1]) != 4 else 2 if kind == "int8" else 1


def _same(fn: VersionFn, *ops: str) -> dict[str, VersionFn]:
    return dict.fromkeys(ops, fn)


VERSIONS: dict[str, VersionFn] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "ADD": _sum(0, 3),
    "SUB": _sum(3, 5),
    "MUL": _mul,
    "GATHER": _gather,
    "STRIDED_SLICE": _strided_slice,
    "RESIZE_BILINEAR": _resize(False),
    "RESIZE_NEAREST_NEIGHBOR": _resize(True),
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "DEQUANTIZE": _dequantize,
    "QUANTIZE": _quantize,
    "CAST": _cast,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "DIV": lambda inputs, outputs, attrs: 2 if _broadcasts(inputs) and _rank(inputs) > 4 else 1,
    "SVDF": _by_type({"int8": 3, "float32": 2}),
    "ABS": _by_type({"int32": 5, "int16": 3, "int8": 2, "uint8": 2}),
    "LEAKY_RELU": _by_type({"int16": 2}),
    "FLOOR_DIV": _by_type({"int16": 3, "int8": 3, "float32": 2}),
    "FLOOR_MOD": _by_type({"int16": 2, "int8": 2}),
    "REVERSE_V2": _by_type({"int8": 3, "bool": 2}),
    "TILE": _by_type({"int8": 3}),
    "UNPACK": _by_type({"int16": 4, "bool": 3, "int8": 2, "uint8": 2}),
    "SPLIT": _by_type({"int16": 4, "int32": 3, "int8": 2}, position=1),
    "EMBEDDING_LOOKUP": _by_type({"int2": 5, "int4": 4, "int8": 4}, position=1),
    "FILL": _by_type({"int8": 3, "int16": 3, "bool": 2}, position=1),
    "GATHER_ND": _by_type({"bool": 5, "int16": 3}),
    "RANGE": _by_type({"int64": 2}),
    "BATCH_MATMUL": _by_type({"int16": 3, "int8": 2}),
    "BROADCAST_TO": _by_type({"int8": 3, "int16": 3}, least=2),
    "EQUAL": _by_type({"int16": 5, "int8": 2}),
    "NOT_EQUAL": _by_type({"int16": 4, "int8": 2}),
    "ARG_MAX": _by_type({"bool": 3, "int8": 2}),
    "ARG_MIN": _by_type({"bool": 3, "int8": 2}),
    "PACK": _by_type({"int8": 2, "int16": 3, "uint32": 4}),
    "CONCATENATION": _by_type({"int4": 5, "uint32": 4, "int16": 3, "int8": 2}),
    "SELECT": lambda inputs, outputs, attrs: 3 if _rank(inputs) > 4 else 2 if _type(inputs, 1) == "int8" else 1,
    **_same(_limits, "MAXIMUM", "MINIMUM"),
    **_same(_pad, "PAD", "PADV2"),
    **_same(_blocks, "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"),
    **_same(_by_type({"int16": 3, "int8": 2, "uint8": 2}), "RELU"),
    **_same(
        _by_type({"int16": 3, "int8": 2}),
        *(
            "MAX_POOL_2D",
            "AVERAGE_POOL_2D",
            "TANH",
            "LOGISTIC",
            "SOFTMAX",
            "MEAN",
            "MIRROR_PAD",
            "REDUCE_MAX",
            "REDUCE_MIN",
        ),
        *("RELU6", "RSQRT", "LESS", "GREATER_EQUAL", "TOPK_V2"),
    ),
    **_same(_by_type({"int8": 2, "int16": 2}), "EXP", "LOG", "REDUCE_PROD", "SQRT"),
    **_same(_by_type({"int8": 2, "uint8": 2}), "GELU"),
    **_same(
        _by_type({"int8": 2}),
        *("SPACE_TO_DEPTH", "SPLIT_V", "SUM", "LOG_SOFTMAX", "GREATER", "LESS_EQUAL", "SQUARED_DIFFERENCE"),
        *("DEPTH_TO_SPACE", "L2_NORMALIZATION"),
    ),
}
"""op -> its version; one that is not listed has version 1"""


REGISTERED = {
    **{"ABS": 3, "ARG_MAX": 2, "ARG_MIN": 2, "DEPTHWISE_CONV_2D": 6, "DEPTH_TO_SPACE": 1, "RANGE": 1},
    **{"STRIDED_SLICE": 4, "TILE": 2, "TRANSPOSE": 8},
}
"""op -> the last version that LiteRT's reference kernels register, which compute later ones too but refuse their number

Source: tflite/kernels/register_ref.cc @ LiteRT f6745779.
"""


def version(op: str, inputs: Operands, outputs: Operands, attributes: Attributes) -> int:
    """The operator version of a layer, one that every set of LiteRT's kernels registers."""
    if op not in VERSIONS:
        return 1
    return min(VERSIONS[op](inputs, outputs, attributes), REGISTERED.get(op, 99))
