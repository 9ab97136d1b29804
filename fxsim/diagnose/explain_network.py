"""Whole networks in explanations: which shipped profiles reproduce all that a device gave."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fxsim.diagnose.differences import differs
from fxsim.diagnose.explain_rerun import Seen, rerun
from fxsim.errors import FxsimError
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile, list_numerics, load_numerics
from fxsim.sim.plan import Plan, as_executed, plan_of

if TYPE_CHECKING:
    from fxsim.diagnose.explain import Finding

EVIDENCE = ("live", "vectors", "source", "none")
"""of a profile: the strongest first"""


def network(
    graph: Graph, users: NumericsProfile, seen: Seen, findings: "Sequence[Finding]"
) -> tuple[tuple[str, ...], bool]:
    """The shipped profiles that reproduce the whole dump; where none does (then False), those of every layer that differs."""
    differing = [f for f in findings if f.status in ("explained", "nothing fits", "within") or f.outcome is not None]
    if not differing:
        return (users.name,), True
    judged = [f for f in differing if f.outcome is not None]
    common = [n for n in list_numerics() if all(n in f.profiles for f in judged)]
    whole = []
    for name in common:
        profile = load_numerics(name)
        try:
            if _other_layers(graph, users, profile):
                continue
            made = made_by(graph, profile, seen)
        except FxsimError:
            continue
        if made is not None and not missed_by(made, seen):
            whole.append(name)
    for f in differing:
        if f.status == "within" and whole:
            f.status, f.profiles = "explained", tuple(whole)
    named = whole or (common if judged else [])  # of what was not judged alone, nothing else is known
    return tuple(sorted(named, key=lambda name: EVIDENCE.index(load_numerics(name).verified))), bool(whole)


def missed_by(made: dict[int, Array], seen: Seen) -> dict[int, int]:
    """Tensor -> elements that are not the device's, where there are any."""
    wrong = {i: int(np.count_nonzero(differs(made[i], v))) for i, v in seen.tensors.items() if i in made}
    return {i: n for i, n in wrong.items() if n}


def _other_layers(graph: Graph, users: NumericsProfile, profile: NumericsProfile) -> bool:
    """True if the engine of ``profile`` runs other layers than ``graph`` has, which is as that of ``users`` rewrote it."""
    if profile.rewrite == users.rewrite:
        return False
    if users.rewrite:
        return as_executed(graph, users) is not graph  # what the file had is not known here
    made = as_executed(graph, profile)
    return [(n.op, n.inputs, n.outputs) for n in made.nodes] != [(n.op, n.inputs, n.outputs) for n in graph.nodes]


def made_by(graph: Graph, profile: NumericsProfile, seen: Seen) -> dict[int, Array] | None:
    """What the profile makes of the device's own values; None where it cannot run the network."""
    if profile.real is not None:
        return None
    plan = plan_of(graph, profile)
    assert isinstance(plan, Plan)
    return rerun(plan, seen)
