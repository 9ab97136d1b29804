"""Which real function serves which op."""

from fxsim.errors import FxsimError, UnsupportedOp, listed
from fxsim.model.check import where
from fxsim.model.graph import Graph, Node
from fxsim.numerics import NumericsProfile
from fxsim.sim.base import Site
from fxsim.sim.real import (
    layers,
    layout,
    onnx_layers,
    onnx_pointwise,
    onnx_quantize,
    onnx_windows,
    pointwise,
    windows,
)
from fxsim.sim.real.base import Binding, RealFn, is_real

MODULES = (layers, pointwise, windows, layout, onnx_layers, onnx_pointwise, onnx_windows, onnx_quantize)
BINDINGS: dict[str, Binding] = {op: f for module in MODULES for op, f in module.BINDINGS.items()}


def bind(graph: Graph, node: Node, numerics: NumericsProfile) -> RealFn:
    """``node`` prepared as a real function.

    Raises:
        UnsupportedOp: on an op or attribute that has none.
    """
    try:
        if node.op not in BINDINGS:
            raise UnsupportedOp(
                f"op {node.op} has no real function in numerics {numerics.name!r}; supported: {listed(sorted(BINDINGS))}"
            )
        site = Site(graph, node, numerics.of(node.op), numerics.name)
        if node.op != "DequantizeLinear" or is_real(site.input(0)):
            onnx_quantize.measured(site)
        return BINDINGS[node.op](site)
    except FxsimError as e:
        raise type(e)(f"{where(graph, node)}: {e}") from None
