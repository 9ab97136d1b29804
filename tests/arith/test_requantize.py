"""Requantization schemes, multipliers and bounds against exact fractions and TFLite's own formula."""

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fxsim.arith.bounds import bits_needed, dot_range
from fxsim.arith.multiplier import (
    CHAINS,
    chain_float32,
    chain_float32_product,
    chain_float64,
    float32,
    quantize_multiplier,
    round_half_away,
)
from fxsim.arith.overflow import POLICIES, saturate, wrap
from fxsim.arith.requantize import (
    double_rounding,
    fifteen_bits,
    high_multiply,
    reduced_multiplier,
    reduced_multiplier_halved,
    single_rounding,
)
from fxsim.arith.rounding import RULES, ties_away, ties_pos
from tests import naive

int32 = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1])
multipliers = st.integers(2**30, 2**31 - 1) | st.sampled_from([2**30, 2**30 + 1, 3 << 29, 2**31 - 1])


@given(acc=int32, q=multipliers, shift=st.integers(-31, 30))
@example(acc=1, q=2**30, shift=0)
@example(acc=-1, q=2**30, shift=0)
@example(acc=-3, q=2**30, shift=-1)
def test_double_rounding_equals_tflite_text(acc, q, shift):
    assert double_rounding(ties_away, acc, q, shift) == naive.tflite_multiply(acc, q, shift)


def test_double_rounding_on_every_tie_of_a_small_domain():
    ties = 0
    for acc in range(-700, 701):
        for shift in (0, -1, -2, -5):
            assert double_rounding(ties_away, acc, 2**30, shift) == naive.tflite_multiply(acc, 2**30, shift)
            ties += (acc * 2**30) % (1 << (31 - shift)) == 1 << (30 - shift)
    assert ties > 1000


@pytest.mark.parametrize("rule", RULES)
@given(acc=int32, q=multipliers, shift=st.integers(-31, 30))
def test_single_rounding_is_one_rounding(rule, acc, q, shift):
    assert single_rounding(RULES[rule], acc, q, shift) == naive.round_fraction(
        Fraction(acc * q, 1 << (31 - shift)), rule
    )


def test_double_and_single_rounding_differ_where_they_must():
    """The least non-negative accumulator on which they part, for one multiplier known from the literature."""
    q, shift = 1518500250, -9
    parting = next(
        a for a in range(1 << 20) if double_rounding(ties_away, a, q, shift) != single_rounding(ties_pos, a, q, shift)
    )
    assert parting == 362


@given(a=int32, q=multipliers)
def test_high_multiply_is_nearest_ties_up(a, q):
    assert high_multiply(a, q) == naive.round_fraction(Fraction(a * q, 2**31), "ties_pos")


@given(st.floats(2.0**-31, 2.0**30, exclude_max=True))
def test_quantize_multiplier_is_near_and_normal(real):
    q, shift = quantize_multiplier(real)
    assert 2**30 <= q < 2**31
    assert abs(Fraction(q, 2**31) * Fraction(2) ** shift / Fraction(real) - 1) <= Fraction(1, 2**31)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (0.5, (2**30, 0)),
        (1.0, (2**30, 1)),
        (2.0**-33, (0, 0)),
        (1 - 2.0**-40, (2**30, 1)),
        (2.0**-31, (2**30, -30)),
    ],
)
def test_quantize_multiplier_limits(real, expected):
    assert quantize_multiplier(real) == expected


@given(st.floats(-1e6, 1e6) | st.integers(-99, 99).map(lambda n: n / 2))
def test_round_half_away(x):
    assert round_half_away(x) == naive.round_fraction(Fraction(x), "ties_away")


def test_chains_differ():
    a, b, c = float32(0.1), float32(0.3), float32(0.7)
    results = {name: f((a, b), c) for name, f in CHAINS.items()}
    assert len(set(results.values())) == 3
    assert chain_float64((a, b), c) == a * b / c
    assert chain_float32_product((a, b), c) == float32(a * b) / c
    assert chain_float32((a, b), c) == float32(float32(a * b) / c)
    assert float32(1e300) == float("inf")


