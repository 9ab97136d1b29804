"""Formats, casts, sums and products of fixed-point arrays: notations, exactness at every width, refusals."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim.fixed as fx
from fxsim.arith.overflow import OVERFLOWS
from fxsim.arith.rounding import RULES
from fxsim.errors import DomainError, ProfileError
from fxsim.fixed import FixedFormat
from fxsim.fixed.stochastic import counter_bits, lfsr_bits, shift_right
from tests import naive


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Q8.8", FixedFormat(16, 8)),
        ("UQ0.8", FixedFormat(8, 8, False)),
        ("Q-2.10", FixedFormat(8, 10)),
        ("ap_fixed<16,6>", FixedFormat(16, 10)),
        ("ap_ufixed< 8 , -2 >", FixedFormat(8, 10, False)),
        ("sc_fixed<8,12>", FixedFormat(8, -4)),
        ("ac_fixed<16,6,false>", FixedFormat(16, 10, False)),
        ("sfix16_En8", FixedFormat(16, 8)),
        ("ufix8_E2", FixedFormat(8, -2, False)),
        ("sfix8", FixedFormat(8, 0)),
        ("fixdt(1,16,8)", FixedFormat(16, 8)),
        ("fxp-u16/8", FixedFormat(16, 8, False)),
    ],
)
def test_notations_parse(text, expected):
    assert FixedFormat.parse(text) == expected


@given(st.integers(1, 200), st.integers(-300, 300), st.booleans(), st.sampled_from(["q", "ap", "ac", "fix"]))
def test_notations_round_trip(bits, frac, signed, style):
    f = FixedFormat(bits, frac, signed)
    assert FixedFormat.parse(f.notation(style)) == f


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedFormat(0, 0), r"bits is 0; allowed: 1..4096"),
        (lambda: FixedFormat(5000, 0), "bits is 5000"),
        (lambda: FixedFormat(8, 9999), "frac_bits is 9999; allowed: -8192..8192"),
        (lambda: FixedFormat.parse("Q8,8"), r"format is 'Q8,8'; allowed: Q8.8"),
        (lambda: FixedFormat(8, 0).notation("x"), "notation is 'x'"),
        (lambda: fx.cast([300], "sfix8", "sfix4"), r"raw is 300 at \[0\]; allowed in sfix8: -128..127"),
        (lambda: fx.cast([1.5], "sfix8", "sfix4"), "raw is float64; allowed: integers"),
        (lambda: fx.cast([5], "sfix8", "ufix4", overflow="systemc:SC_WRAP_SM"), "needs a signed target"),
        (lambda: fx.cast([5], "sfix8", "sfix4", overflow="saturate", wrap_bits=2), "wrap_bits is 2"),
        (lambda: fx.cast([5, 100], "sfix8", "sfix4", overflow="error"), r"100 \* 2\*\*0 at \[1\] does not fit sfix4"),
        (lambda: fx.quantize([1.0, float("nan")], "Q4.4"), r"x is nan at \[1\]; allowed: finite"),
        (lambda: fx.quantize([float("inf")], "Q40.40"), r"x is inf at \[0\]"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(DomainError, match=message):
        make()


@pytest.mark.parametrize("name", ["HALF_UP", "UP", "nearest", "SC_RND", "qonnx:NEAREST", "numpy:rint"])
def test_ambiguous_and_unknown_names(name):
    with pytest.raises(ProfileError, match=r"say which|qonnx has|no dialect"):
        fx.cast([5], "sfix8_En4", "sfix4", rounding=name)


formats = st.builds(FixedFormat, st.integers(1, 80), st.integers(-20, 90), st.booleans())


@settings(max_examples=300)
@given(source=formats, target=formats, rule=st.sampled_from(sorted(RULES)), data=st.data())
def test_cast_is_round_then_saturate_at_every_width(source, target, rule, data):
    values = data.draw(
        st.lists(st.integers(source.min, source.max) | st.sampled_from([source.min, source.max]), min_size=1)
    )
    got = fx.cast(np.array(values, dtype=source.dtype), source, target, rule, "saturate")
    shift = source.frac_bits - target.frac_bits
    for v, g in zip(values, got.tolist(), strict=True):
        k = naive.round_fraction(Fraction(v, 1 << shift), rule) if shift > 0 else v << -shift
        k = k | 1 if rule == "jam" else k
        assert g == max(target.min, min(target.max, k))
    assert got.dtype == target.dtype


@settings(max_examples=150)
@given(
    a=formats, b=formats, target=formats, rule=st.sampled_from(sorted(RULES)),
    overflow=st.sampled_from(["wrap", "saturate", "zero"]), product=st.booleans(), data=st.data(),
)  # fmt: skip
def test_sums_and_products_are_exact_before_they_are_cast(a, b, target, rule, overflow, product, data):
    x, y = (data.draw(st.sampled_from([f.min, f.max, 0, f.max // 3]), label="raw") for f in (a, b))
    got = (fx.mul if product else fx.add)(
        np.array([x], dtype=a.dtype), a, np.array([y], dtype=b.dtype), b, target, rule, overflow
    )
    p, q = Fraction(x) / Fraction(2) ** a.frac_bits, Fraction(y) / Fraction(2) ** b.frac_bits
    exact = (p * q if product else p + q) * Fraction(2) ** target.frac_bits
    frac = a.frac_bits + b.frac_bits if product else max(a.frac_bits, b.frac_bits)
    k = int(exact) if frac <= target.frac_bits else naive.round_fraction(exact, rule)
    k = k | 1 if rule == "jam" else k
    if overflow == "wrap":
        k = (k - target.min) % (1 << target.bits) + target.min if target.signed else k % (1 << target.bits)
    elif not target.min <= k <= target.max:
        k = 0 if overflow == "zero" else max(target.min, min(target.max, k))
    assert int(got[0]) == k


@pytest.mark.parametrize("overflow", [*OVERFLOWS, "error"])
def test_scalar_array_and_broadcast_agree(overflow):
    raw = np.arange(-8, 8)
    array = fx.cast(raw, "sfix5_En2", "sfix5_En1", "ties_even", overflow)
    one = [int(fx.cast(int(v), "sfix5_En2", "sfix5_En1", "ties_even", overflow)) for v in raw]
    assert array.tolist() == one
    assert fx.add(raw[:, None], "sfix5", raw[None], "sfix5", "sfix8").shape == (16, 16)
    assert np.array_equal(fx.to_float(raw, "sfix5_En2"), raw / 4)


def test_stochastic_rounding_is_seeded_unbiased_and_between_its_neighbours():
    raw = np.full(20_000, 5, np.int16)
    for rule, mean in (("apytypes:STOCH_WEIGHTED", 1.25), ("stochastic_equal", 1.5)):
        a, b, c = (fx.cast(raw, "sfix8_En2", "sfix8", rule, seed=s) for s in (1, 1, 2))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
        assert set(a.tolist()) == {1, 2}
        assert abs(a.mean() - mean) < 0.02
        assert np.array_equal(fx.cast(raw[:7], "sfix8_En2", "sfix8", rule, seed=1), a[:7])
    exact = np.arange(-8, 8, dtype=np.int16) * 4
    assert np.array_equal(fx.cast(exact, "sfix8_En2", "sfix8", "stochastic_weighted"), exact // 4)
    assert len(set(counter_bits(3, 1000).tolist())) == 1000
    assert lfsr_bits(1, 3) == [0x80200003, 0xC0300002, 0x60180001]
    assert abs(shift_right(raw, 2, "stochastic_weighted", 9, "lfsr").mean() - 1.25) < 0.02
    by_register = fx.cast(raw, "sfix8_En2", "sfix8", "stochastic_weighted", seed=9, generator="lfsr")
    assert np.array_equal(by_register, shift_right(raw, 2, "stochastic_weighted", 9, "lfsr"))
    with pytest.raises(DomainError, match="seed is 0"):
        lfsr_bits(0, 1)
    with pytest.raises(DomainError, match="generator is 'dice'; allowed: 'counter', 'lfsr'"):
        fx.cast(raw, "sfix8_En2", "sfix8", "stochastic_equal", generator="dice")


def test_arrays_agree_with_the_functions_on_raw_integers():
    x, y = fx.FixedArray.from_float([[0.5, -1.25], [3.0, 99.0]], "Q4.4"), fx.FixedArray([[1, 2], [3, -4]], "sfix8_En1")
    assert x.raw.tolist() == fx.quantize([[0.5, -1.25], [3.0, 99.0]], "Q4.4").tolist()
    assert x.to_float().tolist() == [[0.5, -1.25], [3.0, 7.9375]]
    assert x.cast("Q4.1", "ties_even").raw.tolist() == fx.cast(x.raw, "Q4.4", "Q4.1", "ties_even").tolist()
    assert x.add(y, "sfix20_En4").to_float().tolist() == (x.to_float() + y.to_float()).tolist()
    assert x.mul(y, "sfix20_En5").to_float().tolist() == (x.to_float() * y.to_float()).tolist()
    product = x.matmul(y)
    assert product.to_float().tolist() == (x.to_float() @ y.to_float()).tolist()
    assert (product.format.bits, product.format.frac_bits) == (32, 5)
    assert repr(y) == "FixedArray([[ 0.5  1. ]\n [ 1.5 -2. ]], 'sfix8_En1')"
    with pytest.raises(ValueError, match="read-only"):
        x.raw[0, 0] = 1
    with pytest.raises(DomainError, match="allowed in sfix4"):
        fx.FixedArray([9], "sfix4")
