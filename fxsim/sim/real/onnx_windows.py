"""Pools, reductions, normalizations and resizing of ONNX as real functions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fxsim.model.ops.base import normal_axis
from fxsim.model.ops.layout import Axis
from fxsim.model.ops.onnx_base import scalar
from fxsim.model.ops.onnx_pool import GlobalPool, OnnxPool, pool_2d
from fxsim.model.ops.onnx_reduce import (
    ArgAxis,
    GroupNorm,
    LayerNorm,
    LpNorm,
    ReduceAxes,
    RunningSum,
    Softmax,
    reduced_axes,
    softmax_rows,
)
from fxsim.model.ops.onnx_resize import OnnxResize, scales
from fxsim.model.qtype import Array
from fxsim.sim.base import Site
from fxsim.sim.real import functions as f
from fxsim.sim.real.base import Binding, RealFn, Values, aligned, optional, value
from fxsim.sim.real.onnx_layers import channels_first, channels_last
from fxsim.sim.real.windows import counts, greatest, interpolate, mean, reduction, running_sum, sums


def _pool(site: Site, *, average: bool) -> RealFn:
    """The greatest or the mean of each window; cells outside the image count only with ``count_include_pad``."""
    attrs, shape = site.node.attributes, site.outputs[0].shape
    assert isinstance(attrs, OnnxPool)
    g, pad = pool_2d(list(site.inputs), attrs)
    top, bottom, left, right = pad
    divisor = counts(g, pad)
    if attrs.count_include_pad:
        divisor = counts(replace(g, in_h=g.in_h + top + bottom, in_w=g.in_w + left + right), (0, 0, 0, 0))

    def run(values: Values) -> list[Array]:
        x = channels_last(value(values, 0))
        y = sums(x, g, pad) / divisor.astype(x.dtype) if average else greatest(x, g, pad)
        return [channels_first(y, shape)]

    return run


def _global(function: Callable[..., Array]) -> Binding:
    def bind(site: Site) -> RealFn:
        attrs, n = site.node.attributes, len(site.input(0).shape)
        assert isinstance(attrs, GlobalPool)
        return reduction(function, tuple(range(1, n - 1) if attrs.channels_last else range(2, n)), keep=True)

    return bind


def _softmax(function: Callable[[Array, int], Array]) -> Binding:
    def bind(site: Site) -> RealFn:
        attrs, shape = site.node.attributes, site.input(0).shape
        assert isinstance(attrs, Softmax)
        axis, count = softmax_rows(shape, attrs)

        def run(values: Values) -> list[Array]:
            x = value(values, 0)
            if attrs.flatten:
                return [function(x.reshape(len(x), -1, count), -1).reshape(x.shape)]
            return [function(x, axis + 1)]

        return run

    return bind


def _reduce(function: Callable[..., Array]) -> Binding:
    def bind(site: Site) -> RealFn:
        attrs = site.node.attributes
        assert isinstance(attrs, ReduceAxes)
        return reduction(function, reduced_axes(list(site.inputs), attrs), keep=attrs.keep)

    return bind


def _log_sum_exp(x: Array, **how: Any) -> Array:  # noqa: ANN401
    most = x.max(axis=how["axis"], keepdims=True)
    total = np.log(np.exp(x - most).sum(**how))
    return np.asarray(total + most.reshape(total.shape))


def layer_normalization(site: Site) -> RealFn:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` over the axes from ``axis`` on."""
    attrs, n = site.node.attributes, len(site.input(0).shape)
    assert isinstance(attrs, LayerNorm)
    axes = tuple(range(normal_axis(attrs.axis, n) + 1, n + 1))

    def run(values: Values) -> list[Array]:
        y = f.normalize(value(values, 0), axes, attrs.epsilon)
        y = np.multiply(*aligned([y, value(values, 1)]))
        b = optional(values, 2)
        return [y if b is None else np.add(*aligned([y, b]))]

    return run


