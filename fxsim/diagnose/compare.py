"""Holds a simulation against a dump, tensor by tensor and bit by bit."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fxsim.diagnose.dumps import Dump, load, source_of
from fxsim.diagnose.matching import reused
from fxsim.diagnose.measures import Row, difference, differs, row
from fxsim.errors import DumpError, FxsimError
from fxsim.files import atomic_write
from fxsim.model.graph import Graph, Tensor
from fxsim.model.qtype import Array
from fxsim.sim.plan import Plan
from fxsim.sim.trace import Trace, computed

if TYPE_CHECKING:
    import pandas as pd

    from fxsim.diagnose.explain import Explanation

Mode = Literal["entire", "single"]


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place, in execution order, where dump and simulation part."""

    layer: int
    op: str
    tensor: int
    name: str
    index: tuple[int, ...]
    got: float | int
    """fxsim's value"""
    expected: float | int
    """the dump's value"""
    mismatches: int
    elements: int

    def __str__(self) -> str:
        """One line for people."""
        where = "model input" if self.layer < 0 else f"layer {self.layer} {self.op}"
        return (
            f"{where} (tensor {self.tensor} {self.name!r}) at {list(self.index)}: fxsim {self.got}, dump {self.expected}; "
            f"{self.mismatches} of {self.elements} elements differ"
        )


class Maps(Mapping[int, Array]):
    """Tensor that differs -> in how many inferences each of its elements does."""

    def __init__(self, tensors: Sequence[Tensor], pairs: Mapping[int, tuple[Array, Array]]) -> None:
        """Counts nothing yet; ``pairs`` are the simulation's and the device's values."""
        self._tensors, self._pairs = tensors, pairs

    def __getitem__(self, tensor: int) -> Array:
        """The counts, in the tensor's shape."""
        counts: Array = differs(*self._pairs[tensor]).reshape(-1, *self._tensors[tensor].shape).sum(axis=0)
        return counts

    def __iter__(self) -> Iterator[int]:
        """The tensors."""
        return iter(self._pairs)

    def __len__(self) -> int:
        """How many tensors differ."""
        return len(self._pairs)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of :func:`compare`."""

    rows: tuple[Row, ...]
    first_divergence: Divergence | None
    numerics: str
    not_in_dump: tuple[int, ...] = field(default=(), repr=False)
    """computed tensors of which the dump says nothing"""
    mode: Mode = "entire"
    notes: tuple[str, ...] = ()
    """how the dump was read, and causes that are none of arithmetic: reused memory, runs that differ"""
    maps: Mapping[int, Array] = field(default_factory=dict, repr=False)
    """tensor that differs -> in how many inferences each of its elements does; counted when asked for"""

    @property
    def table(self) -> "pd.DataFrame":
        """A row per tensor in execution order: see :class:`Row`."""
        from fxsim.report.tables import frame

        return frame(Row, self.rows)

    @property
    def equal(self) -> bool:
        """True if every element of every tensor in the dump is equal."""
        return self.first_divergence is None

    @property
    def elements(self) -> int:
        """Elements compared."""
        return sum(r.elements for r in self.rows)

    @property
    def mismatches(self) -> int:
        """Elements that differ."""
        return sum(r.mismatches for r in self.rows)

    def to_html(self, path: str | os.PathLike[str], explanation: "Explanation | None" = None) -> Path:
        """Writes one page with tables, heat maps, histograms and, if given, what :func:`fxsim.explain` found.

        Raises:
            OutputError: if the file cannot be written.
        """
        from fxsim.report.diagnosis_page import page

        return atomic_write(path, page(self, explanation).encode())


def compare(trace: Trace, dump: Dump, mode: Mode = "entire", again: Dump | None = None) -> Comparison:
    """How a device's values differ from the simulation's, for every tensor that the dump holds.

    Args:
        trace: the simulation; tensors that it did not keep are recomputed.
        dump: a file or folder (:data:`fxsim.diagnose.formats.READERS` lists the formats), a dict of arrays, or another
            trace. Keys name tensors: ``output_<n>``, ``input_<n>``, ``tensor_<index>``, or their own names; where none
            does, size and content decide, and ``notes`` say so.
        mode: ``"entire"``: what fxsim computes from the model's inputs, so that a difference lives on in later layers;
            ``"single"``: each layer is given the device's own inputs, so that it is judged alone. Layers whose inputs the
            dump lacks, and those with memory, are left out then.
        again: another dump of the same run; tensors in which the two differ are not compared.

    Raises:
        DumpError: if the dump cannot be read, fits no tensor of the model, or has another size.
    """
    if mode not in ("entire", "single"):
        raise FxsimError(f"compare: mode is {mode!r}; allowed: 'entire', 'single'")
    graph, source = trace.graph, source_of(dump)
    matched = load(trace, dump)
    notes = list(matched.notes)
    theirs = dict(matched.arrays)
    if again is not None:
        for i in _unsteady(theirs, load(trace, again).arrays):
            notes.append(f"tensor {i} {graph.tensors[i].name!r} differs between two runs: left out")
            del theirs[i]
    made = _made(graph)
    ours = single(trace, theirs) if mode == "single" else {i: matched.ours[i] for i in theirs}
    if mode == "single" and not ours:
        raise DumpError(f"{source}: holds no layer's inputs together with its outputs; mode 'single' needs both")
    rows, first, apart = [], None, {}
    for i in sorted(ours, key=made.__getitem__):
        layer, _, op = made[i]
        mine, other = ours[i], theirs[i]
        found = matched.differences[i] if mode == "entire" else difference(mine, other)
        r = row(graph.tensors[i], layer, op, mine, other, found)
        rows.append(r)
        if found is None:
            continue
        apart[i] = mine, other
        if first is None and r.first_index is not None:
            got, expected = mine[r.first_index].item(), other[r.first_index].item()
            first = Divergence(layer, op, i, r.name, r.first_index, got, expected, r.mismatches, r.elements)
    wrong = [r.tensor for r in rows if r.exact < 0.5]
    if wrong and mode == "entire":
        notes += reused(graph, theirs, trace.tensors(computed(graph)), wrong)
    left_out = tuple(i for i, (layer, _, _) in made.items() if layer >= 0 and i not in ours)
    name = trace.plan.numerics.name
    return Comparison(tuple(rows), first, name, left_out, mode, tuple(notes), Maps(graph.tensors, apart))


def _made(graph: Graph) -> dict[int, tuple[int, int, str]]:
    """Tensor -> the layer that makes it (-1: none does), itself, and the layer's op; kept with the graph."""
    found: Any = graph.derived.get("made by")
    if found is None:
        found = {t.index: (-1, t.index, "") for t in graph.tensors}
        found |= {i: (n.index, i, n.op) for n in graph.nodes for i in n.outputs}
        found = {i: of for i, of in found.items() if graph.tensors[i].qtype.kind != "resource"}
        graph.derived["made by"] = found
    made: dict[int, tuple[int, int, str]] = found
    return made


