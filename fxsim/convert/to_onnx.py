"""Graphs of TensorFlow Lite's ops as ONNX graphs: float layers, between QuantizeLinear and DequantizeLinear where quantized.

int8 activations become uint8, their zero points 128 higher: the same numbers, in the type on which ONNX Runtime's integer
kernels work. Images are computed as (N, C, H, W); inputs and outputs keep their names, shapes and types.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from fxsim.convert.draft import Draft
from fxsim.convert.layout import Held
from fxsim.convert.onnx_layers import LAYERS, MOVES
from fxsim.convert.onnx_real import Layer, Operand, Real, is_quantized, unsigned
from fxsim.errors import FxsimError, ModelError, UnsupportedOp, listed
from fxsim.model.check import check, where
from fxsim.model.graph import Graph, Tensor
from fxsim.model.onnx_annotate import annotate
from fxsim.model.onnx_fuse import fuse
from fxsim.model.ops import OPS
from fxsim.model.ops.base import Activated, Unread
from fxsim.model.ops.onnx_base import OnnxSpec

ACTIVATIONS: dict[str, tuple[float, float]] = {
    "RELU": (0.0, float("inf")),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""fused activation -> its limits"""


def to_onnx(graph: Graph, *, style: Literal["qdq", "qoperator", "qdq-int4"] = "qdq") -> Graph:
    """The same network in ONNX's ops; with ``qoperator`` as ONNX Runtime fuses it, into QLinearConv and its like.

    What a layer computes is what its engine makes of it: ONNX Runtime's arithmetic, not TensorFlow Lite's. Weights of 4
    bits and less are held in int8, for which ONNX Runtime has integer kernels; in ``qdq-int4`` those of 4 bits stay
    packed, and it computes their layers in float32. A graph of ONNX's ops is returned as it is.

    Raises:
        UnsupportedOp: on a layer that has no counterpart, with its op and attribute.
    """
    if any(isinstance(OPS.get(n.op), OnnxSpec) for n in graph.nodes):
        return graph
    if graph.called:
        raise UnsupportedOp(f"{graph.name}: calls {len(graph.called)} other graphs; ONNX files hold one here")
    made = _Conversion(graph, packed=style == "qdq-int4").graph()
    if style == "qoperator":
        made, _ = fuse(made)
    return check(made)


class _Conversion:
    """One graph on its way."""

    def __init__(self, graph: Graph, *, packed: bool) -> None:
        self.source, self.lay = graph, Real(Draft(graph.name), packed=packed)
        self.operands: dict[int, Operand] = {}

    def graph(self) -> Graph:
        g, lay = self.source, self.lay
        for i in g.inputs:
            t = g.tensors[i]
            held = lay.hold(lay.draft.input(t.name, t.shape, t.qtype))
            with lay.draft.naming(f"{t.name}:uint8"):
                self.operands[i] = lay.as_unsigned(Operand(held, t.quant if is_quantized(t) else None))
        for node in g.nodes:
            try:
                if isinstance(node.attributes, Unread):
                    raise UnsupportedOp(node.attributes.reason)
                if node.op not in LAYERS and node.op not in MOVES:
                    raise UnsupportedOp(f"has no counterpart in ONNX; supported: {listed(sorted((*LAYERS, *MOVES)))}")
                outputs = [g.tensors[i] for i in node.outputs]
                layer = Layer(lay, self._operand, g.operands(node.inputs), node.attributes, outputs)
                made = self._moved(node.op, layer) if self._moves(node.op, layer) else self._computed(node.op, layer)
            except FxsimError as e:
                raise type(e)(f"{where(g, node)}: {e}") from None
            self.operands.update(zip(node.outputs, made, strict=True))
        for i in g.outputs:
            with lay.draft.naming(f"{g.tensors[i].name}:out"):
                o = lay.as_declared(self._operand(i), g.tensors[i])
            lay.finish(g.tensors[i].name, lay.plain(o.held))
        return annotate(lay.draft.graph())

    def _operand(self, index: int) -> Operand:
        t = self.source.tensors[index]
        if index not in self.operands:
            if t.data is None:
                raise ModelError(f"reads tensor {index} {t.name!r}, which no layer makes")
            self.operands[index] = self.lay.constant_operand(t)
        return self.operands[index]

    @staticmethod
    def _moves(op: str, layer: Layer) -> bool:
        """True if the layer leaves the integers as they are."""
        if op not in MOVES:
            return False
        quant = layer.at(0).quant
        return quant is None or quant == unsigned(layer.outputs[0]).quant

    def _moved(self, op: str, layer: Layer) -> list[Operand]:
        x = layer.at(0)
        with self.lay.draft.naming(layer.outputs[0].name):
            return [replace(x, held=MOVES[op](self.lay, x.held, layer))]

    def _computed(self, op: str, layer: Layer) -> list[Operand]:
        lay, outputs = self.lay, layer.outputs
        real = op in ("DEQUANTIZE", "QUANTIZE") or not is_quantized(outputs[0])
        with lay.draft.naming(outputs[0].name if real else f"{outputs[0].name}:real"):
            made = [MOVES[op](lay, layer.real(), layer)] if op in MOVES else LAYERS[op](lay, layer)
        return [self._stored(h, t, layer) for h, t in zip(made, outputs, strict=True)]

    def _stored(self, h: Held, t: Tensor, layer: Layer) -> Operand:
        """A real value as its tensor holds it: clamped, and quantized."""
        name = getattr(layer.attributes, "activation", "NONE") if isinstance(layer.attributes, Activated) else "NONE"
        if name != "NONE" and name not in ACTIVATIONS:
            raise UnsupportedOp(f"fused activation is {name}; supported: {listed(ACTIVATIONS)}")
        limits = ACTIVATIONS.get(name)
        if not is_quantized(t):
            with self.lay.draft.naming(t.name):
                return Operand(h if limits is None else self.lay.clamp(h, limits), None)
        with self.lay.draft.naming(t.name):
            stored = self.lay.quantize(h, t)
        assert stored.quant is not None
        scale, zero, kind = stored.quant.scale[0], stored.quant.zero_point[0], stored.held.value.qtype
        if limits is None or (
            scale * (kind.min - zero) >= limits[0] and np.rint(limits[1] / scale) + zero >= kind.max
        ):  # the range says it already; ONNX Runtime would drop the layer, and fuses only without it
            return stored
        with self.lay.draft.naming(f"{t.name}:clamped"):
            return self.lay.quantize(self.lay.clamp(self.lay.real(stored), limits), t)
