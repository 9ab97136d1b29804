"""Formats, casts, sums and products of fixed-point arrays: notations, exactness at every width, refusals."""

import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim.fixed as fx
from fxsim.arith.overflow import OVERFLOWS
from fxsim.arith.rounding import RULES
from fxsim.errors import DomainError, ProfileError
from fxsim.fixed import FixedFormat, ops
from fxsim.fixed.stochastic import Source, counter_bits, lfsr_bits, shift_right
from tests import naive, naive_fixed

EXAMPLES = 60 if os.environ.get("NUMBA_DISABLE_JIT") == "1" else 300
"""of the wide operations: fewer where nothing is compiled"""


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
        (lambda: fx.quantize([2**53 + 1], "Q60.0"), "x holds integers beyond 2\\*\\*53; allowed"),
        (lambda: fx.quantize([1j], "Q4.4"), "x is complex128; allowed: floats"),
        (lambda: fx.quantize([[1.0], [1.0, 2.0]], "Q4.4"), "x is no array"),
        (
            lambda: fx.quantize([[0.5], [9.0]], "Q4.4", overflow="error"),
            r"x is 9.0 at \[1, 0\], .*: \(-128..127\) \* 2\*\*-4",
        ),
        (lambda: fx.add([1, 2], "sfix8", [1, 2, 3], "sfix8", "sfix8"), r"a has shape \[2\], b \[3\]"),
        (
            lambda: fx.mul([1 << 62], "sfix64", [4], "sfix64", "Q64.0", overflow="error"),
            r"result at \[0\] does not fit sfix64",
        ),
        (lambda: fx.cast([[1], [1, 2]], "sfix8", "sfix8"), "raw is no array"),
        (lambda: fx.cast([5], "sfix8", "sfix8", wrap_bits="2"), "wrap_bits is '2'; allowed: an integer"),
        (lambda: fx.cast([5], "sfix8", "sfix8", seed=1.5), "seed is 1.5; allowed: an integer"),
        (lambda: fx.cast([5], "sfix8", "sfix8", ["to_neg"]), r"rounding is \['to_neg'\]; allowed: a name"),
        (lambda: fx.to_float([1], FixedFormat(8, -1200)), "a value of sfix8_E1200 is beyond what float64 holds"),
        (lambda: FixedFormat(8, -1200).step, r"the step 2\*\*1200 of sfix8_E1200 is no float64"),
        (lambda: fx.matmul([[1]], [[1]], "20"), "accumulator is '20'; allowed: an Accumulator"),
        (lambda: fx.matmul([[1]], [[0.5]]), "b is float64; allowed: signed or unsigned integers"),
        (lambda: fx.cast([1], 8, "sfix8"), "format is 8; allowed: a FixedFormat"),
        (lambda: FixedFormat(8.5, 0), "bits is 8.5; allowed: an integer"),
        (lambda: FixedFormat(8, 1.5), "frac_bits is 1.5; allowed: an integer"),
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
    by_register = fx.cast(raw, "sfix8_En2", "sfix8", "stochastic_weighted", seed=9, generator="lfsr")
    shifted = shift_right(raw.tolist(), [2] * raw.size, "stochastic_weighted", Source(9, "lfsr"))
    assert by_register.tolist() == shifted
    assert abs(by_register.mean() - 1.25) < 0.02
    zero = np.zeros(raw.size, np.int16)
    for rule in ("stochastic_weighted", "stochastic_equal", "stochastic_coin"):
        for generator in ("counter", "lfsr"):
            want = fx.cast(raw, "sfix8_En2", "sfix8", rule, seed=9, generator=generator)
            for got in (
                fx.quantize(raw / 4, "sfix8", rule, seed=9, generator=generator),
                fx.add(raw, "sfix8_En2", zero, "sfix8", "sfix8", rule, seed=9, generator=generator),
                fx.mul(raw, "sfix8_En2", zero + 1, "sfix8", "sfix8", rule, seed=9, generator=generator),
            ):
                assert np.array_equal(got, want), (rule, generator)
    x = np.array([0.0, -3.0, 5e-324, -5e-324, 1e300, -1e300, 7.9375])
    up = [fx.quantize(x, "Q8.2", "stochastic_weighted", seed=s).tolist() for s in range(40)]
    assert {tuple(u[:2] + u[4:6]) for u in up} == {(0, -12, 511, -512)}, "exact and saturated values do not move"
    assert {u[6] for u in up} == {31, 32}
    assert {u[2] for u in up} == {0}, "the least float goes up once in 2**1076 times"
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


SIXTY_FOUR = st.builds(
    FixedFormat, st.integers(1, 64) | st.sampled_from([32, 33, 62, 63, 64]), st.integers(-64, 64), st.booleans()
)


