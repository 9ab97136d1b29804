"""Writes ``.onnx`` files: graphs of ONNX's ops as they are, those of TensorFlow Lite's ops converted first."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fxsim.convert import to_onnx
from fxsim.errors import FxsimError, ModelError, UnsupportedOp, listed
from fxsim.exporters.onnx_attributes import OPSET, fields_of
from fxsim.fixed.packing import CODECS
from fxsim.importers.onnx_tensor import TYPES
from fxsim.model.check import where
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops import OPS
from fxsim.model.ops.onnx_base import OnnxSpec
from fxsim.model.qtype import QType

if TYPE_CHECKING:
    import onnx

    from fxsim.exporters import Style

IR_VERSION = 10
"""the version of the file format that came with the opset"""
_CODES = {t: code for code, t in TYPES.items()}
_PACKED = {True: CODECS["onnx_int4"], False: CODECS["onnx_uint4"]}
_STANDARD = ("QLinearConv", "QLinearMatMul")
_QONNX = ("Quant", "BipolarQuant", "Trunc", "MultiThreshold")
_CONTRIB = ("QGemm", "MatMulIntegerToFloat")


def files(graph: Graph, path: Path, style: "Style") -> Mapping[Path, bytes]:
    """The file, and its bytes."""
    return {path: encode(graph, style)}


def encode(graph: Graph, style: "Style" = "qdq") -> bytes:
    """The bytes of an ``.onnx`` file.

    Raises:
        ModelError: if the ``onnx`` package is missing, or the format cannot hold a layer; the message says which.
    """
    try:
        from onnx import helper
    except ImportError:
        raise ModelError('writing .onnx files needs the onnx package: pip install "fxsim[onnx]"') from None
    graph = to_onnx(graph, style=style)
    names = _names(graph)
    used = {i for n in graph.nodes for i in n.inputs} | set(graph.outputs)
    constants = [_constant(t, names[t.index]) for t in graph.tensors if t.data is not None and t.index in used]
    nodes = [_node(graph, n, names) for n in graph.nodes]
    inputs, outputs = ([_info(graph.tensors[i], names) for i in group] for group in (graph.inputs, graph.outputs))
    made = helper.make_graph(nodes, "fxsim", inputs, outputs, constants)
    domains = {n.domain for n in nodes} - {""}
    opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in sorted(domains))]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fxsim")
    return bytes(model.SerializeToString())


def _names(graph: Graph) -> dict[int, str]:
    """A name for each tensor, its own where no other has it."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for i in (*graph.inputs, *graph.outputs, *range(len(graph.tensors))):
        if i not in names:
            wanted = graph.tensors[i].name or f"tensor_{i}"
            names[i] = wanted if wanted not in taken else f"{wanted}:{i}"
            taken.add(names[i])
    return names


def _code_of(qtype: QType) -> int:
    plain = replace(qtype, narrow_range=False, register=0, bits=qtype.register or qtype.bits)
    if plain not in _CODES:
        raise UnsupportedOp(
            f"{plain.name} of {plain.bits} bits cannot be written; supported: {listed(t.name for t in _CODES)}"
        )
    return _CODES[plain]


def _constant(t: Tensor, name: str) -> "onnx.TensorProto":
    from onnx import helper

    assert t.data is not None
    try:
        code = _code_of(t.qtype)
    except UnsupportedOp as e:
        raise UnsupportedOp(f"constant {t.name!r}: {e}") from None
    if t.qtype.kind == "int" and t.qtype.bits == 4 and not t.qtype.register:
        raw = _PACKED[t.qtype.signed].pack(t.data.reshape(-1)).tobytes()
    else:
        raw = np.ascontiguousarray(t.data, t.qtype.dtype.newbyteorder("<")).tobytes()
    return helper.make_tensor(name, code, t.shape, raw, raw=True)


def _info(t: Tensor, names: dict[int, str]) -> "onnx.ValueInfoProto":
    from onnx import helper

    return helper.make_tensor_value_info(names[t.index], _code_of(t.qtype), t.shape)


def _domain(op: str) -> str:
    if op in _QONNX:
        return "qonnx.custom_op.general"
    return "com.microsoft" if op in _CONTRIB or (op.startswith("QLinear") and op not in _STANDARD) else ""


def _node(graph: Graph, node: Node, names: dict[int, str]) -> "onnx.NodeProto":
    from onnx import helper

    try:
        if not isinstance(OPS.get(node.op), OnnxSpec):
            raise UnsupportedOp("is no op of ONNX")
        outputs = [graph.tensors[i] for i in node.outputs]
        fields = fields_of(node.op, node.attributes, graph.operands(node.inputs), outputs, _code_of)
    except FxsimError as e:
        raise type(e)(f"{where(graph, node)}: {e}") from None
    inputs = ["" if i == ABSENT else names[i] for i in node.inputs]
    made = [names[i] for i in node.outputs]
    return helper.make_node(node.op, inputs, made, name=made[0], domain=_domain(node.op), **fields)
