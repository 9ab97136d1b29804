"""Register widths and errors of integer functions: the worst input is the worst of all, and is really reached."""

import math
from decimal import Decimal
from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest

from fxsim.arith import gemmlowp
from fxsim.arith.rounding import RULES, divide
from fxsim.errors import DomainError
from fxsim.prove import (
    Refuted,
    accumulator_cannot_overflow,
    average_pool_error,
    exp_error,
    find_counterexample,
    logistic_error,
    prove,
    reciprocal_error,
    softmax_error,
)


def running_sums(terms):
    for order in permutations(terms):
        total = 0
        for term in order:
            total += term
            yield total


@pytest.mark.parametrize(
    ("weights", "low", "high", "bias"),
    [([3, -4, 5], -2, 2, 0), ([3, -4], 1, 3, 5), ([-1, -2, 2], -3, 1, -9), ([0, 7], -1, 1, 1), ([2], -4, -1, 3)],
)
def test_the_claimed_sums_are_exactly_those_that_occur(weights, low, high, bias):
    sums = {0}
    for x in product(range(low, high + 1), repeat=len(weights)):
        sums |= set(running_sums([bias, *(w * v for w, v in zip(weights, x, strict=True))]))
    needed = next(b for b in range(1, 20) if -(1 << (b - 1)) <= min(sums) and max(sums) < 1 << (b - 1))
    certificate = prove(accumulator_cannot_overflow(weights, low, high, needed, bias))
    assert certificate.facts["running sums"] == f"{min(sums)} .. {max(sums)}"
    assert certificate.facts["bits needed"] == needed
    found = (
        find_counterexample(accumulator_cannot_overflow(weights, low, high, needed - 1, bias)) if needed > 1 else None
    )
    assert found.check()
    assert found.left in (min(sums), max(sums))


def test_thousands_of_weights_are_no_matter():
    weights = np.random.default_rng(0).integers(-127, 128, 4608, dtype=np.int8)
    certificate = prove(accumulator_cannot_overflow(weights, -255, 255, 32))
    assert certificate.facts["bits needed"] <= 32
    assert "inputs: about 2^" in str(certificate)
    assert len(str(certificate)) < 1500
    with pytest.raises(Refuted) as caught:
        prove(accumulator_cannot_overflow(weights, -255, 255, 16))
    assert len(str(caught.value)) < 1500
    reached = sum(int(w) * caught.value.counterexample.values[f"x[{i}]"] for i, w in enumerate(weights))
    assert reached == caught.value.counterexample.left


def test_bad_accumulators_are_refused():
    for arguments in (([], 0, 1, 8), ([1], 1, 0, 8), ([1], 0, 1, 0)):
        with pytest.raises(DomainError):
            accumulator_cannot_overflow(*arguments)
    with pytest.raises(DomainError, match="solver has no part"):
        prove(accumulator_cannot_overflow([1], 0, 1, 8), "solver")


@pytest.mark.parametrize(
    ("claim", "exact"),
    [
        (exp_error((-3000, 0)), lambda a: (gemmlowp.exp_on_negative_values(a, 5), math.exp(a / 2**26))),
        (
            exp_error((-90_000_000, -89_998_000), 3),
            lambda a: (gemmlowp.exp_on_negative_values(a, 3), math.exp(a / 2**28)),
        ),
        (logistic_error((-1500, 1500)), lambda a: (gemmlowp.logistic(a, 4), 1 / (1 + math.exp(-a / 2**27)))),
        (reciprocal_error((10**9, 10**9 + 3000)), lambda a: (gemmlowp.one_over_one_plus_x(a), 1 / (1 + a / 2**31))),
    ],
    ids=["exp", "exp3", "logistic", "reciprocal"],
)
def test_the_worst_error_is_the_worst_of_all(claim, exact):
    low, high = claim.variables["a"]
    errors = {a: abs(exact(a)[0] - exact(a)[1] * 2**31) for a in range(low, high + 1)}
    certificate = prove(claim)
    worst = certificate.facts["worst error (units of 2^-31)"]
    at = int(certificate.facts["reached at"].removeprefix("a = "))
    assert float(worst) == pytest.approx(max(errors.values()), abs=1e-5)
    assert errors[at] == pytest.approx(max(errors.values()), abs=1e-5)
    assert abs(claim.exact({"a": at}) - worst) < Decimal("1e-20")


def test_known_worst_errors():
    exp = prove(exp_error((-(1 << 20), 0)))
    assert str(exp.facts["worst error (units of 2^-31)"]).startswith("492.24853604159941")
    assert exp.facts["reached at"] == "a = -1021"
    prove(exp_error((-(1 << 16), 0), at_most=493))
    found = find_counterexample(exp_error((-(1 << 16), 0), at_most=492))
    assert found.values == {"a": -1021}
    assert found.check()


def test_where_all_errors_are_alike_there_is_no_worst():
    with pytest.raises(DomainError, match="more than 100,000 inputs share the worst error"):
        prove(exp_error((-(1 << 31), 1_000_000 - (1 << 31))))


@pytest.mark.parametrize("rule", RULES)
def test_the_worst_mean(rule):
    found = prove(average_pool_error(rule, -8, 7, (1, 6))).facts["worst error (units of the output)"]
    means = [(Fraction(s, n), s, n) for n in range(1, 7) for s in range(-8 * n, 7 * n + 1)]
    assert found == max(abs(divide(RULES[rule], s, n) - mean) for mean, s, n in means)
    bound = average_pool_error(rule, -8, 7, (1, 6), at_most="1/2")
    assert (find_counterexample(bound) is None) == (found <= Fraction(1, 2))


@pytest.mark.parametrize("length", [2, 3])
def test_the_worst_softmax(length):
    scale = 0.0625
    certificate = prove(softmax_error(scale, length=length, at_most=1))
    worst = certificate.facts["worst error (units of 1/256)"]
    at = [int(part.split(" = ")[1]) for part in certificate.facts["reached at"].split(", ")]
    powers = [1.0, *(math.exp(-scale * d) for d in at)]
    assert 0.5 <= worst <= 1
    # the greatest probability comes out as 255 / 256 at most
    assert float(worst) == pytest.approx(max(abs(256 * powers[0] / sum(powers) - 255), 0.5), abs=0.6)
    assert find_counterexample(softmax_error(scale, length=length, at_most=0.5)).check()


def test_functions_refuse_what_they_are_not_made_for():
    for make in (
        lambda: exp_error((-5, 1)), lambda: exp_error((-5, 0), 6), lambda: logistic_error((-(1 << 31), 0)),
        lambda: reciprocal_error((-1, 0)), lambda: softmax_error(0.1, length=4), lambda: softmax_error(1e-12),
        lambda: average_pool_error("ties_away", count=(0, 4)), lambda: average_pool_error("half_up"),
    ):  # fmt: skip
        with pytest.raises(DomainError, match="allowed: "):
            make()
