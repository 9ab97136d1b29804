"""What ONNX Runtime does to a QDQ graph before it fuses anything (its "basic" optimizations), as far as results depend on it.

Source: onnxruntime/core/optimizer @ ONNX Runtime 1.31; each pass names its file.
"""

from dataclasses import replace

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.graph import ABSENT, Node
from fxsim.model.onnx_draft import DEQUANTIZE, QUANTIZE, Draft, Params, axis_of, blocked
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.onnx_dense import Gemm
from fxsim.model.ops.onnx_layout import OnnxReshape
from fxsim.model.ops.onnx_quantize import Linear
from fxsim.model.qtype import FLOAT32, INT8, INT32, INT64, Array

CARRIERS = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice")
"""Ops past which a Q moves up and a DQ down."""


def drop_identities(d: Draft) -> bool:
    """Takes Identity and Dropout away, unless they make an output of the graph: identity_elimination.cc."""
    found = [n for n in d.nodes("Identity", "Dropout") if n.outputs[0] not in d.outputs]
    for node in found:
        now = d.current(node)
        d.remove([now])
        d.redirect(now.outputs[0], now.inputs[0])
    return bool(found)


def split_dequantizers(d: Draft) -> None:
    """Gives each use of a DQ a DQ of its own: qdq_transformer/ensure_unique_dq_for_node_unit.cc."""
    for dq in d.nodes(DEQUANTIZE):
        real = dq.outputs[0]
        users = [(n, i) for n in dict.fromkeys(d.consumers(real)) for i, t in enumerate(n.inputs) if t == real]
        for made, (user, position) in enumerate(users if real in d.outputs else users[1:]):
            copy = d.like(real, f"{d.tensors[real].name}:{made + 1}")
            d.node(DEQUANTIZE, dq.inputs, (copy,), dq.attributes, f"{dq.name}:{made + 1}")
            d.rewire(d.current(user), position, copy)


def merge_equals(d: Draft) -> None:
    """One Q or DQ where several do the same to the same tensor: common_subexpression_elimination.cc."""
    seen: dict[object, Node] = {}
    for node in d.nodes(QUANTIZE, DEQUANTIZE):
        now = d.current(node)
        p = d.params(now)
        if not p.scalar or now.outputs[0] in d.outputs:
            continue
        key = now.op, now.inputs[0], p.scale_value, p.zero_value, p.qtype
        first = seen.setdefault(key, now)
        if first is not now:
            d.remove([now])
            d.redirect(now.outputs[0], first.outputs[0])


def drop_double_pairs(d: Draft) -> bool:
    """Q1 DQ1 Q2 DQ2 becomes Q DQ over the range that both have in common: double_qdq_pairs_remover.cc."""
    changed = False
    for self in d.nodes(DEQUANTIZE):
        if not d.there(self):
            continue
        parent, child = d.producer(self.inputs[0]), d.only(self.outputs[0])
        if parent is None or parent.op != QUANTIZE or d.only(parent.outputs[0]) is not self:
            continue
        if child is None or child.op != QUANTIZE:
            continue
        grandchild = d.only(child.outputs[0])
        if grandchild is None or grandchild.op != DEQUANTIZE:
            continue
        first, second = d.params(self), d.params(child)
        if not first.equals(d.params(parent)) or not second.equals(d.params(grandchild)) or first.qtype != second.qtype:
            continue
        if first.qtype.bits != 8:
            continue
        if not first.equals(second):
            scale, zero = _common(d, first, second)
            parent = d.rewire(d.rewire(parent, 1, scale), 2, zero)
            grandchild = d.rewire(d.rewire(grandchild, 1, scale), 2, zero)
        d.remove([self, child])
        d.rewire(grandchild, 0, parent.outputs[0])
        changed = True
    return changed


