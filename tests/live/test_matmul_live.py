"""BATCH_MATMUL: one-op models, every bit as the live engines compute them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import RANGE, VALUES, Array, Model, Tally, Values, explore, f32, fractions, zeros

pytestmark = pytest.mark.live


@dataclass(frozen=True, slots=True)
class Case:
    """One product; ``batches`` are the leading axes of both inputs."""

    batches: tuple[tuple[int, ...], tuple[int, ...]]
    sizes: tuple[int, int, int]
    """rows, products, columns"""
    adjoint: tuple[bool, bool]
    dtype: str
    output: str
    zeros: tuple[int, int, int]
    scales: tuple[float, float]
    gain: float
    x: Values
    w: Values
    constant: bool

    def inputs(self) -> list[Array]:
        """Both inputs as the file has them."""
        rows, inner, columns = self.sizes
        ends = [(rows, inner), (inner, columns)]
        return [
            v.fill((*b, *(e[::-1] if a else e)), self.dtype, z)
            for v, b, e, a, z in zip((self.x, self.w), self.batches, ends, self.adjoint, self.zeros[:2], strict=True)
        ]

    def sums(self) -> Array:
        """The accumulators, slowly."""
        a, b = (
            (v.swapaxes(-2, -1) if t else v).astype(np.int64) - (0 if self.output == "int32" else z)
            for v, t, z in zip(self.inputs(), self.adjoint, self.zeros[:2], strict=True)
        )
        return a @ b

    def model(self, out: float) -> Model:
        """The one-op file."""
        b, data, sums = Builder(), self.inputs(), self.sums()
        x = b.tensor("x", data[0].shape, self.dtype, self.scales[0], self.zeros[0])
        w = b.tensor(
            "w", data[1].shape, self.dtype, self.scales[1], self.zeros[1], data=data[1] if self.constant else None
        )
        y = b.tensor("y", sums.shape, self.output, out, self.zeros[2])
        b.op("BATCH_MATMUL", [x, w], [y], adj_x=self.adjoint[0], adj_y=self.adjoint[1])
        ins, values = ([x], data[:1]) if self.constant else ([x, w], data)
        return Model(b.finish(ins, [y]), values, [y])


@st.composite
def cases(draw: Any, dtype: str, output: str) -> Case:
    """Products of all shapes whose leading axes broadcast."""
    full = draw(st.lists(st.integers(1, 3), max_size=3))
    parts = []
    for _ in range(2):
        kept = full[draw(st.integers(0, len(full))) :]
        parts.append(tuple(n if draw(st.integers(0, 3)) else 1 for n in kept))
    sizes = draw(st.integers(1, 6)), draw(st.integers(1, 40)), draw(st.integers(1, 6))
    coarse = draw(st.integers(0, 2)) == 0
    x, w = (Values("coarse", draw(st.integers(0, 1 << 30))) if coarse else draw(VALUES) for _ in range(2))
    powers = coarse or draw(st.booleans())
    scale = st.integers(-9, 0).map(lambda e: 2.0**e) if powers else st.floats(-4, 0).map(lambda e: f32(10.0**e))
    z = tuple(0 if dtype == "int16" else draw(zeros(dtype)) for _ in range(3))
    gain = draw(st.sampled_from([0, 0, 0, 1, 2, -1, -6, 8])) + (0 if powers else draw(st.floats(-0.5, 0.5)))
    return Case(
        (parts[0], parts[1]), sizes, (draw(st.booleans()), draw(st.booleans())), dtype, output, z,
        (draw(scale), draw(scale)), gain, x, w, draw(st.booleans()),
    )  # fmt: skip


def _hold(tally: Tally, case: Case) -> None:
    sums = case.sums()
    usual = 6000 if case.dtype == "int16" else 40
    fit = max(0, round(float(np.log2(np.median(np.abs(sums)) / usual + 0.01))))
    out = f32(f32(case.scales[0] * case.scales[1]) * 2.0 ** (fit + case.gain))
    if tally.compare(case.model(out)) is not None and case.output != "int32":
        exact = fractions([case.scales[0]], out) * fractions([case.scales[1]], 1.0)
        tally.count(sums[..., None], exact, case.zeros[2], RANGE[case.output])


@pytest.mark.parametrize(("dtype", "output"), [("int8", "int8"), ("int16", "int16"), ("int8", "int32")])
def test_batch_matmul(engine, tallies, dtype, output):
    """Products, transposes and broadcasts of all kinds, at least 8 elements a case; ties and clamps occur."""
    if (engine, output) == ("tflm", "int32"):
        pytest.skip("TFLM has no bare product")
    tally = tallies(f"BATCH_MATMUL {dtype} to {output}", engine)
    explore(cases(dtype, output), lambda case: _hold(tally, case), share=2)
    tally.check(8, ties=output != "int32", clamps=output != "int32")


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_precision_of_the_rescale(engine, tallies, dtype):
    """Scales whose product a float32 rounds: sums at and beside ties, 600 of them."""
    tally = tallies(f"BATCH_MATMUL {dtype} precision", engine)
    low, high = (-128, 127) if dtype == "int8" else (-1500, 1500)
    scale, weight = 1 + 2.0**-13, 1 - 2.0**-13
    assert f32(scale * weight) != scale * weight
    for factor in (1, 2, 63):
        x = np.clip(np.arange(-300, 300) * 5, low, high).astype(dtype).reshape(-1, 1)
        w = np.full((1, 1), factor, dtype)
        for out in (2.0, 4.0, 64.0, 1024.0):
            b = Builder()
            i = b.tensor("x", x.shape, dtype, scale, 0)
            k = b.tensor("w", w.shape, dtype, weight, 0, data=w)
            y = b.tensor("y", x.shape, dtype, out, 0)
            b.op("BATCH_MATMUL", [i, k], [y], adj_x=False, adj_y=False)
            tally.compare(Model(b.finish([i], [y]), [x], [y]))
    tally.check(x.size)


@pytest.mark.parametrize("constant", [False, True])
def test_float32_batch_matmul(engine, tallies, constant):
    """Sums of float32 products in the engine's order, at least 8 elements a case."""
    if engine == "litert-optimized":
        pytest.skip("the engine's order of additions is not known: fxsim refuses the layer")
    tally = tallies("BATCH_MATMUL float32", engine)

    def hold(case: Case) -> None:
        rng, b, sums = np.random.default_rng(case.x.seed), Builder(), case.sums()
        data = [rng.normal(size=v.shape).astype(np.float32) for v in case.inputs()]
        x = b.tensor("x", data[0].shape, "float32")
        w = b.tensor("w", data[1].shape, "float32", data=data[1] if constant else None)
        y = b.tensor("y", sums.shape, "float32")
        b.op("BATCH_MATMUL", [x, w], [y], version=1, adj_x=case.adjoint[0], adj_y=case.adjoint[1])
        ins, values = ([x], data[:1]) if constant else ([x, w], data)
        tally.compare(Model(b.finish(ins, [y]), values, [y]))

    explore(cases("int8", "int8"), hold, share=2)
    tally.check(8)
