"""ONNX's ops that work element by element, as real functions; QLinear ones are those of their real values."""

from collections.abc import Callable
from functools import reduce

import numpy as np

from fxsim.model.ops.onnx_pointwise import Alpha, BatchNorm, Modulo, OnnxGelu
from fxsim.model.qtype import Array
from fxsim.sim.base import Site
from fxsim.sim.real import functions as f
from fxsim.sim.real.base import Binding, RealFn, Values, aligned, optional, shared, value
from fxsim.sim.real.layout import cast
from fxsim.sim.real.pointwise import Function, elementwise


def _all(function: Function) -> Binding:
    """A function of two that is taken over all inputs, one after the other."""
    return elementwise(lambda *xs: reduce(function, xs))


def _first(*positions: int, of: Binding) -> Binding:
    """An op of the inputs at ``positions`` alone; the others are scales and zero points."""

    def bind(site: Site) -> RealFn:
        run = of(site)
        return lambda values: run([values[i] for i in positions])

    return bind


def _with_alpha(function: Callable[[Array, Alpha], Array]) -> Binding:
    """A function of one input and of the attributes ``alpha`` and ``beta``."""

    def bind(site: Site) -> RealFn:
        attrs = site.node.attributes
        assert isinstance(attrs, Alpha)
        return lambda values: [function(value(values, 0), attrs)]

    return bind


def clip(site: Site) -> RealFn:
    """``min(max(x, low), high)``."""
    return shared((1, 2), lambda values: [f.clamp(value(values, 0), optional(values, 1), optional(values, 2))])


def gelu(site: Site) -> RealFn:
    """``x * (1 + erf(x / sqrt(2))) / 2``, or by tanh."""
    attrs = site.node.attributes
    assert isinstance(attrs, OnnxGelu)
    return elementwise(f.gelu_tanh if attrs.tanh else f.gelu)(site)


def modulo(site: Site) -> RealFn:
    """``a - b * floor(a / b)``, or with ``fmod`` the quotient toward zero."""
    attrs = site.node.attributes
    assert isinstance(attrs, Modulo)
    return elementwise(np.fmod if attrs.fmod else np.mod)(site)


def batch_normalization(site: Site) -> RealFn:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` along axis 1."""
    attrs, n = site.node.attributes, len(site.input(0).shape) - 2
    assert isinstance(attrs, BatchNorm)
    shape = (-1, *(1,) * n)

    def run(values: Values) -> list[Array]:
        x, (scale, bias, mean, var) = value(values, 0), (value(values, i).astype(np.float64) for i in range(1, 5))
        factor = scale / np.sqrt(var + attrs.epsilon)
        return [x * factor.reshape(shape).astype(x.dtype) + (bias - mean * factor).reshape(shape).astype(x.dtype)]

    return shared((1, 2, 3, 4), run)


BINDINGS: dict[str, Binding] = {
    "Add": elementwise(np.add),
    "Sub": elementwise(np.subtract),
    "Mul": elementwise(np.multiply),
    "Div": elementwise(f.divide),
    "Pow": elementwise(f.power),
    "Mod": modulo,
    "Min": _all(np.minimum),
    "Max": _all(np.maximum),
    "Sum": _all(np.add),
    "Relu": elementwise(lambda x: np.maximum(x, x.dtype.type(0))),
    "Neg": elementwise(np.negative),
    "Abs": elementwise(np.abs),
    "Sign": elementwise(np.sign),
    "Floor": elementwise(np.floor),
    "Ceil": elementwise(np.ceil),
    "Round": elementwise(np.rint),
    "Sigmoid": elementwise(f.sigmoid),
    "Tanh": elementwise(np.tanh),
    "Erf": elementwise(f.erf),
    "Sqrt": elementwise(np.sqrt),
    "Exp": elementwise(np.exp),
    "Log": elementwise(np.log),
    "Sin": elementwise(np.sin),
    "Cos": elementwise(np.cos),
    "Reciprocal": elementwise(lambda x: 1 / x),
    "Softplus": elementwise(f.softplus),
    "Softsign": elementwise(lambda x: x / (1 + np.abs(x))),
    "Mish": elementwise(lambda x: x * np.tanh(f.softplus(x))),
    "HardSwish": elementwise(f.hard_swish),
    "Gelu": gelu,
    "PRelu": elementwise(f.leaky),
    "LeakyRelu": _with_alpha(lambda x, a: f.leaky(x, a.alpha)),
    "Elu": _with_alpha(lambda x, a: f.elu(x, a.alpha)),
    "Celu": _with_alpha(lambda x, a: f.elu(x / x.dtype.type(a.alpha)) * x.dtype.type(a.alpha)),
    "Selu": _with_alpha(lambda x, a: f.elu(x, a.alpha, a.beta)),
    "Swish": _with_alpha(lambda x, a: x * f.sigmoid(x * x.dtype.type(a.alpha))),
    "HardSigmoid": _with_alpha(lambda x, a: f.hard_sigmoid(x, a.alpha, a.beta)),
    "ThresholdedRelu": _with_alpha(lambda x, a: np.where(x > a.alpha, x, x.dtype.type(0))),
    "Clip": clip,
    "BatchNormalization": batch_normalization,
    "Equal": elementwise(np.equal),
    "Less": elementwise(np.less),
    "LessOrEqual": elementwise(np.less_equal),
    "Greater": elementwise(np.greater),
    "GreaterOrEqual": elementwise(np.greater_equal),
    "And": elementwise(np.logical_and),
    "Or": elementwise(np.logical_or),
    "Xor": elementwise(np.logical_xor),
    "Not": elementwise(np.logical_not),
    "Where": lambda site: lambda values: [np.where(*aligned([value(values, i) for i in range(3)]))],
    "Cast": cast,
    "QLinearAdd": _first(0, 3, of=elementwise(np.add)),
    "QLinearMul": _first(0, 3, of=elementwise(np.multiply)),
    "QLinearSigmoid": _first(0, of=elementwise(f.sigmoid)),
    "QLinearLeakyRelu": _with_alpha(lambda x, a: f.leaky(x, a.alpha)),
}
