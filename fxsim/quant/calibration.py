"""Streams data through a float graph and remembers the range of every tensor: step one of quantization."""

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxsim.errors import DumpError, InputError
from fxsim.files import atomic_write, load_arrays
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.numerics import load_numerics
from fxsim.quant.observers import BINS, Observer
from fxsim.sim.inputs import Batch, load_inputs, make_batch
from fxsim.sim.real.plan import plan_of

BATCH = 16
"""inferences that run at once"""
SAVE_SECONDS = 10.0
"""how often an unfinished calibration is saved, at most"""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What was seen of each float tensor that is no constant, over ``count`` inferences of a graph."""

    observers: dict[int, Observer]
    count: int
    fingerprint: str

    def hold(self, graph: Graph) -> None:
        """Raises DumpError if this is of another graph."""
        if self.fingerprint != fingerprint(graph):
            raise DumpError(
                f"{graph.name}: the calibration is of another graph; allowed: one of the graph that is quantized"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all of it to an ``.npz`` file, whole or not at all."""
        arrays: dict[str, Array] = {"count": np.array(self.count), "fingerprint": np.array(self.fingerprint)}
        for i, seen in self.observers.items():
            arrays[f"reals_{i}"], arrays[f"counts_{i}"] = seen.state()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        atomic_write(path, buffer.getvalue())


def load_calibration(path: str | os.PathLike[str], graph: Graph) -> Calibration:
    """The calibration in a file, which must be of this very graph.

    Raises:
        DumpError: if the file cannot be read, is no calibration, or one of another graph.
    """
    arrays, print_of = load_arrays(path), fingerprint(graph)
    wanted = observed(graph)
    names = {"count", "fingerprint", *(f"{kind}_{i}" for kind in ("reals", "counts") for i in wanted)}
    if set(arrays) != names or any(
        arrays[f"reals_{i}"].shape != (5,) or arrays[f"counts_{i}"].shape != (BINS + 2,) for i in wanted
    ):
        raise DumpError(
            f"{os.fspath(path)}: is no calibration of {graph.name}; allowed: a file that calibrate wrote for it"
        )
    if str(arrays["fingerprint"]) != print_of:
        raise DumpError(
            f"{os.fspath(path)}: is a calibration of another graph than {graph.name}; delete it to start anew"
        )
    seen = {i: Observer.restored(arrays[f"reals_{i}"], arrays[f"counts_{i}"]) for i in wanted}
    return Calibration(seen, int(arrays["count"]), print_of)


def observed(graph: Graph) -> list[int]:
    """The tensors that calibration watches: inputs, and what layers make, where it is float."""
    made = (i for n in graph.nodes for i in n.outputs)
    return [i for i in dict.fromkeys((*graph.inputs, *made)) if graph.tensors[i].qtype.kind == "float"]


def fingerprint(graph: Graph) -> str:
    """A digest of the graph's layers, shapes and constants."""
    digest = hashlib.sha256()
    for t in graph.tensors:
        digest.update(f"{t.shape}{t.qtype.name}".encode())
        if t.data is not None:
            digest.update(np.ascontiguousarray(t.data).tobytes())
    for n in graph.nodes:
        digest.update(f"{n.op}{n.inputs}{n.outputs}{n.attributes}".encode())
    return digest.hexdigest()


def batches(graph: Graph, data: Any, size: int = BATCH) -> Iterator[Batch]:  # noqa: ANN401
    """The inferences in ``data``, at most ``size`` at a time.

    ``data`` is what :func:`fxsim.simulate` takes (an array, or a dict or list of arrays by input), an ``.npy`` or
    ``.npz`` file of it (where there are several inputs, entries have their names), or an iterable of such batches.

    Raises:
        InputError: on a wrong shape or type, on numbers that are not finite, or if there is no inference at all.
    """
    empty = True
    for part in _parts(graph, data):
        whole = make_batch(graph, part, real=True)
        for start in range(0, whole.count, size):
            empty = False
            yield _part(whole, start, min(start + size, whole.count))
    if empty:
        raise InputError(f"{graph.name}: the calibration data is empty; allowed: at least 1 inference")


