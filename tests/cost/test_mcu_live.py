"""Channels that hold nothing but zeros, and libraries that drop them."""

import numpy as np
import pytest

from fxsim import layer
from fxsim.cost.estimate import estimate_graph
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.live import works
from fxsim.model.ops.conv import Conv2D
from fxsim.model.qtype import INT8, INT32, QType, QuantParams
from fxsim.report.cost import estimate
from fxsim.targets import load_target

Q = QuantParams((0.5,), (0,))


def network(first, depthwise, second, zero=0, qtype=INT8, keep=False):
    """1x1 convolution, 3x3 depthwise convolution, 1x1 convolution on 6 x 6 pixels; weights given as (outputs, inputs)."""
    first, depthwise, second = (np.asarray(a, qtype.dtype) for a in (first, depthwise, second))
    c0, c1, c2 = first.shape[1], first.shape[0], second.shape[0]
    weight = QuantParams((0.5,), (zero,))
    tensors = [Tensor(0, "x", (1, 6, 6, c0), qtype, Q)]
    nodes = []

    def add(op, data, channels):
        w, b, out = len(tensors), len(tensors) + 1, len(tensors) + 2
        tensors.append(Tensor(w, "w", data.shape, qtype, weight, data))
        tensors.append(Tensor(b, "b", (channels,), INT32, Q, np.ones(channels, np.int32)))
        tensors.append(Tensor(out, "out", (1, 6, 6, channels), qtype, Q))
        nodes.append(Node(len(nodes), op, (w - 1, w, b), (out,), Conv2D("NONE", 1, 1, "SAME"), op))

    add("CONV_2D", first[:, None, None, :], c1)
    add("DEPTHWISE_CONV_2D", np.broadcast_to(depthwise, (1, 3, 3, c1)).copy(), c1)
    add("CONV_2D", second[:, None, None, :], c2)
    outputs = (3, 9) if keep else (9,)
    return Graph("hand", tuple(tensors), tuple(nodes), (0,), outputs)


def live(graph):
    return [(w.geometry.in_c, w.geometry.out_c) for w in works(graph, live=True)]


FULL = dict(first=np.ones((4, 3)), depthwise=np.ones(4), second=np.ones((5, 4)))


def test_nothing_is_dropped_where_all_weights_count():
    graph = network(**FULL)
    assert live(graph) == [(3, 4), (4, 4), (4, 5)]
    assert works(graph, live=True) == works(graph)


def test_rows_of_zeros_are_outputs_that_are_not_computed():
    first = np.ones((4, 3))
    first[1] = 0
    assert live(network(**FULL | {"first": first})) == [(3, 3), (4, 4), (4, 5)]


def test_columns_of_zeros_free_everything_before_them():
    second = np.ones((5, 4))
    second[:, [0, 2]] = 0
    assert live(network(**FULL | {"second": second})) == [(3, 2), (2, 2), (2, 5)]


def test_a_filter_of_zeros_frees_its_input():
    assert live(network(**FULL | {"depthwise": np.array([1, 0, 1, 1])})) == [(3, 3), (3, 3), (4, 5)]


def test_outputs_of_the_network_are_kept():
    second = np.ones((5, 4))
    second[:, 0] = 0
    assert live(network(**FULL | {"second": second}, keep=True)) == [(3, 4), (3, 3), (3, 5)]


def test_a_zero_is_the_zero_point():
    first = np.full((4, 3), 7)
    first[1] = 3
    uint8 = QType(8, signed=False)
    weights = dict(first=first, depthwise=np.ones(4), second=np.ones((5, 4)))
    assert live(network(**weights, zero=3, qtype=uint8)) == [(3, 3), (4, 4), (4, 5)]
    assert live(network(**weights, zero=0, qtype=uint8)) == [(3, 4), (4, 4), (4, 5)]


def test_a_layer_of_zeros_keeps_one_channel():
    assert live(network(np.zeros((4, 3)), np.ones(4), np.ones((5, 4))))[0] == (1, 1)


def test_live_work_by_hand():
    second = np.ones((5, 4))
    second[:, 0] = 0
    a, b, c = works(network(**FULL | {"second": second}), live=True)
    assert (a.macs, a.weight_bytes, a.bias_bytes, a.output_bytes, a.elements) == (36 * 9, 9, 12, 108, 108)
    assert (b.macs, b.weight_bytes, b.input_bytes, b.geometry.groups) == (36 * 27, 27, 108, 3)
    assert (c.macs, c.input_bytes, c.output_bytes) == (36 * 15, 108, 180)


def test_layers_without_values_are_taken_in_full():
    graph = layer.conv2d(8, 8, 16, 16)
    assert works(graph, live=True) == works(graph)


def test_only_libraries_that_look_at_weights_drop_channels():
    first = np.ones((40, 30))
    first[:20] = 0
    second = np.ones((50, 40))
    second[:, :20] = 0
    graph = network(first, np.ones(40), second)
    shapes, weights = (load_target(f"cortex-m4+{n}") for n in ("x-cube-ai-7", "x-cube-ai-9"))
    assert not shapes.profile.live_channels and weights.profile.live_channels
    macs = [sum(c.macs for c in estimate_graph(graph, t.profile)) for t in (shapes, weights)]
    assert macs == [36 * (1200 + 360 + 2000), 36 * (600 + 180 + 1000)]
    assert estimate(graph, weights).total["utilization"] <= 1


@pytest.mark.parametrize("target", ["cortex-m4+x-cube-ai-9", "cortex-m4"])
def test_the_count_is_kept_with_the_graph(target):
    graph = network(**FULL)
    estimate(graph, target)
    assert works(graph, live=True) is works(graph, live=True)
