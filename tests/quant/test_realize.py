"""Realize: the integer graph that decisions make, layer against float layer, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim
from fxsim.errors import FxsimError
from fxsim.model.check import faults
from fxsim.model.qtype import INT4, INT8, INT16, INT32, INT64, UINT8, QType, QuantParams
from fxsim.quant import quantize
from fxsim.quant.realize import bias_form, integer_layers, realize
from fxsim.quant.rules import Decision, affine, settle
from fxsim.quant.scheme import Scheme
from fxsim.sim.real.plan import run
from tests.quant.graphs import FloatBuilder

WEIGHT = QType(8, narrow_range=True)


def data(low, high, qtype=INT8):
    return Decision(qtype, affine(low, high, qtype, symmetric=qtype.bits > 8))


def per_channel(w, axis, qtype=WEIGHT):
    top = np.abs(w).max(axis=tuple(i for i in range(w.ndim) if i != axis))
    return Decision(qtype, QuantParams(tuple(float(np.float32(v / qtype.max)) for v in top), (0,) * len(top), axis))


def small(rng=None):
    """Image -> conv, pool, reshape, dense: the graph, and decisions for all of it."""
    rng = rng or np.random.default_rng(0)
    b = FloatBuilder()
    x = b.input("x", (1, 8, 8, 3))
    c = b.conv(x, rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4), padding="SAME", activation="RELU")
    p = b.pool(c, "MAX_POOL_2D", 2)
    r = b.reshape(p, (1, 64))
    y = b.dense(r, rng.normal(size=(5, 64)))
    g = b.finish(y)
    decisions = {x: data(-1, 1), c: data(0, 9), p: data(0, 8), r: data(0, 7), y: data(-50, 50)}
    for node in (g.nodes[0], g.nodes[3]):
        decisions[node.inputs[1]] = per_channel(g.tensors[node.inputs[1]].data, 0)
    return g, decisions


def test_the_integer_graph():
    g, decisions = small()
    q = realize(g, decisions)
    assert [n.op for n in q.nodes] == ["QUANTIZE", *(n.op for n in g.nodes), "DEQUANTIZE"]
    assert [n.index for n in q.nodes] == list(range(6))
    assert not list(faults(q))
    assert [q.tensors[i].name for i in (*q.inputs, *q.outputs)] == ["x", g.tensors[g.outputs[0]].name]
    assert [q.tensors[i].qtype.name for i in (*q.inputs, *q.outputs)] == ["float32", "float32"]
    assert len({t.name for t in q.tensors}) == len(q.tensors)
    for i, d in decisions.items():  # a tensor keeps its index
        assert q.tensors[i].qtype == d.qtype
        assert q.tensors[i].shape == g.tensors[i].shape
    conv, bias = q.nodes[1], q.tensors[q.nodes[1].inputs[2]]
    x, w = (q.tensors[i].quant for i in conv.inputs[:2])
    assert bias.qtype == INT32
    assert bias.quant.scale == tuple(float(np.float32(x.scale[0] * s)) for s in w.scale)
    real = g.tensors[g.nodes[0].inputs[2]].data
    assert np.all(np.abs(bias.data * np.array(bias.quant.scale) - real) <= np.array(bias.quant.scale) * 0.5001)
    assert q.tensors[conv.inputs[1]].data.dtype == np.int8
    assert not q.tensors[conv.inputs[1]].data.flags.writeable


def test_integer_borders():
    g, decisions = small()
    q = realize(g, decisions, io="integer")
    assert [n.op for n in q.nodes] == [n.op for n in g.nodes]
    assert (q.inputs, q.outputs) == (g.inputs, g.outputs)
    assert q.tensors[q.inputs[0]].name == "x"
    x = np.random.default_rng(1).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    raw = q.tensors[0].quant.quantize(x)
    inside = next(iter(fxsim.simulate(q, raw).outputs.values()))
    outside = next(iter(fxsim.simulate(realize(g, decisions), x).outputs.values()))
    assert np.array_equal(q.tensors[q.outputs[0]].quant.dequantize(inside).astype(np.float32), outside)


def test_given_constants_are_taken_as_they_are():
    g, decisions = small()
    _, w, bias = g.nodes[0].inputs
    raw = np.random.default_rng(2).integers(-127, 128, g.tensors[w].shape, np.int8)
    q = realize(g, decisions, {w: raw, bias: np.array([1, -2, 3, 2**31 - 1])})
    assert np.array_equal(q.tensors[w].data, raw)
    assert q.tensors[bias].data.tolist() == [1, -2, 3, 2**31 - 1]


def test_a_layer_without_decisions_stays_float():
    g, decisions = small()
    dense = g.nodes[3]
    some = {i: d for i, d in decisions.items() if i not in dense.outputs}
    q = realize(g, some)
    assert [n.op for n in q.nodes] == ["QUANTIZE", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "DEQUANTIZE", "FULLY_CONNECTED"]
    assert q.tensors[q.nodes[-1].inputs[1]].qtype == WEIGHT  # the input is quantized at run time
    q = realize(g, some, float_weights="dequantized")
    assert [n.op for n in q.nodes][-3:] == ["DEQUANTIZE", "DEQUANTIZE", "FULLY_CONNECTED"]
    stay = realize(g, decisions, stay_float=[3])
    assert [n.op for n in stay.nodes] == [n.op for n in realize(g, some).nodes]
    assert realize(g, {}).nodes[0].op == "CONV_2D"
    assert all(t.quant is None for t in realize(g, {}).tensors)


def test_a_bias_that_two_layers_share_is_made_twice():
    b, rng = FloatBuilder(), np.random.default_rng(3)
    x = b.input("x", (1, 4))
    w, bias = b.constant(rng.normal(size=(4, 4))), b.constant(rng.normal(size=4))
    y = b.op("FULLY_CONNECTED", (x, w, bias))
    z = b.op("FULLY_CONNECTED", (y, w, bias))
    g = b.finish(z)
    decisions = {x: data(-1, 1), y: data(-9, 9), z: data(-30, 30), w: per_channel(g.tensors[w].data, 0)}
    q = realize(g, decisions, io="integer")
    one, two = (q.tensors[n.inputs[2]] for n in q.nodes)
    assert one.index != two.index
    assert one.quant != two.quant
    assert q.nodes[0].inputs[1] == q.nodes[1].inputs[1] == w


def test_concatenation_rescales_what_has_a_scale_of_its_own():
    b = FloatBuilder()
    x = b.input("x", (1, 4))
    s = b.op("LOGISTIC", (x,))
    y = b.concat([x, s])
    g = b.finish(y)
    decisions = settle(g, {x: data(-3, 3), s: data(0, 1), y: data(-3, 3)})
    assert (decisions[s].quant.scale, decisions[s].quant.zero_point) == ((1 / 256,), (-128,))
    assert decisions[x].quant == decisions[y].quant
    q = realize(g, decisions, io="integer")
    assert [n.op for n in q.nodes] == ["LOGISTIC", "QUANTIZE", "CONCATENATION"]
    values = np.array([[0.0, 1.0, -2.0, 3.0]], np.float32)
    made = fxsim.simulate(q, q.tensors[0].quant.quantize(values)).kept[q.outputs[0]]
    want = np.concatenate([values, 1 / (1 + np.exp(-values))], 1)
    assert np.abs(q.tensors[q.outputs[0]].quant.dequantize(made) - want).max() < 0.05


def test_settle_is_idempotent_and_unites_ranges():
    g, decisions = small()
    once = settle(g, decisions)
    assert settle(g, once) == once
    pooled = [g.nodes[k].outputs[0] for k in range(3)]
    assert len({once[i] for i in pooled}) == 1
    assert once[pooled[0]].span[1] >= 9 * 0.999


def test_sixteen_bits_are_symmetric_and_their_biases_wide():
    g, decisions = small()
    wide = {i: data(-9, 3, INT16) if d.qtype == INT8 else d for i, d in decisions.items()}
    q = realize(g, {**wide, 0: Decision(INT16, QuantParams((0.001,), (5,)))})
    assert all(not any(t.quant.zero_point) for t in q.tensors if t.quant)
    assert q.tensors[q.nodes[1].inputs[2]].qtype == INT64
    assert not fxsim.unsupported(q, "litert-reference")


def test_a_layer_of_sixteen_bits_among_those_of_eight():
    g, decisions = small()
    q = realize(g, {**decisions, g.outputs[0]: data(-50, 50, INT16)}, io="integer")
    assert [n.op for n in q.nodes] == ["CONV_2D", "MAX_POOL_2D", "RESHAPE", "QUANTIZE", "FULLY_CONNECTED"]
    assert not fxsim.unsupported(q, "litert-reference")


def test_bias_form():
    form = bias_form(data(-1, 1), Decision(INT4, QuantParams((0.5, 0.25), (0, 0), 0)))
    assert form.qtype == INT32
    assert len(form.quant.scale) == 2
    assert form.quant.axis == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"io": "int8"}, "io is 'int8'; allowed: 'float32', 'integer'"),
        ({"constants": {2: np.zeros(3, np.int8)}}, r"constants\[2\] is int8 \[3\].*takes integers of \[4, 3, 3, 3\]"),
        ({"constants": {2: np.zeros((4, 3, 3, 3))}}, r"constants\[2\] is float64"),
        ({"constants": {2: np.full((4, 3, 3, 3), 128)}}, r"holds 128\.\.128; int8 takes -127\.\.127"),
        ({"constants": {0: np.zeros((1, 8, 8, 3), int)}}, "is no constant"),
        ({"decisions": {99: data(0, 1)}}, "no tensor 99"),
        ({"decisions": {5: data(0, 1)}}, "is int32; allowed: float tensors"),
    ],
)
def test_what_does_not_fit_is_refused(change, told):
    g, decisions = small()
    five = next(t.index for t in g.tensors if t.qtype == INT32)
    if 5 in change.get("decisions", {}):
        change = {"decisions": {five: data(0, 1)}}
    with pytest.raises(FxsimError, match=told):
        realize(g, decisions | change.pop("decisions", {}), **change)


# Layer against layer: a bound on the distance of each integer layer from the float one.


@st.composite
def layers(draw):
    """A layer of products of random size, its input and the scheme's choices."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    op = draw(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]))
    c, o, k = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 3))
    b = FloatBuilder()
    spread = 10.0 ** draw(st.integers(-3, 2))
    if op == "FULLY_CONNECTED":
        x = b.input("x", (1, c))
        y = b.dense(x, spread * rng.normal(size=(o, c)), rng.normal(size=o) if draw(st.booleans()) else None)
    else:
        x = b.input("x", (1, 5, 5, c))
        settings_ = {
            "stride": draw(st.integers(1, 2)),
            "padding": draw(st.sampled_from(["SAME", "VALID"])),
            "activation": draw(st.sampled_from(["NONE", "RELU", "RELU6"])),
        }
        bias = rng.normal(size=o if op == "CONV_2D" else c)
        shape = (o, k, k, c) if op == "CONV_2D" else (1, k, k, c)
        make = b.conv if op == "CONV_2D" else b.depthwise
        y = make(x, spread * rng.normal(size=shape), bias, **settings_)
    values = (rng.normal(size=(4, *b.tensors[x].shape)) * 10.0 ** draw(st.integers(-2, 2))).astype(np.float32)
    activation_bits = draw(st.sampled_from([4, 8, 12, 16]))
    scheme = Scheme(
        weight_bits=draw(st.sampled_from([2, 3, 4, 6, 8, *([12, 16] if activation_bits > 8 else [])])),
        activation_bits=activation_bits,
        granularity=draw(st.sampled_from(["tensor", "channel"])),
        power_of_two=draw(st.booleans()),
        activations_symmetric=draw(st.booleans()),
    )
    return b.finish(y), values, scheme


