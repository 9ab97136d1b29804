"""A network without dead channels computes, bit for bit, what it computed with them."""

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

import fxsim
from fxsim import prune
from fxsim.model.ops.conv import WEIGHT_AXES
from fxsim.prune.channels import without
from fxsim.prune.units import Follower
from tests.prune.networks import network

SEEDS = range(30)


def digits():
    return fxsim.read(resources.files("fxsim.data") / "digits_int8.tflite")


def silenced(graph, units, alive):
    """The graph with weights and biases of zero in every channel that is not alive."""
    tensors = list(graph.tensors)
    for node in graph.nodes:
        if node.op in WEIGHT_AXES:
            keep = alive[units.roots(units.made[node.index])]
            w, b = (graph.tensors[i] for i in node.inputs[1:])
            shape = [1] * len(w.shape)
            shape[WEIGHT_AXES[node.op][0]] = -1
            tensors[w.index] = replace(w, data=(w.data * keep.reshape(shape)).astype(w.qtype.dtype))
            tensors[b.index] = replace(b, data=(b.data * keep).astype(b.qtype.dtype))
    return replace(graph, tensors=tuple(tensors), derived={})


def some_alive(units, rng):
    """A random choice of channels that keeps those that must stay, and one of each layer."""
    alive = rng.random(len(units.parent)) < rng.uniform(0.2, 0.9)
    alive |= np.array(units.fixed)
    for made in units.made.values():
        if not alive[units.roots(made)].any():
            alive[units.root(int(made[0]))] = True
    return alive


@pytest.mark.parametrize("graph", [*map(network, SEEDS), digits()], ids=lambda g: g.name[-20:])
def test_removing_dead_channels_changes_no_output(graph):
    rng = np.random.default_rng(len(graph.tensors))
    units = Follower(graph)
    alive = some_alive(units, rng)
    small, full = without(graph, units, alive), silenced(graph, units, alive)
    t = graph.tensors[graph.inputs[0]]
    x = rng.integers(-128, 128, (3, *t.shape), np.int8)
    for a, b in zip(fxsim.simulate(small, x).outputs.values(), fxsim.simulate(full, x).outputs.values(), strict=True):
        assert np.array_equal(a, b)
    assert sum(t.elements for t in small.tensors) < sum(t.elements for t in graph.tensors)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ratio_goes_and_the_ends_stay(seed):
    graph = network(seed)
    small = prune.channels(graph, 0.5)
    assert small.tensors[small.outputs[0]].shape == graph.tensors[graph.outputs[0]].shape
    assert small.tensors[small.inputs[0]].shape == graph.tensors[graph.inputs[0]].shape
    for node in graph.nodes[:-1]:
        if node.op in ("CONV_2D", "FULLY_CONNECTED"):
            before, after = (g.tensors[node.outputs[0]].shape[-1] for g in (graph, small))
            assert after == before - int(0.5 * before)
    assert (
        prune.channels(graph, 0.0).tensors[graph.nodes[0].outputs[0]].shape
        == graph.tensors[graph.nodes[0].outputs[0]].shape
    )


def test_the_least_channel_goes_first():
    graph = network(1)
    node = graph.nodes[0]
    w = graph.tensors[node.inputs[1]]
    scores = {i: np.ones(graph.tensors[i].shape) for n in graph.nodes if n.op in WEIGHT_AXES for i in n.inputs[1:2]}
    scores[w.index][2] = 0.5
    scores[graph.nodes[1].inputs[1]][2] = 0.5
    small = prune.channels(graph, 1 / w.shape[0] + 0.01, scores, layers=[0])
    kept = np.delete(np.asarray(w.data), 2, axis=0)
    assert np.array_equal(small.tensors[small.nodes[0].inputs[1]].data, kept)


def test_lanes_are_filled():
    graph = network(3)
    small = prune.channels(graph, 0.6, multiple=4)
    for node in graph.nodes[:-1]:
        if node.op in ("CONV_2D", "FULLY_CONNECTED"):
            before, after = (g.tensors[node.outputs[0]].shape[-1] for g in (graph, small))
            assert after % 4 == 0 or after == before


def test_every_target_gains_from_fewer_channels():
    graph = digits()
    small = prune.channels(graph, 0.5)
    for target in ("cortex-m4", "ethos-u55-128", "systolic-16x16-os", "hexagon-680"):
        a, b = (fxsim.estimate(g, target).total for g in (graph, small))
        assert b.macs < a.macs
        assert b.cycles < a.cycles
        assert b.flash_bytes < a.flash_bytes


@pytest.mark.parametrize(("options", "says"), [
    ({"ratio": 1.0}, "below 1"), ({"ratio": -0.1}, "at least 0"), ({"ratio": 0.5, "method": "best"}, "'magnitude'"),
    ({"ratio": 0.5, "layers": ["nowhere"]}, "names 0 layers"), ({"ratio": 0.5, "multiple": 0}, "at least 1"),
    ({"ratio": 0.5, "method": {}}, "scores lack"),
])  # fmt: skip
def test_bad_arguments_are_refused(options, says):
    with pytest.raises(fxsim.FxsimError, match=says):
        prune.channels(network(0), **options)