def drop_round_trips(d: Draft) -> bool:
    """A DQ and the Q of the same parameters after it change nothing: both go."""
    changed = False
    for dq in d.nodes(DEQUANTIZE):
        q = d.only(dq.outputs[0])
        if q is None or q.op != QUANTIZE or not d.params(dq).equals(d.params(q)):
            continue
        raw, made, parent = dq.inputs[0], q.outputs[0], d.producer(dq.inputs[0])
        if made not in d.outputs:
            d.remove([dq, q])
            d.redirect(made, raw)
        elif parent is not None and len(parent.outputs) == 1 and d.only(raw) is dq:
            d.remove([dq, q])
            d.swap(parent, replace(parent, outputs=(made,)))
        else:
            continue
        changed = True
    return changed


def _common(d: Draft, a: Params, b: Params) -> tuple[int, int]:
    """Scale and zero point of the range that two quantizations share, in float32."""
    q, f = a.qtype, np.float32
    ends = [
        (
            f(q.min - int(p.zero_value or 0)) * f(p.scale_value or 0),
            f(q.max - int(p.zero_value or 0)) * f(p.scale_value or 0),
        )
        for p in (a, b)
    ]
    low, high = max(e[0] for e in ends), min(e[1] for e in ends)
    scale = (high - low) / f(q.max - q.min)
    if not 0 < scale < np.inf:
        raise UnsupportedOp(f"{d.graph.name}: two quantizations in a row share no range; supported: those that overlap")
    exact = f(q.min) - low / scale
    zero = np.trunc(exact + np.copysign(f(0.5), exact))
    return (
        d.tensor("scale", (), FLOAT32, np.asarray(scale, np.float32)),
        d.tensor("zero_point", (), q, np.clip(zero, q.min, q.max).astype(q.dtype)),
    )


def matmul_add(d: Draft) -> bool:
    """MatMul and Add become Gemm, between reshapes where the input is no matrix: matmul_add_fusion.cc."""
    changed = False
    for node in d.nodes("MatMul"):
        add = d.only(node.outputs[0])
        a, b = d.tensors[node.inputs[0]], d.tensors[node.inputs[1]]
        if add is None or add.op != "Add" or len(b.shape) != 2 or a.qtype != FLOAT32 or not a.shape:
            continue
        bias = add.inputs[1] if add.inputs[0] == node.outputs[0] else add.inputs[0]
        c, n, flat = d.tensors[bias].shape, b.shape[1], len(a.shape) == 2
        rows = a.elements // b.shape[0]
        fits = c == (n,) or (flat and c in ((1, n), (rows, n), (rows, 1)))
        if not fits or bias == node.outputs[0]:
            continue
        x, y = node.inputs[0], add.outputs[0]
        if not flat:
            x = _reshape(d, x, (rows, b.shape[0]), f"{node.name}:rows")
            y = d.tensor(f"{node.name}:gemm", (rows, n), FLOAT32)
        d.remove([node, add])
        d.node("Gemm", (x, node.inputs[1], bias), (y,), Gemm(), node.name)
        if not flat:
            _reshape(d, y, d.tensors[add.outputs[0]].shape, f"{node.name}:shape", add.outputs[0])
        changed = True
    return changed


def _reshape(d: Draft, source: int, shape: tuple[int, ...], name: str, made: int | None = None) -> int:
    sizes = d.tensor(f"{name}:sizes", (len(shape),), INT64, np.array(shape, np.int64))
    made = d.tensor(name, shape, d.tensors[source].qtype) if made is None else made
    d.node("Reshape", (source, sizes), (made,), OnnxReshape(True), name)
    return made


def carry_down(d: Draft) -> bool:
    """Follows each DQ of one use through ops that only move values, and puts Q and DQ after each: qdq_propagation.cc."""
    changed = False
    for dq in d.nodes(DEQUANTIZE):
        if not d.there(dq):
            continue
        p = d.params(dq)
        if p.scale_value is None or (p.zero != ABSENT and p.zero_value is None):
            continue
        first = d.only(dq.outputs[0])
        trail = [] if first is None else [first]
        while trail:
            node = trail.pop()
            if node.op not in CARRIERS:
                continue
            made = node.outputs[0]
            users = [n for n in d.consumers(made) if n.op != QUANTIZE]
            if made in d.outputs or not users:
                if not (made in d.outputs and not d.consumers(made)):
                    continue
            if any(n.op == DEQUANTIZE for n in users):
                continue
            trail += _pair_after(d, node, users, p, dq.attributes)
            changed = True
    return changed


