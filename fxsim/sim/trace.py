"""What a simulation leaves behind: the kept tensors, and on demand every other tensor and the layers' registers."""

import io
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from fxsim._version import __version__
from fxsim.arith.bounds import bits_needed
from fxsim.errors import FxsimError
from fxsim.files import atomic_write
from fxsim.kernels.ordered import FIRST, HIGH, LOW, OVERFLOWED
from fxsim.model.graph import Graph, Node
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Probe
from fxsim.sim.inputs import Batch
from fxsim.sim.plan import Ends, Plan, Step, Workspace
from fxsim.sim.real.plan import RealPlan

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int], None]
FORMAT = 1
HEAD = 8
"""values that a summary shows"""
TRIED = 3
"""inferences, after the first, whose time says whether threads pay"""
THREAD_PAYS_S = 5e-4
"""seconds of work for which a thread of its own pays"""
TURNS = 4
"""times that each thread takes more, so that all end together"""
MOST_AT_ONCE = 256
"""inferences between two reports of progress"""


@dataclass(frozen=True, slots=True)
class LayerStats:
    """One layer's registers over all inferences of a trace."""

    layer: int
    name: str
    op: str
    elements: int
    """output elements over all inferences"""
    acc_bits: int
    """width of the accumulator in the profile; 0 where the layer has none"""
    acc_min: int
    """least value that the register held at any step"""
    acc_max: int
    bits_used: int
    """the width that just holds ``acc_min..acc_max``"""
    overflows: int
    """steps that wrapped or saturated"""
    first_overflow: tuple[int, ...] | None
    """(inference, index in the output) of the first output in which a step did"""
    clamped_low: int
    """outputs that the clamp raised"""
    clamped_high: int
    """outputs that the clamp lowered"""


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """One channel's register over all inferences of a trace; fields as in :class:`LayerStats`."""

    layer: int
    name: str
    channel: int
    acc_min: int
    acc_max: int
    bits_used: int
    overflows: int


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The result of :func:`fxsim.simulate`."""

    plan: Plan | RealPlan
    batch: Batch
    kept: dict[int, Array] = field(repr=False)
    _probes: list[dict[int, Probe]] = field(default_factory=list, repr=False)

    @property
    def graph(self) -> Graph:
        """The network that ran."""
        return self.plan.graph

    @property
    def outputs(self) -> dict[str, Array]:
        """Output name -> array, in the model's order. A name that two outputs share gets its tensor index appended."""
        return {n: self.kept[i] for n, i in zip(output_names(self.graph), self.graph.outputs, strict=True)}

    def tensor(self, key: int | str) -> Array:
        """The values of a tensor by ``.tflite`` index or by name; recomputed from the inputs if it was not kept.

        Raises:
            FxsimError: if there is no such tensor, or if it holds no values (a resource handle).
        """
        t = self.graph.tensor(key)
        if t.index in self.kept:
            return self.kept[t.index]
        if t.data is not None:
            return t.data
        return run(self.plan, self.batch, self._computed([t.index]))[t.index]

    def tensors(self, keys: Iterable[int]) -> dict[int, Array]:
        """Several tensors at once, with at most one run for those that were not kept."""
        keys = list(keys)
        if self.kept.keys() >= set(keys):
            return {k: self.kept[k] for k in keys}
        missing = [k for k in keys if k not in self.kept and not self.graph.tensors[k].constant]
        extra = run(self.plan, self.batch, self._computed(missing)) if missing else {}
        constants = {k: d for k in keys if (d := self.graph.tensors[k].data) is not None}
        return {k: v for k in keys for v in [self.kept.get(k, extra.get(k, constants.get(k)))] if v is not None}

    def _computed(self, keys: Sequence[int]) -> list[int]:
        known = set(computed(self.graph))
        for k in keys:
            if k not in known:
                raise FxsimError(f"{self.graph.name}: tensor {k} {self.graph.tensors[k].name!r} holds no values")
        return list(keys)

    def _watched(self) -> dict[int, Probe]:
        """What each layer's registers held; computed on first use by a second, watched run."""
        if not self._probes:
            self._probes.append(_survey(self.plan, self.batch))
        return self._probes[0]

    @property
    def stats(self) -> tuple[LayerStats, ...]:
        """Register statistics, a row per layer."""
        probes, graph = self._watched(), self.graph
        nodes = {n.index: n for n in graph.nodes}
        return tuple(_layer_stats(graph, nodes[i], p, self.batch.count) for i, p in probes.items())

    @property
    def channels(self) -> "pd.DataFrame":
        """Register statistics, a row per output channel of each layer with an accumulator (:class:`ChannelStats`)."""
        from fxsim.report.tables import frame

        rows = []
        for layer, p in self._watched().items():
            name = next(n.name for n in self.graph.nodes if n.index == layer)
            for c, (low, high, lost, _) in enumerate(() if p.seen is None else p.seen.tolist()):
                rows.append(ChannelStats(layer, name, c, low, high, bits_needed(low, high), lost))
        return frame(ChannelStats, rows)

    @property
    def layers(self) -> "pd.DataFrame":
        """Per layer: accumulator minimum, maximum and bits used, overflows, clamp counts (see :class:`LayerStats`)."""
        from fxsim.report.tables import frame

        return frame(LayerStats, self.stats)

    def summaries(self) -> "list[Summary]":
        """Each output in short."""
        return [summary(name, value.dtype, value.shape, [value]) for name, value in self.outputs.items()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes ``output_0..``, ``tensor_<index>`` and ``meta`` (JSON text) to an ``.npz`` file. No pickles.

        Raises:
            OutputError: if the file cannot be written; nothing is left behind then.
        """
        arrays: dict[str, Any] = {name: self.kept[i] for name, i in entries(self.graph, self.kept)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays, meta=np.array(provenance(self.plan, self.batch.count, self.kept)))
        atomic_write(path, buffer.getvalue())


@dataclass(frozen=True, slots=True)
class Summary:
    """An output in short: what it is, its ends, its first values."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float
    head: tuple[float, ...]
    """of its values the first 8"""

    @property
    def more(self) -> bool:
        """True if there are values beyond ``head``."""
        return math.prod(self.shape) > len(self.head)


def summary(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], parts: Iterable[Array]) -> Summary:
    """What is to be told of an output whose values come in ``parts``, one after the other."""
    ends: list[float] = []
    head: list[float] = []
    for part in parts:
        if part.size:
            ends = [min([*ends[:1], part.min().item()]), max([*ends[1:], part.max().item()])]
            head += part.reshape(-1)[: HEAD - len(head)].tolist()
    low, high = ends or (math.nan, math.nan)
    return Summary(name, str(dtype), shape, low, high, tuple(head))


