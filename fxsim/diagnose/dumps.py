"""What a device or another engine computed, by tensor: from a file, a folder, a dict of arrays or another trace."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fxsim.diagnose import formats
from fxsim.diagnose.formats.base import Entry
from fxsim.diagnose.matching import Matched, match, named
from fxsim.errors import DumpError
from fxsim.files import load_arrays
from fxsim.model.graph import Graph
from fxsim.sim.trace import Trace, computed

META = "meta"
Dump = str | os.PathLike[str] | Mapping[str, Any] | Trace


def source_of(dump: Dump) -> str:
    """What errors call a dump."""
    return "trace" if isinstance(dump, Trace) else "dump" if isinstance(dump, Mapping) else os.fspath(dump)


def load(trace: Trace, dump: Dump) -> Matched:
    """The dump's arrays by tensor of the simulated network, each in the tensor's type and shape.

    Raises:
        DumpError: if the dump cannot be read, was made from another model, or does not fit (see :func:`matching.match`).
    """
    graph, source = trace.graph, source_of(dump)
    entries = _entries(graph, dump, source)
    keys = [named(graph, e.name)[0] for e in entries]
    known = [k for k in keys if k is not None]
    # Content decides only where a name does not; then every tensor is a candidate.
    asked = known if len(known) == len(keys) else computed(graph)
    return match(graph, entries, trace.tensors(dict.fromkeys(asked)), source)


def _entries(graph: Graph, dump: Dump, source: str) -> list[Entry]:
    if isinstance(dump, Trace):
        _same_model(graph, dump.graph.sha256, source)
        return [Entry(f"tensor_{i}", v, f"tensor {i}") for i, v in dump.kept.items()]
    if isinstance(dump, Mapping):
        _same_model(graph, _digest(dump.get(META)), source)
        return [Entry(str(k), np.asarray(v), str(k)) for k, v in dump.items() if k != META]
    if Path(dump).suffix.lower() == ".npz" and Path(dump).is_file():
        _same_model(graph, _digest(load_arrays(dump).get(META)), source)
    return formats.read(dump)


def _digest(meta: Any) -> str:  # noqa: ANN401
    """The model digest in a saved trace's provenance; empty for dumps of other makers."""
    try:
        return str(json.loads(str(meta))["model_sha256"])
    except (ValueError, KeyError, TypeError):
        return ""


def _same_model(graph: Graph, sha256: str, source: str) -> None:
    if sha256 and graph.sha256 and sha256 != graph.sha256:
        raise DumpError(
            f"{source}: was made from another model (sha256 {sha256[:12]}..., {graph.name} has {graph.sha256[:12]}...)"
        )
