"""Reading arrays from files that are not trusted, and writing files so that nothing half-written is ever left behind."""

import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fxsim.errors import DumpError, OutputError

MAX_ARRAY_BYTES = 1 << 33
"""The arrays of one file may take no more."""


def atomic_write(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes ``data`` to ``path`` whole or not at all: to a temporary file beside it, then renamed.

    Raises:
        OutputError: if the folder is missing or cannot be written.
    """
    target = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as f:
            f.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except (OSError, ValueError) as e:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise OutputError(f"{target}: cannot be written: {getattr(e, 'strerror', None) or e}") from None
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever goes wrong while ``path`` is read as ``.npy`` or ``.npz`` data is a DumpError that says so."""
    try:
        yield
    except OSError as e:
        raise DumpError(f"{path}: cannot be read: {e.strerror or e}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, SyntaxError) as e:
        raise DumpError(f"{path}: is not {path.suffix.lower()} data: {e}") from None


def array_suffix(path: Path) -> str:
    """The suffix of a file of arrays.

    Raises:
        DumpError: on any other.
    """
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz"):
        raise DumpError(f"{path}: suffix is {path.suffix!r}; allowed: '.npy', '.npz'")
    return suffix


def load_arrays(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arrays of an ``.npz`` file by name, or the one of an ``.npy`` file under the name ``""``. No pickles.

    Raises:
        DumpError: if the file cannot be read, is not what its suffix says, holds objects, or is absurdly large.
    """
    path = Path(path)
    suffix = array_suffix(path)
    with readable(path):
        if suffix == ".npy":
            with path.open("rb") as f:
                return {"": _read_npy(f, path.stat().st_size, str(path))}
        with zipfile.ZipFile(path) as z:
            members = z.infolist()
            total = sum(m.file_size for m in members)
            if total > MAX_ARRAY_BYTES:
                raise DumpError(f"{path}: unpacks to {total} bytes; allowed: at most {MAX_ARRAY_BYTES}")
            result = {}
            for m in members:
                with z.open(m) as f:
                    result[m.filename.removesuffix(".npy")] = _read_npy(f, m.file_size, f"{path}, entry {m.filename!r}")
            return result


def array_header(f: IO[bytes], size: int, where: str) -> tuple[tuple[int, ...], bool, Any]:
    """``(shape, whether in Fortran order, dtype)`` of ``size`` bytes of .npy data, whose header ``f`` leaves behind.

    Raises:
        DumpError: if it is of another version, holds objects, or claims another size than there is.
    """
    import numpy as np

    start = f.tell()
    version = np.lib.format.read_magic(f)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DumpError(f"{where}: .npy version is {version}; allowed: (1, 0), (2, 0)")
    shape, fortran, dtype = readers[version](f)
    if dtype.hasobject:
        raise DumpError(f"{where}: holds Python objects, which are never loaded; allowed: plain arrays")
    held = size - (f.tell() - start)
    if held != math.prod(shape) * dtype.itemsize or min(shape, default=0) < 0:
        raise DumpError(f"{where}: claims {list(shape)} {dtype}, but holds {held} bytes")
    return shape, fortran, dtype


def _read_npy(f: IO[bytes], size: int, where: str) -> Any:  # noqa: ANN401
    """The array in ``size`` bytes of .npy data. The header's claim is held against the size before memory is taken."""
    import numpy as np

    if size > MAX_ARRAY_BYTES:
        raise DumpError(f"{where}: has {size} bytes; allowed: at most {MAX_ARRAY_BYTES}")
    shape, fortran, dtype = array_header(f, size, where)
    data = f.read(size)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise DumpError(f"{where}: claims {list(shape)} {dtype}, but holds {len(data)} bytes")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
