"""The options tables of ``.tflite`` operators, each turned into the attributes of the model floor.

An op that is not listed here has no options that change its result.
"""

from collections.abc import Callable
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
Convert = Callable[[Any, Spend], Attributes]

ACTIVATIONS: dict[int, Activation] = {getattr(tflite.ActivationFunctionType, a): a for a in get_args(Activation)}
PADDINGS: dict[int, Padding] = {tflite.Padding.SAME: "SAME", tflite.Padding.VALID: "VALID"}


T = TypeVar("T")


def choice(table: dict[int, T], code: int, what: str) -> T:
    """What ``code`` stands for, or an UnsupportedOp that lists what there is."""
    if code not in table:
        raise UnsupportedOp(f"{what} is code {code}; supported: {listed(table.values())}")
    return table[code]


def _activation(o: Any) -> Activation:
    return choice(ACTIVATIONS, o.FusedActivationFunction(), "fused activation")


def _window(o: Any) -> dict[str, Any]:
    return {
        "activation": _activation(o),
        "stride_h": o.StrideH(),
        "stride_w": o.StrideW(),
        "padding": choice(PADDINGS, o.Padding(), "padding"),
    }


def _bias_type(o: Any) -> BiasType:
    table: dict[int, BiasType] = {
        tflite.TensorType.FLOAT32: "",  # the schema's default: not said
        tflite.TensorType.INT32: "int32",
        tflite.TensorType.INT64: "int64",
    }
    return choice(table, o.QuantizedBiasType(), "quantized bias type")


def _conv(o: Any, spend: Spend) -> Conv2D:
    declared: BiasType = _bias_type(o) if isinstance(o, tflite.Conv2DOptions) else ""
    return Conv2D(**_window(o), dilation_h=o.DilationHFactor(), dilation_w=o.DilationWFactor(), bias_type=declared)


def _transpose_conv(o: Any, spend: Spend) -> TransposeConv:
    return TransposeConv(**_window(o), bias_type=_bias_type(o))


def _pool(o: Any, spend: Spend) -> Pool2D:
    return Pool2D(**_window(o), kernel_h=o.FilterHeight(), kernel_w=o.FilterWidth())


def _dense(o: Any, spend: Spend) -> FullyConnected:
    if o.WeightsFormat() != 0:
        raise UnsupportedOp(f"weights_format is {o.WeightsFormat()}; supported: 0 (default)")
    return FullyConnected(_activation(o), bool(o.KeepNumDims()), _bias_type(o), bool(o.AsymmetricQuantizeInputs()))


def _lstm(o: Any, spend: Spend) -> SequenceLstm:
    return SequenceLstm(_activation(o), o.CellClip(), o.ProjClip(), bool(o.TimeMajor()))


def _reshape(o: Any, spend: Spend) -> Reshape:
    return Reshape(tuple(o.NewShape(i) for i in range(spend(o.NewShapeLength()))))


def _squeeze(o: Any, spend: Spend) -> Squeeze:
    return Squeeze(tuple(o.SqueezeDims(i) for i in range(spend(o.SqueezeDimsLength()))))


def _resize(o: Any, spend: Spend) -> Resize:
    return Resize(bool(o.AlignCorners()), bool(o.HalfPixelCenters()))


def _mirror(o: Any, spend: Spend) -> MirrorPad:
    return MirrorPad("REFLECT" if o.Mode() == tflite.MirrorPadMode.REFLECT else "SYMMETRIC")


def _slice(o: Any, spend: Spend) -> StridedSlice:
    return StridedSlice(
        o.BeginMask(), o.EndMask(), o.EllipsisMask(), o.NewAxisMask(), o.ShrinkAxisMask(), bool(o.Offset())
    )


def _handle(o: Any, spend: Spend) -> VarHandle:
    names = [(s or b"").decode("utf-8", "replace") for s in (o.Container(), o.SharedName())]
    spend(sum(map(len, names)))
    return VarHandle(*names)


def _sum(o: Any, spend: Spend) -> Sum:
    return Sum(_activation(o), bool(o.PotScaleInt16()))


_REDUCTIONS = ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")
OPTIONS: dict[str, tuple[str, Convert]] = {
    "CONV_2D": ("Conv2DOptions", _conv),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _conv),
    "FULLY_CONNECTED": ("FullyConnectedOptions", _dense),
    "TRANSPOSE_CONV": ("TransposeConvOptions", _transpose_conv),
    "SVDF": ("SVDFOptions", lambda o, spend: Svdf(_activation(o), o.Rank())),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("UnidirectionalSequenceLSTMOptions", _lstm),
    "BATCH_MATMUL": ("BatchMatMulOptions", lambda o, spend: BatchMatMul(bool(o.AdjX()), bool(o.AdjY()))),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _pool),
    "MAX_POOL_2D": ("Pool2DOptions", _pool),
    **{op: ("ReducerOptions", lambda o, spend: Reduce(bool(o.KeepDims()))) for op in _REDUCTIONS},
    "CUMSUM": ("CumsumOptions", lambda o, spend: CumSum(bool(o.Exclusive()), bool(o.Reverse()))),
    "ADD": ("AddOptions", _sum),
    "SUB": ("SubOptions", _sum),
    "MUL": ("MulOptions", lambda o, spend: Activated(_activation(o))),
    "DIV": ("DivOptions", lambda o, spend: Activated(_activation(o))),
    "LEAKY_RELU": ("LeakyReluOptions", lambda o, spend: LeakyRelu(o.Alpha())),
    "GELU": ("GeluOptions", lambda o, spend: Gelu(bool(o.Approximate()))),
    "SOFTMAX": ("SoftmaxOptions", lambda o, spend: Softmax(o.Beta())),
    "L2_NORMALIZATION": ("L2NormOptions", lambda o, spend: Activated(_activation(o))),
    "CONCATENATION": ("ConcatenationOptions", lambda o, spend: Axis(_activation(o), o.Axis())),
    "PACK": ("PackOptions", lambda o, spend: Axis("NONE", o.Axis())),
    "UNPACK": ("UnpackOptions", lambda o, spend: Axis("NONE", o.Axis())),
    "SQUEEZE": ("SqueezeOptions", _squeeze),
    "REVERSE_SEQUENCE": ("ReverseSequenceOptions", lambda o, spend: ReverseSequence(o.SeqDim(), o.BatchDim())),
    "STRIDED_SLICE": ("StridedSliceOptions", _slice),
    "GATHER": ("GatherOptions", lambda o, spend: Gather(o.Axis(), o.BatchDims())),
    "ONE_HOT": ("OneHotOptions", lambda o, spend: OneHot(o.Axis())),
    "MIRROR_PAD": ("MirrorPadOptions", _mirror),
    "SPACE_TO_DEPTH": ("SpaceToDepthOptions", lambda o, spend: Block(o.BlockSize())),
    "DEPTH_TO_SPACE": ("DepthToSpaceOptions", lambda o, spend: Block(o.BlockSize())),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", _resize),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", _resize),
    "VAR_HANDLE": ("VarHandleOptions", _handle),
    "RESHAPE": ("ReshapeOptions", _reshape),
    "CALL_ONCE": ("CallOnceOptions", lambda o, spend: CallOnce(o.InitSubgraphIndex())),
}
"""op -> (options table of the schema, its conversion)"""
OPTIONAL: dict[str, Attributes] = {"RESHAPE": Reshape(), "SQUEEZE": Squeeze(), "GATHER": Gather()}
"""ops whose table may be absent, and what they are then"""