@st.composite
def wide_operations(draw):
    """A cast, a sum or a product of formats of up to 64 bits, on values at the limits and at ties, and anywhere."""
    a, b, target = draw(SIXTY_FOUR), draw(SIXTY_FOUR), draw(SIXTY_FOUR)
    policy = draw(st.sampled_from(sorted(OVERFLOWS)))
    if policy.startswith("wrap_sign"):
        target = FixedFormat(target.bits, target.frac_bits)
    top = draw(st.sampled_from([0, 0, 1, 2, target.bits])) if "wrap" in policy else 0

    def raw(f):
        halves = st.builds(lambda n, d: max(f.min, min(f.max, (1 << n) + d)), st.integers(0, 63), st.integers(-1, 1))
        ends = st.sampled_from([f.min, f.max, 0, min(1, f.max), max(-1, f.min)])
        values = draw(st.lists(ends | halves | st.integers(f.min, f.max), min_size=6, max_size=6))
        return np.array(values, dtype=f.dtype)

    x, y = raw(a), raw(b)
    rest = target, draw(st.sampled_from(sorted(RULES))), policy, top
    operation = draw(st.sampled_from(["cast", "add", "mul"]))
    return operation, ((x, a, *rest) if operation == "cast" else (x, a, y, b, *rest))


@settings(max_examples=EXAMPLES)
@given(case=wide_operations())
def test_kernels_equal_python_ints_up_to_64_bits(case):
    """Every rule with every policy; the slow twin is the same function with its kernels taken away."""
    name, given = case
    got = getattr(fx, name)(*given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops.Into, "compiled", property(lambda _: False))
        want = getattr(fx, name)(*given)
    assert got.dtype == want.dtype
    assert got.tolist() == want.tolist()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("policy", sorted(OVERFLOWS))
def test_compiled_casts_of_every_width_and_policy(policy, wide):
    """One word and two: targets of 1 to 64 bits, from below the least to above the greatest value, ties included."""
    source = FixedFormat(64, 2) if wide else FixedFormat(62, 2)
    for bits, signed in ((b, s) for b in range(1, 65) for s in (True, False)):
        target = FixedFormat(bits, 0, signed)
        if policy.startswith("wrap_sign") and not signed:
            continue
        near = (target.min, target.max, 0, -1, target.min - 2, target.max + 2, 5 * target.max + 3)
        values = sorted({max(source.min, min(source.max, 4 * k + d)) for k in near for d in (-2, -1, 0, 1, 2)})
        for top in {0, 1, bits} if "wrap" in policy else {0}:
            got = fx.cast(np.array(values), source, target, "ties_even", policy, top)
            want = [naive_fixed.cast("ties_even", policy, v, 2, bits, signed, top) for v in values]
            assert got.tolist() == want, (bits, signed, top)


def test_two_words_are_taken_where_one_is_not_enough(monkeypatch):
    """Sources and results beyond 63 bits never fall back to Python ints, unless the points lie too far apart."""
    taken = []
    for name in ("_on_ints", "_on_words", "_on_two_words"):
        f = getattr(ops, name)
        monkeypatch.setattr(ops, name, lambda *args, f=f, name=name: (taken.append(name), f(*args))[1])
    word, half = FixedFormat(64, 0, False), FixedFormat(40, 20)
    fx.cast([2**64 - 1], word, "ufix64_En64")
    fx.mul([2**64 - 1], word, [2**64 - 1], word, "ufix64_E64")
    fx.mul([-(2**39)], half, [2**39 - 1], half, "sfix64_En20", "ties_even", "saturate")
    fx.add([2**64 - 1], word, [1], FixedFormat(64, 64), word, "ties_even", "error")
    fx.cast([3], "sfix8", "sfix64_En64", "jam")
    assert taken == ["_on_two_words"] * 5
    fx.cast([3], "sfix62", "sfix64_En64")
    fx.add([1], word, [1], FixedFormat(64, 66), word)
    assert taken[5:] == ["_on_words", "_on_ints"]


def test_integers_of_any_kind_are_taken():
    """Lists beyond int64, empty lists, other byte orders, views, read-only arrays, numpy's own integers as settings."""
    assert fx.cast([2**63, 1], "ufix64", "ufix64").tolist() == [2**63, 1]
    assert fx.cast([2**63, -1], "sfix80", "sfix70").tolist() == [2**63, -1]
    assert fx.cast([], "sfix8", "sfix4").shape == (0,)
    swapped = np.array([[1, 2], [3, -4]], ">i2")
    assert fx.cast(swapped, "sfix16", "sfix8").tolist() == swapped.tolist()
    assert fx.mul(swapped, "sfix16", swapped.T, "sfix16", "sfix40").tolist() == (swapped * swapped.T).tolist()
    assert fx.matmul(swapped, swapped.T).tolist() == (swapped.astype(int) @ swapped.T).tolist()
    assert fx.cast(fx.FixedArray([1, 2], "Q4.4").raw[::-1], "Q4.4", "Q4.3", wrap_bits=np.int8(0)).tolist() == [1, 0]
    assert FixedFormat(np.int64(8), np.int8(2)) == FixedFormat(8, 2)
    assert fx.to_float([2**70 + 1, -(2**70)], FixedFormat(80, 10)).tolist() == [2.0**60, -(2.0**60)]
    assert fx.to_float([3], FixedFormat(8, 1074)).tolist() == [3 * 5e-324]
    assert fx.to_float([2**2000], FixedFormat(4000, 1990)).tolist() == [1024.0]
