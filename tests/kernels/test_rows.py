"""Kernels of rows and of element functions: against twins on Python ints, and against the real functions."""

import math

import numpy as np
import pytest

from fxsim.arith import roots, tables
from fxsim.arith.multiplier import float32, quantize_multiplier
from fxsim.arith.overflow import wrap
from fxsim.kernels import pointwise
from fxsim.kernels.requantize import product
from fxsim.kernels.softmax import l2_normalize, log_softmax, softmax16
from tests import naive

BYTES = np.arange(-128, 128)


def pairs(step: int = 5):
    """Every ``step``-th pair of bytes, and all pairs of the ends."""
    some = np.unique(np.concatenate([BYTES[::step], [-128, -127, -1, 0, 1, 126, 127]]))
    return tuple(g.reshape(-1).astype(np.int8) for g in np.meshgrid(some, some))


@pytest.mark.parametrize(
    ("how", "left", "join"),
    [
        ("difference", 20, lambda x, y: x - y),
        ("squared_difference", 7, lambda x, y: wrap((x - y) * (x - y), 32)),
    ],
)
def test_join_on_pairs(how, left, join):
    (a, b), zeros, q, shift = pairs(), (-128, 7), (2**30, 1342177280, 2**30), (0, -2, 2 - left)
    out = np.empty(a.size, np.int8)
    settings = (np.array(zeros), np.array(q), np.array(shift), left, 11, -128, 127)
    pointwise.join("double_rounding", "ties_away", how)(a, b, *settings, out)
    for i in range(a.size):
        x = naive.tflite_multiply((int(a[i]) + 128) << left, q[0], shift[0])
        y = naive.tflite_multiply((int(b[i]) - 7) << left, q[1], shift[1])
        assert out[i] == min(max(naive.tflite_multiply(join(x, y), q[2], shift[2]) + 11, -128), 127)
    assert 127 in out, "the data must reach the clamp"


def test_quotient_on_pairs():
    a, b = pairs()
    keep = b != 7
    (a, b), out = (a[keep], b[keep]), np.empty(int(keep.sum()), np.int8)
    q, shift = quantize_multiplier(16.0)
    pointwise.quotient()(a, b, 3, 7, q, shift, -5, -128, 127, out)
    twin = [roots.quotient(int(x) - 3, int(y) - 7, q, shift) for x, y in zip(a, b, strict=True)]
    assert out.tolist() == [min(max(v - 5, -128), 127) for v in twin]


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (tables.logistic16, (np.array(tables.SIGMOIDS), 3, 0)),
        (tables.tanh16, (np.array(tables.SIGMOIDS), 24576, 13)),
        (tables.interpolate, (np.array(tables.table_of_513(math.sin, float32, 1e-4, 0, 3e-5, 0)),)),
    ],
)
def test_each_is_the_function_of_each(function, settings):
    x = np.concatenate([np.arange(-32768, 32768, 37), [-32768, -129, -128, -1, 0, 1, 127, 128, 32767]]).astype(np.int16)
    out = np.empty(x.size, np.int16)
    pointwise.each(function)(out, x, *settings)
    plain = tuple(s.tolist() if isinstance(s, np.ndarray) else s for s in settings)
    assert out.tolist() == [function(int(v), *plain) for v in x]


def test_product_is_rescaled_at_every_step():
    rng = np.random.default_rng(3)
    x, out = rng.integers(-128, 128, (40, 4)).astype(np.int8), np.empty(40, np.int8)
    q, shift = quantize_multiplier(0.07)
    product("reduced_multiplier", "ties_pos")(x, 5, q, shift, 3, -128, 127, out)
    short = (q + (1 << 15)) >> 16
    for row, y in zip(x.tolist(), out, strict=True):
        v = row[0] - 5
        for e in row[1:]:
            v = (v * (e - 5) * short + (1 << (14 - shift))) >> (15 - shift)
        v = ((v * short + (1 << (14 - shift))) >> (15 - shift)) + 3
        assert y == min(max(v, -128), 127)


@pytest.mark.parametrize("depth", [1, 2, 17, 700])
def test_softmax16_is_near_the_real_function(depth):
    rng = np.random.default_rng(depth)
    x, scale = rng.integers(-32768, 32768, (5, depth)).astype(np.int16), 1e-4
    out, (q, shift) = np.empty(x.shape, np.int16), quantize_multiplier(scale * 65535 / 10)
    exps = np.array(tables.table_of_513(math.exp, float, 10 / 65535, 32767, 2 / 65535, 0))
    inverse = np.array(tables.table_of_513(lambda v: 1 / (1 + v), float, 1 / 65535, -32768, 2 / 65535, 0))
    softmax16("double_rounding", "ties_away")(x, q, shift, exps, inverse, out)
    e = np.exp(scale * (x.astype(np.float64) - x.max(axis=1, keepdims=True)))
    assert np.abs(out / 32768 - e / e.sum(axis=1, keepdims=True)).max() < 1e-3


@pytest.mark.parametrize("depth", [1, 2, 12, 600])
def test_log_softmax_is_within_one_of_the_real_function(depth):
    rng = np.random.default_rng(depth)
    x, scale, shift = rng.integers(-128, 128, (6, depth)).astype(np.int8), 0.05, 22
    x[0], x[1, 0] = -128, 127
    q, back = (
        round(scale * 2**26 / 2**shift * 2**31),
        quantize_multiplier((1 << (31 - shift)) / (scale * 2**57 / 2**shift)),
    )
    out = np.empty(x.shape, np.int8)
    assert log_softmax()(x, q, shift, *back, -(31 << 26 >> shift), -128, 127, out)
    wide = scale * (x.astype(np.float64) - x.max(axis=1, keepdims=True))
    real = 16 * (wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))) + 127
    assert np.abs(out - np.maximum(real, -128)).max() <= 1


@pytest.mark.parametrize(("left", "zero"), [(0, 0), (7, 128)])
def test_l2_normalize_is_within_one_of_the_real_function(left, zero):
    rng = np.random.default_rng(left)
    x = rng.integers(0, 256, (8, 33))
    x[0], x[1] = 100, 0
    low, out = zero - 128, np.empty(x.shape, np.int64)
    l2_normalize("double_rounding", "ties_away")(x, 100, left, zero, low, low + 255, out)
    wide = x - 100.0
    norm = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    real = np.clip(128 * wide / np.maximum(norm, 1) + zero, low, low + 255)
    assert np.abs(out - real).max() <= 1
    assert np.all(out[0] == zero)
