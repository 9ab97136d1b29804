"""Ops of ONNX that work element by element. What is computed of constants alone is computed at once, in float64."""

import math
from collections.abc import Callable

import numpy as np

from fxsim.convert.dense import Operands, Outputs, need
from fxsim.convert.layout import Held, Layouts
from fxsim.errors import UnsupportedOp
from fxsim.model.ops.activation import Gelu
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.onnx_pointwise import Alpha, BatchNorm
from fxsim.model.ops.onnx_quantize import Cast
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.qtype import Array

Lower = Callable[..., list[Held]]
_VALUES: dict[str, Callable[..., Array]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "SQRT": np.sqrt,
    "EXP": np.exp,
    "LOG": np.log,
    "NEG": np.negative,
    "ABS": np.abs,
}
"""what an op makes of constants"""


def apply(lay: Layouts, op: str, *operands: Held, attributes: Attributes | None = None) -> Held:
    """An op of TensorFlow Lite on operands that broadcast; a constant if all of them are."""
    shape = np.broadcast_shapes(*(h.shape for h in operands))
    if all(h.constant for h in operands) and op in _VALUES:
        data = [lay.plain(h).data for h in operands]
        if all(d is not None and d.dtype.kind == "f" for d in data):
            return lay.constant("folded", np.asarray(_VALUES[op](*data)))
    return lay.elementwise(op, operands, shape, attributes)


def number(lay: Layouts, value: float) -> Held:
    """A constant of one element."""
    return lay.constant(lay.draft.label + ":number", np.asarray(value, np.float64))


