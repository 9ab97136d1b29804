"""What an Ethos-U compiler sees of each layer of a network: formats of its tensors, who else uses them, weight values.

Channels lie in bricks of 16 inside the NPU. They lie one after the other in tensors that the network takes or gives, that
the host uses, and where producer and consumers see another width or number of channels (behind a reshape, before a
softmax), or where channels are joined or cut at other places than multiples of 16.
"""

import math
from collections.abc import Sequence

import numpy as np

from fxsim.cost.ethos_array import Size
from fxsim.cost.ethos_ops import BRICK, FREE, Stage, Surroundings, deepened
from fxsim.cost.ethos_weights import Weights
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.live import works as works_of
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.qtype import Shape
from fxsim.model.work import Work

MACS = ("conv", "depthwise", "dense")
FUSES = (*MACS, "pool", "elementwise")
"""layers that may read a table on their way out"""
JOINS = ("CONCATENATION", "PACK")
WINDOWED = ("conv", "depthwise", "pool")
SHORT = 8
"""pixels with fewer channels than this are joined where shape means nothing"""


def size_of(shape: Shape) -> Size:
    """The last three axes of a tensor; what lies before them is height too."""
    padded = (1, 1, 1, *shape)
    return Size(math.prod(padded[:-2]), padded[-2], padded[-1])


def _shapeless(graph: Graph, node: Node, work: Work) -> bool:
    """True for an elementwise layer on short pixels whose operands are alike or single numbers."""
    if not node.outputs or (work.kind not in ("elementwise", "lookup") and node.op != "QUANTIZE"):
        return False
    made = graph.tensors[node.outputs[0]]
    alike = all(
        graph.tensors[i].shape == made.shape for i in node.inputs if i != ABSENT and graph.tensors[i].elements > 1
    )
    return alike and made.elements > BRICK and size_of(made.shape).d < SHORT


def _apart(node: Node, work: Work, made: Size) -> bool:
    """True if the activation of a windowed layer is one on its own: on short pixels it sees another shape."""
    activation = getattr(node.attributes, "activation", "NONE")
    short = made.d < SHORT and made.elements > BRICK
    return short and activation != "NONE" and work.kind in WINDOWED


class _Roles:
    """Views, and layers that a neighbour does on its way: paddings before a window, tables behind any operation."""

    def __init__(self, graph: Graph, on_npu: Sequence[bool], *, chains: bool) -> None:
        self.roots: dict[int, int] = {}
        self.done: set[int] = set()
        self.unpadded: dict[int, int] = {}
        """the tensor that a padding takes, by the one that it makes"""
        self.tables: set[int] = set()
        """nodes that read the table of the layer behind them"""
        self.chained: dict[int, int] = {}
        """the other input of the elementwise layer that a node does on its way out"""
        users: dict[int, list[int]] = {}
        for at, n in enumerate(graph.nodes):
            for i in n.inputs:
                users.setdefault(i, []).append(at)
        makers = {n.outputs[0]: at for at, n in enumerate(graph.nodes) if n.outputs}
        works = works_of(graph)
        for at, (n, work) in enumerate(zip(graph.nodes, works, strict=True)):
            if not n.inputs or not n.outputs:
                continue
            source, target = n.inputs[0], n.outputs[0]
            if work.kind == "none":
                self.roots[target] = self.root(source)
            elif on_npu[at] and n.op == "PAD" and target not in graph.outputs:
                x, y = (size_of(graph.tensors[i].shape) for i in (source, target))
                behind = users.get(target, [])
                windows = [on_npu[u] and works[u].kind in WINDOWED for u in behind]
                if x.d == y.d and behind and all(windows):
                    self.roots[target] = self.root(source)
                    self.unpadded[target] = source
                    self.done.add(at)
            elif chains and on_npu[at] and work.kind == "elementwise" and len(n.inputs) == 2:
                self._chain(graph, at, makers, users, on_npu, works)
            elif on_npu[at] and work.kind == "lookup" and source in makers and source not in graph.outputs:
                before = makers[source]
                fuses = works[before].kind in FUSES and not self._reshaped(graph, at, before, works)
                if on_npu[before] and fuses and len(users[source]) == 1:
                    self.roots[source] = target
                    self.done.add(at)
                    self.tables.add(before)

    def _chain(
        self,
        graph: Graph,
        at: int,
        makers: dict[int, int],
        users: dict[int, list[int]],
        on_npu: Sequence[bool],
        works: Sequence[Work],
    ) -> None:
        """An elementwise layer right behind the one that makes one of its inputs for it alone is done with that one."""
        n = graph.nodes[at]
        for mine, other in (n.inputs, n.inputs[::-1]):
            same = mine >= 0 and other >= 0 and graph.tensors[mine].shape == graph.tensors[other].shape
            same = same and not self._reshaped(graph, at, at - 1, works)
            if same and makers.get(mine) == at - 1 and on_npu[at - 1] and works[at - 1].kind in (*MACS, "pool"):
                if len(users[mine]) == 1 and mine not in graph.outputs and not graph.tensors[other].constant:
                    self.roots[mine] = n.outputs[0]
                    self.done.add(at)
                    self.chained[at - 1] = other
                    return

    @staticmethod
    def _reshaped(graph: Graph, at: int, before: int, works: Sequence[Work]) -> bool:
        """True if a layer sees another shape than the windowed layer before it makes: they stay apart."""
        return works[before].kind in WINDOWED and _shapeless(graph, graph.nodes[at], works[at])

    def root(self, tensor: int) -> int:
        """The tensor that is stored."""
        while tensor in self.roots:
            tensor = self.roots[tensor]
        return tensor


