"""Finds the layers that exporters write for GELU: ``0.5 * x * (1 + erf(x / sqrt(2)))``."""

import math
from dataclasses import dataclass, field

from fxsim.model.graph import Graph, Node
from fxsim.model.ops.activation import Gelu
from fxsim.model.ops.base import Attributes

_NEAR = 1e-3
"""how far a constant may be from the one that is meant: some exporters write few digits"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a GELU is computed from, and the other layers that compute it."""

    input: int
    within: frozenset[int]
    attributes: Attributes = field(default_factory=Gelu)


def gelu_patterns(graph: Graph) -> dict[int, Pattern]:
    """Position of the last layer of each GELU -> the pattern."""
    users: dict[int, list[int]] = {}
    for position, node in enumerate(graph.nodes):
        for i in node.inputs:
            users.setdefault(i, []).append(position)
    found = {}
    for position, node in enumerate(graph.nodes):
        if node.op == "Erf":
            match = _match(graph, position, node, users)
            if match is not None:
                found[match[0]] = match[1]
    return found


def _constant(graph: Graph, index: int) -> float | None:
    t = graph.tensors[index]
    return float(t.data.reshape(-1)[0]) if t.data is not None and t.data.size == 1 else None


def _scaled(graph: Graph, node: Node) -> tuple[int, float] | None:
    """``(x, factor)`` if the node is ``x * factor`` or ``x / divisor``."""
    if node.op not in ("Mul", "Div"):
        return None
    for at, other in ((0, 1), (1, 0)):
        c = _constant(graph, node.inputs[other])
        if c and not (node.op == "Div" and at == 1):
            return node.inputs[at], 1 / c if node.op == "Div" else c
    return None


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= _NEAR * abs(b)


def _match(graph: Graph, erf: int, node: Node, users: dict[int, list[int]]) -> tuple[int, Pattern] | None:
    makers = {o: i for i, n in enumerate(graph.nodes) for o in n.outputs}
    before = makers.get(node.inputs[0])
    scaled = None if before is None else _scaled(graph, graph.nodes[before])
    if before is None or scaled is None or not _near(scaled[1], math.sqrt(0.5)):
        return None
    x, within = scaled[0], {before, erf}

    def only(index: int) -> int | None:
        """The one layer that reads a tensor, if there is but one."""
        found = users.get(index, [])
        return found[0] if len(found) == 1 and index not in graph.outputs else None

    if only(node.inputs[0]) is None:
        return None
    at = only(node.outputs[0])
    if at is None or graph.nodes[at].op != "Add" or not any(_constant(graph, i) == 1 for i in graph.nodes[at].inputs):
        return None
    factor, seen = 1.0, False  # of what multiplies 1 + erf so far
    while not (seen and _near(factor, 0.5)):
        within.add(at)
        value = graph.nodes[at].outputs[0]
        at = only(value)
        if at is None or graph.nodes[at].op not in ("Mul", "Div"):
            return None
        here = graph.nodes[at]
        product = _scaled(graph, here)
        if product is not None and product[0] == value:
            factor *= product[1]
            continue
        other = here.inputs[1] if here.inputs[0] == value else here.inputs[0]
        half = makers.get(other)
        part = None if half is None else _scaled(graph, graph.nodes[half])
        if here.op != "Mul" or seen:
            return None
        if other == x:
            seen = True
        elif half is not None and part is not None and part[0] == x and only(other) == at:
            within.add(half)
            factor, seen = factor * part[1], True
        else:
            return None
    return at, Pattern(x, frozenset(within))
