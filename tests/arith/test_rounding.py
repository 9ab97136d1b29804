"""Rounding rules against exact fractions, by exhaustion; and proof that the data can tell all rules apart."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.arith.rounding import NEAREST_AND_DIRECTED, RULES, divide, from_float, shift_right
from tests.naive import round_fraction

VALUES = range(-300, 301)
rules = pytest.mark.parametrize("rule", RULES)


@rules
@pytest.mark.parametrize("shift", range(7))
def test_shift_form_is_the_definition(rule, shift):
    for v in VALUES:
        assert shift_right(RULES[rule], v, shift) == round_fraction(Fraction(v, 1 << shift), rule)


@rules
@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 5, 6, 7, 12, 49, 100])
def test_divide_form_is_the_definition(rule, divisor):
    for v in VALUES:
        assert divide(RULES[rule], v, divisor) == round_fraction(Fraction(v, divisor), rule)


@rules
@given(st.floats(-(2.0**60), 2.0**60) | st.integers(-1000, 1000).map(lambda n: n / 2) | st.floats(-2, 2))
def test_float_form_is_exact(rule, x):
    assert from_float(RULES[rule], x) == round_fraction(Fraction(x), rule)


@pytest.mark.parametrize(
    "x", [0.49999999999999994, -0.49999999999999994, 4503599627370497.5, -4503599627370497.5, 2.5, -2.5]
)
def test_floats_that_break_floor_of_x_plus_half(x):
    for rule in RULES:
        assert from_float(RULES[rule], x) == round_fraction(Fraction(x), rule)


@rules
@given(v=st.integers(-(2**62), 2**62 - 1), shift=st.integers(0, 62))
def test_wide_values(rule, v, shift):
    assert shift_right(RULES[rule], v, shift) == round_fraction(Fraction(v, 1 << shift), rule)


@pytest.mark.parametrize("rule", [*NEAREST_AND_DIRECTED, "ties_dpu"])
@given(v=st.integers(-(2**40), 2**40), w=st.integers(-(2**40), 2**40), shift=st.integers(0, 30))
def test_laws_monotone_exact_and_bounded(rule, v, w, shift):
    a, b = shift_right(RULES[rule], min(v, w), shift), shift_right(RULES[rule], max(v, w), shift)
    assert a <= b
    assert shift_right(RULES[rule], v << shift, shift) == v
    error = abs(Fraction(v, 1 << shift) - shift_right(RULES[rule], v, shift))
    assert error <= Fraction(1, 2) if rule.startswith("ties_") else error < 1


@pytest.mark.parametrize("rule", ["to_zero", "to_away", "ties_zero", "ties_away", "ties_even", "ties_odd"])
@given(v=st.integers(-(2**40), 2**40), shift=st.integers(0, 30))
def test_odd_symmetry_of_the_symmetric_rules(rule, v, shift):
    assert shift_right(RULES[rule], -v, shift) == -shift_right(RULES[rule], v, shift)


def test_every_pair_of_rules_is_told_apart():
    """Fourteen values in quarters separate all ten rules: so no rule can pass as another in the tests above."""
    signature = {
        rule: tuple(shift_right(f, v, 2) for v in (-10, -7, -6, -5, -2, -1, 1, 2, 3, 5, 6, 10, -8, -4))
        for rule, f in RULES.items()
    }
    for a, b in combinations(signature, 2):
        assert signature[a] != signature[b], (a, b)


def test_ties_even_equals_numpy_rint():
    x = np.arange(-40, 41) / 4
    assert [from_float(RULES["ties_even"], v) for v in x] == np.rint(x).tolist()
