"""Binds Conv, QLinearConv and ConvInteger of ONNX."""

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.onnx_conv import OnnxConv, conv_2d, two_d
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import Bound, Site, make_scales
from fxsim.sim.onnx_base import Values, bound, numbers, pair, quietly, value
from fxsim.sim.onnx_product import effective, numerators, products, static_layer


def _taps(weight: Array) -> Array:
    """``(O, C, KH, KW)`` as ``(KH, KW, C, O)``."""
    return weight.reshape(two_d(weight.shape)).transpose(2, 3, 1, 0)


def _channels_last(x: Array, pad: tuple[int, int, int, int], fill: int | float) -> Array:
    x = x.reshape(two_d(x.shape)).transpose(0, 2, 3, 1)
    top, bottom, left, right = pad
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill) if any(pad) else x


def _columns(x: Array, g: Geometry) -> Array:
    """``(N, OH, OW, C * KH * KW)``: what each window of the padded ``x`` holds, channel by channel."""
    taps = [
        x[:, i * g.dilation_h :: g.stride_h, j * g.dilation_w :: g.stride_w][:, : g.out_h, : g.out_w]
        for i in range(g.kernel_h)
        for j in range(g.kernel_w)
    ]
    return np.stack(taps, axis=-1).reshape(g.batch, g.out_h, g.out_w, -1)


def _prepared(site: Site, weight: int) -> tuple[Tensor, Tensor, Geometry, tuple[int, int, int, int]]:
    attrs = site.node.attributes
    assert isinstance(attrs, OnnxConv)
    x, w = site.input(0), site.input(weight)
    return x, w, *conv_2d(x, w, attrs)


def qlinear_conv(site: Site) -> Bound:
    """``y = clamp(round(M * (sum((x - x_zero) * (w - w_zero)) + bias)) + y_zero)``, ``M = x_scale * w_scale / y_scale``."""
    x, w, g, pad = _prepared(site, 3)
    x_scale, x_zero = pair(site, 1, 2)
    y_scale, y_zero = pair(site, 6, 7)
    if w.data is None:
        raise UnsupportedOp(f"weight {w.name!r} is computed at run time; supported: constants")
    scale_tensor, bias_tensor = site.input(4), site.optional(8)
    if bias_tensor is not None and bias_tensor.data is None:
        raise UnsupportedOp(f"bias {bias_tensor.name!r} is computed at run time; supported: constants")
    bias = np.zeros(g.out_c, np.int32) if bias_tensor is None else np.array(bias_tensor.data).reshape(-1)
    zeros = numbers(site, 5, g.out_c, 0).astype(np.int64)
    w_scales = numbers(site, 4, scale_tensor.elements)
    tops = tuple(numerators(float(x_scale), w_scales))
    scales = make_scales(site, tops, float(y_scale), g.out_c)
    weight, factors = (w, _taps(w.data), zeros), (tops, float(y_scale))
    return static_layer(site, g, pad, x, x_zero, weight, bias, scales, y_zero, channels_first=True, factors=factors)


def conv_integer(site: Site) -> Bound:
    """``y = sum((x - x_zero) * (w - w_zero))`` in 32 bits; the padding is the zero point.

    The engine multiplies the weight, as its first factor, by columns in the order input channel, kernel row, kernel column.

    Source: onnxruntime/core/providers/cpu/quantization/conv_integer.cc @ ONNX Runtime 1.31.
    """
    x, w, g, pad = _prepared(site, 1)
    a = effective(site.numerics.accumulator, w, x)
    shape = site.outputs[0].shape

    def run(values: Values) -> list[Array]:
        x_zero = 0 if value(values, 2) is None else int(value(values, 2).reshape(-1)[0])
        zeros = np.zeros(g.out_c, np.int64)
        zeros += 0 if value(values, 3) is None else value(values, 3).reshape(-1).astype(np.int64)
        columns = _columns(_channels_last(value(values, 0), pad, x_zero), g)
        weight = value(values, 1).reshape(g.out_c, -1).T[np.newaxis, np.newaxis]
        acc = products(a, columns, x_zero, weight, zeros, groups=g.groups)
        return [acc.transpose(0, 3, 1, 2).reshape(shape)]

    return bound(site, run)


def conv(site: Site) -> Bound:
    """``y = sum(x * w) + bias`` in real arithmetic, rounded to float32 once.

    Engines add float32 products in an order of their own, and round at each step: their last bits differ.
    """
    _, _, g, pad = _prepared(site, 1)
    shape, per, og = site.outputs[0].shape, g.in_c // g.groups, g.out_c // g.groups

    def run(values: Values) -> list[Array]:
        x = _channels_last(value(values, 0), pad, 0).astype(np.float64)
        weight, bias = _taps(value(values, 1)).astype(np.float64), value(values, 2)
        total = np.zeros((g.batch, g.out_h, g.out_w, g.out_c))
        for i in range(g.kernel_h):
            for j in range(g.kernel_w):
                rows = x[:, i * g.dilation_h :: g.stride_h][:, : g.out_h]
                tap = rows[:, :, j * g.dilation_w :: g.stride_w][:, :, : g.out_w]
                for k in range(g.groups):
                    of = slice(k * og, (k + 1) * og)
                    total[..., of] += tap[..., k * per : (k + 1) * per] @ weight[i, j, :, of]
        if bias is not None:
            total += bias.astype(np.float64)
        return [total.astype(np.float32).transpose(0, 3, 1, 2).reshape(shape)]

    return bound(site, run)


BINDINGS = quietly({"QLinearConv": qlinear_conv, "ConvInteger": conv_integer, "Conv": conv})
