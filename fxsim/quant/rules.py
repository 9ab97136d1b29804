"""What the engines demand of the types and scales around each op: data, and one pass that honours it.

Source: tflite/kernels, Prepare of each op @ LiteRT 2.3.0; LiteRT's 8-bit quantization specification.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fxsim.arith.multiplier import float32
from fxsim.model.graph import ABSENT, Encoding, Graph, Node, Tensor
from fxsim.model.ops import OPS
from fxsim.model.ops.conv import WEIGHT_AXES
from fxsim.model.qtype import QType, QuantParams


@dataclass(frozen=True, slots=True)
class Decision:
    """How one tensor is held as integers; ``encoding`` where a constant is stored in fewer bits than its type."""

    qtype: QType
    quant: QuantParams
    encoding: Encoding | None = None

    @property
    def span(self) -> tuple[float, float]:
        """The least and greatest real value, for a single scale."""
        (scale, zero), q = (self.quant.scale[0], self.quant.zero_point[0]), self.qtype
        return scale * (q.min - zero), scale * (q.max - zero)


Decisions = Mapping[int, Decision]


@dataclass(frozen=True, slots=True)
class Weighted:
    """Where a layer of products has its data, weight and bias, and which axis of the weight counts output channels."""

    data: int
    weight: int
    bias: int
    axis: int
    hybrid: bool = True
    """the engines take float data with integer weights"""


_PLACES = {op: (0, 1, 2) for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")} | {"TRANSPOSE_CONV": (2, 1, 3)}
WEIGHTED = {op: Weighted(*at, WEIGHT_AXES[op][0], hybrid=op != "TRANSPOSE_CONV") for op, at in _PLACES.items()}
"""the ops whose constants are weights and biases"""
KEEP = frozenset(
    "MAX_POOL_2D AVERAGE_POOL_2D RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE PAD PADV2 MIRROR_PAD SLICE STRIDED_SLICE SPLIT "
    "SPLIT_V UNPACK TILE GATHER GATHER_ND SPACE_TO_DEPTH DEPTH_TO_SPACE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND REVERSE_V2 "
    "REVERSE_SEQUENCE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR BROADCAST_TO TOPK_V2 REDUCE_MAX REDUCE_MIN CUMSUM "
    "EMBEDDING_LOOKUP".split()
)
"""ops that leave the scale as it is"""
JOIN = frozenset("CONCATENATION PACK MAXIMUM MINIMUM SELECT SELECT_V2 DYNAMIC_UPDATE_SLICE".split())
"""ops whose inputs and output have one scale"""
FIXED: dict[str, tuple[float, int, float]] = {
    "LOGISTIC": (1 / 256, -128, 2.0**-15),
    "SOFTMAX": (1 / 256, -128, 2.0**-15),
    "TANH": (1 / 128, 0, 2.0**-15),
    "L2_NORMALIZATION": (1 / 128, 0, 0.0),
    "LOG_SOFTMAX": (1 / 16, 127, 0.0),
}
"""op -> scale and zero point of an int8 output, scale of an int16 one; uint8 zero points are greater by 128"""


def real_operands(graph: Graph, node: Node) -> list[int]:
    """The float tensors that a layer reads and writes, each once."""
    found = (i for i in (*node.inputs, *node.outputs) if i != ABSENT)
    return [i for i in dict.fromkeys(found) if graph.tensors[i].qtype.kind == "float"]


def weighted(graph: Graph, node: Node) -> Weighted | None:
    """The places of a layer of products whose weight is a constant, and whose bias is one or absent."""
    w = WEIGHTED.get(node.op)
    if w is None or not graph.tensors[node.inputs[w.weight]].constant:
        return None
    bias = bias_of(graph, node, w)
    return w if bias is None or bias.constant else None


def bias_of(graph: Graph, node: Node, w: Weighted) -> Tensor | None:
    """The bias of a layer, if it has one."""
    i = node.inputs[w.bias] if len(node.inputs) > w.bias else ABSENT
    return None if i == ABSENT else graph.tensors[i]


def data_operands(graph: Graph, node: Node) -> list[int]:
    """The float tensors of a layer that are neither its weight nor its bias: those whose scales are decided as data."""
    w = weighted(graph, node)
    apart = {node.inputs[p] for p in (w.weight, w.bias) if p < len(node.inputs)} if w else set()
    return [i for i in real_operands(graph, node) if i not in apart or i in node.outputs]


def fixed(op: str, qtype: QType) -> Decision | None:
    """What the engines demand of the output of ``op``, or None: below 8 bits it has 8, above 16."""
    if op not in FIXED:
        return None
    scale, zero, wide = FIXED[op]
    if qtype.bits > 8:
        return Decision(QType(16), QuantParams((wide,), (0,))) if wide else None
    return Decision(QType(8, qtype.signed), QuantParams((scale,), (zero if qtype.signed else zero + 128,)))


def takes(op: str, qtype: QType) -> bool:
    """True if ``op`` has arithmetic on integers of that type, or of the 8 or 16 bits in whose place they compute."""
    known = OPS.get(op)
    if known is None or (op in FIXED and fixed(op, qtype) is None):
        return False
    place = min(known.data_input, len(known.dtypes) - 1)
    allowed = known.dtypes[place] if known.dtypes else ()
    return not allowed or qtype.registered.name in allowed


def affine(
    low: float, high: float, qtype: QType, *, symmetric: bool = False, power_of_two: bool = False
) -> QuantParams:
    """The scale, exact in float32, and the zero point with which ``qtype`` holds ``low..high`` and exactly 0.

    ``scale = (high - low) / (max - min)`` and ``zero_point = round(min - low / scale)``; symmetric: ``scale =
    max(|low|, |high|) / max``, zero point 0 (128 for uint8). A power of two is the next one above. A range of nothing
    has the scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        high = max(-low, high)
        scale = _scale(high / max(1, qtype.max - middle(qtype)), power_of_two)
        return QuantParams((scale,), (middle(qtype),))
    scale = _scale((high - low) / (qtype.max - qtype.min), power_of_two)
    zero = round(qtype.min - low / scale)
    return QuantParams((scale,), (min(max(zero, qtype.min), qtype.max),))


