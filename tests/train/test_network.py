import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch (the torch extra)")

import torch

from fxsim.errors import InputError, ModelError, UnsupportedOp
from fxsim.exporters.tflite import encode
from fxsim.model.graph import Graph
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activated
from fxsim.sim import simulate
from fxsim.train import Network, from_graph, quantized
from tests import engines
from tests.train.layers import LAYERS, Drawn, draw

CASES = 6


def near(a, b):
    return np.all(np.abs(a - b) <= 1e-5 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("kind", LAYERS)
def test_equals_the_float_simulator(kind):
    for seed in range(CASES):
        graph, inputs = draw(kind, seed)
        (expected,) = simulate(graph, inputs, "float64").outputs.values()
        got = from_graph(graph)(inputs).detach().numpy()
        assert got.shape == expected.shape
        assert near(got, expected), seed


@pytest.mark.parametrize("kind", LAYERS)
def test_equals_litert_in_float(kind):
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert (the test extra)")
    graph, inputs = draw(kind, 7)
    got = from_graph(graph)(inputs).detach().numpy()
    for k in range(len(got)):
        expected = engines.litert_reference(encode(graph), [x[k] for x in inputs])[graph.outputs[0]]
        assert near(got[k], expected)


def test_parameters_come_back():
    graph, inputs = draw("residual", 3)
    net = Network(graph)
    again = net.to_graph()
    for a, b in zip(graph.tensors, again.tensors, strict=True):
        assert (a.data is None) == (b.data is None)
        assert a.data is None or np.array_equal(a.data, b.data)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.25
    changed = net.to_graph()
    (expected,) = simulate(changed, inputs, "float64").outputs.values()
    assert near(net(inputs).detach().numpy(), expected)
    (before,) = simulate(graph, inputs, "float64").outputs.values()
    assert not np.allclose(before, expected)


def test_a_lone_factor_is_no_parameter():
    d = Drawn(np.random.default_rng(0))
    y = d.op("MUL", [d.input(1, 3), d.constant(1)], (1, 3), Activated())
    y = d.op("ADD", [y, d.constant(3)], (1, 3), Sum())
    net = Network(d.graph(y))
    assert [p.numel() for p in net.parameters() if p.requires_grad] == [3]


def test_inputs_stack_as_in_simulate():
    graph, inputs = draw("residual", 5)
    net, x = Network(graph), inputs[0]
    name = graph.tensors[graph.inputs[0]].name
    whole = net(x)
    assert torch.equal(net(x.reshape(-1, *x.shape[2:])), whole)
    assert torch.equal(net({name: x}), whole)
    assert torch.equal(net([torch.from_numpy(x)]), whole)
    assert torch.allclose(net(x[0]), whole[:1], atol=1e-6)


def test_what_does_not_fit_is_said():
    graph, inputs = draw("residual", 5)
    net = Network(graph)
    with pytest.raises(InputError, match=r"input 't0' has shape \[4, 3\]; allowed: \[1, .*\] or \[N, 1,"):
        net(np.zeros((4, 3), np.float32))
    with pytest.raises(InputError, match="exactly 't0'"):
        net({"wrong": inputs[0]})
    with pytest.raises(InputError, match="got 2 inputs; the model takes 1"):
        net([inputs[0], inputs[0]])
    two, x = draw("matmul", 1)
    with pytest.raises(InputError, match=r"hold \[4, 3\] inferences"):
        Network(two)([x[0], x[1][:3]])
    with pytest.raises(ModelError, match="allowed: graphs that are float throughout"):
        from_graph(quantized(net, inputs[0]).to_graph())


def test_a_layer_without_a_slope_is_named():
    d = Drawn(np.random.default_rng(0))
    y = d.op("FLOOR", [d.input(1, 3)], (1, 3))
    with pytest.raises(UnsupportedOp, match="layer 0 FLOOR 'floor0': training knows no slope of it"):
        from_graph(d.graph(y))


def test_slopes_at_zero_are_finite():
    for op in ("RSQRT", "SQRT", "LOG"):
        d = Drawn(np.random.default_rng(0))
        x = torch.zeros((2, 1, 3), requires_grad=True)
        Network(d.graph(d.op(op, [d.input(1, 3)], (1, 3))))(x).sum().backward()
        assert torch.isfinite(x.grad).all(), op


def test_a_graph_is_not_changed():
    graph, _ = draw("residual", 3)
    before = [None if t.data is None else t.data.copy() for t in graph.tensors]
    net = Network(graph)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    assert isinstance(graph, Graph)
    for t, data in zip(graph.tensors, before, strict=True):
        assert data is None or np.array_equal(t.data, data)
