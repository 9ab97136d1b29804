"""Thresholds and the normalizations that fold into them, against exact twins and QONNX's own execution."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxsim.errors import DomainError
from fxsim.fixed.qonnx import ROUNDING, bipolar_quant, int_quant
from fxsim.fixed.thresholds import (
    HIGHEST,
    LOWEST,
    fold_batch_norm,
    fold_integer_norm,
    multi_threshold,
)

COMPARES = [">=", ">"]


@given(
    st.integers(1, 4), st.integers(0, 9), st.booleans(), st.sampled_from(COMPARES), st.booleans(), st.integers(0, 2**32)
)
def test_multi_threshold_counts(channels, count, shared, compare, floats, seed):
    """Thresholds equal to values occur, unsorted and repeated."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-5, 6, (2, channels, 3)) / (2 if floats else 1)
    t = rng.integers(-5, 6, (1 if shared else channels, count)) / (2 if floats else 1)
    x, t = (x, t) if floats else (x.astype(np.int8), t.astype(np.int32))
    got = multi_threshold(x, t, compare, axis=1)
    assert got.dtype == np.int32 and got.shape == x.shape
    for i in np.ndindex(*x.shape):
        row = t[0 if shared else i[1]]
        assert got[i] == sum(x[i] >= v if compare == ">=" else x[i] > v for v in row)


def test_equal_values_are_where_libraries_differ():
    """QONNX goes up on equality, PULP-NN (``input <= threshold`` goes low) does not."""
    assert multi_threshold([3], [[3, 4]]) == 1 and multi_threshold([3], [[3, 4]], ">") == 0
    thresholds = np.arange(0, 45, 3)

    def pulp(value):
        low, high = 0, 15
        while low < high:  # pulp_nn_u4_quant's tree of comparisons
            middle = (low + high) // 2
            low, high = (low, middle) if value <= thresholds[middle] else (middle + 1, high)
        return low

    x = np.arange(-2, 50)
    assert [pulp(v) for v in x] == list(multi_threshold(x[:, None], thresholds[None], ">")[:, 0])


def test_scale_and_bias():
    x, t = np.arange(5)[:, None], [[1, 2, 3]]
    assert np.array_equal(multi_threshold(x, t, out_scale=2, out_bias=-3)[:, 0], [-3, -1, 1, 3, 3])
    got = multi_threshold(x, t, out_scale=0.1, out_bias=0.7)
    wanted = np.float32(0.1) * np.float32([0, 1, 2, 3, 3]) + np.float32(0.7)
    assert got.dtype == np.float32 and np.array_equal(got[:, 0], wanted)