@given(layers())
@settings(max_examples=60)
def test_a_layer_is_within_its_error_bound_of_the_float_one(case):
    """Half a step of the output, and the steps of input and weight times what they are multiplied with."""
    g, x, scheme = case
    q = quantize(g, x, scheme)
    y = run(g, x, "float64", keep=g.outputs)[g.outputs[0]]
    got = fxsim.simulate(q, x, "generic").kept[q.outputs[0]].reshape(y.shape)
    node = g.nodes[0]
    xs, ws, ys = (q.tensors[i] for i in (node.inputs[0], node.inputs[1], node.outputs[0]))
    w = g.tensors[node.inputs[1]].data
    stored = ws.quant.dequantize(ws.data)
    off = np.abs(w - stored)
    magnitude = np.abs(x).max() + xs.quant.scale[0]
    per_window = 1 if node.op == "DEPTHWISE_CONV_2D" else 0
    axes = (1, 2) if per_window else tuple(range(1, w.ndim))
    window = np.abs(stored).sum(axis=axes).reshape(-1)
    bound = xs.quant.scale[0] * window + magnitude * off.sum(axis=axes).reshape(
        -1
    )  # a whole step: the zero point is rounded
    bound = bound + xs.quant.scale[0] * max(ws.quant.scale) + 1.01 * ys.quant.scale[0]
    assert np.all(np.abs(got - y) <= bound * 1.001 + 1e-6), float((np.abs(got - y) - bound).max())


