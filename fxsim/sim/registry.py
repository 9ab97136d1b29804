"""Which binding serves which op."""

from collections.abc import Callable

from fxsim.errors import FxsimError, UnsupportedOp, listed
from fxsim.model.check import where
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.ops import spec
from fxsim.numerics import NumericsProfile
from fxsim.sim import (
    activation,
    arithmetic,
    binary,
    cast,
    compare,
    conv,
    gather,
    lanes,
    layout,
    matmul,
    onnx_conv,
    onnx_dense,
    onnx_layout,
    onnx_pointwise,
    onnx_pool,
    onnx_qonnx,
    onnx_quantize,
    onnx_reduce,
    plain,
    pool,
    quantize,
    rectify,
    recurrent,
    reduce,
    resize,
    signal,
    softmax,
    softmax_table,
    space,
    transpose_conv,
    xnnpack,
)
from fxsim.sim.base import Bound, Site
from fxsim.sim.delegate import takes

MODULES = (
    conv,
    transpose_conv,
    matmul,
    recurrent,
    binary,
    pool,
    reduce,
    arithmetic,
    activation,
    rectify,
    plain,
    compare,
    softmax,
    quantize,
    layout,
    gather,
    space,
    cast,
    resize,
    signal,
    onnx_conv,
    onnx_dense,
    onnx_pool,
    onnx_pointwise,
    onnx_reduce,
    onnx_quantize,
    onnx_qonnx,
    onnx_layout,
)
BINDINGS: dict[str, Callable[[Site], Bound]] = {op: f for module in MODULES for op, f in module.BINDINGS.items()}
VARIANTS = lanes.VARIANTS | softmax_table.VARIANTS | xnnpack.VARIANTS
"""(op, variant) -> the binding that stands in for the op's own"""
STATE_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
"""Ops that the plan itself carries out, since they touch what outlives a layer."""


def within_reach(graph: Graph, node: Node, numerics: NumericsProfile) -> None:
    """Holds a layer to what the engine has at all.

    Raises:
        UnsupportedOp: on an op whose arithmetic the profile does not know, or a zero point where the engine has none.
    """
    if numerics.only and node.op not in numerics.only:
        raise UnsupportedOp(
            f"numerics {numerics.name!r} has no arithmetic for {node.op}; it has {listed(numerics.only)}"
        )
    for t in (graph.tensors[i] for i in (*node.inputs, *node.outputs) if i != ABSENT):
        if numerics.symmetric and t.quant is not None and any(t.quant.zero_point):
            zero = max(t.quant.zero_point, key=abs)
            raise UnsupportedOp(f"tensor {t.name!r} has zero point {zero}; allowed by numerics {numerics.name!r}: 0")


def bind(graph: Graph, node: Node, numerics: NumericsProfile) -> Bound:
    """``node`` prepared to run as ``numerics`` computes.

    Raises:
        UnsupportedOp: on an op, type or attribute that fxsim does not simulate; ProfileError on arithmetic that the op lacks.
    """
    binding = BINDINGS.get(node.op)
    try:
        if binding is None:
            raise UnsupportedOp(f"op {node.op} is not simulated; supported: {listed(sorted((*BINDINGS, *STATE_OPS)))}")
        within_reach(graph, node, numerics)
        data = node.inputs[spec(node.op).data_input] if node.inputs else ABSENT
        dtype = graph.tensors[data].qtype.name if data != ABSENT else ""
        delegated = numerics.delegate is not None and takes(numerics.delegate.name, graph, node)
        settings = numerics.of(node.op, dtype, delegated=delegated)
        return VARIANTS.get((node.op, settings.variant), binding)(Site(graph, node, settings, numerics.name))
    except FxsimError as e:
        raise type(e)(f"{where(graph, node)}: {e}") from None
