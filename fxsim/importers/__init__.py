"""Reads model files into graphs; the reader is chosen by the file's suffix."""

import os
from collections.abc import Callable
from pathlib import Path

from fxsim.errors import ModelError, listed
from fxsim.importers import onnx, tflite
from fxsim.model.check import check
from fxsim.model.fold import fold
from fxsim.model.graph import Graph

Reader = Callable[[bytes, str], Graph]
READERS: dict[str, Reader] = {".tflite": tflite.parse, ".onnx": onnx.parse}
MAX_FILE_BYTES = (1 << 31) - 1
"""The offsets of a flatbuffer are 31 bits wide."""


def read(path: str | os.PathLike[str]) -> Graph:
    """The network in a model file, checked: types, shapes and order are sound, index arithmetic is folded.

    Raises:
        ModelError: if the file cannot be read or is not a sound model; UnsupportedOp if it uses what fxsim lacks.
    """
    return check(survey(path))


def survey(path: str | os.PathLike[str]) -> Graph:
    """The network in a model file as :func:`read` has it, but unchecked: it may hold what fxsim does not support.

    Raises:
        ModelError: if the file cannot be read or is malformed.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ModelError(f"{path}: suffix is {path.suffix!r}; allowed: {listed(READERS)}")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path}: {path.stat().st_size} bytes; allowed: at most {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror or e}") from None
    return fold(reader(data, str(path)))


def parse(data: bytes, name: str, reader: Reader = tflite.parse) -> Graph:
    """The network in ``data``; ``name`` is what errors call it."""
    return check(fold(reader(data, name)))
