"""ONNX Runtime's fusion of a QDQ graph: DQ -> op -> Q becomes one integer op where its rules allow, on x86.

What stays unfused computes in float32, as the file says. Signed activations become unsigned where one Q feeds one DQ; where a
signed tensor has two uses they stay, and Conv and MatMul on them stay float.

Source: onnxruntime/core/optimizer/qdq_transformer and its selectors_actions @ ONNX Runtime 1.31.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.onnx_annotate import annotate
from fxsim.model.onnx_draft import DEQUANTIZE, QUANTIZE, Draft, axis_of, blocked
from fxsim.model.onnx_prepare import ROUNDS, prepare
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.onnx_dense import Gemm
from fxsim.model.ops.onnx_pool import GlobalPool
from fxsim.model.qtype import INT32, UINT8, QType


@dataclass(frozen=True, slots=True)
class Fusion:
    """One op that took its DQs and Qs in."""

    name: str
    op: str
    into: str
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """An op with the DQs before it, by input position, and the Qs after it."""

    node: Node
    dqs: tuple[Node, ...]
    qs: tuple[Node, ...]
    types: tuple[QType, ...]
    """of the DQs' inputs"""
    out: tuple[QType, ...]
    """of the Qs' outputs"""


def fuse(graph: Graph) -> tuple[Graph, tuple[Fusion, ...]]:
    """The graph as ONNX Runtime executes it, and what was fused.

    Raises:
        UnsupportedOp: on a product that ONNX Runtime gives to a kernel that fxsim does not simulate (MatMulNBits).
    """
    if not any(n.op in (QUANTIZE, DEQUANTIZE) for n in graph.nodes):
        return graph, ()
    d = Draft(graph)
    with np.errstate(all="ignore"):  # scales at the ends of float32 overflow as they do in the engine
        prepare(d)
        found = _fuse(d)
    return annotate(d.finish()), tuple(found)


def _fuse(d: Draft) -> list[Fusion]:
    found: list[Fusion] = []
    for _ in range(ROUNDS):
        changed = _drop_clips(d)
        changed |= _to_unsigned(d)
        for node in d.nodes(*RULES):
            if d.there(node) and (fusion := _select(d, node)) is not None:
                found.append(fusion)
                changed = True
        if not changed:
            break
    return found


def _drop_clips(d: Draft) -> bool:
    """Takes away a Relu or Clip whose whole effect the Q after it has: relu_quantizelinear.cc, clip_quantizelinear.cc."""
    changed = False
    for node in d.nodes("Relu", "Clip"):
        q = d.only(node.outputs[0])
        if q is not None and q.op == QUANTIZE and _redundant(d, node, q):
            d.remove([node])
            d.rewire(q, 0, node.inputs[0])
            changed = True
    return changed


def _redundant(d: Draft, clip: Node, q: Node) -> bool:
    p = d.params(q)
    zero = 0 if p.zero == ABSENT else p.zero_value
    if p.scale_value is None or zero is None or p.qtype.bits not in (8, 16):
        return False
    if clip.op == "Relu":
        return zero == p.qtype.min
    ends = []
    for position, limit in ((1, -3.4028234663852886e38), (2, 3.4028234663852886e38)):
        at = clip.inputs[position] if len(clip.inputs) > position else ABSENT
        value = limit if at == ABSENT else d.one(at)
        if value is None:
            return False
        quotient = (
            np.rint(np.float32(value) / np.float32(p.scale_value)) if abs(value) < abs(limit) else np.float32(value)
        )
        ends.append(float(quotient) + zero)
    return ends[0] <= p.qtype.min and ends[1] >= p.qtype.max


def _to_unsigned(d: Draft) -> bool:
    """int8 between a Q and its only DQ becomes uint8, both zero points 128 higher: qdq_s8_to_u8.cc."""
    changed = False
    for q in d.nodes(QUANTIZE):
        dq = d.only(q.outputs[0])
        if dq is None or dq.op != DEQUANTIZE:
            continue
        p, other = d.params(q), d.params(dq)
        if not p.scalar or not other.scalar or p.qtype.name != "int8" or p.zero_value != other.zero_value:
            continue
        zero = d.tensor("zero_point_u8", (), UINT8, np.asarray(int(p.zero_value or 0) + 128, np.uint8))
        raw = d.tensor(f"{d.tensors[q.outputs[0]].name}:uint8", d.tensors[q.outputs[0]].shape, UINT8)
        d.swap(q, replace(q, inputs=(*q.inputs[:2], zero), outputs=(raw,)))
        d.swap(dq, replace(dq, inputs=(raw, dq.inputs[1], zero)))
        changed = True
    return changed


