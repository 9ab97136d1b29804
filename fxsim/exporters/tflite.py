"""Writes ``.tflite`` files: any graph whose layers are of TensorFlow Lite's ops, float or quantized.

What the importer keeps of a file comes back as it was; options that change no result are left at the schema's defaults.
Constants lie on 16 bytes, since engines read them in place; equal ones are stored once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from flatbuffers.builder import Builder

from fxsim.convert import to_tflite
from fxsim.errors import FxsimError, ModelError, UnsupportedOp, listed
from fxsim.exporters.tflite_custom import CUSTOM, custom_options
from fxsim.exporters.tflite_versions import version
from fxsim.fixed.packing import CODECS
from fxsim.importers.tflite import IDENTIFIER, TYPES
from fxsim.importers.tflite_options import OPTIONS
from fxsim.model.check import where
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.base import Operands, Unread, need
from fxsim.model.qtype import Array, QType, QuantParams

SCHEMA = 3
_ALIGNMENT = 16
_CODES = {t: code for code, t in TYPES.items()}
_PACKED = {2: CODECS["tflite_int2"], 4: CODECS["tflite_int4"]}
_LAST_OLD_CODE = 127
"""Operators beyond it do not fit the schema's first field, which then holds this number."""


def _stored(qtype: QType) -> QType:
    """The type as the file names it: a narrow range is none of its own, and fewer bits lie in their register."""
    return replace(qtype, bits=qtype.register or qtype.bits, register=0, narrow_range=False)


def _code_of(qtype: QType) -> int:
    return _CODES[_stored(qtype)]


def _depth(inputs: Operands, outputs: Operands) -> int:
    """Output channels for each input channel; XNNPACK takes no depthwise convolution that does not say it."""
    return need(outputs[0], "output").shape[-1] // max(1, need(inputs[0], "input").shape[-1])


Derived = Callable[[Operands, Operands], int]
DERIVED: dict[str, tuple[str, str, Derived]] = {
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", "DepthMultiplier", _depth),
    "SPLIT": ("SplitOptions", "NumSplits", lambda inputs, outputs: len(outputs)),
    "SPLIT_V": ("SplitVOptions", "NumSplits", lambda inputs, outputs: len(outputs)),
    "PACK": ("PackOptions", "ValuesCount", lambda inputs, outputs: len(inputs)),
    "UNPACK": ("UnpackOptions", "Num", lambda inputs, outputs: len(outputs)),
    "ARG_MAX": ("ArgMaxOptions", "OutputType", lambda inputs, outputs: _code_of(need(outputs[0], "output").qtype)),
    "ARG_MIN": ("ArgMinOptions", "OutputType", lambda inputs, outputs: _code_of(need(outputs[0], "output").qtype)),
    "SHAPE": ("ShapeOptions", "OutType", lambda inputs, outputs: _code_of(need(outputs[0], "output").qtype)),
}
"""op -> options that the graph's own tensors say: table, accessor, value"""


def files(graph: Graph, path: Path, style: str) -> Mapping[Path, bytes]:
    """The file, and its bytes."""
    return {path: encode(graph)}


def encode(graph: Graph) -> bytes:
    """The bytes of a ``.tflite`` file; a float graph of ONNX's ops is converted first.

    Raises:
        ModelError: if the format cannot hold a tensor or a layer; the message says which.
    """
    return _File(to_tflite(graph)).data()


