"""Every tensor that a live engine computes of one inference: what its user would dump, whatever the engine shows itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fxsim.exporters.onnx import encode
from fxsim.importers import onnx, parse
from fxsim.model.graph import Graph
from tests import engines
from tests.golden import Golden

Array = Any


@dataclass(frozen=True, slots=True)
class Dumped:
    """A network as the engine had it, the inputs of one inference, and every tensor by the keys of a dump."""

    graph: Graph
    inputs: list[Array]
    arrays: dict[str, Array]


def _computed(graph: Graph) -> list[int]:
    """The tensors that layers make, in their order."""
    made = [i for n in graph.nodes for i in n.outputs]
    return [
        i for i in dict.fromkeys(made) if not graph.tensors[i].constant and graph.tensors[i].qtype.kind != "resource"
    ]


def exposed(content: bytes, tensors: list[int]) -> bytes:
    """A .tflite file with these tensors as its outputs: a delegate must hand them out then."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs ai-edge-litert (the test extra)")
    model = schema.ModelT.InitFromPackedBuf(content)
    model.subgraphs[0].outputs = np.array(tensors, np.int32)
    model.signatureDefs = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _xnnpack(content: bytes, inputs: list[Array], graph: Graph) -> dict[int, Array]:
    made = _computed(graph)
    values = dict(zip(made, engines.litert_xnnpack(exposed(content, made), inputs), strict=True))
    for i, wanted in zip(graph.outputs, engines.litert_xnnpack(content, inputs), strict=True):
        assert np.array_equal(values[i], wanted), "the network computes otherwise with its tensors exposed"
    return values


TFLITE: dict[str, Callable[[bytes, list[Array], Graph], dict[int, Array]]] = {
    "litert-reference": lambda content, x, graph: engines.litert_reference(content, x),
    "litert-optimized": lambda content, x, graph: engines.litert_optimized(content, x),
    "litert-xnnpack": _xnnpack,
    "tflm": lambda content, x, graph: engines.tflm_tensors(content, x, _computed(graph)),
}
"""profile of an engine of .tflite files -> its tensors"""
STYLES = {"onnxruntime (QOperator)": "qoperator", "onnxruntime (QDQ)": "qdq"}
DEVICES = (*TFLITE, *STYLES)


def profile_of(device: str) -> str:
    """The profile that a device's arithmetic is named by."""
    return device.partition(" ")[0]


def dump(device: str, golden: Golden, inference: int = 0) -> Dumped:
    """What the live engine makes of one recorded input; ONNX Runtime is given the network exported.

    Raises:
        Refused: if the engine does not take the network; FxsimError if it cannot be exported.
    """
    inputs = [x[inference] for x in golden.inputs]
    if device in STYLES:
        return _onnx(encode(golden.graph, STYLES[device]), inputs)
    graph, made = golden.graph, set(_computed(golden.graph))
    values = TFLITE[device](golden.path.read_bytes(), inputs, graph)
    kept = {i: v for i, v in values.items() if i in made and v.size == graph.tensors[i].elements}
    arrays = {f"tensor_{i}": v.reshape(graph.tensors[i].shape) for i, v in kept.items()}
    return Dumped(graph, inputs, _given(inputs) | arrays)


def _given(inputs: list[Array]) -> dict[str, Array]:
    return {f"input_{j}": x for j, x in enumerate(inputs)}


def _onnx(content: bytes, inputs: list[Array]) -> Dumped:
    """With every integer tensor as an output, which hinders no fusion: those of floats would."""
    package = pytest.importorskip("onnx")
    from tests.onnx.cases import runtime

    model, graph = package.load_from_string(content), parse(content, "exported.onnx", onnx.parse)
    shown = {o.name for o in model.graph.output}
    for t in (graph.tensors[i] for i in _computed(graph)):
        if t.qtype.kind == "int" and t.name not in shown:
            kind = package.helper.np_dtype_to_tensor_dtype(np.dtype(t.qtype.dtype))
            model.graph.output.append(package.helper.make_tensor_value_info(t.name, kind, t.shape))
    content = model.SerializeToString()
    graph = parse(content, "exported.onnx", onnx.parse)
    values = runtime(content, inputs)
    arrays = {graph.tensors[i].name: v for i, v in zip(graph.outputs, values, strict=True)}
    return Dumped(graph, inputs, _given(inputs) | arrays)