def _pair_after(d: Draft, node: Node, users: list[Node], p: Params, attributes: Attributes) -> list[Node]:
    """Puts a Q after ``node`` and a DQ before each of ``users`` (or before the graph's output); returns the users."""
    made = node.outputs[0]
    before = d.like(made, f"{d.tensors[made].name}:real")
    raw = d.tensor(f"{d.tensors[made].name}:raw", d.tensors[made].shape, p.qtype)
    more = () if p.zero == ABSENT else (p.zero,)
    d.swap(node, replace(node, outputs=(before, *node.outputs[1:])))
    d.node(QUANTIZE, (before, p.scale, *more), (raw,), _typed(attributes, p), f"{node.name}:Q")
    if made in d.outputs:
        d.node(DEQUANTIZE, (raw, p.scale, *more), (made,), attributes, f"{node.name}:DQ")
        return []
    renewed = []
    for k, user in enumerate({id(u): u for u in users}.values()):
        current = d.current(user)
        for position in [i for i, t in enumerate(current.inputs) if t == made]:
            real = d.like(made, f"{d.tensors[made].name}:{k}.{position}")
            d.node(DEQUANTIZE, (raw, p.scale, *more), (real,), attributes, f"{node.name}:DQ{k}.{position}")
            current = d.rewire(current, position, real)
        renewed.append(current)
    for q in [n for n in d.consumers(made) if n.op == QUANTIZE]:
        d.rewire(q, 0, before)
    return renewed


def _typed(attributes: Attributes, p: Params) -> Linear:
    assert isinstance(attributes, Linear)
    return replace(attributes, output=p.qtype)


def carry_up(d: Draft) -> bool:
    """Follows each Q up through ops that only move values, and puts Q and DQ before each: qdq_propagation.cc."""
    changed = False
    for q in d.nodes(QUANTIZE):
        if not d.there(q):
            continue
        p = d.params(q)
        if p.scale_value is None or (p.zero != ABSENT and p.zero_value is None):
            continue
        tensor = q.inputs[0]
        while True:
            node = d.producer(tensor)
            if node is None or node.op not in CARRIERS or d.only(node.outputs[0]) is None:
                break
            source = node.inputs[0]
            above = d.producer(source)
            if (above is not None and above.op == DEQUANTIZE) or (above is not None and d.only(source) is None):
                break
            raw = d.tensor(f"{d.tensors[source].name}:raw", d.tensors[source].shape, p.qtype)
            real = d.like(source, f"{d.tensors[source].name}:real")
            more = () if p.zero == ABSENT else (p.zero,)
            d.node(QUANTIZE, (source, p.scale, *more), (raw,), q.attributes, f"{node.name}:Q")
            d.node(DEQUANTIZE, (raw, p.scale, *more), (real,), q.attributes, f"{node.name}:DQ")
            d.rewire(node, 0, real)
            tensor = source
            changed = True
    return changed


