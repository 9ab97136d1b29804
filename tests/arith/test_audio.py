"""The integer functions of audio front ends, against the real functions that they approximate."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.arith.audio import LOG_BOW, WORD, compressed, gain, headroom, natural_log, peak, rounded_root


@given(st.integers(0, (1 << 64) - 1) | st.integers(0, 70000) | st.integers(0, 32).map(lambda b: (1 << (2 * b)) - 1))
def test_rounded_root_is_the_nearest_integer(x):
    root = rounded_root(x)
    stop = 0xFFFF if x <= WORD else WORD
    assert root <= stop
    assert (2 * root - 1) ** 2 <= 4 * x or root == 0
    assert 4 * x < (2 * root + 1) ** 2 or root == stop


def test_rounded_root_of_squares_and_of_what_lies_between():
    """Half-way between squares there is no integer: ``n * (n + 1)`` goes down, the next one up."""
    for n in (1, 2, 255, 65534, 1 << 20, WORD - 1):
        assert [rounded_root(v) for v in (n * n, n * (n + 1), n * (n + 1) + 1)] == [n, n, n + 1]


def test_the_bow_of_the_logarithm():
    assert LOG_BOW[0] == LOG_BOW[128] == 0
    assert max(LOG_BOW) == LOG_BOW[57] == 5641
    assert all(
        abs(Fraction(v, 65536) - Fraction(math.log2(1 + i / 128) - i / 128)) <= Fraction(1, 131072)
        for i, v in enumerate(LOG_BOW[:129])
    )


@given(st.integers(1, WORD), st.integers(1, 1600))
def test_natural_log_is_near(x, scale):
    """The bow between two entries is at most 223 / 65536, which the flat slope leaves out."""
    assert abs(natural_log(x, scale) - scale * math.log(x)) <= 0.5 + scale * (224 * math.log(2) + 32) / 65536


def test_natural_log_wraps_its_product():
    """The product with the scale has 32 bits."""
    assert natural_log(WORD, 1) == 22
    assert natural_log(WORD, 1 << 15) < natural_log(WORD, 1 << 10)


@pytest.mark.parametrize(
    ("values", "greatest"),
    [
        ([0, 0], 0),
        ([3, -7], 7),
        ([-32767], 32767),
        ([-32768], -32768),
        ([-32768, 5], 5),
        ([-32768, -5, -3], -3),
        ([9, -32768, -1, 4], 4),
    ],
)
def test_peak_in_a_register_of_16_bits(values, greatest):
    assert peak(values) == greatest


def test_headroom():
    assert [headroom(v) for v in (0, 1, 2, 255, 16383, 16384, 32767, -5, -32768)] == [0, 14, 13, 7, 1, 0, 0, 0, 0]
    assert all(16384 <= v << headroom(v) < 32768 for v in range(1, 32768))


def test_gain_meets_its_table_where_segments_begin():
    table = [(i * i * 7919) % 4001 - 2000 for i in range(125)]
    assert [gain(x, table) for x in (0, 1, 2)] == table[:3]
    for bits in range(3, 33):
        assert gain(1 << (bits - 1), table) == table[4 * bits - 6]


def test_compressed_is_a_parabola_and_then_a_line():
    one = 1 << 12
    assert compressed(0) == 0
    assert compressed(one) == 16
    assert compressed(2 * one - 1) == 63
    assert compressed(2 * one) == 64
    assert compressed(10 * one) == 9 * 64
