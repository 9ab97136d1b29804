"""Repairs: equalization keeps the function, biases lose their mean error, adaptive rounding lowers the output's error."""

from itertools import product

import numpy as np
import pytest

import fxsim
from fxsim.quant import Scheme, calibrate, quantize
from fxsim.quant.correct import correct_biases, descend, round_adaptively, with_biases
from fxsim.quant.decide import decide
from fxsim.quant.equalize import equalize
from fxsim.quant.weights import on_levels
from fxsim.sim.real.plan import run
from tests.quant.graphs import FloatBuilder


def uneven(activation="RELU", *, branch=False):
    """Channels of very different reach, through a depthwise layer and a pool."""
    b, rng = FloatBuilder(), np.random.default_rng(0)
    x = b.input("x", (1, 6, 6, 3))
    reach = 10.0 ** rng.uniform(-2, 1, (8, 1, 1, 1))
    y = b.conv(x, rng.normal(size=(8, 3, 3, 3)) * reach, rng.normal(size=8), activation=activation, padding="SAME")
    z = b.depthwise(y, rng.normal(size=(1, 3, 3, 8)), activation="RELU")
    p = b.pool(z, "AVERAGE_POOL_2D", 2)
    w = b.conv(p, rng.normal(size=(5, 1, 1, 8)), rng.normal(size=5))
    return b.finish(*([w, y] if branch else [w]))


X = np.random.default_rng(1).normal(size=(32, 6, 6, 3)).astype(np.float32)


def output(graph, x=X):
    return run(graph, x, "float64", keep=graph.outputs[:1])[graph.outputs[0]]


def reaches(graph, place, axis):
    w = graph.tensors[graph.nodes[place].inputs[1]].data
    return np.abs(w).max(axis=tuple(i for i in range(4) if i != axis))


def test_equalization_keeps_the_function_and_evens_the_channels():
    before = with_biases(uneven())
    after = equalize(before)
    assert np.allclose(output(after), output(before), rtol=1e-4, atol=1e-5)
    for first, second, axis in ((0, 1, 3), (1, 3, 3)):
        assert np.allclose(reaches(after, first, 0 if first == 0 else 3), reaches(after, second, axis), rtol=0.01)
    assert not np.allclose(reaches(before, 0, 0), reaches(before, 1, 3), rtol=0.5)


def test_it_helps_where_one_scale_serves_all_channels():
    g, errors = uneven(), []
    for scheme in ("int8-per-tensor", "int8-per-tensor+equalize"):
        q = quantize(g, X, scheme)
        errors.append(np.mean((fxsim.simulate(q, X).kept[q.outputs[0]].reshape(output(g).shape) - output(g)) ** 2))
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("graph", [uneven("RELU6"), uneven(branch=True)], ids=["relu6", "two readers"])
def test_equalization_leaves_alone_what_it_would_change(graph):
    after = equalize(with_biases(graph))
    first = graph.nodes[0].inputs[1]
    assert np.array_equal(after.tensors[first].data, graph.tensors[first].data)
    assert np.allclose(output(after), output(graph), rtol=1e-4, atol=1e-5)


def test_biases_take_up_the_mean_error():
    g = with_biases(uneven())
    choice = decide(g, calibrate(g, X), Scheme(weight_bits=3))
    better = correct_biases(g, X, choice)
    for k in (0, 1, 3):
        node, i = g.nodes[k], g.nodes[k].inputs[1]
        held = choice.decisions[i].quant.dequantize(choice.constants[i])
        x = run(g, X, "float64", keep=[node.inputs[0]])[node.inputs[0]]
        gaps = []
        for graph in (g, better):
            made = _linear_layer(graph, node, held, x) - _linear_layer(g, node, g.tensors[i].data, x)
            gaps.append(np.abs(made.reshape(-1, made.shape[-1]).mean(axis=0)).max())
        assert gaps[1] < 1e-5 * (1 + np.abs(x).max()) < gaps[0]


