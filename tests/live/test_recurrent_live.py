"""SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM: one-op models over a sequence, every bit as the live engines compute them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests import engines
from tests.build import ABSENT, Builder
from tests.live.cases import VALUES, Array, Tally, Values, explore, f32, zeros

pytestmark = pytest.mark.live
SEQUENCES: dict[str, Callable[[bytes, list[list[Array]]], list[Array]]] = {
    "litert-reference": lambda content, xs: [t[OUTPUT] for t in engines.litert_reference_sequence(content, xs)],
    "litert-optimized": lambda content, xs: [t[OUTPUT] for t in engines.litert_optimized_sequence(content, xs)],
    "litert-xnnpack": lambda content, xs: [t[0] for t in engines.litert_xnnpack_sequence(content, xs)],
    "tflm": lambda content, xs: [t[0] for t in engines.tflm_sequence(content, xs)],
}
CELL = 2
"""position of the cell gate among the four"""
OUTPUT = 0
"""the index of the output tensor in every file of this module"""


def _compare(tally: Tally, content: bytes, xs: Array) -> None:
    """Holds the outputs of a sequence of inferences against the engine's."""
    tally.cases += 1
    try:
        got = simulate(parse(content, tally.op), xs, tally.engine).tensor(OUTPUT)
    except UnsupportedOp as e:
        tally.unsupported[str(e).rsplit(": ", 1)[-1]] += 1
        return
    try:
        wanted = np.stack(SEQUENCES[tally.engine](content, [[x] for x in xs]))
    except engines.Refused as e:
        tally.refused[str(e)] += 1
        return
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    wrong = np.argwhere(got != wanted)
    assert not wrong.size, f"{len(wrong)} of {got.size} elements differ, first at {wrong[0]}"
    tally.elements += got.size
    tally.clamped += int(np.sum((got == np.iinfo(got.dtype).min) | (got == np.iinfo(got.dtype).max)))


@dataclass(frozen=True, slots=True)
class SvdfCase:
    """One SVDF."""

    sizes: tuple[int, int, int, int, int]
    """batch, inputs, units, rank, memory"""
    state: str
    zeros: tuple[int, int, int]
    """of input, output and state"""
    scales: tuple[float, float, float]
    """of input, feature weight and time weight"""
    gains: tuple[float, float]
    bias: bool
    values: tuple[Values, Values, Values]
    inferences: int

    def content(self) -> bytes:
        """The one-op file."""
        n, k, units, rank, memory = self.sizes
        x, w, t = self.scales
        b = Builder()
        # Sums of k products of size 64 * 32, and of rank * memory with a state that fills a quarter of its range.
        state = f32(x * w * np.sqrt(k) * 2048 / (32 if self.state == "int8" else 8192) * 2.0 ** self.gains[0])
        time = 32 * 32 if self.state == "int8" else 8192 * 8192
        out = f32(state * t * np.sqrt(rank * memory) * time / 40 * 2.0 ** self.gains[1])
        filters = units * rank
        y = b.tensor("y", (n, units), "int8", out, self.zeros[1])
        i = b.tensor("x", (n, k), "int8", x, self.zeros[0])
        feature = b.tensor("f", (filters, k), "int8", w, 0, data=self.values[1].fill((filters, k), "int8"))
        times = b.tensor(
            "t", (filters, memory), self.state, t, 0, data=self.values[2].fill((filters, memory), self.state)
        )
        data = np.random.default_rng(k).integers(-time, time, units, endpoint=True)
        bias = b.tensor("b", (units,), "int32", f32(state * t), 0, data=data) if self.bias else ABSENT
        held = b.tensor("s", (n, filters * memory), self.state, state, self.zeros[2], variable=True)
        b.op("SVDF", [i, feature, times, bias, held], [y], rank=rank, fused_activation_function="RELU")
        return b.finish([i], [y])

    def inputs(self) -> Array:
        """``(inferences, batch, inputs)``."""
        return self.values[0].fill((self.inferences, *self.sizes[:2]), "int8", self.zeros[0])


