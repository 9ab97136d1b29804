"""Sums of products on arrays: convolution, its transpose, and matrices. One implementation for all dialects.

Images are ``(M, H, W, C)``, weights ``(KH, KW, C / G, O)``. Sums run in the type of the operands: through BLAS where a sum
is long, tap by tap in depthwise layers.
"""

import numpy as np

from fxsim.model.qtype import Array
from fxsim.model.work import Geometry

COLUMN_BYTES = 1 << 24
"""room for the unfolded windows of a convolution"""
TILE_BYTES = 1 << 18
"""room for a band of rows of a depthwise layer, which stays in a core's cache"""
Padding = tuple[int, int, int, int]
"""(top, bottom, left, right)"""


def padded(x: Array, g: Geometry, pad: Padding, fill: float = 0.0) -> Array:
    """The images with a border that every window fits in."""
    top, bottom, left, right = pad
    reach_h = (g.out_h - 1) * g.stride_h + (g.kernel_h - 1) * g.dilation_h + 1 - g.in_h - top
    reach_w = (g.out_w - 1) * g.stride_w + (g.kernel_w - 1) * g.dilation_w + 1 - g.in_w - left
    bottom, right = max(bottom, reach_h), max(right, reach_w)
    if not (top or left or bottom > 0 or right > 0):
        return x
    out = np.full((len(x), g.in_h + top + bottom, g.in_w + left + right, x.shape[3]), fill, x.dtype)
    out[:, top : top + g.in_h, left : left + g.in_w] = x
    return out


def taps(x: Array, g: Geometry, rows: slice = slice(None)) -> list[Array]:
    """The cells of each window position in a padded image, ``(M, rows, OW, C)`` each: views, kernel row by kernel row."""
    first, last, _ = rows.indices(g.out_h)
    return [
        x[
            :,
            i * g.dilation_h + first * g.stride_h : i * g.dilation_h + (last - 1) * g.stride_h + 1 : g.stride_h,
            j * g.dilation_w : j * g.dilation_w + (g.out_w - 1) * g.stride_w + 1 : g.stride_w,
        ]
        for i in range(g.kernel_h)
        for j in range(g.kernel_w)
    ]


def convolve(x: Array, weight: Array, g: Geometry, pad: Padding) -> Array:
    """``y[m, i, j, o] = sum(x[m, i * stride + a * dilation - top, ..., c] * weight[a, b, c, o])``, a group at a time."""
    x = padded(x, g, pad)
    if g.groups == g.in_c and g.groups > 1:
        return _depthwise(x, weight, g)
    out = np.empty((len(x), g.out_h, g.out_w, g.out_c), x.dtype)
    depth, wide = g.in_c // g.groups, g.out_c // g.groups
    for k in range(g.groups):
        chosen = x if g.groups == 1 else x[..., k * depth : (k + 1) * depth]
        matrix = np.ascontiguousarray(weight[..., k * wide : (k + 1) * wide]).reshape(-1, wide)
        _unfolded(chosen, matrix, g, out[..., k * wide : (k + 1) * wide])
    return out


def _unfolded(x: Array, matrix: Array, g: Geometry, out: Array) -> None:
    """Windows side by side as rows, times the matrix of the weight; a band of rows at a time."""
    depth, plain = x.shape[3], g.kernel_h == g.kernel_w == g.stride_h == g.stride_w == 1
    if plain:
        out[...] = (x.reshape(-1, depth) @ matrix).reshape(out.shape)
        return
    row = g.out_w * len(matrix) * x.itemsize
    band = max(1, COLUMN_BYTES // row)
    images = max(1, band // g.out_h)
    for m in range(0, len(x), images):
        for first in range(0, g.out_h, band):
            rows = slice(first, min(first + band, g.out_h))
            columns = np.stack(taps(x[m : m + images], g, rows), axis=3)
            made = columns.reshape(-1, len(matrix)) @ matrix
            out[m : m + images, rows] = made.reshape(*columns.shape[:3], -1)


def _depthwise(x: Array, weight: Array, g: Geometry) -> Array:
    """Each output channel from one input channel: the taps, each times its weight, added up."""
    many = g.out_c // g.in_c
    flat = weight.reshape(g.kernel_h * g.kernel_w, g.in_c, many)
    out = np.empty((len(x), g.out_h, g.out_w, g.in_c, many), x.dtype)
    band = max(1, TILE_BYTES // (g.out_w * g.in_c * x.itemsize))
    for m in range(len(x)):
        for first in range(0, g.out_h, band):
            rows = slice(first, min(first + band, g.out_h))
            cells = taps(x[m : m + 1], g, rows)
            room = np.empty_like(cells[0], order="C")
            for k in range(many):
                total = cells[0] * flat[0, :, k]
                for cell, w in zip(cells[1:], flat[1:, :, k], strict=True):
                    np.multiply(cell, w, out=room)
                    total += room
                out[m, rows, ..., k] = total[0]
    return out.reshape(len(x), g.out_h, g.out_w, g.out_c)


def spread(
    x: Array,
    weight: Array,
    size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    before: tuple[int, int],
) -> Array:
    """The transpose of a convolution: each cell adds its products to the window it came from; ``weight (KH, KW, C, O)``.

    ``before`` rows and columns are cut off at the start; ``size`` is the output's height and width.
    """
    m, h, w, c = x.shape
    kh, kw, _, o = weight.shape
    (sh, sw), (dh, dw), (top, left) = stride, dilation, before
    reach = max(top + size[0], (h - 1) * sh + (kh - 1) * dh + 1), max(left + size[1], (w - 1) * sw + (kw - 1) * dw + 1)
    out = np.zeros((m, *reach, o), x.dtype)
    flat = x.reshape(-1, c)
    for i in range(kh):
        for j in range(kw):
            made = (flat @ weight[i, j]).reshape(m, h, w, o)
            out[:, i * dh : i * dh + (h - 1) * sh + 1 : sh, j * dw : j * dw + (w - 1) * sw + 1 : sw] += made
    return out[:, top : top + size[0], left : left + size[1]]
