"""Reads ``.tflite`` files. The file is hostile until proven sound: no offset, count or size in it is trusted.

The generated accessors of the ``tflite`` package do not verify. Python makes a wrong offset an exception and never
a crash; what is left to guard is work and memory, which a :class:`_Budget` bounds by the size of the file, because
a sound file spends at least one byte on each thing that it describes.
"""

import hashlib
import struct
from typing import Any

import numpy as np
import tflite

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.importers.floats import decode
from fxsim.importers.tflite_custom import CUSTOM, custom_attributes
from fxsim.importers.tflite_options import OPTIONS
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.base import Attributes, Unread
from fxsim.model.qtype import (
    BFLOAT16,
    BOOL,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT2,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    RESOURCE,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Array,
    QType,
    QuantParams,
)

IDENTIFIER = b"TFL3"
INT2_CODE = 19
"""``TensorType.INT2``, which the generated accessors do not name yet"""
TYPES: dict[int, QType] = {
    tflite.TensorType.FLOAT32: FLOAT32,
    tflite.TensorType.INT32: INT32,
    tflite.TensorType.UINT8: UINT8,
    tflite.TensorType.INT64: INT64,
    tflite.TensorType.BOOL: BOOL,
    tflite.TensorType.INT16: INT16,
    tflite.TensorType.INT8: INT8,
    tflite.TensorType.RESOURCE: RESOURCE,
    tflite.TensorType.INT4: INT4,
    tflite.TensorType.UINT16: UINT16,
    tflite.TensorType.UINT32: UINT32,
    tflite.TensorType.UINT64: UINT64,
    tflite.TensorType.FLOAT16: FLOAT16,
    tflite.TensorType.FLOAT64: FLOAT64,
    tflite.TensorType.BFLOAT16: BFLOAT16,
    tflite.TensorType.STRING: QType(8, kind="string"),
    tflite.TensorType.COMPLEX64: QType(64, kind="complex"),
    tflite.TensorType.COMPLEX128: QType(128, kind="complex"),
    tflite.TensorType.VARIANT: QType(8, kind="variant"),
    INT2_CODE: INT2,
}
"""``TensorType`` -> type"""
_TYPE_NAMES = {v: k for k, v in vars(tflite.TensorType).items() if isinstance(v, int)}
_OP_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_BROKEN = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, KeyError, UnicodeError)
"""What the accessors raise on offsets that lead nowhere."""


class _Budget:
    """Counts what has been read; a file may not describe more things than it has bytes."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.left = name, size

    def spend(self, count: int) -> int:
        """``count``, if the file can be that rich."""
        self.left -= count
        if count < 0 or self.left < 0:
            raise ModelError(f"{self.name}: malformed: describes more than its size can hold")
        return count


def parse(data: bytes, name: str) -> Graph:
    """The graph in the bytes of a ``.tflite`` file; ``name`` is what errors call it."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelError(f"{name}: not a .tflite file: bytes 4..7 are {data[4:8]!r}; allowed: {IDENTIFIER!r}")
    try:
        return _File(data, name).graph()
    except RecursionError:
        raise ModelError(f"{name}: malformed: nested too deeply") from None
    except _BROKEN as e:
        raise ModelError(f"{name}: malformed or truncated: {type(e).__name__}: {e}") from None


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")


def _numbers(vector: Any) -> Array:
    return vector if isinstance(vector, np.ndarray) else np.zeros(0, np.int64)


