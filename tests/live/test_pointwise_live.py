"""Ops without weights that compute: sums, means, pools, tables, rescales; every bit as the live engines have it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import DomainError
from fxsim.importers import parse
from fxsim.sim import simulate
from tests.build import Builder
from tests.live.cases import (
    ACTIVATIONS,
    RANGE,
    VALUES,
    Model,
    Tally,
    Values,
    decades,
    explore,
    f32,
    fractions,
    limits,
    powers,
    shapes,
    zeros,
)

pytestmark = pytest.mark.live
Quant = tuple[float, int]
"""scale and zero point"""


@dataclass(frozen=True, slots=True)
class BinaryCase:
    """One ADD or MUL; the second operand may be a constant of the file."""

    op: str
    dtype: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    a: Quant
    b: Quant
    out: Quant
    activation: str
    constant: bool
    values: tuple[Values, Values]

    def run(self, tally: Tally) -> None:
        """Compares, and counts ties and clamps of the exact sum or product."""
        x, y = (v.fill(s, self.dtype, q[1]) for v, s, q in zip(self.values, self.shapes, (self.a, self.b), strict=True))
        f = Builder()
        a = f.tensor("a", x.shape, self.dtype, *self.a)
        b = f.tensor("b", y.shape, self.dtype, *self.b, data=y if self.constant else None)
        out = f.tensor("out", np.broadcast_shapes(x.shape, y.shape), self.dtype, *self.out)
        f.op(self.op, [a, b], [out], fused_activation_function=self.activation)
        inputs = ([a], [x]) if self.constant else ([a, b], [x, y])
        if tally.compare(Model(f.finish(inputs[0], [out]), inputs[1], [out])) is None:
            return
        p, q = x.astype(np.int64) - self.a[1], y.astype(np.int64) - self.b[1]
        if self.op == "MUL":
            exact, scale = p * q, fractions([self.a[0]], 1.0) * fractions([self.b[0]], self.out[0])
        else:  # in units of the smaller scale, if the greater is a multiple of it
            unit = min(self.a[0], self.b[0])
            ratios = [s / unit for s in (self.a[0], self.b[0])]
            if not all(r.is_integer() and r < 1 << 30 for r in ratios):
                return
            exact, scale = p * int(ratios[0]) + q * int(ratios[1]), fractions([unit], self.out[0])
        low, high = limits(self.activation, *self.out, self.dtype)
        tally.count(exact.reshape(-1, 1), scale, self.out[1], (low, high))


@st.composite
def binaries(draw: Any, op: str, dtype: str = "int8") -> BinaryCase:
    """All 65,536 pairs, equal shapes or broadcast ones; input scales apart by decades, output scales far from both."""
    kind = draw(st.sampled_from(["pairs", "equal", "equal", "broadcast", "lower rank"]))
    values = (draw(VALUES), draw(VALUES))
    if kind == "pairs":
        two, values = ((256, 1), (1, 256)), (Values("ramp", 0), Values("ramp", 0))
    elif kind == "equal":
        two = (draw(shapes(1, 4)),) * 2
    elif kind == "broadcast":
        full, n = draw(shapes(1, 4)), draw(st.integers(0, 255))
        two = tuple(tuple(1 if n >> (i + 4 * k) & 1 else s for i, s in enumerate(full)) for k in range(2))
    else:
        full = draw(shapes(2, 4))
        two = (full, full[draw(st.integers(1, len(full) - 1)) :])
        two = two if draw(st.booleans()) else two[::-1]
    if draw(st.booleans()):
        a, b = draw(powers(-8, 2)), draw(powers(-8, 2))
        fit = draw(st.sampled_from([-4, -2, -1, 0, 0, 1, 2, 3, 5, 9]))
    else:
        a, b = draw(decades(-4, 1)), draw(decades(-4, 1))
        fit = draw(st.floats(-2, 3) | st.sampled_from([-15.0, 12.0, 20.0]))
    usual = a * b * 64 if op == "MUL" else max(a, b)
    out = f32(usual * 2.0**fit)
    q = [(s, draw(zeros(dtype))) for s in (a, b, out)]
    return BinaryCase(op, dtype, two, *q, draw(ACTIVATIONS), draw(st.booleans()), values)


@pytest.mark.parametrize("op", ["ADD", "MUL"])
def test_binary(engine, tallies, op):
    """At least 1,000 elements a case; ties and clamps occur."""
    tally = tallies(op, engine)
    explore(binaries(op), lambda case: case.run(tally), share=1.5)
    tally.check(1000, ties=True, clamps=True)


@pytest.mark.parametrize("op", ["ADD", "MUL"])
def test_uint8_binary(litert, op):
    """At least 1,000 elements a case; ties and clamps occur."""
    tally = litert(f"{op} uint8")
    explore(binaries(op, "uint8"), lambda case: case.run(tally))
    tally.check(1000, ties=True, clamps=True)


@dataclass(frozen=True, slots=True)
class MeanCase:
    """One MEAN over ``axes``."""

    dtype: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    keep: bool
    x: Quant
    out: Quant
    values: Values

    def run(self, tally: Tally) -> None:
        """Compares, and counts ties and clamps."""
        x, f = self.values.fill(self.shape, self.dtype, self.x[1]), Builder()
        total = np.sum(x.astype(np.int64) - self.x[1], axis=self.axes, keepdims=self.keep)
        ins = [f.tensor("x", x.shape, self.dtype, *self.x), f.constant("axes", self.axes)]
        out = f.tensor("out", np.shape(total), self.dtype, *self.out)
        f.op("MEAN", ins, [out], keep_dims=self.keep)
        if tally.compare(Model(f.finish(ins[:1], [out]), [x], [out])) is not None:
            scale = fractions([self.x[0]], self.out[0] * (x.size // max(1, np.size(total))))
            tally.count(np.reshape(total, (-1, 1)), scale, self.out[1], RANGE[self.dtype])


@st.composite
def means(draw: Any, dtype: str = "int8") -> MeanCase:
    """Few and many elements; equal scales and power-of-two counts, which make ties, or any."""
    size = draw(st.sampled_from([3, 8, 24]))
    shape = draw(st.lists(st.integers(1, size) | st.sampled_from([2, 4, 8]), min_size=1, max_size=4).map(tuple))
    picked = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    axes = tuple(a - len(shape) * draw(st.integers(0, 1)) for a in picked)
    scale = draw(powers(-6, 3) | decades(-4, 2))
    ratio = draw(st.sampled_from([1.0, 1.0, 1.0, 2.0, 0.5, 0.125]) | decades(-2, 2) | decades(-9, 6))
    x, out = (scale, draw(zeros(dtype))), (f32(scale * ratio), draw(zeros(dtype)))
    return MeanCase(dtype, shape, axes, draw(st.booleans()), x, out, draw(VALUES))


def test_mean(tally):
    """At least 5 elements a case; ties and clamps occur."""
    explore(means(), lambda case: case.run(tally), share=1.5)
    tally.check(5, ties=True, clamps=True)


def test_mean_int16(engine, tallies):
    """At least 5 elements a case; ties and clamps occur."""
    tally = tallies("MEAN int16", engine)
    explore(means("int16"), lambda case: case.run(tally))
    tally.check(5, ties=True, clamps=True)


def test_mean_uint8(litert):
    """At least 5 elements a case; ties and clamps occur."""
    tally = litert("MEAN uint8")
    explore(means("uint8"), lambda case: case.run(tally))
    tally.check(5, ties=True, clamps=True)


@dataclass(frozen=True, slots=True)
class PoolCase:
    """One AVERAGE_POOL_2D or MAX_POOL_2D."""

    op: str
    dtype: str
    shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: str
    activation: str
    quant: Quant
    values: Values

    def run(self, tally: Tally) -> None:
        """Compares; counts an average as tied where twice the exact one is an odd integer."""
        x, f = self.values.fill(self.shape, self.dtype, self.quant[1]), Builder()
        n, h, w, c = self.shape
        same = self.padding == "SAME"
        outs, tops = [], []
        for size, k, s in zip((h, w), self.kernel, self.stride, strict=True):
            outs.append(-(-size // s) if same else (size - k) // s + 1)
            tops.append(max(0, (outs[-1] - 1) * s + k - size) // 2 if same else 0)
        i = f.tensor("x", self.shape, self.dtype, *self.quant)
        out = f.tensor("out", (n, *outs, c), self.dtype, *self.quant)
        f.op(
            self.op,
            [i],
            [out],
            padding=self.padding,
            stride_h=self.stride[0],
            stride_w=self.stride[1],
            filter_height=self.kernel[0],
            filter_width=self.kernel[1],
            fused_activation_function=self.activation,
        )
        if tally.compare(Model(f.finish([i], [out]), [x], [out])) is None:
            return
        low, high = limits(self.activation, *self.quant, self.dtype)
        for y in range(outs[0]):
            for z in range(outs[1]):
                y0, x0 = y * self.stride[0] - tops[0], z * self.stride[1] - tops[1]
                cells = x[:, max(y0, 0) : y0 + self.kernel[0], max(x0, 0) : x0 + self.kernel[1]].astype(np.int64)
                total, count = cells.sum(axis=(1, 2)), cells.shape[1] * cells.shape[2]
                if self.op == "MAX_POOL_2D":
                    total, count = cells.max(axis=(1, 2)), 1
                tally.count(total.reshape(-1, 1), fractions([1.0], count), 0, (low, high))


@st.composite
def pools(draw: Any, op: str, dtype: str = "int8") -> PoolCase:
    """Windows of all sizes; with SAME some reach far beyond the image."""
    kernel, stride = (tuple(draw(st.integers(1, 5)) for _ in range(2)) for _ in range(2))
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    extra = [draw(st.integers(1, 8)) for _ in range(2)]
    size = extra if padding == "SAME" else [e + k - 1 for e, k in zip(extra, kernel, strict=True)]
    quant = (draw(decades(-3, 0) | st.just(f32(6 / 255)) | powers(-7, -1)), draw(zeros(dtype)))
    shape = (draw(st.integers(1, 2)), *size, draw(st.integers(1, 9)))
    return PoolCase(op, dtype, shape, kernel, stride, padding, draw(ACTIVATIONS), quant, draw(VALUES))


@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pool(engine, tallies, op):
    """At least 20 elements a case; clamps occur, and ties of averages."""
    tally = tallies(op, engine)
    explore(pools(op), lambda case: case.run(tally), share=1.5)
    tally.check(20, ties=op == "AVERAGE_POOL_2D", clamps=True)


@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pool_int16(engine, tallies, op):
    """At least 20 elements a case; ties of averages occur."""
    tally = tallies(f"{op} int16", engine)
    explore(pools(op, "int16"), lambda case: case.run(tally))
    tally.check(20, ties=op == "AVERAGE_POOL_2D")


@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pool_uint8(litert, op):
    """At least 20 elements a case; clamps occur, and ties of averages."""
    tally = litert(f"{op} uint8")
    explore(pools(op, "uint8"), lambda case: case.run(tally))
    tally.check(20, ties=op == "AVERAGE_POOL_2D", clamps=True)


@dataclass(frozen=True, slots=True)
class UnaryCase:
    """One op of one input: LOGISTIC, SOFTMAX, QUANTIZE or DEQUANTIZE."""

    op: str
    shape: tuple[int, ...]
    x: tuple[str, Quant]
    out: tuple[str, Quant | None]
    values: Values
    beta: float = 0.0
    huge: bool = False

    def run(self, tally: Tally) -> None:
        """Compares, and counts ties and clamps of a rescale."""
        dtype, quant = self.x
        x = self.reals() if dtype == "float32" else self.values.fill(self.shape, dtype, quant[1])
        f = Builder()
        a = f.tensor("x", self.shape, dtype, *(quant if dtype != "float32" else ()))
        out = f.tensor("out", self.shape, self.out[0], *(self.out[1] or ()))
        f.op(self.op, [a], [out], **({"beta": self.beta} if self.op == "SOFTMAX" else {}))
        if tally.compare(Model(f.finish([a], [out]), [x], [out])) is None or self.op != "QUANTIZE":
            return
        (scale, zero), range_ = self.out[1], RANGE[self.out[0]]
        if dtype == "float32":
            quotient = (x / np.float32(scale)).astype(np.float64) + zero
            inside = (quotient >= range_[0]) & (quotient <= range_[1])
            tally.ties += int(np.sum(inside & (np.abs(quotient) % 1 == 0.5)))
            tally.clamped += int(np.sum(~inside))
        else:
            exact = (x.astype(np.int64) - quant[1]).reshape(-1, 1)
            tally.count(exact, fractions([quant[0]], scale), zero, range_)

    def reals(self) -> np.ndarray:
        """Floats around the output's range: halves of a step, their float32 neighbours, any, and huge ones."""
        rng, (scale, zero) = np.random.default_rng(self.values.seed), self.out[1]
        low, high = RANGE[self.out[0]]
        n = int(np.prod(self.shape))
        halves = (rng.integers(2 * low, 2 * high, n, endpoint=True) / 2 - zero).astype(np.float32) * np.float32(scale)
        near = np.nextafter(halves, rng.choice(np.array([-np.inf, np.inf], np.float32), n))
        any_ = (rng.uniform(low - zero - 40, high - zero + 40, n) * scale).astype(np.float32)
        kinds = [halves, halves, near, any_]
        if self.huge:
            far = rng.choice([-1, 1], n) * 10.0 ** rng.uniform(3, 38, n)
            with np.errstate(over="ignore"):
                kinds.append(np.clip(far * scale, -3e38, 3e38).astype(np.float32))
        picked = rng.integers(0, len(kinds), n)
        return np.choose(picked, kinds).astype(np.float32).reshape(self.shape)