def _seen_shape(graph: Graph, node: Node, work: Work, tensor: int) -> tuple[int, int]:
    """Width and channels of a tensor as a node takes or makes it."""
    t = graph.tensors[tensor]
    if node.op == "FULLY_CONNECTED":
        depth = graph.tensors[node.inputs[1]].shape[-1] if tensor == node.inputs[0] else t.shape[-1]
        return t.elements // max(depth, 1), depth
    size = size_of(t.shape)
    apart = tensor in node.outputs and _apart(node, work, size)
    size = deepened(size) if apart or _shapeless(graph, node, work) else size
    return (-1, -1) if node.op == "SOFTMAX" and tensor == node.inputs[0] else (size.w, size.d)


def _formats(graph: Graph, on_npu: Sequence[bool], roles: _Roles) -> tuple[set[int], set[int]]:
    """The tensors that others than the NPU use, and those whose channels lie one after the other."""
    outer = {roles.root(i) for i in (*graph.inputs, *graph.outputs)}
    seen: dict[int, set[tuple[int, int]]] = {}
    linear: set[int] = set()
    for at, (node, npu, work) in enumerate(zip(graph.nodes, on_npu, works_of(graph), strict=True)):
        view = not npu and node.outputs and node.outputs[0] in roles.roots
        if view or at in roles.done:
            continue
        used = [i for i in (*node.inputs, *node.outputs) if i != ABSENT and not graph.tensors[i].constant]
        for i in used:
            if not npu:
                outer.add(roles.root(i))
            seen.setdefault(roles.root(i), set()).add(_seen_shape(graph, node, work, roles.unpadded.get(i, i)))
        if node.op == "TRANSPOSE":
            linear.update(roles.root(i) for i in used)
        if node.op in FREE and any(graph.tensors[i].shape and graph.tensors[i].shape[-1] % BRICK for i in used):
            linear.update(roles.root(i) for i in used)
    linear |= outer | {i for i, shapes in seen.items() if len(shapes) > 1}
    return outer, linear


def _steps(graph: Graph, node: Node, bits: int, *, wide: bool) -> tuple[Stage, ...]:
    """The operations of a 16-bit leaky ReLU where the NPU's own does not do: the greater of two products, or more."""
    if not isinstance(node.attributes, LeakyRelu) or bits == 8:
        return ()
    source, target = (graph.tensors[i].quant for i in (node.inputs[0], node.outputs[0]))
    alpha, same = node.attributes.alpha, source == target
    if alpha in (0, -1) or (alpha > 0 and (same or wide)):
        return ()
    if 0 < alpha <= 1:
        return "multiply", *(() if same else ("multiply",)), "other"
    return "other", "other", "multiply", "add"


