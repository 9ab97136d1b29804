"""Binds ONNX's ops that work element by element: float32 ops, and QLinearAdd, -Mul, -Sigmoid and -LeakyRelu."""

import math
from collections.abc import Callable

import numpy as np

from fxsim.kernels.float32 import fma, logistic, tanh
from fxsim.model.ops.onnx_pointwise import Alpha, BatchNorm
from fxsim.model.qtype import Array
from fxsim.sim.base import Bound, Site
from fxsim.sim.onnx_base import Values, bound, pair, quietly, rounded, to_type, value

ONE, HALF = np.float32(1), np.float32(0.5)
_vectors = {f: np.vectorize(getattr(math, f), otypes=[np.float64]) for f in ("erf",)}


def _elementwise(f: Callable[..., Array]) -> Callable[[Site], Bound]:
    """An op that is a function of its inputs, which broadcast."""

    def bind(site: Site) -> Bound:
        def run(values: Values) -> list[Array]:
            return [f(*(v for v in values if v is not None))]

        return bound(site, run)

    return bind


def _in_float64(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``f`` in float64, rounded to float32: nearest to the real function, where engines have approximations of their own."""
    return lambda x: f(x.astype(np.float64)).astype(np.float32)


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    return np.trunc(a / np.where(b == 0, 1, b)).astype(a.dtype)


def _power(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.power(a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
    return np.power(a, np.maximum(b, 0))


def _minimum(*xs: Array) -> Array:
    result = xs[0]
    for x in xs[1:]:
        result = np.minimum(result, x)
    return result


def _maximum(*xs: Array) -> Array:
    result = xs[0]
    for x in xs[1:]:
        result = np.maximum(result, x)
    return result


def _sum(*xs: Array) -> Array:
    result = xs[0]
    for x in xs[1:]:
        result = result + x
    return result


def clip(site: Site) -> Bound:
    """``min(max(x, low), high)``."""

    def run(values: Values) -> list[Array]:
        x, low, high = value(values, 0), value(values, 1), value(values, 2)
        x = x if low is None else np.maximum(x, low)
        return [x if high is None else np.minimum(x, high)]

    return bound(site, run)


def leaky_relu(site: Site) -> Bound:
    """``x`` where it is at least 0, else ``alpha * x``."""
    attrs = site.node.attributes
    assert isinstance(attrs, Alpha)
    alpha = np.float32(attrs.alpha)
    return _elementwise(lambda x: np.where(x >= 0, x, alpha * x))(site)


def elu(site: Site) -> Bound:
    """``x`` where it is at least 0, else ``alpha * (exp(x) - 1)``."""
    attrs = site.node.attributes
    assert isinstance(attrs, Alpha)
    alpha = attrs.alpha
    return _elementwise(lambda x: np.where(x >= 0, x, (alpha * np.expm1(x.astype(np.float64))).astype(np.float32)))(
        site
    )


def hard_sigmoid(site: Site) -> Bound:
    """``clamp(alpha * x + beta, 0, 1)``."""
    attrs = site.node.attributes
    assert isinstance(attrs, Alpha)
    alpha, beta = np.float32(attrs.alpha), np.float32(attrs.beta)
    return _elementwise(lambda x: np.clip(alpha * x + beta, np.float32(0), ONE))(site)


def batch_normalization(site: Site) -> Bound:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` along axis 1, in real arithmetic, rounded to float32 once."""
    attrs, n = site.node.attributes, len(site.input(0).shape) - 2
    assert isinstance(attrs, BatchNorm)
    shape = (-1, *(1,) * n)

    def run(values: Values) -> list[Array]:
        x, *rest = (np.asarray(value(values, i), np.float64) for i in range(5))
        scale, bias, mean, var = (v.reshape(shape) for v in rest)
        return [((x - mean) / np.sqrt(var + attrs.epsilon) * scale + bias).astype(np.float32)]

    return bound(site, run)


def _innermost(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    """Which factor is one value along the runs that the engine works on: ``a``, ``b`` or neither (empty)."""
    n = max(len(a), len(b))
    a, b = (1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b
    for x, y in zip(reversed(a), reversed(b), strict=True):
        if x != y:
            return "a" if x == 1 else "b"
        if x > 1:
            return ""
    return ""


def qlinear_add(site: Site) -> Bound:
    """``y = clamp(round(a_ratio * a + b_ratio * b + c))``, ``c = y_zero - (a_ratio * a_zero + b_ratio * b_zero)``.

    ``ratio = scale / y_scale``; all in float32, each product fused with its addition, ``b`` first. Where one operand is
    a single value along the innermost axes, its product goes into ``c``. Variant ``dequantized``: as ONNX defines it,
    ``round((a_scale * (a - a_zero) + b_scale * (b - b_zero)) / y_scale) + y_zero`` in float32, step by step. Variant
    ``folded_apart``: as the engine without fused multiply-add, each product rounded on its own.

    Source: onnxruntime/core/mlas/lib/intrinsics/avx2/qladd_avx2.cpp @ ONNX Runtime 1.31.
    """
    (a_scale, a_zero), (b_scale, b_zero), (y_scale, y_zero) = pair(site, 1, 2), pair(site, 4, 5), pair(site, 6, 7)
    a_ratio, b_ratio = a_scale / y_scale, b_scale / y_scale
    out, rule = site.outputs[0], site.numerics.requantize.rounding
    swapped = _innermost(site.input(0).shape, site.input(3).shape) == "a"
    zeros = np.float32(a_zero), np.float32(b_zero)
    if swapped:  # the engine's single value is its second operand
        a_ratio, a_zero, b_ratio, b_zero = b_ratio, b_zero, a_ratio, a_zero
    fixed = np.float32(y_zero) - fma(a_ratio, np.float32(a_zero), b_ratio * np.float32(b_zero))

    def stepwise(values: Values) -> list[Array]:
        a, b = (value(values, i).astype(np.float32) for i in (0, 3))
        real = a_scale * (a - zeros[0]) + b_scale * (b - zeros[1])
        return [to_type(out.qtype, rounded(rule, real / y_scale), y_zero)]

    def apart(values: Values) -> list[Array]:
        a, b = (value(values, i).astype(np.float32) for i in ((3, 0) if swapped else (0, 3)))
        c = np.float32(y_zero) - (a_ratio * np.float32(a_zero) + b_ratio * np.float32(b_zero))
        return [to_type(out.qtype, rounded(rule, (c + b_ratio * b) + a_ratio * a))]

    other = {"dequantized": stepwise, "folded_apart": apart}.get(site.variant("folded", "dequantized", "folded_apart"))
    if other is not None:
        return bound(site, other)

    def run(values: Values) -> list[Array]:
        a, b = (value(values, i).astype(np.float32) for i in ((3, 0) if swapped else (0, 3)))
        return [to_type(out.qtype, rounded(rule, fma(a_ratio, a, fma(b_ratio, b, fixed))))]

    return bound(site, run)


def qlinear_mul(site: Site) -> Bound:
    """``y = clamp(round(float((a - a_zero) * (b - b_zero)) * M + y_zero))``, ``M = a_scale * b_scale / y_scale``.

    In float32; the zero point is added before rounding.

    Source: onnxruntime/core/mlas/lib/qlmul.cpp @ ONNX Runtime 1.31.
    """
    (a_scale, a_zero), (b_scale, b_zero), (y_scale, y_zero) = pair(site, 1, 2), pair(site, 4, 5), pair(site, 6, 7)
    ratio = a_scale * b_scale / y_scale
    out, rule = site.outputs[0], site.numerics.requantize.rounding

    def run(values: Values) -> list[Array]:
        a, b = value(values, 0).astype(np.int32) - a_zero, value(values, 3).astype(np.int32) - b_zero
        real = (a * b).astype(np.float32) * ratio + np.float32(y_zero)
        return [to_type(out.qtype, rounded(rule, real))]

    return bound(site, run)


def _table(site: Site, f: Callable[[Array], Array]) -> Bound:
    """Every byte's output, computed once: ``clamp(round(f(x_scale * (x - x_zero)) / y_scale) + y_zero)`` in float32.

    Source: onnxruntime/contrib_ops/cpu/quantization/qlinear_lookup_table.cc @ ONNX Runtime 1.31.
    """
    (x_scale, x_zero), (y_scale, y_zero) = pair(site, 1, 2), pair(site, 3, 4)
    x, out, rule = site.input(0), site.outputs[0], site.numerics.requantize.rounding
    every = np.arange(256, dtype=np.uint8).view(x.qtype.dtype)
    real = (every.astype(np.int32) - x_zero).astype(np.float32) * x_scale
    table = to_type(out.qtype, rounded(rule, f(real) / y_scale), y_zero)
    return bound(site, lambda values: [table[value(values, 0).view(np.uint8)]])


def qlinear_sigmoid(site: Site) -> Bound:
    """The logistic function of a byte, by table."""
    return _table(site, logistic)


def qlinear_leaky_relu(site: Site) -> Bound:
    """``x`` where it is at least 0, else ``alpha * x``, by table."""
    attrs = site.node.attributes
    assert isinstance(attrs, Alpha)
    alpha = np.float32(attrs.alpha)
    return _table(site, lambda x: np.where(x >= 0, x, alpha * x))


BINDINGS = quietly(
    {
        "Add": _elementwise(np.add),
        "Sub": _elementwise(np.subtract),
        "Mul": _elementwise(np.multiply),
        "Div": _elementwise(_divide),
        "Pow": _elementwise(_power),
        "Min": _elementwise(_minimum),
        "Max": _elementwise(_maximum),
        "Sum": _elementwise(_sum),
        "Relu": _elementwise(lambda x: np.maximum(x, x.dtype.type(0))),
        "Neg": _elementwise(np.negative),
        "Abs": _elementwise(np.abs),
        "Sqrt": _elementwise(np.sqrt),
        "Reciprocal": _elementwise(lambda x: ONE / x),
        "Sigmoid": _elementwise(logistic),
        "Tanh": _elementwise(tanh),
        "Erf": _elementwise(_in_float64(_vectors["erf"])),
        "Exp": _elementwise(_in_float64(np.exp)),
        "Log": _elementwise(_in_float64(np.log)),
        "Softplus": _elementwise(_in_float64(lambda x: np.logaddexp(x, 0))),
        "HardSwish": _elementwise(lambda x: x * np.clip(x / np.float32(6) + HALF, np.float32(0), ONE)),
        "Clip": clip,
        "LeakyRelu": leaky_relu,
        "Elu": elu,
        "HardSigmoid": hard_sigmoid,
        "BatchNormalization": batch_normalization,
        "QLinearAdd": qlinear_add,
        "QLinearMul": qlinear_mul,
        "QLinearSigmoid": qlinear_sigmoid,
        "QLinearLeakyRelu": qlinear_leaky_relu,
    }
)
