"""Functions of single elements and of rows: one-op models, every bit as the live engines compute them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import DomainError, UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests.build import Builder
from tests.live.cases import RANGE, VALUES, Values, decades, explore, f32, powers, shapes, zeros
from tests.live.single import OneOp, Operand, near, quants, scales, unary

pytestmark = pytest.mark.live


@st.composite
def leaky(draw: Any, dtype: str) -> OneOp:
    """Slopes from nothing to steeper than 1, and negative ones."""
    alpha = f32(draw(st.sampled_from([0.0, 0.125, 0.25, 1.0, 2.0, -0.25]) | st.floats(0.001, 1.5)))
    return draw(unary("LEAKY_RELU", dtype, lambda x: np.where(x < 0, alpha * x, x), alpha=alpha))


@st.composite
def prelus(draw: Any, dtype: str) -> OneOp:
    """Slopes of the full shape, or shared along some axes."""
    shape = (draw(st.integers(1, 3)), 16, 16)
    shared = tuple(1 if draw(st.booleans()) else s for s in shape)
    exact = draw(st.booleans())
    x = Operand(shape, dtype, draw(quants(dtype, scales(exact))), draw(VALUES))
    alpha_type = "int8" if dtype == "int16" else dtype
    alpha = Operand(
        shared, alpha_type, draw(quants(alpha_type, powers(-8, -2) if exact else decades(-3, 0))), draw(VALUES)
    )
    alpha = replace(alpha, constant=draw(st.booleans()))
    out = Operand(shape, dtype, draw(near(x.quant[0], dtype, exact)) if x.quant else None)
    return OneOp("PRELU", (x, alpha), out, (), lambda v, a: np.where(v < 0, a * v, v))


def straight(op: str, dtype: str) -> st.SearchStrategy[OneOp]:
    if op == "LEAKY_RELU":
        return leaky(dtype)
    if op == "PRELU":
        return prelus(dtype)
    return unary(op, dtype, {"ABS": np.abs, "NEG": None, "SQUARE": None}.get(op))


STRAIGHT = [
    *((op, t) for op in ("RELU", "RELU6", "LEAKY_RELU", "PRELU") for t in ("int8", "int16", "float32")),
    *(("ABS", t) for t in ("int8", "int16", "float32")),
    *((op, "float32") for op in ("NEG", "SQUARE", "FLOOR")),
]
STRAIGHT_LITERT = [
    *((op, "uint8") for op in ("RELU", "RELU6", "LEAKY_RELU", "PRELU")),
    *((op, t) for op in ("RELU_N1_TO_1", "RELU_0_TO_1") for t in ("int8", "uint8", "float32")),
    ("ABS", "int32"),
    *(("NEG", t) for t in ("int8", "int16", "int32", "int64")),
]


def _hold_straight(tally: Any, op: str, dtype: str) -> None:
    explore(straight(op, dtype), lambda case: case.run(tally), share=0.5)
    rescaled = op in ("LEAKY_RELU", "PRELU", "ABS") and dtype in RANGE and dtype != "int32"
    tally.check(200, ties=rescaled, clamps=rescaled)


@pytest.mark.parametrize(("op", "dtype"), STRAIGHT)
def test_straight(engine, tallies, op, dtype):
    """Every input of 8 bits, or at least 200 elements a case; ties and clamps occur where the op rescales."""
    _hold_straight(tallies(f"{op} {dtype}", engine), op, dtype)


@pytest.mark.parametrize("engine", ["litert-optimized", "litert-xnnpack", "tflm"], indirect=True)
@pytest.mark.parametrize("op", ["CEIL", "ROUND"])
def test_what_the_reference_kernels_lack(engine, tallies, op):
    """2,048 elements a case, halves among them."""
    tally = tallies(op, engine)
    halves = Operand((2001,), "float32", data=np.arange(-1000, 1001, dtype=np.float32) / 2)
    OneOp(op, (halves,), Operand((2001,), "float32")).run(tally)
    explore(unary(op, "float32"), lambda case: case.run(tally), share=0.5)
    tally.check(2000)


@pytest.mark.parametrize(("op", "dtype"), STRAIGHT_LITERT)
def test_straight_of_litert(litert, op, dtype):
    """What TFLM refuses: every input of 8 bits, or at least 200 elements a case."""
    _hold_straight(litert(f"{op} {dtype}"), op, dtype)


FIXED = {
    "LOGISTIC": {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (2.0**-15, 0)},
    "TANH": {"int8": (1 / 128, 0), "int16": (2.0**-15, 0)},
    "SOFTMAX": {"int16": (2.0**-15, 0)},
    "LOG_SOFTMAX": {"int8": (1 / 16, 127), "uint8": (1 / 16, 255)},
    "L2_NORMALIZATION": {"int8": (1 / 128, 0), "uint8": (1 / 128, 128)},
}
"""the only output quantization that the engines take"""


@st.composite
def curved(draw: Any, op: str, dtype: str) -> OneOp:
    """All 256 inputs, or 2,048 of 16 bits and of floats from all over the range; scales over decades."""
    wide = dtype not in ("int8", "uint8")
    options: dict[str, Any] = {"approximate": draw(st.booleans())} if op == "GELU" else {}
    if dtype == "float32":
        x = Operand((2047,), dtype, None, draw(VALUES))
        out = Operand((2047,), dtype)
    else:
        scale = decades(-5, -1) | powers(-13, -9) if wide else decades(-4, 1) | powers(-9, 2) | decades(-8, 6)
        x = Operand((2048,) if wide else (256,), dtype, draw(quants(dtype, scale)), Values("ramp", 0))
        fixed = FIXED.get(op, {}).get(dtype)
        usual = {"RSQRT": x.quant[0] ** -0.5 / 100, "SQRT": x.quant[0] ** 0.5 / 10, "HARD_SWISH": x.quant[0]}.get(
            op, 0.02
        )
        out = Operand(x.shape, dtype, fixed or (f32(usual * 10.0 ** draw(st.floats(-1.5, 1.5))), draw(zeros(dtype))))
    data = x.array()
    if wide and dtype != "float32":  # one in 32 of all inputs, from a random one on
        data = (np.arange(2048) * 32 + draw(st.integers(0, 31)) - (1 << 15)).astype(dtype)
    if op in ("SQRT", "RSQRT"):
        data = np.maximum(data, x.quant[1]).astype(dtype) if x.quant else np.abs(data)
    return OneOp(op, (replace(x, data=data),), out, tuple(options.items()))


CURVED = [
    *(("LOGISTIC", t) for t in ("int8", "int16")),
    *(("TANH", t) for t in ("int8", "int16")),
    *(("HARD_SWISH", t) for t in ("int8", "float32")),
    *(("RSQRT", t) for t in ("int8", "int16")),
]
CURVED_LITERT = [
    ("LOGISTIC", "uint8"),
    ("TANH", "uint8"),
    *(("GELU", t) for t in ("int8", "uint8")),
    ("HARD_SWISH", "uint8"),
    *((op, t) for op in ("EXP", "LOG", "SQRT") for t in ("int8", "int16")),
]


@pytest.mark.parametrize(("op", "dtype"), CURVED)
def test_curved(engine, tallies, op, dtype):
    """Every input of 8 bits, or 2,047 of the others in each case."""
    tally = tallies(f"{op} {dtype}", engine)
    explore(curved(op, dtype), lambda case: case.run(tally), share=0.5)
    tally.check(160)


@pytest.mark.parametrize("engine", ["litert-reference", "litert-optimized", "tflm"], indirect=True)
@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
def test_roots_of_floats(engine, tallies, op):
    """2,047 elements in each case; XNNPACK's roots are approximate."""
    tally = tallies(f"{op} float32", engine)
    explore(curved(op, "float32"), lambda case: case.run(tally), share=0.5)
    tally.check(2000)


