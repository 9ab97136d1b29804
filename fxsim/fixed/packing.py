"""Packed integers below 8 bits as the libraries of the field store them, both ways: the registry, and the blocks of LLMs.

>>> from fxsim.fixed.packing import CODECS
>>> CODECS["tflite_int4"].pack([-8, 7, 1])
array([120,   1], dtype=uint8)
>>> CODECS["tflite_int4"].unpack(bytes([120, 1]), 3)
array([-8,  7,  1], dtype=int8)
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError
from fxsim.fixed import codecs, codecs_axis
from fxsim.fixed.codecs import Array, Bytes, Codec, Int8, Packed, Shape, join, split

__all__ = ["CODECS", "Codec", "dequantize_q4_0", "quantize_q4_0"]
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


class _Blocks(Codec):
    """Blocks of neighbours along the last axis, a multiple of ``block``; each becomes ``size`` bytes."""

    block: ClassVar[int]
    size: ClassVar[int]

    def _blocks(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or sizes[-1] % self.block:
            raise DomainError(f"{self.name}: shape is {list(sizes)}; allowed: a last size that divides by {self.block}")
        return (*sizes[:-1], sizes[-1] // self.block)

    def _pack(self, q: Int8) -> Bytes:
        blocks = self._blocks(q.shape)
        packed = self._encode((q - np.int8(self.low)).reshape(-1, self.block))
        return packed.reshape(*blocks[:-1], blocks[-1] * self.size)

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        blocks = self._blocks(sizes)
        words = self.words(data, (int(np.prod(blocks, dtype=np.int64)), self.size))
        return self._decode(words).reshape(sizes) + np.int8(self.low)

    @abstractmethod
    def _encode(self, codes: Int8) -> Bytes: ...

    @abstractmethod
    def _decode(self, data: Bytes) -> Int8: ...


class GgufQ40(_Blocks):
    """``byte[j] = (q[j] + 8) | (q[j + 16] + 8) << 4`` in blocks of 32: the integers of GGUF's Q4_0, without the scales.

    Shapes: ``(..., K)`` to ``(..., K / 2)``. :func:`quantize_q4_0` makes whole blocks.

    Source: llama.cpp gguf-py/gguf/quants.py, class Q4_0 @ 150f157; held against the gguf package.
    """

    name, low, high, block, size = "gguf_q4_0", -8, 7, 32, 16

    def _encode(self, codes: Int8) -> Bytes:
        return join(codes.reshape(-1, 2, 16).swapaxes(1, 2), 4)

    def _decode(self, data: Bytes) -> Int8:
        return split(data, 4, 2, signed=False).swapaxes(1, 2).reshape(-1, 32)


class GgufTq20(_Blocks):
    """``byte[32h + j] = sum((t[128h + 32i + j] + 1) << 2i)`` in blocks of 256: GGUF's TQ2_0, without the scales.

    Shapes: ``(..., K)`` to ``(..., K / 4)``. The code 3 is refused.

    Source: llama.cpp gguf-py/gguf/quants.py, class TQ2_0 @ 150f157; held against the gguf package.
    """

    name, low, high, block, size = "gguf_tq2_0", -1, 1, 256, 64

    def _encode(self, codes: Int8) -> Bytes:
        return join(codes.reshape(-1, 2, 4, 32).swapaxes(2, 3), 2).reshape(-1, 64)

    def _decode(self, data: Bytes) -> Int8:
        codes = split(data.reshape(-1, 2, 32), 2, 4, signed=False)
        if np.any(codes == 3):
            raise DomainError(f"{self.name}: a code is 3; allowed: 0..2")
        return codes.swapaxes(2, 3).reshape(-1, 256)


class GgufTq10(_Blocks):
    """``byte = ceil(256 / 243 * sum((t + 1) * 3**(4 - i)))`` over five values: GGUF's TQ1_0, without the scales.

    Blocks of 256. The five are 32 apart in the first 160 values (32 bytes) and 16 apart in the next 80 (16 bytes); the
    last 16 lie in 4 bytes of four values, 4 apart. The byte is a fraction of 256: its digits come off the top by
    multiplications with 3. A byte that packing never makes is read as llama.cpp reads it.

    Shapes: ``(..., K)`` to ``(..., K / 256 * 52)``.

    Source: llama.cpp gguf-py/gguf/quants.py, class TQ1_0 @ 150f157; held against the gguf package.
    """

    name, low, high, block, size = "gguf_tq1_0", -1, 1, 256, 52
    _parts = (
        (slice(0, 160), slice(0, 32), 5),
        (slice(160, 240), slice(32, 48), 5),
        (slice(240, 256), slice(48, 52), 4),
    )

    def _encode(self, codes: Int8) -> Bytes:
        out = np.empty((len(codes), 52), np.uint8)
        for values, place, count in self._parts:
            digits = codes[:, values].reshape(-1, count, (values.stop - values.start) // count).astype(np.int32)
            number = np.einsum("bij,i->bj", digits, 3 ** np.arange(4, 4 - count, -1))
            out[:, place] = (number * 256 + 242) // 243
        return out

    def _decode(self, data: Bytes) -> Int8:
        out = np.empty((len(data), 256), np.int8)
        for values, place, count in self._parts:
            shifted = (
                data[:, None, place] * (3 ** np.arange(count, dtype=np.uint8))[:, None]
            )  # the upper digits fall off
            out[:, values] = ((shifted.astype(np.uint16) * 3) >> 8).reshape(-1, values.stop - values.start)
        return out


class _Words(Codec):
    """Eight nibbles of neighbours along one axis in an uint32; readers take the int32 of the files as well."""

    low, high = 0, 15
    order: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4, 5, 6, 7)
    axis: ClassVar[int] = -1

    def _shape(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(sizes) != 2 or sizes[self.axis] % 8:
            raise DomainError(
                f"{self.name}: shape is {list(sizes)}; allowed: two sizes, that of axis {self.axis % 2} divisible by 8"
            )
        return (sizes[0], sizes[1] // 8) if self.axis else (sizes[0] // 8, sizes[1])

    def _pack(self, q: Int8) -> npt.NDArray[np.uint32]:
        self._shape(q.shape)
        groups = np.moveaxis(q, self.axis, -1)
        groups = groups.reshape(len(groups), groups.shape[1] // 8, 8)[:, :, list(self.order)]
        return np.ascontiguousarray(np.moveaxis(join(groups, 4, "uint32"), -1, self.axis))

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        words = np.moveaxis(self.words(data, self._shape(sizes), "uint32"), self.axis, -1)
        groups = split(words, 4, 8, signed=False)
        flat = np.empty_like(groups)
        flat[:, :, list(self.order)] = groups
        return np.ascontiguousarray(np.moveaxis(flat.reshape(len(words), words.shape[1] * 8), -1, self.axis))


class Awq(_Words):
    """``word[k, c] = sum(q[k, 8c + order[i]] << 4i)`` with ``order = 0, 2, 4, 6, 1, 3, 5, 7``: AWQ's weights and zeros.

    Shapes: ``(K, N)`` to uint32 ``(K, N / 8)``, values 0..15: the GEMM layout. ``w = (q - zero) * scale``; zeros,
    ``(K / group, N)``, are packed the same way and stored as they are.

    Source: AutoAWQ awq/utils/packing_utils.py @ 7ee2873 (the reverse order 0, 4, 1, 5, 2, 6, 3, 7). Read, not run.
    """

    name, order = "awq", _AWQ_ORDER


class GptqWeights(_Words):
    """``word[r, n] = sum(q[8r + i, n] << 4i)``: GPTQ's ``qweight``, eight rows of the input axis in a word.

    Shapes: ``(K, N)`` to uint32 ``(K / 8, N)``, values 0..15, the same in v1 and v2.

    Source: AutoGPTQ qlinear_cuda_old.py, pack. Read, not run.
    """

    name, axis = "gptq_weights", 0


class GptqZerosV2(_Words):
    """``word[g, c] = sum(z[g, 8c + i] << 4i)``: GPTQ v2's ``qzeros``, zero points as they are; ``w = (q - z) * scale``.

    Shapes: ``(G, N)`` to uint32 ``(G, N / 8)``, values 0..15. Nothing in the bytes tells v2 from v1.

    Source: GPTQModel, whose conversion of v1 adds 0x11111111 to each word. Read, not run.
    """

    name = "gptq_zeros_v2"


@dataclass(frozen=True)
class GptqZerosV1(_Words):
    """``word[g, c] = sum((z[g, 8c + i] - 1) << 4i)``: GPTQ v1's ``qzeros``, **one less** than the zero points.

    Shapes: ``(G, N)`` to uint32 ``(G, N / 8)``, values 1..15. A stored 15 is refused, because readers differ: old ones
    take it for 16, those that mask after the addition for 0; ``fifteen`` says which is wanted. A zero point of 0 becomes
    a stored 15 only with ``fifteen=0``, and 16 only with ``fifteen=16``; converters that add 0x11111111 to the word carry
    from a 15 into the next nibble.

    Source: AutoGPTQ qlinear_cuda_old.py, pack (``zeros -= 1``). Read, not run.
    """

    fifteen: int | None = None

    name, low, high = "gptq_zeros_v1", 0, 16

    def __post_init__(self) -> None:
        """Raises DomainError if ``fifteen`` is not one of the readings."""
        if self.fifteen not in (None, 0, 16):
            raise DomainError(f"{self.name}: fifteen is {self.fifteen}; allowed: 0, 16 or None")

    def _pack(self, q: Int8) -> npt.NDArray[np.uint32]:
        for end in (0, 16):
            if self.fifteen != end and np.any(q == end):
                raise DomainError(f"{self.name}: a zero point is {end}; allowed: 1..15, and {end} with fifteen={end}")
        return super()._pack((q - np.int8(1)) & np.int8(15))

    def _unpack(self, data: Packed, sizes: tuple[int, ...]) -> Int8:
        stored = super()._unpack(data, sizes)
        if self.fifteen is None and np.any(stored == 15):
            raise DomainError(
                f"{self.name}: a stored zero point is 15, which readers take for 0 or 16; say fifteen=0 or 16"
            )
        return np.where(stored == 15, np.int8(self.fifteen or 0), stored + np.int8(1)).astype(np.int8)


def _float32(who: str, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
    array = np.asarray(x, np.float32)
    if not array.ndim or array.shape[-1] % 32:
        raise DomainError(f"{who}: shape is {list(array.shape)}; allowed: a last size that divides by 32")
    if not np.all(np.isfinite(array)):
        raise DomainError(f"{who}: a value is not finite; allowed: finite float32")
    return array


def _fused(x: npt.NDArray[np.float32], inverse: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``float32(x * inverse + 8.5)``, rounded once."""
    product = x.astype(np.float64) * inverse  # exact: 24 + 24 bits
    total = product + 8.5
    # What the float64 sum lost goes into its last bit (round to odd), so that rounding to float32 sees on which side it lay.
    back = total - product
    lost = (product - (total - back)) + (8.5 - back)
    even = (total.view(np.int64) & 1) == 0
    nudged = np.where((lost != 0) & even, np.nextafter(total, np.copysign(np.inf, lost)), total)
    return nudged.astype(np.float32)


