"""The requantizations of engines that are known from source: exact fractions, naive forms, every value of small widths."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.arith.multiplier import float32, quantize_multiplier
from fxsim.arith.requantize import NARROW, double_rounding, floored_double_rounding, single_rounding
from fxsim.arith.rounding import NEAREST_AND_DIRECTED, RULES, ties_away, ties_even, ties_pos, to_neg
from fxsim.arith.tosa import divide_by_reciprocal, reciprocal, tosa_double_rounding
from tests import naive

LIMITS = (-(2**31), -(2**31) + 1, -(2**30), -3, -2, -1, 0, 1, 2, 3, 2**30, 2**31 - 1)
MULTIPLIERS = (2**30, 2**30 + 1, 3 << 29, 5 << 28, 2**31 - 1)
int32 = st.integers(-(2**31), 2**31 - 1) | st.sampled_from(LIMITS)
multipliers = st.integers(2**30, 2**31 - 1) | st.sampled_from(MULTIPLIERS)


def check_floored(f) -> None:
    """Two roundings of fractions: down, then by the rule."""
    for acc, q, shift in product((*LIMITS, *range(-70, 70)), MULTIPLIERS, (-31, -30, -3, -2, -1, 0, 1, 2, 30)):
        high = Fraction(naive.wrap(acc << max(shift, 0), 32) * q, 1 << 31)
        down = high.numerator // high.denominator
        expected = naive.round_fraction(Fraction(down, 1 << max(-shift, 0)), "ties_away")
        assert f(ties_away, acc, q, shift) == expected


def check_tosa(f) -> None:
    """The specification's text: a nudge of half, and another of the value's own sign where more than 31 bits go."""
    for acc, q, shift in product((*LIMITS, *range(-70, 70)), MULTIPLIERS, (-31, -30, -3, -1, 0, 1, 29)):
        right = 31 - shift
        half = 1 << (right - 1)
        if right > 31:
            half += (1 << 30) * (1 if acc >= 0 else -1)
        assert f(ties_away, acc, q, shift) == (acc * q + half) // (1 << right)


def check_reciprocal(f) -> None:
    """``1 <= q / 2**shift * n <= 1 + 2**-30``, by 31 bits."""
    for n in (*range(1, 700), 2**16 - 1, 2**16, 2**16 + 1, 2**29 + 1, 2**30):
        q, shift = f(n)
        assert 2**30 <= q < 2**31
        assert 0 <= Fraction(q * n, 1 << shift) - 1 <= Fraction(1, 2**30)
        assert (1 << (shift - 30)) >= n > (1 << (shift - 30)) // 2


def check_reciprocal_division(f) -> None:
    """Every mean of 8-bit windows up to 16 cells: nearest, ties away from zero."""
    for n in range(1, 17):
        for total in range(-255 * n, 255 * n + 1):
            assert f(ties_pos, total, n) == naive.round_fraction(Fraction(total, n), "ties_away")


def check_multiplier(f) -> None:
    """Every real of six bits and every precision: the nearest multiplier by the rule, in ``2**30 .. 2**31 - 1``."""
    for numerator, exponent, bits, name in product(range(1, 64), (-9, 0, 5), range(1, 8), NEAREST_AND_DIRECTED):
        real = Fraction(numerator) * Fraction(2) ** exponent
        q, shift = f(float(real), bits, RULES[name])
        top = numerator.bit_length() + exponent
        rounded = naive.round_fraction(real * Fraction(2) ** (bits - top), name)
        assert Fraction(q, 2**31) * Fraction(2) ** shift == Fraction(rounded) * Fraction(2) ** (top - bits)
        assert 2**30 <= q < 2**31
    assert f(2.0**-33) == (0, 0)
    assert f(2.0**-32) == (2**30, -31)
    assert f(0.0) == (0, 0)
    assert f(1 - 2.0**-40) == (2**30, 1)


CHECKS = {
    floored_double_rounding: check_floored,
    tosa_double_rounding: check_tosa,
    reciprocal: check_reciprocal,
    divide_by_reciprocal: check_reciprocal_division,
    quantize_multiplier: check_multiplier,
}


@pytest.mark.parametrize("function", CHECKS, ids=lambda f: f.__name__)
def test_every_function_is_what_its_source_says(function):
    CHECKS[function](function)


@given(acc=int32, q=multipliers, shift=st.integers(-31, 0))
def test_tosa_equals_gemmlowp_where_nothing_shifts_left(acc, q, shift):
    assert tosa_double_rounding(ties_away, acc, q, shift) == double_rounding(ties_away, acc, q, shift)


@given(acc=int32, q=multipliers, shift=st.integers(-31, 30))
def test_tvm_nudges_by_the_sign_of_the_product(acc, q, shift):
    """TONEAREST: half an output step for products from 0 on, one less than half below, then an arithmetic shift."""
    half = 1 << (30 - shift)
    nudged = acc * q + (half if acc * q >= 0 else half - 1)
    assert single_rounding(ties_away, acc, q, shift) == nudged >> (31 - shift)


@given(acc=st.integers(-(2**26), 2**26), scale=st.floats(2.0**-32, 1, exclude_max=True, width=32))
def test_a_float32_scale_is_its_own_multiplier_of_24_bits(acc, scale):
    """QNNPACK: the mantissa with its hidden bit, seven places up, and what is left of the exponent."""
    q, shift = quantize_multiplier(scale, 24)
    assert q % 128 == 0
    assert Fraction(q, 2**31) * Fraction(2) ** shift == Fraction(scale)
    assert quantize_multiplier(scale) == (q, shift)
    # XNNPACK's "rndnu" is the one rounding of that product, ties up.
    assert single_rounding(ties_pos, acc, q, shift) == naive.round_fraction(acc * Fraction(scale), "ties_pos")


@given(acc=int32, exponent=st.integers(-30, 0))
def test_powers_of_two_are_a_bias_and_a_shift(acc, exponent):
    """NNoM: ``(acc + ((1 << n) >> 1)) >> n``; PULP-NN: without the half."""
    q, shift = quantize_multiplier(2.0**exponent, 1)
    n = -exponent
    assert single_rounding(ties_pos, acc, q, shift) == (acc + ((1 << n) >> 1)) >> n
    assert single_rounding(to_neg, acc, q, shift) == acc >> n


def test_nvdla_rounds_by_its_guide_and_sticky_bits():
    """The converter's gates on every 10-bit word: the guide bit counts unless a negative value has nothing below it."""
    for value, shift in product(range(-512, 512), range(1, 10)):
        guide, sticky = value >> (shift - 1) & 1, value & ((1 << (shift - 1)) - 1)
        gates = (value >> shift) + (guide & (value >= 0 or sticky != 0))
        q, exponent = quantize_multiplier(2.0**-shift, 15)
        assert single_rounding(ties_away, value, q, exponent) == gates


