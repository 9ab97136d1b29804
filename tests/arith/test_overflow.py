"""Overflow policies and casts against the definitions: exhaustively for small registers, by hypothesis for wide ones.

The ``check_*`` functions hold one function against the naive twins; ``tests/test_mutants.py`` plants bugs under them.
"""

import os
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fxsim import fixed
from fxsim.arith import cast as casts
from fxsim.arith import overflow as overflows
from fxsim.arith import rounding as roundings
from fxsim.arith.cast import LOST_CARRY, RAW_CARRY
from fxsim.arith.overflow import OVERFLOWS
from fxsim.arith.rounding import RULES
from fxsim.kernels import cast as kernels
from fxsim.kernels.multiply import multiply
from tests import naive, naive_fixed
from tests.naive_fixed import Word

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
"""numpy's own int64 scalars warn where compiled ones wrap: interpreted, the kernels are held to half a word"""
WIDEST = 64 if COMPILED else 30
policies = pytest.mark.parametrize("policy", OVERFLOWS)
rules = pytest.mark.parametrize("rule", RULES)
SMALL = [
    (bits, signed, n, k)
    for bits, signed in product(range(1, 5), (True, False))
    for n in range(bits + 2)
    for k in range(-3 << bits, (3 << bits) + 1)
]
"""every register of 1..4 bits, every number of saturated bits and one more, every integer of three times its range"""


def seen(k: int, bits: int, signed: bool) -> tuple[int, bool, bool, bool, bool]:
    """What a policy is told of ``k``, by its definition: low, below, above, carry, negative."""
    low = -(1 << (bits - 1)) if signed else 0
    return naive_fixed.modulo(k, bits, signed), k < low, k >= low + (1 << bits), naive_fixed.bit(k, bits) == 1, k < 0


def check_policy(name, policy):
    """A policy on all small registers, also with the carry of another integer than ``k``."""
    for bits, signed, n, k in SMALL:
        low, below, above, carry, negative = seen(k, bits, signed)
        got = policy(low, below, above, carry, negative, bits, signed, n)
        assert got == naive_fixed.overflow(name, k, bits, signed, n), (bits, signed, n, k)
        if n == 0:
            floor = k - 1
            got = policy(low, below, above, naive_fixed.bit(floor, bits) == 1, negative, bits, signed, 0)
            assert got == naive_fixed.overflow(name, k, bits, signed, 0, floor), (bits, signed, k, floor)


def check_rule(name, rule):
    """A rule on every value within -12..12 in eighths."""
    for v in range(-96, 97):
        floor, eighths = divmod(v, 8)
        got = rule(floor, eighths > 0, eighths == 4, eighths > 4)
        assert got == naive_fixed.round_exact(Fraction(v, 8), name), Fraction(v, 8)


def check_shift_right(shift_right):
    """The shift form of every rule: small values, and the limits of 64 bits."""
    values = [*range(-40, 41), *(s * 2**62 + d for s in (1, -1) for d in (-1, 0, 1)), -(2**63), 2**63 - 1]
    for rule, shift, v in product(RULES, (0, 1, 2, 3, 31, 61, 62), values):
        assert shift_right(RULES[rule], v, shift) == naive_fixed.round_exact(Fraction(v, 1 << shift), rule), (v, shift)


def check_divide(divide):
    """The divide form of every rule, odd divisors included."""
    for rule, divisor, v in product(RULES, (1, 2, 3, 4, 6, 7), range(-40, 41)):
        assert divide(RULES[rule], v, divisor) == naive_fixed.round_exact(Fraction(v, divisor), rule), (v, divisor)


FLOATS = [
    *(n / 4 for n in range(-20, 21)),
    *(s * x for s in (1, -1) for x in (0.49999999999999994, 5e-324, 2.0**-1022, 2.0**52 + 0.5, 2.0**51 + 0.5, 2.0**53)),
]


def check_from_float(from_float):
    """The float form of every rule: quarters, the greatest float below 1/2, denormals, the last floats with a fraction."""
    for rule, x in product(RULES, FLOATS):
        assert from_float(RULES[rule], x) == naive_fixed.round_exact(Fraction(x), rule), (rule, x)


WORDS = [*range(-5, 6), *(s * (2**62 + d) for s in (1, -1) for d in (-1, 0, 1)), -(2**63), -(2**63) + 1, 2**63 - 1]
"""the least, the greatest and the middle of int64, and small values"""


