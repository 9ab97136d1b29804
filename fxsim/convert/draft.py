"""A graph in the making, of either dialect: values and ops that may still be changed, constants still in float64."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.onnx_base import OnnxSpec
from fxsim.model.qtype import BOOL, FLOAT32, INT32, INT64, Array, QType, Shape

_INTEGERS = {"int32": INT32, "int64": INT64}


@dataclass(slots=True, eq=False)
class Value:
    """A tensor in the making."""

    name: str
    shape: Shape
    qtype: QType = FLOAT32
    data: Array | None = None

    @property
    def constant(self) -> bool:
        """True if its values are known."""
        return self.data is not None


@dataclass(slots=True, eq=False)
class Op:
    """A layer in the making."""

    op: str
    inputs: list[Value | None]
    outputs: list[Value]
    attributes: Attributes


@dataclass(slots=True)
class Draft:
    """Values and ops in order of execution."""

    name: str
    ops: list[Op] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    label: str = ""
    """what the values are named after that are made now"""
    _taken: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def naming(self, label: str) -> Iterator[None]:
        """Names what is made within after ``label``."""
        before, self.label = self.label, label
        yield
        self.label = before

    def _named(self, what: str = "") -> str:
        name = f"{self.label}:{what}" if what else self.label
        self._taken[name] = self._taken.get(name, 0) + 1
        return name if self._taken[name] == 1 else f"{name}:{self._taken[name]}"

    def input(self, name: str, shape: Shape, qtype: QType) -> Value:
        """An input of the model."""
        value = Value(name, shape, qtype)
        self.inputs.append(value)
        self._taken[name] = 1
        return value

    def output(self, name: str, value: Value) -> None:
        """Makes ``value``, which some layer made, an output of the model, under its name."""
        value.name = name
        self.outputs.append(value)

    def constant(self, data: npt.ArrayLike, what: str = "const") -> Value:
        """A constant: reals are held in float64 until the graph is made, integers as int32 unless they are int64 arrays."""
        array = np.asarray(data)
        if array.dtype.kind == "f":
            return Value(self._named(what), array.shape, FLOAT32, array.astype(np.float64))
        if array.dtype.kind == "b":
            return Value(self._named(what), array.shape, BOOL, array)
        if not isinstance(data, np.ndarray):
            array = array.astype(np.int32)
        qtype = _INTEGERS.get(array.dtype.name) or QType(8 * array.itemsize, array.dtype.kind == "i")
        return Value(self._named(what), array.shape, qtype, array)

    def emit(
        self,
        op: str,
        inputs: Sequence[Value | None],
        attributes: Attributes | None = None,
        qtype: QType | None = None,
        outputs: int = 1,
        what: str = "",
    ) -> list[Value]:
        """Adds a layer and returns what it makes; the shapes follow from the op."""
        found = spec(op)
        attributes = attributes or found.attributes()
        operands = [None if v is None else _tensor(0, v) for v in inputs]
        shapes = found.infer(operands, attributes, outputs)
        first = next(v for v in inputs[found.data_input :] if v is not None)
        types = [qtype or first.qtype] * outputs
        if isinstance(found, OnnxSpec):
            types = list(found.types(operands, attributes, outputs))
        made = [Value(self._named(what), shape, kind) for shape, kind in zip(shapes, types, strict=True)]
        self.ops.append(Op(op, list(inputs), made, attributes))
        return made

    def uses(self) -> dict[int, int]:
        """How often each value is read, by ``id``; being an output of the model counts."""
        counts: dict[int, int] = {}
        for v in [*(v for op in self.ops for v in op.inputs), *self.outputs]:
            if v is not None:
                counts[id(v)] = counts.get(id(v), 0) + 1
        return counts

    def sweep(self) -> None:
        """Drops layers whose outputs nobody reads."""
        wanted = {id(v) for v in self.outputs}
        kept = []
        for op in reversed(self.ops):
            if any(id(v) in wanted for v in op.outputs):
                wanted |= {id(v) for v in op.inputs if v is not None}
                kept.append(op)
        self.ops = kept[::-1]

    def graph(self) -> Graph:
        """The graph: every real constant is rounded once, to float32."""
        self.sweep()
        index: dict[int, int] = {}
        tensors: list[Tensor] = []

        def place(values: Iterable[Value | None]) -> tuple[int, ...]:
            result = []
            for v in values:
                if v is not None and id(v) not in index:
                    index[id(v)] = len(tensors)
                    tensors.append(_tensor(len(tensors), v))
                result.append(ABSENT if v is None else index[id(v)])
            return tuple(result)

        inputs = place(self.inputs)
        nodes = []
        for i, op in enumerate(self.ops):
            ins, outs = place(op.inputs), place(op.outputs)
            nodes.append(Node(i, op.op, ins, outs, op.attributes, op.outputs[0].name))
        return Graph(self.name, tuple(tensors), tuple(nodes), inputs, place(self.outputs))


def _tensor(index: int, value: Value) -> Tensor:
    data = None
    if value.data is not None:
        data = np.ascontiguousarray(value.data.astype(value.qtype.dtype)).reshape(value.shape)
        data.setflags(write=False)
    return Tensor(index, value.name, value.shape, value.qtype, None, data)
