"""Float ONNX graphs as graphs of TensorFlow Lite's ops."""

from collections.abc import Callable

from fxsim.convert import dense, moves, pointwise, pool, reduce
from fxsim.convert.draft import Draft
from fxsim.convert.fuse import fuse
from fxsim.convert.gelu import gelu_patterns
from fxsim.convert.layout import IMAGE, Held, Layouts
from fxsim.errors import FxsimError, UnsupportedOp, listed
from fxsim.model.check import check, where
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.ops import OPS
from fxsim.model.ops.onnx_base import OnnxSpec

LOWER: dict[str, Callable[..., list[Held]]] = {
    op: fn for m in (dense, pool, pointwise, reduce, moves) for op, fn in m.LOWER.items()
}
"""op of ONNX -> ``f(layouts, node's operands, attributes, outputs) -> values``"""


def to_tflite(graph: Graph, *, nhwc: bool = False) -> Graph:
    """The same network in TensorFlow Lite's ops: images as (N, H, W, C), activations fused, normalizations folded.

    Inputs and outputs keep their names and shapes: an image that comes as (N, C, H, W) is transposed once where it enters,
    and not again within. With ``nhwc``, images of four axes enter and leave as (N, H, W, C) instead, and the graph says so
    in its shapes. Constants are computed in float64 and rounded once, to float32. A graph of TensorFlow Lite's ops is
    returned as it is.

    Raises:
        UnsupportedOp: on a layer that has no counterpart, with its op and attribute; integer ONNX models among them.
    """
    if not any(isinstance(OPS.get(n.op), OnnxSpec) for n in graph.nodes):
        return graph
    layouts = Layouts(Draft(graph.name))
    held: dict[int, Held] = {}
    for i in graph.inputs:
        t = graph.tensors[i]
        order = IMAGE if nhwc and len(t.shape) == len(IMAGE) else tuple(range(len(t.shape)))
        value = layouts.draft.input(t.name, tuple(t.shape[a] for a in order), t.qtype)
        held[i] = Held(value, t.shape, t.shape, order)
    gelus = gelu_patterns(graph)
    skipped = {n for found in gelus.values() for n in found.within}
    for position, node in enumerate(graph.nodes):
        if position in skipped:
            continue
        op, inputs, attributes = node.op, node.inputs, node.attributes
        _require_float(graph, node)
        if position in gelus:
            op, inputs, attributes = "Gelu", (gelus[position].input,), gelus[position].attributes
        for i in inputs:
            if i != ABSENT and i not in held:
                t = graph.tensors[i]
                assert t.data is not None
                held[i] = layouts.constant(t.name, t.data)
        try:
            if op not in LOWER:
                raise UnsupportedOp(f"has no counterpart in TensorFlow Lite; supported: {listed(sorted(LOWER))}")
            outputs = [graph.tensors[i] for i in node.outputs]
            with layouts.draft.naming(outputs[0].name):
                made = LOWER[op](layouts, [None if i == ABSENT else held[i] for i in inputs], attributes, outputs)
        except FxsimError as e:
            raise type(e)(f"{where(graph, node)}: {e}") from None
        held.update(zip(node.outputs, made, strict=True))
    for i in graph.outputs:
        h = held[i]
        kept = nhwc and h.order == IMAGE and h.grid == h.shape
        layouts.finish(graph.tensors[i].name, h.value if kept else layouts.plain(h))
    fuse(layouts.draft)
    return check(layouts.draft.graph())


def _require_float(graph: Graph, node: Node) -> None:
    """Holds a layer's values to float32, and to the integers and flags that are no numbers of it.

    Raises:
        UnsupportedOp: on another type.
    """
    for t in graph.operands((*node.inputs, *node.outputs)):
        if t is not None and t.qtype.name not in ("float32", "int32", "int64", "bool"):
            raise UnsupportedOp(f"{where(graph, node)}: {t.name!r} is {t.qtype.name}; supported: float32 networks")