@st.composite
def softmaxes(draw: Any, dtype: str = "int8") -> UnaryCase:
    """Scales over decades, betas; depths that the engine's 12 integer bits hold (beyond them it aborts)."""
    out = dtype if dtype == "uint8" else draw(st.sampled_from(["int8", "int8", "int16"]))
    depth = draw(
        st.integers(1, 20) | st.integers(1, 480) | (st.integers(500, 3900) if out == "int16" else st.just(480))
    )
    shape = (*draw(shapes(0, 3, 4)), depth)
    quant = (draw(decades(-3, 1) | decades(-6, 6) | powers(-8, 2)), draw(zeros(dtype)))
    scale = 2.0 ** -int(np.iinfo(out).bits)
    beta = draw(st.sampled_from([1.0, 1.0, 0.5, 2.0]) | decades(-1, 2))
    return UnaryCase("SOFTMAX", shape, (dtype, quant), (out, (scale, RANGE[out][0])), draw(VALUES), beta)


DEEP = (512, 4095, 4096, 5000, 6000, 8191, 8193, 9000)


def test_softmax(tally):
    """At least 50 elements a case."""
    explore(softmaxes(), lambda case: case.run(tally), share=2)
    tally.check(50)


@pytest.mark.parametrize(("out", "depth"), [("int8", 511), ("int8", 8193), *(("int16", d) for d in DEEP)])
def test_softmax_of_deep_rows(engine, tallies, out, depth):
    """Equal inputs, whose sum of exponentials is the depth: up to the last that 9 bits hold, and far beyond 12."""
    tally = tallies(f"SOFTMAX deep {out}", engine)
    quants = ("int8", (0.1, 0)), (out, (2.0 ** -int(np.iinfo(out).bits), RANGE[out][0]))
    UnaryCase("SOFTMAX", (depth,), *quants, Values("high", 0), 1.0).run(tally)
    tally.check(depth)