def _rims(graph: Graph, node: Node) -> tuple[Size, ...]:
    """What a padding fills: before and behind each axis, the whole of the others."""
    widths = graph.tensors[node.inputs[1]].data if node.op == "PAD" else None
    if widths is None:
        return ()
    made = graph.tensors[node.outputs[0]].shape
    each = ((axis, int(n)) for axis, ends in enumerate(widths) for n in ends if n)
    return tuple(size_of((*made[:axis], n, *made[axis + 1 :])) for axis, n in each)


def _values(t: Tensor) -> bool:
    """True if a constant has values of its own, not one element shown many times."""
    return t.data is not None and (t.data.ndim == 0 or any(t.data.strides))


def _weights(graph: Graph, node: Node, depthwise: bool) -> Weights | None:
    """The weights of a layer with MACs, as ``(O, KH, KW, I)``, less their zero point; remembered with the graph."""
    t = graph.tensors[node.inputs[1]]
    key = "ethos weights", t.index
    if key not in graph.derived:
        assert t.data is not None
        zero = t.quant.zero_point[0] if t.quant is not None and t.quant.zero_point else 0
        w = t.data
        if zero or w.dtype != np.int8:
            w = np.clip(w.astype(np.int16) - np.int16(zero), -255, 255)
        w = w.reshape(w.shape[0], 1, 1, -1) if w.ndim == 2 else w.transpose(3, 1, 2, 0) if depthwise else w
        graph.derived[key] = Weights(w)
    found = graph.derived[key]
    assert isinstance(found, Weights)
    return found


def surroundings(
    graph: Graph, on_npu: Sequence[bool], *, chains: bool
) -> tuple[tuple[Surroundings, Weights | None] | None, ...]:
    """For each node what a compiler knows; None for one that the NPU does not run, or whose weights have no values.

    ``chains``: the NPU does elementwise layers on the way out of others (U85).
    """
    key = "ethos surroundings", tuple(on_npu), chains
    if key in graph.derived:
        return graph.derived[key]  # type: ignore[return-value]
    roles = _Roles(graph, on_npu, chains=chains)
    outer, linear = _formats(graph, on_npu, roles)
    found: list[tuple[Surroundings, Weights | None] | None] = []
    for at, (node, npu, work) in enumerate(zip(graph.nodes, on_npu, works_of(graph), strict=True)):
        with_macs = work.kind in MACS
        if not npu or work.kind == "none" or (with_macs and not _values(graph.tensors[node.inputs[1]])):
            found.append(None)
            continue
        maps = [i for i in node.inputs if i != ABSENT and graph.tensors[i].qtype == graph.tensors[node.inputs[0]].qtype]
        second = size_of(graph.tensors[maps[1]].shape) if work.kind == "elementwise" and len(maps) > 1 else None
        if at in roles.chained:
            second = size_of(graph.tensors[roles.chained[at]].shape)
        source, target = roles.root(node.inputs[0]), roles.root(node.outputs[0])
        stored = graph.tensors[roles.unpadded.get(node.inputs[0], node.inputs[0])]
        made, in_place = graph.tensors[node.outputs[0]], node.op in FREE and target not in outer
        if node.op in JOINS:  # what others made must be copied to where it belongs
            copied = [i for i in maps if roles.root(i) in outer and not graph.tensors[i].constant]
            made, in_place = graph.tensors[copied[0]] if copied else made, not copied
        takes, makes = size_of(stored.shape), size_of(made.shape)
        if _shapeless(graph, node, work):
            takes = makes = deepened(makes)
            second = makes if second and second.elements > 1 else second
        about = Surroundings(
            node.op,
            makes,
            takes,
            second,
            linear_input=source in linear,
            linear_output=target in linear,
            outer_input=source in outer,
            outer_output=target in outer,
            chained=at in roles.chained,
            table=at in roles.tables,
            apart=_apart(node, work, makes),
            steps=_steps(graph, node, work.activation_bits, wide=chains),
            rims=_rims(graph, node),
            done=in_place or at in roles.done,
        )
        found.append((about, _weights(graph, node, work.kind == "depthwise") if with_macs else None))
    graph.derived[key] = tuple(found)
    return tuple(found)
