"""TensorProto to array: types, sizes and packing checked against each other."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fxsim.errors import ModelError, UnsupportedOp, listed
from fxsim.importers.floats import decode
from fxsim.model.qtype import (
    BFLOAT16,
    BOOL,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    Array,
    QType,
    Shape,
)

if TYPE_CHECKING:
    import onnx

TYPES: dict[int, QType] = {
    1: FLOAT32,
    2: UINT8,
    3: INT8,
    4: QType(16, signed=False),
    5: INT16,
    6: INT32,
    7: INT64,
    9: BOOL,
    10: FLOAT16,
    11: FLOAT64,
    16: BFLOAT16,
    17: FLOAT8_E4M3FN,
    19: FLOAT8_E5M2,
    21: QType(4, signed=False),
    22: INT4,
}
"""TensorProto.DataType -> type"""
_EXTERNAL = 1
MAX_RANK = 8


def type_of(code: int) -> QType:
    """The element type of a TensorProto code.

    Raises:
        UnsupportedOp: if fxsim does not know the type.
    """
    if code not in TYPES:
        raise UnsupportedOp(
            f"an element type is {_name(code)}; supported: {listed(sorted(t.name for t in TYPES.values()))}"
        )
    return TYPES[code]


def _name(code: int) -> str:
    import onnx

    kinds: Any = onnx.TensorProto.DataType
    return str({v: k for k, v in kinds.items()}.get(code, f"code {code}"))


def constant(t: "onnx.TensorProto", where: str) -> tuple[QType, Shape, Array]:
    """Type, shape and read-only values of a tensor in the file; 4-bit values one to a byte.

    Raises:
        ModelError: if the bytes do not fit the shape; UnsupportedOp on data outside of the file and on unknown types.
    """
    if t.data_location == _EXTERNAL or t.external_data:
        raise UnsupportedOp(
            f"{where} is stored in another file; supported: data inside the .onnx file "
            "(torch.onnx.export with external_data=False)"
        )
    try:
        qtype = type_of(t.data_type)
    except UnsupportedOp as e:
        raise UnsupportedOp(f"{where}: {e}") from None
    shape = tuple(int(d) for d in t.dims)
    if len(shape) > MAX_RANK or any(d < 0 for d in shape) or t.HasField("segment"):
        raise ModelError(
            f"{where} has shape {list(shape)}; allowed: at most {MAX_RANK} sizes of at least 0, in one piece"
        )
    elements = math.prod(shape)
    if t.HasField("raw_data"):
        data = _raw(t.raw_data, qtype, elements, where)
    else:
        data = _fields(t, qtype, elements, where)
    data = data.reshape(shape)
    if qtype.kind == "float" and np.any(np.isnan(data)):  # an infinity stands in the masks of attention
        raise ModelError(f"{where} holds values that are not numbers")
    data.setflags(write=False)
    return qtype, shape, data


def _raw(raw: bytes, qtype: QType, elements: int, where: str) -> Array:
    if len(raw) != qtype.bytes(elements):
        raise ModelError(
            f"{where} has {len(raw)} bytes; allowed for {elements} of {qtype.name}: {qtype.bytes(elements)}"
        )
    if qtype.bits == 4:
        return _nibbles(np.frombuffer(raw, np.uint8), qtype, elements)
    if qtype.kind == "bool":
        flags: Array = np.frombuffer(raw, np.uint8) != 0
        return flags
    if qtype.kind == "float":
        return decode(np.frombuffer(raw, np.uint8), qtype)
    data: Array = np.frombuffer(raw, qtype.dtype.newbyteorder("<")).astype(qtype.dtype, copy=False)
    return data


def _fields(t: "onnx.TensorProto", qtype: QType, elements: int, where: str) -> Array:
    """Values that are stored one by one: floats, 64-bit integers, or 32-bit integers for all that is narrower."""
    held: Any = t.int64_data if qtype.bits == 64 else t.int32_data  # where the bits of short floats are, too
    if qtype.kind == "float" and qtype.bits >= 32:
        held = t.float_data if qtype.bits == 32 else t.double_data
    count = -(-elements // 2) if qtype.bits == 4 else elements
    if len(held) != count:
        raise ModelError(f"{where} holds {len(held)} values; allowed for shape {list(t.dims)}: {count}")
    if qtype.kind == "float" and qtype.bits >= 32:
        return np.array(held, qtype.dtype)
    values = np.array(held, np.int64)
    low, high = (0, 255) if qtype.bits == 4 else (0, 1) if qtype.kind == "bool" else (qtype.min, qtype.max)
    if qtype.kind == "float":
        low, high = 0, (1 << qtype.bits) - 1
    if values.size and (values.min() < low or values.max() > high):
        raise ModelError(f"{where} holds values {values.min()}..{values.max()}; allowed: {low}..{high}")
    if qtype.kind == "float":
        return decode(values.astype(f"<u{qtype.bits // 8}").view(np.uint8), qtype)
    data: Array = _nibbles(values.astype(np.uint8), qtype, elements) if qtype.bits == 4 else values.astype(qtype.dtype)
    return data


def _nibbles(packed: Array, qtype: QType, elements: int) -> Array:
    """Two values a byte, the first in the low half; signed ones extended."""
    pairs = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)[:elements].astype(np.int8)
    data: Array = ((pairs ^ 8) - 8).astype(np.int8) if qtype.signed else pairs.astype(np.uint8)
    return data


def read_tensor(path: str | os.PathLike[str]) -> tuple[str, Array]:
    """Name and values of a file that holds one serialized TensorProto.

    Raises:
        ModelError: if the file is none, or the ``onnx`` package is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ModelError(f"{path}: reading ONNX tensors needs the onnx package: pip install fxsim[onnx]") from None
    proto = onnx.TensorProto()
    try:
        proto.ParseFromString(Path(path).read_bytes())
    except (DecodeError, RecursionError, ValueError) as e:
        raise ModelError(f"{path}: is no serialized tensor: {e or type(e).__name__}") from None
    return proto.name, constant(proto, os.fspath(path))[2]