def _linear_layer(graph, node, weight, x):
    """The layer alone, without its activation, on its float inputs."""
    from dataclasses import replace

    w, b = graph.tensors[node.inputs[1]], graph.tensors[node.inputs[2]]
    bare = replace(node, index=0, attributes=replace(node.attributes, activation="NONE"))
    tensors = tuple(
        replace(t, data=np.asarray(weight, np.float64).astype(np.float32)) if t.index == w.index else t
        for t in graph.tensors
    )
    alone = replace(graph, tensors=tensors, nodes=(bare,), inputs=node.inputs[:1], outputs=node.outputs, derived={})
    assert b.data is not None
    return run(alone, x, "float64", keep=node.outputs)[node.outputs[0]]


@pytest.mark.parametrize("levels", [[-1, 1], [-1, 0, 1], [-2, -1, 0, 1], [-4, -2, -1, 0, 1, 2, 4]], ids=str)
def test_descent_ends_where_no_single_weight_can_do_better(levels):
    rng, levels = np.random.default_rng(3), np.array(levels)
    weight, x = rng.normal(size=(1, 4, 5)), rng.normal(size=(50, 5)) @ rng.normal(size=(5, 5))
    g, scale = (x.T @ x)[None] / 50, np.full((1, 4, 1), 0.6)
    start = on_levels(levels, weight / scale)
    found, last = descend(weight, scale, start, g, levels), None
    while last is None or not np.array_equal(found, last):  # it stops after a few sweeps
        found, last = descend(weight, scale, found, g, levels), found

    def cost(q):
        d = scale[0] * q - weight[0]
        return np.sum((d @ g[0]) * d, axis=1)

    assert np.isin(found, levels).all()
    assert np.all(cost(found[0]) <= cost(start[0]) + 1e-12)
    assert cost(found[0]).sum() < cost(start[0]).sum()
    for row, k, level in product(range(4), range(5), levels):
        other = found[0].copy()
        other[row, k] = level
        assert cost(other)[row] >= cost(found[0])[row] - 1e-12


@pytest.mark.parametrize("corrections", [("adaround",), ("adaround", "clip")], ids=str)
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_adaptive_rounding_lowers_each_layers_error(bits, corrections):
    g = with_biases(uneven())
    scheme = Scheme(weight_bits=bits, corrections=corrections)
    choice = decide(g, calibrate(g, X), scheme)

    def errors():
        found = []
        for k in (0, 1, 3):
            node, i = g.nodes[k], g.nodes[k].inputs[1]
            x = run(g, X, "float64", keep=[node.inputs[0]])[node.inputs[0]]
            held = choice.decisions[i].quant.dequantize(choice.constants[i])
            gap = _linear_layer(g, node, held, x) - _linear_layer(g, node, g.tensors[i].data, x)
            found.append(np.mean(gap**2))
        return np.array(found)

    before = errors()
    round_adaptively(g, X, choice, scheme)
    assert np.all(errors() <= before * 1.02)
    assert errors().sum() < before.sum() * (0.95 if bits > 1 else 1.0)


def test_all_repairs_together_and_without_a_bias():
    b, rng = FloatBuilder(), np.random.default_rng(5)
    x = b.input("x", (1, 16))
    h = b.dense(x, rng.normal(size=(32, 16)), activation="RELU")
    g = b.finish(b.dense(h, rng.normal(size=(4, 32))))
    values = rng.normal(size=(64, 16)).astype(np.float32)
    want, errors = output(g, values), {}
    for scheme in ("int4", "int4+equalize+clip+adaround+bias"):
        q = quantize(g, values, scheme)
        errors[scheme] = np.mean((fxsim.simulate(q, values).kept[q.outputs[0]].reshape(want.shape) - want) ** 2)
    assert errors["int4+equalize+clip+adaround+bias"] < errors["int4"]
