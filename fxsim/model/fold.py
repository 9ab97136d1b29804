"""Folds layers whose values are known before any input is, as every static compiler does: index arithmetic above all.

The folded tensors keep their values, so a trace still shows them; the layers that made them are gone.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fxsim.errors import FxsimError
from fxsim.model.check import check_operands
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops import OPS
from fxsim.model.ops.base import Activated, Operands
from fxsim.model.qtype import Array

LIMIT = 1 << 16
"""elements of a folded tensor: more is data to be moved at run time, not an index"""
OF_SHAPES = ("SHAPE", "RANK", "ZEROS_LIKE")
"""ops that look at no value"""
INTEGERS: dict[str, Callable[..., Array]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "FLOOR_DIV": np.floor_divide,
    "FLOOR_MOD": np.mod,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "NEG": np.negative,
    "ABS": np.abs,
    "CAST": lambda x: x,
}
"""what an op makes of plain integers, modulo the width of its type"""


def _integers(node: Node, inputs: Operands) -> bool:
    """True if ``node`` is index arithmetic: integers without scale, of which nothing is clipped."""
    plain = all(t is not None and t.qtype.name in ("int32", "int64") and t.quant is None for t in inputs)
    activated = isinstance(node.attributes, Activated) and node.attributes.activation != "NONE"
    zeros = node.op.startswith("FLOOR_") and any(t is not None and not np.all(t.data) for t in inputs[1:])
    return plain and not activated and not zeros


def _values(node: Node, inputs: Operands, outputs: Operands) -> list[Array] | None:
    """What ``node`` computes, or None if that is left to the run."""
    op = OPS.get(node.op)
    known = [t.data for t in inputs if t is not None and t.data is not None]
    constant = bool(inputs) and len(known) == len(inputs)
    if op is None or not (constant or node.op in OF_SHAPES) or not (op.move or node.op in INTEGERS):
        return None
    check_operands(node, inputs, outputs)
    if constant and any(t is not None and t.quant not in (None, *(o.quant for o in outputs if o)) for t in inputs):
        return None  # a rescale is the engine's business
    shapes = op.infer(inputs, node.attributes, len(outputs))
    if sum(map(math.prod, shapes)) > LIMIT:
        return None
    if op.move is not None:
        return list(op.move(inputs, node.attributes, len(outputs))(known))
    return [INTEGERS[node.op](*known)] if _integers(node, inputs) else None


def fold(graph: Graph) -> Graph:
    """The graph with every foldable layer replaced by its value; what cannot be folded is left to the check."""
    tensors: list[Tensor] = list(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = [None if i == ABSENT else tensors[i] for i in node.inputs]
        outputs = [tensors[i] for i in node.outputs]
        try:
            values = _values(node, inputs, list(outputs))
        except FxsimError:
            values = None
        if values is None or any(t.constant or t.shape != v.shape for t, v in zip(outputs, values, strict=True)):
            nodes.append(node)
            continue
        for out, value in zip(outputs, values, strict=True):
            data = np.array(value, out.qtype.dtype, order="C")
            data.setflags(write=False)
            tensors[out.index] = replace(out, data=data)
    return replace(graph, tensors=tuple(tensors), nodes=tuple(nodes))
