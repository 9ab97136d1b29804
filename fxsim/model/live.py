"""The channels that a network needs: those whose weights are not all zero and that some layer reads with a weight.

Training leaves channels behind that hold nothing but zeros. They cost time in a library that takes a network by its
shapes, and none in one that looks at the weights: it drops the channel, and folds its constant into the next bias.

- an output channel is dead if all its weights are zero, or if no reader has a weight for it that is not
- an input channel is dead if no live output has a weight for it that is not zero
- a depthwise channel is dead if its filter is zero, or if nobody needs its output
"""

import math
from dataclasses import replace

import numpy as np

from fxsim.model.graph import Graph, Node
from fxsim.model.ops import work as work_of
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry, Work

OPS = ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D")


def _nonzero(graph: Graph, node: Node) -> Array | None:
    """``(outputs, inputs)``: True where some weight is not zero; None if the weights say nothing."""
    weight = graph.tensors[node.inputs[1]] if node.op in OPS else None
    data = weight.data if weight is not None else None
    if weight is None or data is None or data.size == 0 or data.dtype.kind not in "iu" or not any(data.strides):
        return None  # strides of zero: a constant without values, of fxsim.layer
    axis = data.ndim - 1 if node.op == "DEPTHWISE_CONV_2D" else 0
    points = weight.quant.zero_point if weight.quant is not None else ()
    zero = np.asarray(points if len(points) == data.shape[axis] else points[:1] or (0,))
    used = np.moveaxis(data, axis, -1) != zero
    if node.op == "DEPTHWISE_CONV_2D":
        return np.asarray(used.reshape(-1, used.shape[-1]).any(axis=0))[:, None]
    inner = np.moveaxis(used, -1, 0)
    return np.asarray(inner.reshape(inner.shape[0], -1, inner.shape[-1]).any(axis=1))


def _channels(graph: Graph, node: Node, wanted: Array | None) -> tuple[Array, Array] | None:
    """Which input and output channels of a node are live, if ``wanted`` of its outputs are read; None if unknown."""
    used = _nonzero(graph, node)
    if used is None:
        return None
    inputs, outputs = (graph.tensors[t].shape[-1] for t in (node.inputs[0], node.outputs[0]))
    live: Array = np.asarray(used.any(axis=1))
    if wanted is not None and wanted.shape == live.shape:
        live = live & wanted
    depthwise = node.op == "DEPTHWISE_CONV_2D"
    reads: Array = live if depthwise else np.asarray((used & live[:, None]).any(axis=0))
    return (reads, live) if (len(reads), len(live)) == (inputs, outputs) else None


def _needed(graph: Graph) -> dict[int, tuple[Array, Array]]:
    """For each node, which of its input and output channels are live; nodes whose weights say nothing are left out."""
    wanted: dict[int, Array] = {}  # tensor -> channels that some reader needs
    result: dict[int, tuple[Array, Array]] = {}
    for node in reversed(graph.nodes):
        out = node.outputs[0] if node.outputs else -1
        found = _channels(graph, node, None if out in graph.outputs else wanted.get(out))
        if found is not None:
            result[node.index] = found
        for at, i in enumerate(node.inputs):
            if i >= 0 and graph.tensors[i].shape and not graph.tensors[i].constant:
                size = graph.tensors[i].shape[-1]
                mine = found[0] if found is not None and at == 0 else np.ones(size, bool)
                wanted[i] = wanted[i] | mine if i in wanted else mine
    return result


def _reduced(work: Work, inputs: Array, outputs: Array) -> Work:
    """The work on live channels alone; at least one of each is left."""
    g = work.geometry
    if g is None or g.groups not in (1, g.in_c):
        return work
    n_in, n_out = (max(1, int(a.sum())) for a in (inputs, outputs))
    if g.groups > 1:
        n_in = n_out = min(n_in, n_out)
    live = replace(g, in_c=n_in, out_c=n_out, groups=n_in if g.groups > 1 else 1)
    return _resized(work, g, live)


def _resized(work: Work, old: Geometry, new: Geometry) -> Work:
    def share(n: int, part: int, whole: int) -> int:
        return math.ceil(n * part / whole) if whole else n

    weights = new.out_c * new.window
    return replace(
        work,
        macs=new.outputs * new.window,
        elements=new.outputs,
        requantized=min(work.requantized, new.outputs),
        input_bytes=share(work.input_bytes, new.in_c, old.in_c),
        weight_bytes=share(work.weight_bytes, weights, old.out_c * old.window),
        bias_bytes=share(work.bias_bytes, new.out_c, old.out_c),
        output_bytes=share(work.output_bytes, new.out_c, old.out_c),
        geometry=new,
    )


def works(graph: Graph, *, live: bool = False) -> tuple[Work, ...]:
    """The work of each node, from shapes alone; or, if ``live``, without the channels that are dead."""
    key = works, live
    if key not in graph.derived:
        found = tuple(work_of(graph, n) for n in graph.nodes)
        if live:
            channels = _needed(graph)
            found = tuple(
                _reduced(w, *channels[n.index]) if n.index in channels and w.macs else w
                for n, w in zip(graph.nodes, found, strict=True)
            )
        graph.derived[key] = found
    kept: tuple[Work, ...] = graph.derived[key]  # type: ignore[assignment]
    return kept