def _unsteady(first: Mapping[int, Array], second: Mapping[int, Array]) -> list[int]:
    return [i for i, v in first.items() if i in second and v.tobytes() != second[i].tobytes()]


def single(trace: Trace, theirs: Mapping[int, Array]) -> dict[int, Array]:
    """What each layer of the simulation makes of the device's own inputs, for the outputs that the dump holds."""
    graph, plan, count = trace.graph, trace.plan, trace.batch.count
    if not isinstance(plan, Plan):
        raise FxsimError(f"compare: mode 'single' needs an engine's arithmetic; got {plan.numerics.name!r}")
    workspace = plan.workspace(program=False)
    views = {alias: source for alias, source in plan.views.items() if alias in theirs and source in theirs}
    result = {i: theirs[source].reshape(theirs[i].shape) for i, source in views.items()}
    given: dict[int, Array] = {}

    def inference(i: int) -> Array | None:
        """Tensor ``i`` as ``(count, *shape)``; None if the dump lacks it."""
        if i not in theirs and plan.views.get(i) in theirs:
            i = plan.views[i]
        if i not in theirs:
            return None
        return given.setdefault(i, theirs[i].reshape(count, *graph.tensors[i].shape))

    for step in plan.steps:
        if step.remembers or not any(i in theirs for i in step.outputs):
            continue
        ins = {i: None if graph.tensors[i].constant else inference(i) for i in step.inputs}
        if any(v is None and not graph.tensors[i].constant for i, v in ins.items()):
            continue
        made = [np.empty((count, *graph.tensors[i].shape), graph.tensors[i].qtype.dtype) for i in step.outputs]
        for n in range(count):
            values = [workspace.values[i] if (v := ins[i]) is None else _shaped(v[n], graph, i) for i in step.inputs]
            step.run(workspace, values, [m[n] for m in made])
        for i, m in zip(step.outputs, made, strict=True):
            if i in theirs:
                result[i] = m.reshape(theirs[i].shape)
    return result


def _shaped(v: Array, graph: Graph, i: int) -> Array:
    return v.reshape(graph.tensors[i].shape)