def output_names(graph: Graph) -> list[str]:
    """The names of the outputs; one that two share gets its tensor index appended."""
    names = [graph.tensors[i].name for i in graph.outputs]
    return [n if names.count(n) == 1 else f"{n}:{i}" for n, i in zip(names, graph.outputs, strict=True)]


def entries(graph: Graph, kept: Iterable[int]) -> list[tuple[str, int]]:
    """``(name, tensor)`` of the arrays in a file of kept tensors."""
    others = [(f"tensor_{i}", i) for i in kept if i not in graph.outputs]
    return [(f"output_{n}", i) for n, i in enumerate(graph.outputs)] + others


def provenance(plan: Plan | RealPlan, inferences: int, kept: Iterable[int]) -> str:
    """What a reader of a file needs to make it again, as JSON: model digest, numerics, version, tensor names."""
    g = plan.graph
    told = {
        "format": FORMAT,
        "fxsim": __version__,
        "model": Path(g.name).name,
        "model_sha256": g.sha256,
        "numerics": plan.numerics.name,
        "inferences": inferences,
        "outputs": [g.tensors[i].name for i in g.outputs],
        "tensors": {str(i): g.tensors[i].name for i in kept},
    }
    return json.dumps(told)


def computed(graph: Graph) -> list[int]:
    """The tensors that hold values in a run: inputs, variables, and all outputs of layers but resource handles."""
    made = [i for n in graph.nodes for i in n.outputs if graph.tensors[i].qtype.kind != "resource"]
    variables = [t.index for t in graph.tensors if t.variable]
    return list(dict.fromkeys((*graph.inputs, *variables, *made)))


