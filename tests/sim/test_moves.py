"""Layers that only move bytes or look them up, and PADs taken into what follows: equal to the general way in every bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim
from fxsim.kernels import isa
from fxsim.kernels.packed import chain
from fxsim.kernels.softmax_table import softmax_table
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.conv import Conv2D
from fxsim.model.ops.layout import Reshape
from fxsim.model.ops.pool import Pool2D
from fxsim.model.qtype import INT8, INT16, INT32, UINT8, QuantParams
from fxsim.numerics import load_numerics
from fxsim.sim import moves
from fxsim.sim.base import address
from fxsim.sim.inputs import make_batch
from fxsim.sim.plan import Ends, plan_of
from fxsim.sim.trace import computed, run

pytestmark = pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")
PROFILES = ("litert-reference", "litert-xnnpack", "tflm")
GUARD = 32
"""elements behind an output that must stay"""


def called(native, inputs, outputs):
    """The outputs as machine code writes them, and nothing behind them."""
    wide = [np.full(out.size + GUARD, 77, out.dtype) for out in outputs]
    room = np.zeros(native.room, np.uint8)
    block = native.block(inputs, wide, room)
    chain()(np.array([[native.function().address, address(block)]], np.int64))
    assert all(np.all(w[-GUARD:] == 77) for w in wide), "written beyond the output"
    return [w[:-GUARD].reshape(out.shape) for w, out in zip(wide, outputs, strict=True)]


def tensors(arrays, first=0):
    kinds = {"int8": INT8, "uint8": UINT8, "int16": INT16}
    return [Tensor(first + i, str(i), a.shape, kinds[str(a.dtype)]) for i, a in enumerate(arrays)]


def agrees(arrays, move):
    expected = [np.ascontiguousarray(v) for v in move(arrays)]
    native = moves.moved(tensors(arrays), tensors(expected, 9), move)
    if native is not None:
        for got, wanted in zip(called(native, arrays, expected), expected, strict=True):
            assert np.array_equal(got, wanted)
    return native


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["int8", "uint8", "int16"]))
def test_moves_equal_numpy(seed, dtype):
    """Inputs that follow one another, parts, several outputs, orders that leave few runs or many."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(1, 7, 3))
    a, b = (rng.integers(0, 100, shape).astype(dtype) for _ in range(2))
    axis, at = int(rng.integers(3)), int(rng.integers(1, 7))
    assert agrees([a, b], lambda x: [np.concatenate(x, axis)])
    assert agrees([a], lambda x: [x[0][:, ::-1, :at]])
    assert agrees([a], lambda x: [x[0][:1], x[0][:, 1:], x[0]])
    agrees([a], lambda x: [x[0].transpose(2, 0, 1)])


