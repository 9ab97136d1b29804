"""Binds MaxPool, AveragePool, the global pools, and their quantized forms."""

import numpy as np

from fxsim.kernels.requantize import requantize
from fxsim.model.ops.onnx_conv import two_d
from fxsim.model.ops.onnx_pool import GlobalPool, OnnxPool, global_sizes, pool_2d
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import Bound, Site, make_scales
from fxsim.sim.onnx_base import Values, bound, pair, quietly, rounded, to_type, value


def _taps(x: Array, g: Geometry, pad: tuple[int, int, int, int], fill: float) -> list[Array]:
    """The cells of each window position, one array ``(N, C, OH, OW)`` a tap; ``fill`` lies outside the image."""
    top, bottom, left, right = pad
    reach_h = (g.out_h - 1) * g.stride_h + (g.kernel_h - 1) * g.dilation_h + 1 - g.in_h - top
    reach_w = (g.out_w - 1) * g.stride_w + (g.kernel_w - 1) * g.dilation_w + 1 - g.in_w - left
    widths = ((0, 0), (0, 0), (top, max(bottom, reach_h)), (left, max(right, reach_w)))
    x = np.pad(x.reshape(two_d(x.shape)), widths, constant_values=fill)
    return [
        x[:, :, i * g.dilation_h :: g.stride_h, j * g.dilation_w :: g.stride_w][:, :, : g.out_h, : g.out_w]
        for i in range(g.kernel_h)
        for j in range(g.kernel_w)
    ]


def max_pool(site: Site) -> Bound:
    """The greatest value of each window; cells outside the image do not count."""
    attrs, t, shape = site.node.attributes, site.input(0), site.outputs[0].shape
    assert isinstance(attrs, OnnxPool)
    g, pad = pool_2d(list(site.inputs), attrs)
    low = t.qtype.min if t.qtype.kind == "int" else -np.inf

    def run(values: Values) -> list[Array]:
        return [np.maximum.reduce(_taps(value(values, 0), g, pad, low)).reshape(shape)]

    return bound(site, run)


def _counts(g: Geometry, pad: tuple[int, int, int, int], attrs: OnnxPool) -> Array:
    """What each window's sum is divided by, ``(OH, OW)``: the cells inside the image, or those with padding."""
    top, bottom, left, right = pad
    if attrs.count_include_pad:
        inside = np.ones((1, 1, g.in_h + top + bottom, g.in_w + left + right), np.float32)
        pad = (0, 0, 0, 0)
        g = Geometry(
            1, g.in_h + top + bottom, g.in_w + left + right, 1, g.out_h, g.out_w, 1, g.kernel_h, g.kernel_w,
            g.stride_h, g.stride_w, g.dilation_h, g.dilation_w,
        )  # fmt: skip
    else:
        inside = np.ones((1, 1, g.in_h, g.in_w), np.float32)
    counts: Array = np.add.reduce(_taps(inside, g, pad, 0))[0, 0]
    return counts


def _average(site: Site) -> tuple[Geometry, tuple[int, int, int, int], Array]:
    attrs = site.node.attributes
    assert isinstance(attrs, OnnxPool)
    g, pad = pool_2d(list(site.inputs), attrs)
    return g, pad, _counts(g, pad, attrs)


def _sequential(taps: list[Array]) -> Array:
    """The sum of float32 taps, one after the other."""
    total = np.zeros(taps[0].shape, np.float32)
    for t in taps:
        total = total + t
    return total


def average_pool(site: Site) -> Bound:
    """``y = sum / count`` in float32, row after row of the window."""
    g, pad, counts = _average(site)
    shape = site.outputs[0].shape

    def run(values: Values) -> list[Array]:
        return [(_sequential(_taps(value(values, 0), g, pad, 0)) / counts).reshape(shape)]

    return bound(site, run)


