"""Chooses type, scale and zero point of every tensor: step two of quantization."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fxsim.errors import FxsimError
from fxsim.model.graph import Graph, Node
from fxsim.model.qtype import Array, QuantParams
from fxsim.quant.calibration import Calibration
from fxsim.quant.observers import METHODS, Range
from fxsim.quant.quantizers import to_levels
from fxsim.quant.rules import Decision, Weighted, affine, bias_of, data_operands, groups, settle, takes, weighted
from fxsim.quant.scheme import Scheme
from fxsim.quant.weights import quantize_weight

BIAS_ROOM = 1 << 30
"""a raw bias stays within; a channel whose weights are so small that it would not gets a greater scale"""
WIDE_BIAS_ROOM = 1 << 44
"""likewise in accumulators of 64 bits, of whose sums the engines take 48"""


@dataclass(slots=True)
class Choice:
    """The decisions for a graph, and the raw integers of its weights and biases. Corrections change it."""

    decisions: dict[int, Decision]
    constants: dict[int, Array]
    stay_float: frozenset[int]
    levels: dict[int, Array] = field(default_factory=dict)
    """weight -> the integers that its elements may be"""


def decide(graph: Graph, calibration: Calibration | None, scheme: Scheme) -> Choice:
    """What ``scheme`` makes of ``graph``: the types and scales of weights, and of data as ``calibration`` saw it."""
    kinds = {n.index: scheme.of(n) for n in graph.nodes}
    stay_float = frozenset(i for i, kind in kinds.items() if kind is None)
    decisions = {} if calibration is None else _data(graph, calibration, scheme, kinds)
    choice = Choice(settle(graph, decisions), {}, stay_float)
    for node in graph.nodes:
        w, kind = weighted(graph, node), kinds[node.index]
        if w is not None and kind is not None and kind.weight_bits < 32 and (w.hybrid or decisions):
            _weight(graph, node, w, kind, choice)
    return choice


def _data(
    graph: Graph, calibration: Calibration, scheme: Scheme, kinds: Mapping[int, Scheme | None]
) -> dict[int, Decision]:
    """The decisions on what layers read and write."""
    maker = {i: n for n in graph.nodes for i in n.outputs}
    wanted: dict[int, Scheme] = {}
    for node in graph.nodes:
        kind = kinds[node.index]
        if kind is None or not takes(node.op, kind.activation_type):
            continue
        for i in data_operands(graph, node):
            made = kinds[maker[i].index] if i in maker else None
            wanted[i] = made or (kind if i in maker or graph.tensors[i].constant else scheme)
    ranges = {i: _range(graph, i, calibration, kind) for i, kind in wanted.items()}
    blank = {i: Decision(kind.activation_type, QuantParams((1.0,), (0,))) for i, kind in wanted.items()}
    shared = groups(graph, blank)
    found = {}
    for i in wanted:
        members = shared[i]
        kind = max((wanted[m] for m in members), key=lambda k: k.activation_bits)
        low, high = min(ranges[m][0] for m in members), max(ranges[m][1] for m in members)
        symmetric = kind.activations_symmetric or kind.activation_bits > 8
        qtype = kind.activation_type
        params = affine(low, high, qtype, symmetric=symmetric, power_of_two=kind.power_of_two)
        found[i] = Decision(qtype, params)
    return found


def _range(graph: Graph, i: int, calibration: Calibration, kind: Scheme) -> Range:
    """The real range that tensor ``i`` must hold."""
    t = graph.tensors[i]
    if t.data is not None:
        if not np.all(np.isfinite(t.data)):
            raise FxsimError(f"{graph.name}: constant {i} {t.name!r} is not finite; allowed: finite numbers")
        return float(t.data.min(initial=0)), float(t.data.max(initial=0))
    return METHODS[kind.calibration](calibration.observers[i], kind.activation_type, kind.percent)


def _weight(graph: Graph, node: Node, w: Weighted, kind: Scheme, choice: Choice) -> None:
    """Decides on a layer's weight; its bias is rounded later."""
    i = node.inputs[w.weight]
    t = graph.tensors[i]
    assert t.data is not None
    if not np.all(np.isfinite(t.data)) or not t.data.size:
        raise FxsimError(f"{graph.name}: weight {i} {t.name!r} is empty or not finite; allowed: finite numbers")
    if i in choice.constants:
        return  # a weight that several layers share
    made = quantize_weight(t.data, w.axis, kind)
    decision, raw = _room_for_bias(graph, node, w, made.decision, choice), made.raw
    if decision != made.decision and made.levels.size:
        raw = to_levels(t.data, made.levels, decision.quant).astype(decision.qtype.dtype)
    choice.decisions[i], choice.constants[i], choice.levels[i] = decision, raw, made.levels


def _room_for_bias(graph: Graph, node: Node, w: Weighted, decision: Decision, choice: Choice) -> Decision:
    """The decision with scales under which the bias fits the accumulator."""
    bias, data = bias_of(graph, node, w), choice.decisions.get(node.inputs[w.data])
    if bias is None or bias.data is None or data is None:
        return decision
    room = WIDE_BIAS_ROOM if data.qtype.bits > 8 else BIAS_ROOM
    least = np.abs(bias.data.reshape(-1).astype(np.float64)) / (data.quant.scale[0] * room)
    least = np.array([least.max()]) if decision.quant.per_tensor else least
    scale = np.array(decision.quant.scale)
    if np.all(scale >= least):
        return decision
    wider = tuple(float(s) for s in np.maximum(scale, least).astype(np.float32))
    return replace(decision, quant=replace(decision.quant, scale=wider))
