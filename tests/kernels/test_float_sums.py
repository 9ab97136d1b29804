"""Sums of float32 products against exact fractions and a slow twin; quantization at run time on ties and ends."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fxsim.kernels import dynamic
from fxsim.kernels.float32 import fma
from fxsim.kernels.float_sums import blocked, eighths, multiply_add, sums

F = np.float32
floats = st.floats(-1e6, 1e6, width=32)


def nearest(exact: Fraction) -> float:
    """The float32 nearest to ``exact``, ties to even."""
    guess = F(float(exact))
    near = [np.nextafter(guess, F(-np.inf)), guess, np.nextafter(guess, F(np.inf))]
    return float(min(near, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.uint32)) & 1)))


@given(floats, floats, floats)
@example(1 + 2.0**-12, 1 + 2.0**-12, 2.0**-60)
@example(1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-60))
@example(1 + 2.0**-23, 2.0**-24, 1.0)
@example(-1 - 2.0**-23, 2.0**-24, -1.0)
def test_multiply_add_is_rounded_once(a, b, c):
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    got = multiply_add(F(a), F(b), F(c))
    assert got.dtype == np.float32
    assert float(got) == nearest(exact) == float(fma(F(a), F(b), F(c)))


def test_rounding_twice_is_not_rounding_once():
    """The examples above are such that float64 in between gives another float32."""
    a, c = F(1 + 2.0**-12), F(2.0**-60)
    assert multiply_add(a, a, c) != F(np.float64(a) * np.float64(a) + np.float64(c))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("bias_first", [False, True])
@pytest.mark.parametrize("columns_first", [False, True])
def test_sums_equal_slow_twin(fused, bias_first, columns_first):
    rng = np.random.default_rng(1)
    groups, cg, og, kh, kw = 2, 3, 2, 3, 2
    x, w = rng.normal(size=(2, 7, 6, groups * cg)).astype(F), rng.normal(size=(kh, kw, cg, groups * og)).astype(F)
    bias, out = rng.normal(size=groups * og).astype(F), np.empty((2, 3, 4, groups * og), F)
    sums(fused, bias_first, columns_first)(x, w, bias, (2, 1, 1, 2), groups, out)
    taps = [(i, j) for i in range(kh) for j in range(kw)]
    if columns_first:
        taps.sort(key=lambda t: t[1])
    for b, y, z, q in np.ndindex(*out.shape):
        total = bias[q] if bias_first else F(0)
        for i, j in taps:
            for k in range(cg):
                v, u = x[b, 2 * y + i, z + 2 * j, q // og * cg + k], w[i, j, k, q]
                total = F(fma(v, u, total)) if fused else total + v * u
        assert out[b, y, z, q] == (total if bias_first else total + bias[q])


def test_orders_of_addition_differ():
    """The twin above can tell them apart."""
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(1, 3, 3, 4)).astype(F), rng.normal(size=(3, 3, 4, 40)).astype(F)
    seen = set()
    for order in np.ndindex(2, 2, 2):
        out = np.empty((1, 1, 1, 40), F)
        sums(*map(bool, order))(x, w, np.ones(40, F), (1, 1, 1, 1), 1, out)
        seen.add(out.tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize(("fused", "size"), [(True, 4), (True, 5), (True, 100), (False, 4)])
def test_blocked_equals_slow_twin(fused, size):
    rng = np.random.default_rng(3)
    for depth in range(1, 13):
        a, b = rng.normal(size=(3, depth)).astype(F), rng.normal(size=(depth, 5)).astype(F)
        out = np.full((3, 5), np.nan, F)
        blocked(fused)(a, b, size, np.empty(5, F), out)
        left = 2 if depth % 4 == 3 else depth % 4
        ends = sorted(
            {*range(size, depth, size), depth} if fused else {*range(4, depth + 1, 4), depth // 4 * 4 + left, depth}
        )
        for m, n in np.ndindex(3, 5):
            total = F(0)
            for start, end in zip([0, *ends], ends, strict=False):
                block = F(0)
                for k in range(start, end):
                    block = F(fma(a[m, k], b[k, n], block)) if fused else block + a[m, k] * b[k, n]
                total += block
            assert out[m, n] == total


def test_eighths_equal_slow_twin():
    rng = np.random.default_rng(4)
    for rows in range(1, 10):
        a, b = rng.normal(size=(rows, 21)).astype(F), rng.normal(size=21).astype(F)
        got = eighths(a, b)
        for m in range(rows):
            s = [F(0)] * 8
            for k in range(21):
                s[k % 8] += a[m, k] * b[k]
            if m < rows // 4 * 4:
                wanted = (((s[0] + s[1]) + s[2]) + s[3]) + (((s[4] + s[5]) + s[6]) + s[7])
            elif m < rows // 2 * 2:
                wanted = ((s[0] + s[2]) + (s[4] + s[6])) + ((s[1] + s[3]) + (s[5] + s[7]))
            else:
                wanted = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
            assert got[m] == wanted


def test_symmetric_on_ties_and_ends():
    x = np.array([127, -127, 0.5, -0.5, 1.5, -1.5, 126.5, -126.5, 2.5], F)
    q, scale, zero = dynamic.symmetric(x)
    assert (q.tolist(), scale, zero) == ([127, -127, 1, -1, 2, -2, 127, -127, 3], 1, 0)


def test_asymmetric_holds_zero():
    q, scale, zero = dynamic.asymmetric(np.array([1, 2, 255], F))
    assert (q.tolist(), scale, zero) == ([-127, -126, 127], 1, -128)
    q, scale, zero = dynamic.asymmetric(np.array([-255, -1], F))
    assert (q.tolist(), scale, zero) == ([-128, 126], 1, 127)


def test_halves_go_to_even_in_xnnpack_and_away_in_litert():
    x = np.array([0, 255, 0.5, 1.5, 2.5], F)
    assert dynamic.to_even(x)[0].tolist() == [-128, 127, -128, -126, -126]
    assert dynamic.asymmetric(x)[0].tolist() == [-128, 127, -127, -126, -125]


@pytest.mark.parametrize("rule", [dynamic.symmetric, dynamic.asymmetric, dynamic.to_even])
def test_nothing_but_zeros(rule):
    q, scale, zero = rule(np.zeros(5, F))
    assert not np.any(q.astype(int) - zero)
    assert scale == 1
