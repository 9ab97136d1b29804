"""The options tables of ``.tflite`` operators, each turned into the attributes of the model floor.

An op that is not listed here has no options that change its result.
"""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import tflite

from fxsim.errors import UnsupportedOp, listed
from fxsim.model.ops.base import Activated, Activation, Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected, Padding
from fxsim.model.ops.layout import Axis, Reshape, StridedSlice
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.reduce import Reduce
from fxsim.model.ops.softmax import Softmax
from fxsim.model.ops.state import CallOnce, VarHandle

Spend = Callable[[int], int]
Convert = Callable[[Any, Spend], Attributes]

_ACTIVATIONS: dict[int, Activation] = {getattr(tflite.ActivationFunctionType, a): a for a in get_args(Activation)}
_PADDINGS: dict[int, Padding] = {tflite.Padding.SAME: "SAME", tflite.Padding.VALID: "VALID"}


T = TypeVar("T")


def _choice(table: dict[int, T], code: int, what: str) -> T:
    if code not in table:
        raise UnsupportedOp(f"{what} is code {code}; supported: {listed(table.values())}")
    return table[code]


def _activation(o: Any) -> Activation:
    return _choice(_ACTIVATIONS, o.FusedActivationFunction(), "fused activation")


def _window(o: Any) -> dict[str, Any]:
    return {
        "activation": _activation(o),
        "stride_h": o.StrideH(),
        "stride_w": o.StrideW(),
        "padding": _choice(_PADDINGS, o.Padding(), "padding"),
    }


def _conv(o: Any, spend: Spend) -> Conv2D:
    return Conv2D(**_window(o), dilation_h=o.DilationHFactor(), dilation_w=o.DilationWFactor())


def _pool(o: Any, spend: Spend) -> Pool2D:
    return Pool2D(**_window(o), kernel_h=o.FilterHeight(), kernel_w=o.FilterWidth())


def _dense(o: Any, spend: Spend) -> FullyConnected:
    if o.WeightsFormat() != 0:
        raise UnsupportedOp(f"weights_format is {o.WeightsFormat()}; supported: 0 (default)")
    return FullyConnected(_activation(o), bool(o.KeepNumDims()))


def _reshape(o: Any, spend: Spend) -> Reshape:
    return Reshape(tuple(o.NewShape(i) for i in range(spend(o.NewShapeLength()))))


def _slice(o: Any, spend: Spend) -> StridedSlice:
    return StridedSlice(
        o.BeginMask(), o.EndMask(), o.EllipsisMask(), o.NewAxisMask(), o.ShrinkAxisMask(), bool(o.Offset())
    )


def _handle(o: Any, spend: Spend) -> VarHandle:
    names = [(s or b"").decode("utf-8", "replace") for s in (o.Container(), o.SharedName())]
    spend(sum(map(len, names)))
    return VarHandle(*names)


OPTIONS: dict[str, tuple[str, Convert]] = {
    "CONV_2D": ("Conv2DOptions", _conv),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _conv),
    "FULLY_CONNECTED": ("FullyConnectedOptions", _dense),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _pool),
    "MAX_POOL_2D": ("Pool2DOptions", _pool),
    "MEAN": ("ReducerOptions", lambda o, spend: Reduce(bool(o.KeepDims()))),
    "ADD": ("AddOptions", lambda o, spend: Activated(_activation(o))),
    "MUL": ("MulOptions", lambda o, spend: Activated(_activation(o))),
    "SOFTMAX": ("SoftmaxOptions", lambda o, spend: Softmax(o.Beta())),
    "CONCATENATION": ("ConcatenationOptions", lambda o, spend: Axis(_activation(o), o.Axis())),
    "PACK": ("PackOptions", lambda o, spend: Axis("NONE", o.Axis())),
    "STRIDED_SLICE": ("StridedSliceOptions", _slice),
    "VAR_HANDLE": ("VarHandleOptions", _handle),
    "RESHAPE": ("ReshapeOptions", _reshape),
    "CALL_ONCE": ("CallOnceOptions", lambda o, spend: CallOnce(o.InitSubgraphIndex())),
}
"""op -> (options table of the schema, its conversion)"""
OPTIONAL = {"RESHAPE": Reshape()}
"""ops whose table may be absent, and what they are then"""
