"""Interpolation with fixed-point weights, against the exact quotient."""

from fractions import Fraction

import numpy as np
import pytest

from fxsim.arith.rounding import RULES
from fxsim.kernels.resize import fixed


def slow(rounding, x, rows, columns, bits):
    """The sum of four products as a fraction, rounded once."""
    out = np.zeros((x.shape[0], rows.shape[1], columns.shape[1], x.shape[3]), np.int64)
    for n, i, j, c in np.ndindex(*out.shape):
        (y0, y1, wy), (x0, x1, wx) = (tuple(map(int, t)) for t in (rows[:, i], columns[:, j]))
        one = 1 << bits
        pairs = (
            (y0, x0, (one - wy) * (one - wx)),
            (y0, x1, (one - wy) * wx),
            (y1, x0, wy * (one - wx)),
            (y1, x1, wy * wx),
        )
        exact = Fraction(sum(int(x[n, a, b, c]) * w for a, b, w in pairs), one * one)
        whole = exact.numerator // exact.denominator
        rest = exact - whole
        out[n, i, j, c] = RULES[rounding](whole, rest > 0, rest == Fraction(1, 2), rest > Fraction(1, 2))
    return out


@pytest.mark.parametrize(("rounding", "bits"), [("ties_away", 10), ("ties_pos", 11)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_fixed_against_fractions(rounding, bits, dtype):
    rng, info = np.random.default_rng(7), np.iinfo(dtype)
    x = rng.integers(info.min, info.max, (2, 3, 4, 2), endpoint=True).astype(dtype)
    x[0, :2, :2] = [[info.min, info.min + 1]] * 2  # half of 1 between them: a tie
    one = 1 << bits
    rows = np.array([[0, 1, 2, 0, 1], [1, 2, 2, 1, 1], [0, one // 2, one, 77, 3]], np.int64)
    columns = np.array([[0, 0, 2, 3], [1, 1, 3, 3], [one // 2, one, one - 1, 0]], np.int64)
    out = np.empty((2, 5, 4, 2), dtype)
    fixed(rounding)(x, rows, columns, bits, out)
    wanted = slow(rounding, x, rows, columns, bits)
    assert np.array_equal(out, wanted)
    other = slow("ties_neg", x, rows, columns, bits)
    assert np.any(wanted != other), "no tie tells the rules apart"