def test_large_integers_are_compared_exactly():
    big = (1 << 62) + 1
    assert multi_threshold([big], [[big - 1, big, big + 1]]) == 2
    assert multi_threshold(np.float32([np.inf, -np.inf]), [[0.0, np.inf]]).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: multi_threshold([1], [[1]], "<"), "compare is '<'; allowed: '>=', '>'"),
        (lambda: multi_threshold([1], [1]), r"thresholds have shape \[1\]"),
        (lambda: multi_threshold([1, 2, 3], [[1], [2]]), "thresholds for 2 channels; allowed: 1 or 3"),
        (lambda: multi_threshold([[1]], [[1]], axis=2), "axis is 2"),
        (lambda: multi_threshold([np.nan], [[1.0]]), "x holds NaN"),
        (lambda: multi_threshold([1.0], [[np.nan]]), "thresholds holds NaN"),
        (lambda: multi_threshold([1 << 60], [[1.5]]), r"x holds integers beyond 2\*\*53"),
        (lambda: multi_threshold(["a"], [[1.5]]), "x is <U1"),
        (lambda: fold_batch_norm([0], [1], [1], [1, 2], [1]), r"lengths are \[1, 1, 2, 1\]"),
        (lambda: fold_batch_norm([0], [1], [1], [1], [-1], 1), "var . eps is 0.0 in channel 0"),
        (lambda: fold_batch_norm([0], [1], [1], [1], [1], scale=0), "scale is 0; allowed: above 0"),
        (lambda: fold_batch_norm([0], [np.inf], [1], [1], [1]), "gamma is inf"),
        (lambda: fold_integer_norm([0], [1], [1, 2], 0), "1 values of kappa, 2 of lambda"),
        (lambda: fold_integer_norm([0], [1], [1], -1), "shift is -1"),
        (lambda: fold_integer_norm([0], [1], [1], 0)(np.zeros((1, 1))), "accumulators are float64"),
        (lambda: fold_integer_norm([0], [1], [1], 0)([[1 << 31]]), "2147483648; allowed: those of int32"),
        (lambda: int_quant(1, 1, 0, 0), "bits is 0; allowed: 1..24"),
        (lambda: int_quant(1, 1, 0, 4, rounding="NEAREST"), "rounding is 'NEAREST'; allowed: 'ROUND'"),
        (lambda: int_quant(1, 0, 0, 4), "a scale is 0"),
        (lambda: bipolar_quant(np.nan), "x holds NaN"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(DomainError, match=message):
        call()


def reaches(y_minus_level, root_part, v, strict):
    """``a + b * sqrt(v) >= 0`` by bisection of the root in rationals, for values apart from 0, else by squares."""
    a, b = y_minus_level, root_part
    if a * a == b * b * v and (a == -b == 0 or (a > 0) != (b > 0)):
        return not strict  # equal
    low, high = Fraction(0), v + 1
    while True:
        ends = a + b * low, a + b * high
        if min(ends) > 0:
            return True
        if max(ends) < 0:
            return False
        middle = (low + high) / 2
        low, high = (middle, high) if middle * middle <= v else (low, middle)


SMALL = st.fractions(-4, 4, max_denominator=8)


@settings(max_examples=60)
@given(
    st.lists(SMALL, min_size=1, max_size=4), SMALL, SMALL, SMALL, st.fractions(0, 4, max_denominator=16),
    st.sampled_from([Fraction(1, 16), Fraction(1, 3), Fraction(9, 4)]),
    st.sampled_from([Fraction(1), Fraction(1, 7), Fraction(5)]), st.sampled_from(COMPARES),
)  # fmt: skip
@example([Fraction(1)], Fraction(-1), Fraction(0), Fraction(0), Fraction(0), Fraction(9, 4), Fraction(1), ">=")
@example([Fraction(0)], Fraction(0), Fraction(0), Fraction(0), Fraction(0), Fraction(1), Fraction(1), ">")
def test_folded_batch_norm_is_the_batch_norm(levels, gamma, beta, mean, var, eps, scale, compare):
    """Every code of every accumulator in -60..60, in exact arithmetic; square variances give ties."""
    folded = fold_batch_norm(levels, [gamma], [beta], [mean], [var], eps, scale, compare)
    acc = np.arange(-60, 61)
    got = folded(acc[:, None])[:, 0]
    v = var + eps
    for a, code in zip(acc, got, strict=True):
        # gamma * (s * a - mean) / sqrt(v) + beta >= level, times sqrt(v)
        wanted = sum(reaches(gamma * (scale * int(a) - mean), beta - level, v, compare == ">") for level in levels)
        assert code == wanted


def test_a_tie_of_the_normalization_is_decided_exactly():
    """(acc - 0) / sqrt(9/4) = 2 at acc = 3: ``>=`` counts it, ``>`` does not; with a negative slope at acc = -3."""
    for gamma in (1, -1):
        for compare, codes in ((">=", [0, 1, 1]), (">", [0, 0, 1])):
            folded = fold_batch_norm([2], [gamma], [0], [0], [2], 0.25, compare=compare)
            assert folded(np.array([[2], [3], [4]]) * gamma)[:, 0].tolist() == codes
            assert folded.sign.tolist() == [gamma]


def test_float32_arithmetic_would_decide_some_codes_otherwise():
    """The fold is exact for the numbers that the floats are; float32 rounds on the way."""
    rng = np.random.default_rng(0)
    size = 400
    gamma, beta, mean, var = (rng.normal(size=size).astype(np.float32) for _ in range(4))
    var = np.abs(var)
    acc = rng.integers(-100, 100, size).astype(np.int32)
    scaled = (gamma * (acc.astype(np.float32) - mean)) / np.sqrt(var + np.float32(1e-3)) + beta
    level = scaled.copy()  # every value lies on its own level in float32
    codes = [
        int(fold_batch_norm([float(s)], [g], [b], [m], [v], float(np.float32(1e-3)))(np.array([[a]], np.int32)).item())
        for s, g, b, m, v, a in zip(level, gamma, beta, mean, var, acc, strict=True)
    ]
    assert np.all(scaled >= level) and 0 < sum(codes) < size


def test_constant_and_far_thresholds():
    ends = np.array([[-(2**31)], [2**31 - 1]], np.int32)
    for gamma, beta, code in ((0, 1, 1), (0, -1, 0), (1e-30, 1, 1), (-1e-30, 1, 1), (1e-30, -1, 0), (-1e-30, -1, 0)):
        folded = fold_batch_norm([0], [gamma], [beta], [0], [1])
        assert folded(ends)[:, 0].tolist() == [code, code], (gamma, beta)
        assert folded.thresholds.item() == (LOWEST if code else HIGHEST)
    assert (
        fold_batch_norm([], [1, 2], [0, 0], [0, 0], [1, 1])(np.zeros((3, 2), int).astype(np.int32)).tolist()
        == [[0, 0]] * 3
    )


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=5), st.integers(-9, 9), st.integers(-99, 99), st.integers(0, 6),
       st.sampled_from(COMPARES))  # fmt: skip
