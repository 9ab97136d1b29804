"""Builds small legal ``.tflite`` files, op by op, for the tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite
from flatbuffers import flexbuffers

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
    "SUB": ("SubOptions", 3),
    "DIV": ("DivOptions", 2),
    "SQUARED_DIFFERENCE": ("SquaredDifferenceOptions", 2),
    "MAXIMUM": ("MaximumMinimumOptions", 2),
    "MINIMUM": ("MaximumMinimumOptions", 2),
    "FLOOR_DIV": ("FloorDivOptions", 2),
    "FLOOR_MOD": ("FloorModOptions", 2),
    "TANH": ("", 2),
    "ELU": ("", 1),
    "GELU": ("GeluOptions", 2),
    "HARD_SWISH": ("HardSwishOptions", 1),
    "EXP": ("ExpOptions", 2),
    "LOG": ("", 2),
    "SQRT": ("", 2),
    "RSQRT": ("", 3),
    "RELU": ("", 2),
    "RELU6": ("", 2),
    "RELU_N1_TO_1": ("", 1),
    "RELU_0_TO_1": ("", 1),
    "LEAKY_RELU": ("LeakyReluOptions", 2),
    "PRELU": ("", 1),
    "ABS": ("AbsOptions", 3),
    "NEG": ("NegOptions", 1),
    "SQUARE": ("SquareOptions", 1),
    "FLOOR": ("", 1),
    "CEIL": ("", 1),
    "ROUND": ("", 1),
    "LOG_SOFTMAX": ("LogSoftmaxOptions", 2),
    "L2_NORMALIZATION": ("L2NormOptions", 2),
    "SUM": ("ReducerOptions", 2),
    "REDUCE_PROD": ("ReducerOptions", 2),
    "REDUCE_MAX": ("ReducerOptions", 2),
    "REDUCE_MIN": ("ReducerOptions", 2),
    "REDUCE_ANY": ("ReducerOptions", 1),
    "REDUCE_ALL": ("ReducerOptions", 1),
    "ARG_MAX": ("ArgMaxOptions", 2),
    "ARG_MIN": ("ArgMinOptions", 2),
    "CUMSUM": ("CumsumOptions", 1),
    "EQUAL": ("EqualOptions", 2),
    "NOT_EQUAL": ("NotEqualOptions", 2),
    "LESS": ("LessOptions", 2),
    "LESS_EQUAL": ("LessEqualOptions", 2),
    "GREATER": ("GreaterOptions", 2),
    "GREATER_EQUAL": ("GreaterEqualOptions", 2),
    "LOGICAL_AND": ("LogicalAndOptions", 1),
    "LOGICAL_OR": ("LogicalOrOptions", 1),
    "LOGICAL_NOT": ("LogicalNotOptions", 1),
    "SELECT": ("SelectOptions", 1),
    "SELECT_V2": ("SelectV2Options", 1),
    "AVERAGE_POOL_2D": ("Pool2DOptions", 2),
    "MAX_POOL_2D": ("Pool2DOptions", 2),
    "PAD": ("PadOptions", 2),
    "SVDF": ("SVDFOptions", 3),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("UnidirectionalSequenceLSTMOptions", 3),
    "BATCH_MATMUL": ("BatchMatMulOptions", 2),
    "TRANSPOSE_CONV": ("TransposeConvOptions", 3),
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
    "SQUEEZE": ("SqueezeOptions", 1),
    "EXPAND_DIMS": ("ExpandDimsOptions", 1),
    "UNPACK": ("UnpackOptions", 2),
    "SPLIT": ("SplitOptions", 2),
    "REVERSE_V2": ("ReverseV2Options", 2),
    "REVERSE_SEQUENCE": ("ReverseSequenceOptions", 1),
    "TILE": ("TileOptions", 2),
    "BROADCAST_TO": ("BroadcastToOptions", 2),
    "SLICE": ("SliceOptions", 2),
    "GATHER": ("GatherOptions", 2),
    "GATHER_ND": ("GatherNdOptions", 2),
    "EMBEDDING_LOOKUP": ("", 2),
    "ONE_HOT": ("OneHotOptions", 1),
    "SCATTER_ND": ("ScatterNdOptions", 1),
    "TOPK_V2": ("TopKV2Options", 2),
    "PADV2": ("PadV2Options", 2),
    "MIRROR_PAD": ("MirrorPadOptions", 2),
    "SPACE_TO_DEPTH": ("SpaceToDepthOptions", 2),
    "DEPTH_TO_SPACE": ("DepthToSpaceOptions", 1),
    "SPACE_TO_BATCH_ND": ("SpaceToBatchNDOptions", 2),
    "BATCH_TO_SPACE_ND": ("BatchToSpaceNDOptions", 2),
    "RANK": ("RankOptions", 1),
    "FILL": ("FillOptions", 2),
    "ZEROS_LIKE": ("ZerosLikeOptions", 1),
    "RANGE": ("RangeOptions", 1),
    "BROADCAST_ARGS": ("", 1),
    "CAST": ("CastOptions", 1),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", 3),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", 3),
    "VAR_HANDLE": ("VarHandleOptions", 1),
    "READ_VARIABLE": ("ReadVariableOptions", 1),
    "ASSIGN_VARIABLE": ("AssignVariableOptions", 1),
    "CALL_ONCE": ("CallOnceOptions", 1),
}
_ENUMS = {
    "padding": tflite.Padding,
    "fused_activation_function": tflite.ActivationFunctionType,
    "output_type": tflite.TensorType,
}


def nibbles(data: Array) -> Array:
    """int4 values as the format packs them: two a byte, the first in the low half."""
    flat = np.append(data.reshape(-1), np.zeros(data.size % 2, data.dtype)).astype(np.uint8) & 15
    return flat[::2] | flat[1::2] << 4


def quarters(data: Array) -> Array:
    """int2 values as the format packs them: four a byte, the first in the lowest bits."""
    flat = np.append(data.reshape(-1), np.zeros(-data.size % 4, data.dtype)).astype(np.uint8) & 3
    return flat[::4] | flat[1::4] << 2 | flat[2::4] << 4 | flat[3::4] << 6


_CUSTOM = 0
"""the version that marks a custom op in the making"""
PACKED = {"int4": nibbles, "int2": quarters}
"""types that numpy lacks -> how the format packs them"""
TYPES = {"INT2": 19}
"""``TensorType`` codes that the generated accessors lack"""


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
        variable: bool = False,
    ) -> int:
        """Adds a tensor and returns its index. ``dtype``: numpy's name, ``int4``, ``int2``, ``resource``; ``data`` is raw."""
        fb = self._fb
        buffer = 0
        if data is not None:
            raw = np.asarray(data, np.int8 if dtype in PACKED else dtype)
            if raw.size != int(np.prod(shape, dtype=np.int64)):
                raise ValueError(f"{name}: {raw.size} values for shape {list(shape)}")
            self._buffers.append(self._buffer(PACKED.get(dtype, lambda values: values)(raw)))
            buffer = len(self._buffers) - 1
        quant = 0 if scale is None else self._quant(scale, zero_point, axis)
        label, dims = fb.CreateString(name), fb.CreateNumpyVector(np.asarray(shape, np.int32))
        tflite.TensorStart(fb)
        tflite.TensorAddName(fb, label)
        tflite.TensorAddShape(fb, dims)
        tflite.TensorAddType(fb, TYPES.get(dtype.upper()) or getattr(tflite.TensorType, dtype.upper()))
        tflite.TensorAddBuffer(fb, buffer)
        if quant:
            tflite.TensorAddQuantization(fb, quant)
        tflite.TensorAddIsVariable(fb, variable)
        self._now.tensors.append(tflite.TensorEnd(fb))
        return len(self._now.tensors) - 1

    def constant(self, name: str, values: npt.ArrayLike, dtype: str = "int32") -> int:
        """Adds a constant without quantization: axes, shapes, paddings."""
        data = np.asarray(values, dtype)
        return self.tensor(name, data.shape, dtype, data=data)

    def op(
        self,
        op: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        version: int | None = None,
        intermediates: Sequence[int] = (),
        **options: Any,
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
        ins, outs, within = (fb.CreateNumpyVector(np.asarray(v, np.int32)) for v in (inputs, outputs, intermediates))
        tflite.OperatorStart(fb)
        tflite.OperatorAddOpcodeIndex(fb, self._codes.index(code))
        tflite.OperatorAddInputs(fb, ins)
        tflite.OperatorAddOutputs(fb, outs)
        tflite.OperatorAddIntermediates(fb, within)
        if table:
            tflite.OperatorAddBuiltinOptionsType(fb, getattr(tflite.BuiltinOptions, table))
            tflite.OperatorAddBuiltinOptions(fb, made)
        self._now.operators.append(tflite.OperatorEnd(fb))
        return self

    def custom(self, code: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> Self:
        """Adds a custom op. ``options``: a dict becomes a flexbuffer, bytes are written as they are, None leaves them out."""
        fb = self._fb
        if (code, _CUSTOM) not in self._codes:
            self._codes.append((code, _CUSTOM))
        raw = options if isinstance(options, bytes) or options is None else bytes(flexbuffers.Dumps(options))
        made = 0 if raw is None else fb.CreateByteVector(raw)
        ins, outs = (fb.CreateNumpyVector(np.asarray(v, np.int32)) for v in (inputs, outputs))
        tflite.OperatorStart(fb)
        tflite.OperatorAddOpcodeIndex(fb, self._codes.index((code, _CUSTOM)))
        tflite.OperatorAddInputs(fb, ins)
        tflite.OperatorAddOutputs(fb, outs)
        if made:
            tflite.OperatorAddCustomOptions(fb, made)
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
        fb, custom = self._fb, 0
        if version == _CUSTOM:
            number, version, custom = tflite.BuiltinOperator.CUSTOM, 1, fb.CreateString(op)
        else:
            number = getattr(tflite.BuiltinOperator, op)
        tflite.OperatorCodeStart(fb)
        if custom:
            tflite.OperatorCodeAddCustomCode(fb, custom)
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