@st.composite
def svdfs(draw: Any, state: str) -> SvdfCase:
    """Filters of all shapes, with rescales that fit and such that clamp."""
    sizes = tuple(draw(st.integers(1, m)) for m in (3, 40, 12, 3, 10))
    powers = draw(st.booleans())
    scale = st.integers(-9, -2).map(lambda e: 2.0**e) if powers else st.floats(-3, -1).map(lambda e: f32(10.0**e))
    # TFLM wants bias scales within 1e-5 of the product.
    gain = st.integers(-2, 2) if powers else st.floats(-2, 2)
    held = draw(zeros(state)) if state == "int8" else 0
    return SvdfCase(
        sizes, state, (draw(zeros()), draw(zeros()), held), (draw(scale), draw(scale), draw(scale)),
        (draw(gain), draw(gain)), draw(st.integers(0, 4)) > 0 or state == "int8",
        (draw(VALUES), draw(VALUES), draw(VALUES)), draw(st.integers(1, 12)),
    )  # fmt: skip


@pytest.mark.parametrize("state", ["int16", "int8"])
def test_svdf(engine, tallies, state):
    """Sequences of up to 12 inferences on one state, at least 20 elements a case; clamps occur."""
    if engine != "tflm" and state == "int8":
        pytest.skip("LiteRT reads any state as int16")
    tally = tallies(f"SVDF {state}", engine)
    explore(svdfs(state), lambda case: _compare(tally, case.content(), case.inputs()), share=2)
    tally.check(20, clamps=True)


@dataclass(frozen=True, slots=True)
class LstmCase:
    """One UNIDIRECTIONAL_SEQUENCE_LSTM."""

    sizes: tuple[int, int, int, int]
    """batch, steps, inputs, units"""
    dtype: str
    time_major: bool
    zeros: tuple[int, int]
    scale: float
    weights: tuple[float, ...]
    """scales of eight weights"""
    power: int
    hidden: tuple[float, int]
    """scale and zero point of the output as the intermediate tensor has them"""
    state: float
    clip: float
    seed: int
    x: Values
    inferences: int

    def shape(self) -> tuple[int, int, int]:
        """Of the input."""
        n, steps, k, _ = self.sizes
        return (steps, n, k) if self.time_major else (n, steps, k)

    def content(self) -> bytes:
        """The one-op file."""
        n, _, k, units = self.sizes
        b, rng = Builder(), np.random.default_rng(self.seed)
        y = b.tensor("y", (*self.shape()[:2], units), self.dtype, self.state, self.zeros[1])
        x = b.tensor("x", self.shape(), self.dtype, self.scale, self.zeros[0])
        shapes = [(units, k)] * 4 + [(units, units)] * 4
        ins = [x]
        for i, (shape, scale) in enumerate(zip(shapes, self.weights, strict=True)):
            ins.append(b.tensor(f"w{i}", shape, "int8", scale, 0, data=rng.integers(-127, 127, shape, endpoint=True)))
        ins += [ABSENT] * 3
        wide = "int32" if self.dtype == "int8" else "int64"
        for i in range(4):
            reach = int(2 / (self.scale * self.weights[i])) + 1
            data = rng.integers(-reach, reach, units, endpoint=True)
            ins.append(b.tensor(f"b{i}", (units,), wide, f32(self.scale * self.weights[i]), 0, data=data))
        ins += [ABSENT] * 2
        ins.append(b.tensor("h", (n, units), self.dtype, self.state, self.zeros[1], variable=True))
        ins.append(b.tensor("c", (n, units), "int16", 2.0**self.power, 0, variable=True))
        ins += [ABSENT] * 4
        within = [b.tensor(f"i{i}", (0,), "int16", 2.0**-12, 0) for i in range(4)]
        within.append(b.tensor("i4", (0,), "int8", *self.hidden))
        b.op(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            ins,
            [y],
            intermediates=within,
            fused_activation_function="TANH",
            cell_clip=self.clip,
            time_major=self.time_major,
        )
        return b.finish([x], [y])

    def inputs(self) -> Array:
        """``(inferences, *shape)``."""
        return self.x.fill((self.inferences, *self.shape()), self.dtype, self.zeros[0])