def check_fit(fit):
    """``value * 2**left`` in every register of 1..4 bits, shifted far beyond its width too; and with another carry."""
    for name, bits, signed in product(OVERFLOWS, range(1, 5), (True, False)):
        for n, left, v in product(sorted({0, 1, 2, bits, bits + 1}), (0, 1, 2, 3, 4, 5, 9), range(-19, 20)):
            got = fit(OVERFLOWS[name], v, left, v, bits, signed, n)
            want = naive_fixed.overflow(name, v * 2**left, bits, signed, n)
            assert got == want, (name, v, left, bits, signed, n)
        for v in range(-40, 41):
            got = fit(OVERFLOWS[name], v, 0, v - 1, bits, signed, 0)
            assert got == naive_fixed.overflow(name, v, bits, signed, 0, v - 1), (name, v, bits, signed)
    for name, bits, signed in product(OVERFLOWS, (2, 32, 63, 64), (True, False)):
        for left, v in product((0, 1, 31, 62, 63, 64, 65, 200), WORDS):
            got = int(fit(OVERFLOWS[name], Word(v), Word(left), Word(v), Word(bits), signed, 0))
            want = naive_fixed.overflow(name, v * 2**left, bits, signed, 0)
            assert (got - want) % 2**64 == 0, (name, v, left, bits, signed)


def check_rounded(rounded):
    """Shifts beyond any word: only the sign is left, and whether anything was lost."""
    for rule, shift, v in product(RULES, (0, 1, 3, 61, 62, 63, 64, 65, 66, 200), (*WORDS, 3 << 70, -1 << 90)):
        want = naive_fixed.round_exact(Fraction(v, 1 << shift), rule)
        assert rounded(RULES[rule], v, shift) == want, (rule, v, shift)
        if v in WORDS:
            assert int(rounded(RULES[rule], Word(v), Word(shift))) == want, (rule, v, shift)


def check_cast(cast):
    """Both quirks, left and right shifts, rounding before overflow; Python ints of any width, and machine words."""
    names = ("wrap", "saturate", "zero", "wrap_sign_magnitude", "wrap_sign_magnitude_hls", "numeric_std")
    for rule, name, bits, signed in product(("ties_pos", "trn_mag"), names, (1, 3), (True, False)):
        for shift, quirk, v in product((-4, 0, 1, 3), (0, RAW_CARRY), range(-13, 14)):
            got = cast(RULES[rule], OVERFLOWS[name], v, shift, bits, signed, 0, quirk)
            want = naive_fixed.cast(rule, name, v, shift, bits, signed, 0, quirk)
            assert got == want, (rule, name, bits, signed, shift, quirk, v)
    near = range((1 << 35) - 12, (1 << 35) + 12)
    for v, signed, quirk, name in product(near, (True, False), (0, RAW_CARRY, LOST_CARRY), ("saturate", "wrap")):
        got = cast(RULES["ties_pos"], OVERFLOWS[name], v, 3, 20, signed, 0, quirk)
        assert got == naive_fixed.cast("ties_pos", name, v, 3, 20, signed, 0, quirk), (v, signed, quirk, name)
    policy, rule = "wrap_sign_magnitude", "ties_pos"  # with RAW_CARRY it looks at the floor in every case
    for v, shift, signed in product(
        (-(1 << 80), *WORDS, 1 << 80), (0, 1, 59, 62, 63, 64, 70, 79, 80, 200), (True, False)
    ):
        want = naive_fixed.cast(rule, policy, v, shift, 4, signed, 0, RAW_CARRY)
        assert cast(RULES[rule], OVERFLOWS[policy], v, shift, 4, signed, 0, RAW_CARRY) == want, (v, shift, signed)
        if v in WORDS:
            got = int(cast(RULES[rule], OVERFLOWS[policy], Word(v), Word(shift), 4, signed, 0, RAW_CARRY))
            assert got == want, (v, shift, signed)


def check_limits(lowest, highest):
    """The ends of every register, and none other."""
    for bits in (1, 2, 8, 63, 64, 200):
        assert (lowest(bits, True), highest(bits, True)) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert (lowest(bits, False), highest(bits, False)) == (0, 2**bits - 1)


def check_accumulator_policy(name, policy):
    """Wrapping and saturating registers of accumulators."""
    for bits in range(1, 6):
        for v in range(-100, 101):
            assert policy(v, bits) == getattr(naive, name)(v, bits), (v, bits)


