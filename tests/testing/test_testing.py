"""The tools for other people's tests: laws, identification of black boxes, strategies."""

import pickle
import subprocess
import sys
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import fxsim
import fxsim.fixed as fx
from fxsim import testing
from fxsim.arith.overflow import OVERFLOWS, POLICIES
from fxsim.arith.requantize import SCHEMES, double_rounding, single_rounding
from fxsim.arith.rounding import RULES, shift_right
from fxsim.fixed.names import ROUNDING, STOCHASTIC, overflow_rule, rounding_name
from fxsim.numerics import Order
from fxsim.testing import Domain, LawBroken, aliases, check_rounding
from tests import naive

rules = pytest.mark.parametrize("rule", RULES)
DIRECTED = {"to_neg", "to_pos", "to_zero", "to_away"}
NEAREST = {name for name in RULES if name.startswith("ties_")}
LAWS = {
    "monotone": (testing.check_monotone, set(RULES)),
    "idempotent": (testing.check_idempotent, set(RULES) - {"trn_mag"}),
    "exact on representables": (testing.check_exact_on_representables, set(RULES) - {"jam", "trn_mag"}),
    "error <= 1/2": (lambda f: testing.check_error_bound(f, Fraction(1, 2)), NEAREST),
    "error < 1": (lambda f: testing.check_error_bound(f, 1, strict=True), DIRECTED | NEAREST | {"jam_unbiased"}),
    "odd": (
        testing.check_odd,
        {"to_zero", "to_away", "ties_zero", "ties_away", "ties_even", "ties_odd", "jam_unbiased"},
    ),
    "unbiased": (testing.check_unbiased, {"ties_even", "ties_odd", "jam_unbiased"}),
    "composition": (testing.check_composition, DIRECTED | {"jam", "jam_unbiased"}),
}
"""law -> the rules that obey it: exactly these"""
LEAST = {
    ("idempotent", "trn_mag"): {"value": -2, "shift": 0},
    ("exact on representables", "jam"): {"value": 0, "shift": 0},
    ("exact on representables", "trn_mag"): {"value": -1, "shift": 0},
    ("error <= 1/2", "to_neg"): {"value": -1, "shift": 2},
    ("error < 1", "jam"): {"value": 0, "shift": 0},
    ("odd", "to_neg"): {"value": 1, "shift": 1},
    ("odd", "ties_dpu"): {"value": 3, "shift": 1},
    ("unbiased", "ties_away"): {"value": 0, "shift": 1},
    ("unbiased", "ties_dpu"): {"value": -4, "shift": 1},
    ("composition", "ties_even"): {"value": 5, "shift": 1, "then": 2},
    ("composition", "ties_pos"): {"value": 1, "shift": 1, "then": 1},
    ("composition", "trn_mag"): {"value": -5, "shift": 1, "then": 1},
}


def scalar(rule):
    """The rule as a user's function."""
    return lambda value, shift: shift_right(RULES[rule], value, shift)


@rules
@pytest.mark.parametrize("law", LAWS)
def test_laws_hold_exactly_for_the_rules_they_should(law, rule):
    check, obedient = LAWS[law]
    if rule in obedient:
        assert check(scalar(rule)) is None
        return
    with pytest.raises(LawBroken, match=law) as e:
        check(scalar(rule))
    assert e.value.law == law
    assert LEAST.get((law, rule), e.value.counterexample) == e.value.counterexample


def test_a_law_that_all_rules_obey_can_be_broken():
    def crooked(value, shift):
        return shift_right(RULES["ties_even"], value, shift) - 2 * (value == 23 and shift == 2)

    with pytest.raises(
        LawBroken, match=r"monotone is broken at value=22, shift=2: fn\(22\) = 6, but fn\(23\) = 4"
    ) as e:
        testing.check_monotone(crooked)
    assert isinstance(e.value, fxsim.FxsimError)
    assert isinstance(e.value, AssertionError)
    copy = pickle.loads(pickle.dumps(e.value))
    assert (copy.law, copy.counterexample, str(copy)) == ("monotone", {"value": 22, "shift": 2}, str(e.value))


@pytest.mark.parametrize(("law", "rule"), [k for k in LEAST if k[0] in ("odd", "composition")])
def test_least_counterexamples_are_least(law, rule):
    """A domain that ends right before the counterexample, in value or in shift, has none."""
    check, found = LAWS[law][0], LEAST[law, rule]
    shifts = found["shift"] + found.get("then", 0)
    if abs(found["value"]) > 2:
        check(scalar(rule), domain=Domain(abs(found["value"]) - 1, shifts))
    if shifts > 1:
        check(scalar(rule), domain=Domain(shifts=shifts - 1))


