"""Results that are written as they come, beside the file that they become: whatever interrupts a run, the next goes on.

``X.npz.partial`` holds a record for each inference: the bytes of its tensors, one after the other. ``X.npz.journal`` is
text that only grows: a line that says what the records are of, then after each piece that is safe on disk a line with how
many there are and their CRC-32. What the journal does not vouch for is cut off. ``X.npz`` appears whole, at the end.
"""

import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from fxsim.errors import FxsimError, OutputError
from fxsim.model.qtype import Array

FORMAT = 1
READ_BYTES = 1 << 22
"""how much of the records is read at once"""


class Column(msgspec.Struct, frozen=True):
    """A tensor in each record."""

    tensor: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in a record."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class Origin(msgspec.Struct, frozen=True):
    """What records are of. Runs that agree in it have the same records."""

    format: int
    count: int
    made_of: dict[str, str]
    """what it depends on -> a digest, or the thing itself"""


@dataclass(slots=True)
class Partial:
    """Results of ``done`` inferences, open for more."""

    path: Path
    origin: Origin
    data: IO[bytes]
    journal: IO[bytes]
    columns: tuple[Column, ...] = ()
    done: int = 0
    crc: int = 0

    def append(self, made: Mapping[int, Array]) -> None:
        """Takes in the tensors ``(n, *shape)`` of the next inferences; when it returns, they are safe."""
        if not self.columns:
            self.columns = tuple(Column(i, a.dtype.str, a.shape[1:]) for i, a in made.items())
            self._note(msgspec.json.encode(self.columns))
        rows = [np.ascontiguousarray(a).reshape(len(a), -1).view(np.uint8) for a in made.values() if a.size]
        data = np.concatenate(rows, axis=1).tobytes() if rows else b""
        self.data.write(data)
        self.data.flush()
        os.fsync(self.data.fileno())
        self.done, self.crc = self.done + len(next(iter(made.values()))), zlib.crc32(data, self.crc)
        self._note(b"%d %d" % (self.done, self.crc))

    def restart(self) -> None:
        """Forgets all records."""
        self.data.truncate(0)
        self.data.seek(0)
        self.done = self.crc = 0
        self._note(b"0 0")

    def _note(self, line: bytes) -> None:
        self.journal.write(line + b"\n")
        self.journal.flush()

    def parts(self, column: Column) -> Iterator[Array]:
        """The values of a column, some inferences at a time."""
        record = sum(c.nbytes for c in self.columns)
        before = self.columns[: self.columns.index(column)]
        start = sum(c.nbytes for c in before)
        step = max(1, READ_BYTES // max(1, record))
        for first in range(0, self.done, step):
            n = min(step, self.done - first)
            self.data.seek(first * record)
            rows = np.frombuffer(self.data.read(n * record), np.uint8).reshape(n, record)
            mine = np.ascontiguousarray(rows[:, start : start + column.nbytes])
            yield mine.reshape(-1).view(column.dtype).reshape(n, *column.shape)

    def finish(self, entries: Sequence[tuple[str, int]], shapes: Mapping[int, tuple[int, ...]], meta: str) -> None:
        """Writes the ``.npz`` file of all records, ``name -> tensor`` with the shapes of all inferences, and cleans up."""
        columns = {c.tensor: c for c in self.columns}
        whole = beside(self.path, "whole")
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as z:
            for name, tensor in entries:
                c = columns[tensor]
                with z.open(f"{name}.npy", "w", force_zip64=True) as f:
                    header = {"descr": c.dtype, "fortran_order": False, "shape": shapes[tensor]}
                    np.lib.format.write_array_header_1_0(f, header)
                    for part in self.parts(c):
                        f.write(part.tobytes())
            text = io.BytesIO()
            np.save(text, np.array(meta))
            z.writestr("meta.npy", text.getvalue())
        os.replace(whole, self.path)
        _remove(self.path)


def _remove(path: Path) -> None:
    for kind in ("partial", "journal"):
        beside(path, kind).unlink()


def beside(path: Path, kind: str) -> Path:
    """The file of that kind that belongs to ``path``."""
    return path.with_name(f"{path.name}.{kind}")


@contextmanager
def opened(path: Path, origin: Origin) -> Iterator[Partial]:
    """The results of ``origin`` so far, which are to become ``path``.

    Raises:
        OutputError: if what is there is of something else, or damaged, or another run is at it, or nothing can be written.
    """
    try:
        with open(beside(path, "journal"), "a+b") as journal, open(beside(path, "partial"), "a+b") as data:
            _lock(path, journal)
            journal.seek(0)
            result = Partial(path, origin, data, journal)
            _resume(result, journal.read())
            try:
                yield result
            except FxsimError:  # it would come again: nothing to go on with
                _remove(path)
                raise
    except OSError as e:
        raise OutputError(f"{path}: cannot be written: {e.strerror or e}") from None


def _lock(path: Path, f: IO[bytes]) -> None:
    with suppress(ImportError):  # where there are no such locks, the user sees to it
        import fcntl

        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"{path}: another run is writing it") from None


def _resume(p: Partial, text: bytes) -> None:
    """Takes up what the journal vouches for."""
    lines = text.split(b"\n")[:-1]  # what follows the last end of line was never finished
    p.journal.seek(sum(len(line) + 1 for line in lines))
    p.journal.truncate()
    if not lines:
        p.data.truncate(0)
        p._note(msgspec.json.encode(p.origin))
        return
    again = f"; to begin anew, delete {beside(p.path, 'partial')} and {beside(p.path, 'journal')}"
    try:
        found = msgspec.json.decode(lines[0], type=Origin)
        notes = lines[2:]
        if len(lines) > 1:
            p.columns = msgspec.json.decode(lines[1], type=tuple[Column, ...])
        if notes:
            p.done, p.crc = (int(n) for n in notes[-1].split())
    except (msgspec.MsgspecError, ValueError):
        raise OutputError(f"{beside(p.path, 'journal')}: is no journal of a run{again}") from None
    if found != p.origin:
        mine, theirs = p.origin.made_of, found.made_of
        other = [k for k in mine if mine[k] != theirs.get(k)] or ["number of inferences"]
        raise OutputError(f"{p.path}: a run was begun whose {' and '.join(other)} differ{again}")
    record = sum(c.nbytes for c in p.columns)
    if _crc(p.data, p.done * record) != p.crc:
        raise OutputError(f"{beside(p.path, 'partial')}: lacks or changed some of {p.done} finished inferences{again}")
    p.data.truncate(p.done * record)
    p.data.seek(0, os.SEEK_END)


def _crc(f: IO[bytes], size: int) -> int | None:
    """The CRC-32 of the first bytes of a file; None if it has fewer."""
    f.seek(0)
    crc = 0
    while size:
        part = f.read(min(size, READ_BYTES))
        if not part:
            return None
        crc, size = zlib.crc32(part, crc), size - len(part)
    return crc