def quantize_q4_0(x: npt.ArrayLike, *, fused: bool = False) -> Bytes:
    """``q = min(15, trunc(x / d + 8.5))``, ``d`` the value of largest magnitude over -8, in blocks of 32: GGUF's Q4_0.

    ``x`` ``(..., K)`` in float32 becomes ``(..., K / 32 * 18)`` bytes: a block is ``d`` as float16, then 16 bytes as in
    :class:`GgufQ40`. The division is a product with ``1 / d`` in float32, by the ``d`` that is not yet rounded to float16;
    of equal magnitudes the first one counts. A C compiler may fuse the product and the sum 8.5 (GCC does, for machines
    that can): ``fused`` rounds once, as that does; else the product and the sum are rounded to float32 each.

    Raises:
        DomainError: where the C code is undefined: values that are not finite, a ``d`` beyond float16 or without a finite
            float32 reciprocal.

    Source: llama.cpp ggml/src/ggml-quants.c quantize_row_q4_0_ref; gguf-py/gguf/quants.py @ 150f157, which fuses.
    """
    array = _float32("quantize_q4_0", x)
    blocks = array.reshape(-1, 32)
    largest = np.take_along_axis(blocks, np.argmax(np.abs(blocks), axis=1, keepdims=True), axis=1)
    d = largest / np.float32(-8)
    with np.errstate(divide="ignore", over="ignore"):
        half = d.astype(np.float16)
        inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    for values, limit in ((half, "a magnitude below 524160"), (inverse, "0, or a magnitude above 2.4e-38")):
        if not np.all(np.isfinite(values)):
            block = int(np.argmin(np.isfinite(values)))
            raise DomainError(
                f"quantize_q4_0: the largest value of block {block} is {largest[block, 0]}; allowed: {limit}"
            )
    biased = _fused(blocks, inverse) if fused else blocks * inverse + np.float32(8.5)
    codes = np.minimum(np.trunc(biased), 15).astype(np.int8)
    raw = CODECS["gguf_q4_0"].pack(codes - np.int8(8))
    return np.concatenate([half.astype("<f2").view(np.uint8), raw], axis=1).reshape(
        *array.shape[:-1], array.shape[-1] // 32 * 18
    )


