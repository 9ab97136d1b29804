"""Binds Conv, QLinearConv and ConvInteger of ONNX."""

from dataclasses import dataclass

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.kernels.float_sums import blocked, eighths
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
    """``y = sum(x * w) + bias``: ``exact``, rounded to float32 once, or as an engine's variant adds the products.

    Where the variant's order is not known, sums are exact: the engine's last bits are its own there.
    """
    _, w, g, pad = _prepared(site, 1)
    order = _order(site.variant("exact", "gemm", *BLOCKS), g, pad, w, site.optional(2))
    total, shape = _exact if order is None else order.sums, site.outputs[0].shape

    def run(values: Values) -> list[Array]:
        image, bias = _channels_last(value(values, 0), pad, 0), value(values, 2)
        sums = total(image, value(values, 1), g)
        if bias is not None:
            sums += bias.reshape(-1, 1, 1)
        return [sums.astype(np.float32).reshape(shape)]

    return bound(site, run)


def _exact(x: Array, weight: Array, g: Geometry) -> Array:
    """float64 sums ``(N, O, OH, OW)`` of a padded image ``(N, H, W, C)``."""
    taps, per, og = _taps(weight).astype(np.float64), g.in_c // g.groups, g.out_c // g.groups
    x, total = x.astype(np.float64), np.zeros((g.batch, g.out_h, g.out_w, g.out_c))
    for i in range(g.kernel_h):
        for j in range(g.kernel_w):
            rows = x[:, i * g.dilation_h :: g.stride_h][:, : g.out_h]
            tap = rows[:, :, j * g.dilation_w :: g.stride_w][:, :, : g.out_w]
            for k in range(g.groups):
                of = slice(k * og, (k + 1) * og)
                total[..., of] += tap[..., k * per : (k + 1) * per] @ taps[i, j, :, of]
    return total.transpose(0, 3, 1, 2)


BLOCKS = {"nchwc8": 8, "nchwc16": 16}
"""variant -> channels that the engine keeps side by side: one vector register's float32 numbers"""
POINTWISE = 128
"""channels that are summed at once by a kernel of one cell over such blocks"""


@dataclass(frozen=True, slots=True)
class _Order:
    """Sums of ``size`` products each, one added to the other; 0: 8 sums, each of every eighth product.

    Products come channel by channel, kernel row, kernel column; of ``channels`` channels at once, these inside.
    """

    size: int
    channels: int = 1
    fused: bool = True

    def sums(self, x: Array, weight: Array, g: Geometry) -> Array:
        """float32 sums ``(N, O, OH, OW)`` of a padded image ``(N, H, W, C)``."""
        out = np.empty((g.batch, g.groups, g.out_c // g.groups, g.out_h * g.out_w), np.float32)
        channel, tap = np.divmod(np.arange(weight[0].size), g.kernel_h * g.kernel_w)
        order = np.lexsort((channel, tap, channel // self.channels))
        columns = _columns(x, g).reshape(g.batch, -1, g.groups, order.size).transpose(0, 2, 3, 1).take(order, 2)
        rows = weight.reshape(g.groups, -1, order.size).take(order, 2)
        block = np.empty(out.shape[-1], np.float32)
        for n, k in np.ndindex(out.shape[:2]):
            a, b, c = rows[k], columns[n, k], out[n, k]
            if self.size:
                blocked(self.fused)(a, b, self.size, block, c)
            elif len(a) == 1:
                c[0] = eighths(b.T, a[0])
            else:
                c[:, 0] = eighths(a, b[:, 0])
        return out.reshape(g.batch, g.out_c, g.out_h, g.out_w)


def _order(variant: str, g: Geometry, pad: tuple[int, ...], weight: Tensor, bias: Tensor | None) -> _Order | None:
    """How a variant adds; None where it is not known.

    ``gemm``: weight times columns, on one thread: the fewer output cells, the more products a block holds; one output
    channel or cell alone goes another way. ``nchwc16``: two-dimensional layers of constants are computed in blocks of 16
    channels, if all blocks are full, or without groups also if the channels are a multiple of 4, or fewer than 16, and so are
    depthwise layers of a multiple of 4 channels; all others as ``gemm``. ``nchwc8``: of 8.

    Source: onnxruntime/core/optimizer/nchwc_transformer.cc, mlas/lib/snchwc.cpp, convolve.cpp, sgemm.cpp and x86_64
    (SconvKernelCommon.h, FgemmKernelAvx512FCommon.h, SgemmKernelM1Avx.S, SgemmKernelM1TransposeBAvx.S) @ ONNX Runtime 1.31.
    """
    per, og, taps, cells = g.in_c // g.groups, g.out_c // g.groups, g.kernel_h * g.kernel_w, g.out_h * g.out_w
    block, grouped = BLOCKS.get(variant, 0), g.groups > 1
    constant = weight.data is not None and (bias is None or bias.data is not None)
    if block and constant and len(weight.shape) == 4:
        if (per % block == og % block == 0) if grouped else (per >= block and per % 4 == 0):
            return _Order(POINTWISE if taps == 1 and not any(pad) else block * taps, block)
        if (per == og == 1 and g.out_c % 4 == 0) if grouped else per < block:
            return _Order(taps)
    steps = (g.stride_h, g.stride_w, g.dilation_h, g.dilation_w, *pad)
    special = grouped and (per, og, g.kernel_h, g.kernel_w, *steps) == (1, 2, 7, 7, 2, 2, 1, 1, 3, 3, 3, 3)
    if variant == "exact" or special:  # the engine has a kernel for that one layer
        return None
    direct = per == g.out_w == 1 and steps == (1, 1, 1, 1, 0, 0, 0, 0)  # columns are the transpose of the image's rows
    if og == 1:
        return _Order(0) if direct else _Order(4, fused=False)
    if cells == 1 and (not direct or g.in_w == 1):
        return _Order(0)
    return _Order(128 * (1 + (cells <= 64)) * (1 + (cells <= 32)) * (1 + (cells <= 16)))


BINDINGS = quietly({"QLinearConv": qlinear_conv, "ConvInteger": conv_integer, "Conv": conv})
