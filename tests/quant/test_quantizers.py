"""The textbook's quantizers: each against its formula by a slow twin, and against its error bound."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxsim.errors import DomainError
from fxsim.model.qtype import INT4, INT8, QType, QuantParams
from fxsim.quant import quantizers as q
from tests.naive import round_fraction

floats = st.floats(-1e6, 1e6, width=32).map(lambda v: 0.0 if abs(v) < 1e-9 else v)
arrays = st.lists(floats, min_size=1, max_size=40).map(np.array)
TIES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999999999999994, -0.49999999999999994])


@pytest.mark.parametrize("rule_of", [q.ties_away])
def test_ties_away_is_exact(rule_of):
    values = [*TIES, 2.0**52 + 1, -(2.0**52) - 1, 0.0, 3.0]
    assert rule_of(values).tolist() == [round_fraction(Fraction(v), "ties_away") for v in values]


@given(arrays, st.sampled_from([0.1, 0.5, 3.0]))
@example(np.array([0.5, 1.0, -0.5, -1.0]), 0.5)
def test_uniform_floor(x, delta):
    y = q.uniform_floor(x, delta)
    assert np.array_equal(y, [delta * math.floor(v / delta) for v in x])
    slack = 1e-9 * (1 + np.abs(x))
    assert np.all((x - y >= -slack) & (x - y <= delta + slack))


@given(arrays, st.integers(-8, 8))
@example(TIES, 0)
@example(4 * TIES, 2)
def test_power_of_two_step(x, bits):
    y = q.power_of_two_step(x, bits)
    wanted = [2.0**bits * round_fraction(Fraction(v) / Fraction(2) ** bits, "ties_away") for v in x.tolist()]
    assert y.tolist() == wanted
    assert np.all(np.abs(x - y) <= 2.0**bits / 2)


@given(arrays, st.integers(2, 16), st.booleans())
@example(np.array([0.0]), 8, True)
@example(np.array([5.0, 6.0]), 4, False)
@example(np.array([-6.0, -5.0]), 4, True)
def test_min_max_affine(x, bits, signed):
    made = q.min_max_affine(x, bits, signed=signed)
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = made.quant.scale[0]
    assert made.qtype == QType(bits, signed)
    assert scale == pytest.approx((high - low) / (2**bits - 1) if high > low else 1.0, rel=1e-6)
    assert made.raw.min() >= made.qtype.min
    assert made.raw.max() <= made.qtype.max
    assert made.quant.dequantize([made.quant.zero_point[0]])[0] == 0
    assert np.all(np.abs(x - made.real) <= scale * (1 + 1e-6 * 2**bits) + 1e-12)


@given(arrays, st.integers(2, 16))
@example(np.array([1.0, -1.0]), 2)
def test_symmetric_and_power_of_two_scale(x, bits):
    made, coarse = q.symmetric(x, bits), q.power_of_two_scale(x, bits)
    for each in (made, coarse):
        scale = each.quant.scale[0]
        assert each.quant.zero_point == (0,)
        assert abs(each.raw.astype(int)).max() <= 2 ** (bits - 1) - 1
        assert np.all(np.abs(x - each.real) <= scale * (0.5 + 1e-6 * 2**bits))
    if np.any(x):
        assert math.frexp(coarse.quant.scale[0])[0] == 0.5
        assert coarse.quant.scale[0] < 2 * made.quant.scale[0] * (1 + 1e-6)


@given(
    arrays, st.sampled_from([(q.log2, b) for b in (2, 3, 4)] + [(q.additive_powers_of_two, b) for b in (2, 3, 4, 5)])
)
def test_levels_are_the_nearest(x, which):
    quantizer, bits = which
    made = quantizer(x, bits)
    levels = (q.log2_levels if quantizer is q.log2 else q.apot_levels)(bits)
    assert len(levels) <= 2**bits
    assert set(made.raw.reshape(-1).tolist()) <= set(levels.tolist())
    reach = levels * made.quant.scale[0]
    best = np.abs(x[:, None] - reach[None]).min(axis=1)
    assert np.allclose(np.abs(x - made.real), best, rtol=1e-6, atol=1e-12)


def test_log2_levels_are_powers_of_two_and_the_error_a_third():
    assert q.log2_levels(4).tolist() == [-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64]
    assert q.log2_levels(2).tolist() == [-1, 0, 1]
    x = np.linspace(-64, 64, 12801)
    made = q.log2(x, 4)
    outer = np.abs(x) >= 1
    assert np.all(np.abs(x - made.real)[outer] <= np.abs(x)[outer] / 3 + 1e-9)
    assert np.all(np.abs(x - made.real)[~outer] <= 0.5 + 1e-9)


def test_apot_levels_are_sums_of_two_powers():
    for bits, wanted in ((2, [0, 1]), (3, [0, 1, 2, 3]), (4, [0, 1, 2, 4, 5, 8, 9, 10])):
        levels = q.apot_levels(bits)
        assert levels[levels >= 0].tolist()[: len(wanted)] == wanted or bits == 4
        assert np.array_equal(levels, -levels[::-1])
        assert all(bin(abs(v)).count("1") <= 2 for v in levels.tolist())
    assert len(q.apot_levels(5)) == 2**5 - 1
    assert q.apot_levels(5).max() <= 127


def test_levels_tie_to_the_lower():
    assert q.nearest(np.array([0.5, 1.5, -0.5]), [-1, 0, 1, 2]).tolist() == [1, 2, 0]


@given(arrays, st.integers(1, 8))
@settings(max_examples=50)
def test_kmeans_ends_where_each_is_with_its_nearest_mean(x, entries):
    made = q.kmeans(x, entries, rounds=200)
    assert made.codebook.shape == (entries,)
    assert np.all(np.diff(made.codebook) >= 0)
    distance = np.abs(x[:, None] - made.codebook[None])
    assert np.allclose(np.abs(x - made.real), distance.min(axis=1))
    for k in range(entries):
        mine = x[made.index == k]
        if mine.size:
            assert made.codebook[k] == pytest.approx(mine.mean(), abs=1e-6 * (1 + np.abs(x).max()))


def test_kmeans_finds_clusters_and_weights_count():
    x = np.array([0.0, 0.1, 5.0, 5.2, 9.0])
    assert q.kmeans(x, 3).codebook.tolist() == pytest.approx([0.05, 5.1, 9.0])
    assert q.kmeans([0.0, 1.0], 1, weight=[1, 3]).codebook.tolist() == [0.75]


def test_kmeans_error_falls_with_more_entries():
    x = np.random.default_rng(0).normal(size=500)
    errors = [np.sum((x - q.kmeans(x, n).real) ** 2) for n in (2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)


@given(arrays, st.integers(1, 8))
def test_quantile_cells_hold_equally_many(x, entries):
    made = q.quantile(x, entries)
    assert np.all(np.diff(made.codebook) > 0)
    for k, entry in enumerate(made.codebook):
        assert entry == pytest.approx(x[made.index == k].mean(), rel=1e-9, abs=1e-9)
    if len(np.unique(x)) == x.size:
        count = np.bincount(made.index, minlength=entries)
        assert count.max() - count.min() <= 1


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: q.uniform_floor([1.0], 0), "delta is 0"),
        (lambda: q.uniform_floor([np.nan], 1), "1 elements, 1 not finite"),
        (lambda: q.power_of_two_step([np.inf], 1), "not finite"),
        (lambda: q.min_max_affine([], 8), "0 elements"),
        (lambda: q.symmetric([1.0], 1), r"bits is 1; allowed: 2\.\.16"),
        (lambda: q.log2([1.0], 5), r"bits is 5; allowed: 2\.\.4"),
        (lambda: q.additive_powers_of_two([1.0], 6), "bits is 6"),
        (lambda: q.kmeans([1.0], 0), "entries is 0"),
        (lambda: q.quantile([1.0], 0), "entries is 0"),
    ],
)
def test_bad_arguments(call, told):
    with pytest.raises(DomainError, match=told):
        call()


def test_to_integers_rounds_ties_away_clamps_and_minds_the_axis():
    quant = QuantParams((1.0, 2.0), (0, 0), 1)
    x = np.array([[0.5, 1.0], [-0.5, -1.0], [1000.0, 1000.0]])
    assert q.to_integers(x, INT8, quant).tolist() == [[1, 1], [-1, -1], [127, 127]]
    assert q.to_integers([-9.0, 8.0], INT4, QuantParams((1.0,), (1,))).tolist() == [-8, 7]
    assert q.to_integers([-0.1, 0.0, 7.0], QType(1), QuantParams((1.0,), (0,))).tolist() == [-1, 1, 1]
    assert q.to_integers([2.0**40, -(2.0**70)], QType(64), QuantParams((1.0,), (0,))).tolist() == [2**40, -(2**63)]
