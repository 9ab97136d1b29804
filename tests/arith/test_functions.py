"""Roots, logarithms, quotients, tables and x86's undefined shifts: against the real functions, and at their limits."""

import math
from fractions import Fraction

import pytest

from fxsim.arith import gemmlowp, hard_swish, roots, tables, x86
from fxsim.arith.multiplier import float32, quantize_multiplier
from fxsim.arith.rounding import shift_right, ties_away
from tests.naive import round_fraction

Q31 = 1 << 31


def test_tanh_error_and_symmetry():
    unit = 1 << 27
    for a in range(-Q31 + 1, Q31, Q31 // 1500):
        assert abs(gemmlowp.tanh(a, 4) / Q31 - math.tanh(a / unit)) < 2e-6
        assert gemmlowp.tanh(-a, 4) == -gemmlowp.tanh(a, 4)


def test_inverse_square_root_error():
    for x in (1, 2, 3, 4, 15, 16, 17, 255**2, (1 << 27) - 1, 1 << 27, (1 << 29) - 1, 1 << 29, Q31 - 1):
        q, shift = roots.inverse_square_root(x)
        assert math.isclose(math.ldexp(q, shift - 31), x**-0.5, rel_tol=3e-6 if x < 1 << 29 else 1e-5)
    assert roots.inverse_square_root(0) == roots.inverse_square_root(1) == (Q31 - 1, 0)


def test_logarithm_error():
    unit = 1 << 19
    for x in (1.0, 1.001, 1.5, 2.0, math.e, 3.999, 4.0, 100.0, 1234.5, 4095.9):
        assert abs(roots.logarithm(int(x * unit), 12) / (1 << 26) - math.log(int(x * unit) / unit)) < 2e-6


def test_quotient_rounds_the_exact_one():
    """At every pair of signed bytes, within the 2**-30 that two roundings in between may move it."""
    q, shift = quantize_multiplier(64.0)
    for a in range(-255, 256, 3):
        for b in (*range(-255, 0, 7), *range(1, 256, 7)):
            exact = Fraction(64 * a, b)
            got = roots.quotient(a, b, q, shift)
            assert abs(got - exact) <= Fraction(1, 2) + Fraction(1, 1 << 20)
            if abs(exact * 2 - round(exact * 2)) > Fraction(1, 1 << 20):
                assert got == round_fraction(exact, "ties_away")


@pytest.mark.parametrize("bits", [16, 32])
def test_x86_shifts_are_the_defined_ones_where_there_are_any(bits):
    ends = [-(1 << (bits - 1)), (1 << (bits - 1)) - 1, -3, -2, -1, 0, 1, 2, 3, 5, -5, 12345, -12345]
    for x in ends:
        for n in range(bits):
            assert x86.rounding_shift_right(x, n, bits) == shift_right(ties_away, x, n)


def test_x86_shifts_beyond():
    """The value's shift is taken modulo 32, and a mask of all ones adds 1 to what is not negative."""
    assert x86.rounding_shift_right(1000, 37, 32) == (1000 >> 5) + 1
    assert x86.rounding_shift_right(-1000, 37, 32) == -1000 >> 5
    assert x86.rounding_shift_right(7, -2, 32) == (7 >> 30) + 1
    assert x86.rounding_shift_right(300, 20, 16) == 1


def test_casts():
    assert [x86.to_int32(v) for v in (1.9, -1.9, 2.0**31, -(2.0**31), math.nan, math.inf)] == [1, -1, *[-Q31] * 4]
    assert [x86.to_int32_saturating(v) for v in (2.0**31, -(2.0**40), math.nan)] == [Q31 - 1, -Q31, 0]


def test_sigmoids_are_half_way_between_the_curve_and_its_chords():
    """Even, monotonic, from one half to the limit; the interpolation's error changes sign within a step."""
    assert tables.SIGMOIDS[0] == 1 << 15
    assert tables.SIGMOIDS[-1] == (1 << 16) - 1
    assert len(tables.SIGMOIDS) == 256
    assert all(a <= b for a, b in zip(tables.SIGMOIDS, tables.SIGMOIDS[1:], strict=False))
    assert sum(tables.SIGMOIDS) == 15670629


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-11, 0.0003, 1e-5])
def test_functions_of_16_bits(scale):
    for x in range(-32768, 32768, 97):
        multiplier, shift = (round(3 * scale * 4096), 0) if scale >= 2.0**-12 else tables.input_multiplier(scale)
        real = x * multiplier * 2.0**-shift / 12288
        assert abs(tables.logistic16(x, tables.SIGMOIDS, multiplier, shift) / 32768 - 1 / (1 + math.exp(-real))) < 2e-4
        assert abs(tables.tanh16(x, tables.SIGMOIDS, multiplier, shift) / 32768 - math.tanh(real)) < 4e-4


@pytest.mark.parametrize("narrow", [float32, float])
def test_table_of_513_interpolates(narrow):
    table = tables.table_of_513(math.exp, narrow, narrow(10 / 65535), 32767, narrow(2 / 65535), 0)
    assert len(table) == 513
    worst = max(
        abs(tables.interpolate(x, table) / 32768 - math.exp((x - 32767) * 10 / 65535)) for x in range(-32768, 32768, 11)
    )
    assert worst < 2.5e-4  # the 512 steps span 65,536 inputs, the table 65,535


def test_table_of_256_at_its_ends():
    at = tables.table_of_256(math.exp, -128, 127, 1.0, 0, 1.0, 0, True)
    assert at[0] == 0
    assert at[128] == 1
    assert at[255] == 127
    assert tables.table_of_256(math.exp, -128, 127, 1.0, 0, 1.0, 0, False)[255] == -128


def test_hard_swish_error():
    settings = hard_swish.settings(0.05, 0.05)
    for x in range(-200, 201):
        real = 0.05 * x * min(max(0.05 * x + 3, 0), 6) / 6
        assert abs(hard_swish.hard_swish(x, *settings) * 0.05 - real) < 0.06
