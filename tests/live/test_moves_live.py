"""Ops that move values, and variables that keep them: one-op models, every bit as the live engines compute them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from fxsim.importers import parse
from fxsim.sim import simulate
from tests import engines
from tests.build import Builder
from tests.live.cases import VALUES, Array, Model, Values, decades, explore, shapes, zeros

pytestmark = pytest.mark.live


@dataclass(frozen=True, slots=True)
class Data:
    """A tensor to move: its type, quantization and values."""

    dtype: str
    scale: float
    zero: int
    values: Values

    def tensor(self, b: Builder, name: str, shape: tuple[int, ...]) -> int:
        """Adds a tensor of this type."""
        return b.tensor(name, shape, self.dtype, *(() if self.dtype == "float32" else (self.scale, self.zero)))

    def array(self, shape: tuple[int, ...], more: int = 0) -> Array:
        """Values of this type; ``more`` tells several tensors apart."""
        values = Values(self.values.kind, self.values.seed + more)
        if self.dtype == "float32":
            return values.fill(shape, "int32").astype(np.float32)
        return values.fill(shape, self.dtype, self.zero)


@st.composite
def data(draw: Any, *dtypes: str) -> Data:
    """Data of one of the types."""
    dtype = draw(st.sampled_from(dtypes))
    zero = draw(zeros(dtype)) if dtype != "float32" else 0
    return Data(dtype, draw(decades(-3, 1)), zero, draw(VALUES))


COMMON = ("int8", "int8", "int16", "float32")


@dataclass(frozen=True, slots=True)
class Case:
    """The data, how to build the model, and what tells two cases apart."""

    data: Data
    make: Callable[[Data], Model] = field(compare=False, repr=False)
    told: Any


@st.composite
def pads(draw: Any) -> Case:
    shape = draw(shapes(1, 5, 4))
    widths = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in shape]

    def make(d: Data) -> Model:
        b, x = Builder(), d.array(shape)
        i = d.tensor(b, "x", shape)
        out = d.tensor(b, "out", tuple(s + p + q for s, (p, q) in zip(shape, widths, strict=True)))
        b.op("PAD", [i, b.constant("paddings", widths)], [out])
        return Model(b.finish([i], [out]), [x], [out])

    return Case(draw(data(*COMMON)), make, (shape, widths))


@st.composite
def reshapes(draw: Any) -> Case:
    shape = draw(shapes(1, 4))
    size = int(np.prod(shape))
    new = [size]
    for _ in range(draw(st.integers(0, 3))):
        divisors = [d for d in range(1, new[-1] + 1) if new[-1] % d == 0]
        first = draw(st.sampled_from(divisors))
        new[-1:] = [first, new[-1] // first]
    asked = list(new)
    if draw(st.booleans()):
        asked[draw(st.integers(0, len(new) - 1))] = -1
    form = draw(st.sampled_from(["input", "option", "both"]))

    def make(d: Data) -> Model:
        b = Builder()
        i, out = d.tensor(b, "x", shape), d.tensor(b, "out", tuple(new))
        ins = [i] if form == "option" else [i, b.constant("shape", asked)]
        b.op("RESHAPE", ins, [out], **({} if form == "input" else {"new_shape": asked}))
        return Model(b.finish([i], [out]), [d.array(shape)], [out])

    return Case(draw(data(*COMMON)), make, (shape, asked, form))


@st.composite
def concatenations(draw: Any) -> Case:
    shape = draw(shapes(1, 4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    parts = [tuple(n if i == axis % len(shape) else s for i, s in enumerate(shape)) for n in sizes]

    def make(d: Data) -> Model:
        b = Builder()
        ins = [d.tensor(b, f"x{i}", p) for i, p in enumerate(parts)]
        arrays = [d.array(p, i) for i, p in enumerate(parts)]
        out = d.tensor(b, "out", np.concatenate(arrays, axis).shape)
        b.op("CONCATENATION", ins, [out], axis=axis, fused_activation_function="NONE")
        return Model(b.finish(ins, [out]), arrays, [out])

    return Case(draw(data(*COMMON)), make, (parts, axis))


@st.composite
def strided_slices(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 9))
    n = len(shape)
    step = [draw(st.sampled_from([1, 1, 2, 3, -1, -2])) for _ in shape]
    begin, end = [], []
    for size, s in zip(shape, step, strict=True):  # from both sides of the axis, also beyond its ends
        near, far = draw(st.integers(-2, size // 2)), draw(st.integers(size // 2 + 1, size + 2))
        ends = (near, far) if s > 0 else (far, near)
        for e, into in zip(ends, (begin, end), strict=True):
            into.append(e - size if 0 <= e < size and draw(st.booleans()) else e)
    masks = {f"{k}_mask": draw(st.integers(0, (1 << n) - 1)) for k in ("begin", "end")}
    shrink = draw(st.sampled_from([0, 0, 1, 1 << n >> 1]) | st.integers(0, (1 << n) - 1))
    for i, s in enumerate(shape):
        if shrink >> i & 1:
            begin[i], step[i] = draw(st.integers(-s, s - 1)), 1
            end[i] = begin[i] + 1
            masks["begin_mask"] &= ~(1 << i)
    index = tuple(
        begin[i] if shrink >> i & 1
        else slice(
            None if masks["begin_mask"] >> i & 1 else begin[i], None if masks["end_mask"] >> i & 1 else end[i], step[i]
        )
        for i in range(n)
    )  # fmt: skip
    made = np.zeros(shape)[index].shape
    assume(0 not in made)

    def make(d: Data) -> Model:
        b = Builder()
        i, out = d.tensor(b, "x", shape), d.tensor(b, "out", made)
        ins = [i, *(b.constant(k, v) for k, v in (("begin", begin), ("end", end), ("strides", step)))]
        b.op("STRIDED_SLICE", ins, [out], shrink_axis_mask=shrink, **masks)
        return Model(b.finish([i], [out]), [d.array(shape)], [out])

    return Case(draw(data(*COMMON)), make, (shape, begin, end, step, masks, shrink))


@st.composite
def splits(draw: Any) -> Case:
    shape = draw(shapes(1, 4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    asked = list(sizes)
    if draw(st.booleans()):
        asked[draw(st.integers(0, len(sizes) - 1))] = -1
    whole, *parts = (
        tuple(n if i == axis % len(shape) else s for i, s in enumerate(shape)) for n in (sum(sizes), *sizes)
    )

    def make(d: Data) -> Model:
        b = Builder()
        i, outs = d.tensor(b, "x", whole), [d.tensor(b, f"out{k}", p) for k, p in enumerate(parts)]
        b.op("SPLIT_V", [i, b.constant("sizes", asked), b.constant("axis", axis)], outs, num_splits=len(sizes))
        return Model(b.finish([i], outs), [d.array(whole)], outs)

    return Case(draw(data(*COMMON)), make, (whole, asked, axis))


@st.composite
def transposes(draw: Any) -> Case:
    shape = draw(shapes(1, 5, 4))
    order = draw(st.permutations(range(len(shape))))

    def make(d: Data) -> Model:
        b = Builder()
        i, out = d.tensor(b, "x", shape), d.tensor(b, "out", tuple(shape[p] for p in order))
        b.op("TRANSPOSE", [i, b.constant("perm", order)], [out])
        return Model(b.finish([i], [out]), [d.array(shape)], [out])

    return Case(draw(data(*COMMON)), make, (shape, order))


@st.composite
def packs(draw: Any) -> Case:
    shape = draw(shapes(0, 3))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    count = draw(st.integers(1, 5))

    def make(d: Data) -> Model:
        b = Builder()
        ins = [d.tensor(b, f"x{i}", shape) for i in range(count)]
        arrays = [d.array(shape, i) for i in range(count)]
        out = d.tensor(b, "out", np.stack(arrays, axis).shape)
        b.op("PACK", ins, [out], values_count=count, axis=axis)
        return Model(b.finish(ins, [out]), arrays, [out])

    return Case(draw(data(*COMMON)), make, (shape, axis, count))


@pytest.mark.parametrize(
    ("op", "cases"),
    [
        ("PAD", pads()),
        ("RESHAPE", reshapes()),
        ("CONCATENATION", concatenations()),
        ("STRIDED_SLICE", strided_slices()),
        ("SPLIT_V", splits()),
        ("TRANSPOSE", transposes()),
        ("PACK", packs()),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_moves(engine, tallies, op, cases):
    """int8, int16 and float32; at least 5 elements a case."""
    tally = tallies(op, engine)
    explore(cases, lambda case: tally.compare(case.make(case.data)))
    tally.check(5)


def _streaming(shape: tuple[int, ...], start: Array) -> tuple[bytes, int]:
    """A model that adds its input to a variable and returns the sum, which the variable then keeps."""
    b, quant = Builder(), (0.5, 3)
    handle = b.tensor("handle", (), "resource")
    x, y = (b.tensor(n, shape, "int8", *quant) for n in ("x", "sum"))
    kept = b.tensor("kept", shape, "int8", *quant)
    b.op("CALL_ONCE", [], [], init_subgraph_index=1)
    b.op("VAR_HANDLE", [], [handle], container="", shared_name="state")
    b.op("READ_VARIABLE", [handle], [kept])
    b.op("ADD", [x, kept], [y], fused_activation_function="NONE")
    b.op("ASSIGN_VARIABLE", [handle, y], [])
    b.end_subgraph([x], [y])
    handle = b.tensor("handle", (), "resource")
    value = b.tensor("start", shape, "int8", *quant, data=start)
    b.op("VAR_HANDLE", [], [handle], container="", shared_name="state")
    b.op("ASSIGN_VARIABLE", [handle, value], [])
    return b.finish([], []), y


@pytest.mark.parametrize("values", [Values("random", 1), Values("edges", 2), Values("ramp", 3)], ids=lambda v: v.kind)
def test_state_over_a_sequence(engine, values):
    """Twelve inferences of 40 elements on one interpreter, from a start that is not zero."""
    shape = (1, 40)
    content, y = _streaming(shape, values.fill(shape, "int8"))
    sequence = np.stack([Values("small", n).fill(shape, "int8", 3) for n in range(12)])
    ask = engines.litert_reference_sequence if engine == "litert-reference" else engines.tflm_sequence
    results = ask(content, [[x] for x in sequence])
    wanted = np.stack([r[y] if isinstance(r, dict) else r[0] for r in results])
    got = simulate(parse(content, "stream"), sequence, engine).tensor(y)
    assert got.dtype == wanted.dtype
    assert np.array_equal(got.reshape(wanted.shape), wanted)
    assert len({w.tobytes() for w in wanted}) == 12, "the state must move"
