"""Runs a network on the device's own values: whatever the dump holds takes the place of what was computed."""

from dataclasses import dataclass, field

import numpy as np

from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.sim.inputs import Batch
from fxsim.sim.plan import Plan


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a device: its inputs, and the tensors of its dump as ``(inferences, *shape)``."""

    batch: Batch
    tensors: dict[int, Array] = field(default_factory=dict)

    def has(self, graph: Graph, tensor: int) -> bool:
        """True if the device's own value is known."""
        return graph.tensors[tensor].constant or tensor in self.tensors or tensor in self.batch.indices

    def value(self, graph: Graph, tensor: int, inference: int) -> Array:
        """The device's own value."""
        t = graph.tensors[tensor]
        if t.data is not None:
            return np.asarray(t.data)
        if tensor in self.tensors:
            return np.ascontiguousarray(self.tensors[tensor][inference])
        return np.asarray(self.batch.values[self.batch.indices.index(tensor)][inference])


def rerun(plan: Plan, seen: Seen) -> dict[int, Array]:
    """What each layer makes of the device's own inputs, ``(inferences, *shape)`` of every tensor that the dump holds too."""
    graph, ws = plan.graph, plan.workspace(program=False)
    wanted = [i for s in plan.steps for i in s.outputs if i in seen.tensors]
    made = {i: np.empty((seen.batch.count, *graph.tensors[i].shape), graph.tensors[i].qtype.dtype) for i in wanted}
    made |= {i: seen.tensors[i] for i in plan.views if i in seen.tensors}  # moves no value
    for n in range(seen.batch.count):
        seen.batch.load(n, ws.values)
        for i, v in seen.tensors.items():
            if i in graph.inputs:
                ws.values[i][...] = v[n]
        for step in plan.steps:
            step.run(ws, [ws.values[i] for i in step.inputs], [ws.values[i] for i in step.outputs])
            for i in step.outputs:
                if i in made:
                    made[i][n] = ws.values[i]
                    ws.values[i][...] = seen.tensors[i][n]
    return made
