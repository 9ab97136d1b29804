"""What a deviation does downstream: one layer computed as the device does, all others as the user's simulation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fxsim.diagnose.differences import Differences
from fxsim.errors import FxsimError
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile
from fxsim.sim.inputs import Batch, make_batch
from fxsim.sim.plan import Plan, plan_of
from fxsim.sim.trace import run

AMPLIFIES = 2.0
"""how many times its inputs' greatest difference a layer's outputs differ, to be called so"""


@dataclass(frozen=True, slots=True)
class Effect:
    """What the deviation of one layer (-1: of all of them together) comes to."""

    layer: int
    op: str
    here_elements: int
    """elements of the layer's own outputs that change"""
    here_lsb: int
    """greatest change there"""
    output_elements: int
    """elements of the model's outputs that change"""
    output_lsb: int
    top1: int
    """inferences whose greatest output is another one"""
    inferences: int
    amplified_by: tuple[int, ...]
    """layers whose outputs change by more than twice what their inputs do"""


def effects(
    graph: Graph,
    users: NumericsProfile,
    device: NumericsProfile,
    layers: Sequence[int],
    inputs: Any,  # noqa: ANN401
) -> tuple[Effect, ...]:
    """The effect of each of ``layers`` alone, and of all of them together.

    Args:
        graph: the network as the engine runs it.
        users: the arithmetic of the user's simulation.
        device: that of the device.
        layers: those that differ.
        inputs: as for :func:`fxsim.simulate`: a data set, if top-1 is to mean anything.

    Raises:
        FxsimError: if ``layers`` names none that computes.
    """
    mine, theirs = plan_of(graph, users), plan_of(graph, device)
    if not isinstance(mine, Plan) or not isinstance(theirs, Plan):
        raise FxsimError(
            f"{graph.name}: effects are of two engines' arithmetics; got {users.name!r} and {device.name!r}"
        )
    batch = make_batch(graph, inputs)
    known = [s.node.index for s in mine.steps]
    unknown = set(layers) - set(known)
    if unknown:
        raise FxsimError(f"{graph.name}: layer {min(unknown)} computes nothing; allowed: {known}")
    usual = _values(mine, batch)
    sets = [[n] for n in layers] + ([list(layers)] if len(layers) > 1 else [])
    return tuple(_effect(mine, batch.count, usual, _values(_mixed(mine, theirs, of), batch), of) for of in sets)


def _mixed(mine: Plan, theirs: Plan, of: Sequence[int]) -> Plan:
    """The plan whose layers ``of`` compute as the other plan's do."""
    steps = tuple(b if a.node.index in of else a for a, b in zip(mine.steps, theirs.steps, strict=True))
    return replace(mine, steps=steps, idle={})


def _values(plan: Plan, batch: Batch) -> dict[int, Array]:
    wanted = [i for s in plan.steps for i in s.outputs if plan.graph.tensors[i].qtype.kind != "resource"]
    return run(plan, batch, list(dict.fromkeys((*plan.graph.inputs, *wanted, *plan.graph.outputs))))


def _effect(plan: Plan, count: int, usual: dict[int, Array], changed: dict[int, Array], of: Sequence[int]) -> Effect:
    graph = plan.graph
    apart = Differences([(usual[i], changed[i]) for i in usual])
    most, wrong = (dict(zip(usual, v, strict=True)) for v in (apart.greatest, apart.mismatches.tolist()))
    here = [i for s in plan.steps if s.node.index in of for i in s.outputs]
    grows, ops = [], {s.node.index: s.node.op for s in plan.steps}
    for s in plan.steps:
        ins = max((most.get(plan.views.get(i, i), 0) for i in s.inputs), default=0)
        if s.node.index not in of and ins and max(most[i] for i in s.outputs if i in most) > AMPLIFIES * ins:
            grows.append(s.node.index)
    first = usual[graph.outputs[0]], changed[graph.outputs[0]]
    tops = [v.reshape(count, -1).argmax(axis=1) for v in first]
    return Effect(
        of[0] if len(of) == 1 else -1, ops[of[0]] if len(of) == 1 else "all",
        sum(wrong[i] for i in here), max(most[i] for i in here),
        sum(wrong[i] for i in graph.outputs), max(most[i] for i in graph.outputs),
        int(np.count_nonzero(tops[0] != tops[1])), count, tuple(grows),
    )  # fmt: skip