def test_laws_see_arrays_as_they_see_ints():
    def half_up(values, shift):
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.int64
        return (values + (1 << shift >> 1)) >> shift

    testing.check_monotone(half_up, vectorized=True)
    testing.check_exact_on_representables(half_up, vectorized=True)
    testing.check_idempotent(half_up, vectorized=True)
    testing.check_error_bound(half_up, 0.5, vectorized=True)
    for check in (testing.check_odd, testing.check_unbiased, testing.check_composition):
        with pytest.raises(LawBroken) as arrays:
            check(half_up, vectorized=True)
        with pytest.raises(LawBroken) as ints:
            check(scalar("ties_pos"))
        assert str(arrays.value) == str(ints.value)


def test_results_that_are_no_integers_are_told():
    with pytest.raises(LawBroken, match=r"value=1, shift=1: the function returns 0\.5"):
        testing.check_odd(lambda v, s: v / 2**s)
    with pytest.raises(LawBroken, match="returns None"):
        check_rounding(lambda v, s: None)
    with pytest.raises(fxsim.DomainError, match="the same shape"):
        testing.check_monotone(lambda v, s: v[:-1], vectorized=True)
    with pytest.raises(fxsim.DomainError, match="reach at least 2"):
        Domain(1, 3)
    assert check_rounding(lambda v, s: float(v // 2**s)).names == ("to_neg",)


@rules
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_every_rule_is_identified_as_itself(rule, bits):
    found = check_rounding(scalar(rule), bits=bits)
    assert found
    assert found.names == (rule,)
    assert found.counterexample is None
    assert set(found.partings) == set(RULES) - {rule}
    for other, p in found.partings.items():
        assert shift_right(RULES[rule], p.value, p.shift) == p.got
        assert shift_right(RULES[other], p.value, p.shift) == p.expected != p.got


def test_foreign_names_are_told():
    told = str(check_rounding(lambda v, s: np.rint(v / 2.0**s), vectorized=True))
    assert "ties_even" in told
    for name in ("systemc:SC_RND_CONV", "apytypes:TIES_EVEN", "qonnx:HALF_EVEN", "matlab:Convergent"):
        assert name in told
    assert "no foreign name" in str(check_rounding(scalar("ties_dpu"))) or aliases("ties_dpu")
    for dialect, names in ROUNDING.items():
        for name, own in names.items():
            if own not in STOCHASTIC:
                assert f"{dialect}:{name}" in aliases(own)
                assert rounding_name(f"{dialect}:{name}") == own


def test_a_bug_is_reported_with_its_least_input():
    """Nearest with ties away, but the carry out of 16 bits is lost; and one wrong value in the small domain."""

    def carry_lost(value, shift):
        return shift_right(RULES["ties_away"], value, shift) if value != 32767 or shift == 0 else 0

    found = check_rounding(carry_lost)
    assert not found
    assert found.names == ()
    assert found.closest == "ties_away"
    assert (found.counterexample.value, found.counterexample.got) == (32767, 0)
    assert "value=32767" in str(found)
    assert check_rounding(carry_lost, bits=15).names == ("ties_away",)

    def tie_wrong(value, shift):
        return shift_right(RULES["ties_even"], value, shift) + ((value, shift) == (-6, 2))

    p = check_rounding(tie_wrong).counterexample
    assert (p.value, p.shift, p.got, p.expected) == (-6, 2, -1, -2)


def test_the_adders_half_that_overflows_is_found_at_the_limit():
    def int32_half_up(value, shift):
        return ((value + (1 << shift >> 1) + 2**31) % 2**32 - 2**31) >> shift

    found = check_rounding(int32_half_up)
    assert (found.closest, found.counterexample.value) == ("ties_pos", 2**31 - 1)
    assert check_rounding(int32_half_up, bits=31).names == ("ties_pos",)


@pytest.mark.parametrize("value", [-200, 0])
def test_what_is_wrong_everywhere_falls_at_once(value):
    found = check_rounding(lambda v, s: value + 1000)
    assert not found
    assert (found.counterexample.value, found.counterexample.shift) == (0, 0)


def test_the_schemes_are_identified():
    """A multiplier of one half: the single rounding is its rule; the double one is none, since it rounds ties up first."""
    single = check_rounding(lambda v, s: single_rounding(RULES["ties_away"], v, 2**30, 1 - s), bits=31)
    assert single.names == ("ties_away",)
    double = check_rounding(lambda v, s: double_rounding(RULES["ties_away"], v, 2**30, 1 - s), bits=31)
    assert not double
    assert (double.partings["ties_away"].value, double.partings["ties_away"].shift) == (-1, 1)


def test_bits_out_of_range():
    for bits in (5, 65):
        with pytest.raises(fxsim.DomainError, match=r"6\.\.64"):
            check_rounding(scalar("to_neg"), bits=bits)


@given(st.data())
def test_formats_and_raw_values_are_legal(data):
    most = data.draw(st.integers(1, 200))
    format = data.draw(testing.formats(most))
    assert 1 <= format.bits <= most
    value = data.draw(testing.raw_values(format))
    assert format.min <= value <= format.max
    assert fx.cast([value], format, format, "jam_unbiased", "error").tolist() == [value]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 8, 64])
