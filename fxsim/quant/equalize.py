"""Cross-layer equalization: moves scale between neighbouring layers, so that no channel wastes the weights' range."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fxsim.model.graph import Graph, Node
from fxsim.model.ops.conv import WEIGHT_AXES
from fxsim.quant.rules import Weighted, bias_of, weighted

ROUNDS = 20
"""at most: chains of layers pass scales on to each other"""
HOMOGENEOUS = frozenset(("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"))
"""ops of positive scale that treat channels alike: ``f(s * x) = s * f(x)``"""
Reals = npt.NDArray[np.float64]


def equalize(graph: Graph) -> Graph:
    """The same function with other weights: ``s = sqrt(r1 / r2)`` of each channel divides layer 1 and multiplies layer 2.

    ``r1`` and ``r2`` are the greatest magnitudes of the channel's weights in the layer that makes it and the one that reads
    it, which are both ``sqrt(r1 * r2)`` afterwards. Only between layers of products with nothing but RELU and pools between
    them, where nobody else reads the channel.

    Source: Nagel et al.: Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019.
    """
    pairs = [(a, b) for a in graph.nodes for b in [_reader(graph, a)] if b is not None]
    data = {
        t.index: np.array(t.data, np.float64) for t in graph.tensors if t.data is not None and t.qtype.kind == "float"
    }
    for _ in range(ROUNDS):
        change = max((_balance(graph, a, b, data) for a, b in pairs), default=0.0)
        if change < 1e-3:
            break
    touched = {i for a, b in pairs for n in (a, b) for i in n.inputs[1:]}
    tensors = tuple(
        replace(t, data=data[t.index].astype(np.float32)) if t.index in touched and t.index in data else t
        for t in graph.tensors
    )
    return replace(graph, tensors=tensors, derived={})


def _reader(graph: Graph, first: Node) -> Node | None:
    """The layer of products that alone reads what ``first`` makes, channel for channel."""
    w = weighted(graph, first)
    if w is None or first.op == "TRANSPOSE_CONV" or getattr(first.attributes, "activation", "") not in ("NONE", "RELU"):
        return None
    node = first
    while True:
        readers = [n for n in graph.nodes if node.outputs[0] in n.inputs]
        if len(readers) != 1 or node.outputs[0] in graph.outputs:
            return None
        node = readers[0]
        if node.op not in HOMOGENEOUS:
            break
        x = graph.tensors[node.inputs[0]]
        out = graph.tensors[node.outputs[0]]
        if x.shape[-1:] != out.shape[-1:] or getattr(node.attributes, "activation", "NONE") not in ("NONE", "RELU"):
            return None
    other = weighted(graph, node)
    if other is None or node.op == "TRANSPOSE_CONV" or node.inputs[1] == first.inputs[1]:
        return None
    shared = sum(i in n.inputs for n in graph.nodes for i in (first.inputs[1], node.inputs[1]))
    channels = graph.tensors[first.inputs[1]].shape[w.axis]
    x = graph.tensors[node.inputs[other.data]]
    return node if shared == 2 and x.shape[-1] == channels and _takes(graph, node) == channels else None


def _takes(graph: Graph, node: Node) -> int:
    """The input channels that the weight has one of each for; 0 where groups or several outputs a channel mix."""
    shape, x = graph.tensors[node.inputs[1]].shape, graph.tensors[node.inputs[0]].shape
    if node.op == "DEPTHWISE_CONV_2D":
        return shape[3] if shape[3] == x[-1] else 0
    return shape[-1] if shape[-1] == x[-1] else 0


def _input_axis(node: Node) -> int:
    """The weight's axis of input channels, which is that of the output in depthwise layers."""
    output, source = WEIGHT_AXES[node.op]
    return output if source is None else source


def _balance(graph: Graph, a: Node, b: Node, data: dict[int, Reals]) -> float:
    """One pair of layers; the greatest relative change."""
    first = weighted(graph, a)
    assert isinstance(first, Weighted)
    w1, w2, axis = data[a.inputs[1]], data[b.inputs[1]], _input_axis(b)
    r1, r2 = _reach(w1, first.axis), _reach(w2, axis)
    s = np.sqrt(r1 / np.where(r2 > 0, r2, 1))
    s = np.where((r1 > 0) & (r2 > 0), np.clip(s, 1e-4, 1e4), 1.0)
    w1 /= _spread(s, first.axis, w1.ndim)
    w2 *= _spread(s, axis, w2.ndim)
    bias = bias_of(graph, a, first)
    if bias is not None:
        data[bias.index] /= s
    return float(np.abs(s - 1).max())


def _reach(w: Reals, axis: int) -> Reals:
    reach: Reals = np.abs(w).max(axis=tuple(i for i in range(w.ndim) if i != axis))
    return reach


def _spread(s: Reals, axis: int, ndim: int) -> Reals:
    shape = [1] * ndim
    shape[axis] = -1
    return s.reshape(shape)
