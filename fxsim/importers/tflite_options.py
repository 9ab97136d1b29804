"""The options tables of ``.tflite`` operators and the attributes of the model floor: one table for reading and writing.

An op that is not listed here has no options that change its result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import tflite

from fxsim.errors import UnsupportedOp, listed
from fxsim.model.ops.activation import Gelu
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activated, Activation, Attributes
from fxsim.model.ops.conv import BiasType, Conv2D, FullyConnected, Padding
from fxsim.model.ops.gather import Gather, OneHot, StridedSlice
from fxsim.model.ops.layout import Axis, Reshape, ReverseSequence, Squeeze
from fxsim.model.ops.matmul import BatchMatMul
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.ops.recurrent import SequenceLstm, Svdf
from fxsim.model.ops.reduce import CumSum, Reduce
from fxsim.model.ops.resize import Resize
from fxsim.model.ops.softmax import Softmax
from fxsim.model.ops.space import Block, MirrorPad
from fxsim.model.ops.state import CallOnce, VarHandle
from fxsim.model.ops.transpose_conv import TransposeConv

Spend = Callable[[int], int]
T = TypeVar("T")

ACTIVATIONS: dict[int, Activation] = {getattr(tflite.ActivationFunctionType, a): a for a in get_args(Activation)}
PADDINGS: dict[int, Padding] = {tflite.Padding.SAME: "SAME", tflite.Padding.VALID: "VALID"}
_BIAS_TYPES: dict[int, BiasType] = {
    tflite.TensorType.FLOAT32: "",  # the schema's default: not said
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.INT64: "int64",
}
_MIRROR = {tflite.MirrorPadMode.REFLECT: "REFLECT", tflite.MirrorPadMode.SYMMETRIC: "SYMMETRIC"}


def choice(table: dict[int, T], code: int, what: str) -> T:
    """What ``code`` stands for, or an UnsupportedOp that lists what there is."""
    if code not in table:
        raise UnsupportedOp(f"{what} is code {code}; supported: {listed(table.values())}")
    return table[code]


@dataclass(frozen=True, slots=True)
class Kind:
    """How one value lies in an options table."""

    read: Callable[[Any, str, Spend], Any]
    """options, name of the accessor, budget -> value of the attribute"""
    write: Callable[[Any], Any] = lambda value: value
    """value of the attribute -> a number, bytes (a string) or a list of integers (a vector)"""


def _read_numbers(o: Any, name: str, spend: Spend) -> tuple[int, ...]:
    return tuple(getattr(o, name)(i) for i in range(spend(getattr(o, f"{name}Length")())))


def _read_text(o: Any, name: str, spend: Spend) -> str:
    text = (getattr(o, name)() or b"").decode("utf-8", "replace")
    spend(len(text))
    return text


def _one_of(table: dict[int, T], what: str) -> Kind:
    """A code of ``table``; what it stands for may be no code at all (explicit padding)."""

    def write(value: T) -> int:
        codes = {v: k for k, v in table.items()}
        if value not in codes:
            raise UnsupportedOp(f"{what} is {value}; a .tflite file can hold: {listed(codes)}")
        return codes[value]

    return Kind(lambda o, name, spend: choice(table, getattr(o, name)(), what), write)


WHOLE = Kind(lambda o, name, spend: getattr(o, name)())
FLAG = Kind(lambda o, name, spend: bool(getattr(o, name)()))
NUMBERS = Kind(_read_numbers, list)
TEXT = Kind(_read_text, lambda value: value.encode())


@dataclass(frozen=True, slots=True)
class Field:
    """One value: the schema's accessor, the attribute, how it lies."""

    name: str
    attribute: str
    kind: Kind = WHOLE


@dataclass(frozen=True, slots=True)
class Options:
    """The options of an op: the schema's table, the attributes' type, the values."""

    table: str
    attributes: type[Attributes]
    fields: tuple[Field, ...] = ()
    optional: bool = False
    """the table may be absent; the attributes are then the type's defaults"""
    zero: tuple[str, ...] = ()
    """accessors that must be 0"""

    def read(self, o: Any, spend: Spend) -> Attributes:
        """The attributes in the options ``o``.

        Raises:
            UnsupportedOp: on a value that fxsim lacks.
        """
        for name in self.zero:
            if getattr(o, name)() != 0:
                raise UnsupportedOp(f"{name} is {getattr(o, name)()}; supported: 0 (default)")
        return self.attributes(**{f.attribute: f.kind.read(o, f.name, spend) for f in self.fields})

    def write(self, attributes: Attributes) -> dict[str, Any]:
        """What stands in the table, by accessor.

        Raises:
            UnsupportedOp: on a value that the format cannot hold.
        """
        return {f.name: f.kind.write(getattr(attributes, f.attribute)) for f in self.fields}


