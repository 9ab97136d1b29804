"""What a codec of values below 8 bits is, and those that lie in bit fields in the order of the tensor.

Each class is one convention; its docstring states the layout, the shapes and where that was read. The same values are
different bytes in different libraries, and nothing in the bytes tells which: the caller must know. What comes in is
checked: a value out of range or a wrong length is refused, never cut.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError

Array = npt.NDArray[Any]
Int8 = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]
Packed = bytes | bytearray | memoryview | Array
Shape = int | tuple[int, ...]


class Codec(ABC):
    """A convention of storing small integers: values to packed data and back, exactly."""

    name: ClassVar[str]
    low: ClassVar[int]
    high: ClassVar[int]
    without_zero: ClassVar[bool] = False

    def pack(self, values: npt.ArrayLike) -> Array:
        """The packed form of integers ``low..high``. Raises DomainError on any other value or a shape that has none."""
        return self._pack(self.checked(values))

    def unpack(self, data: Packed, shape: Shape) -> Int8:
        """The values, of the given shape. Raises DomainError where the data has not the length of that shape."""
        return self._unpack(data, self.sizes(shape))

    @abstractmethod
    def _pack(self, q: Int8) -> Array: ...

    @abstractmethod
    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8: ...

    def checked(self, values: npt.ArrayLike) -> Int8:
        """``values`` as int8, if each is one that the convention can hold."""
        array = np.asarray(values)
        if array.dtype.kind not in "iu" and array.size:
            raise DomainError(f"{self.name}: values are {array.dtype}; allowed: integers")
        bad = (array < self.low) | (array > self.high)
        if self.without_zero:
            bad |= array == 0
        if np.any(bad):
            where = np.unravel_index(int(np.argmax(bad)), array.shape)
            allowed = f"{self.low} and {self.high}" if self.without_zero else f"{self.low}..{self.high}"
            index = [int(i) for i in where]
            raise DomainError(f"{self.name}: value at {index} is {int(array[where])}; allowed: {allowed}")
        return np.ascontiguousarray(array, np.int8).reshape(array.shape)

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        """``shape`` as a tuple of sizes."""
        sizes = (shape,) if isinstance(shape, int) else tuple(int(s) for s in shape)
        if any(s < 0 for s in sizes):
            raise DomainError(f"{self.name}: shape is {list(sizes)}; allowed: sizes of 0 and above")
        return sizes

    def words(self, data: Packed, shape: tuple[int, ...], dtype: str = "uint8") -> Array:
        """``data`` as an unsigned array of ``shape``; bytes, and integers of the same width, are taken as they lie."""
        wanted = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        if isinstance(data, np.ndarray):
            if data.dtype.kind not in "iu" or data.dtype.itemsize != wanted.itemsize:
                raise DomainError(f"{self.name}: data is {data.dtype}; allowed: {wanted} or bytes")
            flat = np.ascontiguousarray(data).reshape(-1).astype(wanted, copy=False)
        else:
            if len(data) != count * wanted.itemsize:
                raise DomainError(f"{self.name}: data has {len(data)} bytes; needed: {count * wanted.itemsize}")
            flat = np.frombuffer(data, wanted.newbyteorder("<")).astype(wanted, copy=False)
        if flat.size != count:
            raise DomainError(f"{self.name}: data has {flat.size} {wanted} values; needed: {count}")
        return flat.reshape(shape)


def join(fields: Array, bits: int, dtype: str = "uint8") -> Array:
    """``sum(fields[..., i] << bits * i)`` over the last axis: field 0 in the lowest bits."""
    mask = (1 << bits) - 1
    out = np.zeros(fields.shape[:-1], dtype)
    for i in range(fields.shape[-1]):
        out |= (fields[..., i].astype(dtype) & mask) << (bits * i)
    return out


def split(words: Array, bits: int, count: int, *, signed: bool) -> Int8:
    """The ``count`` fields of each word along a new last axis, field 0 from the lowest bits; two's complement if signed."""
    out = np.empty((*words.shape, count), np.int8)
    mask, sign = (1 << bits) - 1, 1 << (bits - 1) if signed else 0
    for i in range(count):
        # The fields are alone in their lane when the sign is taken off: over a packed word the borrow would cross them.
        out[..., i] = (((words >> (bits * i)) & mask).astype(np.int8) ^ sign) - np.int8(sign)
    return out


def padded(values: Array, multiple: int) -> Array:
    """``values`` with the last axis filled up with 0 to a multiple."""
    rest = -values.shape[-1] % multiple
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, rest)]) if rest else values


