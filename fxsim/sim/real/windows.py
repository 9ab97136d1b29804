"""Pools, reductions and resizing of TFLite as real functions."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.ops.pool import Pool2D, pool_geometry
from fxsim.model.ops.reduce import CumSum, Reduce, one_axis, reduced_axes
from fxsim.model.ops.resize import Resize
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import Site
from fxsim.sim.real.base import Binding, RealFn, Values, activate, value
from fxsim.sim.real.products import Padding, padded, taps


def greatest(x: Array, g: Geometry, pad: Padding) -> Array:
    """The greatest cell of each window; cells outside of the image ``(M, H, W, C)`` do not count."""
    low = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    cells = taps(padded(x, g, pad, low), g)
    out = cells[0].copy()
    for cell in cells[1:]:
        np.maximum(out, cell, out=out)
    return out


def sums(x: Array, g: Geometry, pad: Padding) -> Array:
    """The sum of each window's cells."""
    return np.asarray(reduce(np.add, taps(padded(x, g, pad), g)))


def counts(g: Geometry, pad: Padding) -> Array:
    """How many cells of the image each window holds: ``(OH, OW, 1)``."""
    return np.asarray(sums(np.ones((1, g.in_h, g.in_w, 1)), g, pad)[0])


def _pool(site: Site, *, average: bool) -> RealFn:
    attrs, shape, act = site.node.attributes, site.outputs[0].shape, activate(site)
    assert isinstance(attrs, Pool2D)
    g = pool_geometry(list(site.inputs), attrs)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w)
    pad = (top, 0, left, 0)
    divisor = counts(g, pad)

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        x = x.reshape(-1, *x.shape[2:])
        y = sums(x, g, pad) / divisor.astype(x.dtype) if average else greatest(x, g, pad)
        return [act(y).reshape(-1, *shape)]

    return run


def reduction(f: Callable[..., Array], axes: tuple[int, ...], *, keep: bool) -> RealFn:
    """``f`` over the axes of the tensor."""
    behind = tuple(a + 1 for a in axes)

    def run(values: Values) -> list[Array]:
        return [f(value(values, 0), axis=behind, keepdims=keep) if behind else value(values, 0)]

    return run


def _reduce(f: Callable[..., Array]) -> Binding:
    def bind(site: Site) -> RealFn:
        attrs = site.node.attributes
        assert isinstance(attrs, Reduce)
        return reduction(f, reduced_axes(list(site.inputs)), keep=attrs.keep_dims)

    return bind


def mean(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """The mean over ``axis``; of integers toward zero."""
    y = np.asarray(np.mean(x, axis=axis, keepdims=keepdims))
    return y if x.dtype.kind == "f" else np.trunc(y).astype(x.dtype)


def _arg(f: Callable[..., Any]) -> Binding:
    def bind(site: Site) -> RealFn:
        axis = one_axis(list(site.inputs)) + 1
        return lambda values: [f(value(values, 0), axis=axis)]

    return bind


def running_sum(x: Array, axis: int, *, exclusive: bool, reverse: bool) -> Array:
    """Sums of what comes up to each element along ``axis``, or before it (``exclusive``), or from the end (``reverse``)."""
    x = np.flip(x, axis) if reverse else x
    y = np.cumsum(x, axis, dtype=x.dtype)
    if exclusive:
        y = np.roll(y, 1, axis)
        y[(slice(None),) * axis + (slice(0, 1),)] = 0
    return np.flip(y, axis) if reverse else y


def cumsum(site: Site) -> RealFn:
    """Running sums along an axis."""
    attrs, axis = site.node.attributes, one_axis(list(site.inputs)) + 1
    assert isinstance(attrs, CumSum)
    return lambda values: [running_sum(value(values, 0), axis, exclusive=attrs.exclusive, reverse=attrs.reverse)]


def interpolate(x: Array, axis: int, at: Array) -> Array:
    """Values at the real positions ``at`` along ``axis``, straight lines between neighbours, constant beyond the ends."""
    size = x.shape[axis]
    at = np.clip(at, 0, size - 1)
    before = np.floor(at).astype(np.int64)
    shape = [1] * x.ndim
    shape[axis] = -1
    weight = (at - before).astype(x.dtype).reshape(shape)
    low, high = np.take(x, before, axis), np.take(x, np.minimum(before + 1, size - 1), axis)
    return np.asarray(low + (high - low) * weight)


def _positions(size: int, count: int, attrs: Resize) -> Array:
    """Where the output's pixels lie on the input's; the two sizes meet at corners or at edges."""
    corners = attrs.align_corners and count > 1
    i = np.arange(count) + (0.5 if attrs.half_pixel_centers else 0)
    at: Array = i * ((size - corners) / (count - corners))
    return at


def _resize(site: Site, *, linear: bool) -> RealFn:
    attrs = site.node.attributes
    assert isinstance(attrs, Resize)
    if attrs.align_corners and attrs.half_pixel_centers:
        raise UnsupportedOp("align_corners and half_pixel_centers are both true; supported: at most one")
    sizes = zip(site.input(0).shape[1:3], site.outputs[0].shape[1:3], strict=True)
    places = [_positions(size, count, attrs) for size, count in sizes]

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        for axis, at in enumerate(places, 2):
            if linear:
                x = interpolate(x, axis, at - 0.5 if attrs.half_pixel_centers else at)
            else:
                near = np.floor(at + 0.5 if attrs.align_corners else at + 1e-7).astype(np.int64)
                x = np.take(x, np.clip(near, 0, x.shape[axis] - 1), axis)
        return [x]

    return run


def top_k(site: Site) -> RealFn:
    """The ``k`` greatest values of each row and their positions; of equal values the first come first."""
    k = site.outputs[0].shape[-1]

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        order = np.argsort(-x, axis=-1, kind="stable")[..., :k]
        return [np.take_along_axis(x, order, -1), order]

    return run


BINDINGS: dict[str, Binding] = {
    "AVERAGE_POOL_2D": lambda site: _pool(site, average=True),
    "MAX_POOL_2D": lambda site: _pool(site, average=False),
    "MEAN": _reduce(mean),
    "SUM": _reduce(np.sum),
    "REDUCE_PROD": _reduce(np.prod),
    "REDUCE_MAX": _reduce(np.max),
    "REDUCE_MIN": _reduce(np.min),
    "REDUCE_ANY": _reduce(np.any),
    "REDUCE_ALL": _reduce(np.all),
    "ARG_MAX": _arg(np.argmax),
    "ARG_MIN": _arg(np.argmin),
    "CUMSUM": cumsum,
    "TOPK_V2": top_k,
    "RESIZE_BILINEAR": lambda site: _resize(site, linear=True),
    "RESIZE_NEAREST_NEIGHBOR": lambda site: _resize(site, linear=False),
}
