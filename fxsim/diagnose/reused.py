"""Tensors of a dump that are not what their layers made: memory that had been used again when it was dumped."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from fxsim.diagnose.differences import farther
from fxsim.kernels.differences import HEAD, alike
from fxsim.model.graph import Graph, Node
from fxsim.model.qtype import Array
from fxsim.names import short_name
from fxsim.sim.trace import Trace, computed

OTHERS = 100
"""memory is another tensor's if fewer than one in so many bytes is not"""
SMALLEST = 16
"""bytes that say so"""


def reused(trace: Trace, strange: Mapping[int, Array], held: Mapping[int, Array]) -> tuple[str, ...]:
    """Which strange tensors of a dump hold another's values: as fxsim has them, or as ``held``, all of the dump, has them.

    Of two strange ones that hold the same, the one that was made first has lost its own.
    """
    graph = trace.graph
    when = {i: n for n, i in enumerate(computed(graph))}
    simulated = trace.tensors(when)
    wrong = [i for i, v in strange.items() if i not in when or not _alike(v, simulated[i], 2)]
    others = [(j, v) for j, v in (*simulated.items(), *held.items()) if j in when and v.nbytes >= SMALLEST]
    arrays = [_raw(strange[i]) for i in wrong] + [_raw(v) for _, v in others]
    heads = np.zeros((len(arrays), HEAD), np.uint8)
    for head, v in zip(heads, arrays, strict=True):
        head[: len(v)] = v[:HEAD]
    pairs = np.empty((len(wrong) * len(others), 2), np.int64)
    found = alike()(heads, np.array([len(v) for v in arrays], np.int64), len(wrong), OTHERS, pairs)
    said: dict[int, str] = {}
    for a, b in pairs[:found].tolist():
        i, (j, other) = wrong[a], others[b - len(wrong)]
        if i in said or i == j or arrays[a].size < SMALLEST or not _alike(arrays[a], other, OTHERS):
            continue
        if other is not simulated[j] and j in strange and when[j] <= when.get(i, -1):
            continue
        if i in when and _alike(simulated[i], simulated[j], OTHERS):  # the network itself makes them alike
            continue
        said[i] = (
            f"{_named(graph, i)} holds the values of {_named(graph, j)}: "
            "its memory was used again before it was dumped (keep all tensors, or dump after each layer)"
        )
    return tuple(said.values())


def passed_over(trace: Trace, layers: Iterable[Node], held: Mapping[int, Array]) -> tuple[str, ...]:
    """Tensors of a dump that the device did not go on with: what a layer made of them is what fxsim makes of its own."""
    graph, said = trace.graph, dict[int, str]()
    simulated = trace.tensors(computed(graph))
    for node in layers:
        outputs = [i for i in node.outputs if i in held and i in simulated]
        if not outputs or any(held[i].tobytes() != simulated[i].tobytes() for i in outputs):
            continue
        for i in node.inputs:
            if i in held and i in simulated and held[i].tobytes() != simulated[i].tobytes():
                said[i] = (
                    f"{_named(graph, i)} is not what the device went on with: layer {node.index} {node.op} gives in "
                    "every bit what it gives of fxsim's own values, not of these"
                )
    return tuple(said.values())


def _named(graph: Graph, i: int) -> str:
    return f"tensor {i} {short_name(graph.tensors[i].name)!r}"


def _alike(one: Array, other: Array, per: int) -> bool:
    """True if of the bytes that both have fewer than one in ``per`` differ, and not all are one value."""
    n = min(one.nbytes, other.nbytes)
    a, b = _raw(one)[:n], _raw(other)[:n]
    return farther(a, b, 0, n // per) * per < n and bool(np.ptp(b))


def _raw(v: Array) -> npt.NDArray[np.uint8]:
    return v.ravel().view(np.uint8)