_ACTIVATION = Field("FusedActivationFunction", "activation", _one_of(ACTIVATIONS, "fused activation"))
_BIAS = Field("QuantizedBiasType", "bias_type", _one_of(_BIAS_TYPES, "quantized bias type"))
_STRIDES = (Field("StrideH", "stride_h"), Field("StrideW", "stride_w"))
_WINDOW = (_ACTIVATION, *_STRIDES, Field("Padding", "padding", _one_of(PADDINGS, "padding")))
_DILATED = (*_WINDOW, Field("DilationHFactor", "dilation_h"), Field("DilationWFactor", "dilation_w"))
_POOL = (*_WINDOW, Field("FilterHeight", "kernel_h"), Field("FilterWidth", "kernel_w"))
_DENSE = (
    _ACTIVATION,
    Field("KeepNumDims", "keep_dims", FLAG),
    _BIAS,
    Field("AsymmetricQuantizeInputs", "asymmetric", FLAG),
)
_LSTM = (
    _ACTIVATION, Field("CellClip", "cell_clip"), Field("ProjClip", "proj_clip"), Field("TimeMajor", "time_major", FLAG),
)  # fmt: skip
_SUM = (_ACTIVATION, Field("PotScaleInt16", "pot_scale_int16", FLAG))
_RESIZE = (Field("AlignCorners", "align_corners", FLAG), Field("HalfPixelCenters", "half_pixel_centers", FLAG))
_SLICE = (
    Field("BeginMask", "begin_mask"), Field("EndMask", "end_mask"), Field("EllipsisMask", "ellipsis_mask"),
    Field("NewAxisMask", "new_axis_mask"), Field("ShrinkAxisMask", "shrink_axis_mask"), Field("Offset", "offset", FLAG),
)  # fmt: skip
_AXIS, _BLOCK = (Field("Axis", "axis"),), (Field("BlockSize", "size"),)
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")
OPTIONS: dict[str, Options] = {
    "CONV_2D": Options("Conv2DOptions", Conv2D, (*_DILATED, _BIAS)),
    "DEPTHWISE_CONV_2D": Options("DepthwiseConv2DOptions", Conv2D, _DILATED),
    "FULLY_CONNECTED": Options("FullyConnectedOptions", FullyConnected, _DENSE, zero=("WeightsFormat",)),
    "TRANSPOSE_CONV": Options("TransposeConvOptions", TransposeConv, (*_WINDOW, _BIAS)),
    "SVDF": Options("SVDFOptions", Svdf, (_ACTIVATION, Field("Rank", "rank"))),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Options("UnidirectionalSequenceLSTMOptions", SequenceLstm, _LSTM),
    "BATCH_MATMUL": Options(
        "BatchMatMulOptions", BatchMatMul, (Field("AdjX", "adj_x", FLAG), Field("AdjY", "adj_y", FLAG))
    ),
    **{op: Options("Pool2DOptions", Pool2D, _POOL) for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},
    **{op: Options("ReducerOptions", Reduce, (Field("KeepDims", "keep_dims", FLAG),)) for op in _REDUCTIONS},
    "CUMSUM": Options(
        "CumsumOptions", CumSum, (Field("Exclusive", "exclusive", FLAG), Field("Reverse", "reverse", FLAG))
    ),
    "ADD": Options("AddOptions", Sum, _SUM),
    "SUB": Options("SubOptions", Sum, _SUM),
    "MUL": Options("MulOptions", Activated, (_ACTIVATION,)),
    "DIV": Options("DivOptions", Activated, (_ACTIVATION,)),
    "LEAKY_RELU": Options("LeakyReluOptions", LeakyRelu, (Field("Alpha", "alpha"),)),
    "GELU": Options("GeluOptions", Gelu, (Field("Approximate", "approximate", FLAG),)),
    "SOFTMAX": Options("SoftmaxOptions", Softmax, (Field("Beta", "beta"),)),
    "L2_NORMALIZATION": Options("L2NormOptions", Activated, (_ACTIVATION,)),
    "CONCATENATION": Options("ConcatenationOptions", Axis, (_ACTIVATION, *_AXIS)),
    "PACK": Options("PackOptions", Axis, _AXIS),
    "UNPACK": Options("UnpackOptions", Axis, _AXIS),
    "SQUEEZE": Options("SqueezeOptions", Squeeze, (Field("SqueezeDims", "axes", NUMBERS),), optional=True),
    "REVERSE_SEQUENCE": Options(
        "ReverseSequenceOptions", ReverseSequence, (Field("SeqDim", "axis"), Field("BatchDim", "batch_axis"))
    ),
    "STRIDED_SLICE": Options("StridedSliceOptions", StridedSlice, _SLICE),
    "GATHER": Options("GatherOptions", Gather, (*_AXIS, Field("BatchDims", "batch_dims")), optional=True),
    "ONE_HOT": Options("OneHotOptions", OneHot, _AXIS),
    "MIRROR_PAD": Options("MirrorPadOptions", MirrorPad, (Field("Mode", "mode", _one_of(_MIRROR, "mode")),)),
    "SPACE_TO_DEPTH": Options("SpaceToDepthOptions", Block, _BLOCK),
    "DEPTH_TO_SPACE": Options("DepthToSpaceOptions", Block, _BLOCK),
    "RESIZE_BILINEAR": Options("ResizeBilinearOptions", Resize, _RESIZE),
    "RESIZE_NEAREST_NEIGHBOR": Options("ResizeNearestNeighborOptions", Resize, _RESIZE),
    "VAR_HANDLE": Options(
        "VarHandleOptions", VarHandle, (Field("Container", "container", TEXT), Field("SharedName", "shared_name", TEXT))
    ),
    "RESHAPE": Options("ReshapeOptions", Reshape, (Field("NewShape", "new_shape", NUMBERS),), optional=True),
    "CALL_ONCE": Options("CallOnceOptions", CallOnce, (Field("InitSubgraphIndex", "subgraph"),)),
}
"""op -> its options"""
