"""Holds a simulation against a dump, tensor by tensor and bit by bit."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fxsim.diagnose.differences import Differences, differs
from fxsim.diagnose.dumps import Dump, load, source_of
from fxsim.diagnose.measures import Row, row
from fxsim.diagnose.reused import reused
from fxsim.errors import DumpError, FxsimError
from fxsim.files import atomic_write
from fxsim.kernels.differences import FIRST
from fxsim.model.graph import Graph, Tensor
from fxsim.model.qtype import Array
from fxsim.names import short_name
from fxsim.sim.plan import Plan
from fxsim.sim.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

    from fxsim.diagnose.explain import Explanation

Mode = Literal["entire", "single"]
TOLD = ("numerics", "rows", "maps", "notes", "not_in_dump")
"""what a comparison makes of the simulation when asked"""


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
        where += f" (tensor {self.tensor} {short_name(self.name)!r})"
        return (
            f"{where} at {list(self.index)}: fxsim {self.got}, dump {self.expected}; "
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


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The result of :func:`compare`.

    Every pair of arrays was looked at; rows, maps and notes are made when asked for, of the dump's arrays as they are then.
    """

    trace: Trace
    mode: Mode
    first_divergence: Divergence | None
    """the first place in execution order where dump and simulation part; with memory, in the first inference to differ"""
    reading: tuple[str, ...]
    """how the dump was read, and what of it was left out"""
    unsteady: tuple[int, ...]
    """tensors that differ between two dumps of the same run; they are left out"""
    tensors: tuple[Tensor, ...]
    """in execution order"""
    differences: Differences
    """of these tensors: the dump's values less fxsim's"""

    def __repr__(self) -> str:
        """One line for people."""
        return (
            f"Comparison({self.mode!r}, {self.numerics!r}: {self.mismatches} of {self.elements} elements in "
            f"{len(self.tensors)} tensors differ)"
        )

    def __getstate__(self) -> dict[str, Any]:
        """What is told, without the simulation, which no pickle takes."""
        for name in TOLD:
            getattr(self, name)
        return self.__dict__ | {"trace": None}

    @cached_property
    def numerics(self) -> str:
        """The profile that the simulation ran under."""
        return self.trace.plan.numerics.name

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """A row per tensor in execution order."""
        made, apart = _made(self.trace.graph), self.differences
        return tuple(row(t, *made[t.index][::2], *apart.pairs[k], apart[k]) for k, t in enumerate(self.tensors))

    @cached_property
    def maps(self) -> Mapping[int, Array]:
        """Tensor that differs -> in how many inferences each of its elements does; counted when asked for."""
        pairs = zip(self.tensors, self.differences.pairs, self.differences.mismatches, strict=True)
        return Maps(self.trace.graph.tensors, {t.index: pair for t, pair, wrong in pairs if wrong})

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """How the dump was read, and causes that are none of arithmetic: reused memory, runs that differ."""
        mostly = (2 * self.differences.mismatches > self.differences.elements).nonzero()[0].tolist()
        strange = {self.tensors[k].index: self.differences.pairs[k][1] for k in mostly}
        if not strange:
            return self.reading
        held = {t.index: theirs for t, (_, theirs) in zip(self.tensors, self.differences.pairs, strict=True)}
        return (*self.reading, *reused(self.trace, strange, held))

    @cached_property
    def not_in_dump(self) -> tuple[int, ...]:
        """Computed tensors of which the dump says nothing."""
        held = {t.index for t in self.tensors}
        return tuple(i for i, (layer, _, _) in _made(self.trace.graph).items() if layer >= 0 and i not in held)

    @property
    def table(self) -> "pd.DataFrame":
        """A row per tensor in execution order: see :class:`Row`."""
        from fxsim.report.tables import frame

        return frame(Row, self.rows)

    @property
    def equal(self) -> bool:
        """True if every element of every tensor in the dump is equal."""
        return not self.mismatches

    @property
    def elements(self) -> int:
        """Elements compared."""
        return int(self.differences.elements.sum())

    @property
    def mismatches(self) -> int:
        """Elements that differ."""
        return int(self.differences.mismatches.sum())

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
            ``"single"``: each layer is given the device's own inputs (the model's as the simulation had them, where the dump
            lacks them), so that it is judged alone. Layers whose inputs the dump lacks, and those with memory, are left out.
        again: another dump of the same run; tensors in which the two differ are not compared.

    A dict's arrays are not copied: they must stay as they are until the result's rows, maps and notes have been asked for.

    Raises:
        DumpError: if the dump cannot be read, fits no tensor of the model, or has another size.
    """
    if mode not in ("entire", "single"):
        raise FxsimError(f"compare: mode is {mode!r}; allowed: 'entire', 'single'")
    graph, source = trace.graph, source_of(dump)
    matched = load(trace, dump)
    theirs, notes, unsteady = dict(matched.arrays), list(matched.notes), list[int]()
    if again is not None:
        unsteady = _unsteady(theirs, load(trace, again).arrays)
        for i in unsteady:
            notes.append(f"tensor {i} {short_name(graph.tensors[i].name)!r} differs between two runs: left out")
            del theirs[i]
    made = _made(graph)
    if mode == "entire":
        order = sorted(theirs, key=made.__getitem__)
        apart = matched.differences.of([matched.row[i] for i in order])
    else:
        ours = single(trace, theirs)
        if not ours:
            raise DumpError(f"{source}: holds no layer's inputs together with its outputs; mode 'single' needs both")
        order = sorted(ours, key=made.__getitem__)
        apart = Differences([(ours[i], theirs[i]) for i in order])
    tensors = tuple(graph.tensors[i] for i in order)
    return Comparison(trace, mode, _divergence(trace, tensors, apart), tuple(notes), tuple(unsteady), tensors, apart)


def _divergence(trace: Trace, tensors: Sequence[Tensor], apart: Differences) -> Divergence | None:
    """Of the first layer; in a network with memory of the first inference in which one differs."""
    graph, differ = trace.graph, apart.mismatches.nonzero()[0].tolist()
    if isinstance(trace.plan, Plan) and not trace.plan.stateless:
        differ.sort(key=lambda k: apart.figures[k, FIRST] // tensors[k].elements)
    for k in differ:
        t, found = tensors[k], apart[k]
        if found is not None:
            layer, _, op = _made(graph)[t.index]
            mine, other = (v[found.index].item() for v in apart.pairs[k])
            return Divergence(layer, op, t.index, t.name, found.index, mine, other, found.mismatches, found.elements)
    return None


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
    given = {i: v for i, v in zip(trace.batch.indices, trace.batch.values, strict=True) if i not in theirs}

    def inference(i: int) -> Array | None:
        """Tensor ``i`` as ``(count, *shape)``, the model's inputs as the simulation had them; None if the dump lacks it."""
        if i not in theirs:
            i = plan.views.get(i, i)
        if i not in given and i in theirs:
            given[i] = theirs[i].reshape(count, *graph.tensors[i].shape)
        return given.get(i)

    for step in plan.steps:
        if step.remembers or any(graph.tensors[i].variable for i in step.inputs if i >= 0):  # which it would write to
            continue
        if not any(i in theirs for i in step.outputs):
            continue
        ins = {i: inference(i) for i in step.inputs if i >= 0 and not graph.tensors[i].constant}
        if any(v is None for v in ins.values()):
            continue
        made = [np.empty((count, *graph.tensors[i].shape), graph.tensors[i].qtype.dtype) for i in step.outputs]
        for n in range(count):
            values = [
                workspace.values[i] if (v := ins.get(i)) is None else _shaped(v[n], graph, i) for i in step.inputs
            ]
            step.run(workspace, values, [m[n] for m in made])
        for i, m in zip(step.outputs, made, strict=True):
            if i in theirs:
                result[i] = m.reshape(theirs[i].shape)
    return result


def _shaped(v: Array, graph: Graph, i: int) -> Array:
    return v.reshape(graph.tensors[i].shape)