@pytest.mark.parametrize(("op", "dtype"), CURVED_LITERT)
def test_curved_of_litert(litert, op, dtype):
    """What TFLM refuses: every input of 8 bits, or 2,047 of the others in each case."""
    tally = litert(f"{op} {dtype}")
    explore(curved(op, dtype), lambda case: case.run(tally), share=0.5)
    tally.check(160)


@pytest.mark.parametrize("engine", ["litert-optimized", "litert-xnnpack", "tflm"], indirect=True)
def test_elu(engine, tallies):
    """Every input in each case; LiteRT's reference kernels have no ELU."""
    tally = tallies("ELU int8", engine)
    explore(curved("ELU", "int8"), lambda case: case.run(tally))
    tally.check(256)


@pytest.mark.parametrize(("op", "scale", "out"), [("EXP", 10.0, 1e-3), ("GELU", 1e4, 1e-6), ("TANH", 1.0, 1e-12)])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_tables_beyond_32_bits(litert, op, scale, out, dtype):
    """Where the quotient leaves 32 bits, LiteRT's cast saturates for int8, and is x86's for uint8: every input."""
    if (op, dtype) == ("EXP", "uint8"):
        return
    tally = litert(f"{op} {dtype} beyond 32 bits")
    options = (("approximate", False),) if op == "GELU" else ()
    x = Operand((256,), dtype, (f32(scale), 0), Values("ramp", 0))
    OneOp(op, (x,), Operand((256,), dtype, (f32(out), 3)), options).run(tally)
    tally.check(256)


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_elu_beyond_32_bits(tallies, scale):
    """Where the quotient leaves 32 bits, TFLM has x86's cast, which makes it the least value."""
    pytest.importorskip("tflite_micro", reason="needs tflite_micro (the test extra)")
    tally = tallies("ELU beyond 32 bits", "tflm")
    x = Operand((256,), "int8", (f32(scale), 0), Values("ramp", 0))
    OneOp("ELU", (x,), Operand((256,), "int8", (f32(1e-6), 3))).run(tally)
    tally.check(256)


