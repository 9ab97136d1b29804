"""What of a network cannot be simulated, all of it at once."""

from collections.abc import Iterator
from dataclasses import dataclass

from fxsim.errors import FxsimError
from fxsim.model.check import check, faults, where
from fxsim.model.graph import Graph
from fxsim.model.ops import OPS
from fxsim.numerics import NumericsProfile, numerics_of
from fxsim.sim.plan import plan_of
from fxsim.sim.real.registry import BINDINGS as REAL_BINDINGS
from fxsim.sim.real.registry import bind as bind_real
from fxsim.sim.registry import BINDINGS, STATE_OPS, bind


@dataclass(frozen=True, slots=True)
class Gap:
    """One layer that cannot be simulated, and why. ``graph`` is the file, or a subgraph of it."""

    graph: str
    layer: int
    op: str
    name: str
    reason: str


def known_ops(numerics: NumericsProfile) -> list[str]:
    """The ops that are simulated: those of engines, or those that have a real function."""
    return sorted({*BINDINGS, *STATE_OPS} if numerics.real is None else REAL_BINDINGS)


def unsupported(graph: Graph, numerics: str | NumericsProfile | None = None) -> tuple[Gap, ...]:
    """Every layer of ``graph`` that fxsim cannot run as ``numerics`` computes, in order, with op, attribute and value.

    Args:
        graph: a network from :func:`fxsim.survey`, which reads what :func:`fxsim.read` refuses.
        numerics: a profile, its name, or a ``.toml`` file.

    Raises:
        ModelError: if every layer is known, but the network as a whole is not sound.
    """
    profile = numerics_of(graph.name, numerics)
    gaps = tuple(gap for g in (graph, *graph.called) for gap in _gaps(g, profile))
    if not gaps:
        plan_of(check(graph, any_bits=profile.any_bits), profile)
    return gaps


def _gaps(graph: Graph, profile: NumericsProfile) -> Iterator[Gap]:
    found = {node.index: str(fault) for node, fault in faults(graph, any_bits=profile.any_bits)}
    for node in graph.nodes:
        reason = found.get(node.index)
        if node.op not in OPS or node.op not in {*BINDINGS, *STATE_OPS, *REAL_BINDINGS}:
            reason = "op is not supported"
        elif reason is None and (profile.real is not None or node.op not in STATE_OPS):
            try:
                (bind if profile.real is None else bind_real)(graph, node, profile)
            except FxsimError as e:
                reason = str(e).removeprefix(f"{where(graph, node)}: ")
        if reason is not None:
            yield Gap(graph.name, node.index, node.op, node.name, reason)
