"""Known facts about requantization and rounding, proved or refuted anew; both methods agree; refusals."""

import pytest

from fxsim.arith.rounding import RULES, ties_away
from fxsim.errors import DomainError
from fxsim.prove import (
    LAWS,
    Refuted,
    accumulator_cannot_overflow,
    equal_requantization,
    find_counterexample,
    prove,
    requantization_differs_by_at_most,
)

DOUBLE, SINGLE, TOSA = "double_rounding:ties_away", "single_rounding:ties_pos", "tosa_double_rounding"
solver = pytest.mark.skipif(
    not __import__("fxsim.prove.solver", fromlist=["installed"]).installed(), reason="needs bitwuzla (the prove extra)"
)


def test_double_and_single_rounding_part_first_at_362():
    found = find_counterexample(equal_requantization(DOUBLE, SINGLE, acc=(0, 2**31 - 1), q=1518500250, shift=-9))
    assert found is not None
    assert dict(found.values) == {"acc": 362, "q": 1518500250, "shift": -9}
    assert (found.left, found.right) == (1, 0)
    assert found.check()


@solver
@pytest.mark.parametrize(
    "claim",
    [
        equal_requantization(DOUBLE, SINGLE, shift=(0, 0)),
        equal_requantization(DOUBLE, TOSA),
        equal_requantization(DOUBLE, TOSA, shift=-9, zero_point=(-128, 127), clamp=(-128, 127)),
        requantization_differs_by_at_most(DOUBLE, SINGLE, 1, shift=(-9, -9)),
    ],
    ids=lambda c: c.name,
)
def test_proved_for_all_accumulators_and_multipliers(claim):
    certificate = prove(claim, "solver")
    assert certificate.method == "solver"
    assert certificate.size > 1 << 60


@solver
@pytest.mark.parametrize("b", [SINGLE, TOSA, "double_rounding:ties_pos", "single_rounding:ties_even"])
@pytest.mark.parametrize("shift", [0, -1, -3])
def test_solver_and_enumeration_agree(b, shift):
    """On small accumulators and multipliers that make ties: the same verdict, and the same least counterexample."""
    claim = equal_requantization(DOUBLE, b, acc=(-300, 300), q=(2**30, 2**30 + 3), shift=shift)
    by_trying, by_solving = (find_counterexample(claim, m) for m in ("enumeration", "solver"))
    assert (by_trying is None) == (by_solving is None)
    if by_trying is not None:
        assert by_trying.check()
        assert by_solving.check()
        assert dict(by_trying.values) == dict(by_solving.values)


SYMMETRIC = ("to_zero", "to_away", "ties_zero", "ties_away", "ties_even", "ties_odd", "jam_unbiased")


@pytest.mark.parametrize("rule", RULES)
def test_laws_hold_for_the_rules_they_should(rule):
    assert (find_counterexample(LAWS["odd"](rule, value=(-4096, 4095), shift=(0, 8))) is None) == (rule in SYMMETRIC)
    assert find_counterexample(LAWS["monotone"](rule, value=(-4096, 4095), shift=(0, 8))) is None
    moves_integers = find_counterexample(LAWS["exact_on_representables"](rule, value=(-64, 63), shift=(1, 4)))
    assert (moves_integers is None) == (rule not in ("jam", "trn_mag"))


def planted(floor, inexact, tie, above):
    """ties_away with a bug: the tie at -2.5 goes the wrong way."""
    return floor + (1 if tie and floor == -3 else 0) if tie and floor < 0 else ties_away(floor, inexact, tie, above)


def test_a_planted_bug_is_found_at_its_least_input():
    found = find_counterexample(
        equal_requantization(DOUBLE, ("double_rounding", planted), acc=(-100, 100), q=2**30, shift=(-4, 0))
    )
    assert found is not None
    assert found.check()
    brute = [
        (shift, acc)
        for shift in range(-4, 1)
        for acc in range(-100, 101)
        if find_counterexample(
            equal_requantization(DOUBLE, ("double_rounding", planted), acc=acc, q=2**30, shift=shift), "enumeration"
        )
    ]
    values = dict(found.values)
    assert (values["shift"], values["acc"]) in brute
    assert abs(values["acc"]) == min(abs(a) for _, a in brute)


def test_accumulator_that_cannot_and_that_can_overflow():
    assert prove(accumulator_cannot_overflow([127] * 40, -128, 127, 21)).claim.name
    with pytest.raises(Refuted, match="-650240"):
        prove(accumulator_cannot_overflow([127] * 40, -128, 127, 20))


def test_refusals():
    with pytest.raises(DomainError, match="allowed"):
        equal_requantization("triple:ties_pos", SINGLE)
    with pytest.raises(DomainError, match=r"shift.*allowed: -31 .. 30"):
        equal_requantization(DOUBLE, SINGLE, shift=(-40, 0))
    with pytest.raises(DomainError, match=r"2\*\*32"):
        prove(equal_requantization(DOUBLE, TOSA), "enumeration")
    with pytest.raises(DomainError, match="method 'guess'; allowed"):
        prove(equal_requantization(DOUBLE, TOSA), "guess")