def _part(batch: Batch, start: int, stop: int) -> Batch:
    """The inferences ``start..stop - 1``."""
    return Batch(stop - start, "axis", batch.indices, tuple(v[start:stop] for v in batch.values))


def _parts(graph: Graph, data: Any) -> Iterator[Any]:  # noqa: ANN401
    """The batches in ``data``."""
    if isinstance(data, str | Path):
        yield inputs_of(graph, data)[0]
    elif isinstance(data, np.ndarray | Mapping) or _is_list_of_inputs(graph, data):
        yield data
    elif isinstance(data, Iterable):
        yield from data
    else:
        raise InputError(
            f"{graph.name}: calibration data is {type(data).__name__}; allowed: arrays, or batches of them"
        )


def inputs_of(graph: Graph, path: str | Path) -> tuple[dict[str, Array], int]:
    """The inputs in a file, and of how many inferences; a labelled data set (``x`` and ``y``) gives its ``x``."""
    arrays, first = load_arrays(path), graph.tensors[graph.inputs[0]]
    if len(graph.inputs) == 1 and set(arrays) == {"x", "y"}:
        found = {first.name: arrays["x"]}
    else:
        found = load_inputs(graph, os.fspath(path))
    return found, next(iter(found.values())).size // max(1, first.elements)


def _is_list_of_inputs(graph: Graph, data: object) -> bool:
    """True for one array for each of several inputs (a list of one is a list of batches, which says the same)."""
    n = len(graph.inputs)
    return isinstance(data, list | tuple) and n > 1 and len(data) == n and all(isinstance(a, np.ndarray) for a in data)


def calibrate(
    graph: Graph, data: Any, *, state: str | os.PathLike[str] | None = None, progress: Progress | None = None,  # noqa: ANN401
) -> Calibration:  # fmt: skip
    """The ranges and histograms of all float tensors over ``data``, computed in float32.

    Args:
        graph: float, in the dialect of ``.tflite``.
        data: see :func:`batches`. It is read once, a batch at a time.
        state: an ``.npz`` file where the calibration is kept while it runs and in the end. If it is there already, the
            inferences that it has seen are skipped: the same data must come in the same order.
        progress: called with the number of inferences done after each batch.

    Raises:
        InputError: as :func:`batches`, or if a tensor is not finite for some input; DumpError on a foreign ``state``.
    """
    plan = plan_of(graph, load_numerics("float32"))
    wanted = frozenset(observed(graph))
    if state is not None and Path(state).exists():
        sofar = load_calibration(state, graph)
    else:
        sofar = Calibration({i: Observer() for i in wanted}, 0, fingerprint(graph))
    done, count, saved = sofar.count, 0, time.monotonic()

    def observe(i: int, x: Array) -> None:
        if i in wanted:
            sofar.observers[i].update(_finite(graph, i, x))

    for batch in batches(graph, data):
        skip = min(max(done - count, 0), batch.count)
        count += batch.count
        if skip < batch.count:
            plan.run(_part(batch, skip, batch.count), observe=observe)
            if state is not None and time.monotonic() - saved > SAVE_SECONDS:
                Calibration(sofar.observers, count, sofar.fingerprint).save(state)
                saved = time.monotonic()
        if progress is not None:
            progress(count)
    if count < done:
        raise InputError(
            f"{graph.name}: {state} has seen {done} inferences; the data has {count}; allowed: at least as many"
        )
    result = Calibration(sofar.observers, count, sofar.fingerprint)
    if state is not None and count > done:
        result.save(state)
    return result


def _finite(graph: Graph, i: int, x: Array) -> Array:
    low, high = x.min(), x.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        where = f"{graph.name}: tensor {i} {graph.tensors[i].name!r}"
        raise InputError(f"{where} is {low}..{high} on the calibration data; allowed: finite values")
    return x
