"""The table of foreign names, derived again from the live libraries: apytypes, fxpmath, QONNX, numpy and Python itself."""

import warnings

import numpy as np
import pytest

import fxsim
import fxsim.fixed as fx
from fxsim.arith.rounding import RULES
from fxsim.fixed.names import OVERFLOW, ROUNDING, STOCHASTIC, overflow_rule, rounding_name, rounding_rule
from fxsim.testing import check_rounding
from tests import naive_fixed

SOURCE, TARGET = fx.FixedFormat(8, 4), fx.FixedFormat(6, 2)
RAW = np.arange(-128, 128)
WORDS = {
    d: [n for n, own in names.items() if own not in STOCHASTIC]
    for d, names in ROUNDING.items()
    if d in ("apytypes", "fxpmath", "qonnx")
}


def library(name):
    """The module, or a skip; its own warnings on import are its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"needs {name} (the live extra of the tests)")


def apytypes_round(mode, value, shift, bits=64):
    """``value / 2**shift`` by a cast of apytypes."""
    apytypes = library("apytypes")
    raw = [
        2 * int(v) % (1 << bits) for v in value
    ]  # one bit more, which is 0: a cast that drops nothing is another affair
    array = apytypes.APyFixedArray(raw, bits=bits, frac_bits=shift + 1)
    done = array.cast(bits=bits + 1, frac_bits=0, quantization=getattr(apytypes.QuantizationMode, mode))
    return np.array(signed(done.to_bits(), bits + 1))


def signed(patterns, bits):
    """Bit patterns as numbers."""
    return [p - (1 << bits) if p >> (bits - 1) & 1 else p for p in patterns]


def fxpmath_round(mode, value, shift):
    """``value / 2**shift`` by fxpmath's constructor from a float."""
    fxpmath = library("fxpmath")
    return fxpmath.Fxp(value / 2.0**shift, signed=True, n_word=40, n_frac=0, rounding=mode).raw()


def qonnx_round(mode, value, shift):
    """``value / 2**shift`` by the function that IntQuant and Trunc use."""
    return library("qonnx.custom_op.general.intquant").resolve_rounding_mode(mode)(value / 2.0**shift)


ROUNDERS = {"apytypes": apytypes_round, "fxpmath": fxpmath_round, "qonnx": qonnx_round}
named = pytest.mark.parametrize(("dialect", "name"), [(d, n) for d, names in WORDS.items() for n in names])


@pytest.mark.live
@named
def test_names_mean_what_the_library_does(dialect, name):
    """Ties included: all 256 values of 8 bits, four bits behind the point, to two; one rule of fxsim alone agrees."""
    library(dialect)
    theirs = np.asarray(ROUNDERS[dialect](name, RAW, 2)).tolist()
    agreeing = [own for own in RULES if fx.cast(RAW, SOURCE, TARGET, own, "wrap").tolist() == fit(theirs)]
    assert agreeing == [ROUNDING[dialect][name]]
    assert fx.cast(RAW, SOURCE, TARGET, f"{dialect}:{name}", "wrap").tolist() == fit(theirs)


def fit(values):
    """In 6 bits, wrapping."""
    return [naive_fixed.modulo(int(v), 6, True) for v in values]


@pytest.mark.live
@named
def test_names_are_identified_on_wide_values_too(dialect, name):
    library(dialect)
    found = check_rounding(lambda v, s: ROUNDERS[dialect](name, v, s), bits=32, vectorized=True)
    assert found.names == (ROUNDING[dialect][name],), str(found)


@pytest.mark.live
def test_every_name_of_apytypes_is_in_the_table():
    apytypes = library("apytypes")
    assert set(ROUNDING["apytypes"]) == set(apytypes.QuantizationMode.__members__)
    assert set(OVERFLOW["apytypes"]) == set(apytypes.OverflowMode.__members__)


@pytest.mark.live
def test_every_name_of_the_table_is_one_of_fxpmath():
    config = library("fxpmath").objects.Config()
    assert set(ROUNDING["fxpmath"]) <= {*config._rounding_list, *config._rounding_aliases}
    assert set(OVERFLOW["fxpmath"]) == set(config._overflow_list)


@pytest.mark.live
@pytest.mark.parametrize("name", WORDS["apytypes"])
@pytest.mark.parametrize("frac_bits", [4, 5, 9])
def test_casts_of_apytypes_that_drop_nothing(name, frac_bits):
    """JAM sets the last bit there too; every other mode leaves the value alone, TRN_MAG among them."""
    apytypes = library("apytypes")
    array = apytypes.APyFixedArray([int(v) % 256 for v in RAW], bits=8, frac_bits=4)
    theirs = array.cast(bits=16, frac_bits=frac_bits, quantization=getattr(apytypes.QuantizationMode, name))
    ours = fx.cast(RAW, SOURCE, fx.FixedFormat(16, frac_bits), f"apytypes:{name}", "wrap")
    assert ours.tolist() == signed(theirs.to_bits(), 16)


