"""Comparisons, logic and choices: one-op models, every bit as the live engines compute them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests.build import Builder
from tests.live.cases import VALUES, Values, decades, explore, powers, shapes
from tests.live.single import OneOp, Operand, quants

pytestmark = pytest.mark.live
ORDERED = ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
COMPARISONS = ("EQUAL", "NOT_EQUAL", *ORDERED)


def part(draw: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape``, some axes of it 1."""
    return tuple(1 if draw(st.integers(0, 3)) == 0 else s for s in shape)


@st.composite
def comparisons(draw: Any, op: str, dtype: str, top: int) -> OneOp:
    """Scales below ``2**top``, equal or of a simple ratio, so that values meet; all pairs of 8 bits."""
    quant = draw(quants(dtype, powers(-9, top) | decades(-5, -0.5)))
    other = quant
    if quant and draw(st.booleans()):
        ratio = draw(st.sampled_from([0.5, 1.0, 0.25, 1 / 3]))
        other = (float(np.float32(quant[0] * ratio)), draw(quants(dtype, powers(0, 0)))[1])
    if dtype in ("int8", "uint8") and draw(st.booleans()):
        pair, values = ((256, 1), (1, 256)), (Values("ramp", 0), Values("ramp", 0))
    else:
        full = draw(shapes(1, 4, 9))
        pair, values = (full, part(draw, full)), (draw(VALUES), draw(VALUES))
        if dtype == "bool" or draw(st.booleans()):
            values = (values[0], values[0])
    a, b = (Operand(s, dtype, q, v) for s, q, v in zip(pair, (quant, other), values, strict=True))
    return OneOp(op, (a, b), Operand(np.broadcast_shapes(*pair), "bool"))


def _hold(tally: Any, op: str, dtype: str, top: int) -> None:
    explore(comparisons(op, dtype, top), lambda case: case.run(tally), share=0.5)
    tally.check(20)


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "float32"])
def test_comparison(engine, tallies, op, dtype):
    """Scales below 1, as TFLM needs: at least 20 elements a case."""
    _hold(tallies(f"{op} {dtype}", engine), op, dtype, -1)


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_comparison_of_litert(litert, op, dtype):
    """Types that TFLM refuses, and scales of 2 and more, with which x86's shifts go astray: at least 20 elements a case."""
    _hold(litert(f"{op} {dtype}"), op, dtype, 3)


@pytest.mark.parametrize("op", ["EQUAL", "NOT_EQUAL", "LOGICAL_AND", "LOGICAL_OR"])
def test_truth_values(engine, tallies, op):
    """At least 20 elements a case."""
    _hold(tallies(f"{op} bool", engine), op, "bool", 0)


def test_logical_not(engine, tallies):
    """Both values."""
    tally = tallies("LOGICAL_NOT", engine)
    OneOp("LOGICAL_NOT", (Operand((2, 50), "bool"),), Operand((2, 50), "bool")).run(tally)
    tally.check(100)


@st.composite
def choices(draw: Any, op: str, *dtypes: str) -> OneOp:
    """SELECT by the full shape, the first axis or one value; SELECT_V2 by shapes that broadcast."""
    dtype, full = draw(st.sampled_from(dtypes)), draw(shapes(1, 4))
    quant = draw(quants(dtype, decades(-3, 0)))
    if op == "SELECT":
        of = [draw(st.sampled_from([(), full[:1], full])), full, full]
    else:
        of = [part(draw, full) for _ in range(3)]
    condition = Operand(of[0], "bool", None, draw(VALUES))
    x, y = (Operand(s, dtype, quant, draw(VALUES)) for s in of[1:])
    made = full if op == "SELECT" else np.broadcast_shapes(*of)
    return OneOp(op, (condition, x, y), Operand(made, dtype, quant))


def test_select_v2(engine, tallies):
    """At least 10 elements a case."""
    tally = tallies("SELECT_V2", engine)
    explore(choices("SELECT_V2", "int8", "int16", "float32"), lambda case: case.run(tally))
    tally.check(10)


@pytest.mark.parametrize("op", ["SELECT", "SELECT_V2"])
def test_select_of_litert(litert, op):
    """Every type: at least 10 elements a case."""
    tally = litert(f"{op} of every type")
    explore(choices(op, "int8", "uint8", "int16", "int32", "int64", "float32", "bool"), lambda case: case.run(tally))
    tally.check(10)


@pytest.mark.parametrize(
    ("engine", "dtype", "scale", "match"),
    [
        ("litert-reference", "int8", 1.0, "has scale 1: the engine aborts"),
        ("tflm", "int8", 2.0, "has scale 2: the engine aborts"),
        ("tflm", "int16", 0.5, "is int16"),
    ],
)
def test_what_the_engines_refuse(engine, dtype, scale, match):
    b = Builder()
    x, y, z = b.tensor("x", (2,), dtype, scale, 0), b.tensor("y", (2,), dtype, 0.5, 0), b.tensor("z", (2,), "bool")
    graph = parse(b.op("LESS", [x, y], [z]).finish([x, y], [z]), "less")
    with pytest.raises(UnsupportedOp, match=match):
        simulate(graph, [np.zeros(2, dtype)] * 2, engine)