def test_raw_values_love_ties_and_limits(bits, signed):
    """A hundred draws of each: what uniform data meets once in 2**64."""
    format, drawn = fx.FixedFormat(bits, 0, signed), []

    @given(testing.raw_values(format, shift=min(bits, 5)))
    def collect(value):
        drawn.append(value)

    collect()
    assert {format.min, format.max} <= set(drawn)
    assert 0 in drawn
    if bits >= 8:
        ties = [v for v in drawn if v % 32 == 16]
        assert len(ties) > len(drawn) // 10
        assert len(set(ties)) > 2
        assert {1, format.max - 1, format.min + 1} <= set(drawn)
        assert any(v.bit_count() == 1 for v in drawn)


def test_raw_values_find_the_tie_that_random_data_does_not():
    format = fx.FixedFormat(64, 32)
    found = find(testing.raw_values(format, shift=32), lambda v: v % 2**32 == 2**31)
    assert found % 2**32 == 2**31


@given(testing.rounding_names(stochastic=True), testing.overflow_names(error=True))
def test_names_resolve(rounding, overflow):
    assert rounding_name(rounding) in (*RULES, *STOCHASTIC)
    assert overflow_rule(overflow).name in (*OVERFLOWS, "error")


def test_own_names_only():
    def all_of(strategy):
        seen = set()
        given(strategy)(lambda name: seen.add(name))()
        return seen

    assert all_of(testing.rounding_names(foreign=False)) == set(RULES)
    assert all_of(testing.overflow_names(foreign=False)) == set(OVERFLOWS)
    assert "error" not in {overflow_rule(n).name for n in all_of(testing.overflow_names())}


@given(testing.accumulators(8, 24), testing.requantizers())
def test_accumulators_and_requantizers(accumulator, requantize):
    assert 8 <= accumulator.bits <= 24
    assert accumulator.overflow in POLICIES
    assert requantize.scheme in SCHEMES
    assert requantize.rounding in RULES


def test_accumulators_vary():
    seen = set()
    given(testing.accumulators())(lambda a: seen.update((a.order, a.overflow, a.at, a.product_bits > 0)))()
    assert {*get_args(Order), *POLICIES, "step", "end", True, False} <= seen
    with pytest.raises(fxsim.DomainError, match="min_bits"):
        find(testing.accumulators(9, 8), lambda a: True)


@given(testing.accumulators(max_bits=24, plain=True), st.data())
def test_plain_accumulators_sum_as_the_naive_twin(accumulator, data):
    """What the strategies are for: a dot product of drawn values, register by register."""
    value = testing.raw_values(fx.FixedFormat(8, 0))
    a, b = (data.draw(st.lists(value, min_size=4, max_size=4)) for _ in range(2))
    total = 0
    for x, y in zip(a, b, strict=True):
        total = getattr(naive, accumulator.overflow)(total + x * y, accumulator.bits)
    assert fx.matmul([a], np.array([b]).T, accumulator=accumulator).tolist() == [[total]]


@given(testing.small_graphs(), st.sampled_from(["litert-reference", "tflm"]), st.data())
def test_small_graphs_run(graph, numerics, data):
    assert 1 <= len(graph.nodes) <= 2
    assert {n.op for n in graph.nodes} <= {"FULLY_CONNECTED", "CONV_2D", "ADD"}
    x = graph.tensors[graph.inputs[0]]
    raw = np.frombuffer(data.draw(st.binary(min_size=x.elements, max_size=x.elements)), np.int8).reshape(x.shape)
    trace = fxsim.simulate(graph, raw, numerics, keep="all")
    (out,) = trace.outputs.values()
    assert out.shape == graph.tensors[graph.outputs[0]].shape
    assert out.dtype == np.int8


def test_small_graphs_vary():
    seen = set()

    @settings(max_examples=300)
    @given(testing.small_graphs())
    def collect(graph):
        seen.update((len(graph.nodes), *(n.op for n in graph.nodes)))
        weights = [t for t in graph.tensors if t.name == "weight"]
        seen.update("per tensor" if w.quant.per_tensor else "per channel" for w in weights)

    collect()
    assert seen == {1, 2, "FULLY_CONNECTED", "CONV_2D", "ADD", "per tensor", "per channel"}


def test_laws_and_identification_need_no_hypothesis():
    """And a strategy says which extra brings it."""
    code = """
import sys
sys.modules["hypothesis"] = None
from fxsim import testing
testing.check_monotone(lambda v, s: v >> s)
assert testing.check_rounding(lambda v, s: v >> s).names == ("to_neg",)
try:
    testing.formats
except ImportError as e:
    assert "pip install 'fxsim[testing]'" in str(e), e
else:
    raise SystemExit("formats came from nowhere")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names():
    assert sorted(testing.__all__) == dir(testing)
    for name in testing.__all__:
        assert getattr(testing, name).__doc__ or name == "DOMAIN"
    with pytest.raises(AttributeError, match="nothing_like_it"):
        testing.nothing_like_it  # noqa: B018
