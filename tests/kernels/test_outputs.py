"""Requantization, pointwise, pooling and softmax kernels against exact twins, on data that holds ties and limits."""

from fractions import Fraction

import numpy as np
import pytest

from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import double_rounding, single_rounding
from fxsim.arith.rounding import RULES
from fxsim.kernels import pointwise, pool
from fxsim.kernels.requantize import requantize
from fxsim.kernels.softmax import softmax
from tests import naive

ACC = np.concatenate([np.arange(-600, 601), [-(2**31), -(2**31) + 1, 2**31 - 2, 2**31 - 1]]).astype(np.int32)
WIDE = (-(1 << 31), (1 << 31) - 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scheme", ["double_rounding", "single_rounding"])
def test_integer_requantize_equals_python_ints(scheme, rule):
    q, shift = np.array([2**30, 2**30, 1518500250, 2**31 - 1]), np.array([0, -4, -9, 1])
    acc = np.repeat(ACC[:, None], 4, axis=1)
    twin = {"double_rounding": double_rounding, "single_rounding": single_rounding}[scheme]
    for low, high in (WIDE, (-128, 127)):
        out = np.empty(acc.shape, np.int64)
        requantize(scheme, rule)(acc, q, shift, np.ones(4), -5, low, high, out)
        expected = [
            [
                min(max(wrap(twin(RULES[rule], int(a), int(m), int(s)) - 5, 32), low), high)
                for m, s in zip(q, shift, strict=True)
            ]
            for a in ACC
        ]
        assert out.tolist() == expected
    exact_ties = sum((int(a) * 2**30) % 2**35 == 2**34 for a in ACC)
    assert exact_ties >= 37, "the data must hold ties"
    assert any(v in (-128, 127) for row in expected for v in row), "the data must reach the clamp"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("saturating", [False, True])
@pytest.mark.parametrize(("scheme", "dtype"), [("float64", np.float64), ("float32", np.float32)])
def test_float_requantize_is_one_product_and_one_rounding(scheme, dtype, rule, saturating):
    scales = np.array([0.5, 0.03125, 0.1, 1.7], dtype)
    acc = np.repeat(ACC[:, None], 4, axis=1)
    out = np.empty(acc.shape, np.int64)
    requantize(scheme, rule, saturating)(acc, np.zeros(4, np.int64), np.zeros(4, np.int64), scales, 3, *WIDE, out)
    for row, a in zip(out.tolist(), ACC, strict=True):
        for v, s in zip(row, scales, strict=True):
            exact = naive.round_fraction(Fraction(float(dtype(a) * s)), rule)
            cast = exact if WIDE[0] <= exact <= WIDE[1] else WIDE[0]
            wrapped = (cast + 3 + 2**31) % 2**32 - 2**31
            assert v == (min(max(exact + 3, WIDE[0]), WIDE[1]) if saturating else wrapped)


def test_quantize_float_on_ties_and_limits():
    x = np.concatenate([np.arange(-300, 300) / 8, [1e9, -1e9, 0.49999997, -0.49999997]]).astype(np.float32)
    out = np.empty(x.size, np.int8)
    pointwise.quantize("ties_away", True)(x, np.float32(0.25), -3, -128, 127, out)
    expected = [
        min(max(naive.round_fraction(Fraction(float(np.float32(v / np.float32(0.25)))), "ties_away") - 3, -128), 127)
        for v in x
    ]
    assert out.tolist() == expected
    assert {-128, 127} <= set(expected)


def test_add_on_all_pairs():
    a, b = (g.reshape(-1).astype(np.int8) for g in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    q, shift, out = np.array([2**30, 1342177280, 1717986918]), np.array([0, -2, -18]), np.empty(a.size, np.int8)
    pointwise.join("double_rounding", "ties_away", "sum")(a, b, np.array([-128, 7]), q, shift, 20, 11, -128, 127, out)
    sample = np.random.default_rng(0).choice(a.size, 4000, replace=False)
    for i in sample:
        x = naive.tflite_multiply((int(a[i]) + 128) << 20, int(q[0]), 0)
        y = naive.tflite_multiply((int(b[i]) - 7) << 20, int(q[1]), -2)
        assert out[i] == min(max(naive.tflite_multiply(x + y, int(q[2]), -18) + 11, -128), 127)


@pytest.mark.parametrize("pad", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1)])
def test_average_pool_ties_and_signs(pad):
    rng = np.random.default_rng(1)
    x = rng.integers(-3, 4, (1, 7, 8, 5)).astype(np.int8)
    expected = naive.average_pool(x, (2, 2), (1, 2), pad)
    out = np.empty(expected.shape, np.int8)
    pool.average("ties_away")(x, (2, 2, 1, 2, pad[0], pad[2]), -128, 127, out)
    assert np.array_equal(out, expected)
    ties = [x[0, i : i + 2, j : j + 2, k].sum() % 4 == 2 for i in range(6) for j in range(7) for k in range(5)]
    assert sum(ties) > 20


def test_max_pool_with_padding_and_clamp():
    x = np.full((1, 3, 3, 2), -128, np.int8)
    x[0, 1, 1] = (5, -7)
    out = np.empty((1, 3, 3, 2), np.int8)
    pool.maximum()(x, (3, 3, 1, 1, 1, 1), -10, 4, out)
    assert np.all(out[..., 0] == 4)
    assert np.all(out[..., 1] == -7)


@pytest.mark.parametrize("depth", [1, 2, 12, 1000])
def test_softmax_is_within_one_lsb_of_the_real_function(depth):
    rng = np.random.default_rng(depth)
    x = rng.integers(-128, 128, (6, depth)).astype(np.int8)
    x[0], x[1, 0] = -128, 127
    out, scale, shift = np.empty(x.shape, np.int8), 0.05, 22
    q = round(scale * 2**26 / 2**shift * 2**31)
    softmax()(x, q, shift, -(31 << 26 >> shift), -128, 127, out)
    wide = x.astype(np.float64)
    e = np.exp(scale * (wide - wide.max(axis=1, keepdims=True)))
    real = np.minimum(256 * e / e.sum(axis=1, keepdims=True) - 128, 127)
    assert np.abs(out - real).max() <= 1


def test_quantize_beyond_32_bits():
    """x86 turns them into -2**31 whatever their sign, and adding a negative zero point wraps; Arm saturates."""
    x, out = np.array([3e9, -3e9, 1e30, -1e30, 2147483520.0], np.float32), np.empty(5, np.int8)
    pointwise.quantize("ties_away", False)(x, np.float32(1), -3, -128, 127, out)
    assert out.tolist() == [127, 127, 127, 127, 127]
    pointwise.quantize("ties_away", False)(x, np.float32(1), 3, -128, 127, out)
    assert out.tolist() == [-128, -128, -128, -128, 127]
    pointwise.quantize("ties_away", True)(x, np.float32(1), -3, -128, 127, out)
    assert out.tolist() == [127, -128, 127, -128, 127]