@st.composite
def lstms(draw: Any, dtype: str) -> LstmCase:
    """Cells whose gates range from nearly linear to saturated, with and without clips."""
    sizes = tuple(draw(st.integers(1, m)) for m in (3, 5, 30, 12))
    powers = draw(st.booleans())
    lift = 0 if dtype == "int8" else -8
    scale = 2.0 ** (draw(st.integers(-9, -4)) + lift) if powers else f32(10.0 ** draw(st.floats(-2.5, -1)) * 2.0**lift)
    one = st.integers(-10, -4).map(lambda e: 2.0**e) if powers else st.floats(-3, -1).map(lambda e: f32(10.0**e))
    state = 2.0 ** (-7 + lift) if powers else f32(draw(st.floats(0.3, 1.2)) / 128 * 2.0**lift)
    hidden = (state, 0) if draw(st.booleans()) else (f32(state * 0.9), draw(zeros()))
    middle = (0, 0) if dtype == "int16" else (draw(zeros()), draw(zeros()))
    return LstmCase(
        sizes, dtype, draw(st.booleans()), middle, scale, tuple(draw(one) for _ in range(8)), draw(st.integers(-15, -9)),
        hidden, state, draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 3.0, 100.0])), draw(st.integers(0, 1 << 30)),
        draw(VALUES), draw(st.integers(1, 4)),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_lstm(engine, tallies, dtype):
    """Sequences of up to 4 inferences of up to 5 steps, at least 20 elements a case; saturated outputs occur."""
    if engine != "tflm" and dtype == "int16":
        pytest.skip("LiteRT has no kernel with int16 activations")
    tally = tallies(f"UNIDIRECTIONAL_SEQUENCE_LSTM {dtype}", engine)
    explore(lstms(dtype), lambda case: _compare(tally, case.content(), case.inputs()), share=2)
    tally.check(20, clamps=True)


def test_precision_of_the_svdf_rescale(engine, tallies):
    """A rescale of ``(1 - 2**-26) / 2``, which a float32 product makes a half: every odd input is a tie, or nearly."""
    tally = tallies("SVDF precision", engine)
    scale, weight = 1 + 2.0**-13, 1 - 2.0**-13
    assert f32(scale * weight) == 1 != scale * weight
    b = Builder()
    y = b.tensor("y", (256, 1), "int8", 2.0, 0)
    x = b.tensor("x", (256, 1), "int8", scale, 0)
    feature = b.tensor("f", (1, 1), "int8", weight, 0, data=[1])
    times = b.tensor("t", (1, 1), "int16", 1.0, 0, data=[1])
    bias = b.tensor("b", (1,), "int32", 2.0, 0, data=[0])
    held = b.tensor("s", (256, 1), "int16", 2.0, 0, variable=True)
    b.op("SVDF", [x, feature, times, bias, held], [y], rank=1, fused_activation_function="RELU")
    _compare(tally, b.finish([x], [y]), np.arange(-128, 128, dtype=np.int8).reshape(1, 256, 1))
    tally.check(256)


def test_precision_of_the_gates(engine, tallies):
    """As above for the cell gate of an LSTM whose other gates are open: its halves are seen in the output."""
    tally = tallies("UNIDIRECTIONAL_SEQUENCE_LSTM precision", engine)
    scale, weight, n = f32(2.0**-13 * (1 + 2.0**-13)), 1 - 2.0**-13, 256
    b = Builder()
    y = b.tensor("y", (n, 1, 1), "int8", 2.0**-12, 0)
    x = b.tensor("x", (n, 1, 1), "int8", scale, 0)
    ins = [x, *(b.tensor(f"w{i}", (1, 1), "int8", weight, 0, data=[int(i == CELL)]) for i in range(4))]
    ins += [b.tensor(f"r{i}", (1, 1), "int8", 1.0, 0, data=[0]) for i in range(4)]
    ins += [ABSENT] * 3
    ins += [b.tensor(f"b{i}", (1,), "int32", 2.0**-13, 0, data=[0 if i == CELL else 1 << 20]) for i in range(4)]
    ins += [ABSENT] * 2
    ins.append(b.tensor("h", (n, 1), "int8", 2.0**-12, 0, variable=True))
    ins.append(b.tensor("c", (n, 1), "int16", 2.0**-15, 0, variable=True))
    within = [b.tensor(f"i{i}", (0,), "int8", 2.0**-12, 0) for i in range(5)]
    b.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [*ins, *[ABSENT] * 4],
        [y],
        intermediates=within,
        fused_activation_function="TANH",
    )
    values = np.arange(-128, 128, dtype=np.int8).reshape(1, n, 1, 1)
    _compare(tally, b.finish([x], [y]), values)
    tally.check(n)