def _unit(d: Draft, node: Node) -> Unit | None:
    """The op with its DQs and Qs, or None where a Relu or Clip that is not redundant stands before the Q."""
    dqs = [p for i in node.inputs if i != ABSENT and (p := d.producer(i)) is not None and p.op == DEQUANTIZE]
    qs = [c for o in node.outputs for c in d.consumers(o) if c.op == QUANTIZE]
    after = d.consumers(node.outputs[0])
    if len(node.outputs) == 1 and len(after) == 1 and after[0].op in ("Relu", "Clip"):
        last = after[0].outputs[0]
        if len(d.consumers(last)) == 1 and last not in d.outputs:
            return None
    types = tuple(d.tensors[n.inputs[0]].qtype for n in dqs)
    return Unit(node, tuple(dqs), tuple(qs), types, tuple(d.tensors[n.outputs[0]].qtype for n in qs))


def _complete(d: Draft, u: Unit, inputs: int = -1, *, empty: bool = False) -> bool:
    """True if all inputs (or that many) come from DQs and all outputs go to one Q each, and nowhere else."""
    count = sum(i != ABSENT for i in u.node.inputs) if inputs < 0 else inputs
    if len(u.dqs) != count:
        return False
    if not u.qs:
        return empty
    uses = sum(len(d.consumers(o)) for o in u.node.outputs)
    return len(u.qs) == len(u.node.outputs) == uses and not any(o in d.outputs for o in u.node.outputs)


def _bytes(*types: QType) -> bool:
    return all(t.bits == 8 for t in types)


def _select(d: Draft, node: Node) -> Fusion | None:
    rule = RULES.get(node.op)
    unit = _unit(d, node) if rule is not None else None
    return rule(d, unit) if rule is not None and unit is not None else None


def _replace(d: Draft, u: Unit, into: str, inputs: list[int], attributes: Attributes | None = None) -> Fusion:
    """Puts the op ``into`` in the place of the op, its DQs that nobody else uses, and its Qs."""
    outputs = tuple(q.outputs[0] for q in u.qs) or u.node.outputs
    new = replace(u.node, op=into, inputs=tuple(inputs), outputs=outputs, attributes=attributes or u.node.attributes)
    d.remove(u.qs)
    d.swap(u.node, new)
    gone = [n for n in u.dqs if not d.consumers(n.outputs[0]) and n.outputs[0] not in d.outputs]
    d.remove(gone)
    removed = tuple(n.name for n in (*gone, *u.qs))
    return Fusion(u.node.name, u.node.op, into, removed)


def _data(d: Draft, dq: Node) -> list[int]:
    """``[data, scale, zero point]`` of a DQ."""
    return [dq.inputs[0], *_scales(d, dq)]


def _scales(d: Draft, node: Node) -> list[int]:
    return [node.inputs[1], d.zero(d.params(node))]


def _drop(d: Draft, u: Unit) -> Fusion | None:
    """An op that moves values, between a DQ and a Q of the same parameters, works on the integers."""
    if not _complete(d, u, 1) or u.node.inputs[0] != u.dqs[0].outputs[0] or u.types[0] != u.out[0]:
        return None
    if u.node.op == "MaxPool" and u.types[0].bits != 8:
        return None
    p = d.params(u.dqs[0])
    if not all(p.equals(d.params(q)) for q in u.qs):
        return None
    return _replace(d, u, u.node.op, [u.dqs[0].inputs[0], *u.node.inputs[1:]])


def _unary(d: Draft, u: Unit) -> Fusion | None:
    if not _complete(d, u, 1) or u.types[0] != u.out[0] or not _bytes(*u.types):
        return None
    attributes = GlobalPool() if u.node.op == "GlobalAveragePool" else None
    return _replace(d, u, f"QLinear{u.node.op}", [*_data(d, u.dqs[0]), *_scales(d, u.qs[0])], attributes)


def _binary(d: Draft, u: Unit) -> Fusion | None:
    if not _complete(d, u) or len({*u.types, *u.out}) != 1 or not _bytes(*u.types):
        return None
    both = [*_data(d, u.dqs[0]), *_data(d, u.dqs[1]), *_scales(d, u.qs[0])]
    return _replace(d, u, f"QLinear{u.node.op}", both)


