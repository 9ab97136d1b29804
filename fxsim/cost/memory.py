"""Peak RAM and flash of a graph: who lives when, and an arena plan that puts the largest tensors first.

The plan is that of TensorFlow Lite Micro's greedy planner: buffers in order of falling size, each at the lowest
offset that is free during its whole life. It is an upper bound on the best plan, and what such a runtime would really
take. Not counted: the runtime's own structures, per-channel multipliers it may precompute, stack, code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fxsim.cost.layer import LayerCost
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.ops.state import VarHandle

ALIGNMENT_BYTES = 16
VIEWS = ("RESHAPE",)
"""ops whose output is their input under another shape"""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of RAM that is in use from node ``first`` to ``last`` (positions in execution order, both included)."""

    name: str
    size_bytes: int
    first: int
    last: int

    def meets(self, other: "Buffer") -> bool:
        """True if both are in use at some time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where each buffer lies in the arena, and what the graph needs of RAM and flash."""

    placements: tuple[tuple[Buffer, int], ...]
    """buffers with their offsets in bytes"""
    live_bytes: tuple[int, ...]
    """bytes in use while each node runs, without gaps"""
    arena_bytes: int
    variable_bytes: int
    constant_bytes: int
    flash_bytes: int
    """the model file where its size is known, else the constants"""

    @property
    def peak_ram_bytes(self) -> int:
        """Arena and variables."""
        return self.arena_bytes + self.variable_bytes


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def plan_arena(buffers: Sequence[Buffer]) -> tuple[tuple[tuple[Buffer, int], ...], int]:
    """Offsets for all buffers, no two overlapping in both time and place; and the size of the arena."""
    placed: list[tuple[Buffer, int]] = []
    for b in sorted(buffers, key=lambda b: (-b.size_bytes, b.first)):
        offset = 0
        for other, start in sorted(((o, s) for o, s in placed if o.meets(b)), key=lambda p: p[1]):
            if start - offset >= _aligned(b.size_bytes):
                break
            offset = max(offset, start + _aligned(other.size_bytes))
        placed.append((b, offset))
    return tuple(placed), max((s + _aligned(b.size_bytes) for b, s in placed), default=0)


def _variables(graph: Graph) -> int:
    """Bytes of all variables: the values assigned to each, here or in the graphs that are called once."""
    sizes: dict[str, int] = {}
    for g in (graph, *graph.called):
        handles = {n.outputs[0]: n.attributes for n in g.nodes if n.op == "VAR_HANDLE"}
        for n in g.nodes:
            attributes = handles.get(n.inputs[0]) if n.inputs else None
            if n.op in ("ASSIGN_VARIABLE", "READ_VARIABLE") and isinstance(attributes, VarHandle):
                value = g.tensors[n.inputs[1] if n.op == "ASSIGN_VARIABLE" else n.outputs[0]]
                name = attributes.container + "/" + attributes.shared_name
                sizes[name] = max(sizes.get(name, 0), value.nbytes)
    return sum(_aligned(s) for s in sizes.values())


def _view_roots(nodes: Sequence[Node]) -> dict[int, int]:
    roots: dict[int, int] = {}
    for n in nodes:
        if n.op in VIEWS:
            roots[n.outputs[0]] = roots.get(n.inputs[0], n.inputs[0])
    return roots


def lifetimes(graph: Graph, layers: Sequence[LayerCost]) -> list[Buffer]:
    """The buffers of the main graph: activations (views joined with what they view) and the scratch of each layer."""
    nodes, end = graph.nodes, max(len(graph.nodes) - 1, 0)
    roots = _view_roots(nodes)
    life: dict[int, list[int]] = {}

    def use(tensor: int, at: int) -> None:
        root = roots.get(tensor, tensor)
        if tensor == ABSENT or graph.tensors[root].constant or graph.tensors[root].qtype.kind == "resource":
            return
        span = life.setdefault(root, [at, at])
        span[0], span[1] = min(span[0], at), max(span[1], at)

    for i in graph.inputs:
        use(i, 0)
    for at, node in enumerate(nodes):
        for i in (*node.inputs, *node.outputs):
            use(i, at)
    for i in graph.outputs:
        use(i, end)
    buffers = [Buffer(graph.tensors[i].name, graph.tensors[i].nbytes, *span) for i, span in life.items()]
    for at, layer in enumerate(layers):
        if layer.estimate.scratch_bytes:
            buffers.append(Buffer(f"scratch of layer {layer.layer}", layer.estimate.scratch_bytes, at, at))
    return buffers


def plan(graph: Graph, layers: Sequence[LayerCost]) -> MemoryPlan:
    """RAM and flash of a graph whose layers cost ``layers``; the same for all targets that need the same scratch."""
    key = plan, tuple(c.estimate.scratch_bytes for c in layers)
    if key not in graph.derived:
        graph.derived[key] = _plan(graph, layers)
    found = graph.derived[key]
    assert isinstance(found, MemoryPlan)
    return found


def _plan(graph: Graph, layers: Sequence[LayerCost]) -> MemoryPlan:
    buffers = lifetimes(graph, layers)
    placements, arena = plan_arena(buffers)
    live = tuple(sum(b.size_bytes for b in buffers if b.first <= at <= b.last) for at in range(len(graph.nodes)))
    used = {i for n in graph.nodes for i in n.inputs if i != ABSENT and graph.tensors[i].constant}
    constants = sum(graph.tensors[i].nbytes for i in used)
    for g in graph.called:
        constants += sum(t.nbytes for t in g.tensors if t.constant)
    return MemoryPlan(placements, live, arena, _variables(graph), constants, max(graph.file_bytes, constants))