def group_normalization(site: Site) -> RealFn:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` over each group of channels of each image."""
    attrs, (_, c, *space) = site.node.attributes, site.input(0).shape
    assert isinstance(attrs, GroupNorm)
    groups = attrs.groups or c
    ones = (1,) * len(space)

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        rows = f.normalize(x.reshape(*x.shape[:2], groups, -1), (3,), attrs.epsilon)
        scale, bias = (value(values, i) for i in (1, 2))
        if attrs.per_group:
            scale, bias = (np.repeat(v, c // groups, axis=1) for v in (scale, bias))
        return [rows.reshape(x.shape) * scale.reshape(-1, 1, c, *ones) + bias.reshape(-1, 1, c, *ones)]

    return run


def lp_normalization(site: Site) -> RealFn:
    """``x / sum(abs(x))`` or ``x / sqrt(sum(x * x))`` along an axis."""
    attrs, n = site.node.attributes, len(site.input(0).shape)
    assert isinstance(attrs, LpNorm)
    axis = normal_axis(attrs.axis, n) + 1

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        total = (
            np.abs(x).sum(axis=axis, keepdims=True) if attrs.p == 1 else np.sqrt((x * x).sum(axis=axis, keepdims=True))
        )
        return [np.where(total == 0, x.dtype.type(0), x / total)]

    return run


def _arg(function: Callable[..., Any]) -> Binding:
    def bind(site: Site) -> RealFn:
        attrs, shape = site.node.attributes, site.input(0).shape
        assert isinstance(attrs, ArgAxis)
        axis = normal_axis(attrs.axis, len(shape))

        def run(values: Values) -> list[Array]:
            x = value(values, 0)
            found = function(np.flip(x, axis + 1) if attrs.last else x, axis=axis + 1, keepdims=attrs.keep)
            return [shape[axis] - 1 - found if attrs.last else found]

        return run

    return bind


def cumsum(site: Site) -> RealFn:
    """Running sums along an axis."""
    attrs, x = site.node.attributes, site.input(0)
    assert isinstance(attrs, RunningSum)
    axis = normal_axis(int(scalar(site.input(1), "axis")), len(x.shape)) + 1
    return lambda values: [running_sum(value(values, 0), axis, exclusive=attrs.exclusive, reverse=attrs.reverse)]


def _places(size: int, count: int, ratio: float, place: str) -> Array:
    """Where the output's pixels lie on the input's."""
    i = np.arange(count, dtype=np.float64)
    if place == "align_corners":
        return np.asarray(i * ((size - 1) / (count - 1) if count > 1 else 0))
    if place == "asymmetric":
        return np.asarray(i / ratio)
    if place == "pytorch_half_pixel" and count == 1:
        return np.zeros(1)
    at = (i + 0.5) / ratio - 0.5
    if place == "half_pixel_symmetric":
        at += size / 2 * (1 - count / (ratio * size))
    return np.asarray(at)


_NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _cubic(x: Array, axis: int, at: Array, attrs: OnnxResize) -> Array:
    """Values at the real positions ``at`` by the cubic convolution of four neighbours; the edges repeat."""
    a, size = attrs.cubic, x.shape[axis]
    first = np.floor(at).astype(np.int64) - 1
    t = at - np.floor(at)
    cells = first[:, None] + np.arange(4)
    d = np.abs(np.stack([t + 1, t, 1 - t, 2 - t], axis=1))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weight = np.where(d <= 1, near, far)
    if attrs.exclude:
        weight = np.where((cells >= 0) & (cells < size), weight, 0)
        weight /= weight.sum(axis=1, keepdims=True)
    picked = np.take(x, np.clip(cells, 0, size - 1), axis)
    shape = [1] * picked.ndim
    shape[axis], shape[axis + 1] = weight.shape
    return np.asarray((picked * weight.reshape(shape).astype(x.dtype)).sum(axis=axis + 1))


def resize(site: Site) -> RealFn:
    """The input at other sizes: its nearest pixel, or straight lines or cubic curves between pixels, axis by axis."""
    attrs, x = site.node.attributes, site.input(0)
    assert isinstance(attrs, OnnxResize)
    shape, ratios = scales(list(site.inputs), attrs)
    axes = [i for i, (a, b) in enumerate(zip(x.shape, shape, strict=True)) if a != b or ratios[i] != 1]
    places = {i: _places(x.shape[i], shape[i], ratios[i], attrs.place) for i in axes}

    def run(values: Values) -> list[Array]:
        y = value(values, 0)
        for i, at in places.items():
            if attrs.mode == "linear":
                y = interpolate(y, i + 1, at)
            elif attrs.mode == "cubic":
                y = _cubic(y, i + 1, at, attrs)
            else:
                near = _NEAREST[attrs.nearest](np.round(at, 9)).astype(np.int64)
                y = np.take(y, np.clip(near, 0, x.shape[i] - 1), i + 1)
        return [y]

    return run


def qlinear_concat(site: Site) -> RealFn:
    """The inputs, one after the other along an axis."""
    attrs = site.node.attributes
    assert isinstance(attrs, Axis)
    axis = normal_axis(attrs.axis, len(site.outputs[0].shape)) + 1

    def run(values: Values) -> list[Array]:
        parts = [v for v in values[2::3] if v is not None]
        count = max(len(v) for v in parts)
        return [np.concatenate([np.broadcast_to(v, (count, *v.shape[1:])) for v in parts], axis=axis)]

    return run


BINDINGS: dict[str, Binding] = {
    "MaxPool": lambda site: _pool(site, average=False),
    "AveragePool": lambda site: _pool(site, average=True),
    "QLinearAveragePool": lambda site: _pool(site, average=True),
    "GlobalMaxPool": _global(np.max),
    "GlobalAveragePool": _global(np.mean),
    "QLinearGlobalAveragePool": _global(np.mean),
    "Softmax": _softmax(f.softmax),
    "LogSoftmax": _softmax(f.log_softmax),
    "QLinearSoftmax": _softmax(f.softmax),
    "ReduceMean": _reduce(mean),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceL1": _reduce(lambda x, **how: np.abs(x).sum(**how)),
    "ReduceL2": _reduce(lambda x, **how: np.sqrt((x * x).sum(**how))),
    "ReduceSumSquare": _reduce(lambda x, **how: (x * x).sum(**how)),
    "ReduceLogSum": _reduce(lambda x, **how: np.log(x.sum(**how))),
    "ReduceLogSumExp": _reduce(_log_sum_exp),
    "LayerNormalization": layer_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": group_normalization,
    "LpNormalization": lp_normalization,
    "ArgMax": _arg(np.argmax),
    "ArgMin": _arg(np.argmin),
    "CumSum": cumsum,
    "Resize": resize,
    "QLinearConcat": qlinear_concat,
}
