"""Layers with weights of ONNX: Conv, ConvTranspose, MatMul, Gemm, and what QLinear operators stand for.

Images are ``(N, C, H, W)``; they are computed, and lie in memory, with the channels last.
"""

import numpy as np

from fxsim.model.ops.onnx_conv import OnnxConv, OnnxConvTranspose, conv_2d, transpose_2d, two_d
from fxsim.model.ops.onnx_dense import PLACES, Gemm
from fxsim.model.qtype import Array, Shape
from fxsim.sim.base import Site
from fxsim.sim.onnx_base import numbers
from fxsim.sim.real.base import RealFn, Values, aligned, optional, shared, value
from fxsim.sim.real.products import convolve, spread


def channels_last(x: Array) -> Array:
    """``(n, N, C, [H,] W)`` as ``(n * N, H, W, C)``."""
    shape = two_d(x.shape[1:])
    return x.reshape(-1, *shape[1:]).transpose(0, 2, 3, 1)


def channels_first(y: Array, shape: Shape) -> Array:
    """``(n * N, H, W, C)`` as ``(n, *shape)``, in the memory that it has."""
    return y.transpose(0, 3, 1, 2).reshape(-1, *shape)


def _conv(site: Site, weight: int, bias: int) -> RealFn:
    attrs, shape = site.node.attributes, site.outputs[0].shape
    assert isinstance(attrs, OnnxConv)
    g, pad = conv_2d(site.input(0), site.input(weight), attrs)
    size = (g.out_c, g.in_c // g.groups, g.kernel_h, g.kernel_w)

    def run(values: Values) -> list[Array]:
        w, b = value(values, weight).reshape(size).transpose(2, 3, 1, 0), optional(values, bias)
        y = convolve(channels_last(value(values, 0)), w, g, pad)
        if b is not None:
            y += b
        return [channels_first(y, shape)]

    return shared((weight, bias), run)


def conv(site: Site) -> RealFn:
    """``y = sum(x * w) + bias`` over a sliding window."""
    return _conv(site, 1, 2)


def _bias_scale(site: Site, position: int, count: int) -> Array:
    """``x_scale * w_scale``: what a bias of int32 is measured in."""
    return numbers(site, 1, 1) * numbers(site, position, count)


def qlinear_conv(site: Site) -> RealFn:
    """As Conv, of real values; a bias of int32 is measured in ``x_scale * w_scale``."""
    run, unit = _conv(site, 3, 8), _bias_scale(site, 4, site.outputs[0].shape[1])

    def with_bias(values: Values) -> list[Array]:
        b = optional(values, 8)
        return list(run(values if b is None else [*values[:8], (b * unit).astype(value(values, 0).dtype)]))

    return with_bias


def conv_transpose(site: Site) -> RealFn:
    """The transpose of Conv: ``y[i * stride + a - before] += x[i] * w[a]``, plus bias."""
    attrs, shape = site.node.attributes, site.outputs[0].shape
    assert isinstance(attrs, OnnxConvTranspose)
    g, before = transpose_2d(site.input(0), site.input(1), attrs)
    depth, size = g.in_c // g.groups, (g.in_c, g.out_c // g.groups, g.kernel_h, g.kernel_w)
    places = ((g.out_h, g.out_w), (g.stride_h, g.stride_w), (g.dilation_h, g.dilation_w), before)

    def run(values: Values) -> list[Array]:
        x, w = channels_last(value(values, 0)), value(values, 1).reshape(size).transpose(2, 3, 0, 1)
        groups = (slice(k * depth, (k + 1) * depth) for k in range(g.groups))
        y = np.concatenate([spread(x[..., k], w[:, :, k], *places) for k in groups], axis=-1)
        b = optional(values, 2)
        return [channels_first(y if b is None else y + b, shape)]

    return shared((1, 2), run)


def product(a: Array, b: Array) -> Array:
    """``a @ b`` of stacked tensors by numpy's rules: a vector is a row or a column."""
    rows, columns = a.ndim == 2, b.ndim == 2
    a, b = aligned([a[:, np.newaxis] if rows else a, b[..., np.newaxis] if columns else b])
    k, n = b.shape[-2:]
    if b.size == k * n:  # one matrix for all: one product of long matrices
        y = (a.reshape(-1, k) @ b.reshape(k, n)).reshape(*a.shape[:-1], n)
    else:
        y = a @ b
    y = y[..., 0] if columns else y
    return np.asarray(y.squeeze(-1 if columns else -2) if rows else y)


def matmul(site: Site) -> RealFn:
    """``a @ b`` on the last two axes; leading axes broadcast."""
    weight = PLACES[site.node.op].weight
    return lambda values: [product(value(values, 0), value(values, weight))]


def gemm(site: Site) -> RealFn:
    """``alpha * a' @ b' + beta * c``; a bias of int32 is measured in ``alpha * a_scale * b_scale`` (QGemm)."""
    attrs, place = site.node.attributes, PLACES[site.node.op]
    assert isinstance(attrs, Gemm)
    unit = attrs.beta if site.node.op == "Gemm" else _bias_scale(site, 4, site.outputs[0].shape[1]) * attrs.alpha

    def run(values: Values) -> list[Array]:
        a, b, c = value(values, 0), value(values, place.weight), optional(values, place.bias)
        a, b = a.swapaxes(-1, -2) if attrs.transpose_a else a, b.swapaxes(-1, -2) if attrs.transpose_b else b
        y = product(a, b)
        y = y if attrs.alpha == 1 else y * y.dtype.type(attrs.alpha)
        return [y if c is None else np.add(*aligned([y, (c * unit).astype(y.dtype)]))]

    return run


BINDINGS = {
    "Conv": conv,
    "QLinearConv": qlinear_conv,
    "ConvTranspose": conv_transpose,
    "MatMul": matmul,
    "QLinearMatMul": matmul,
    "Gemm": gemm,
    "QGemm": gemm,
}
