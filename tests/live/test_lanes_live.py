"""Blocks of lanes: sums and products whose rounding depends on an element's position in a run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import RANGE, Model, explore, f32, zeros

pytestmark = pytest.mark.live
SHAPES = [
    ((3, 50), (3, 50)),
    ((2, 5, 37), (1, 1, 37)),
    ((2, 5, 37), (37,)),
    ((4, 1, 33), (4, 3, 33)),
    ((2, 3, 1), (2, 3, 41)),
    ((41,), (1,)),
    ((1, 1), (3, 70)),
    ((2, 1, 5, 9), (1, 4, 1, 9)),
    ((3, 1, 19, 1), (1, 2, 1, 23)),
    ((5, 17, 1), (1, 17, 20)),
    ((2, 19, 1, 3), (2, 1, 21, 3)),
]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tensors of one type, broadcast; the output's scale and zero point are the third."""

    op: str
    dtype: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    quants: tuple[tuple[float, int], ...]
    activation: str
    seed: int

    def model(self) -> Model:
        """The one-op file and its inputs."""
        rng, (low, high), build = np.random.default_rng(self.seed), RANGE[self.dtype], Builder()
        shapes = (*self.shapes, np.broadcast_shapes(*self.shapes))
        x, y, z = (build.tensor(n, s, self.dtype, *q) for n, s, q in zip("xyz", shapes, self.quants, strict=True))
        build.op(self.op, [x, y], [z], fused_activation_function=self.activation)
        arrays = [rng.integers(low, high, s, endpoint=True).astype(self.dtype) for s in self.shapes]
        return Model(build.finish([x, y], [z]), arrays, [z])


@st.composite
def pairs(draw: Any, op: str, dtype: str) -> Pair:
    """Shapes that are walked in runs of every kind, either one first; powers of two and other scales."""
    shapes = draw(st.sampled_from(SHAPES))
    a, b = (f32(2.0 ** draw(st.integers(-8, 0)) * draw(st.just(1.0) | st.floats(1, 2))) for _ in "ab")
    largest = a * b * 64 if op == "MUL" else max(a, b)
    out = f32(largest * 2.0 ** draw(st.integers(-7, 2)))
    quants = tuple((s, draw(zeros(dtype))) for s in (a, b, out))
    activation = draw(st.sampled_from(["NONE", "NONE", "RELU6"]))
    return Pair(
        op, dtype, shapes if draw(st.booleans()) else shapes[::-1], quants, activation, draw(st.integers(0, 1 << 30))
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
def test_runs_of_broadcast_tensors(litert, op, dtype):
    """Runs longer and shorter than a block; at least 100 elements a case."""
    tally = litert(f"{op} {dtype} in runs")
    explore(pairs(op, dtype), lambda case: tally.compare(case.model()), share=3)
    tally.check(41)