def test_the_schemes_part_at_ties():
    """One accumulator on either side of zero tells the engines apart: scale 1/4, accumulators -6, 6 and 2."""
    q, shift = quantize_multiplier(0.25)
    found = {
        (name, rule.__name__): [f(rule, acc, q, shift) for acc in (-6, 2, 6)]
        for name, f in NARROW.items()
        for rule in (ties_away, ties_pos, ties_even, to_neg)
    }
    assert found["single_rounding", "ties_away"] == [-2, 1, 2]
    assert found["single_rounding", "ties_pos"] == [-1, 1, 2]
    assert found["single_rounding", "ties_even"] == [-2, 0, 2]
    assert found["single_rounding", "to_neg"] == [-2, 0, 1]
    assert found["double_rounding", "ties_away"] == found["tosa_double_rounding", "ties_away"] == [-2, 1, 2]
    assert found["floored_double_rounding", "ties_away"] == [-2, 1, 2]
    assert [f(ties_away, 1, q, 0) for f in (double_rounding, floored_double_rounding)] == [1, 0], "the nudge"


def test_precisions_part():
    real = float32(0.3)
    assert len({quantize_multiplier(real, bits) for bits in (1, 8, 15, 24)}) == 4
    assert quantize_multiplier(real, 31) == quantize_multiplier(real, 24), "a float32 has no more"
    assert quantize_multiplier(0.75, 1, to_neg) == (2**30, 0)
    assert quantize_multiplier(0.75, 1) == (2**30, 1)
