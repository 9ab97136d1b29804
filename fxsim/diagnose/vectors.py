"""Golden vectors of layers, and the smallest case that fails: for firmware tests and the test benches of hardware."""

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fxsim._version import __version__
from fxsim.diagnose.cases import layer_of
from fxsim.errors import FxsimError, OutputError, listed
from fxsim.exporters.device import Block, Record, record
from fxsim.exporters.header import array, comment, number
from fxsim.files import atomic_write
from fxsim.model.check import where
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.qtype import Array
from fxsim.sim.plan import Plan
from fxsim.sim.registry import bind
from fxsim.sim.trace import Trace

FORMATS = ("npy", "c", "json", "hex")
"""what vectors are written as; ``hex`` is what ``$readmemh`` reads, one word a line, two's complement"""


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """What goes into one layer and what must come out: ``inputs``, ``constants`` and ``outputs`` by name."""

    layer: int
    op: str
    name: str
    numerics: str
    model: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    """``output`` (or several), and where the layer sums products ``accumulator``, before the rescale"""
    record: Record
    """the constants as they lie in memory, and the layer's numbers"""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by name."""
        constants = {k: b.data for k, b in self.record.blocks.items()}
        return {**self.inputs, **constants, **self.outputs}

    @property
    def stem(self) -> str:
        """The name of the layer's files."""
        return f"layer{self.layer}_{re.sub(r'[^a-z0-9]+', '_', self.op.lower())}"


def vectors(trace: Trace, layers: Sequence[int] | None = None) -> list[Vectors]:
    """The golden vectors of layers of a simulation, all inferences stacked.

    Args:
        trace: the simulation; its numerics are what the vectors hold a device to.
        layers: indices; all layers that compute from their inputs alone by default.

    Raises:
        FxsimError: if there is no such layer, if it reads or writes state, or the network is one of ONNX's ops.
    """
    graph, plan = trace.graph, trace.plan
    if not isinstance(plan, Plan):
        raise FxsimError(f"vectors: numerics {plan.numerics.name!r} has no integers; allowed: an engine's arithmetic")
    known = {n.index: n for n in graph.nodes}
    unknown = [i for i in layers or () if i not in known]
    if unknown:
        raise FxsimError(f"{graph.name}: has no layer {unknown[0]}; allowed: {listed(known)}")
    views = {n.index for n in graph.nodes if n.outputs and n.outputs[0] in plan.views}
    stateful = {n.index for n in graph.nodes if not n.outputs or any(_state(graph, i) for i in (*n.inputs, *n.outputs))}
    for i in layers or ():
        if i in stateful:
            raise FxsimError(
                f"{where(graph, known[i])}: reads or writes state; allowed: layers that compute from their inputs"
            )
    asked = list(layers) if layers is not None else [i for i in known if i not in views | stateful]
    places = {n.index: place for place, n in enumerate(graph.nodes)}
    tensors = {i for k in asked for i in (*known[k].inputs, *known[k].outputs) if i != ABSENT}
    values = trace.tensors(sorted(i for i in tensors if not graph.tensors[i].constant))
    return [_of(trace, plan, known[k], record(graph, known[k], places[k]), values) for k in asked]


def _state(graph: Graph, i: int) -> bool:
    return i != ABSENT and (graph.tensors[i].variable or graph.tensors[i].qtype.kind == "resource")


def _of(trace: Trace, plan: Plan, node: Node, record: Record, values: Mapping[int, Array]) -> Vectors:
    graph = trace.graph
    ins = [i for i in node.inputs if i != ABSENT and not graph.tensors[i].constant]
    names = [f"input{n + 1}" for n in range(len(ins))] if len(ins) > 1 else ["input"]
    outs = [f"output{n + 1}" for n in range(len(node.outputs))] if len(node.outputs) > 1 else ["output"]
    results = {n: values[i] for n, i in zip(outs, node.outputs, strict=True)}
    summed = layer_of(bind(graph, node, plan.numerics))
    if summed is not None and len(ins) == 1:
        given = values[ins[0]].reshape(trace.batch.count, *graph.tensors[ins[0]].shape)
        results["accumulator"] = np.stack([summed.accumulate(x) for x in given])
    return Vectors(
        node.index, node.op, node.name, plan.numerics.name, Path(graph.name).name,
        {n: values[i] for n, i in zip(names, ins, strict=True)}, results, record,
    )  # fmt: skip


def save(found: Sequence[Vectors], folder: str | os.PathLike[str], formats: Sequence[str] = FORMATS) -> list[Path]:
    """Writes vectors to a folder, which is made: for each layer ``.npz``-free files that any tool reads.

    ``npy``: one file an array; ``c``: one header a layer; ``json``: types, shapes, scales, numbers and the files;
    ``hex``: one file an array, for ``$readmemh``.

    Raises:
        OutputError: on an unknown format, or if the folder cannot be written.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown or not formats:
        raise OutputError(f"vectors: format is {(unknown or [''])[0]!r}; allowed: {listed(FORMATS)}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{folder}: cannot be made: {e.strerror or e}") from None
    written = []
    for v in found:
        files: dict[str, bytes] = {}
        for name, a in v.arrays.items():
            if "npy" in formats:
                buffer = io.BytesIO()
                np.save(buffer, a, allow_pickle=False)
                files[f"{v.stem}_{name}.npy"] = buffer.getvalue()
            if "hex" in formats:
                files[f"{v.stem}_{name}.hex"] = readmemh(a).encode()
        if "c" in formats:
            files[f"{v.stem}.h"] = c_header(v).encode()
        if "json" in formats:
            files[f"{v.stem}.json"] = json.dumps(_manifest(v, sorted(files)), indent=2).encode()
        written += [atomic_write(folder / name, data) for name, data in files.items()]
    return written


def readmemh(a: Array) -> str:
    """An array as words of hexadecimal digits in C order, two's complement (floats: their bits)."""
    flat = np.ascontiguousarray(a).reshape(-1)
    size = flat.dtype.itemsize
    bits = flat.view(f"u{size}") if flat.dtype.kind != "b" else flat.astype(np.uint8)
    return "".join(f"{int(w):0{2 * size}x}\n" for w in bits)


def c_header(v: Vectors) -> str:
    """The vectors as ``static const`` arrays of C99."""
    guard = f"FXSIM_{v.stem.upper()}_H"
    told = comment(f"layer {v.layer} {v.op} of {v.model}, computed as {v.numerics} by fxsim {__version__}.")
    text = f"/* {told} */\n#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
    text += "".join(f"#define {v.stem.upper()}_{k.upper()} {number(x)}\n" for k, x in v.record.numbers.items())
    for name, a in v.arrays.items():
        block = v.record.blocks.get(name) or Block(a, a.shape, a.dtype.name)
        text += "\n" + "".join(array(f"{v.stem}_{name}", block))
    return f"{text}\n#endif /* {guard} */\n"


def _manifest(v: Vectors, files: list[str]) -> dict[str, Any]:
    def told(a: Array, b: Block | None = None) -> dict[str, Any]:
        packed = {"packing": b.packing, "values": b.type, "shape_of_values": list(b.shape)} if b and b.packing else {}
        return {"type": a.dtype.name, "shape": list(a.shape), **packed}

    return {
        "fxsim": __version__, "model": v.model, "layer": v.layer, "op": v.op, "name": v.name, "numerics": v.numerics,
        "arrays": {k: told(a, v.record.blocks.get(k)) for k, a in v.arrays.items()},
        "numbers": v.record.numbers, **v.extra, "files": files,
    }  # fmt: skip