def dequantize_q4_0(data: Packed, shape: Shape) -> npt.NDArray[np.float32]:
    """``x = d * q`` in float32: the values of GGUF's Q4_0 blocks. ``shape`` ``(..., K)`` is that of the values."""
    codec = CODECS["gguf_q4_0"]
    sizes = codec.sizes(shape)
    _float32("dequantize_q4_0", np.zeros((0, *sizes[-1:])))
    blocks = codec.words(data, (int(np.prod(sizes, dtype=np.int64)) // 32, 18))
    d = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    codes = codec.unpack(np.ascontiguousarray(blocks[:, 2:]), (len(blocks), 32))
    result: Array = (d * codes.astype(np.float32)).reshape(sizes)
    return result


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        codecs.TfliteInt4(),
        codecs.TfliteInt2(),
        codecs.OnnxInt4(),
        codecs.OnnxUint4(),
        codecs.OnnxInt2(),
        codecs.OnnxUint2(),
        codecs.CmsisS4(),
        codecs.PulpInt4(),
        codecs.PulpUint4(),
        codecs.PulpInt2(),
        codecs.PulpUint2(),
        codecs_axis.KerasInt4(),
        codecs_axis.KerasInt2(),
        codecs_axis.TernaryBase3(),
        codecs_axis.TernaryBitnet(),
        codecs_axis.LarqBits(),
        codecs_axis.FinnBits(),
        GgufQ40(),
        GgufTq20(),
        GgufTq10(),
        Awq(),
        GptqWeights(),
        GptqZerosV1(),
        GptqZerosV2(),
    )
}
"""Every convention by its name. Those with a parameter (an axis, a reading of 15) stand here with its default."""
