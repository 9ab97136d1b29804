"""A graph in the hands of a rewriting: nodes may go, come and be rewired; tensors are only added, so that indices last."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.onnx_quantize import Linear
from fxsim.model.qtype import Array, QType, Shape

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, slots=True)
class Params:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear: tensors, and values where those are constant scalars."""

    scale: int
    zero: int
    scale_value: float | None
    zero_value: int | None
    qtype: QType

    @property
    def scalar(self) -> bool:
        """True if both are there, constant and one value each."""
        return self.zero != ABSENT and self.scale_value is not None and self.zero_value is not None

    def equals(self, other: "Params") -> bool:
        """True if both are constant scalars of the same values and type."""
        mine = self.scale_value, self.zero_value, self.qtype
        return self.scalar and other.scalar and mine == (other.scale_value, other.zero_value, other.qtype)


@dataclass(slots=True)
class Draft:
    """The nodes of a graph and its tensors by index; what makes and what uses a tensor is known at all times."""

    graph: Graph
    tensors: list[Tensor] = field(init=False)
    outputs: set[int] = field(init=False)
    _nodes: dict[Node, None] = field(init=False, default_factory=dict)
    _made: dict[int, Node] = field(init=False, default_factory=dict)
    _used: dict[int, dict[Node, int]] = field(init=False, default_factory=dict)
    """tensor -> its users, each with how many of its inputs it is"""

    def __post_init__(self) -> None:
        """Starts from the graph."""
        self.tensors, self.outputs = list(self.graph.tensors), set(self.graph.outputs)
        for node in self.graph.nodes:
            self._put(node)

    def finish(self) -> Graph:
        """The graph, its nodes in an order in which each follows what it uses."""
        missing = {n: sum(i in self._made for i in n.inputs) for n in self._nodes}
        ordered = [n for n, count in missing.items() if not count]
        for node in ordered:  # grows on the way
            for out in node.outputs:
                for user, times in self._used.get(out, {}).items():
                    missing[user] -= times
                    if not missing[user]:
                        ordered.append(user)
        assert len(ordered) == len(self._nodes), "a rewriting made a circle"
        numbered = tuple(replace(n, index=i) for i, n in enumerate(ordered))
        return replace(self.graph, tensors=tuple(self.tensors), nodes=numbered, derived={})

    def _put(self, node: Node) -> None:
        self._nodes[node] = None
        for out in node.outputs:
            self._made[out] = node
        for i in node.inputs:
            users = self._used.setdefault(i, {})
            users[node] = users.get(node, 0) + 1

    def nodes(self, *ops: str) -> list[Node]:
        """The nodes of these ops, or all."""
        return [n for n in self._nodes if not ops or n.op in ops]

    def there(self, node: Node) -> bool:
        """True if the node has neither gone nor been rewired."""
        return node in self._nodes

    def producer(self, tensor: int) -> Node | None:
        """The node that makes the tensor."""
        return self._made.get(tensor)

    def current(self, node: Node) -> Node:
        """The node that now makes what ``node`` made."""
        return self._made[node.outputs[0]]

    def consumers(self, tensor: int) -> list[Node]:
        """The nodes that use the tensor, once for each input that it is."""
        return [n for n, times in self._used.get(tensor, {}).items() for _ in range(times)]

    def only(self, tensor: int) -> Node | None:
        """The one node that uses the tensor, once; None if there are others or if it is an output of the graph."""
        found = self.consumers(tensor)
        return found[0] if len(found) == 1 and tensor not in self.outputs else None

    def tensor(self, name: str, shape: Shape, qtype: QType, data: Array | None = None) -> int:
        """Adds a tensor."""
        if data is not None:
            data.setflags(write=False)
        self.tensors.append(Tensor(len(self.tensors), name, shape, qtype, None, data))
        return len(self.tensors) - 1

    def like(self, tensor: int, name: str) -> int:
        """Adds a tensor of the same type and shape."""
        t = self.tensors[tensor]
        return self.tensor(name, t.shape, t.qtype)

    def node(self, op: str, inputs: Sequence[int], outputs: Sequence[int], attributes: Attributes, name: str) -> Node:
        """Adds a node."""
        made = Node(len(self._nodes), op, tuple(inputs), tuple(outputs), attributes, name)
        self._put(made)
        return made

    def remove(self, nodes: Iterable[Node]) -> None:
        """Takes nodes away."""
        for node in nodes:
            del self._nodes[node]
            for out in node.outputs:
                if self._made.get(out) is node:
                    del self._made[out]
            for i in set(node.inputs):
                del self._used[i][node]

    def swap(self, old: Node, new: Node) -> Node:
        """Puts ``new`` in the place of ``old``."""
        self.remove([old])
        self._put(new)
        return new

    def rewire(self, node: Node, position: int, tensor: int) -> Node:
        """``node`` with another input at ``position``."""
        inputs = list(node.inputs)
        inputs[position] = tensor
        return self.swap(node, replace(node, inputs=tuple(inputs)))

    def redirect(self, old: int, new: int) -> None:
        """All users of tensor ``old`` use ``new`` instead."""
        for user in list(self._used.get(old, {})):
            self.swap(user, replace(user, inputs=tuple(new if i == old else i for i in user.inputs)))

    def params(self, node: Node) -> Params:
        """The scale and zero point of a Q or DQ."""
        scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else ABSENT
        qtype = self.tensors[node.outputs[0] if node.op == QUANTIZE else node.inputs[0]].qtype
        s, z = self.one(scale), self.one(zero) if zero != ABSENT else None
        return Params(scale, zero, s, None if z is None else int(z), qtype)

    def one(self, tensor: int) -> float | None:
        """The value of a constant of one element, else None."""
        t = self.tensors[tensor]
        return float(np.asarray(t.data).reshape(())) if t.data is not None and t.data.size == 1 else None

    def zero(self, params: Params) -> int:
        """The zero point's tensor; a new one of 0 where the node has none."""
        if params.zero != ABSENT:
            return params.zero
        return self.tensor("zero_point", (), params.qtype, np.zeros((), params.qtype.dtype))


def axis_of(node: Node) -> int:
    """The axis of the scales of a Q or DQ."""
    assert isinstance(node.attributes, Linear)
    return node.attributes.axis


def blocked(node: Node) -> bool:
    """True if a Q or DQ has several scales along its axis' blocks."""
    assert isinstance(node.attributes, Linear)
    return node.attributes.block > 0