@pytest.mark.live
@pytest.mark.parametrize("name", ["STOCH_WEIGHTED", "STOCH_EQUAL"])
def test_stochastic_names_of_apytypes_go_down_or_up_from_the_same_values(name):
    """Many casts of every value: fxsim and apytypes reach the same set of integers."""
    library("apytypes")
    reached = [
        [set(column) for column in zip(*(cast(name, seed).tolist() for seed in range(60)), strict=True)]
        for cast in (
            lambda name, _: apytypes_round(name, RAW, 2),
            lambda name, seed: fx.cast(RAW, SOURCE, fx.FixedFormat(7, 2), f"apytypes:{name}", "wrap", seed=seed),
        )
    ]
    assert all(s <= {v >> 2, (v >> 2) + 1} for side in reached for v, s in zip(RAW.tolist(), side, strict=True))
    assert reached[0] == reached[1]


@pytest.mark.live
@pytest.mark.parametrize("name", OVERFLOW["apytypes"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_overflow_names_of_apytypes(name, bits):
    apytypes = library("apytypes")
    mode = getattr(apytypes.OverflowMode, name)
    for frac_bits in (2, 4, 6):
        array = apytypes.APyFixedArray([int(v) % 256 for v in RAW], bits=8, frac_bits=4)
        theirs = array.cast(
            bits=bits, frac_bits=frac_bits, quantization=apytypes.QuantizationMode.TIES_EVEN, overflow=mode
        )
        target = fx.FixedFormat(bits, frac_bits)
        ours = fx.cast(RAW, SOURCE, target, "apytypes:TIES_EVEN", f"apytypes:{name}")
        assert ours.tolist() == signed(theirs.to_bits(), bits)


@pytest.mark.live
@pytest.mark.parametrize("name", OVERFLOW["fxpmath"])
@pytest.mark.parametrize("is_signed", [True, False])
def test_overflow_names_of_fxpmath(name, is_signed):
    fxpmath, x = library("fxpmath"), RAW / 16
    for bits in (2, 3, 5, 8):
        theirs = fxpmath.Fxp(x, signed=is_signed, n_word=bits, n_frac=2, rounding="around", overflow=name).raw()
        ours = fx.quantize(x, fx.FixedFormat(bits, 2, is_signed), "fxpmath:around", f"fxpmath:{name}")
        assert ours.tolist() == np.asarray(theirs).tolist()


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (np.rint, "ties_even"),
        (np.round, "ties_even"),
        (np.floor, "to_neg"),
        (np.ceil, "to_pos"),
        (np.trunc, "to_zero"),
        (np.fix, "to_zero"),
    ],
)
def test_functions_of_numpy(function, rule):
    assert check_rounding(lambda v, s: function(v / 2.0**s), vectorized=True).names == (rule,)


def test_functions_of_python():
    assert check_rounding(lambda v, s: round(v / 2.0**s)).names == ("ties_even",)
    assert check_rounding(lambda v, s: int(v / 2.0**s)).names == ("to_zero",)
    assert check_rounding(lambda v, s: v // 2**s).names == ("to_neg",)


@pytest.mark.parametrize("word", ["HALF_UP", "HALF_DOWN", "UP", "DOWN", "nearest", "RND", "Nearest", "floor", "ROUND"])
def test_bare_words_of_other_libraries_are_errors_that_list_the_meanings(word):
    meanings = {f"{d}:{n} ({own})" for d, names in ROUNDING.items() for n, own in names.items() if n == word}
    assert meanings
    with pytest.raises(fxsim.ProfileError) as e:
        rounding_name(word)
    assert meanings == set(str(e.value).split("say which: ")[1].split(", "))


def test_half_up_is_two_rules():
    assert rounding_name("qonnx:HALF_UP") == "ties_away"
    assert rounding_name("qformatpy:HALF_UP") == "ties_pos"
    with pytest.raises(fxsim.ProfileError, match=r"ties_away.*ties_pos"):
        rounding_name("HALF_UP")


@pytest.mark.parametrize("word", ["WRAP", "SAT", "clamp", "NUMERIC_STD", "Saturate"])
def test_bare_overflow_words_are_errors(word):
    with pytest.raises(fxsim.ProfileError, match="another library's word"):
        overflow_rule(word)


@pytest.mark.parametrize("name", ["nowhere:HALF_UP", "qonnx:HALF_SIDEWAYS", "sideways", "", ":", "qonnx:"])
def test_names_that_are_none(name):
    for function in (rounding_name, rounding_rule, overflow_rule):
        with pytest.raises(fxsim.ProfileError, match=r"rounding is|overflow is"):
            function(name)


def test_every_name_of_the_table_leads_to_a_rule():
    for dialect, names in ROUNDING.items():
        for name in names:
            assert rounding_name(f"{dialect}:{name}") in (*RULES, *STOCHASTIC)
    for dialect, names in OVERFLOW.items():
        for name in names:
            assert overflow_rule(f"{dialect}:{name}").name == names[name]