def quantize_constants(d: Draft) -> bool:
    """Float weights and biases of Conv and Gemm between DQ and Q become integers: weight_bias_quantization.cc.

    A weight is quantized to int8 over its range, a bias to ``round(bias / (x_scale * w_scale))``, in float32.
    """
    changed = False
    for found in d.nodes("Conv", "Gemm"):
        node = found
        dq, weight = d.producer(node.inputs[0]), d.producer(node.inputs[1])
        if dq is None or dq.op != DEQUANTIZE or d.one(dq.inputs[1]) is None or not _leads_to_quantize(d, node):
            continue
        if weight is not None and weight.op != DEQUANTIZE:
            continue
        raw = d.tensors[node.inputs[1]]
        if weight is None and (raw.data is None or raw.qtype != FLOAT32):
            continue
        bias = d.tensors[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] != ABSENT else None
        if bias is not None and (bias.data is None or len(bias.shape) != 1):
            continue
        if weight is not None and (bias is None or not _fits_bias(d, node, weight, bias.elements)):
            continue
        if weight is None:
            assert raw.data is not None
            made, scale = _int8_weight(d, raw.data, node.name)
            node = d.rewire(node, 1, made)
        else:
            scale = weight.inputs[1]
        if bias is not None and bias.data is not None:
            x_scale, w_scale = d.tensors[dq.inputs[1]].data, d.tensors[scale].data
            if x_scale is None or w_scale is None:
                continue
            unit = x_scale.reshape(()) * w_scale
            with np.errstate(over="ignore"):
                exact = np.rint(bias.data / unit).astype(np.float64)
            whole = np.where(np.abs(exact) < 1 << 31, exact, -(1 << 31)).astype(np.int32)  # as x86 casts
            stored = d.tensor(f"{bias.name}:int32", bias.shape, INT32, whole)
            unit_at = d.tensor(f"{bias.name}:scale", unit.shape, FLOAT32, np.asarray(unit, np.float32))
            real = d.like(bias.index, f"{bias.name}:real")
            d.node(DEQUANTIZE, (stored, unit_at), (real,), Linear(axis=0), f"{node.name}:bias")
            node = d.rewire(node, 2, real)
        changed = True
    return changed


def _leads_to_quantize(d: Draft, node: Node) -> bool:
    """True if a Q follows, with nothing but Relu and Clip between."""
    user = d.only(node.outputs[0])
    while user is not None and user.op in ("Relu", "Clip"):
        user = d.only(user.outputs[0])
    return user is not None and user.op == QUANTIZE


def _fits_bias(d: Draft, node: Node, weight: Node, count: int) -> bool:
    if d.one(weight.inputs[1]) is not None:
        return True
    scale, rank = d.tensors[weight.inputs[1]], len(d.tensors[weight.inputs[0]].shape)
    along = 1 if isinstance(node.attributes, Gemm) and not node.attributes.transpose_b else 0
    return not blocked(weight) and scale.shape == (count,) and axis_of(weight) % rank == along


def _int8_weight(d: Draft, values: Array, name: str) -> tuple[int, int]:
    """A constant in int8 over its own range with 0 in it, and a DQ after it: ``(real tensor, scale tensor)``."""
    low, high = np.float32(min(values.min(initial=0), 0)), np.float32(max(values.max(initial=0), 0))
    with np.errstate(over="ignore"):
        scale = (high - low) / np.float32(255) if high > low else np.float32(1)
    if not 0 < scale < np.inf:
        raise UnsupportedOp(
            f"layer {name!r}: a float weight spans {low}..{high}; supported: what an int8 scale can hold"
        )
    zero = np.rint(np.clip(np.float32(-128) - low / scale, np.float32(-128), np.float32(127)))
    stored = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
    at = d.tensor(f"{name}:weight", values.shape, INT8, stored)
    scale_at = d.tensor(f"{name}:weight_scale", (), FLOAT32, np.asarray(scale, np.float32))
    zero_at = d.tensor(f"{name}:weight_zero", (), INT8, np.asarray(zero, np.int8))
    real = d.tensor(f"{name}:weight_real", values.shape, FLOAT32)
    d.node(DEQUANTIZE, (at, scale_at, zero_at), (real,), Linear(), f"{name}:weight")
    return real, scale_at


ROUNDS = 10


def prepare(d: Draft) -> None:
    """All passes, again until none changes anything."""
    for _ in range(ROUNDS):
        changed = drop_identities(d) | drop_double_pairs(d) | drop_round_trips(d)
        merge_equals(d)
        changed |= matmul_add(d) | carry_down(d) | carry_up(d) | quantize_constants(d)
        split_dequantizers(d)
        if not changed:
            break
