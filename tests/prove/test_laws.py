"""Which rule obeys which law, and that a rule with a planted bug is caught with its least counterexample."""

from fractions import Fraction

import pytest

from fxsim.arith.rounding import NEAREST_AND_DIRECTED, RULES, ties_away, ties_even
from fxsim.prove import (
    LAWS,
    Refuted,
    error_bound,
    exact_on_representables,
    find_counterexample,
    idempotent,
    monotone,
    odd,
    prove,
    unbiased,
)
from tests.prove.brute import least

SMALL = {"value": (-40, 40), "shift": (0, 4)}
WIDE = {"value": (-(1 << 62), (1 << 62) - 1), "shift": (0, 62)}
ODD = {"to_zero", "to_away", "ties_zero", "ties_away", "ties_even", "ties_odd", "jam_unbiased"}
UNBIASED = {"ties_even", "ties_odd", "jam_unbiased"}
MOVES_INTEGERS = {"jam", "trn_mag"}


@pytest.mark.parametrize("rule", RULES)
def test_laws_of_every_rule(rule):
    assert find_counterexample(monotone(rule, **SMALL)) is None
    assert (find_counterexample(odd(rule, **SMALL)) is None) == (rule in ODD)
    assert (find_counterexample(unbiased(rule)) is None) == (rule in UNBIASED)
    assert (find_counterexample(exact_on_representables(rule, **SMALL)) is None) == (rule not in MOVES_INTEGERS)
    assert (find_counterexample(idempotent(rule, **SMALL)) is None) == (rule != "trn_mag")
    assert (find_counterexample(error_bound(rule, **SMALL)) is None) == rule.startswith("ties_")


@pytest.mark.parametrize("rule", NEAREST_AND_DIRECTED)
def test_laws_of_rules_in_62_bits_by_the_solver(rule):
    prove(monotone(rule, **WIDE), "solver")
    prove(exact_on_representables(rule, value=(-(1 << 40), 1 << 40), shift=(0, 20)), "solver")
    bound = error_bound(rule, **WIDE) if rule.startswith("ties_") else error_bound(rule, 1, strict=True, **WIDE)
    assert prove(bound, "solver").size == 63 << 63


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("law", [n for n in LAWS if n != "unbiased"])
def test_solver_enumeration_and_brute_force_agree_on_every_law(rule, law):
    claim = LAWS[law](rule, value=(-9, 9), shift=(0, 3))
    expected = least(claim)
    for method in ("enumeration", "solver"):
        found = find_counterexample(claim, method)
        assert (found.values if found else None) == expected


def round_half_up_but_one(floor, inexact, tie, above):
    """Ties away, but for the integer 5."""
    return ties_away(floor, inexact, tie, above) - (floor == 5)


def half_even_on_the_wrong_side(floor, inexact, tie, above):
    """Ties to the odd one, but only above 3."""
    return floor + (above | (tie & ((floor & 1 == 1) ^ (floor > 3))))


def forgets_negative_ties(floor, inexact, tie, above):
    """Ties to even, but never for a floor of -7."""
    return ties_even(floor, inexact, tie & (floor != -7), above)


MUTANTS = [
    (round_half_up_but_one, "monotone"),
    (round_half_up_but_one, "exact_on_representables"),
    (half_even_on_the_wrong_side, "odd"),
    (forgets_negative_ties, "odd"),
]


@pytest.mark.parametrize("method", ["enumeration", "solver"])
@pytest.mark.parametrize(("mutant", "law"), MUTANTS)
def test_a_planted_bug_is_refuted_with_the_least_counterexample(mutant, law, method):
    claim = LAWS[law](mutant, value=(-(1 << 12), 1 << 12), shift=(0, 12))
    with pytest.raises(Refuted, match=f"refuted: {mutant.__name__}") as caught:
        prove(claim, method)
    assert caught.value.counterexample.check()
    assert caught.value.counterexample.values == least(claim)


def test_bounds_are_exact_fractions():
    assert find_counterexample(error_bound("to_pos", "1/3", value=(-8, 8), shift=2)).values == {"value": 1, "shift": 2}
    assert find_counterexample(error_bound("to_neg", "1/3", value=(-8, 8), shift=2)).values == {"value": -1, "shift": 2}
    assert find_counterexample(error_bound("to_neg", Fraction(3, 4), value=(-8, 8), shift=(2, 2))) is None
    assert (
        find_counterexample(error_bound("to_neg", Fraction(3, 4), strict=True, value=(-8, 8), shift=(2, 2))) is not None
    )
