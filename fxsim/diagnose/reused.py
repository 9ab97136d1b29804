"""Tensors of a dump whose memory had been used again when it was dumped."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fxsim.diagnose.differences import farther
from fxsim.kernels.differences import HEAD, alike
from fxsim.model.qtype import Array
from fxsim.names import short_name
from fxsim.sim.plan import Plan
from fxsim.sim.trace import Trace, computed

OTHERS = 100
"""memory is another tensor's if fewer than one in so many bytes is not"""
SMALLEST = 16
"""bytes that say so"""


def reused(trace: Trace, strange: Mapping[int, Array], held: Mapping[int, Array]) -> tuple[str, ...]:
    """Which strange tensors of a dump hold another's values: as fxsim has them, or as ``held``, all of the dump, has them.

    Of two strange ones that hold the same, the one that was made first has lost its own.
    """
    graph, views = trace.graph, trace.plan.views if isinstance(trace.plan, Plan) else {}
    when = {i: n for n, i in enumerate(computed(graph))}
    simulated = trace.tensors(when)
    wrong = list(strange)
    others = [(j, v) for j, v in (*simulated.items(), *held.items()) if j in when and v.nbytes >= SMALLEST]
    arrays = [_raw(strange[i]) for i in wrong] + [_raw(v) for _, v in others]
    heads = np.zeros((len(arrays), HEAD), np.uint8)
    for head, v in zip(heads, arrays, strict=True):
        head[: len(v)] = v[:HEAD]
    pairs = np.empty((len(wrong) * len(others), 2), np.int64)
    found = alike()(heads, np.array([len(v) for v in arrays]), len(wrong), OTHERS, pairs)
    said: dict[int, str] = {}
    names = [short_name(t.name) for t in graph.tensors]
    for a, b in pairs[:found].tolist():
        i, (j, other), n = wrong[a], others[b - len(wrong)], min(len(arrays[a]), len(arrays[b]))
        if other is not simulated[j] and j in strange and when[j] <= when.get(i, -1):
            continue
        if i in said or views.get(i, i) == views.get(j, j) or n < SMALLEST or not np.ptp(arrays[b][:n]):
            continue
        if farther(arrays[a][:n], arrays[b][:n], 0, n // OTHERS) * OTHERS < n:
            said[i] = (
                f"tensor {i} {names[i]!r} holds the values of tensor {j} {names[j]!r}: "
                "its memory was used again before it was dumped (keep all tensors, or dump after each layer)"
            )
    return tuple(said.values())


def _raw(v: Array) -> npt.NDArray[np.uint8]:
    return v.ravel().view(np.uint8)