def test_folded_integer_norm_is_the_integer_norm(levels, kappa, lambda_, shift, compare):
    acc = np.arange(-300, 301, dtype=np.int32)
    got = fold_integer_norm(levels, [kappa], [lambda_], shift, compare)(acc[:, None])[:, 0]
    y = (kappa * acc.astype(np.int64) + lambda_) >> shift
    wanted = sum(((y >= level) if compare == ">=" else (y > level)).astype(int) for level in levels)
    assert np.array_equal(got, wanted)


def test_channels_lie_along_an_axis():
    folded = fold_integer_norm([1, 2], [1, -1], [0, 0], 0)
    acc = np.arange(-3, 3, dtype=np.int16).reshape(1, 2, 3)
    assert folded(acc, axis=1).tolist() == [[[0, 0, 0], [0, 0, 0]]]
    assert folded(-acc, axis=1).tolist() == [[[2, 2, 1], [0, 1, 2]]]


def test_half_up_of_qonnx_is_not_ties_away():
    """It adds 0.5 in float32: the value below one half goes to 1."""
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert int_quant(below, 1, 0, 8, rounding="HALF_UP")[0] == 1
    assert int_quant(below, 1, 0, 8, rounding="ROUND")[0] == 0


def test_clamp_comes_before_rounding():
    """7.6 in four bits: clamped to 7 first, so that no rounding leaves the range; and 1 bit is bipolar, or 0 and 1."""
    assert int_quant([7.6, -8.4, 7.2], 1, 0, 4, rounding="UP")[0].tolist() == [7, -8, 7]
    assert int_quant([-0.0, 0.0, -1e-9, 3], 1, 0, 1)[0].tolist() == [1, 1, -1, 1]
    assert int_quant([-3, 0.5, 0.6, 3], 1, 0, 1, signed=False)[0].tolist() == [0, 0, 1, 1]
    assert int_quant([-9, 9], 1, 0, 3, narrow=True)[0].tolist() == [-3, 3]
    assert int_quant([-9, 9], 1, 0, 3, signed=False, narrow=True)[0].tolist() == [0, 6]


