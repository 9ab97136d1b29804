"""Ops that pick values by position or make them from shapes: every bit as the live engines have it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from fxsim.errors import DomainError, ModelError
from fxsim.importers import parse
from fxsim.sim import simulate
from tests.build import Builder
from tests.live.cases import Array, Model, Values, explore, f32, shapes
from tests.live.moves import COMMON, Case, Data, data, unary

pytestmark = pytest.mark.live
MOVED = ("int8", "int16", "int32", "float32", "bool")
NAMES = {"new": "new_axis", "shrink": "shrink_axis"}
INDEX = st.sampled_from(["int32", "int64"])


@st.composite
def slices(draw: Any) -> Case:
    shape = draw(shapes(1, 5, 5))
    begin = [draw(st.integers(0, s - 1)) for s in shape]
    size = [draw(st.sampled_from([-1, *range(1, s - b + 1)])) for s, b in zip(shape, begin, strict=True)]
    made = tuple(s - b if n == -1 else n for s, b, n in zip(shape, begin, size, strict=True))
    index = draw(INDEX)
    return Case(
        draw(data(*MOVED)),
        lambda d: unary(d, "SLICE", shape, [made], [(begin, index), (size, index)]),
        (shape, begin, size),
    )


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
def marked_slices(draw: Any) -> Case:
    """Entries that stand for several axes (an ellipsis), for one (which may vanish), and for a new one; also offsets."""
    shape = draw(shapes(1, 4, 6))
    offset = draw(st.booleans())
    skipped = range(draw(st.integers(0, len(shape) - 1)), len(shape))[: draw(st.integers(0, 2))]
    entries: list[tuple[str, int, int, int]] = []
    index: list[Any] = []
    for i, size in enumerate(shape):
        if i not in skipped[1:] and draw(st.integers(0, 3)) == 0:
            entries.append(("new", draw(st.integers(-3, 3)), draw(st.integers(-3, 3)), draw(st.integers(1, 2))))
            index.append(None)
        if i in skipped:
            if i == skipped[0]:
                entries.append(("ellipsis", 0, 0, 1))
            index.append(slice(None))
            continue
        begin, kind = draw(st.integers(0, size - 1)), draw(st.sampled_from(["plain", "plain", "shrink"]))
        end = draw(st.integers(begin + 1, size))
        entries.append((kind, begin, end - begin if offset else end, 1))
        index.append(begin if kind == "shrink" else slice(begin, end))
    made = np.zeros(shape)[tuple(index)].shape
    bits = {m: sum(1 << i for i, e in enumerate(entries) if e[0] == m) for m in ("new", "ellipsis", "shrink")}
    masks = {f"{NAMES.get(m, m)}_mask": v for m, v in bits.items()}
    if offset and (bits["new"] or bits["ellipsis"]):
        offset = False
        entries = [(k, b, b + e if k == "plain" else e, s) for k, b, e, s in entries]
    constants = [([e[n] for e in entries], "int32") for n in (1, 2, 3)]
    return Case(
        draw(data(*MOVED)),
        lambda d: unary(d, "STRIDED_SLICE", shape, [made], constants, offset=offset, **masks),
        (shape, entries, offset),
    )


@st.composite
def gathers(draw: Any, dtypes: tuple[str, ...], index: tuple[str, ...]) -> Case:
    """Any axis, any shape of positions, repeats among them; the first axes may run in step."""
    shape = draw(shapes(1, 4, 5))
    axis = draw(st.integers(0, len(shape) - 1))
    batch = draw(st.integers(0, axis))
    free = draw(st.lists(st.integers(1, 4), min_size=0 if batch else 1, max_size=2))
    positions = (*shape[:batch], *free)
    made = (*shape[:axis], *free, *shape[axis + 1 :])
    dtype, seed = draw(st.sampled_from(index)), draw(st.integers(0, 9999))
    asked = (axis - len(shape) if draw(st.booleans()) else axis, batch)

    def make(d: Data) -> Model:
        b = Builder()
        x, at = d.tensor(b, "x", shape), b.tensor("positions", positions, dtype)
        out = d.tensor(b, "out", made)
        b.op("GATHER", [x, at], [out], axis=asked[0], batch_dims=batch)
        picks = np.random.default_rng(seed).integers(0, shape[axis], positions, dtype)
        return Model(b.finish([x, at], [out]), [d.array(shape), picks], [out])

    return Case(draw(data(*dtypes)), make, (shape, asked, positions, dtype))


@st.composite
def gathers_nd(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 5))
    depth = draw(st.integers(1, len(shape)))
    outer = draw(shapes(1, 2, 4))
    seed = draw(st.integers(0, 9999))

    def make(d: Data) -> Model:
        b = Builder()
        x, at = d.tensor(b, "x", shape), b.tensor("indices", (*outer, depth), "int32")
        out = d.tensor(b, "out", (*outer, *shape[depth:]))
        b.op("GATHER_ND", [x, at], [out])
        rng = np.random.default_rng(seed)
        picks = np.stack([rng.integers(0, s, outer, "int32") for s in shape[:depth]], -1)
        return Model(b.finish([x, at], [out]), [d.array(shape), picks], [out])

    return Case(draw(data("int8", "float32")), make, (shape, depth, outer))


@st.composite
def lookups(draw: Any, hybrid: str = "") -> Case:
    """Rows of a constant table; of integers that become float32 (``"one"`` scale or one for each ``"row"``)."""
    rows, row = draw(st.integers(1, 9)), draw(shapes(1, 3, 5))
    count, seed = draw(st.integers(1, 12)), draw(st.integers(0, 9999))
    scales = [f32(10.0 ** draw(st.floats(-40, 37))) for _ in range(rows if hybrid == "row" else 1)]

    def make(d: Data) -> Model:
        b = Builder()
        at = b.tensor("lookup", (count,), "int32")
        table = d.array((rows, *row))
        quant = (scales, [0] * len(scales), 0) if hybrid else (d.scale, d.zero) if d.dtype == "int8" else ()
        value = b.tensor("value", table.shape, d.dtype, *quant, data=table)
        out = b.tensor("out", (count, *row), "float32") if hybrid else d.tensor(b, "out", (count, *row))
        b.op("EMBEDDING_LOOKUP", [at, value], [out])
        picks = np.random.default_rng(seed).integers(0, rows, count, "int32")
        return Model(b.finish([at], [out]), [picks], [out])

    return Case(draw(data("int8") if hybrid else data("int8", "float32")), make, (rows, row, count, seed, scales))


@pytest.mark.parametrize("scales", [[0.3], [0.1, 0.25, 3e-40, 1e38], [1e-45] * 4], ids=["one", "rows", "subnormal"])
def test_embedding_lookup_of_int4(litert, scales):
    """Nibbles that become float32, with scales down to the least."""
    b, table = Builder(), Values("ramp", 0).fill((4, 6), "int4")
    at, out = b.tensor("lookup", (5,), "int32"), b.tensor("out", (5, 6), "float32")
    value = b.tensor("value", table.shape, "int4", scales, [0] * len(scales), 0, data=table)
    content = b.op("EMBEDDING_LOOKUP", [at, value], [out], version=5).finish([at], [out])
    tally = litert("EMBEDDING_LOOKUP of int4")
    tally.compare(Model(content, [np.array([0, 3, 1, 2, 3], np.int32)], [out]))
    assert tally.elements == 30


@st.composite
def fills(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 5))

    def make(d: Data) -> Model:
        b = Builder()
        x, out = d.tensor(b, "value", ()), d.tensor(b, "out", shape)
        b.op("FILL", [b.constant("dims", shape), x], [out])
        return Model(b.finish([x], [out]), [d.array(())], [out])

    return Case(draw(data("int8", "int32", "float32")), make, shape)


@st.composite
def agreements(draw: Any) -> Case:
    """BROADCAST_ARGS of shapes that only the run knows."""
    full = draw(shapes(1, 5, 9))
    parts = [[1 if draw(st.booleans()) else s for s in full[draw(st.integers(0, len(full) - 1)) :]] for _ in range(2)]
    parts[draw(st.integers(0, 1))] = list(full)
    dtype = draw(INDEX)

    def make(d: Data) -> Model:
        b = Builder()
        ins = [b.tensor(f"x{i}", (len(p),), dtype) for i, p in enumerate(parts)]
        out = b.tensor("out", (len(full),), dtype)
        content = b.op("BROADCAST_ARGS", ins, [out]).finish(ins, [out])
        return Model(content, [np.array(p, dtype) for p in parts], [out])

    return Case(draw(data("int8")), make, (parts, dtype))


@st.composite
def zeros_like(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 5))
    return Case(draw(data("int32", "int64", "float32")), lambda d: unary(d, "ZEROS_LIKE", shape, [shape]), shape)


@pytest.mark.parametrize(
    ("op", "cases"),
    [
        ("SLICE", slices()),
        ("STRIDED_SLICE", strided_slices()),
        ("GATHER", gathers(("int8", "float32"), ("int32",))),
        ("GATHER_ND", gathers_nd()),
        ("EMBEDDING_LOOKUP", lookups()),
        ("EMBEDDING_LOOKUP of integers", lookups("one")),
        ("FILL", fills()),
        ("BROADCAST_ARGS", agreements()),
        ("ZEROS_LIKE", zeros_like()),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_picks(engine, tallies, op, cases):
    """Every type that both engines take; at least 2 elements a case."""
    tally = tallies(op, engine)
    explore(cases, lambda case: tally.compare(case.make(case.data)))
    tally.check(2)


@st.composite
def one_hots(draw: Any) -> Case:
    """Indices in and out of the depth."""
    shape, depth = draw(shapes(1, 3, 4)), draw(st.integers(1, 6))
    axis = draw(st.integers(-1, len(shape)))
    made = (*shape, depth) if axis < 0 else (*shape[:axis], depth, *shape[axis:])
    index, seed = draw(INDEX), draw(st.integers(0, 9999))

    def make(d: Data) -> Model:
        b = Builder()
        at, on, off = b.tensor("indices", shape, index), d.tensor(b, "on", ()), d.tensor(b, "off", ())
        out = d.tensor(b, "out", made)
        b.op("ONE_HOT", [at, b.constant("depth", depth), on, off], [out], axis=axis)
        picks = np.random.default_rng(seed).integers(-2, depth + 2, shape, index)
        return Model(b.finish([at, on, off], [out]), [picks, d.array((), 1), d.array((), 2)], [out])

    return Case(draw(data("int8", "uint8", "int32", "int64", "float32", "bool")), make, (shape, depth, axis, index))


@st.composite
def scatters(draw: Any) -> Case:
    """Positions that repeat: their updates add up, modulo the width of integers, in order for floats."""
    shape = draw(shapes(1, 4, 4))
    depth, count = draw(st.integers(1, len(shape))), draw(st.integers(1, 12))
    seed = draw(st.integers(0, 9999))

    def make(d: Data) -> Model:
        b = Builder()
        at, x = b.tensor("indices", (count, depth), "int32"), d.tensor(b, "x", (count, *shape[depth:]))
        out = d.tensor(b, "out", shape)
        b.op("SCATTER_ND", [at, x, b.constant("shape", shape)], [out])
        rng = np.random.default_rng(seed)
        picks = np.stack([rng.integers(0, s, count, "int32") for s in shape[:depth]], -1)
        return Model(b.finish([at, x], [out]), [picks, d.array((count, *shape[depth:]))], [out])

    return Case(draw(data("int8", "uint8", "int32", "int64", "float32", "bool")), make, (shape, depth, count))


@st.composite
def tops(draw: Any) -> Case:
    """Rows with equal values, whose order shows."""
    shape = (*draw(shapes(0, 2, 4)), draw(st.integers(1, 30)))
    k, index = draw(st.integers(1, shape[-1])), draw(st.sampled_from(["int32", "int16"]))

    def make(d: Data) -> Model:
        b = Builder()
        x, values = d.tensor(b, "x", shape), d.tensor(b, "values", (*shape[:-1], k))
        at = b.tensor("indices", (*shape[:-1], k), "int32")
        b.op("TOPK_V2", [x, b.constant("k", k, index)], [values, at])
        return Model(b.finish([x], [values, at]), [d.array(shape)], [values, at])

    return Case(draw(data("int8", "uint8", "int16", "int32", "int64", "float32")), make, (shape, k))


@pytest.mark.parametrize(
    ("op", "cases"),
    [
        ("GATHER of all", gathers(("uint8", "int16", "int32", "int64", "bool"), ("int16", "int32", "int64"))),
        ("EMBEDDING_LOOKUP of rows", lookups("row")),
        ("STRIDED_SLICE with marks", marked_slices()),
        ("ONE_HOT", one_hots()),
        ("SCATTER_ND", scatters()),
        ("TOPK_V2", tops()),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_picks_that_only_litert_has(litert, op, cases):
    """At least 3 elements a case."""
    tally = litert(op)
    explore(cases, lambda case: tally.compare(case.make(case.data)))
    tally.check(3)


def _gather(positions: list[int]) -> tuple[bytes, Array]:
    b = Builder()
    x, at = b.tensor("x", (4,), "int8", 1.0, 0), b.tensor("at", (len(positions),), "int32")
    out = b.tensor("out", (len(positions),), "int8", 1.0, 0)
    return b.op("GATHER", [x, at], [out], axis=0, batch_dims=0).finish([at, x], [out]), np.array(positions, np.int32)


@pytest.mark.parametrize("positions", [[4], [0, -1]])
def test_positions_out_of_range_are_refused(positions):
    content, at = _gather(positions)
    with pytest.raises(DomainError, match=r"positions hold .* allowed: 0..3"):
        simulate(parse(content, "far"), [at, np.zeros(4, np.int8)])


@pytest.mark.parametrize(
    ("start", "limit", "delta", "dtype"),
    [
        (0, 10, 3, "int32"),
        (5, -5, -2, "int32"),
        (0, 1, 0.1, "float32"),
        (-3.5, 9.25, 1.75, "float32"),
        (2, 2, 1, "int64"),
    ],
)
def test_range(litert, start, limit, delta, dtype):
    """A folded layer, whose values the engine computes at run time."""
    b = Builder()
    ends = [b.constant(n, v, dtype) for n, v in (("start", start), ("limit", limit), ("delta", delta))]
    count = len(np.arange(np.array(start, dtype), np.array(limit, dtype), np.array(delta, dtype)))
    made, x = b.tensor("made", (count,), dtype), b.tensor("x", (2,), dtype)
    joined = b.tensor("joined", (count + 2,), dtype)
    b.op("RANGE", ends, [made])
    b.op("CONCATENATION", [made, x], [joined], axis=0, fused_activation_function="NONE")
    tally = litert("RANGE")
    tally.compare(Model(b.finish([x], [joined]), [np.array([7, 8], dtype)], [joined]))
    assert tally.elements == count + 2


def test_shapes_are_folded(litert):
    """SHAPE, a slice of it, a product, a fill, and a reshape by what they make: only the reshape and the sum are left."""
    b = Builder()
    x = b.tensor("x", (2, 3, 4), "float32")
    shape, rank = b.tensor("shape", (3,), "int32"), b.tensor("rank", (), "int32")
    last, flat, ones = b.tensor("last", (1,), "int32"), b.tensor("flat", (1,), "int32"), b.tensor("ones", (1,), "int32")
    new, out = b.tensor("new", (2,), "int32"), b.tensor("out", (6, 4), "float32")
    b.op("SHAPE", [x], [shape], out_type=2)
    b.op("RANK", [x], [rank])
    b.op("STRIDED_SLICE", [shape, *(b.constant(k, [v]) for k, v in (("b", 2), ("e", 3), ("s", 1)))], [last])
    b.op("FILL", [b.constant("one", [1]), b.constant("minus", -2, "int32")], [ones])
    b.op("MUL", [ones, b.constant("three", [-3])], [flat], fused_activation_function="NONE")
    b.op("CONCATENATION", [flat, last], [new], axis=0, fused_activation_function="NONE")
    b.op("RESHAPE", [x, new], [out])
    content = b.finish([x], [out, shape, rank])
    graph = parse(content, "shapes")
    assert [n.op for n in graph.nodes] == ["RESHAPE"]
    tally = litert("SHAPE")
    tally.compare(Model(content, [np.arange(24, dtype=np.float32).reshape(2, 3, 4)], [out, shape, rank]))
    assert tally.elements == 24 + 3 + 1


@pytest.mark.parametrize(
    ("shrink", "step", "begin"), [(1, -1, 0), (1, 1, 7), (0, 0, 0)], ids=["backwards", "beyond", "no step"]
)
def test_slices_that_make_no_sense_are_refused(shrink, step, begin):
    d = Data("int8", 1.0, 0, Values("ramp", 0))
    constants = [([v], "int32") for v in (begin, 2, step)]
    with pytest.raises(ModelError, match=r"begin\[0\]|strides\[0\]"):
        parse(unary(d, "STRIDED_SLICE", (4,), [()], constants, shrink_axis_mask=shrink).content, "bad")