class _Stream(Codec):
    """Bit fields of a whole tensor in row-major order: ``byte[i * bits // 8]``, the first element in the lowest bits."""

    bits: ClassVar[int]
    whole: ClassVar[bool] = False
    """True where a last byte that is not full does not exist"""

    def _check_count(self, count: int) -> None:
        if self.whole and count % (8 // self.bits):
            raise DomainError(f"{self.name}: {count} values; allowed: multiples of {8 // self.bits}")

    def _pack(self, q: Int8) -> Bytes:
        flat = q.reshape(-1)
        self._check_count(flat.size)
        return join(padded(flat, 8 // self.bits).reshape(-1, 8 // self.bits), self.bits)

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        count = int(np.prod(sizes, dtype=np.int64))
        self._check_count(count)
        per = 8 // self.bits
        words = self.words(data, (-(-count // per),))
        return split(words, self.bits, per, signed=self.low < 0).reshape(-1)[:count].reshape(sizes)


class TfliteInt4(_Stream):
    """``byte[i // 2] = (q[i] & 15) << 4 * (i % 2)``: int4 constants of ``.tflite`` files.

    Any shape, row-major, two's complement -8..7; the upper half of an odd last byte is 0 when written, ignored when read.

    Source: held against LiteRT 2.3.0, whose FULLY_CONNECTED and CONV_2D read such constants.
    """

    name, bits, low, high = "tflite_int4", 4, -8, 7


class TfliteInt2(_Stream):
    """``byte[i // 4] = (q[i] & 3) << 2 * (i % 4)``: int2 constants of ``.tflite`` files.

    Any shape, row-major, two's complement -2..1; unused fields of the last byte are 0 when written, ignored when read.

    Source: the convention of TFLM's int2 unpacking, bits 1:0 first. Not verified against source, nor against an engine.
    """

    name, bits, low, high = "tflite_int2", 2, -2, 1


class OnnxInt4(_Stream):
    """``byte[i // 2] = (q[i] & 15) << 4 * (i % 2)``: ``raw_data`` of an ONNX INT4 tensor, -8..7.

    Source: onnx/onnx.proto3, TensorProto.raw_data, IR version 10; held against ONNX Runtime.
    """

    name, bits, low, high = "onnx_int4", 4, -8, 7


class OnnxUint4(_Stream):
    """``byte[i // 2] = q[i] << 4 * (i % 2)``: ``raw_data`` of an ONNX UINT4 tensor, 0..15.

    Source: onnx/onnx.proto3, TensorProto.raw_data, IR version 10; held against ONNX Runtime.
    """

    name, bits, low, high = "onnx_uint4", 4, 0, 15


class OnnxInt2(_Stream):
    """``byte[i // 4] = (q[i] & 3) << 2 * (i % 4)``: ``raw_data`` of an ONNX INT2 tensor, -2..1.

    Source: onnx/onnx.proto3, IR version 13; held against onnx.numpy_helper.
    """

    name, bits, low, high = "onnx_int2", 2, -2, 1


class OnnxUint2(_Stream):
    """``byte[i // 4] = q[i] << 2 * (i % 4)``: ``raw_data`` of an ONNX UINT2 tensor, 0..3.

    Source: onnx/onnx.proto3, IR version 13; held against onnx.numpy_helper.
    """

    name, bits, low, high = "onnx_uint2", 2, 0, 3


class CmsisS4(_Stream):
    """``byte[i // 2] = (q[i] & 15) << 4 * (i % 2)``: the int4 weights of CMSIS-NN's ``*_s4`` functions.

    The kernel tensor as a whole (OHWI, HWC for depthwise), row-major: a row of odd length leaves the next one at the upper
    half of a byte. An odd last byte has a free upper half.

    Source: CMSIS-NN's own test vectors, every one of which the layout reproduces.
    """

    name, bits, low, high = "cmsis_s4", 4, -8, 7


class PulpInt4(_Stream):
    """``byte[i // 2] = (q[i] & 15) << 4 * (i % 2)``: int4 of pulp-nn-mixed, -8..7, channels innermost.

    Counts are even (``PACK_INT4_SIZE(x) = x >> 1``), so there is no tail.

    Source: pulp-nn-mixed XpulpNN-mixed/32bit/include/pulp_nn_utils.h, pulp_nn_i4_to_i8_r @ 219a1cb. Read, not run.
    """

    name, bits, low, high, whole = "pulp_int4", 4, -8, 7, True


class PulpUint4(_Stream):
    """``byte[i // 2] = q[i] << 4 * (i % 2)``: uint4 of pulp-nn-mixed, 0..15, even counts.

    Source: pulp_nn_utils.h, pulp_nn_u4_to_u8_r @ 219a1cb. Read, not run.
    """

    name, bits, low, high, whole = "pulp_uint4", 4, 0, 15, True


class PulpInt2(_Stream):
    """``byte[i // 4] = (q[i] & 3) << 2 * (i % 4)``: int2 of pulp-nn-mixed, -2..1, counts divisible by 4.

    Source: pulp_nn_utils.h, pulp_nn_i2_to_i8_r @ 219a1cb. Read, not run.
    """

    name, bits, low, high, whole = "pulp_int2", 2, -2, 1, True


class PulpUint2(_Stream):
    """``byte[i // 4] = q[i] << 2 * (i % 4)``: uint2 of pulp-nn-mixed, 0..3, counts divisible by 4.

    Source: pulp_nn_utils.h, pulp_nn_u2_to_u8_r @ 219a1cb. Read, not run.
    """

    name, bits, low, high, whole = "pulp_uint2", 2, 0, 3, True
