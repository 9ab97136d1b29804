"""Binds Softmax, QLinearSoftmax, the reductions and LayerNormalization of ONNX."""

import math
from collections.abc import Callable

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.ops.base import normal_axis
from fxsim.model.ops.onnx_reduce import LayerNorm, ReduceAxes, Softmax, reduced_axes, softmax_rows
from fxsim.model.qtype import Array
from fxsim.sim.base import Bound, Site
from fxsim.sim.onnx_base import Values, bound, pair, quietly, rounded, to_type, value


def _rows(x: Array, axis: int, count: int, attrs: Softmax) -> Array:
    """``(rows, count)``: what one softmax spans, side by side."""
    return x.reshape(-1, count) if attrs.flatten else np.moveaxis(x, axis, -1).reshape(-1, count)


def _back(rows: Array, shape: tuple[int, ...], axis: int, attrs: Softmax) -> Array:
    if attrs.flatten:
        return rows.reshape(shape)
    moved = (*shape[:axis], *shape[axis + 1 :], shape[axis])
    return np.moveaxis(rows.reshape(moved), -1, axis)


def _softmax(site: Site, *, log: bool) -> Bound:
    attrs, shape = site.node.attributes, site.input(0).shape
    assert isinstance(attrs, Softmax)
    axis, count = softmax_rows(shape, attrs)

    def run(values: Values) -> list[Array]:
        x = _rows(value(values, 0), axis, count, attrs).astype(np.float64)
        x = x - x.max(axis=1, keepdims=True)
        total = np.exp(x).sum(axis=1, keepdims=True)
        made = x - np.log(total) if log else np.exp(x) / total
        return [_back(made.astype(np.float32), shape, axis, attrs)]

    return bound(site, run)


def softmax(site: Site) -> Bound:
    """``exp(x) / sum(exp(x))`` in float64, rounded to float32; engines approximate exp in their own ways."""
    return _softmax(site, log=False)


def log_softmax(site: Site) -> Bound:
    """``x - log(sum(exp(x)))`` in float64, rounded to float32."""
    return _softmax(site, log=True)


_RESERVED = 5.0
"""Logarithm of the room that the engine leaves in a float32 for the sum of a row."""


def _powers(scale: np.float32, count: int) -> Array:
    """float32 ``exp((i - 255 + shift) * scale)`` for ``i`` in 0..255, ``shift`` such that no sum of ``count`` overflows."""
    room = float(np.float32(math.log(np.float32(np.finfo(np.float32).max / np.float32(count)))))
    shift = max(0.0, room - _RESERVED) / float(scale)
    exact = [math.exp((i - 255 + shift) * float(scale)) for i in range(256)]
    return np.array(exact, np.float32)


def qlinear_softmax(site: Site) -> Bound:
    """``y = floor(1 / y_scale) * p / sum(p)`` rounded, plus ``y_zero``; ``p = exp(x_scale * (x - max))`` from a table.

    The table's numbers and their sum, in order, are float32. In rows of few elements ``factor * p`` may be infinite, which
    x86 casts to 0 as an unsigned and to ``-2**31`` as a signed integer; the sum with ``y_zero`` wraps.

    Source: onnxruntime/contrib_ops/cpu/quantization/qlinear_softmax.cc @ ONNX Runtime 1.31.
    """
    attrs, shape, out = site.node.attributes, site.input(0).shape, site.outputs[0]
    assert isinstance(attrs, Softmax)
    axis, count = softmax_rows(shape, attrs)
    (x_scale, _), (y_scale, y_zero) = pair(site, 1, 2), pair(site, 3, 4)
    table, factor, rule = _powers(x_scale, count), np.floor(np.float32(1) / y_scale), site.numerics.requantize.rounding
    if factor > 1 << 32:
        raise UnsupportedOp(f"the output's scale is {y_scale}; supported: at least 2**-32")

    def run(values: Values) -> list[Array]:
        x = _rows(value(values, 0), axis, count, attrs).astype(np.int64)
        powers = table[255 + x - x.max(axis=1, keepdims=True)]
        total = np.zeros(len(x), np.float32)
        for i in range(count):
            total = total + powers[:, i]
        scaled = powers * factor / total[:, np.newaxis]
        whole = rounded(rule, np.where(np.isinf(scaled), np.float32(0), scaled))
        if out.qtype.signed:
            whole = np.where(np.isinf(scaled) | (whole >= 1 << 31), -(1 << 31), whole)
            whole = (whole + y_zero).astype(np.int32)
        else:
            whole = whole + y_zero & 0xFFFFFFFF
        return [_back(to_type(out.qtype, whole), shape, axis, attrs)]

    return bound(site, run)


def _reduce(f: Callable[..., Array]) -> Callable[[Site], Bound]:
    def bind(site: Site) -> Bound:
        attrs, shape = site.node.attributes, site.outputs[0].shape
        assert isinstance(attrs, ReduceAxes)
        axes = reduced_axes(list(site.inputs), attrs)

        def run(values: Values) -> list[Array]:
            return [f(value(values, 0).astype(np.float64), axis=axes).astype(np.float32).reshape(shape)]

        return bound(site, run)

    return bind


def layer_normalization(site: Site) -> Bound:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` in float64, rounded to float32 once."""
    attrs, n = site.node.attributes, len(site.input(0).shape)
    assert isinstance(attrs, LayerNorm)
    axes = tuple(range(normal_axis(attrs.axis, n), n))

    def run(values: Values) -> list[Array]:
        x = value(values, 0).astype(np.float64)
        centred = x - x.mean(axis=axes, keepdims=True)
        made = centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + attrs.epsilon) * value(values, 1)
        if (bias := value(values, 2)) is not None:
            made = made + bias
        return [made.astype(np.float32)]

    return bound(site, run)


BINDINGS = quietly(
    {
        "Softmax": softmax,
        "LogSoftmax": log_softmax,
        "QLinearSoftmax": qlinear_softmax,
        "ReduceMean": _reduce(np.mean),
        "ReduceSum": _reduce(np.sum),
        "ReduceMax": _reduce(np.max),
        "ReduceMin": _reduce(np.min),
        "LayerNormalization": layer_normalization,
    }
)
