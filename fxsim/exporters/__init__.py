"""Writes graphs as model files; the writer is chosen by the file's suffix.

A writer makes all bytes before the first file is touched, and every file is written whole or not at all.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Literal

from fxsim.errors import OutputError, listed
from fxsim.files import atomic_write
from fxsim.model.graph import Graph

Style = Literal["qdq", "qoperator", "qdq-int4"]
Writer = Callable[[Graph, Path, Style], Mapping[Path, bytes]]
"""graph, the path asked for, style of quantized ONNX -> the files and their bytes"""
WRITERS: dict[str, str] = {".tflite": "tflite", ".onnx": "onnx", ".h": "header", ".bin": "binary"}
"""suffix -> the module of this package whose ``files`` is the :data:`Writer`"""
STYLES: tuple[Style, ...] = ("qdq", "qoperator", "qdq-int4")


def export(graph: Graph, path: str | os.PathLike[str], *, style: Style = "qdq") -> Path:
    """The network as a file that others load: ``.tflite``, ``.onnx``, a C header ``.h``, or packed weights ``.bin``.

    ``style`` speaks of quantized ``.onnx`` files only: pairs of QuantizeLinear and DequantizeLinear around float layers
    (``qdq``), quantized operators (``qoperator``), or pairs with weights of 4 bits packed (``qdq-int4``), whose layers ONNX
    Runtime computes in float32. A ``.bin`` comes with a manifest of the same name, ``.json``. A graph
    of the other dialect is converted first (:mod:`fxsim.convert`).

    Raises:
        OutputError: on another suffix or style, or if the file cannot be written. ModelError: if the format cannot hold
            a layer; the message says which and why. Nothing is written then.
    """
    path = Path(path)
    module = WRITERS.get(path.suffix.lower())
    if module is None:
        raise OutputError(f"{path}: suffix is {path.suffix!r}; allowed: {listed(WRITERS)}")
    if style not in STYLES:
        raise OutputError(f"{path}: style is {style!r}; allowed: {listed(STYLES)}")
    writer: Writer = import_module(f"fxsim.exporters.{module}").files
    for name, data in writer(graph, path, style).items():
        atomic_write(name, data)
    return path
