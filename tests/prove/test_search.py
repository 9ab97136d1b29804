"""The two searches: they agree with each other and with brute force, say what they cannot do, and stop when asked."""

import random
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsim.arith.overflow import OVERFLOWS, saturate, wrap
from fxsim.arith.rounding import ties_pos
from fxsim.errors import DomainError
from fxsim.prove import Claim, Refuted, count_counterexamples, equal_requantization, find_counterexample, prove, solver
from fxsim.prove import enumerate as trying
from fxsim.prove.claims import Counterexample, at_most
from tests.prove.brute import failures, least

SCHEMES = ["double_rounding:ties_away", "double_rounding:ties_pos", "single_rounding:ties_even", "tosa_double_rounding"]


def both(claim):
    """The answer of both methods, which must be one."""
    answers = [find_counterexample(claim, m) for m in ("enumeration", "solver")]
    first, second = [a.values if a else None for a in answers]
    assert first == second
    return first


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SCHEMES),
    st.sampled_from(SCHEMES),
    st.integers(-60, 60),
    st.integers(1 << 30, (1 << 31) - 3),
    st.integers(-4, 29),
)
def test_solver_and_enumeration_agree_on_requantizations(a, b, acc, q, shift):
    claim = equal_requantization(a, b, acc=(acc, acc + 30), q=(q, q + 2), shift=(shift, shift + 1))
    assert both(claim) == least(claim)


def shifted_sum(x, y):
    return ((x << 3) + y) // 5


