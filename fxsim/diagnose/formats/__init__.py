"""Reads dumps in the formats that devices and tools write. Nothing in a dump is ever executed, and pickles are refused.

A reader turns one file into entries; which tensor an entry is, and how its values lie, is settled by
:mod:`fxsim.diagnose.matching`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fxsim.diagnose.formats import binary, jsons, text
from fxsim.diagnose.formats.base import Entry
from fxsim.errors import DumpError, NoArrays, listed

MAX_FILE_BYTES = 1 << 31
READERS: dict[str, Callable[[Path], list[Entry]]] = {
    ".npy": binary.numpy_file,
    ".npz": binary.numpy_file,
    ".bin": binary.raw,
    ".raw": binary.raw,
    ".params": binary.tvm_params,
    ".pb": binary.onnx_tensor,
    ".tensorproto": binary.onnx_tensor,
    ".tflmdump": binary.tflm_debugger,
    ".json": jsons.read,
    ".csv": text.csv,
    ".dat": text.csv,
    ".hex": text.hexadecimal,
    ".mem": text.hexadecimal,
    ".c": text.c_arrays,
    ".cc": text.c_arrays,
    ".cpp": text.c_arrays,
    ".h": text.c_arrays,
    ".txt": text.log,
    ".log": text.log,
}
"""suffix -> what reads it"""


def read(path: str | os.PathLike[str]) -> list[Entry]:
    """The arrays of a dump: of a file, or of all files of a folder that have a known suffix.

    A file that the debugger of TensorFlow Lite Micro wrote is known by its content, whatever its suffix.

    Raises:
        DumpError: if nothing can be read, or a file is not what its suffix says.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in READERS)
        if not files:
            raise DumpError(f"{path}: holds no file that ends in one of {listed(READERS)}")
        return [e.inside(f.relative_to(path).as_posix()) for f in files for e in _one_of_several(f)]
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise DumpError(f"{path}: suffix is {path.suffix!r}; allowed: a folder, or one of {listed(READERS)}")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DumpError(f"{path}: has {size} bytes; allowed: at most {MAX_FILE_BYTES}")
        if size == 0:
            raise DumpError(f"{path}: is empty")
        if suffix == ".bin" and binary.is_tflm(path):
            return binary.tflm_debugger(path)
        return READERS[suffix](path)
    except OSError as e:
        raise DumpError(f"{path}: cannot be read: {e.strerror or e}") from None


def _one_of_several(path: Path) -> list[Entry]:
    """The arrays of a file in a folder; of one that is no dump, why it is left out."""
    try:
        return read(path)
    except NoArrays as e:
        return [Entry(path.stem, np.empty(0), path.name, stray=True, left_out=str(e).removeprefix(f"{path}: "))]
