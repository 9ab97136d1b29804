"""Codecs of values below 8 bits that are packed along one axis: bit fields, base 3, single bits.

Each class is one convention, as in :mod:`fxsim.fixed.codecs`.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError
from fxsim.fixed.codecs import Bytes, Codec, Int8, Packed, join, padded, split


@dataclass(frozen=True, slots=True)
class _Axis(Codec):
    """Groups of neighbours along one axis become a byte; the axis shrinks to ``ceil(n / per)``."""

    axis: int = 0

    per: ClassVar[int]
    bits: ClassVar[int] = 0
    """0 for base 3"""

    def _axis(self, ndim: int) -> int:
        if not -ndim <= self.axis < ndim:
            raise DomainError(f"{self.name}: axis is {self.axis}; allowed for {ndim} axes: {-ndim}..{ndim - 1}")
        return self.axis % ndim

    def _pack(self, q: Int8) -> Bytes:
        axis = self._axis(q.ndim)
        groups = padded(np.moveaxis(q, axis, -1), self.per)
        groups = groups.reshape(*groups.shape[:-1], groups.shape[-1] // self.per, self.per)
        if self.bits:
            packed = join(groups, self.bits)
        else:
            packed = (groups.astype(np.int16) + 1) @ (3 ** np.arange(5, dtype=np.int16))
        return np.ascontiguousarray(np.moveaxis(packed.astype(np.uint8), -1, axis))

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        axis = self._axis(len(sizes))
        count = sizes[axis]
        rest = (*sizes[:axis], *sizes[axis + 1 :])
        words = self.words(data, (*sizes[:axis], -(-count // self.per), *sizes[axis + 1 :]))
        words = np.moveaxis(words, axis, -1)
        if self.bits:
            groups = split(words, self.bits, self.per, signed=True)
        else:
            if words.size and int(words.max()) > 242:
                raise DomainError(f"{self.name}: a byte is {int(words.max())}; allowed: 0..242")
            groups = (words[..., None] // (3 ** np.arange(5, dtype=np.uint8)) % 3).astype(np.int8) - np.int8(1)
        flat = groups.reshape(*rest, words.shape[-1] * self.per)[..., :count]
        return np.ascontiguousarray(np.moveaxis(flat, -1, axis))


class KerasInt4(_Axis):
    """``byte[j] = (q[2j] & 15) | (q[2j + 1] & 15) << 4`` along ``axis``: ``keras.quantizers.pack_int4``, -8..7.

    Keras returns int8 where this returns the same bits as uint8, and fills a short last group with 0.

    Source: keras/src/quantizers/packing.py @ 06a2ea0, with the examples of its docstring.
    """

    name, per, bits, low, high = "keras_int4", 2, 4, -8, 7


class KerasInt2(_Axis):
    """``byte[j] = sum((q[4j + i] & 3) << 2i)`` along ``axis``: ``keras.quantizers.pack_int2``, -2..1.

    Source: keras/src/quantizers/packing.py @ 06a2ea0, with the examples of its docstring.
    """

    name, per, bits, low, high = "keras_int2", 4, 2, -2, 1


class TernaryBase3(_Axis):
    """``byte[j] = sum((t[5j + i] + 1) * 3**i)`` along ``axis``: five ternary values a byte, at most 242.

    A short last group is filled with the value 0, whose digit is 1. Not the bytes of GGUF's TQ1_0.

    Source: ``keras.quantizers.pack_ternary``, keras/src/quantizers/packing.py @ 06a2ea0.
    """

    name, per, low, high = "ternary_base3", 5, -1, 1


class TernaryBitnet(Codec):
    """``byte[r] = sum((t[r + k * R / 4] + 1) << 2k)`` for ``k`` in 0..3: the ternary weights of BitNet in transformers.

    Shapes: ``(R, ...)`` to ``(R / 4, ...)``: rows a quarter of the matrix apart share a byte. ``R`` is a multiple of 4;
    what transformers does with other counts was not verified, and such are refused. So is the code 3, which readers take for
    0 or 2.

    Source: transformers/integrations/bitnet.py pack_weights; llama.cpp conversion, _unpack_bitnet_weights. Read, not run.
    """

    name, low, high = "ternary_bitnet", -1, 1

    def _rows(self, sizes: tuple[int, ...]) -> int:
        if not sizes or sizes[0] % 4:
            raise DomainError(f"{self.name}: shape is {list(sizes)}; allowed: a first size that is a multiple of 4")
        return sizes[0] // 4

    def _pack(self, q: Int8) -> Bytes:
        rows = self._rows(q.shape)
        return join(np.moveaxis(q.reshape(4, rows, *q.shape[1:]) + np.int8(1), 0, -1), 2)

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        codes = split(self.words(data, (self._rows(sizes), *sizes[1:])), 2, 4, signed=False)
        if np.any(codes == 3):
            raise DomainError(f"{self.name}: a code is 3; allowed: 0..2")
        return np.ascontiguousarray(np.moveaxis(codes, -1, 0)).reshape(sizes) - np.int8(1)


class _Bits(Codec):
    """One bit a value, -1 or +1, along the last axis."""

    low, high, without_zero = -1, 1, True

    def _last(self, sizes: tuple[int, ...]) -> int:
        if not sizes:
            raise DomainError(f"{self.name}: a scalar; allowed: at least one axis")
        return sizes[-1]


class LarqBits(_Bits):
    """``word[c // 32] |= (x[c] < 0) << (c % 32)`` along the last axis: **a set bit is -1**.

    Shapes: ``(..., C)`` to uint32 ``(..., ceil(C / 32))``; unused bits of the last word are 0, and are refused otherwise,
    because :func:`fxsim.fixed.binary.xnor_matmul` would count them.

    Source: larq_compute_engine/core/bitpacking/bitpack.h, bitpack_array (its tail is filled with the zero point, which
    packs to 0) @ 61e48ef. Read, not run.
    """

    name = "larq_bits"

    def _pack(self, q: Int8) -> npt.NDArray[np.uint32]:
        self._last(q.shape)
        raw = np.packbits(padded(q < 0, 32), axis=-1, bitorder="little")
        return np.ascontiguousarray(raw).view("<u4").astype(np.uint32, copy=False)

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        count = self._last(sizes)
        words = self.words(data, (*sizes[:-1], -(-count // 32)), "uint32")
        raw = np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8)
        bits = np.unpackbits(raw, axis=-1, bitorder="little")
        if np.any(bits[..., count:]):
            raise DomainError(f"{self.name}: an unused bit of a last word is set; allowed: 0")
        return np.int8(1) - 2 * bits[..., :count].astype(np.int8)


class FinnBits(_Bits):
    """``integer = sum((x[i] > 0) << (C - 1 - i))``, its bytes from the highest: **a set bit is +1**, the last channel bit 0.

    Shapes: ``(..., C)`` to uint8 ``(..., ceil(C / 8))``; the integer has leading zeros.

    Source: finn.util.data_packing finnpy_to_packed_bytearray @ 05f5598. Read, not run.
    """

    name = "finn_bits"

    def _pack(self, q: Int8) -> Bytes:
        self._last(q.shape)
        bits = padded((q > 0)[..., ::-1], 8)
        return np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little")[..., ::-1])

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        count = self._last(sizes)
        raw = self.words(data, (*sizes[:-1], -(-count // 8)))
        bits = np.unpackbits(raw[..., ::-1], axis=-1, bitorder="little")
        if np.any(bits[..., count:]):
            raise DomainError(f"{self.name}: a leading bit is set; allowed: 0")
        return 2 * np.ascontiguousarray(bits[..., :count][..., ::-1]).astype(np.int8) - np.int8(1)