def qlinear_average_pool(site: Site) -> Bound:
    """``y = clamp(round(mean(x_scale * (x - x_zero)) / y_scale + y_zero))``, all in float32.

    The zero point is added before rounding. A window that is the whole image is a global pool, and rounded as such.

    Source: onnxruntime/contrib_ops/cpu/quantization/qlinear_pool.cc @ ONNX Runtime 1.31.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, OnnxPool)
    g, pad, counts = _average(site)
    if (g.kernel_h, g.kernel_w, *pad) == (g.in_h, g.in_w, 0, 0, 0, 0):
        return _whole_image(site, g.batch, g.in_c, g.in_h * g.in_w, channels_last=False)
    if attrs.count_include_pad:  # cells beyond the padding, where ceil_mode lets a window end, count too
        counts = np.full_like(counts, g.kernel_h * g.kernel_w)
    (x_scale, x_zero), (y_scale, y_zero) = pair(site, 1, 2), pair(site, 3, 4)
    out, rule = site.outputs[0], site.numerics.requantize.rounding

    def run(values: Values) -> list[Array]:
        x = (value(values, 0).astype(np.int32) - x_zero).astype(np.float32) * x_scale
        mean = _sequential(_taps(x, g, pad, 0)) / counts
        return [to_type(out.qtype, rounded(rule, mean / y_scale + np.float32(y_zero))).reshape(out.shape)]

    return bound(site, run)


def qlinear_global_average_pool(site: Site) -> Bound:
    """``y = clamp(round((sum(x) - n * x_zero) * M) + y_zero)`` with ``M = x_scale / (y_scale * n)`` in float32.

    Source: onnxruntime/core/mlas/lib/qlgavgpool.cpp @ ONNX Runtime 1.31.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, GlobalPool)
    batch, channels, cells, _ = global_sizes(list(site.inputs), attrs)
    return _whole_image(site, batch, channels, cells, channels_last=attrs.channels_last)


def _whole_image(site: Site, batch: int, channels: int, cells: int, *, channels_last: bool) -> Bound:
    (x_scale, x_zero), (y_scale, y_zero) = pair(site, 1, 2), pair(site, 3, 4)
    out = site.outputs[0]
    r = site.numerics.requantize
    scales = make_scales(site, [(float(x_scale),)], float(y_scale * np.float32(cells)))
    kernel = requantize(r.scheme, r.rounding, True)
    axis = 1 if channels_last else 2

    def run(values: Values) -> list[Array]:
        sizes = (batch, cells, channels) if channels_last else (batch, channels, cells)
        total = value(values, 0).reshape(sizes).astype(np.int64).sum(axis=axis) - cells * x_zero
        made = np.empty((total.size, 1), out.qtype.dtype)
        flat = total.astype(np.int32).reshape(-1, 1)
        kernel(flat, scales.q, scales.shift, scales.real, y_zero, out.qtype.min, out.qtype.max, made)
        return [made.reshape(out.shape)]

    return bound(site, run)


def _global(site: Site, *, maximum: bool) -> Bound:
    shape = site.outputs[0].shape

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        flat = x.reshape(*x.shape[:2], -1)
        made = flat.max(axis=2) if maximum else flat.astype(np.float64).mean(axis=2).astype(np.float32)
        return [made.reshape(shape)]

    return bound(site, run)


def global_max_pool(site: Site) -> Bound:
    """The greatest value of each channel."""
    return _global(site, maximum=True)


def global_average_pool(site: Site) -> Bound:
    """The mean of each channel in real arithmetic, rounded to float32 once: see Conv."""
    return _global(site, maximum=False)


BINDINGS = quietly(
    {
        "MaxPool": max_pool,
        "AveragePool": average_pool,
        "GlobalMaxPool": global_max_pool,
        "GlobalAveragePool": global_average_pool,
        "QLinearAveragePool": qlinear_average_pool,
        "QLinearGlobalAveragePool": qlinear_global_average_pool,
    }
)
