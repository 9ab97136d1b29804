"""Builds small legal ``.tflite`` files, op by op, for the tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

ABSENT = -1
"""The index of an input that is left out."""
Array = npt.NDArray[Any]

# op -> (options table or "", version that int8 engines accept)
OPS: dict[str, tuple[str, int]] = {
    "CONV_2D": ("Conv2DOptions", 3),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", 3),
    "FULLY_CONNECTED": ("FullyConnectedOptions", 4),
    "ADD": ("AddOptions", 2),
    "MUL": ("MulOptions", 2),
    "MEAN": ("ReducerOptions", 2),
    "AVERAGE_POOL_2D": ("Pool2DOptions", 2),
    "MAX_POOL_2D": ("Pool2DOptions", 2),
    "PAD": ("PadOptions", 2),
    "RESHAPE": ("ReshapeOptions", 1),
    "SOFTMAX": ("SoftmaxOptions", 2),
    "LOGISTIC": ("", 2),
    "QUANTIZE": ("QuantizeOptions", 2),
    "DEQUANTIZE": ("DequantizeOptions", 2),
    "CONCATENATION": ("ConcatenationOptions", 2),
    "STRIDED_SLICE": ("StridedSliceOptions", 2),
    "SPLIT_V": ("SplitVOptions", 2),
    "TRANSPOSE": ("TransposeOptions", 2),
    "PACK": ("PackOptions", 2),
    "SHAPE": ("ShapeOptions", 1),
    "VAR_HANDLE": ("VarHandleOptions", 1),
    "READ_VARIABLE": ("ReadVariableOptions", 1),
    "ASSIGN_VARIABLE": ("AssignVariableOptions", 1),
    "CALL_ONCE": ("CallOnceOptions", 1),
}
_ENUMS = {"padding": tflite.Padding, "fused_activation_function": tflite.ActivationFunctionType}


def nibbles(data: Array) -> Array:
    """int4 values as the format packs them: two a byte, the first in the low half."""
    flat = np.append(data.reshape(-1), np.zeros(data.size % 2, data.dtype)).astype(np.uint8) & 15
    return flat[::2] | flat[1::2] << 4


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


@dataclass(slots=True)
class _Subgraph:
    tensors: list[int] = field(default_factory=list)
    operators: list[int] = field(default_factory=list)


class Builder:
    """A ``.tflite`` file in the making: tensors and ops of one subgraph after the other, then :meth:`finish`."""

    def __init__(self) -> None:
        self._fb = flatbuffers.Builder(1024)
        self._codes: list[tuple[str, int]] = []
        self._buffers = [self._buffer(None)]
        self._subgraphs: list[int] = []
        self._now = _Subgraph()

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scale: float | Sequence[float] | None = None,
        zero_point: int | Sequence[int] | None = None,
        axis: int | None = None,
        data: npt.ArrayLike | None = None,
    ) -> int:
        """Adds a tensor and returns its index. ``dtype``: numpy's name, ``int4`` or ``resource``; ``data`` is raw."""
        fb = self._fb
        buffer = 0
        if data is not None:
            raw = np.asarray(data, np.int8 if dtype == "int4" else dtype)
            if raw.size != int(np.prod(shape, dtype=np.int64)):
                raise ValueError(f"{name}: {raw.size} values for shape {list(shape)}")
            self._buffers.append(self._buffer(nibbles(raw) if dtype == "int4" else raw))
            buffer = len(self._buffers) - 1
        quant = 0 if scale is None else self._quant(scale, zero_point, axis)
        label, dims = fb.CreateString(name), fb.CreateNumpyVector(np.asarray(shape, np.int32))
        tflite.TensorStart(fb)
        tflite.TensorAddName(fb, label)
        tflite.TensorAddShape(fb, dims)
        tflite.TensorAddType(fb, getattr(tflite.TensorType, dtype.upper()))
        tflite.TensorAddBuffer(fb, buffer)
        if quant:
            tflite.TensorAddQuantization(fb, quant)
        self._now.tensors.append(tflite.TensorEnd(fb))
        return len(self._now.tensors) - 1

    def constant(self, name: str, values: npt.ArrayLike, dtype: str = "int32") -> int:
        """Adds a constant without quantization: axes, shapes, paddings."""
        data = np.asarray(values, dtype)
        return self.tensor(name, data.shape, dtype, data=data)

    def op(
        self, op: str, inputs: Sequence[int], outputs: Sequence[int], version: int | None = None, **options: Any
    ) -> Self:
        """Adds an op. ``options`` bear the schema's names; enums go by name, sequences become vectors.

        Example: ``op("CONV_2D", [x, w, b], [y], padding="SAME", stride_h=1, stride_w=1)``.
        """
        fb = self._fb
        table, least = OPS[op]
        code = (op, version or least)
        if code not in self._codes:
            self._codes.append(code)
        made = self._options(table, options) if table else 0
        ins, outs = (fb.CreateNumpyVector(np.asarray(v, np.int32)) for v in (inputs, outputs))
        tflite.OperatorStart(fb)
        tflite.OperatorAddOpcodeIndex(fb, self._codes.index(code))
        tflite.OperatorAddInputs(fb, ins)
        tflite.OperatorAddOutputs(fb, outs)
        if table:
            tflite.OperatorAddBuiltinOptionsType(fb, getattr(tflite.BuiltinOptions, table))
            tflite.OperatorAddBuiltinOptions(fb, made)
        self._now.operators.append(tflite.OperatorEnd(fb))
        return self

    def end_subgraph(self, inputs: Sequence[int], outputs: Sequence[int]) -> Self:
        """Closes the subgraph; what is added next lies in another, with tensors counted from 0 again."""
        fb, now = self._fb, self._now
        tensors, operators = self._offsets(now.tensors), self._offsets(now.operators)
        ins, outs = (fb.CreateNumpyVector(np.asarray(v, np.int32)) for v in (inputs, outputs))
        name = fb.CreateString(f"subgraph{len(self._subgraphs)}")
        tflite.SubGraphStart(fb)
        tflite.SubGraphAddTensors(fb, tensors)
        tflite.SubGraphAddInputs(fb, ins)
        tflite.SubGraphAddOutputs(fb, outs)
        tflite.SubGraphAddOperators(fb, operators)
        tflite.SubGraphAddName(fb, name)
        self._subgraphs.append(tflite.SubGraphEnd(fb))
        self._now = _Subgraph()
        return self

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Closes the last subgraph and returns the file."""
        self.end_subgraph(inputs, outputs)
        fb = self._fb
        codes = self._offsets([self._code(*c) for c in self._codes])
        subgraphs, buffers = self._offsets(self._subgraphs), self._offsets(self._buffers)
        text = fb.CreateString("test")
        tflite.ModelStart(fb)
        tflite.ModelAddVersion(fb, 3)
        tflite.ModelAddOperatorCodes(fb, codes)
        tflite.ModelAddSubgraphs(fb, subgraphs)
        tflite.ModelAddDescription(fb, text)
        tflite.ModelAddBuffers(fb, buffers)
        fb.Finish(tflite.ModelEnd(fb), b"TFL3")
        return bytes(fb.Output())

    def _offsets(self, offsets: Sequence[int]) -> int:
        fb = self._fb
        fb.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            fb.PrependUOffsetTRelative(offset)
        result: int = fb.EndVector()
        return result

    def _code(self, op: str, version: int) -> int:
        fb, number = self._fb, getattr(tflite.BuiltinOperator, op)
        tflite.OperatorCodeStart(fb)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(fb, min(number, 127))
        tflite.OperatorCodeAddVersion(fb, version)
        tflite.OperatorCodeAddBuiltinCode(fb, number)
        result: int = tflite.OperatorCodeEnd(fb)
        return result

    def _buffer(self, data: Array | None) -> int:
        fb, vector = self._fb, 0
        if data is not None:
            raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8).tobytes()
            # Engines read constants in place, as int32 or wider: the bytes must lie on 16, as force_align says.
            fb.StartVector(1, len(raw), 16)
            fb.head = fb.head - len(raw)
            fb.Bytes[fb.head : fb.head + len(raw)] = raw
            vector = fb.EndVector()
        tflite.BufferStart(fb)
        if data is not None:
            tflite.BufferAddData(fb, vector)
        result: int = tflite.BufferEnd(fb)
        return result

    def _quant(self, scale: float | Sequence[float], zero_point: int | Sequence[int] | None, axis: int | None) -> int:
        fb = self._fb
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        zeros = np.broadcast_to(np.asarray(zero_point or 0, np.int64), scales.shape)
        s, z = fb.CreateNumpyVector(scales), fb.CreateNumpyVector(np.ascontiguousarray(zeros))
        tflite.QuantizationParametersStart(fb)
        tflite.QuantizationParametersAddScale(fb, s)
        tflite.QuantizationParametersAddZeroPoint(fb, z)
        tflite.QuantizationParametersAddQuantizedDimension(fb, axis or 0)
        result: int = tflite.QuantizationParametersEnd(fb)
        return result

    def _options(self, table: str, options: dict[str, Any]) -> int:
        fb = self._fb
        ready: dict[str, Any] = {}
        for name, value in options.items():
            if name in _ENUMS:
                ready[name] = getattr(_ENUMS[name], value)
            elif isinstance(value, str):
                ready[name] = fb.CreateString(value)
            elif isinstance(value, Sequence):
                ready[name] = fb.CreateNumpyVector(np.asarray(value, np.int32))
            else:
                ready[name] = value
        getattr(tflite, f"{table}Start")(fb)
        for name, value in ready.items():
            getattr(tflite, f"{table}Add{_camel(name)}")(fb, value)
        result: int = getattr(tflite, f"{table}End")(fb)
        return result