class _File:
    """One file on its way to a graph."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name = data, name
        self.budget = _Budget(name, len(data))
        self.model = tflite.Model.GetRootAs(data, 0)

    def graph(self) -> Graph:
        model = self.model
        count = self.budget.spend(model.SubgraphsLength())
        if not count:
            raise ModelError(f"{self.name}: malformed: holds no subgraph")
        graphs = [self._subgraph(i) for i in range(count)]
        main = graphs[0]
        digest = hashlib.sha256(self.data).hexdigest()
        return Graph(
            self.name, main.tensors, main.nodes, main.inputs, main.outputs, tuple(graphs[1:]), digest, len(self.data)
        )

    def _indices(self, vector: Any, limit: int, what: str, *, absent: bool = False) -> tuple[int, ...]:
        values = _numbers(vector)
        self.budget.spend(values.size)
        result = tuple(int(v) for v in values)
        for v in result:
            if not (0 <= v < limit or (absent and v == ABSENT)):
                raise ModelError(f"{self.name}: malformed: {what} names tensor {v}; allowed: 0..{limit - 1}")
        return result

    def _subgraph(self, index: int) -> Graph:
        sub = self.model.Subgraphs(index)
        if sub is None:
            raise ModelError(f"{self.name}: malformed: subgraph {index} is missing")
        label = self.name if index == 0 else f"{self.name}, subgraph {index}"
        n = self.budget.spend(sub.TensorsLength())
        tensors = tuple(self._tensor(sub.Tensors(i), i) for i in range(n))
        nodes = tuple(self._node(sub.Operators(i), i, tensors) for i in range(self.budget.spend(sub.OperatorsLength())))
        inputs = self._indices(sub.InputsAsNumpy(), n, "the graph's inputs")
        outputs = self._indices(sub.OutputsAsNumpy(), n, "the graph's outputs")
        return Graph(label, tensors, nodes, inputs, outputs)

    def _tensor(self, t: Any, index: int) -> Tensor:
        name = _text(t.Name())
        where = f"{self.name}: tensor {index} {name!r}"
        qtype = TYPES.get(t.Type())
        if qtype is None:
            got = _TYPE_NAMES.get(t.Type(), f"type code {t.Type()}")
            allowed = ", ".join(sorted(q.name for q in TYPES.values()))
            raise UnsupportedOp(f"{where} is {got}; supported: {allowed}")
        if t.Sparsity() is not None:
            raise UnsupportedOp(f"{where} is stored sparse; supported: dense")
        dims = _numbers(t.ShapeAsNumpy())
        self.budget.spend(len(name) + dims.size)
        shape = tuple(int(d) for d in dims)
        if len(shape) > 8 or any(d < 0 for d in shape):
            raise ModelError(f"{where} has shape {list(shape)}; allowed: at most 8 static sizes")
        quant = self._quant(t.Quantization(), shape, qtype, where) if qtype.kind == "int" else None
        data = self._constant(t.Buffer(), qtype, shape, where)
        return Tensor(index, name, shape, qtype, quant, data, bool(t.IsVariable()) and data is None)

    def _quant(self, q: Any, shape: tuple[int, ...], qtype: QType, where: str) -> QuantParams | None:
        if q is None or not q.ScaleLength():
            return None
        scale, zero = _numbers(q.ScaleAsNumpy()), _numbers(q.ZeroPointAsNumpy())
        self.budget.spend(scale.size + zero.size)
        if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
            raise ModelError(f"{where} has a scale of {scale.min()}; allowed: finite and above 0")
        if zero.size == 0:
            zero = np.zeros(scale.size, np.int64)
        axis = int(q.QuantizedDimension()) if scale.size > 1 or q.QuantizedDimension() else None
        fits = scale.size == 1 or (axis is not None and 0 <= axis < len(shape) and shape[axis] == scale.size)
        if zero.size != scale.size or not fits:
            raise ModelError(
                f"{where} of shape {list(shape)} has {scale.size} scales and {zero.size} zero points along axis {axis}"
            )
        if np.any((zero < qtype.min) | (zero > qtype.max)):
            worst = int(zero[np.argmax((zero < qtype.min) | (zero > qtype.max))])
            raise ModelError(f"{where} has a zero point of {worst}; allowed for {qtype.name}: {qtype.min}..{qtype.max}")
        return QuantParams(tuple(float(s) for s in scale), tuple(int(z) for z in zero), axis)

    def _constant(self, buffer: int, qtype: QType, shape: tuple[int, ...], where: str) -> Array | None:
        if not 0 <= buffer < self.model.BuffersLength():
            raise ModelError(f"{where} names buffer {buffer}; allowed: 0..{self.model.BuffersLength() - 1}")
        raw = self._buffer(self.model.Buffers(buffer), where)
        if not raw.size or qtype.kind not in ("int", "float", "bool"):
            return None
        elements = 1
        for d in shape:
            elements *= d
        if raw.size != qtype.bytes(elements):
            raise ModelError(
                f"{where} of shape {list(shape)} {qtype.name} has {raw.size} bytes; allowed: {qtype.bytes(elements)}"
            )
        if qtype.bits < 8 and qtype.kind == "int":  # several to a byte, the first in its lowest bits
            self.budget.spend(raw.size)
            lefts = range(8 - qtype.bits, -1, -qtype.bits)
            shifted = np.stack([raw << left for left in lefts], axis=-1).view(np.int8)
            data = shifted.reshape(-1)[:elements] >> (8 - qtype.bits)
        elif qtype.kind == "float":
            data = decode(raw, qtype)
        else:
            data = raw.view(qtype.dtype.newbyteorder("<")) if qtype.kind != "bool" else raw != 0
        data = data.reshape(shape)
        data.setflags(write=False)
        return data

    def _buffer(self, buffer: Any, where: str) -> Array:
        if buffer is None:
            return np.zeros(0, np.uint8)
        offset, size = int(buffer.Offset()), int(buffer.Size())
        if offset > 1:  # data behind the flatbuffer, as in files above 2 GB
            if offset + size > len(self.data):
                raise ModelError(f"{where} lies at bytes {offset}..{offset + size}; the file has {len(self.data)}")
            return np.frombuffer(self.data, np.uint8, size, offset)
        return _numbers(buffer.DataAsNumpy()).astype(np.uint8, copy=False)

    def _node(self, op: Any, index: int, tensors: tuple[Tensor, ...]) -> Node:
        if not 0 <= op.OpcodeIndex() < self.model.OperatorCodesLength():
            raise ModelError(f"{self.name}: malformed: layer {index} names op code {op.OpcodeIndex()}")
        code = self.model.OperatorCodes(op.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _OP_NAMES.get(number, f"code {number}")
        custom = name == "CUSTOM"
        if custom:
            name = _text(code.CustomCode())
            if not name or name in _OP_NAMES.values():  # it must not pass for a builtin op
                name = f"CUSTOM {name}".strip()
        inputs = self._indices(op.InputsAsNumpy(), len(tensors), f"layer {index} {name}", absent=True)
        outputs = self._indices(op.OutputsAsNumpy(), len(tensors), f"layer {index} {name}")
        where = f"{self.name}: layer {index} {name}"
        attributes: Attributes
        try:
            if custom and name in CUSTOM:
                attributes = custom_attributes(name, op, tuple(tensors[i] for i in outputs), self.budget.spend, where)
            else:
                attributes = self._attributes(name, op, where)
        except UnsupportedOp as e:  # the check reports it, together with all else that is not supported
            attributes = Unread(str(e).removeprefix(f"{where}: "))
        within = self._indices(op.IntermediatesAsNumpy(), len(tensors), f"layer {index} {name}")
        return Node(index, name, inputs, outputs, attributes, tensors[outputs[0]].name if outputs else "", within)

    def _attributes(self, name: str, op: Any, where: str) -> Attributes:
        if name not in OPTIONS:
            return Attributes()
        found = OPTIONS[name]
        kind: int = getattr(tflite.BuiltinOptions, found.table)
        table = op.BuiltinOptions()
        if table is None and found.optional:
            return found.attributes()
        if table is None or op.BuiltinOptionsType() != kind:
            raise ModelError(f"{where} has options of type {op.BuiltinOptionsType()}; allowed: {kind} ({found.table})")
        options = getattr(tflite, found.table)()
        options.Init(table.Bytes, table.Pos)
        self.budget.spend(1)
        try:
            return found.read(options, self.budget.spend)
        except UnsupportedOp as e:
            raise UnsupportedOp(f"{where}: {e}") from None
