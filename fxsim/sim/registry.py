"""Which binding serves which op."""

from collections.abc import Callable

from fxsim.errors import FxsimError, UnsupportedOp, listed
from fxsim.model.check import where
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.numerics import NumericsProfile
from fxsim.sim import activation, arithmetic, conv, layout, pool, quantize, reduce, softmax
from fxsim.sim.base import Bound, Site
from fxsim.sim.delegate import takes

MODULES = (conv, pool, reduce, arithmetic, activation, softmax, quantize, layout)
BINDINGS: dict[str, Callable[[Site], Bound]] = {op: f for module in MODULES for op, f in module.BINDINGS.items()}
STATE_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
"""Ops that the plan itself carries out, since they touch what outlives a layer."""


def bind(graph: Graph, node: Node, numerics: NumericsProfile) -> Bound:
    """``node`` prepared to run as ``numerics`` computes.

    Raises:
        UnsupportedOp: on an op, type or attribute that fxsim does not simulate; ProfileError on arithmetic that the op lacks.
    """
    binding = BINDINGS.get(node.op)
    try:
        if binding is None:
            raise UnsupportedOp(f"op {node.op} is not simulated; supported: {listed(sorted((*BINDINGS, *STATE_OPS)))}")
        dtype = graph.tensors[node.inputs[0]].qtype.name if node.inputs and node.inputs[0] != ABSENT else ""
        delegated = numerics.delegate is not None and takes(numerics.delegate.name, graph, node)
        return binding(Site(graph, node, numerics.of(node.op, dtype, delegated=delegated), numerics.name))
    except FxsimError as e:
        raise type(e)(f"{where(graph, node)}: {e}") from None
