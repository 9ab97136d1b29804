"""The fused multiply-add on arrays: rounded once, against exact fractions."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxsim.kernels.float32 import fma, logistic, tanh

REALS = (
    st.floats(-(2.0**50), 2.0**50, width=32)
    | st.integers(-(1 << 24), 1 << 24).map(float)
    | st.sampled_from([0.0, -0.0, 1.0, 2.0**-30])
)


def exact(value: Fraction) -> float:
    """The float32 nearest to a fraction, ties to even: two steps of one rounding each that cannot tie twice."""
    if value == 0:
        return 0.0
    exponent = max(math.frexp(float(abs(value)))[1] - 24, -149)
    unit = Fraction(2) ** exponent
    return float(round(value / unit) * unit)  # Python rounds fractions to the nearest, ties to even


@given(REALS, REALS, REALS)
def test_fma_is_rounded_once(a, b, c):
    value = Fraction(a) * Fraction(b) + Fraction(c)
    if abs(value) < Fraction(2) ** 127:
        assert float(fma(np.float32(a), np.float32(b), np.float32(c))) == exact(value)


def test_fma_where_two_roundings_differ():
    """2**24 + 1 + 2**-30 lies just above a tie of float32; the small part is lost if the sum is rounded to float64 first."""
    a, b, c = np.float32(2.0**-30 - 2.0**-54), np.float32(1.0), np.float32(2.0**24 + 2)
    assert float(fma(a, b, c)) == exact(Fraction(float(a)) + Fraction(float(c)))
    product = [(np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12), np.float32(-(2.0**-40)))]
    for x, y, z in product:
        assert float(fma(x, y, z)) == exact(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))


def test_polynomials_are_near_the_functions():
    x = np.linspace(-20, 20, 4001).astype(np.float32)
    assert np.max(np.abs(logistic(x) - 1 / (1 + np.exp(-x.astype(np.float64))))) < 2e-7
    assert np.max(np.abs(tanh(x) - np.tanh(x.astype(np.float64)))) < 3e-7
    assert logistic(np.float32([-100, 100])).tolist() == logistic(np.float32([-18, 18])).tolist()