@given(v=st.integers(-(2**61), 2**61), bits=st.integers(1, 62))
def test_overflow_policies(v, bits):
    assert saturate(v, bits) == naive.saturate(v, bits)
    assert (wrap(v, bits) - v) % (1 << bits) == 0
    assert -(1 << (bits - 1)) <= wrap(v, bits) < 1 << (bits - 1)
    for policy in POLICIES.values():
        assert policy(policy(v, bits), bits) == policy(v, bits)


@given(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40))
def test_bits_needed_is_least(a, b):
    low, high = min(a, b), max(a, b)
    n = bits_needed(low, high)
    assert -(1 << (n - 1)) <= low
    assert high < 1 << (n - 1)
    assert n == 1 or low < -(1 << (n - 2)) or high >= 1 << (n - 2)


@given(
    w=st.lists(st.integers(-128, 127), min_size=1, max_size=6),
    bias=st.integers(-500, 500),
    low=st.integers(-255, 0),
    high=st.integers(0, 255),
)
def test_dot_range_is_reached_and_never_left(w, bias, low, high):
    bottom, top = dot_range(sum(v for v in w if v > 0), sum(v for v in w if v < 0), low, high, bias)
    seen = [0]
    for extreme in (max, min):  # positive (then negative) terms first: the order that goes farthest
        x = [extreme(low * v, high * v) for v in w]
        total = 0
        for term in sorted(x, reverse=extreme is max):
            total += term
            seen.append(total)
        seen.append(total + bias)
    assert max(seen) == top
    assert min(seen) == bottom


int48 = st.integers(-(2**47), 2**47 - 1) | st.sampled_from([-(2**47), -1, 0, 1, 2**47 - 1])


def tflite_multiply_int64(acc, q, shift):
    """MultiplyByQuantizedMultiplier of an int64, as TFLite writes it; the result is an int32."""
    reduced = (q + (1 << 15)) >> 16 if q < 0x7FFF0000 else 0x7FFF
    return wrap((acc * reduced + (1 << (14 - shift))) >> (15 - shift), 32)


@given(q=multipliers)
@example(q=0x7FFEFFFF)
@example(q=0x7FFF0000)
@example(q=(3 << 29) + (1 << 15))
def test_fifteen_bits_are_rounded_and_limited(q):
    assert fifteen_bits(q) == ((q + (1 << 15)) >> 16 if q < 0x7FFF0000 else 0x7FFF)


@given(acc=int48, q=multipliers, shift=st.integers(-31, 14))
@example(acc=1, q=2**30, shift=0)
@example(acc=-1, q=2**30, shift=0)
@example(acc=2**40, q=0x7FFF0000, shift=-20)
@example(acc=2**40, q=0x7FFEFFFF, shift=-20)
def test_reduced_multiplier_equals_tflite_text(acc, q, shift):
    assert reduced_multiplier(ties_pos, acc, q, shift) == tflite_multiply_int64(acc, q, shift)


@given(acc=int48, q=multipliers, shift=st.integers(-31, 13))
def test_both_wide_schemes_agree_within_31_bits(acc, q, shift):
    exact = (acc * fifteen_bits(q) + (1 << (14 - shift))) >> (15 - shift)
    if -(2**30) <= exact < 2**30 - 1:
        assert (
            reduced_multiplier_halved(ties_pos, acc, q, shift) == reduced_multiplier(ties_pos, acc, q, shift) == exact
        )


def test_wide_schemes_part_beyond_31_bits():
    assert reduced_multiplier(ties_pos, 2**31, 2**30, 0) == 2**30
    assert reduced_multiplier_halved(ties_pos, 2**31, 2**30, 0) == -(2**30)


def test_a_wide_sum_is_not_a_narrow_one():
    """15 bits of multiplier are not 31: the least accumulator on which the two schemes part."""
    q, shift = 1518500250, -9
    parting = next(
        a
        for a in range(1 << 20)
        if double_rounding(ties_away, a, q, shift) != reduced_multiplier(ties_pos, a, q, shift)
    )
    assert parting == 362