def test_what_is_no_move_has_no_native():
    a = np.arange(24, dtype=np.int8).reshape(2, 12)
    assert agrees([a], lambda x: [np.concatenate([x[0], np.zeros_like(x[0])])]) is None  # values of its own
    many = np.zeros((64, 64), np.int8)
    assert agrees([many], lambda x: [x[0].T]) is None  # more runs than pay
    constant = [*tensors([a]), Tensor(1, "c", (2, 12), INT8, data=a)]
    assert moves.moved(constant, tensors([np.empty((4, 12), np.int8)], 2), lambda x: [np.concatenate(x)]) is None


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["int8", "uint8", "int16"]))
def test_borders_equal_numpy(seed, dtype):
    """Widths of 0 at some ends or all, channels padded or not, values whose two bytes differ."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, tuple(rng.integers(1, 6, 4)), endpoint=True).astype(dtype)
    widths = rng.integers(0, 3, (4, 2)) * rng.integers(0, 2, (4, 1))
    value = int(rng.choice([limits.min, limits.max, 0, limits.max // 3]))
    expected = np.pad(x, widths, constant_values=value)
    inner = tuple(slice(w[0], w[0] + s) for w, s in zip(widths.tolist(), x.shape, strict=True))
    native = moves.bordered(tensors([x])[0], tensors([expected])[0], inner, value)
    if native is not None:
        assert np.array_equal(called(native, [x], [expected])[0], expected)
    assert native is not None or expected.size > 64


@pytest.mark.parametrize(("kind", "out"), [(INT8, INT8), (UINT8, UINT8), (INT8, INT16), (UINT8, INT32)])
def test_tables_hold_every_byte(kind, out):
    rng = np.random.default_rng(3)
    entries = rng.integers(np.iinfo(out.dtype).min, np.iinfo(out.dtype).max, 256, endpoint=True).astype(out.dtype)
    x = rng.permutation(np.repeat(np.arange(kind.min, kind.max + 1), 3)).astype(kind.dtype)

    def look(inputs, outputs):
        outputs[0][...] = entries[inputs[0].astype(np.int64) - kind.min]

    expected = np.empty(x.shape, out.dtype)
    look([x], [expected])
    native = moves.looked_up(Tensor(0, "x", x.shape, kind), Tensor(1, "y", x.shape, out), look)
    assert native is not None and np.array_equal(called(native, [x], [expected])[0], expected)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_softmax_by_table_at_its_ends(seed):
    rng = np.random.default_rng(seed)
    rows, depth = int(rng.integers(1, 4)), int(rng.integers(1, 40))
    kinds = [(INT8, INT8), (UINT8, UINT8), (INT8, INT16)]
    kind, out = kinds[int(rng.integers(3))]
    x = rng.choice([kind.min, kind.max, 0, kind.max - 1, kind.max - 7], (rows, depth)).astype(kind.dtype)
    table = np.exp(-np.arange(256, dtype=np.float32) * np.float32(rng.choice([0.01, 0.1, 2.0]))).astype(np.float32)
    scale, expected = np.float32(2.0**-out.bits), np.empty(x.shape, out.dtype)
    softmax_table()(x, table, scale, out.min, out.min, out.max, expected)
    native = moves.softmax_by_table(Tensor(0, "x", x.shape, kind), Tensor(1, "y", x.shape, out), table, scale)
    assert native is not None and np.array_equal(called(native, [x], [expected])[0], expected)


X, W = QuantParams((0.125,), (-7,)), QuantParams((0.0625,), (0,))


def network(widths, *, depthwise, padding="VALID", more=(), outputs=(6,), seed=0):
    """PAD, then a convolution of 3x3 in steps of 2 (and an average); ``more`` layers read what PAD leaves."""
    rng = np.random.default_rng(seed)
    shape = (1, 9, 11, 24)
    wide = tuple(s + a + b for s, (a, b) in zip(shape, widths, strict=True))
    attributes = Conv2D(stride_h=2, stride_w=2, padding=padding)
    size = (lambda n: -(-n // 2)) if padding == "SAME" else (lambda n: (n - 3) // 2 + 1)
    made = (1, size(wide[1]), size(wide[2]), wide[3] if depthwise else 8)
    weight = rng.integers(-127, 128, (1, 3, 3, wide[3]) if depthwise else (8, 3, 3, wide[3])).astype(np.int8)
    bias = rng.integers(-2000, 2000, made[3]).astype(np.int32)
    held = (
        Tensor(0, "x", shape, INT8, X),
        Tensor(1, "widths", (4, 2), INT32, data=np.array(widths, np.int32)),
        Tensor(2, "padded", wide, INT8, X),
        Tensor(3, "w", weight.shape, INT8, W, data=weight),
        Tensor(4, "b", bias.shape, INT32, QuantParams((X.scale[0] * W.scale[0],), (0,)), data=bias),
        Tensor(5, "spare", wide, INT8, X),
        Tensor(6, "y", made, INT8, QuantParams((2.0,), (5,))),
    )
    op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    nodes = (
        Node(0, "PAD", (0, 1), (2,), Attributes(), "pad"),
        Node(1, op, (2, 3, 4), (6,), attributes, "conv"),
        *(Node(2 + i, n, (2,), (5,), a, n) for i, (n, a) in enumerate(more)),
    )
    return Graph("net", held, nodes, (0,), outputs)


def slow(graph, plan, batch):
    """Every tensor as a watched run leaves it: layer by layer, with the general kernels."""
    keys, ws = computed(graph), plan.workspace()
    found = {i: batch.stack(graph.tensors[i]) for i in keys}
    for n in range(batch.count):
        batch.load(n, ws.values)
        plan.run(ws, lambda step, inputs: None)
        for i in keys:
            found[i][n] = ws.values[i]
    return found


SAME_SIDES = ((0, 0), (0, 1), (0, 1), (0, 0))
UNEQUAL = ((0, 0), (2, 0), (1, 3), (0, 0))


@pytest.mark.parametrize("numerics", PROFILES)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("widths", [SAME_SIDES, UNEQUAL])
def test_a_pad_is_taken_into_what_follows(numerics, depthwise, padding, widths):
    graph = network(widths, depthwise=depthwise, padding=padding)
    plan = plan_of(graph, load_numerics(numerics))
    assert [s.node.op for s in plan.executed(frozenset(graph.outputs))] == [graph.nodes[1].op]
    for keep in (None, frozenset({2, 6})):
        assert [s.node.op for s in plan.executed(keep)] == ["PAD", graph.nodes[1].op]
    x = np.random.default_rng(1).integers(-128, 128, (5, 9, 11, 24)).astype(np.int8)
    batch = make_batch(graph, x)
    expected = slow(graph, plan, batch)
    for keep in ([6], [2, 6], [0, 2], computed(graph)):
        for threads in (1, 2):
            got = run(plan, batch, keep, threads=threads)
            assert all(np.array_equal(got[i].reshape(expected[i].shape), expected[i]) for i in keep)


@pytest.mark.parametrize(
    ("widths", "more", "outputs"),
    [
        (((0, 0), (1, 1), (1, 1), (0, 8)), (), (6,)),  # channels too
        (UNEQUAL, (("MAX_POOL_2D", Pool2D(kernel_h=1, kernel_w=1)),), (6, 5)),  # another reader
        (UNEQUAL, (), (2, 6)),  # an output of the model
    ],
)
def test_a_pad_that_others_need_stays(widths, more, outputs):
    graph = network(widths, depthwise=True, more=more, outputs=outputs)
    plan = plan_of(graph, load_numerics("litert-reference"))
    assert "PAD" in [s.node.op for s in plan.executed(frozenset(graph.outputs))]
    x = np.random.default_rng(2).integers(-128, 128, (3, 9, 11, 24)).astype(np.int8)
    batch = make_batch(graph, x)
    expected, got = slow(graph, plan, batch), run(plan, batch, list(outputs))
    assert all(np.array_equal(got[i].reshape(expected[i].shape), expected[i]) for i in outputs)


@pytest.mark.parametrize("numerics", PROFILES)
def test_models_that_are_one_chain(corpus, numerics):
    """No layer of these falls to Python, so that a batch is one loop."""
    for name in ("mobilenet_v2", "kws_mobilenetv2", "resnet8_int8", "kws_int8", "vww_int8", "ad01_int8", "fingerprint"):
        graph = fxsim.read(corpus / "models" / f"{name}.tflite")
        with plan_of(graph, load_numerics(numerics)).workspaces(1, frozenset(graph.outputs)) as (ws,):
            assert ws.calls is not None, name


def test_inputs_are_read_where_they_lie_and_a_workspace_is_as_before(corpus):
    """Kept inputs and views of them; afterwards the workspace reads its own input again."""
    graph = fxsim.read(corpus / "models" / "ad01_int8.tflite")
    plan = plan_of(graph, load_numerics("litert-reference"))
    batch = make_batch(graph, np.random.default_rng(4).integers(-128, 128, (4, 640)).astype(np.int8))
    expected = slow(graph, plan, batch)
    got = run(plan, batch, computed(graph), threads=1)
    assert all(np.array_equal(got[i].reshape(expected[i].shape), expected[i]) for i in expected)
    with plan.workspaces(1, frozenset(computed(graph))) as (ws,):
        batch.load(2, ws.values)
        plan.run(ws)
        assert np.array_equal(ws.values[graph.outputs[0]], expected[graph.outputs[0]][2])


def test_what_is_kept_is_written_where_it_lies():
    """An input, a constant, a tensor between layers, and an output with its views; in parts, and on several threads."""
    weight, bias = np.eye(8, dtype=np.int8).reshape(8, 1, 1, 8), np.arange(8, dtype=np.int32)
    scales = QuantParams((1.0,), (0,))
    held = (
        Tensor(0, "x", (1, 3, 5, 8), INT8, scales),
        Tensor(1, "w", weight.shape, INT8, scales, data=weight),
        Tensor(2, "b", bias.shape, INT32, scales, data=bias),
        Tensor(3, "first", (1, 3, 5, 8), INT8, scales),
        Tensor(4, "y", (1, 3, 5, 8), INT8, scales),
        Tensor(5, "rows", (1, 15, 8), INT8, scales),
        Tensor(6, "flat", (1, 120), INT8, scales),
    )
    nodes = (
        Node(0, "CONV_2D", (0, 1, 2), (3,), Conv2D(), "one"),
        Node(1, "CONV_2D", (3, 1, 2), (4,), Conv2D(), "two"),
        Node(2, "RESHAPE", (4,), (5,), Reshape((1, 15, 8)), "rows"),
        Node(3, "RESHAPE", (5,), (6,), Reshape((1, 120)), "flat"),
    )
    graph = Graph("net", held, nodes, (0,), (6, 2, 4))
    plan = plan_of(graph, load_numerics("litert-reference"))
    x = np.random.default_rng(1).integers(-100, 100, (9, 1, 3, 5, 8)).astype(np.int8)
    batch, keep = make_batch(graph, x), [6, 2, 4, 0, 5, 3]
    expected = {0: x, 2: np.tile(bias, (9, 1)), 3: x + bias.astype(np.int8), 4: x + 2 * bias.astype(np.int8)}
    expected |= {5: expected[4], 6: expected[4]}
    for wanted in (keep, keep[::-1], [6], [5, 3]):
        for threads in (1, 2):
            got = run(plan, batch, wanted, threads=threads)
            for i in wanted:
                assert np.array_equal(got[i].reshape(expected[i].shape), expected[i]), (i, wanted)
    ends = Ends(batch, {i: batch.stack(held[i]) for i in keep})
    with plan.workspaces(1, frozenset(keep)) as (ws,):
        assert ws.calls is not None
        plan.run_all(ws, ends, 0, 4)
        plan.run_all(ws, ends, 4, 9)
        batch.load(8, ws.values)
        plan.run(ws)  # on the workspace's own arrays again
        assert all(np.array_equal(ends.kept[i].reshape(expected[i].shape), expected[i]) for i in keep)
        assert all(np.array_equal(ws.values[i].reshape(-1), expected[i][8].reshape(-1)) for i in keep)