@st.composite
def rows(draw: Any, op: str, dtype: str) -> OneOp:
    """Rows of 1 to some 300 elements; scales over decades."""
    shape = (*draw(shapes(0, 3, 4)), draw(st.integers(1, 24) | st.integers(1, 300)))
    scale = decades(-5, 0) | powers(-14, 0) if dtype == "int16" else decades(-3, 1) | powers(-8, 2)
    x = Operand(shape, dtype, draw(quants(dtype, scale)), draw(VALUES))
    beta = draw(st.sampled_from([1.0, 1.0, 0.5, 2.0]) | decades(-1, 2))
    options = {
        "SOFTMAX": (("beta", beta),),
        "L2_NORMALIZATION": (("fused_activation_function", "NONE"),),
    }.get(op, ())
    return OneOp(op, (x,), Operand(shape, dtype, FIXED[op][dtype]), options)


@pytest.mark.parametrize(("op", "dtype"), [("SOFTMAX", "int16"), ("LOG_SOFTMAX", "int8"), ("L2_NORMALIZATION", "int8")])
def test_rows(engine, tallies, op, dtype):
    """At least 40 elements a case."""
    tally = tallies(f"{op} {dtype}", engine)
    explore(rows(op, dtype), lambda case: case.run(tally))
    tally.check(40)


@pytest.mark.parametrize("op", ["LOG_SOFTMAX", "L2_NORMALIZATION"])
def test_rows_of_litert(litert, op):
    """uint8, which TFLM refuses: at least 40 elements a case."""
    tally = litert(f"{op} uint8")
    explore(rows(op, "uint8"), lambda case: case.run(tally))
    tally.check(40)


@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_roots_of_less_than_zero_are_refused(op, dtype):
    b = Builder()
    x, y = b.tensor("x", (2,), dtype, 0.5, 0), b.tensor("y", (2,), dtype, 0.5, 0)
    graph = parse(b.op(op, [x], [y]).finish([x], [y]), op)
    with pytest.raises(DomainError, match="the engine refuses a negative input"):
        simulate(graph, np.array([3, -1], dtype))


@pytest.mark.parametrize(
    ("op", "dtype", "quant", "out", "match"),
    [
        ("LOGISTIC", "int8", (0.1, 0), (1 / 128, -128), "supported: 1/256"),
        ("LOGISTIC", "int16", (0.1, 0), (2.0**-14, 0), "supported: 2"),
        ("TANH", "int16", (0.1, 1), (2.0**-15, 0), "int16 with zero point 1"),
        ("HARD_SWISH", "int8", (1.0, 0), (1e-3, 0), "below 1/128"),
        ("LOG_SOFTMAX", "int8", (0.1, 0), (1 / 16, 0), "supported: 1/16 and 127"),
        ("L2_NORMALIZATION", "int8", (0.1, 0), (1 / 64, 0), "supported: 1/128 and 0"),
    ],
)
def test_what_the_engines_refuse(op, dtype, quant, out, match):
    b = Builder()
    x, y = b.tensor("x", (2,), dtype, *quant), b.tensor("y", (2,), dtype, *out)
    options = {"fused_activation_function": "NONE"} if op == "L2_NORMALIZATION" else {}
    graph = parse(b.op(op, [x], [y], **options).finish([x], [y]), op)
    with pytest.raises(UnsupportedOp, match=match):
        simulate(graph, np.zeros(2, dtype))