@pytest.mark.parametrize("engine", ["litert-reference", "tflm"])
@pytest.mark.parametrize("depth", [512, 4096, 5000])
def test_softmax_where_the_engines_abort(engine, depth):
    """From a sum of 512 on, 8-bit outputs need a shift beyond 31, which the engines of fixed-point exponentials check."""
    b = Builder()
    x, y = b.tensor("x", (depth,), "int8", 0.1, 0), b.tensor("y", (depth,), "int8", 1 / 256, -128)
    graph = parse(b.op("SOFTMAX", [x], [y], beta=1.0).finish([x], [y]), "deep")
    with pytest.raises(DomainError, match="the engine aborts there"):
        simulate(graph, np.zeros(depth, np.int8), engine)


def test_softmax_uint8(litert):
    """At least 50 elements a case."""
    tally = litert("SOFTMAX uint8")
    explore(softmaxes("uint8"), lambda case: case.run(tally))
    tally.check(50)


@st.composite
def logistics(draw: Any) -> UnaryCase:
    """All 256 inputs; scales over decades."""
    quant = (draw(decades(-3, 1) | decades(-8, 9) | decades(-38, 38) | powers(-20, 6)), draw(zeros()))
    return UnaryCase("LOGISTIC", (256,), ("int8", quant), ("int8", (1 / 256, -128)), Values("ramp", 0))


