"""Ops that move values, and variables that keep them: one-op models, every bit as the live engines compute them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.importers import parse
from fxsim.sim import simulate
from tests import engines
from tests.build import Builder
from tests.live.cases import Array, Model, Values, decades, explore, f32, powers, shapes, zeros
from tests.live.moves import COMMON, Case, Data, data, unary

pytestmark = pytest.mark.live


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


ALL = ("int8", "uint8", "int16", "int32", "int64", "float32", "bool")
CUT = ("int8", "int16", "int32", "float32")


@st.composite
def squeezes(draw: Any) -> Case:
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 3, 5]), min_size=1, max_size=5).map(tuple))
    ones = [i for i, s in enumerate(shape) if s == 1]
    axes = [a for a in ones if draw(st.booleans())]
    made = tuple(s for i, s in enumerate(shape) if i not in (axes or ones))
    asked = [a - len(shape) if draw(st.booleans()) else a for a in axes]
    return Case(draw(data(*ALL)), lambda d: unary(d, "SQUEEZE", shape, [made], squeeze_dims=asked), (shape, asked))


@st.composite
def expansions(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    made = np.expand_dims(np.zeros(shape), axis).shape
    return Case(
        draw(data(*COMMON)), lambda d: unary(d, "EXPAND_DIMS", shape, [made], [([axis], "int32")]), (shape, axis)
    )


@st.composite
def unpacks(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    count, made = shape[axis], tuple(np.delete(shape, axis).tolist())
    return Case(
        draw(data(*CUT)), lambda d: unary(d, "UNPACK", shape, [made] * count, num=count, axis=axis), (shape, axis)
    )


@st.composite
def equal_splits(draw: Any) -> Case:
    part, count = draw(shapes(1, 4, 4)), draw(st.integers(1, 4))
    axis = draw(st.integers(-len(part), len(part) - 1))
    shape = tuple(s * count if i == axis % len(part) else s for i, s in enumerate(part))
    return Case(
        draw(data(*CUT)),
        lambda d: unary(d, "SPLIT", shape, [part] * count, first=[(axis, "int32")], num_splits=count),
        (shape, axis),
    )


@st.composite
def reversals(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 4))
    first = draw(st.integers(0, len(shape) - 1))
    axes = list(range(first, draw(st.integers(first, len(shape) - 1)) + 1))
    asked = [a - len(shape) if draw(st.booleans()) else a for a in draw(st.permutations(axes))]
    return Case(draw(data(*ALL)), lambda d: unary(d, "REVERSE_V2", shape, [shape], [(asked, "int32")]), (shape, asked))


@st.composite
def broadcasts(draw: Any) -> Case:
    full = draw(shapes(1, 4, 4))
    shape = tuple(1 if draw(st.booleans()) else s for s in full[draw(st.integers(0, len(full) - 1)) :])
    index = draw(st.sampled_from(["int32", "int64"]))
    return Case(draw(data(*ALL)), lambda d: unary(d, "BROADCAST_TO", shape, [full], [(full, index)]), (shape, full))


@st.composite
def tiles(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 4))
    times = [draw(st.integers(1, 3)) for _ in shape]
    made, index = tuple(s * t for s, t in zip(shape, times, strict=True)), draw(st.sampled_from(["int32", "int64"]))
    return Case(draw(data(*ALL)), lambda d: unary(d, "TILE", shape, [made], [(times, index)]), (shape, times))


@st.composite
def sequences(draw: Any) -> Case:
    shape = draw(shapes(2, 4, 5))
    axis, batch = draw(st.permutations(range(len(shape))))[:2]
    lengths = [draw(st.integers(1, shape[axis])) for _ in range(shape[batch])]
    types = ("uint8", "int16", "int32", "int64", "float32")
    index = draw(st.sampled_from(["int32", "int64"]))
    return Case(
        draw(data(*types)),
        lambda d: unary(d, "REVERSE_SEQUENCE", shape, [shape], [(lengths, index)], seq_dim=axis, batch_dim=batch),
        (shape, axis, batch, lengths),
    )


@st.composite
def joined_scales(draw: Any) -> Case:
    """uint8 tensors of different scales, which LiteRT brings to the output's."""
    shape, count = draw(shapes(1, 3)), draw(st.integers(1, 4))
    quants = [(draw(decades(-3, 1) | powers(-5, 5)), draw(zeros("uint8"))) for _ in range(count)]

    def make(d: Data) -> Model:
        b = Builder()
        ins = [b.tensor(f"x{i}", (256, *shape), "uint8", *q) for i, q in enumerate(quants)]
        arrays = [Values("ramp", i).fill((256, *shape), "uint8") for i in range(count)]
        out = b.tensor("out", (256 * count, *shape), "uint8", d.scale, d.zero)
        b.op("CONCATENATION", ins, [out], axis=0, fused_activation_function="NONE")
        return Model(b.finish(ins, [out]), arrays, [out])

    d = draw(data("uint8"))
    scale = draw(
        st.sampled_from([q[0] for q in quants]).map(lambda s: s * 2.0 ** draw(st.integers(-3, 3))) | decades(-3, 1)
    )
    return Case(Data("uint8", f32(scale), d.zero, d.values), make, (shape, quants))


@pytest.mark.parametrize(
    ("op", "cases"),
    [
        ("RESHAPE", reshapes()),
        ("SQUEEZE", squeezes()),
        ("EXPAND_DIMS", expansions()),
        ("CONCATENATION", concatenations()),
        ("SPLIT", equal_splits()),
        ("SPLIT_V", splits()),
        ("TRANSPOSE", transposes()),
        ("PACK", packs()),
        ("UNPACK", unpacks()),
        ("REVERSE_V2", reversals()),
        ("BROADCAST_TO", broadcasts()),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_moves(engine, tallies, op, cases):
    """Every type that both engines take; at least 4 elements a case."""
    tally = tallies(op, engine)
    explore(cases, lambda case: tally.compare(case.make(case.data)))
    tally.check(4)


@pytest.mark.parametrize(
    ("op", "cases"),
    [("TILE", tiles()), ("REVERSE_SEQUENCE", sequences()), ("CONCATENATION of scales", joined_scales())],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_moves_that_only_litert_has(litert, op, cases):
    """At least 4 elements a case."""
    tally = litert(op)
    explore(cases, lambda case: tally.compare(case.make(case.data)))
    tally.check(4)


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
    ask = getattr(engines, f"{engine.replace('-', '_')}_sequence")
    results = ask(content, [[x] for x in sequence])
    wanted = np.stack([r[y] if isinstance(r, dict) else r[0] for r in results])
    got = simulate(parse(content, "stream"), sequence, engine).tensor(y)
    assert got.dtype == wanted.dtype
    assert np.array_equal(got.reshape(wanted.shape), wanted)
    assert len({w.tobytes() for w in wanted}) == 12, "the state must move"
