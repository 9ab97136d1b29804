"""Integers of two words against the one-piece text on Python ints: sums, products, every rule, policy and width."""

from itertools import product
from random import Random

import numpy as np
import pytest

from fxsim.arith import cast, wide
from fxsim.arith.overflow import OVERFLOWS
from fxsim.arith.rounding import RULES
from fxsim.kernels import wide as kernels
from tests.naive_fixed import LOST_CARRY, RAW_CARRY, Word

MASK = (1 << 64) - 1
SHIFTS = (-130, -128, -65, -64, -63, -1, 0, 1, 2, 31, 32, 62, 63, 64, 65, 66, 100, 126, 127, 128, 129, 130, 200)
WIDTHS = range(1, 65)


def integer(x):
    """The number that a sign and two words stand for."""
    return ((int(x[1]) & MASK) << 64) + (int(x[2]) & MASK) - (int(x[0]) << 128)


def words(v):
    """The other way round, as the kernels hold it."""
    pattern = v & ((1 << 128) - 1)
    return [v < 0, wide.word(pattern >> 64), wide.word(pattern & MASK)]


def near_everything(rng, count):
    """Integers of up to 129 bits: at powers of two, at ties of every shift, at the limits, and anywhere."""
    found = [0, 1, -1, (1 << 128) - 1, -(1 << 127), (1 << 127) - 1, 1 << 64, -(1 << 64), (1 << 64) - 1, -(1 << 63)]
    for n in range(1, 128):
        half, odd = 1 << (n - 1), rng.getrandbits(127 - n) | 1
        found += [s * (v + d) for s in (1, -1) for v in (1 << n, half, (odd << n) + half, odd << n) for d in (-1, 0, 1)]
    return found + [rng.getrandbits(127) - (1 << 126) for _ in range(count)]


ENDS = {True: (-(1 << 63), -(1 << 63) + 1, -3, -1, 0, 1, 2, (1 << 63) - 1), False: (0, 1, 3, 1 << 63, MASK - 1, MASK)}


@pytest.mark.parametrize("kind", [int, Word])
def test_sums_and_products_are_exact(kind):
    """On Python ints, and on words that wrap; unsigned values as themselves or as the signed word of their bits."""
    rng = Random(0)
    for s, t in product((True, False), repeat=2):
        for a, b in product((*ENDS[s], rng.getrandbits(63)), (*ENDS[t], rng.getrandbits(63))):
            x, y = (kind(wide.word(v)) for v in (a, b))
            assert integer(wide.times(x, s, y, t)) == a * b, (a, b)
            for left in (0, 1, 31, 32, 63, 64):
                assert integer(wide.plus(x, s, left, y, t, 0)) == (a << left) + b, (a, b, left)
                assert integer(wide.plus(x, s, 0, y, t, left)) == a + (b << left), (a, b, left)


@pytest.mark.parametrize("kind", [int, Word])
@pytest.mark.parametrize("rule", RULES)
def test_rounding_is_that_of_one_piece(rule, kind):
    values = near_everything(Random(1), 200)
    ties = 0
    for shift in (*SHIFTS, *range(3, 128, 7)):
        for v in values if kind is int else values[::7]:
            negative, high, low = words(v)
            got = wide.round_wide(RULES[rule], negative, kind(high), kind(low), shift, False)
            if shift > 0:
                assert integer(got) == cast.rounded(RULES[rule], v, shift), (v, shift)
                ties += v % (1 << shift) == 1 << (shift - 1)
            elif v << -shift == integer(words(v << -shift)):
                assert integer(got) == v << -shift, (v, shift)
    assert ties > 100


def fitted(overflow, rounded, bits, signed, wrap_bits, quirk):
    """The text on Python ints, its result as a signed word."""
    return wide.word(wide.fit_wide(OVERFLOWS[overflow], *rounded, bits, signed, wrap_bits, quirk))


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_every_register_of_every_policy(overflow):
    """Widths 1..64, both signs, top bits, both quirks: compiled, and on Python ints, against the cast of one piece."""
    rule, rng = RULES["ties_pos"], Random(2)
    policy, kernel, compared = OVERFLOWS[overflow], kernels.fit(overflow), 0
    for bits, signed in product(WIDTHS, (True, False)):
        if overflow.startswith("wrap_sign") and not signed:
            continue
        low, high = -(1 << (bits - 1)) if signed else 0, (1 << (bits - signed)) - 1
        near = [low, low - 1, low + 1, high, high + 1, high - 1, 0, -1, 1, 1 << bits, 1 << 65, -(1 << 65), 1 << 125]
        values = [4 * k + d for k in (*near, rng.getrandbits(80), (1 << 32) - 1) for d in (-2, -1, 0, 1, 2)]
        parts = [wide.round_wide(rule, *words(v), 2, False) for v in values]
        rows = np.array([[wide.word(int(p)) for p in part] for part in parts], np.int64).T.copy()
        out = np.empty(len(values), np.int64)
        tops = sorted({0, 1, 2, bits - 1, bits}) if "wrap" in overflow else (0,)
        for top, quirk in product(tops, (0, RAW_CARRY, LOST_CARRY)):
            want = [wide.word(cast.cast(rule, policy, v, 2, bits, signed, top, quirk)) for v in values]
            assert [fitted(overflow, part, bits, signed, top, quirk) for part in parts] == want, (
                bits,
                signed,
                top,
                quirk,
            )
            kernel(rows, bits, signed, top, quirk, out)
            assert out.tolist() == want, (bits, signed, top, quirk)
            compared += len(want)
    assert compared > 10_000


@pytest.mark.parametrize("rule", RULES)
def test_compiled_rounding_equals_the_text(rule):
    values = near_everything(Random(3), 100)
    start = np.array([[*words(v), 0] for v in values], np.int64).T
    for shift in SHIFTS:
        rows = start.copy()
        kernels.round_by(rule)(rows, shift)
        for v, got in zip(values, rows.T.tolist(), strict=True):
            want = wide.round_wide(RULES[rule], *words(v), shift, rule in kernels.MARKING)
            assert got == [wide.word(int(part)) for part in want], (v, shift)
