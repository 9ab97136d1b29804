"""Arithmetic of two tensors: one-op models, every bit as the live engines compute them."""

import operator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import DomainError, UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests.build import Builder
from tests.live.cases import VALUES, Values, decades, explore, f32, shapes
from tests.live.single import PLAIN, OneOp, Operand, near, quants, scales

pytestmark = pytest.mark.live
REAL = {
    "ADD": operator.add,
    "SUB": operator.sub,
    "MUL": operator.mul,
    "DIV": operator.truediv,
    "SQUARED_DIFFERENCE": lambda a, b: (a - b) ** 2,
}
FUSED = ("ADD", "SUB", "MUL", "DIV")


@st.composite
def operands(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """All pairs of 256 values, equal shapes, broadcast ones, ones of lower rank, rows of one."""
    kind = draw(st.sampled_from(["pairs", "equal", "equal", "broadcast", "lower", "row"]))
    if kind == "pairs":
        return (256, 1), (1, 256)
    full = draw(shapes(1, 4))
    if kind == "row":
        return (1, 97), (1, 97)
    if kind == "broadcast":
        n = draw(st.integers(0, 255))
        return tuple(tuple(1 if n >> (i + 4 * k) & 1 else s for i, s in enumerate(full)) for k in range(2))
    other = full[draw(st.integers(0, len(full) - 1)) :] if kind == "lower" else full
    return (full, other) if draw(st.booleans()) else (other, full)


@st.composite
def binaries(draw: Any, op: str, dtype: str) -> OneOp:
    """Scales apart by decades or powers of two; outputs that fit, and far from it."""
    a_shape, b_shape = draw(operands())
    out_shape = np.broadcast_shapes(a_shape, b_shape)
    if a_shape == (256, 1) and dtype in ("int8", "uint8"):
        values = Values("ramp", draw(st.integers(0, 9))), Values("ramp", draw(st.integers(0, 9)))
    else:
        values = draw(VALUES), draw(VALUES)
    exact = draw(st.booleans())
    a, b = (
        Operand(s, dtype, draw(quants(dtype, scales(exact))), v)
        for s, v in zip((a_shape, b_shape), values, strict=True)
    )
    options: dict[str, Any] = {}
    if op in FUSED:
        allowed = ["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"] if dtype not in ("int32", "int64") else ["NONE"]
        options["fused_activation_function"] = draw(st.sampled_from(allowed))
    out = None
    if a.quant and b.quant:
        if dtype == "int16" and op in ("ADD", "SUB") and draw(st.booleans()):
            exponent, shift = draw(st.integers(-15, -2)), draw(st.integers(0, 4) | st.integers(0, 15))
            pair = (2.0**exponent, 2.0 ** (exponent - shift))[:: draw(st.sampled_from([1, -1]))]
            a, b = replace(a, quant=(pair[0], 0)), replace(b, quant=(pair[1], 0))
            out, options["pot_scale_int16"] = (2.0**exponent, 0), draw(st.booleans())
        else:
            if dtype == "int16" and op in ("ADD", "SUB"):
                options["pot_scale_int16"] = False
            (s, _), (t, _) = a.quant, b.quant
            top = 64 if dtype != "int16" else 1 << 14
            usual = {"MUL": s * t * top, "DIV": s / t, "SQUARED_DIFFERENCE": max(s, t) ** 2 * top}.get(op, max(s, t))
            out = draw(near(usual, dtype, exact))
    b = replace(b, constant=draw(st.booleans()))
    if op in ("DIV", "FLOOR_DIV", "FLOOR_MOD"):
        data, zero = b.array(), b.quant[1] if b.quant and op == "DIV" else 0
        b = replace(b, data=np.where(data == zero, np.array(zero ^ 1, dtype), data))
        if a.quant is None or op != "DIV":  # the least by -1 is undefined
            a = replace(a, data=np.maximum(a.array(), -(2 ** (8 * np.dtype(dtype).itemsize - 1)) + 1).astype(dtype))
    real = REAL.get(op) if options.get("fused_activation_function", "NONE") == "NONE" else None
    return OneOp(op, (a, b), Operand(out_shape, dtype, out), tuple(options.items()), real)


BOTH = [
    *(("SUB", t) for t in ("int8", "int16", "int32", "float32")),
    *(("ADD", t) for t in ("int16", "int32", "float32")),
    *(("MUL", t) for t in ("int16", "int32", "float32")),
    *(("DIV", t) for t in ("int8", "int32", "float32")),
    *(("SQUARED_DIFFERENCE", t) for t in ("int8", "int32", "float32")),
    *((op, t) for op in ("MAXIMUM", "MINIMUM") for t in ("int8", "int16", "int32", "int64", "float32")),
    ("FLOOR_DIV", "float32"),
    ("FLOOR_MOD", "float32"),
]
LITERT = [
    *(("SUB", t) for t in ("uint8", "int64")),
    ("ADD", "int64"),
    ("MUL", "int64"),
    *(("DIV", t) for t in ("uint8", "int16")),
    *((op, "uint8") for op in ("MAXIMUM", "MINIMUM")),
    *(("FLOOR_DIV", t) for t in ("int8", "int16", "int32")),
    *(("FLOOR_MOD", t) for t in ("int8", "int16", "int32", "int64")),
]


def _hold(tally: Any, op: str, dtype: str) -> None:
    explore(
        binaries(op, dtype),
        lambda case: case.run(tally),
        share=1.2 if dtype == "int16" and op in ("ADD", "SUB") else 0.5,
    )
    rescaled = op in REAL and dtype not in PLAIN
    tally.check(300, ties=rescaled and op != "DIV", clamps=rescaled and op != "DIV")


@pytest.mark.parametrize(("op", "dtype"), BOTH)
def test_binary(engine, tallies, op, dtype):
    """At least 300 elements a case; ties and clamps occur where the op rescales."""
    _hold(tallies(f"{op} {dtype}", engine), op, dtype)


@pytest.mark.parametrize(("op", "dtype"), LITERT)
def test_binary_of_litert(litert, op, dtype):
    """Types that TFLM refuses: at least 300 elements a case; ties and clamps occur where the op rescales."""
    _hold(litert(f"{op} {dtype}"), op, dtype)


def test_squared_difference_int16(tallies):
    """Which only TFLM has, with any rescale: at least 300 elements a case; ties and clamps occur."""
    pytest.importorskip("tflite_micro", reason="needs tflite_micro (the test extra)")
    _hold(tallies("SQUARED_DIFFERENCE int16", "tflm"), "SQUARED_DIFFERENCE", "int16")


@st.composite
def quotients(draw: Any) -> OneOp:
    """Small numerators and quotients far below a step, where the kernel's last shift exceeds 31 bits."""
    a, b = ("int8", (draw(decades(-6, 0)), 3)), ("int8", (draw(decades(-1, 3)), -100))
    values = Values("ramp", draw(st.integers(0, 255))), Values("ramp", draw(st.integers(0, 255)))
    x, y = (Operand((256,), *t, v) for t, v in zip((a, b), values, strict=True))
    y = replace(y, data=np.where(y.array() == -100, np.int8(7), y.array()))
    return OneOp("DIV", (x, y), Operand((256,), "int8", (f32(10.0 ** draw(st.floats(-9, 3))), 5)))


def test_div_beyond_the_shifts(engine, tallies):
    """What x86 does with a shift by more bits than there are: 256 elements a case."""
    tally = tallies("DIV beyond the shifts", engine)
    explore(quotients(), lambda case: case.run(tally))
    tally.check(256)


@pytest.mark.parametrize("op", FUSED)
def test_floats_beyond_the_greatest(engine, tallies, op):
    """Infinite results become the greatest finite number, unless XNNPACK computes; it makes zeros of the smallest."""
    ends = np.array([3e38, -3e38, 1e-38, -1e-38, 1e-45, -2e38, 5.0, -5.0, 1.2e-38, 1e-30, 0.0, 2e-9], np.float32)
    x, y = (g.reshape(-1) for g in np.meshgrid(ends, ends[ends != 0] if op == "DIV" else ends))
    tally = tallies(f"{op} to the ends", engine)
    pair = tuple(Operand(x.shape, "float32", data=v) for v in (x, y))
    case = OneOp(op, pair, Operand(x.shape, "float32"), (("fused_activation_function", "NONE"),))
    result = tally.compare(case.model())
    assert result is not None
    assert np.all(np.abs(result[0]) <= np.finfo(np.float32).max) == (engine != "litert-xnnpack")


def _model(op: str, dtype: str, scales: tuple[float, float, float], **options: Any) -> bytes:
    b = Builder()
    x, y, z = (b.tensor(n, (4,), dtype, s, 0) for n, s in zip("xyz", scales, strict=True))
    return b.op(op, [x, y], [z], **options).finish([x, y], [z])


@pytest.mark.parametrize("dtype", ["int8", "int32", "float32"])
def test_a_divisor_of_zero_is_refused(dtype):
    scale = (0.5, 0.5, 0.5) if dtype == "int8" else (None, None, None)
    for op in ("DIV", "FLOOR_DIV"):
        graph = parse(_model(op, dtype, scale), op)
        ones = np.ones(4, dtype)
        if (op, dtype) != ("DIV", "float32"):
            with pytest.raises(DomainError, match="a divisor is 0"):
                simulate(graph, [ones, np.array([1, 2, 0, 3], dtype)])


@pytest.mark.parametrize(
    ("op", "dtype"),
    [
        ("DIV", "int32"),
        *(("FLOOR_MOD", t) for t in ("int32", "int64")),
        *(("FLOOR_DIV", t) for t in ("int8", "int16")),
    ],
)
def test_the_quotient_that_leaves_the_type_is_refused(op, dtype):
    graph = parse(_model(op, dtype, (None, None, None)), op)
    least = np.full(4, np.iinfo(dtype).min, dtype)
    with pytest.raises(DomainError, match="leaves the type"):
        simulate(graph, [least, np.full(4, -1, dtype)])


@pytest.mark.parametrize(
    ("op", "dtype", "scales", "options", "match"),
    [
        ("ADD", "int16", (2.0**-3, 2.0**-5, 2.0**-4), {"pot_scale_int16": True}, "supported with pot_scale_int16"),
        ("SUB", "int8", (1.0, 1.0, 1e-7), {}, "too small"),
        ("SQUARED_DIFFERENCE", "int8", (1.0, 1.0, 1e-5), {}, "too small"),
        ("SQUARED_DIFFERENCE", "int16", (1.0, 1.0, 1.0), {}, "supported: 'int8'"),
        (
            "ADD",
            "int32",
            (None, None, None),
            {"fused_activation_function": "RELU"},
            "fused activation is RELU on int32",
        ),
    ],
)
def test_what_litert_refuses(op, dtype, scales, options, match):
    graph = parse(_model(op, dtype, scales, **options), op)
    with pytest.raises(UnsupportedOp, match=match):
        simulate(graph, [np.ones(4, dtype)] * 2)