POINTWISE = {
    "ADD": lambda a, b: a + b,
    "MUL": lambda a, b: a * b,
    "SUB": lambda a, b: a - b,
    "MAXIMUM": np.maximum,
    "CONCATENATION": lambda a, b: np.concatenate([a, b], -1),
}


@pytest.mark.parametrize("op", POINTWISE)
@pytest.mark.parametrize("scheme", ["int8", "uint8", "int16x8"])
def test_ops_of_two_tensors(op, scheme):
    b, rng = FloatBuilder(), np.random.default_rng(5)
    x, y = b.input("x", (1, 50)), b.input("y", (1, 50))
    z = b.concat([x, y]) if op == "CONCATENATION" else b.op(op, (x, y))
    values = [rng.normal(size=(8, 1, 50)).astype(np.float32), 3 * rng.normal(size=(8, 1, 50)).astype(np.float32)]
    q = quantize(b.finish(z), values, scheme)
    got = fxsim.simulate(q, values, "generic").kept[q.outputs[0]]
    want = POINTWISE[op](*values)
    steps = [q.tensors[i].quant.scale[0] for i in (x, y, z)]
    slack = steps[2] + (10 * sum(steps) if op == "MUL" else sum(steps))
    assert np.abs(got.reshape(want.shape) - want).max() <= slack


def test_integer_layers_are_those_whose_data_is_decided():
    g, decisions = small()
    assert integer_layers(g, decisions) == {0, 1, 2, 3}
    assert integer_layers(g, {i: d for i, d in decisions.items() if i != g.nodes[1].outputs[0]}) == {0, 3}
    assert integer_layers(g, decisions, [2]) == {0, 1, 3}
    assert UINT8.registered == UINT8