def run(
    plan: Plan | RealPlan,
    batch: Batch,
    keep: Sequence[int],
    progress: Progress | None = None,
    threads: int | None = None,
) -> dict[int, Array]:
    """Runs every inference of ``batch`` and stacks the tensors of ``keep`` as the inputs are stacked.

    Several at once, on as many ``threads`` (by default one a core), where no inference depends on another.
    """
    if isinstance(plan, RealPlan):
        made = plan.run(batch, keep, progress=progress)
        return {i: batch.shape(made[i]) for i in keep}
    kept = {i: batch.stack(plan.graph.tensors[i]) for i in keep}
    ends, needed, lock, done = Ends(batch, kept), frozenset(keep), Lock(), [0]

    def some(ws: Workspace, first: int, last: int) -> None:
        plan.run_all(ws, ends, first, last)
        if progress is not None:
            with lock:
                done[0] += last - first
                progress(done[0])

    with plan.workspaces(1, needed) as own:
        begin = 0
        if batch.count == 1 or needed not in plan.pace:
            some(own[0], 0, 1)
            begin = min(1 + TRIED, batch.count)
            if begin > 1:
                begun = perf_counter()
                some(own[0], 1, begin)
                plan.pace[needed] = (perf_counter() - begun) / (begin - 1)
        if begin < batch.count:
            left = plan.pace[needed] * (batch.count - begin)
            number = max(1, min(threads or _cores(), int(left / THREAD_PAYS_S))) if plan.stateless else 1
            turns = TURNS * number if number > 1 else 1
            span = max(1, min(MOST_AT_ONCE, (batch.count - begin) // turns))
            turn, failed = count(begin, span), list[bool]()

            def work(ws: Workspace) -> None:
                try:
                    while not failed and (first := next(turn)) < batch.count:
                        some(ws, first, min(first + span, batch.count))
                except BaseException:
                    failed.append(True)  # nobody takes more
                    raise

            with plan.workspaces(number - 1, needed) as others:
                helped = [_pool(os.getpid(), number - 1).submit(work, ws) for ws in others]
                try:
                    work(own[0])
                finally:
                    wait(helped)
                for h in helped:
                    h.result()
    return {i: batch.shape(v) for i, v in kept.items()}


@cache
def _pool(process: int, number: int) -> ThreadPoolExecutor:
    """``number`` threads that wait for work, of this process alone: a fork has none of its parent's."""
    return ThreadPoolExecutor(number, "fxsim")


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _survey(plan: Plan | RealPlan, batch: Batch) -> dict[int, Probe]:
    """Layer -> what its registers held, from a run in which every layer is watched; real arithmetic has none."""
    probes = {s.node.index: Probe() for s in plan.steps}
    if isinstance(plan, RealPlan):
        return probes
    done = 0

    def see(step: Step, inputs: Arrays) -> None:
        if step.probe is not None:
            elements = sum(plan.graph.tensors[i].elements for i in step.outputs)
            probes[step.node.index].add(step.probe(inputs), done * elements)

    ws = plan.workspace()
    for n in range(batch.count):
        done = n
        batch.load(n, ws.values)
        plan.run(ws, see)
    return probes


def _layer_stats(graph: Graph, node: Node, p: Probe, inferences: int) -> LayerStats:
    elements = sum(graph.tensors[i].elements for i in node.outputs)
    if p.seen is None or not len(p.seen):
        register: tuple[int, int, int, int] = (0, 0, 0, 0)
        first = None
    else:
        low, high, lost = int(p.seen[:, LOW].min()), int(p.seen[:, HIGH].max()), int(p.seen[:, OVERFLOWED].sum())
        register = low, high, bits_needed(low, high), lost
        places = p.seen[:, FIRST][p.seen[:, FIRST] >= 0]
        shape = (inferences, *graph.tensors[node.outputs[0]].shape)
        first = tuple(int(i) for i in np.unravel_index(int(places.min()), shape)) if places.size else None
    total = elements * inferences
    return LayerStats(
        node.index, node.name, node.op, total, p.acc_bits, *register, first, p.clamped_low, p.clamped_high
    )