def middle(qtype: QType) -> int:
    """The zero point of a symmetric tensor."""
    return 0 if qtype.signed else 1 << (qtype.bits - 1)


LEAST_SCALE = 2.0**-60
"""a smaller one would leave what the engines' shifts can express"""


def _scale(wanted: float, power_of_two: bool) -> float:
    if wanted == 0.0:
        return 1.0
    wanted = max(wanted, LEAST_SCALE)
    if not power_of_two:
        return float32(wanted)
    return 2.0 ** math.ceil(math.log2(wanted) - 1e-9)


def ties(graph: Graph) -> Iterator[tuple[Node, list[int], list[int]]]:
    """Each layer that shares scales: the layer, the float outputs and the float inputs that share."""
    for node in graph.nodes:
        if node.op in KEEP | JOIN:
            inputs = [i for i in node.inputs if i != ABSENT and graph.tensors[i].qtype.kind == "float"]
            outputs = [i for i in node.outputs if graph.tensors[i].qtype.kind == "float"]
            if outputs and inputs:
                yield node, outputs, inputs if node.op in JOIN | {"PADV2"} else inputs[:1]


def groups(graph: Graph, decided: Decisions) -> dict[int, tuple[int, ...]]:
    """Tensor -> the tensors that must share its type and scale, itself among them.

    What an op with a fixed output makes is not joined with others: a layer that wants another scale rescales it.
    """
    parent: dict[int, int] = {}

    def root(i: int) -> int:
        while parent.get(i, i) != i:
            i = parent[i]
        return i

    pinned = {i for n in graph.nodes if n.op in FIXED for i in n.outputs}
    for node, outputs, inputs in ties(graph):
        if node.op not in JOIN and inputs[0] in pinned:
            pinned.update(outputs)  # a fixed scale goes on through what leaves it as it is
        apart = pinned if node.op in JOIN else ()
        free = [i for i in (*outputs, *inputs) if i in decided and i not in apart]
        for i in free[1:]:
            parent[root(i)] = root(free[0])
    found: dict[int, list[int]] = {}
    for i in decided:
        found.setdefault(root(i), []).append(i)
    return {i: tuple(members) for members in found.values() for i in members}


def settle(graph: Graph, decisions: Decisions) -> dict[int, Decision]:
    """The decisions as the engines take them: fixed outputs, shared scales, 16 bits without a zero point. Idempotent.

    Tensors that share a scale get the one that holds the ranges of all of them.
    """
    decided = {i: _centred(d) for i, d in decisions.items()}
    pinned: dict[int, Decision] = {}
    for node in graph.nodes:
        for i in node.outputs:
            d = fixed(node.op, decided[i].qtype) if i in decided else None
            if d is not None:
                pinned[i] = d
    for members in {m: None for m in groups(graph, decided).values()}:
        fixed_here = [pinned[i] for i in members if i in pinned]
        shared = fixed_here[0] if fixed_here else _union([decided[i] for i in members])
        for i in members:
            decided[i] = shared if len(members) > 1 or fixed_here else decided[i]
    return decided


def _centred(d: Decision) -> Decision:
    """16 bits (and what computes in their place) are symmetric."""
    if d.qtype.bits <= 8 or not any(d.quant.zero_point) or not d.quant.per_tensor:
        return d
    return replace(d, quant=affine(*d.span, d.qtype, symmetric=True))


def _union(members: Sequence[Decision]) -> Decision:
    """The one decision for tensors that share a scale: theirs if it is the same, else one for all their ranges."""
    first = members[0]
    if all((m.qtype, m.quant) == (first.qtype, first.quant) for m in members):
        return first
    qtype, spans = max((m.qtype for m in members), key=lambda q: q.bits), [m.span for m in members]
    symmetric = all(m.quant.zero_point == (middle(m.qtype),) for m in members)
    power_of_two = all(math.frexp(m.quant.scale[0])[0] == 0.5 for m in members)
    low, high = min(s[0] for s in spans), max(s[1] for s in spans)
    return Decision(qtype, affine(low, high, qtype, symmetric=symmetric, power_of_two=power_of_two))
