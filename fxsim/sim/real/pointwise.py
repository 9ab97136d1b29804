"""TFLite's ops that work element by element, or along rows, as real functions."""

from collections.abc import Callable

import numpy as np

from fxsim.model.ops.activation import Gelu
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.ops.softmax import Softmax
from fxsim.model.qtype import Array
from fxsim.sim.base import Site
from fxsim.sim.real import functions as f
from fxsim.sim.real.base import Binding, RealFn, Values, activate, aligned, value

Function = Callable[..., Array]


def elementwise(function: Function) -> Binding:
    """An op that is a function of its inputs, which broadcast, and a fused activation where it has one."""

    def bind(site: Site) -> RealFn:
        act = activate(site) if getattr(site.node.attributes, "activation", "NONE") != "NONE" else None

        def run(values: Values) -> list[Array]:
            y = function(*aligned([v for v in values if v is not None]))
            return [y if act is None else act(y)]

        return run

    return bind


def bounded(low: float | None, high: float | None) -> Binding:
    """``min(max(x, low), high)``."""
    return elementwise(lambda x: f.clamp(x, low, high))


def leaky_relu(site: Site) -> RealFn:
    """``x`` where it is at least 0, else ``alpha * x``."""
    attrs = site.node.attributes
    assert isinstance(attrs, LeakyRelu)
    return elementwise(lambda x: f.leaky(x, attrs.alpha))(site)


def gelu(site: Site) -> RealFn:
    """``x * (1 + erf(x / sqrt(2))) / 2``, or by tanh."""
    attrs = site.node.attributes
    assert isinstance(attrs, Gelu)
    return elementwise(f.gelu_tanh if attrs.approximate else f.gelu)(site)


def softmax(site: Site) -> RealFn:
    """``exp(beta * x) / sum(exp(beta * x))`` along the last axis."""
    attrs = site.node.attributes
    assert isinstance(attrs, Softmax)
    return elementwise(lambda x: f.softmax(x if attrs.beta == 1 else x * x.dtype.type(attrs.beta), -1))(site)


def l2_normalization(site: Site) -> RealFn:
    """``x / sqrt(sum(x * x))`` along the last axis; sums below 1e-6 count as that.

    Source: tflite/kernels/internal/reference/l2normalization.h @ LiteRT 2.3.0.
    """
    return elementwise(lambda x: x / np.sqrt(np.maximum((x * x).sum(axis=-1, keepdims=True), x.dtype.type(1e-6))))(site)


def select(site: Site) -> RealFn:
    """``x where condition else y``; a condition of one axis chooses whole slices (SELECT)."""
    condition, x = site.input(0), site.input(1)
    extra = len(x.shape) - len(condition.shape) if site.node.op == "SELECT" and condition.shape != () else 0

    def run(values: Values) -> list[Array]:
        c = value(values, 0)
        return [np.where(*aligned([c.reshape(*c.shape, *(1,) * extra), value(values, 1), value(values, 2)]))]

    return run


BINDINGS = {
    "ADD": elementwise(np.add),
    "SUB": elementwise(np.subtract),
    "MUL": elementwise(np.multiply),
    "DIV": elementwise(f.divide),
    "SQUARED_DIFFERENCE": elementwise(lambda a, b: np.square(a - b)),
    "MAXIMUM": elementwise(np.maximum),
    "MINIMUM": elementwise(np.minimum),
    "FLOOR_DIV": elementwise(np.floor_divide),
    "FLOOR_MOD": elementwise(np.mod),
    "LOGISTIC": elementwise(f.sigmoid),
    "TANH": elementwise(np.tanh),
    "ELU": elementwise(f.elu),
    "GELU": gelu,
    "HARD_SWISH": elementwise(f.hard_swish),
    "EXP": elementwise(np.exp),
    "LOG": elementwise(np.log),
    "SQRT": elementwise(np.sqrt),
    "RSQRT": elementwise(lambda x: 1 / np.sqrt(x)),
    "RELU": bounded(0, None),
    "RELU6": bounded(0, 6),
    "RELU_N1_TO_1": bounded(-1, 1),
    "RELU_0_TO_1": bounded(0, 1),
    "LEAKY_RELU": leaky_relu,
    "PRELU": elementwise(f.leaky),
    "ABS": elementwise(np.abs),
    "NEG": elementwise(np.negative),
    "FLOOR": elementwise(np.floor),
    "CEIL": elementwise(np.ceil),
    "ROUND": elementwise(np.rint),
    "SQUARE": elementwise(np.square),
    "EQUAL": elementwise(np.equal),
    "NOT_EQUAL": elementwise(np.not_equal),
    "LESS": elementwise(np.less),
    "LESS_EQUAL": elementwise(np.less_equal),
    "GREATER": elementwise(np.greater),
    "GREATER_EQUAL": elementwise(np.greater_equal),
    "LOGICAL_AND": elementwise(np.logical_and),
    "LOGICAL_OR": elementwise(np.logical_or),
    "LOGICAL_NOT": elementwise(np.logical_not),
    "SELECT": select,
    "SELECT_V2": select,
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": elementwise(lambda x: f.log_softmax(x, -1)),
    "L2_NORMALIZATION": l2_normalization,
}