@policies
def test_every_policy_is_its_definition(policy):
    check_policy(policy, OVERFLOWS[policy])


@rules
def test_every_rule_is_its_definition(rule):
    check_rule(rule, RULES[rule])


@pytest.mark.parametrize("check", [check_shift_right, check_divide, check_from_float])
def test_every_form_of_the_rules_is_their_definition(check):
    check(getattr(roundings, check.__name__.removeprefix("check_")))


@pytest.mark.parametrize("check", [check_fit, check_rounded, check_cast])
def test_every_step_of_a_cast_is_its_definition(check):
    check(getattr(casts, check.__name__.removeprefix("check_")))


def test_limits():
    check_limits(overflows.lowest, overflows.highest)


@pytest.mark.parametrize("policy", overflows.POLICIES)
def test_accumulator_policies(policy):
    check_accumulator_policy(policy, overflows.POLICIES[policy])


@policies
def test_small_casts_of_every_rule(policy):
    """Every rule with every policy: 6-bit sources, registers of 1 and 3 bits, shifts from far left to far right."""
    ties = 0
    for rule, bits, signed, shift in product(RULES, (1, 3), (True, False), (-7, -1, 0, 1, 2, 5)):
        for v in range(-32, 32):
            got = casts.cast(RULES[rule], OVERFLOWS[policy], v, shift, bits, signed, 0, 0)
            assert got == naive_fixed.cast(rule, policy, v, shift, bits, signed, 0), (rule, v, shift, bits, signed)
            ties += shift > 0 and v % (1 << shift) == 1 << (shift - 1)
    assert ties > 1000


wide = st.integers(-(2**220), 2**220) | st.builds(
    lambda sign, power, d: sign * (1 << power) + d, st.sampled_from((1, -1)), st.integers(0, 220), st.integers(-2, 2)
)


@policies
@given(
    v=wide,
    rule=st.sampled_from(list(RULES)),
    shift=st.integers(-210, 210),
    bits=st.integers(1, 200),
    signed=st.booleans(),
    n=st.integers(0, 202),
    quirk=st.sampled_from((0, RAW_CARRY)),
)
@example(v=2**200, rule="to_neg", shift=137, bits=64, signed=True, n=0, quirk=RAW_CARRY)
@example(v=-(2**100) - 1, rule="ties_even", shift=70, bits=30, signed=True, n=3, quirk=RAW_CARRY)
def test_wide_casts_on_python_ints(policy, v, rule, shift, bits, signed, n, quirk):
    got = casts.cast(RULES[rule], OVERFLOWS[policy], v, shift, bits, signed, n, quirk)
    assert got == naive_fixed.cast(rule, policy, v, shift, bits, signed, n, quirk)


TOP = 2 ** (WIDEST - 1)
word = st.integers(-TOP, TOP - 1) | st.builds(
    lambda sign, power, d: max(-TOP, min(TOP - 1, sign * (1 << power) + d)),
    st.sampled_from((1, -1)),
    st.integers(0, WIDEST - 1),
    st.integers(-2, 2),
)
PAIRS = [
    *((rule, "saturate") for rule in RULES),
    *(("ties_pos", policy) for policy in OVERFLOWS if policy != "saturate"),
]
"""each rule and each policy in one compiled kernel at least"""


@pytest.mark.parametrize(("rule", "policy"), PAIRS)
@given(
    v=st.lists(word, min_size=1, max_size=8),
    shift=st.integers(-70 if COMPILED else -30, 70),
    bits=st.integers(1, WIDEST),
    signed=st.booleans(),
    n=st.integers(0, 66),
    quirk=st.sampled_from((0, RAW_CARRY, LOST_CARRY)),
)
def test_compiled_casts_equal_python_ints(rule, policy, v, shift, bits, signed, n, quirk):
    """64-bit values into registers of up to 64 bits; unsigned 64 as the pattern that int64 holds."""
    n = min(n, bits + 1)
    out = np.empty(len(v), np.int64)
    kernels.cast_raw(rule, policy)(np.array(v, np.int64), shift, bits, signed, n, quirk, out)
    for x, got in zip(v, out.tolist(), strict=True):
        want = casts.cast(RULES[rule], OVERFLOWS[policy], x, shift, bits, signed, n, quirk)
        assert got % 2**64 == want % 2**64, (x, want)


