"""Binary dumps: numpy, plain bytes, TVM's parameter files, ONNX tensors, TensorFlow Lite Micro's debugger."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from fxsim.diagnose.formats.base import Entry
from fxsim.errors import DumpError, FxsimError
from fxsim.files import load_arrays
from fxsim.model.qtype import Array

META = "meta"


def numpy_file(path: Path) -> list[Entry]:
    """``.npy`` and ``.npz``; pickled objects are refused."""
    arrays = load_arrays(path)
    return [Entry(k or path.stem, np.asarray(v), k or path.name) for k, v in arrays.items() if k != META]


def raw(path: Path) -> list[Entry]:
    """Plain bytes, whose type and shape the model says."""
    return [Entry(path.stem, np.frombuffer(path.read_bytes(), np.uint8), path.name, raw=True)]


class _Reader:
    """Little-endian fields from bytes, held against the end."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.at, self.where = data, 0, where

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise DumpError(f"{self.where}: ends at byte {len(self.data)}, within a field at {self.at}")
        self.at += count
        return self.data[self.at - count : self.at]

    def fields(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))


TVM_LIST, TVM_ARRAY = 0xF7E58D4F05049CB7, 0xDD5E40F096B4A13F
TVM_KINDS = {0: "i", 1: "u", 2: "f"}


def tvm_params(path: Path) -> list[Entry]:
    """TVM's ``output_tensors.params`` as its debug executor writes it: names, then arrays.

    Source: src/runtime/file_utils.cc and include/tvm/runtime/ndarray.h, format of SaveParams @ TVM 0.14.
    """
    r = _Reader(path.read_bytes(), str(path))
    magic, _, count = r.fields("QQQ")
    if magic != TVM_LIST or count > len(r.data):
        raise DumpError(f"{path}: is no parameter file of TVM (begins with {magic:#x}; allowed: {TVM_LIST:#x})")
    names = [r.take(r.fields("Q")[0]).decode("utf-8", "replace") for _ in range(count)]
    if r.fields("Q")[0] != count:
        raise DumpError(f"{path}: has {count} names, but another number of arrays")
    return [Entry(n, _tvm_array(r), n) for n in names]


def _tvm_array(r: _Reader) -> Array:
    magic, _, _, _, rank, code, bits, lanes = r.fields("QQiiiBBH")
    if magic != TVM_ARRAY or not 0 <= rank <= 8:
        raise DumpError(f"{r.where}: byte {r.at}: no array begins here")
    shape = r.fields(f"{rank}q")
    (size,) = r.fields("q")
    if code not in TVM_KINDS or bits not in (8, 16, 32, 64) or lanes != 1 or (code, bits) == (2, 8):
        raise DumpError(f"{r.where}: an element type of code {code}, {bits} bits; supported: int, uint, float")
    return _shaped(r.take(size), f"<{TVM_KINDS[code]}{bits // 8}", shape, r.where)


def _shaped(data: bytes, dtype: str, shape: tuple[int, ...], where: str) -> Array:
    elements = int(np.prod(shape, dtype=np.float64)) if min(shape, default=1) >= 0 else -1
    if elements * np.dtype(dtype).itemsize != len(data):
        raise DumpError(f"{where}: claims {list(shape)} {np.dtype(dtype)}, but holds {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def onnx_tensor(path: Path) -> list[Entry]:
    """A serialized TensorProto: ONNX Runtime's dumps of nodes, ONNX test data."""
    from fxsim.importers.onnx_tensor import read_tensor

    try:
        name, array = read_tensor(path)
    except FxsimError as e:
        raise DumpError(str(e)) from None
    return [Entry(name or path.stem, array, path.name)]


TFLM_TYPES = {
    0: "<f4",
    2: "<i4",
    3: "u1",
    4: "<i8",
    6: "?",
    7: "<i2",
    9: "i1",
    10: "<f8",
    12: "<u8",
    15: "<u4",
    16: "<u2",
}
"""TensorTypes -> numpy"""


def is_tflm(path: Path) -> bool:
    """True if the file reads as the debugger's, to its end."""
    try:
        return bool(tflm_debugger(path))
    except (FxsimError, OSError):
        return False


def tflm_debugger(path: Path) -> list[Entry]:
    """What ``layer_by_layer`` of TensorFlow Lite Micro writes: for each tensor index, type, shape and bytes.

    Source: tensorflow/lite/micro/tools/layer_by_layer_schema.fbs @ tflite-micro 2026-10.
    """
    import flatbuffers
    from flatbuffers.number_types import Int8Flags, Int32Flags, Uint32Flags, UOffsetTFlags

    data = path.read_bytes()

    def vector(table: Any, slot: int) -> tuple[int, int]:  # noqa: ANN401
        offset = int(table.Offset(slot))
        if not offset:
            return 0, 0
        start, length = int(table.Vector(offset)), int(table.VectorLen(offset))
        if start + length > len(data):
            raise ValueError("a vector reaches beyond the end")
        return start, length

    def tables(table: Any, slot: int) -> list[Any]:  # noqa: ANN401
        start, length = vector(table, slot)
        return [flatbuffers.table.Table(data, table.Indirect(start + 4 * i)) for i in range(length)]

    def number(table: Any, slot: int, flags: Any) -> int:  # noqa: ANN401
        offset = int(table.Offset(slot))
        return int(table.Get(flags, offset + table.Pos)) if offset else 0

    def tensor(table: Any) -> Entry:  # noqa: ANN401
        index, code = number(table, 6, Uint32Flags), number(table, 10, Int8Flags)
        start, rank = vector(table, 8)
        shape = tuple(int(table.Get(Int32Flags, start + 4 * i)) for i in range(rank))
        at, length = vector(table, 12)
        if code not in TFLM_TYPES:
            raise DumpError(f"{path}: tensor {index} has element type {code}; supported: {sorted(TFLM_TYPES)}")
        name = f"tensor_{index}"
        return Entry(name, _shaped(data[at : at + length], TFLM_TYPES[code], shape, str(path)), name)

    try:
        root = flatbuffers.table.Table(data, flatbuffers.encode.Get(UOffsetTFlags.packer_type, data, 0))
        graphs = tables(root, 6)
        main = [g for g in graphs if number(g, 6, Uint32Flags) == 0]
        found = [tensor(t) for g in main for t in tables(g, 4)] + [tensor(t) for t in tables(root, 4)]
    except (struct.error, ValueError, IndexError, TypeError, OverflowError) as e:
        raise DumpError(f"{path}: is no dump of TensorFlow Lite Micro's debugger: {e}") from None
    if not found:
        raise DumpError(f"{path}: is no dump of TensorFlow Lite Micro's debugger: holds no tensor")
    return found
