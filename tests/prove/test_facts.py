"""What is known about the engines' requantizations, proved or refuted again."""

import os

import numpy as np
import pytest

from fxsim.prove import (
    Refuted,
    average_pool_within,
    count_counterexamples,
    equal_requantization,
    find_counterexample,
    prove,
    requantization_differs_by_at_most,
)

DOUBLE, SINGLE, TOSA = "double_rounding:ties_away", "single_rounding:ties_pos", "tosa_double_rounding"
OPTIMIZED = "double_rounding:ties_pos"
M = 1518500250
BYTE = (-128, 127)
long = pytest.mark.skipif(os.environ.get("FXSIM_LONG") != "1", reason="tries 2**32 inputs: FXSIM_LONG=1")


@pytest.mark.parametrize("method", ["solver", "enumeration", "auto"])
def test_double_and_single_rounding_differ_first_at_362(method):
    found = find_counterexample(equal_requantization(DOUBLE, SINGLE, q=M, shift=-9), method)
    assert found.values == {"acc": 362, "q": M, "shift": -9}
    assert (found.left, found.right) == (1, 0)
    assert found.check()


def test_double_and_single_rounding_are_equal_without_a_right_shift():
    certificate = prove(equal_requantization(DOUBLE, SINGLE, shift=0), "solver")
    assert certificate.size == 1 << 62
    assert certificate.engine.startswith("bitwuzla 0.")


def test_gemmlowp_double_rounding_is_tosa_double_round_for_all_multipliers_and_shifts():
    assert prove(equal_requantization(DOUBLE, TOSA), "solver").size == 1 << 67


def test_gemmlowp_double_rounding_is_tosa_double_round_after_clamping_for_all_zero_points():
    assert prove(equal_requantization(DOUBLE, TOSA, zero_point=BYTE, clamp=BYTE), "solver").size == 1 << 75


def test_tosa_does_not_wrap_a_left_shift_as_gemmlowp_does():
    found = find_counterexample(equal_requantization(DOUBLE, TOSA, acc=(-8, 8), q=1 << 30, shift=(-31, 30)))
    assert found.values == {"acc": 2, "q": 1 << 30, "shift": 30}


def test_double_and_single_rounding_differ_by_at_most_one_for_all_multipliers_and_shifts():
    prove(requantization_differs_by_at_most(DOUBLE, SINGLE, 1), "solver")


def test_the_least_scale_at_which_double_and_single_rounding_differ():
    found = find_counterexample(equal_requantization(DOUBLE, SINGLE), "solver")
    assert found.values == {"acc": 1, "q": 1 << 30, "shift": -1}


def test_reference_and_optimized_kernels_differ_only_below_zero():
    prove(equal_requantization(DOUBLE, OPTIMIZED, acc=(0, (1 << 31) - 1)), "solver")
    found = find_counterexample(equal_requantization(DOUBLE, OPTIMIZED), "solver")
    assert found.values["acc"] == -1


def test_a_mean_is_within_half():
    prove(average_pool_within("ties_away", count=(1, 16)))
    with pytest.raises(Refuted):
        prove(average_pool_within("to_zero", count=(1, 16)))


def test_the_number_of_counterexamples_is_that_of_numpy():
    acc = np.arange(-(1 << 23), 1 << 23)
    high = (acc * M + (1 << 30)) >> 31
    double = (high >> 9) + ((high & 511) > 255 + (high < 0))
    differ = int(np.count_nonzero(double != (acc * M + (1 << 39)) >> 40))
    domain = {"acc": (-(1 << 23), (1 << 23) - 1), "q": M, "shift": -9}
    assert count_counterexamples(equal_requantization(DOUBLE, SINGLE, **domain)) == differ > 16_000
    assert count_counterexamples(equal_requantization(DOUBLE, TOSA, **domain)) == 0


@long
def test_double_and_single_rounding_differ_at_4194306_accumulators():
    assert count_counterexamples(equal_requantization(DOUBLE, SINGLE, q=M, shift=-9)) == 4_194_306


@long
def test_double_and_single_rounding_differ_at_184_accumulators_after_clamping():
    assert count_counterexamples(equal_requantization(DOUBLE, SINGLE, q=M, shift=-9, clamp=BYTE)) == 184


@long
@pytest.mark.parametrize("q", [1 << 30, M, (1 << 31) - 1])
def test_all_accumulators_agree_with_the_solver(q):
    assert prove(equal_requantization(DOUBLE, TOSA, q=q, shift=-9), "enumeration").size == 1 << 32
    assert prove(equal_requantization(DOUBLE, SINGLE, q=q, shift=0), "enumeration").size == 1 << 32