HARD = np.array(
    [0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, -(2.0**-1040), 1e-300, 0.49999999999999994, -0.49999999999999994]
    + [s * n / 8 for n in range(41) for s in (1, -1)]
    + [s * (2.0**e + d) for e in (31, 50, 51, 52, 53) for d in (-0.5, 0.0, 0.5, 1.0) for s in (1, -1)]
)
HUGE = np.array(
    [s * 2.0**e * m for e in (54, 60, 61, 62, 63, 64, 100) for m in (1, 1.25, 1 - 2.0**-53) for s in (1, -1)]
)
HUGE = np.append(HUGE, [1e300, -1e300, 1.7976931348623157e308, -1.7976931348623157e308])[: None if COMPILED else 0]
WIDE = (53, 64) if COMPILED else (40,)


@pytest.mark.parametrize(("rule", "policy"), PAIRS)
def test_quantize_of_any_float_equals_exact_fractions(rule, policy):
    """Ties, denormals, negative zero, the last floats that have a fraction, and far beyond.

    The two rules that move integers are held to that up to ``2**53`` here, and beyond in the next test.
    """
    x, f = np.concatenate([HARD, HUGE if rule not in ("jam", "trn_mag") else []]), kernels.quantize_any(rule, policy)
    for frac_bits, bits, signed in product((0, 2, -3), (1, 8, *WIDE), (True, False)):
        out = np.empty(x.size, np.int64)
        assert f(x, frac_bits, bits, signed, 0, 0, out) == -1
        for v, got in zip(x.tolist(), out.tolist(), strict=True):
            want = naive_fixed.quantize(rule, policy, v, frac_bits, bits, signed)
            assert got % 2**64 == want % 2**64, (v, frac_bits, bits, signed, want)


@pytest.mark.parametrize(("rule", "policy"), PAIRS)
def test_quantize_plain_equals_quantize_any(rule, policy):
    """On everything that the fast kernel is given; what it must not be given is counted."""
    plain, slow, odd = kernels.quantize_plain(rule, policy), kernels.quantize_any(rule, policy), kernels.count_odd()
    x, compared = np.concatenate([HARD, HUGE]), 0
    for frac_bits, bits, signed in product((0, 2, -3), (1, 8, WIDE[0]), (True, False)):
        scale = 2.0**frac_bits
        tame = x[[odd(x[i : i + 1], scale) == 0 for i in range(x.size)]]
        assert odd(x, scale) == x.size - tame.size
        assert tame.size > 80
        a, b = np.empty(tame.size, np.int64), np.empty(tame.size, np.int64)
        plain(tame, scale, bits, signed, 0, a)
        assert slow(tame, frac_bits, bits, signed, 0, 0, b) == -1
        assert (a == b).all(), tame[a != b]
        compared += tame.size
    assert compared > 1000


@pytest.mark.parametrize(("rule", "policy"), [*PAIRS, ("jam", "wrap"), ("trn_mag", "wrap")])
def test_public_quantize_equals_exact_fractions(rule, policy):
    """Whatever kernel the public function chooses: a rule that moves integers moves huge ones too."""
    for values, (bits, frac_bits) in product(
        (HARD, HUGE, np.concatenate([HARD, HUGE])), ((8, -3), (WIDE[-1], 0), (70, 2))
    ):
        got = fixed.quantize(values, fixed.FixedFormat(bits, frac_bits), rule, policy)
        for v, raw in zip(values.tolist(), got.tolist(), strict=True):
            assert raw == naive_fixed.quantize(rule, policy, v, frac_bits, bits, True), (v, bits, frac_bits)


@policies
def test_products_equal_python_ints(policy):
    """The fused kernel of ``fixed.mul``, with and without a shift."""
    a, b = (np.array(v, np.int64).reshape(-1) for v in np.meshgrid(np.arange(-9, 10), np.arange(-5, 6)))
    for shift, bits, signed in product((0, 1, 3), (1, 3, 5), (True, False)):
        out = np.empty(a.size, np.int64)
        multiply("ties_even", policy)(a, b, shift, bits, signed, 0, out)
        want = [naive_fixed.cast("ties_even", policy, int(v), shift, bits, signed, 0) for v in a * b]
        assert out.tolist() == want, (shift, bits, signed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_quantize_stops_at_the_first_value_that_no_register_holds(value):
    out = np.empty(3, np.int64)
    assert kernels.quantize_any("ties_even", "saturate")(np.array([1.0, value, 2.0]), 0, 8, True, 0, 0, out) == 1