def _chain(op: str) -> Lower:
    def lower(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
        first, *rest = (need(h) for h in inputs)
        for h in rest:
            first = apply(lay, op, first, h)
        return [first]

    return lower


def _alone(op: str, attributes: Callable[..., Attributes] | None = None) -> Lower:
    def lower(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
        return [apply(lay, op, need(inputs[0]), attributes=attributes(attrs) if attributes else None)]

    return lower


def _power(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    """Pow with an exponent that is 1, 2, 3, 0.5 or -0.5 or -1."""
    x, exponent = need(inputs[0]), lay.plain(need(inputs[1])).data
    if exponent is None or exponent.size != 1 or float(exponent.reshape(())) not in (1, 2, 3, 0.5, -0.5, -1):
        got = "computed at run time" if exponent is None else exponent.reshape(-1)[:4].tolist()
        raise UnsupportedOp(f"exponent is {got}; supported: 1, 2, 3, 0.5, -0.5, -1")
    n = float(exponent.reshape(()))
    if n in (0.5, -0.5):
        return [apply(lay, "SQRT" if n > 0 else "RSQRT", x)]
    if n == -1:
        return [apply(lay, "DIV", number(lay, 1.0), x)]
    y = x
    for _ in range(int(n) - 1):
        y = apply(lay, "MUL", y, x)
    return [y]


_CLAMPS = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, 1.0): "RELU_0_TO_1"}


def _clip(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    """Clip: an activation where its limits are those of one, else MAXIMUM and MINIMUM."""
    limits = [-math.inf, math.inf]
    for i, h in enumerate(inputs[1:3]):
        data = None if h is None else lay.plain(h).data
        if h is not None and data is None:
            raise UnsupportedOp(f"{('min', 'max')[i]} is computed at run time; supported: constants")
        if data is not None and abs(float(data.reshape(()))) < float(np.finfo(np.float32).max):
            limits[i] = float(data.reshape(()))
    y = need(inputs[0])
    if tuple(limits) in _CLAMPS:
        return [apply(lay, _CLAMPS[limits[0], limits[1]], y)]
    for limit, op in zip(limits, ("MAXIMUM", "MINIMUM"), strict=True):
        if math.isfinite(limit):
            y = apply(lay, op, y, number(lay, limit))
    return [y]


def _normalize(lay: Layouts, inputs: Operands, attrs: BatchNorm, outputs: Outputs) -> list[Held]:
    """BatchNormalization as a factor and an addend, which a convolution before it takes in."""
    x = need(inputs[0])
    data = [lay.plain(need(h)).data for h in inputs[1:]]
    if any(d is None for d in data):
        raise UnsupportedOp("has parameters that are computed at run time; supported: constants")
    gamma, beta, mean, variance = (np.asarray(d, np.float64) for d in data)
    factor = gamma / np.sqrt(variance + attrs.epsilon)
    channel = (-1, *(1,) * (len(x.shape) - 2))
    y = apply(lay, "MUL", x, lay.constant(f"{lay.draft.label}:factor", factor.reshape(channel)))
    return [apply(lay, "ADD", y, lay.constant(f"{lay.draft.label}:addend", (beta - mean * factor).reshape(channel)))]


def _hard_sigmoid(lay: Layouts, inputs: Operands, attrs: Alpha, outputs: Outputs) -> list[Held]:
    y = apply(lay, "MUL", need(inputs[0]), number(lay, attrs.alpha))
    return [apply(lay, "RELU_0_TO_1", apply(lay, "ADD", y, number(lay, attrs.beta)))]


def _elu(lay: Layouts, inputs: Operands, attrs: Alpha, outputs: Outputs) -> list[Held]:
    if attrs.alpha != 1.0:
        raise UnsupportedOp(f"alpha is {attrs.alpha}; supported: 1")
    return [apply(lay, "ELU", need(inputs[0]))]


def _reciprocal(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    return [apply(lay, "DIV", number(lay, 1.0), need(inputs[0]))]


def _softplus(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-abs(x))), which never overflows."""
    x = need(inputs[0])
    small = apply(lay, "ADD", apply(lay, "EXP", apply(lay, "NEG", apply(lay, "ABS", x))), number(lay, 1.0))
    return [apply(lay, "ADD", apply(lay, "RELU", x), apply(lay, "LOG", small))]


def _divide(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    """Div; by constants as a product with what they are the inverse of, which integer engines compute too."""
    a, b = need(inputs[0]), need(inputs[1])
    data = lay.plain(b).data
    if data is not None and data.dtype.kind == "f" and np.all(data != 0):
        return [apply(lay, "MUL", a, lay.constant(b.value.name, 1 / data))]
    return [apply(lay, "DIV", a, b)]


def _cast(lay: Layouts, inputs: Operands, attrs: Cast, outputs: Outputs) -> list[Held]:
    x = need(inputs[0])
    data = lay.plain(x).data
    if data is not None:
        return [lay.constant(x.value.name, data.astype(attrs.to.dtype))]
    return [x] if attrs.to == x.value.qtype else [lay.elementwise("CAST", [x], x.shape, qtype=attrs.to)]


def _same(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    return [need(inputs[0])]


LOWER: dict[str, Lower] = {
    **{op: _chain(op.upper()) for op in ("Add", "Sub", "Mul")},
    "Div": _divide,
    "Sum": _chain("ADD"),
    "Max": _chain("MAXIMUM"),
    "Min": _chain("MINIMUM"),
    **{op: _alone(op.upper()) for op in ("Relu", "Tanh", "Sqrt", "Exp", "Log", "Neg", "Abs")},
    "Sigmoid": _alone("LOGISTIC"),
    "HardSwish": _alone("HARD_SWISH"),
    "LeakyRelu": _alone("LEAKY_RELU", lambda a: LeakyRelu(a.alpha)),
    "Gelu": _alone("GELU", lambda a: a if isinstance(a, Gelu) else Gelu(a.tanh)),
    "PRelu": _chain("PRELU"),
    "Pow": _power,
    "Clip": _clip,
    "BatchNormalization": _normalize,
    "HardSigmoid": _hard_sigmoid,
    "Elu": _elu,
    "Reciprocal": _reciprocal,
    "Softplus": _softplus,
    "Cast": _cast,
    "Identity": _same,
    "Dropout": _same,
}