def live_values(rng, scale):
    """Ties of the scale, their float neighbours, both zeros, values far outside, and any."""
    ties = (np.arange(-300, 301) / 2).astype(np.float32) * np.float32(scale)
    near = np.concatenate([np.nextafter(ties, np.float32(d)) for d in (-1e9, 1e9)])
    return np.concatenate([ties, near, [0.0, -0.0, 1e9, -1e9], rng.normal(0, 20 * scale, 595)]).astype(np.float32)


def bits_equal(a, b):
    return np.array_equal(np.asarray(a, np.float32).view(np.int32), np.asarray(b, np.float32).view(np.int32))


@pytest.fixture
def qonnx():
    pytest.importorskip("onnx", reason="needs onnx (the onnx extra)")
    pytest.importorskip("qonnx", reason="needs qonnx")
    from tests.fixed.qonnx_run import run

    return run


@pytest.mark.live
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits", range(1, 9))
def test_qonnx_quant_agrees(bits, signed, qonnx, record_property):
    import onnx

    rng = np.random.default_rng(bits)
    compared = 0
    for rounding in ROUNDING:
        for narrow in (0, 1):
            for scale, zero in ((1.0, 0.0), (0.25, 3.0), (0.1, 0.0), (float(np.float32(0.37)), -2.0)):
                x = live_values(rng, scale)
                node = onnx.helper.make_node(
                    "Quant", ["x", "s", "z", "b"], ["y"], domain="qonnx.custom_op.general",
                    signed=signed, narrow=narrow, rounding_mode=rounding,
                )  # fmt: skip
                wanted = qonnx(
                    node, {"x": x, "s": np.float32(scale), "z": np.float32(zero), "b": np.float32(bits)}, x.shape
                )
                _, got = int_quant(x, scale, zero, bits, signed=bool(signed), narrow=bool(narrow), rounding=rounding)
                assert bits_equal(got, wanted), (rounding, narrow, scale)
                compared += x.size
    record_property("compared", f"Quant, {bits} bits, signed={signed}: {compared} elements")
    print(f"Quant, {bits} bits, signed={signed}: {compared} elements")


@pytest.mark.live
def test_qonnx_bipolar_quant_agrees(qonnx, record_property):
    import onnx

    compared = 0
    for scale in (1.0, 0.1, 3.0):
        x = live_values(np.random.default_rng(0), scale)
        node = onnx.helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain="qonnx.custom_op.general")
        wanted = qonnx(node, {"x": x, "s": np.float32(scale)}, x.shape)
        assert bits_equal(bipolar_quant(x, scale)[1], wanted)
        compared += x.size
    record_property("compared", f"BipolarQuant: {compared} elements")


@pytest.mark.live
def test_qonnx_multi_threshold_agrees(qonnx, record_property):
    import onnx

    rng, compared, ties = np.random.default_rng(1), 0, 0
    for channels, count, shared in ((1, 1, False), (3, 3, False), (8, 15, False), (5, 7, True), (4, 255, False)):
        for scale, bias in ((1.0, 0.0), (2.0, -1.0), (0.1, 0.7)):
            t = (rng.integers(-40, 41, (1 if shared else channels, count)) / 4).astype(np.float32)
            x = (rng.integers(-50, 51, (2, channels, 6, 5)) / 4).astype(np.float32)
            node = onnx.helper.make_node(
                "MultiThreshold", ["x", "t"], ["y"], domain="qonnx.custom_op.general",
                out_dtype="UINT8", out_scale=scale, out_bias=bias,
            )  # fmt: skip
            wanted = qonnx(node, {"x": x, "t": t}, x.shape)
            assert bits_equal(multi_threshold(x, t, out_scale=scale, out_bias=bias, axis=1), wanted)
            ties += np.sum(multi_threshold(x, t, ">", axis=1) != multi_threshold(x, t, axis=1))
            compared += x.size
    assert ties
    record_property("compared", f"MultiThreshold: {compared} elements")