def _concat(d: Draft, u: Unit) -> Fusion | None:
    if not _complete(d, u) or len({*u.types, *u.out}) != 1 or not _bytes(*u.types):
        return None
    return _replace(d, u, "QLinearConcat", [*_scales(d, u.qs[0]), *(i for dq in u.dqs for i in _data(d, dq))])


def _weight_axis(d: Draft, dq: Node, axis: int) -> bool:
    """True if the weight has one scale, or one for each index along ``axis``."""
    if d.one(dq.inputs[1]) is not None:
        return not blocked(dq)
    rank = len(d.tensors[dq.inputs[0]].shape)
    return not blocked(dq) and rank > 0 and axis_of(dq) % rank == axis % rank


def _conv(d: Draft, u: Unit) -> Fusion | None:
    if not _complete(d, u) or not _bytes(*u.types[:2]) or u.types[0] != u.out[0] or u.types[0].signed:
        return None
    if (len(u.dqs) == 3 and u.types[2] != INT32) or not _weight_axis(d, u.dqs[1], 0):
        return None
    inputs = [*_data(d, u.dqs[0]), *_data(d, u.dqs[1]), *_scales(d, u.qs[0])]
    return _replace(d, u, "QLinearConv", [*inputs, *(dq.inputs[0] for dq in u.dqs[2:])])


def _matmul(d: Draft, u: Unit) -> Fusion | None:
    if len(u.dqs) == 1 and not u.qs:
        _refuse_small_weight(d, u)
    if len(u.dqs) != 2 or not _bytes(*u.types) or u.types[0].signed or not _weight_axis(d, u.dqs[1], -1):
        return None
    a, b = _data(d, u.dqs[0]), _data(d, u.dqs[1])
    if not u.qs:
        return _replace(d, u, "MatMulIntegerToFloat", [a[0], b[0], a[1], b[1], a[2], b[2]])
    if not _complete(d, u) or u.types[0] != u.out[0]:
        return None
    return _replace(d, u, "QLinearMatMul", [*a, *b, *_scales(d, u.qs[0])])


def _gemm(d: Draft, u: Unit) -> Fusion | None:
    attrs = u.node.attributes
    assert isinstance(attrs, Gemm)
    if not u.qs and len(u.dqs) in (1, 2) and u.node.inputs[0] != u.dqs[0].outputs[0]:
        _refuse_small_weight(d, u)
    if not _complete(d, u, empty=True) or len(u.dqs) < 2 or not _bytes(*u.types[:2]):
        return None
    if u.types[0].signed and not u.types[1].signed:
        return None
    if (u.out and u.out[0] != u.types[0]) or not _weight_axis(d, u.dqs[1], 0 if attrs.transpose_b else 1):
        return None
    if len(u.dqs) == 3 and (attrs.beta != 1.0 or u.types[2] != INT32):
        return None
    bias = u.dqs[2].inputs[0] if len(u.dqs) == 3 else ABSENT
    tail = [bias, *_scales(d, u.qs[0])] if u.qs else [bias]
    inputs = [*_data(d, u.dqs[0]), *_data(d, u.dqs[1]), *tail]
    while inputs[-1] == ABSENT:
        inputs.pop()
    return _replace(d, u, "QGemm", inputs)


def _refuse_small_weight(d: Draft, u: Unit) -> None:
    """A float input times a quantized constant matrix goes to MatMulNBits, which quantizes the input on the way.

    Raises:
        UnsupportedOp: if this op does.
    """
    weight = next((dq for dq in u.dqs if dq.outputs[0] == u.node.inputs[1]), None)
    if weight is None or u.node.inputs[0] in {dq.outputs[0] for dq in u.dqs}:
        return
    t = d.tensors[weight.inputs[0]]
    if t.data is not None and len(t.shape) == 2 and t.qtype.bits <= 8:
        raise UnsupportedOp(
            f"{d.graph.name}: layer {u.node.name!r}: ONNX Runtime runs {u.node.op} of a float input and a quantized weight "
            "as MatMulNBits, which is not supported; supported: the same without graph optimizations, as the numerics "
            "'onnxruntime-unoptimized' compute"
        )


RULES: dict[str, Callable[[Draft, Unit], Fusion | None]] = {
    **dict.fromkeys(
        ("MaxPool", "Expand", "Flatten", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze", "Split"),
        _drop,
    ),
    **dict.fromkeys(("AveragePool", "LeakyRelu", "GlobalAveragePool", "Sigmoid", "Softmax"), _unary),
    **dict.fromkeys(("Add", "Mul"), _binary),
    "Concat": _concat,
    "Conv": _conv,
    "MatMul": _matmul,
    "Gemm": _gemm,
}
