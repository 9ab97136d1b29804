"""A float graph and decisions in, a graph of integers out: step three of quantization, without a choice of its own.

Tensors keep the indices that they have in the float graph; what stands between integer and float layers comes behind.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from fxsim.arith.multiplier import float32
from fxsim.errors import FxsimError
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Attributes
from fxsim.model.qtype import INT32, INT64, Array, QType, QuantParams
from fxsim.quant.quantizers import to_integers
from fxsim.quant.rules import (
    JOIN,
    KEEP,
    Decision,
    Decisions,
    Weighted,
    affine,
    bias_of,
    data_operands,
    settle,
    takes,
    weighted,
)

__all__ = ["Decision", "integer_layers", "realize", "settle"]
Io = Literal["float32", "integer"]
FloatWeights = Literal["dynamic", "dequantized"]


def integer_layers(graph: Graph, decisions: Decisions, stay_float: Collection[int] = ()) -> frozenset[int]:
    """The layers that run on integers: all their data is decided, and the op takes it."""
    return frozenset(n.index for n in graph.nodes if n.index not in stay_float and _is_integer(graph, n, decisions))


def _is_integer(graph: Graph, node: Node, decisions: Decisions) -> bool:
    data = data_operands(graph, node)
    if not data or not all(i in decisions for i in data):
        return False
    w = weighted(graph, node)
    if w is not None and node.inputs[w.weight] not in decisions:
        return False
    return all(takes(node.op, decisions[i].qtype) for i in data)


def realize(
    graph: Graph, decisions: Decisions, constants: Mapping[int, npt.ArrayLike] | None = None, io: Io = "float32",
    float_weights: FloatWeights = "dynamic", stay_float: Collection[int] = (),
) -> Graph:  # fmt: skip
    """The graph in which every decided tensor holds ``round(x / scale) + zero_point``, biases ``round(b / (sx * sw))``.

    Args:
        graph: float32, in the dialect of ``.tflite``.
        decisions: tensor index -> type and scale, of data and of weights; :func:`settle` is applied to them.
        constants: constant index -> its raw integers, where they are not just the rounded (ties away) and clamped ones.
            For a bias: in units of the input's scale times the weight's, where it is not the rounded one.
        io: ``float32`` inputs and outputs with QUANTIZE and DEQUANTIZE, or ``integer`` ones.
        float_weights: what a layer of float data with integer weights does: it quantizes its input at run time
            (``dynamic``), or reads its weights through DEQUANTIZE.
        stay_float: layers that stay float, whatever is decided of their tensors.

    Raises:
        FxsimError: if a decision or a constant does not fit its tensor.
    """
    if io not in ("float32", "integer"):
        raise FxsimError(f"realize: io is {io!r}; allowed: 'float32', 'integer'")
    _hold(graph, decisions, constants or {})
    settled = settle(graph, decisions)
    integer = integer_layers(graph, settled, stay_float)
    return _Realizer(graph, settled, dict(constants or {}), io, float_weights == "dynamic", integer).graph()


def _hold(graph: Graph, decisions: Decisions, constants: Mapping[int, npt.ArrayLike]) -> None:
    """Holds decisions and constants to the tensors that they are of."""
    for i in (*decisions, *constants):
        t = graph.tensor(i)
        if t.qtype.kind != "float":
            raise FxsimError(f"realize: tensor {i} {t.name!r} is {t.qtype.name}; allowed: float tensors")
    for i, raw in constants.items():
        t, values = graph.tensors[i], np.asarray(raw)
        if not t.constant or values.shape != t.shape or values.dtype.kind not in "iu":
            raise FxsimError(
                f"realize: constants[{i}] is {values.dtype} {list(values.shape)}; tensor {t.name!r} "
                f"{'takes integers of' if t.constant else 'is no constant of'} {list(t.shape)}"
            )
        q = decisions[i].qtype if i in decisions else None
        if q is not None and values.size and not (q.min <= values.min() and values.max() <= q.max):
            raise FxsimError(
                f"realize: constants[{i}] holds {values.min()}..{values.max()}; {q.name} takes {q.min}..{q.max}"
            )


@dataclass(slots=True)
class _Realizer:
    """One graph on its way."""

    source: Graph
    """the float graph"""
    decided: dict[int, Decision]
    constants: Mapping[int, npt.ArrayLike]
    io: Io
    dynamic: bool
    integer: frozenset[int]
    """the layers that run on integers"""
    tensors: list[Tensor] = field(init=False)
    border: set[int] = field(init=False)
    """inputs and outputs that stay float: there the float tensor has the name, elsewhere the one that keeps the index"""
    nodes: list[Node] = field(default_factory=list)
    held: dict[tuple[int, Decision | None], int] = field(default_factory=dict)
    """(tensor of the float graph, how it is held; None for float) -> the tensor that holds it so"""
    made: dict[int, Decision | None] = field(default_factory=dict)
    """tensor of the float graph -> how the layer that makes it leaves it"""

    def __post_init__(self) -> None:
        """Forgets the decisions that no layer can use."""
        g = self.source
        self.tensors = list(g.tensors)
        used = {i for n in g.nodes if n.index in self.integer for i in data_operands(g, n)}
        used |= {n.inputs[w.weight] for n in g.nodes if (w := weighted(g, n)) is not None}
        self.decided = {i: d for i, d in self.decided.items() if i in used}
        self.border = {*g.inputs, *g.outputs} & self.decided.keys() if self.io == "float32" else set()

    def graph(self) -> Graph:
        """The whole graph."""
        g = self.source
        inputs = [self._entry(i) for i in g.inputs]
        for node in g.nodes:
            reads = [i if i == ABSENT else self._operand(node, place, i) for place, i in enumerate(node.inputs)]
            for i in node.outputs:
                self.made[i] = self.decided.get(i) if node.index in self.integer else None
            writes = [self._held(i, self.made[i]) for i in node.outputs]
            attrs = node.attributes
            if isinstance(attrs, Sum):  # scales that happen to be powers of two are rescaled as all others
                attrs = replace(attrs, pot_scale_int16=False)
            added = replace(node, inputs=tuple(reads), outputs=tuple(writes), attributes=attrs)
            self.nodes.append(replace(added, index=len(self.nodes)))
        outputs = [self._exit(i) for i in g.outputs]
        return Graph(g.name, tuple(self.tensors), tuple(self.nodes), tuple(inputs), tuple(outputs), g.called)

    def _operand(self, node: Node, place: int, i: int) -> int:
        """The tensor that the layer reads in that place."""
        w = weighted(self.source, node)
        if self.source.tensors[i].qtype.kind != "float":
            return i
        integer = node.index in self.integer
        if w is not None and place == w.weight and i in self.decided:
            return self._held(i, self.decided[i]) if integer else self._float_weight(i, w)
        if w is not None and place == w.bias and integer:
            return self._bias(node, w)
        return self._read(i, self._wanted(node, i) if integer else None)

    def _wanted(self, node: Node, i: int) -> Decision:
        """How an integer layer reads tensor ``i``: as its output where they share a scale, and always in one register."""
        own, outputs = self.decided[i], [self.decided[o] for o in node.outputs if o in self.decided]
        if not outputs:
            return own
        if node.op in KEEP | JOIN:
            return outputs[0]
        qtype = outputs[0].qtype
        if own.qtype.registered.name == qtype.registered.name:
            return own
        return Decision(qtype, affine(*own.span, qtype, symmetric=qtype.bits > 8))

    def _read(self, i: int, form: Decision | None) -> int:
        """Tensor ``i`` in that form, through QUANTIZE or DEQUANTIZE if its layer makes it otherwise."""
        made = self.made.get(i)
        if self.source.tensors[i].constant or form == made or (i, form) in self.held:
            return self._held(i, form)
        self._convert(self._held(i, made), target := self._held(i, form))
        return target

    def _convert(self, source: int, target: int) -> None:
        """A layer between two forms of a tensor."""
        t = self.tensors[target]
        op = "DEQUANTIZE" if t.qtype.kind == "float" else "QUANTIZE"
        self.nodes.append(Node(len(self.nodes), op, (source,), (target,), Attributes(), t.name))

    def _held(self, i: int, form: Decision | None) -> int:
        """The tensor that holds ``i`` of the float graph in that form."""
        t = self.source.tensors[i]
        if form is None or (i, form) in self.held:
            return self._place(i, form, t)
        raw = None
        if t.data is not None:
            given = self.constants.get(i) if form == self.decided.get(i) else None
            raw = _frozen(to_integers(t.data, form.qtype, form.quant) if given is None else given, form.qtype)
        changed = replace(t, qtype=form.qtype, quant=form.quant, data=raw, encoding=form.encoding)
        return self._place(i, form, changed, own=form == self.decided.get(i))

    def _place(self, i: int, form: Decision | None, t: Tensor, *, own: bool = False) -> int:
        """Where tensor ``i`` lies in that form: at ``i`` itself if that is its own form, else behind."""
        key = i, form
        if key not in self.held:
            own = (own or (form is None and i not in self.decided)) and i not in self.held.values()
            index = i if own else len(self.tensors)
            named = form is None if i in self.border else own
            made = replace(t, index=index, name=t.name if named else f"{t.name}_{t.qtype.name}")
            self.tensors[index : index + 1] = [made]
            self.held[key] = index
        return self.held[key]

    def _entry(self, i: int) -> int:
        """A model input."""
        self.made[i] = self.decided.get(i) if self.io == "integer" else None
        return self._held(i, self.made[i])

    def _exit(self, i: int) -> int:
        """A model output."""
        real = self.source.tensors[i].qtype.kind == "float"
        return self._read(i, None) if real and self.io == "float32" else self._held(i, self.made.get(i))

    def _bias(self, node: Node, w: Weighted) -> int:
        """The layer's bias in units of its sums."""
        t, x = bias_of(self.source, node, w), self._wanted(node, node.inputs[w.data])
        assert t is not None
        assert t.data is not None
        form = bias_form(x, self.decided[node.inputs[w.weight]])
        given = self.constants.get(t.index)
        raw = to_integers(t.data, form.qtype, form.quant) if given is None else np.reshape(given, t.shape)
        changed = replace(t, qtype=form.qtype, quant=form.quant, data=_frozen(raw, form.qtype))
        return self._place(t.index, form, changed, own=True)

    def _float_weight(self, i: int, w: Weighted) -> int:
        """Integer weights for float data: as they are, or through DEQUANTIZE."""
        stored = self._held(i, self.decided[i])
        if self.dynamic and w.hybrid:
            return stored
        known = (i, None) in self.held
        target = self._place(i, None, replace(self.source.tensors[i], data=None))
        if not known:
            self._convert(stored, target)
        return target


def bias_form(data: Decision, weight: Decision) -> Decision:
    """How a bias is held: in 32 bits, 64 beside data of more than 8, in units of data scale times weight scale."""
    scale = tuple(float32(data.quant.scale[0] * s) for s in weight.quant.scale)
    axis = None if weight.quant.per_tensor else 0
    return Decision(INT64 if data.qtype.bits > 8 else INT32, QuantParams(scale, (0,) * len(scale), axis))


def _frozen(values: npt.ArrayLike, qtype: QType) -> Array:
    raw = np.array(values, qtype.dtype, order="C")
    raw.setflags(write=False)
    return raw
