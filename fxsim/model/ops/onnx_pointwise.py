"""Ops of ONNX that work element by element, in float32 or, as QLinear ops, on integers."""

from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, InferFn, Operands, elementwise_work, lookup_work, need, same_shape
from fxsim.model.ops.onnx_base import BYTE, REAL, OnnxSpec, at, broadcast_all, like_input, one, same_type
from fxsim.model.qtype import Shape


@dataclass(frozen=True, slots=True)
class Alpha(Attributes):
    """LeakyRelu, Elu, HardSigmoid, ThresholdedRelu, Celu, Swish: ``alpha`` and ``beta``; of Selu ``beta`` is gamma."""

    alpha: float = 0.01
    beta: float = 0.5


@dataclass(frozen=True, slots=True)
class BatchNorm(Attributes):
    """BatchNormalization at inference."""

    epsilon: float = 1e-5


@dataclass(frozen=True, slots=True)
class OnnxGelu(Attributes):
    """Gelu, exact or by tanh."""

    tanh: bool = False


@dataclass(frozen=True, slots=True)
class Modulo(Attributes):
    """Mod: of the divisor's sign, or with ``fmod`` of the dividend's."""

    fmod: bool = False


def _infer_prelu(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    if broadcast_all(inputs) != x.shape:
        raise ModelError(
            f"slope {list(need(inputs[1], 'slope').shape)} does not broadcast to the input's {list(x.shape)}"
        )
    return (x.shape,)


def _infer_broadcast(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    same_type(inputs, *range(len(inputs)))
    return (broadcast_all(inputs),)


def _infer_clip(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    one(inputs, min=1, max=2)
    same_type(inputs, 0, 1, 2)
    return same_shape(inputs, attrs, outputs)


def _infer_norm(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    if len(x.shape) < 2:
        raise ModelError(f"input {x.name!r} has shape {list(x.shape)}; allowed: (N, C, ...)")
    for i in range(1, 5):
        if need(inputs[i], f"input {i}").shape != (x.shape[1],):
            raise ModelError(f"input {i} has shape {list(need(inputs[i], '').shape)}; allowed: [{x.shape[1]}]")
    return (x.shape,)


def _infer_qlinear(*data: int, scalars: tuple[int, ...]) -> InferFn:
    def infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
        one(inputs, **{f"parameter_{i}": i for i in scalars})
        same_type(inputs, 0, *(i for i in range(1, len(inputs)) if (t := at(inputs, i)) and t.qtype.kind == "int"))
        return (broadcast_all(inputs, *data),)

    return infer


_NUMBERS = ("float32", "int32", "int64")
_BINARY_Q = (BYTE, REAL, BYTE, BYTE, REAL, BYTE, REAL, BYTE)
_UNARY_Q = (BYTE, REAL, BYTE, REAL, BYTE)
_CHEAP = ("Relu", "Neg", "Abs", "Sign", "Floor", "Ceil", "Round")
_LOOKUPS = (
    *("Sigmoid", "Tanh", "Erf", "Sqrt", "Exp", "Log", "Reciprocal", "Softplus", "Softsign", "HardSwish", "Mish"),
    *("Sin", "Cos"),
)
_ALPHAS = ("LeakyRelu", "HardSigmoid", "ThresholdedRelu")
SPECS = (
    *(
        OnnxSpec(op, Attributes, _infer_broadcast, elementwise_work, 2, 2, dtypes=(_NUMBERS,))
        for op in ("Add", "Sub", "Mul", "Div", "Pow")
    ),
    *(
        OnnxSpec(op, Attributes, _infer_broadcast, elementwise_work, 1, 1 << 12, dtypes=(_NUMBERS,))
        for op in ("Min", "Max", "Sum")
    ),
    *(OnnxSpec(op, Attributes, same_shape, elementwise_work, dtypes=((*_NUMBERS, "int8"),)) for op in _CHEAP),
    *(OnnxSpec(op, Attributes, same_shape, lookup_work, dtypes=(REAL,)) for op in _LOOKUPS),
    *(OnnxSpec(op, Alpha, same_shape, elementwise_work, dtypes=(REAL,)) for op in _ALPHAS),
    *(OnnxSpec(op, Alpha, same_shape, lookup_work, dtypes=(REAL,)) for op in ("Elu", "Celu", "Selu", "Swish")),
    OnnxSpec("Clip", Attributes, _infer_clip, elementwise_work, 1, 3, dtypes=((*_NUMBERS, *BYTE),), types=like_input),
    OnnxSpec("BatchNormalization", BatchNorm, _infer_norm, elementwise_work, 5, 5, dtypes=(REAL,)),
    OnnxSpec("PRelu", Attributes, _infer_prelu, elementwise_work, 2, 2, dtypes=(REAL,)),
    OnnxSpec("Gelu", OnnxGelu, same_shape, lookup_work, dtypes=(REAL,)),
    OnnxSpec("Mod", Modulo, _infer_broadcast, elementwise_work, 2, 2, dtypes=(_NUMBERS,)),
    *(
        OnnxSpec(
            op, Attributes, _infer_qlinear(0, 3, scalars=(1, 2, 4, 5, 6, 7)), elementwise_work, 7, 8,
            dtypes=_BINARY_Q, params=((0, 1, 2), (3, 4, 5)), output_params=(6, 7),
        )
        for op in ("QLinearAdd", "QLinearMul")
    ),
    *(
        OnnxSpec(
            op, attributes, _infer_qlinear(0, scalars=(1, 2, 3, 4)), lookup_work, 4, 5,
            dtypes=_UNARY_Q, params=((0, 1, 2),), output_params=(3, 4),
        )
        for op, attributes in (("QLinearSigmoid", Attributes), ("QLinearLeakyRelu", Alpha))
    ),
)  # fmt: skip