def rounded_sum(x, y):
    return -((-y - 8 * x) // 5)


@pytest.mark.parametrize(
    "ranges", [((-20, 20), (-9, 9)), ((3, 9), (-9, -2)), ((-9, -3), (5, 5)), ((-70, 70), (-60, 60))]
)
def test_the_least_counterexample_is_that_of_brute_force(ranges):
    claim = Claim("ceil is floor", dict(zip("xy", ranges, strict=True)), shifted_sum, rounded_sum)
    expected = least(claim)
    assert both(claim) == expected
    assert count_counterexamples(claim) == len(list(failures(claim)))


def remainder(a, b, c):
    return (a * b + c) % 7 - (a ^ c) // 3


def remainder_again(a, b, c):
    t = a * b + c
    return t - (t // 7) * 7 - ((a | c) - (a & c)) // 3


def test_symbolic_operators_are_those_of_python():
    ranges = {"a": (-12, 12), "b": (-7, 9), "c": (-20, 20)}
    assert both(Claim("remainders", ranges, remainder, remainder_again)) is None
    broken = Claim(
        "broken", ranges, remainder, lambda a, b, c: remainder_again(a, b, c) + ((a == 11) & (b == 9) & (c == -20))
    )
    assert both(broken) == {"a": 11, "b": 9, "c": -20}


def every_operator(x, y, n):
    z = abs(x - 3) * (y | 1) + (~x >> n) - (-y << n) + (x % 5) * (7 // (y * y + 1))
    if z > 10 and x != y:
        z = min(z, x * 9, 77)
    elif not (y <= x):
        z = max(z ^ y, -x & 0xFF)
    return z + (x >= y) - ((x < n) | (y == 2)) + sum(range(n))


@pytest.mark.parametrize("seed", range(3))
def test_any_value_that_a_function_takes_is_found_by_the_solver_and_no_other(seed):
    ranges = {"x": (-9, 11), "y": (-6, 6), "n": (0, 3)}
    draw = random.Random(seed)
    taken = {every_operator(x, y, n) for x in range(-9, 12) for y in range(-6, 7) for n in range(4)}
    for value in (draw.choice(sorted(taken)), next(v for v in range(10**6) if v not in taken)):
        claim = Claim("never this", ranges, lambda x, y, n, v=value: every_operator(x, y, n) != v)
        assert both(claim) == least(claim)


@pytest.mark.parametrize("name", OVERFLOWS)
@pytest.mark.parametrize("signed", [True, False])
def test_overflow_policies_keep_what_fits_and_stay_in_their_register(name, signed):
    policy = OVERFLOWS[name]

    def kept(low, wrap_bits):
        return policy(low, False, False, low < 0, low < 0, 5, signed, wrap_bits) == low

    def inside(low, below, above, carry, negative, wrap_bits):
        out = policy(low, below == 1, above == 1, carry == 1, negative == 1, 5, signed, wrap_bits)
        return (out >= limits[0]) & (out <= limits[1])

    limits = (-16, 15) if signed else (0, 31)
    bit = (0, 1)
    fits = Claim("what fits stays", {"low": (limits[0] + 1, limits[1]), "wrap_bits": (0, 6)}, kept)
    stays = Claim(
        "outputs fit",
        {"low": limits, "below": bit, "above": bit, "carry": bit, "negative": bit, "wrap_bits": (0, 6)}, inside,
    )  # fmt: skip
    assert both(fits) is None
    assert both(stays) is None


def test_wrap_and_saturate_differ_first_just_outside():
    claim = Claim("wrap saturates", {"value": (-(1 << 40), 1 << 40)}, lambda v: wrap(v, 16), lambda v: saturate(v, 16))
    assert find_counterexample(claim, "solver").values == {"value": 32768}
    inside = Claim("wrap keeps", {"value": (-(1 << 31), (1 << 31) - 1)}, partial(wrap, bits=32), lambda v: v)
    assert find_counterexample(inside, "solver") is None


def test_compiled_arithmetic_is_trusted_only_where_64_bits_suffice():
    def square(x):
        return x * x

    def square_again(x):
        return (x * x * 16) >> 4

    wide = Claim("squares", {"x": ((1 << 30) + 1, (1 << 30) + (1 << 13))}, square, square_again)
    assert trying.why_not_compiled(wide).startswith("an intermediate value in ")
    assert prove(wide, "enumeration").engine == "plain Python"
    narrow = Claim("squares", {"x": (-(1 << 13), 1 << 13)}, square, square_again)
    assert prove(narrow, "enumeration").engine == "compiled, 64 bits suffice"
    with pytest.raises(DomainError, match=r"at most 1,048,576 in plain Python \(an intermediate value"):
        prove(Claim("squares", {"x": (0, 1 << 33)}, square, square_again), "enumeration")


def test_numbers_bound_to_a_function_must_fit_too():
    claim = Claim("big", {"x": (0, 1 << 13)}, partial(lambda big, x: (big >> 70) + x, 1 << 72), lambda x: x + 4)
    assert prove(claim, "enumeration").engine == "plain Python"


def test_a_function_that_raises_is_no_proof():
    claim = Claim("inverse", {"x": (-(1 << 33), 1 << 33)}, lambda x: 12 // x, lambda x: 12 // x)
    with pytest.raises(DomainError, match=r"at \{'x': 0\} a side raises ZeroDivisionError"):
        prove(claim, "solver")
    shift = Claim("shift", {"x": (-1, 1 << 33)}, lambda x: 5 << ((x & 7) - 1), lambda x: 0)
    with pytest.raises(DomainError, match="negative shift count"):
        prove(shift, "solver")


def test_a_domain_beyond_enumeration_names_the_way_out(monkeypatch):
    claim = equal_requantization(SCHEMES[0], SCHEMES[3])
    with pytest.raises(
        DomainError, match=r"147,573,952,589,676,412,928 inputs; .* 4,294,967,296 \(2\*\*32\);"
    ) as caught:
        prove(claim, "enumeration")
    assert "pip install fxsim[prove]" in str(caught.value)
    monkeypatch.setattr(solver, "installed", lambda: False)
    with pytest.raises(DomainError, match="narrow the domain"):
        prove(claim)


def test_a_missing_solver_names_the_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(solver, "import_module", missing)
    with pytest.raises(DomainError, match=r"needs bitwuzla, which is not installed; pip install fxsim\[prove\]"):
        prove(equal_requantization(SCHEMES[0], SCHEMES[3]), "solver")


def test_the_solver_gives_up_in_time():
    factors = Claim("prime", {"x": (2, 1 << 40), "y": (2, 1 << 40)}, lambda x, y: x * y != 1000000007 * 998244353)
    with pytest.raises(solver.Undecided, match="did not decide in its time"):
        solver.search(factors, 0.3)


def test_progress_tells_of_every_input():
    seen = []
    claim = equal_requantization(SCHEMES[0], SCHEMES[3], acc=(-(1 << 24), (1 << 24) - 1), q=1 << 30, shift=-3)
    prove(claim, "enumeration", lambda done, of: seen.append((done, of)))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == (1 << 25, 1 << 25)


def test_a_wrong_search_is_caught():
    claim = Claim("x is x", {"x": (0, 9)}, lambda x: x, lambda x: x)
    with pytest.raises(AssertionError, match="plain Python does not confirm"):
        claim.counterexample({"x": 3}, "solver", "none", 0.0)
    assert not Counterexample(claim, {"x": 77}, 1, 2, "none", "none", 0.0).check()


@pytest.mark.parametrize("variables", [{}, {"x": (3, 2)}, {"x": (0.5, 2)}])
def test_claims_that_say_nothing_are_refused(variables):
    with pytest.raises(DomainError):
        Claim("nothing", variables, lambda x: x)


def test_unknown_names_are_refused():
    for a in ("double_rounding", "triple_rounding:ties_pos", "single_rounding:half_up", ("float64", ties_pos)):
        with pytest.raises(DomainError, match="allowed: "):
            equal_requantization(a, SCHEMES[0])
    with pytest.raises(DomainError, match="method 'magic'"):
        prove(equal_requantization(SCHEMES[0], SCHEMES[0]), "magic")
    with pytest.raises(DomainError, match="shift"):
        equal_requantization(SCHEMES[0], SCHEMES[0], shift=31)
    with pytest.raises(DomainError, match="q: "):
        equal_requantization(SCHEMES[0], SCHEMES[0], q=1 << 31)


def test_certificates_and_counterexamples_print_what_they_are():
    certificate = prove(equal_requantization(SCHEMES[0], SCHEMES[3], acc=(-9, 9)), "solver")
    assert "for acc: -9 .. 9" in str(certificate)
    assert "proved by: solver (bitwuzla" in str(certificate)
    with pytest.raises(Refuted) as caught:
        prove(Claim("order", {"x": (-3, 3)}, lambda x: x, lambda x: -x, at_most))
    assert str(caught.value) == "refuted: order: at x = 1 the left side is 1, the right side -1"
    assert "right: -1" in str(caught.value.counterexample)
