"""``fxsim prove`` as a user meets it: tables and exit codes."""

import numpy as np
import pytest
from typer.testing import CliRunner

from fxsim.errors import DomainError
from fxsim.prove.cli import app


def ask(*args, code=0):
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result.output


def refused(*args):
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert isinstance(result.exception, DomainError), result.output
    return str(result.exception)


def test_a_refuted_claim_leaves_with_1_and_shows_the_counterexample():
    words = "equal double_rounding:ties_away single_rounding:ties_pos --shift -9 --multiplier 1518500250".split()
    text = ask(*words, code=1)
    assert "refuted" in text
    assert "362" in text


def test_a_proved_claim_leaves_with_0():
    assert "147,573,952,589,676,412,928 (2^67)" in ask("equal", "double_rounding:ties_away", "tosa_double_rounding")
    ask("equal", "double_rounding:ties_away", "single_rounding:ties_pos", "--within", 1, "--acc", "int16")
    ask("equal", "double_rounding:ties_away", "tosa_double_rounding", "--clamp", "int8", "--zero-point", "-5:5")


def test_laws():
    assert "ties_even is monotone" in ask("law", "monotone", "ties_even", "--value", "int16", "--shift", "0:3")
    ask("law", "odd", "ties_pos", "--value", "int8", "--shift", 2, code=1)
    ask("law", "error_bound", "to_neg", "--bound", 1, "--strict", "--value", "int8", "--shift", "0:3")
    ask("law", "unbiased", "ties_even", "--shift", "1:3", "--value", "-1:1")


def test_accumulators(tmp_path):
    assert "bits needed" in ask("accumulator", "3,-4,5", "--bits", 12)
    ask("accumulator", "3,-4,5", "--bits", 11, "--bias", 1, code=1)
    np.save(tmp_path / "w.npy", np.array([[3, -4], [5, 0]], np.int8))
    ask("accumulator", tmp_path / "w.npy", "--bits", 12)
    np.save(tmp_path / "f.npy", np.zeros(3))
    assert "allowed: integers" in refused("accumulator", tmp_path / "f.npy", "--bits", 12)
    assert "cannot be read" in refused("accumulator", tmp_path / "none.npy", "--bits", 12)
    assert "allowed: integers" in refused("accumulator", "3,x", "--bits", 12)


def test_errors_of_functions():
    assert "worst error" in ask("error", "exp", "--domain=-2000:0", "--at-most", 500)
    ask("error", "logistic", "--domain=-2000:2000", "--integer-bits", 4)
    ask("error", "reciprocal", "--domain", "0:2000", "--at-most", "1/1000", code=1)
    ask("error", "softmax", "--scale", "0.05")
    ask("error", "average", "--count", "1:9", "--rule", "ties_even", "--at-most", "1/2")
    assert "no meaning" in refused("error", "softmax", "--domain", "0:5")
    assert "no meaning" in refused("error", "reciprocal", "--integer-bits", "5")


def test_everything_is_listed():
    text = ask("list")
    for name in ("tosa_double_rounding", "ties_dpu", "exact_on_representables", "softmax"):
        assert name in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("equal double_rounding:ties_away single_rounding", "names no rule"),
        ("equal double_rounding:ties_away single_rounding:ties_pos --acc 5:1", "--acc is '5:1'; allowed:"),
        ("law monotone half_up", "rounding rule 'half_up'"),
        ("law commutative ties_even", "law 'commutative'; allowed: 'monotone'"),
        ("law monotone ties_even --bound 1", "no bound"),
        ("law error_bound ties_even --bound 1/0", "allowed: a number or a fraction"),
        ("equal double_rounding:ties_away tosa_double_rounding --method enumeration", "pip install fxsim[prove]"),
    ],
)
def test_errors_say_what_is_allowed(words, message):
    assert message in refused(*words.split())