def test_logistic(tally):
    """All 256 inputs in each case."""
    explore(logistics(), lambda case: case.run(tally), share=2)
    tally.check(256)


BOTH = ["float32 int8", "float32 int16", "int8 int8", "int8 uint8", "uint8 int8", "int8 int16"]
BOTH += ["int16 int8", "int16 int16", "int16 int32", "int32 int8", "int32 int16"]
ONLY = {"litert": ["float32 uint8", "uint8 uint8", "uint8 int16"], "tflm": ["int8 int32"]}
"""pairs of types that QUANTIZE takes, in all engines and in one family"""


@st.composite
def quantizes(draw: Any, engine: str) -> UnaryCase:
    """Every pair of types; equal scales, power-of-two ratios and any."""
    source, target = draw(st.sampled_from([*BOTH, *ONLY[engine.split("-", maxsplit=1)[0]]])).split()
    scale = draw(powers(-6, 6) | decades(-3, 3))
    ratio = draw(powers(-3, 3) | decades(-2, 2) | decades(-8, 5))
    free = {"int32": st.just(0) | st.integers(-1000, 1000), "float32": st.just(0)}
    x, out = (draw(free[t] if t in free else zeros(t)) for t in (source, target))
    shape = (256,) if source in ("int8", "uint8") else (*draw(shapes(1, 3)), 64)
    quants = (scale, x), (f32(scale * ratio), out)
    return UnaryCase(
        "QUANTIZE", shape, (source, quants[0]), (target, quants[1]), draw(VALUES), huge=draw(st.booleans())
    )


def test_quantize(engine, tally):
    """At least 64 elements a case; ties and clamps occur."""
    explore(quantizes(engine), lambda case: case.run(tally), share=4)
    tally.check(64, ties=True, clamps=True)


@st.composite
def dequantizes(draw: Any) -> UnaryCase:
    """Scales from subnormal results to infinite ones."""
    dtype = draw(st.sampled_from(["int8", "int16"]))
    quant = (draw(decades(-4, 2) | decades(-44, 38)), draw(zeros(dtype)))
    return UnaryCase("DEQUANTIZE", (256,), (dtype, quant), ("float32", None), draw(VALUES))


def test_dequantize(tally):
    """256 elements a case."""
    explore(dequantizes(), lambda case: case.run(tally))
    tally.check(256)
