"""Writes packed binaries: one ``.bin`` with every constant, little-endian, and a JSON manifest that says where each lies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fxsim.convert import to_tflite
from fxsim.exporters.device import records
from fxsim.model.graph import Graph, Tensor

ALIGNMENT = 16
FORMAT = 1
"""the version of the manifest"""


def files(graph: Graph, path: Path, style: str) -> Mapping[Path, bytes]:
    """The binary and its manifest, and their bytes. Equal constants are stored once."""
    graph, data = to_tflite(graph), bytearray()
    kept: dict[bytes, int] = {}
    layers = []
    for r in records(graph):
        constants = []
        for what, b in r.blocks.items():
            raw = np.ascontiguousarray(b.data, b.data.dtype.newbyteorder("<")).tobytes()
            if raw not in kept:
                data += bytes(-len(data) % ALIGNMENT)
                kept[raw] = len(data)
                data += raw
            constants.append(
                {
                    "what": what,
                    "tensor": b.source,
                    "offset": kept[raw],
                    "bytes": len(raw),
                    "type": b.type,
                    "stored": b.data.dtype.name,
                    "packing": b.packing,
                    "shape": list(b.shape),
                }
            )
        layers.append(
            {
                "layer": r.index,
                "op": r.op,
                "name": r.name,
                "inputs": r.inputs,
                "outputs": r.outputs,
                "numbers": r.numbers,
                "constants": constants,
            }
        )
    manifest = {
        "format": FORMAT,
        "binary": path.name,
        "bytes": len(data),
        "alignment": ALIGNMENT,
        "inputs": [_border(graph.tensors[i]) for i in graph.inputs],
        "outputs": [_border(graph.tensors[i]) for i in graph.outputs],
        "layers": layers,
    }
    return {path: bytes(data), path.with_suffix(".json"): (json.dumps(manifest, indent=1) + "\n").encode()}


def _border(t: Tensor) -> dict[str, Any]:
    scale = None if t.quant is None else {"scale": list(t.quant.scale), "zero_point": list(t.quant.zero_point)}
    return {"name": t.name, "type": t.qtype.name, "shape": list(t.shape), "quantization": scale}
