"""Which binding serves which op."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fxsim.errors import FxsimError, ProfileError, UnsupportedOp, listed
from fxsim.model.check import check_operands, where
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.ops import spec
from fxsim.model.qtype import FLOAT32
from fxsim.numerics import NumericsProfile, Operands, OpNumerics
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
from fxsim.sim.base import Arrays, Bound, Site
from fxsim.sim.delegate import takes
from fxsim.sim.real.registry import BINDINGS as REAL_BINDINGS

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
WITH_OPERANDS = {*conv.BINDINGS, *transpose_conv.BINDINGS, "QLinearConv", "QLinearMatMul", "QGemm"}
"""the ops whose operands a profile can change"""
STATE_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
"""Ops that the plan itself carries out, since they touch what outlives a layer."""


def within_reach(graph: Graph, node: Node, numerics: NumericsProfile) -> None:
    """Holds a layer to what the engine has at all.

    Raises:
        UnsupportedOp: on an op whose arithmetic the profile does not know, a float that no engine here computes, or a zero
            point where the engine has none.
    """
    if numerics.only and node.op not in numerics.only:
        raise UnsupportedOp(
            f"numerics {numerics.name!r} has no arithmetic for {node.op}; it has {listed(numerics.only)}"
        )
    for t in (graph.tensors[i] for i in (*node.inputs, *node.outputs) if i != ABSENT):
        if t.qtype.kind == "float" and t.qtype != FLOAT32:
            raise UnsupportedOp(f"tensor {t.name!r} is {t.qtype.name}; numerics {numerics.name!r} computes float32")
        if numerics.symmetric and t.quant is not None and any(t.quant.zero_point):
            zero = max(t.quant.zero_point, key=abs)
            raise UnsupportedOp(f"tensor {t.name!r} has zero point {zero}; allowed by numerics {numerics.name!r}: 0")


def in_registers(graph: Graph) -> Graph:
    """The graph with each integer below 8 or 16 bits in a register of so many: it keeps its own limits."""
    found = graph.derived.get("registers")
    if not isinstance(found, Graph):
        tensors = tuple(replace(t, qtype=t.qtype.registered) for t in graph.tensors)
        graph.derived["registers"] = found = replace(graph, tensors=tensors, derived={})
    return found


def settings_of(graph: Graph, node: Node, numerics: NumericsProfile) -> OpNumerics:
    """The arithmetic that ``numerics`` has for ``node``: the engine's own, or its delegate's where that takes the layer."""
    data = node.inputs[spec(node.op).data_input] if node.inputs else ABSENT
    dtype = graph.tensors[data].qtype.name if data != ABSENT else ""
    delegated = numerics.delegate is not None and takes(numerics.delegate.name, graph, node)
    return numerics.of(node.op, dtype, delegated=delegated)


def bind(graph: Graph, node: Node, numerics: NumericsProfile) -> Bound:
    """``node`` prepared to run as ``numerics`` computes.

    Raises:
        UnsupportedOp: on an op, type or attribute that fxsim does not simulate; ProfileError on arithmetic that the op lacks.
    """
    try:
        if node.op not in BINDINGS:
            raise UnsupportedOp(f"op {node.op} is not simulated; supported: {listed(sorted((*BINDINGS, *STATE_OPS)))}")
        if numerics.any_bits:
            graph = in_registers(graph)
            if _is_real(graph, node):
                return _as_real(graph, node, numerics)
        else:
            check_operands(node, graph.operands(node.inputs), graph.operands(node.outputs))
        within_reach(graph, node, numerics)
        return bind_alone(graph, node, settings_of(graph, node, numerics), numerics.name)
    except FxsimError as e:
        raise type(e)(f"{where(graph, node)}: {e}{_instead(graph, node, e)}") from None


def _is_real(graph: Graph, node: Node) -> bool:
    """True for a layer on floats alone that has a real function."""
    tensors = [t for t in graph.operands((*node.inputs, *node.outputs)) if t is not None]
    held = any(t.quant is not None for t in tensors)
    return node.op in REAL_BINDINGS and not held and any(t.qtype.kind == "float" for t in tensors)


def _as_real(graph: Graph, node: Node, numerics: NumericsProfile) -> Bound:
    """The layer's real function, its result rounded to float32."""
    function = REAL_BINDINGS[node.op](Site(graph, node, numerics.of(node.op), numerics.name))
    given = [i != ABSENT for i in node.inputs]

    def run(inputs: Arrays, outputs: Arrays) -> None:
        left = iter(inputs)
        with np.errstate(all="ignore"):
            made = function([next(left)[np.newaxis] if there else None for there in given])
        for out, y in zip(outputs, made, strict=False):
            out[...] = y[0]

    return Bound(run)


def _instead(graph: Graph, node: Node, e: FxsimError) -> str:
    """What else runs an op on floats that is refused."""
    floats = any(t is not None and t.qtype.kind == "float" for t in graph.operands(node.inputs))
    real = isinstance(e, UnsupportedOp) and floats and node.op in REAL_BINDINGS
    return "; numerics 'float32' has it as a real function" if real else ""


def bind_alone(graph: Graph, node: Node, settings: OpNumerics, name: str = "") -> Bound:
    """``node`` prepared to run with given settings.

    Raises:
        UnsupportedOp, ProfileError: as :func:`bind`.
    """
    if settings.operands != Operands() and node.op not in WITH_OPERANDS:
        raise ProfileError(
            f"profile {name!r}: operands of {node.op} are set; allowed for {listed(sorted(WITH_OPERANDS))}"
        )
    return VARIANTS.get((node.op, settings.variant), BINDINGS[node.op])(Site(graph, node, settings, name))
