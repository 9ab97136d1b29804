"""Reductions and running sums: one-op models, every bit as the live engines compute them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import DomainError, UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests.build import Builder
from tests.live.cases import VALUES, Values, decades, explore, f32
from tests.live.single import PLAIN, OneOp, Operand, near, quants, scales

pytestmark = pytest.mark.live


@st.composite
def reductions(draw: Any, op: str, dtype: str) -> OneOp:
    """Few and many elements, all axes or some, negative ones; outputs of one element too."""
    size = draw(st.sampled_from([3, 8, 24]))
    shape = tuple(draw(st.lists(st.integers(1, size), min_size=1, max_size=4)))
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    keep, exact = draw(st.booleans()), draw(st.booleans())
    if op == "REDUCE_PROD":
        quant = draw(quants(dtype, decades(-3, 0)))
        out = None if quant is None else (f32(10.0 ** draw(st.floats(-3, 1))), draw(quants(dtype, decades(0, 1)))[1])
    else:
        quant = draw(quants(dtype, scales(exact, -3, 0)))
        out = quant
        if quant and op in ("SUM", "MEAN"):
            out = draw(near(quant[0] * 4, dtype, exact, 1))
    x = Operand(shape, dtype, quant, draw(VALUES))
    picked = Operand(
        (len(axes),), "int32", data=[a - len(shape) * draw(st.integers(0, 1)) for a in axes], constant=True
    )
    made = np.sum(np.zeros(shape), axis=tuple(axes), keepdims=keep).shape
    return OneOp(
        op,
        (x, picked),
        Operand(made, dtype, out),
        (("keep_dims", keep),),
        (lambda v: np.sum(v, axis=tuple(axes), keepdims=keep)) if op == "SUM" and dtype not in PLAIN else None,
    )


BOTH = [
    ("SUM", "int8"),
    *((op, t) for op in ("REDUCE_MAX", "REDUCE_MIN") for t in ("int8", "float32")),
    ("REDUCE_ALL", "bool"),
]
LITERT = [
    *(("SUM", t) for t in ("uint8", "int32", "int64")),
    *(("MEAN", t) for t in ("int32", "int64")),
    *(("REDUCE_PROD", t) for t in ("int8", "int16", "int32", "int64", "float32")),
    *((op, t) for op in ("REDUCE_MAX", "REDUCE_MIN") for t in ("uint8", "int16", "int32", "int64")),
    ("REDUCE_ANY", "bool"),
]


def _hold(tally: Any, op: str, dtype: str) -> None:
    explore(reductions(op, dtype), lambda case: case.run(tally))
    told = op == "SUM" and dtype not in PLAIN
    tally.check(3, ties=told, clamps=told)


@pytest.mark.parametrize(("op", "dtype"), BOTH)
def test_reduction(engine, tallies, op, dtype):
    """At least 3 elements a case; ties and clamps of quantized sums occur."""
    _hold(tallies(f"{op} {dtype}", engine), op, dtype)


@pytest.mark.parametrize("engine", ["litert-reference", "tflm"], indirect=True)
@pytest.mark.parametrize("op", ["SUM", "MEAN"])
def test_float_sums(engine, tallies, op):
    """In the order in which the elements lie; optimized kernels have orders of their own: at least 3 elements a case."""
    _hold(tallies(f"{op} float32", engine), op, "float32")


@pytest.mark.parametrize(("op", "dtype"), LITERT)
def test_reduction_of_litert(litert, op, dtype):
    """What TFLM refuses: at least 3 elements a case; ties and clamps of quantized sums occur."""
    _hold(litert(f"{op} {dtype}"), op, dtype)


def test_sum_int16_of_tflm(tallies):
    """LiteRT's reference kernel leaves half of the output undefined: at least 3 elements a case; ties and clamps occur."""
    pytest.importorskip("tflite_micro", reason="needs tflite_micro (the test extra)")
    _hold(tallies("SUM int16", "tflm"), "SUM", "int16")


@st.composite
def arguments(draw: Any, op: str) -> OneOp:
    """Every type, few values so that the greatest and the least repeat."""
    dtype = draw(st.sampled_from(["int8", "int8", "float32"]))
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    x = Operand(shape, dtype, draw(quants(dtype, decades(-3, 0))), Values("small", draw(st.integers(0, 1 << 30))))
    made = np.argmax(np.zeros(shape), axis=axis).shape
    which = Operand((), "int32", data=axis, constant=True)
    return OneOp(op, (x, which), Operand(made, "int32"), (("output_type", "INT32"),))


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
def test_arguments(engine, tallies, op):
    """At least 4 elements a case."""
    tally = tallies(op, engine)
    explore(arguments(op), lambda case: case.run(tally))
    tally.check(4)


@st.composite
def running(draw: Any, dtype: str) -> OneOp:
    """Sums from both ends, with and without the element's own value."""
    exact = draw(st.booleans())
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    x = Operand(shape, dtype, draw(quants(dtype, scales(exact, -3, 0))), draw(VALUES))
    out = draw(near(x.quant[0] * 2, dtype, exact, 1)) if x.quant else None
    options = (("exclusive", draw(st.booleans())), ("reverse", draw(st.booleans())))
    return OneOp("CUMSUM", (x, Operand((), "int32", data=axis, constant=True)), Operand(shape, dtype, out), options)


def test_cumsum(engine, tallies):
    """float32, one after the other: at least 10 elements a case."""
    tally = tallies("CUMSUM float32", engine)
    explore(running("float32"), lambda case: case.run(tally))
    tally.check(10)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_cumsum_of_litert(litert, dtype):
    """At least 10 elements a case."""
    tally = litert(f"CUMSUM {dtype}")
    explore(running(dtype), lambda case: case.run(tally))
    tally.check(10)


def test_cumsum_int8_of_tflm(tallies):
    """Quantized, which only TFLM has: at least 10 elements a case."""
    pytest.importorskip("tflite_micro", reason="needs tflite_micro (the test extra)")
    tally = tallies("CUMSUM int8", "tflm")
    explore(running("int8"), lambda case: case.run(tally), share=2)
    tally.check(10)


def _reduce(op: str, dtype: str, out: tuple[float, int]) -> bytes:
    b = Builder()
    x, y = b.tensor("x", (2, 3), dtype, 0.5, 0), b.tensor("y", (2,), dtype, *out)
    return b.op(op, [x, b.constant("axis", [1])], [y], keep_dims=False).finish([x], [y])


@pytest.mark.parametrize(
    ("op", "dtype", "out", "match"),
    [
        ("SUM", "int16", (0.5, 0), "leaves half of the output undefined"),
        ("REDUCE_MAX", "int8", (0.25, 0), "different scales"),
        ("REDUCE_PROD", "int8", (1e-9, 0), "allowed: below 128"),
    ],
)
def test_what_litert_refuses(op, dtype, out, match):
    with pytest.raises(UnsupportedOp, match=match):
        simulate(parse(_reduce(op, dtype, out), op), np.zeros((2, 3), dtype))


def test_no_number_has_no_place():
    b = Builder()
    x, y = b.tensor("x", (3,), "float32"), b.tensor("y", (), "int32")
    z, w = b.tensor("z", (3,), "float32"), b.tensor("w", (3,), "float32")
    b.op("DIV", [x, w], [z], fused_activation_function="NONE")
    graph = parse(b.op("ARG_MAX", [z, b.constant("axis", 0)], [y], output_type="INT32").finish([x, w], [y]), "nan")
    with pytest.raises(DomainError, match="not a number"):
        simulate(graph, [np.zeros(3, np.float32)] * 2)