class _File:
    """One file in the making. A flatbuffer is written from its leaves to its root."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.fb = Builder(1 << 16)
        self.codes: dict[tuple[str, int], int] = {}
        self.buffers = [self._buffer(b"")]
        self.kept: dict[bytes, int] = {}

    def data(self) -> bytes:
        subgraphs = [self._subgraph(g, i) for i, g in enumerate((self.graph, *self.graph.called))]
        fb, codes = self.fb, [self._operator_code(op, v) for op, v in self.codes]
        parts = [self._offsets(part) for part in (codes, subgraphs, self.buffers)]
        text = fb.CreateString("fxsim")
        tflite.ModelStart(fb)
        tflite.ModelAddVersion(fb, SCHEMA)
        tflite.ModelAddOperatorCodes(fb, parts[0])
        tflite.ModelAddSubgraphs(fb, parts[1])
        tflite.ModelAddBuffers(fb, parts[2])
        tflite.ModelAddDescription(fb, text)
        fb.Finish(tflite.ModelEnd(fb), IDENTIFIER)
        return bytes(fb.Output())

    def _subgraph(self, graph: Graph, index: int) -> int:
        fb = self.fb
        tensors = self._offsets([self._tensor(graph, t) for t in graph.tensors])
        operators = self._offsets([self._operator(graph, n) for n in graph.nodes])
        inputs, outputs = self._indices(graph.inputs), self._indices(graph.outputs)
        name = fb.CreateString("main" if index == 0 else f"subgraph{index}")
        tflite.SubGraphStart(fb)
        tflite.SubGraphAddTensors(fb, tensors)
        tflite.SubGraphAddInputs(fb, inputs)
        tflite.SubGraphAddOutputs(fb, outputs)
        tflite.SubGraphAddOperators(fb, operators)
        tflite.SubGraphAddName(fb, name)
        return int(tflite.SubGraphEnd(fb))

    def _tensor(self, graph: Graph, t: Tensor) -> int:
        where = f"{graph.name}: tensor {t.index} {t.name!r}"
        if _stored(t.qtype) not in _CODES:
            names = listed(sorted({q.name for q in TYPES.values()}))
            raise UnsupportedOp(f"{where} has {t.qtype.bits}-bit {t.qtype.kind}s; a .tflite file can hold: {names}")
        if t.data is None and t.qtype.register > t.qtype.bits:
            raise UnsupportedOp(
                f"{where} is an activation of {t.qtype.bits} bits in the place of {t.qtype.name}, to whose ends its engines "
                "would let it go; a .tflite file can hold: activations of 8 and 16 bits"
            )
        fb, buffer = self.fb, 0
        if t.data is not None:
            if not t.data.size:
                raise UnsupportedOp(
                    f"{where} is a constant without elements, which no .tflite file can tell from an activation"
                )
            raw = _raw(t.data, t.qtype)
            if raw not in self.kept:
                self.kept[raw] = len(self.buffers)
                self.buffers.append(self._buffer(raw))
            buffer = self.kept[raw]
        quant = None if t.quant is None else self._quant(t.quant)
        name, shape = fb.CreateString(t.name), self._indices(t.shape)
        tflite.TensorStart(fb)
        tflite.TensorAddShape(fb, shape)
        tflite.TensorAddType(fb, _code_of(t.qtype))
        tflite.TensorAddBuffer(fb, buffer)
        tflite.TensorAddName(fb, name)
        if quant is not None:
            tflite.TensorAddQuantization(fb, quant)
        tflite.TensorAddIsVariable(fb, t.variable)
        return int(tflite.TensorEnd(fb))

    def _quant(self, quant: QuantParams) -> int:
        fb = self.fb
        scale = fb.CreateNumpyVector(np.asarray(quant.scale, np.float32))
        zero_point = fb.CreateNumpyVector(np.asarray(quant.zero_point, np.int64))
        tflite.QuantizationParametersStart(fb)
        tflite.QuantizationParametersAddScale(fb, scale)
        tflite.QuantizationParametersAddZeroPoint(fb, zero_point)
        tflite.QuantizationParametersAddQuantizedDimension(fb, quant.axis or 0)
        return int(tflite.QuantizationParametersEnd(fb))

    def _buffer(self, raw: bytes) -> int:
        fb, vector = self.fb, None
        if raw:
            fb.StartVector(1, len(raw), _ALIGNMENT)
            fb.head -= len(raw)
            fb.Bytes[fb.head : fb.head + len(raw)] = raw
            vector = fb.EndVector()
        tflite.BufferStart(fb)
        if vector is not None:
            tflite.BufferAddData(fb, vector)
        return int(tflite.BufferEnd(fb))

    def _operator(self, graph: Graph, node: Node) -> int:
        inputs, outputs = graph.operands(node.inputs), graph.operands(node.outputs)
        try:
            if isinstance(node.attributes, Unread):
                raise UnsupportedOp(node.attributes.reason)
            custom = custom_options(node.op, node.attributes, need(outputs[0], "output")) if node.op in CUSTOM else None
            if custom is None and not hasattr(tflite.BuiltinOperator, node.op):
                raise ModelError("is no op of TensorFlow Lite")
            table, options = (None, 0) if custom is not None else self._options(node, inputs, outputs)
            code = (node.op, 0 if custom is not None else version(node.op, inputs, outputs, node.attributes))
        except FxsimError as e:
            raise type(e)(f"{where(graph, node)}: {e}") from None
        index = self.codes.setdefault(code, len(self.codes))
        fb = self.fb
        ins, outs, within = (self._indices(v) for v in (node.inputs, node.outputs, node.intermediates))
        raw = fb.CreateByteVector(custom) if custom is not None else 0
        tflite.OperatorStart(fb)
        tflite.OperatorAddOpcodeIndex(fb, index)
        tflite.OperatorAddInputs(fb, ins)
        tflite.OperatorAddOutputs(fb, outs)
        if node.intermediates:
            tflite.OperatorAddIntermediates(fb, within)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(fb, getattr(tflite.BuiltinOptions, table))
            tflite.OperatorAddBuiltinOptions(fb, options)
        if raw:
            tflite.OperatorAddCustomOptions(fb, raw)
        return int(tflite.OperatorEnd(fb))

    def _options(self, node: Node, inputs: Operands, outputs: Operands) -> tuple[str | None, int]:
        """The options table of a layer, and where it lies; None if the op has none that matter."""
        found, values = OPTIONS.get(node.op), {}
        table = found.table if found is not None else None
        if found is not None:
            values = found.write(node.attributes)
        if node.op in DERIVED:
            table, name, value = DERIVED[node.op]
            values[name] = value(inputs, outputs)
        if table is None:
            return None, 0
        ready = {name: self._leaf(value) for name, value in values.items()}
        getattr(tflite, f"{table}Start")(self.fb)
        for name, value in ready.items():
            getattr(tflite, f"{table}Add{name}")(self.fb, value)
        return table, int(getattr(tflite, f"{table}End")(self.fb))

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return self.fb.CreateString(value)
        return self._indices(value) if isinstance(value, list) else value

    def _operator_code(self, op: str, version: int) -> int:
        fb, custom = self.fb, self.fb.CreateString(op) if op in CUSTOM else None
        code = tflite.BuiltinOperator.CUSTOM if custom is not None else getattr(tflite.BuiltinOperator, op)
        tflite.OperatorCodeStart(fb)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(fb, min(code, _LAST_OLD_CODE))
        if custom is not None:
            tflite.OperatorCodeAddCustomCode(fb, custom)
        tflite.OperatorCodeAddVersion(fb, max(version, 1))
        tflite.OperatorCodeAddBuiltinCode(fb, code)
        return int(tflite.OperatorCodeEnd(fb))

    def _indices(self, values: Sequence[int]) -> int:
        return int(self.fb.CreateNumpyVector(np.asarray(values, np.int32)))

    def _offsets(self, offsets: Sequence[int]) -> int:
        fb = self.fb
        fb.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            fb.PrependUOffsetTRelative(offset)
        return int(fb.EndVector())


def _raw(data: Array, qtype: QType) -> bytes:
    """The bytes of a constant, several values to a byte below 8 bits, the first in its lowest bits."""
    qtype = _stored(qtype)
    if qtype.kind == "int" and qtype.bits in _PACKED:
        return _PACKED[qtype.bits].pack(data.reshape(-1)).tobytes()
    return np.ascontiguousarray(data, qtype.dtype.newbyteorder("<")).tobytes()
