"""The attributes of ONNX operators, each turned into the attributes of the model floor.

What older opsets wrote as attributes and newer ones as inputs (axes, pads, ends of a slice) becomes an input here, so that
the model floor knows one form only. An attribute that nobody asks for is refused, unless it cannot change a result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, get_args

from fxsim.errors import ModelError, UnsupportedOp, listed
from fxsim.importers.onnx_tensor import constant
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.layout import Axis
from fxsim.model.ops.onnx_conv import AutoPad, OnnxConv, OnnxConvTranspose
from fxsim.model.ops.onnx_dense import Gemm
from fxsim.model.ops.onnx_layout import OnnxReshape, Pad, Permutation
from fxsim.model.ops.onnx_make import Blocks, Fill, Triangle
from fxsim.model.ops.onnx_pointwise import Alpha, BatchNorm, Modulo, OnnxGelu
from fxsim.model.ops.onnx_pool import GlobalPool, OnnxPool
from fxsim.model.ops.onnx_quantize import Cast, Linear, MultiThreshold, Quant
from fxsim.model.ops.onnx_reduce import ArgAxis, GroupNorm, LayerNorm, LpNorm, ReduceAxes, RunningSum, Softmax
from fxsim.model.ops.onnx_resize import Mode, Nearest, OnnxResize, Place
from fxsim.model.qtype import Array, QType, Shape

Values = Sequence[int] | Sequence[float]
T = TypeVar("T", bound=str)


class TypeOf(Protocol):
    """The element type of a TensorProto code."""

    def __call__(self, code: int) -> QType:
        """The type, or an UnsupportedOp."""
        ...


@dataclass(slots=True)
class Options:
    """The attributes of one node, by name, and what has been asked for."""

    values: dict[str, Any]
    opset: int
    type_of: TypeOf
    asked: set[str] = field(default_factory=set)
    extra: dict[int, tuple[Values, str]] = field(default_factory=dict)
    """inputs that stand in for attributes: position -> (values, element type)"""

    def _get(self, name: str, kind: type, default: Any) -> Any:  # noqa: ANN401
        self.asked.add(name)
        value = self.values.get(name, default)
        if value is not default and type(value) is not kind:
            raise ModelError(f"attribute {name} is of type {type(value).__name__}; allowed: {kind.__name__}")
        return value

    def whole(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._get(name, int, default)
        assert isinstance(value, int)
        return value

    def real(self, name: str, default: float) -> float:
        """A float32, as a Python float."""
        value = self._get(name, float, default)
        assert isinstance(value, float)
        return value

    def text(self, name: str, default: str) -> str:
        """A string."""
        value = self._get(name, str, default)
        assert isinstance(value, str)
        return value

    def wholes(self, name: str) -> tuple[int, ...]:
        """Whole numbers, none where the attribute is absent."""
        value = self._get(name, tuple, ())
        if any(type(v) is not int for v in value):
            raise ModelError(f"attribute {name} holds other things than whole numbers")
        return tuple(value)

    def tensor(self, name: str) -> "tuple[QType, Shape, Array] | None":
        """Type, shape and values of a tensor, or None where the attribute is absent."""
        self.asked.add(name)
        value = self.values.get(name)
        if value is not None and not hasattr(value, "data_type"):
            raise ModelError(f"attribute {name} is of type {type(value).__name__}; allowed: a tensor")
        return None if value is None else constant(value, f"attribute {name}")

    def flag(self, name: str, default: bool) -> bool:
        """A 0 or a 1."""
        return bool(self.whole(name, default))

    def as_input(self, name: str, position: int, before: int) -> None:
        """In opsets below ``before``, attribute ``name`` holds what later is input ``position``."""
        if self.opset < before and name in self.values:
            self.extra[position] = (self.wholes(name), "int64")

    def finish(self, harmless: tuple[str, ...]) -> None:
        """Refuses attributes that were not asked for.

        Raises:
            UnsupportedOp: if there are any.
        """
        unknown = [name for name in self.values if name not in self.asked and name not in harmless]
        if unknown:
            raise UnsupportedOp(
                f"attributes {listed(unknown)} are not supported; supported: {listed(sorted(self.asked))}"
            )


def _choice(o: Options, name: str, default: T, allowed: tuple[T, ...]) -> T:
    """One of the strings that the attribute may be."""
    got = o.text(name, default) or default
    for known in allowed:
        if got == known:
            return known
    raise UnsupportedOp(f"{name} is {got!r}; supported: {listed(allowed)}")


def _auto_pad(o: Options) -> AutoPad:
    return _choice(o, "auto_pad", "NOTSET", get_args(AutoPad))


def _window(o: Options) -> dict[str, Any]:
    return {
        "kernel": o.wholes("kernel_shape"),
        "strides": o.wholes("strides"),
        "dilations": o.wholes("dilations"),
        "pads": o.wholes("pads"),
        "auto_pad": _auto_pad(o),
    }


def _conv(o: Options) -> Attributes:
    if o.whole("channels_last", 0):
        raise UnsupportedOp("channels_last is 1; supported: 0")
    return OnnxConv(**_window(o), group=o.whole("group", 1))


def _conv_transpose(o: Options) -> Attributes:
    return OnnxConvTranspose(
        **_window(o), group=o.whole("group", 1), extra=o.wholes("output_padding"), shape=o.wholes("output_shape")
    )


def _pool(o: Options) -> Attributes:
    if o.whole("storage_order", 0) or o.whole("channels_last", 0):
        raise UnsupportedOp("storage_order or channels_last is 1; supported: 0")
    return OnnxPool(
        **_window(o), ceil_mode=o.flag("ceil_mode", False), count_include_pad=o.flag("count_include_pad", False)
    )


def _gemm(o: Options) -> Attributes:
    return Gemm(o.real("alpha", 1.0), o.real("beta", 1.0), o.flag("transA", False), o.flag("transB", False))


def _linear(o: Options) -> Attributes:
    code = o.whole("output_dtype", 0)
    if o.whole("precision", 0) not in (0, 1):
        raise UnsupportedOp(f"precision is type code {o.whole('precision', 0)}; supported: float32")
    return Linear(o.whole("axis", 1), o.whole("block_size", 0), o.type_of(code) if code else None)


def _cast(o: Options) -> Attributes:
    return Cast(o.type_of(o.whole("to", 0)))


def _quant(o: Options) -> Attributes:
    return Quant(o.flag("signed", True), o.flag("narrow", False), o.text("rounding_mode", "ROUND").upper())


def _trunc(o: Options) -> Attributes:
    return Quant(o.flag("signed", True), o.flag("narrow", False), o.text("rounding_mode", "FLOOR").upper())


def _thresholds(o: Options) -> Attributes:
    o.text("out_dtype", "")  # how wide a type would hold the result, which is float32 here as in QONNX
    return MultiThreshold(o.real("out_scale", 1.0), o.real("out_bias", 0.0), o.text("data_layout", ""))


def _softmax(o: Options) -> Attributes:
    old = o.opset < 13
    return Softmax(o.whole("axis", 1 if old else -1), old)


def _qlinear_softmax(o: Options) -> Attributes:
    old = o.whole("opset", 13) < 13
    return Softmax(o.whole("axis", 1 if old else -1), old)


def _reduce(before: int) -> Callable[[Options], Attributes]:
    def convert(o: Options) -> Attributes:
        o.as_input("axes", 1, before)
        return ReduceAxes(o.flag("keepdims", True), o.flag("noop_with_empty_axes", False))

    return convert


def _axes(o: Options) -> Attributes:
    o.as_input("axes", 1, 13)
    return Attributes()


def _split(o: Options) -> Attributes:
    o.as_input("split", 1, 13)
    o.whole("num_outputs", 0)
    return Axis(axis=o.whole("axis", 0))


def _slice(o: Options) -> Attributes:
    for position, name in enumerate(("starts", "ends", "axes"), 1):
        o.as_input(name, position, 10)
    return Attributes()


def _pad(o: Options) -> Attributes:
    mode = o.text("mode", "constant")
    o.as_input("pads", 1, 11)
    if o.opset < 11 and "value" in o.values:
        o.extra[2] = ((o.real("value", 0.0),), "float32")
    return Pad(mode)


def _clip(o: Options) -> Attributes:
    for position, name in enumerate(("min", "max"), 1):
        if o.opset < 11 and name in o.values:
            o.extra[position] = ((o.real(name, 0.0),), "float32")
    return Attributes()


def _norm(o: Options) -> Attributes:
    if o.whole("training_mode", 0):
        raise UnsupportedOp("training_mode is 1; supported: 0")
    return BatchNorm(o.real("epsilon", 1e-5))


def _layer_norm(o: Options) -> Attributes:
    if o.whole("stash_type", 1) != 1:
        raise UnsupportedOp(f"stash_type is {o.whole('stash_type', 1)}; supported: 1 (float32)")
    return LayerNorm(o.whole("axis", -1), o.real("epsilon", 1e-5))


def _alpha(alpha: float, beta: float = 0.5) -> Callable[[Options], Attributes]:
    return lambda o: Alpha(o.real("alpha", alpha), o.real("beta", beta))


def _axis(default: int) -> Callable[[Options], Attributes]:
    return lambda o: Axis(axis=o.whole("axis", default))


def _resize(o: Options) -> Attributes:
    if o.opset < 11:
        raise UnsupportedOp(f"Resize of opset {o.opset} is not supported; supported: 11 and later")
    o.real("extrapolation_value", 0.0)
    for name, default in (("antialias", 0), ("keep_aspect_ratio_policy", "stretch")):
        if o.values.get(name, default) not in (default, b"stretch"):
            raise UnsupportedOp(f"{name} is {o.values[name]!r}; supported: {default!r}")
        o.asked.add(name)
    return OnnxResize(
        _choice(o, "mode", "nearest", get_args(Mode)),
        _choice(o, "coordinate_transformation_mode", "half_pixel", get_args(Place)),
        _choice(o, "nearest_mode", "round_prefer_floor", get_args(Nearest)),
        o.wholes("axes"),
        o.real("cubic_coeff_a", -0.75),
        o.flag("exclude_outside", False),
    )


def _fill(o: Options) -> Attributes:
    value = o.tensor("value")
    if value is None:
        return Fill()
    qtype, _, data = value
    if data.size != 1:
        raise ModelError(f"attribute value holds {data.size} values; allowed: 1")
    return Fill(data.reshape(()).item(), qtype)


def _blocks(o: Options) -> Attributes:
    return Blocks(o.whole("blocksize", 0), o.text("mode", "DCR") == "CRD")


def _group_norm(o: Options) -> Attributes:
    if o.whole("stash_type", 1) != 1:
        raise UnsupportedOp(f"stash_type is {o.whole('stash_type', 1)}; supported: 1 (float32)")
    return GroupNorm(o.whole("num_groups", 0), o.real("epsilon", 1e-5), o.opset < 21)


def _arg(o: Options) -> Attributes:
    return ArgAxis(o.whole("axis", 0), o.flag("keepdims", True), o.flag("select_last_index", False))


_REDUCE = _reduce(18)
_REDUCED = (
    *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
)
CONVERT: dict[str, Callable[[Options], Attributes]] = {
    **dict.fromkeys(("Conv", "QLinearConv", "ConvInteger"), _conv),
    **dict.fromkeys(("MaxPool", "AveragePool", "QLinearAveragePool"), _pool),
    "QLinearGlobalAveragePool": lambda o: GlobalPool(o.flag("channels_last", False)),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), lambda o: GlobalPool()),
    **dict.fromkeys(("Gemm", "QGemm"), _gemm),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _linear),
    "Cast": _cast,
    "Quant": _quant,
    "Trunc": _trunc,
    "MultiThreshold": _thresholds,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "QLinearSoftmax": _qlinear_softmax,
    **dict.fromkeys(_REDUCED, _REDUCE),
    "ConvTranspose": _conv_transpose,
    "Resize": _resize,
    "ConstantOfShape": _fill,
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    "Trilu": lambda o: Triangle(o.flag("upper", True)),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    "CumSum": lambda o: RunningSum(o.flag("exclusive", False), o.flag("reverse", False)),
    "LpNormalization": lambda o: LpNorm(o.whole("axis", -1), o.whole("p", 2)),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": lambda o: GroupNorm(0, o.real("epsilon", 1e-5)),
    "Gelu": lambda o: OnnxGelu(_choice(o, "approximate", "none", ("none", "tanh")) == "tanh"),
    "Mod": lambda o: Modulo(o.flag("fmod", False)),
    "ReduceSum": _reduce(13),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _axes),
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Clip": _clip,
    "BatchNormalization": _norm,
    "LayerNormalization": _layer_norm,
    **dict.fromkeys(("LeakyRelu", "QLinearLeakyRelu"), _alpha(0.009999999776482582)),
    **dict.fromkeys(("Elu", "Celu", "ThresholdedRelu", "Swish"), _alpha(1.0)),
    "Selu": lambda o: Alpha(o.real("alpha", 1.67326319217681884765625), o.real("gamma", 1.05070102214813232421875)),
    "HardSigmoid": _alpha(0.20000000298023224),
    "Reshape": lambda o: OnnxReshape(o.flag("allowzero", False)),
    "Transpose": lambda o: Permutation(o.wholes("perm")),
    "Flatten": _axis(1),
    **dict.fromkeys(("Concat", "QLinearConcat", "Gather"), _axis(0)),
}
"""op -> its attributes; one that is not listed has none"""
HARMLESS: dict[str, tuple[str, ...]] = {
    "QuantizeLinear": ("saturate",),  # speaks of float8 outputs only
    "BatchNormalization": ("momentum", "spatial"),
    "Cast": ("saturate", "round_mode"),
    "Dropout": ("ratio", "seed", "is_test"),
    "Shape": ("start", "end"),  # the importer folds them
    "BipolarQuant": (),
}
