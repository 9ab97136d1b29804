"""Runs a data set of any length in bounded memory; an interrupted run goes on where it was."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from fxsim._version import __version__
from fxsim.errors import OutputError
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile, numerics_of
from fxsim.sim import Keep, wanted
from fxsim.sim.dataset import Dataset, open_dataset
from fxsim.sim.inputs import Batch
from fxsim.sim.partial import FORMAT, Origin, opened
from fxsim.sim.plan import Ends, Plan, Workspace, plan_of
from fxsim.sim.real.plan import RealPlan
from fxsim.sim.trace import Progress, Summary, entries, output_names, provenance, run, summary

PIECE_BYTES = 1 << 24
"""room for the inputs and kept tensors of a piece"""
FIRST_PIECE = 16
"""inferences in the first piece; the next ones are such that each takes some ..."""
PIECE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Saved:
    """What :func:`run_file` has written."""

    path: Path
    numerics: str
    count: int
    resumed: int
    """inferences that an earlier, interrupted run had done"""
    tensors: int
    outputs: tuple[Summary, ...]


def run_file(
    model: Graph,
    source: str | Dataset,
    save: str | os.PathLike[str],
    numerics: str | os.PathLike[str] | NumericsProfile | None = None,
    keep: Keep = "outputs",
    threads: int | None = None,
    progress: Progress | None = None,
    count: int = 1,
) -> Saved:
    """Runs ``model`` on a data set and writes what :meth:`fxsim.Trace.save` would, in memory that does not grow with it.

    If it is interrupted, however, the next call with the same arguments goes on with what is done; a model with state
    begins anew, since its outputs depend on all inputs before. Neither memory nor time changes a bit of the outputs, nor
    does the number of threads.

    Args:
        model: a network from :func:`fxsim.read`.
        source: an ``.npy`` or ``.npz`` file, ``random:SEED`` for ``count`` inferences, or what :func:`open_dataset` opened.
        save: the ``.npz`` file to write.
        numerics: as in :func:`fxsim.simulate`, as ``keep``.
        keep: the tensors to save.
        threads: how many inferences run at once, by default one a core.
        progress: called with the number of inferences done.
        count: how many inferences to draw for ``random:SEED``.

    Raises:
        InputError, DumpError: if the data do not fit or cannot be read; OutputError: if ``save`` cannot be written, or
            a run was begun there that had another model, input, numerics or tensors to keep.
    """
    path = Path(save)
    if path.suffix.lower() != ".npz":
        raise OutputError(f"{path}: suffix is {path.suffix!r}; allowed: '.npz'")
    profile = numerics_of(model.name, numerics)
    real = profile.real is not None
    data = open_dataset(model, source, count, real=real) if isinstance(source, str) else source
    plan = plan_of(model, profile)
    keys = list(dict.fromkeys((*model.outputs, *wanted(plan.graph, keep))))
    pace = _Pace(plan, data, keys)
    with opened(path, _origin(model, data, profile, keys)) as part:
        resumed = part.done
        if 0 < resumed < data.count and _sequential(plan):
            part.restart()
            resumed = 0
        if progress is not None:
            progress(part.done)
        for made in _pieces(plan, data, keys, part.done, threads, pace):
            part.append(made)
            if progress is not None:
                progress(part.done)
        columns = {c.tensor: c for c in part.columns}
        shapes = {i: _shape(data, c.shape) for i, c in columns.items()}
        outputs = tuple(
            summary(name, np.dtype(columns[i].dtype), shapes[i], part.parts(columns[i]))
            for name, i in zip(output_names(plan.graph), model.outputs, strict=True)
        )
        part.finish(entries(plan.graph, keys), shapes, provenance(plan, data.count, keys))
    return Saved(path, profile.name, data.count, resumed, len(keys), outputs)


def _sequential(plan: Plan | RealPlan) -> bool:
    return isinstance(plan, Plan) and not plan.stateless


def _pieces(
    plan: Plan | RealPlan, data: Dataset, keys: list[int], first: int, threads: int | None, pace: "_Pace"
) -> Iterator[dict[int, Array]]:
    """The tensors of some inferences at a time, from ``first`` on."""
    if isinstance(plan, Plan) and _sequential(plan):
        ws = plan.workspace()
        for batch in data.batches(first, pace):
            yield _in_turn(plan, ws, batch, keys)
        return
    for batch in data.batches(first, pace):
        yield run(plan, batch, keys, None, threads)


def _in_turn(plan: Plan, ws: Workspace, batch: Batch, keys: list[int]) -> dict[int, Array]:
    """The next inferences of a sequence."""
    made = {i: batch.stack(plan.graph.tensors[i]) for i in keys}
    plan.run_all(ws, Ends(batch, made), 0, batch.count)
    return made


class _Pace:
    """How many inferences the next piece has: as many as take a second, within the room for a piece."""

    def __init__(self, plan: Plan | RealPlan, data: Dataset, keys: list[int]) -> None:
        tensors = plan.graph.tensors
        each = sum(8 * tensors[i].elements for i in (*data.graph.inputs, *keys))
        self._most = max(1, PIECE_BYTES // max(1, each))
        self._size = min(self._most, FIRST_PIECE)
        self._began: float | None = None

    def __call__(self) -> int:
        now = time.monotonic()
        if self._began is not None:
            took = now - self._began
            if took > 2 * PIECE_SECONDS:
                self._size = max(1, self._size // 2)
            elif took < PIECE_SECONDS / 2:
                self._size = min(self._most, self._size * 2)
        self._began = now
        return self._size


def _shape(data: Dataset, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of all inferences, as the inputs are stacked."""
    if data.stacking == "one":
        return shape
    if data.stacking == "axis" or not shape:
        return data.count, *shape
    return data.count * shape[0], *shape[1:]


def _origin(model: Graph, data: Dataset, profile: NumericsProfile, keys: list[int]) -> Origin:
    made_of = {
        "model": _digest(model),
        "input": data.digest,
        "numerics": hashlib.sha256(msgspec.msgpack.encode(profile)).hexdigest(),
        "kept tensors": " ".join(map(str, keys)),
        "version of fxsim": __version__,
    }
    return Origin(FORMAT, data.count, made_of)


def _digest(graph: Graph) -> str:
    """Of all that a graph computes with, wherever it is from."""
    digest = hashlib.sha256()
    for g in (graph, *graph.called):
        digest.update(repr((g.sha256, g.nodes, g.inputs, g.outputs)).encode())
        for t in g.tensors:
            digest.update(repr((t.index, t.name, t.shape, t.qtype, t.quant, t.variable)).encode())
            if t.data is not None:
                digest.update(np.ascontiguousarray(t.data).tobytes())
    return digest.hexdigest()
