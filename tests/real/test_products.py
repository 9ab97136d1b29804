"""Convolutions and their transposes, against loops in float64; bands and tiles of every size give the same."""

import itertools

import numpy as np
import pytest

from fxsim.model.work import Geometry
from fxsim.sim.real import products
from tests.real.conftest import error


def naive(x, w, g, pad):
    """The definition, one product after the other."""
    y = np.zeros((len(x), g.out_h, g.out_w, g.out_c))
    depth, wide = g.in_c // g.groups, g.out_c // g.groups
    for m, i, j, o in np.ndindex(y.shape):
        for a, b, c in itertools.product(range(g.kernel_h), range(g.kernel_w), range(depth)):
            row = i * g.stride_h + a * g.dilation_h - pad[0]
            column = j * g.stride_w + b * g.dilation_w - pad[2]
            if 0 <= row < g.in_h and 0 <= column < g.in_w:
                y[m, i, j, o] += x[m, row, column, o // wide * depth + c] * w[a, b, c, o]
    return y


SHAPES = [  # in_h, in_w, in_c, out_c, kernel, stride, dilation, groups, pad
    (5, 6, 3, 4, (3, 3), (1, 1), (1, 1), 1, (1, 1, 1, 1)),
    (5, 6, 3, 4, (1, 1), (1, 1), (1, 1), 1, (0, 0, 0, 0)),
    (5, 6, 3, 4, (1, 1), (2, 2), (1, 1), 1, (0, 0, 0, 0)),
    (7, 5, 4, 6, (2, 3), (2, 1), (1, 2), 2, (0, 1, 2, 0)),
    (6, 7, 4, 4, (3, 3), (2, 2), (1, 1), 4, (0, 1, 0, 1)),
    (6, 7, 3, 6, (3, 2), (1, 2), (2, 1), 3, (1, 2, 0, 1)),
    (4, 4, 1, 3, (3, 3), (1, 1), (1, 1), 1, (1, 1, 1, 1)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("room", [1, 1 << 20])
def test_convolution_is_its_definition(shape, room, rng, monkeypatch):
    monkeypatch.setattr(products, "COLUMN_BYTES", room)
    monkeypatch.setattr(products, "TILE_BYTES", room)
    h, w, c, o, (kh, kw), (sh, sw), (dh, dw), groups, pad = shape
    oh = (h + pad[0] + pad[1] - (kh - 1) * dh - 1) // sh + 1
    ow = (w + pad[2] + pad[3] - (kw - 1) * dw - 1) // sw + 1
    g = Geometry(3, h, w, c, oh, ow, o, kh, kw, sh, sw, dh, dw, groups)
    x, weight = rng.normal(size=(3, h, w, c)), rng.normal(size=(kh, kw, c // groups, o))
    wanted = naive(x, weight, g, pad)
    assert error(products.convolve(x, weight, g, pad), wanted) < 1e-14
    assert error(products.convolve(x.astype("f4"), weight.astype("f4"), g, pad), wanted) < 1e-6


def test_spread_is_the_transpose(rng):
    """``<conv(x), y> = <x, spread(y)>`` for every pair, with stride, dilation and padding."""
    g = Geometry(1, 9, 8, 2, 4, 3, 3, 3, 2, 2, 3, 1, 2)
    x, y, w = rng.normal(size=(1, 9, 8, 2)), rng.normal(size=(1, 4, 3, 3)), rng.normal(size=(3, 2, 2, 3))
    left = (products.convolve(x, w, g, (1, 0, 1, 0)) * y).sum()
    back = products.spread(y, w.transpose(0, 1, 3, 2), (9, 8), (2, 3), (1, 2), (1, 1))
    assert abs(left - (x * back).sum()) < 1e-12 * abs(left)
