"""Folds index arithmetic (SHAPE, and slices and packs of constants) into constants, as every static compiler does.

The folded tensors keep their values, so a trace still shows them; the layers that made them are gone.
"""

from dataclasses import replace

import numpy as np

from fxsim.errors import ModelError
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.base import Operands
from fxsim.model.ops.layout import Axis, StridedSlice, normal_axis, slices
from fxsim.model.qtype import Array


def _value(node: Node, inputs: Operands) -> Array | None:
    """What ``node`` computes, or None if it is not foldable."""
    if node.op == "SHAPE" and len(inputs) == 1 and inputs[0] is not None:
        return np.asarray(inputs[0].shape)
    data = [t.data for t in inputs if t is not None and t.data is not None]
    if not inputs or len(data) != len(inputs):
        return None
    if node.op == "STRIDED_SLICE" and isinstance(node.attributes, StridedSlice) and len(inputs) == 4:
        return np.asarray(data[0][slices(inputs, node.attributes)])
    if node.op == "PACK" and isinstance(node.attributes, Axis):
        if len({d.shape for d in data}) != 1:
            raise ModelError(f"PACK of shapes {sorted({d.shape for d in data})}; allowed: one shape")
        return np.stack(data, normal_axis(node.attributes.axis, data[0].ndim + 1))
    return None


def fold(graph: Graph) -> Graph:
    """The graph with every foldable layer replaced by its value."""
    tensors: list[Tensor] = list(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs: Operands = [None if i == ABSENT else tensors[i] for i in node.inputs]
        value = _value(node, inputs) if len(node.outputs) == 1 and node.outputs[0] != ABSENT else None
        if value is None:
            nodes.append(node)
            continue
        out = tensors[node.outputs[0]]
        if out.shape != value.shape or out.constant:
            raise ModelError(
                f"{graph.name}: layer {node.index} {node.op} makes {list(value.shape)}, declared {list(out.shape)}"
            )
        data = value.astype(out.qtype.dtype)
        data.setflags(write=False)
        tensors[out.index] = replace(out, data=data)
    return replace(graph, tensors=tuple(tensors), nodes=tuple(nodes))
