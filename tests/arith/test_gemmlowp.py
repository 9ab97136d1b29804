"""gemmlowp's functions against the real ones: format, limits and worst error."""

import math

import pytest

from fxsim.arith.gemmlowp import ONE, exp_on_negative_values, logistic, one_over_one_plus_x, reciprocal

Q31 = 1 << 31


@pytest.mark.parametrize("integer_bits", [0, 2, 4, 5])
def test_exp_error(integer_bits):
    unit = 1 << (31 - integer_bits)
    worst = 0.0
    for n in range(0, 4000):
        a = -(n * (Q31 // 4000))
        worst = max(worst, abs(exp_on_negative_values(a, integer_bits) / Q31 - math.exp(a / unit)))
    assert worst < 3e-7
    assert exp_on_negative_values(0, integer_bits) == ONE


def test_reciprocal_error():
    worst = max(abs(one_over_one_plus_x(a) / Q31 - 1 / (1 + a / Q31)) for a in range(0, Q31, Q31 // 3000))
    assert worst < 1e-8
    for x in (1, 5, 1 << 19, (1 << 19) + 7, 4096 << 19, Q31 - 1):
        r, e = reciprocal(x, 12)
        assert math.isclose(r / Q31 * 2.0**-e, (1 << 19) / x, rel_tol=1e-7)


def test_logistic_error_and_symmetry():
    unit = 1 << 27
    for a in range(-Q31 + 1, Q31, Q31 // 1500):
        assert abs(logistic(a, 4) / Q31 - 1 / (1 + math.exp(-a / unit))) < 3e-7
        assert logistic(a, 4) + logistic(-a, 4) in (ONE, Q31)
    assert logistic(0, 4) == 1 << 30
