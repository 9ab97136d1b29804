"""A data set as inferences, read in pieces: memory does not grow with it."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from fxsim.errors import DumpError, InputError
from fxsim.files import array_header, array_suffix, readable
from fxsim.model.graph import Graph, Tensor
from fxsim.model.qtype import Array
from fxsim.sim.inputs import RANDOM, Batch, Stacking, by_name, check_finite, in_order, load_inputs, stacked_as

Open = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One array of a file: its data begin ``start`` bytes into what ``open`` opens."""

    where: str
    open: Open
    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, f: IO[bytes], bytes_: int) -> bytes:
        """The next bytes of the data."""
        data = f.read(bytes_)
        if len(data) != bytes_:
            raise DumpError(f"{self.where}: ends within its data")
        return data


@dataclass(frozen=True, slots=True)
class Dataset:
    """``count`` inferences for a model, and a digest that any other data set differs in."""

    graph: Graph
    count: int
    stacking: Stacking
    digest: str
    read: Callable[[int, Callable[[], int]], Iterator[tuple[Array, ...]]]
    """``read(first, size)``: from inference ``first`` on, ``size()`` at a time: an array ``(n, *shape)`` for each input"""

    def batches(self, first: int, size: Callable[[], int]) -> Iterator[Batch]:
        """The inferences from ``first`` on, ``size()`` of them at a time.

        Raises:
            InputError: on an infinity or NaN; DumpError: if the file cannot be read to its end.
        """
        for values in self.read(first, size):
            for i, v in zip(self.graph.inputs, values, strict=True):
                check_finite(self.graph, self.graph.tensors[i], v, first)
            yield Batch(len(values[0]), "axis", self.graph.inputs, values)
            first += len(values[0])


def open_dataset(graph: Graph, spec: str, count: int = 1, *, real: bool = False) -> Dataset:
    """The inferences that ``spec`` names, as :func:`fxsim.sim.inputs.load_inputs` has it; a file stays where it is.

    Raises:
        InputError: if the arrays do not fit the model; DumpError: if the file cannot be read.
    """
    tensors = [graph.tensors[i] for i in graph.inputs]
    if spec.startswith(RANDOM):
        arrays = in_order(graph, load_inputs(graph, spec, count))
        stacking, count = stacked_as(graph, [(t, a.dtype, a.shape) for t, a in zip(tensors, arrays, strict=True)])
        return Dataset(graph, count, stacking, f"{spec} {count}", partial(_cut, arrays, count))
    path = Path(spec)
    entries = in_order(graph, by_name(graph, spec, _entries(path)))
    given = [(t, e.dtype, e.shape) for t, e in zip(tensors, entries, strict=True)]
    stacking, count = stacked_as(graph, given, real=real)
    with readable(path), path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return Dataset(graph, count, stacking, digest, partial(_read, path, tensors, entries, count))


def _entries(path: Path) -> dict[str, Entry]:
    """The arrays of a file by name; that of an ``.npy`` file is named ``""``."""
    if array_suffix(path) == ".npy":
        with readable(path):
            return {"": _entry(str(path), lambda: path.open("rb"), path.stat().st_size)}
    with readable(path), zipfile.ZipFile(path) as z:
        return {
            m.filename.removesuffix(".npy"): _entry(
                f"{path}, entry {m.filename!r}", partial(_member, path, m.filename), m.file_size
            )
            for m in z.infolist()
            if m.filename.removesuffix(".npy") != "meta"
        }


def _entry(where: str, opened: Open, size: int) -> Entry:
    with opened() as f:
        shape, fortran, dtype = array_header(f, size, where)
        if fortran and len(shape) > 1:
            raise InputError(f"{where}: is in Fortran order; allowed: C order, which can be read in pieces")
        return Entry(where, opened, f.tell(), dtype, shape)


@contextmanager
def _member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """An entry of an ``.npz`` file, opened by itself."""
    with zipfile.ZipFile(path) as z, z.open(name) as f:
        yield f


def _cut(arrays: list[Array], count: int, first: int, size: Callable[[], int]) -> Iterator[tuple[Array, ...]]:
    while first < count:
        last = min(count, first + size())
        yield tuple(a[first:last] for a in arrays)
        first = last


def _read(
    path: Path, tensors: list[Tensor], entries: list[Entry], count: int, first: int, size: Callable[[], int]
) -> Iterator[tuple[Array, ...]]:
    each = [t.elements * e.dtype.itemsize for t, e in zip(tensors, entries, strict=True)]
    with readable(path), ExitStack() as stack:
        files = [stack.enter_context(e.open()) for e in entries]
        for f, e, n in zip(files, entries, each, strict=True):
            f.seek(e.start + first * n)
        while first < count:
            number = min(count - first, size())
            yield tuple(
                np.frombuffer(e.read(f, number * n), e.dtype).reshape(number, *t.shape)
                for f, e, n, t in zip(files, entries, each, tensors, strict=True)
            )
            first += number
