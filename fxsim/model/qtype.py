"""Element types and quantization parameters of tensors.

A quantized tensor holds raw integers ``q``; its real value is ``scale * (q - zero_point)``.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Kind = Literal["int", "float", "bool", "resource", "string", "complex", "variant"]


@dataclass(frozen=True, slots=True)
class QType:
    """The type of one element: an integer of ``bits`` bits, a float, a bool, a resource handle, or what has no numbers.

    A signed integer of one bit is -1 or 1, as in binary networks.
    """

    bits: int
    signed: bool = True
    narrow_range: bool = False
    kind: Kind = "int"
    register: int = 0
    """bits of the integer in whose place it computes, where that is a wider one; else 0"""
    layout: str = ""
    """name of a float whose exponent is not IEEE 754's for its bits; arrays hold its values in float32"""

    @property
    def name(self) -> str:
        """The field's usual name: ``int8``, ``uint8``, ``int4``, ``float32``, ``bool``, ``resource``."""
        if self.kind == "int":
            return f"{'' if self.signed else 'u'}int{self.register or self.bits}"
        return self.layout or f"float{self.bits}" if self.kind == "float" else self.kind

    @property
    def min(self) -> int:
        """The least integer of the type."""
        if not self.signed:
            return 0
        return -(1 << (self.bits - 1)) + int(self.narrow_range)

    @property
    def max(self) -> int:
        """The greatest integer of the type."""
        return (1 << (self.bits - int(self.signed))) - 1 if self.bits > 1 else 1

    @property
    def registered(self) -> "QType":
        """The type in the register of 8 or 16 bits that the next wider engine computes it in; else itself."""
        if self.kind != "int" or self.bits >= 16 or self.bits == 8:
            return self
        return replace(self, register=8 if self.bits < 8 else 16)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy type that holds one element (the next wider one where numpy has none)."""
        if self.kind == "bool":
            return np.dtype(np.bool_)
        if self.kind not in ("int", "float"):
            return np.dtype(np.int32)
        width = 32 if self.layout else max(8, 1 << (self.bits - 1).bit_length())
        return np.dtype(f"{'f' if self.kind == 'float' else 'i' if self.signed else 'u'}{width // 8}")

    def bytes(self, elements: int) -> int:
        """The bytes that ``elements`` packed elements occupy in memory."""
        return (elements * self.bits + 7) // 8


INT2 = QType(2)
INT4 = QType(4)
INT8 = QType(8)
UINT8 = QType(8, signed=False)
INT16 = QType(16)
UINT16 = QType(16, signed=False)
INT32 = QType(32)
UINT32 = QType(32, signed=False)
INT64 = QType(64)
UINT64 = QType(64, signed=False)
FLOAT16 = QType(16, kind="float")
FLOAT32 = QType(32, kind="float")
FLOAT64 = QType(64, kind="float")
BFLOAT16 = QType(16, kind="float", layout="bfloat16")
FLOAT8_E4M3FN = QType(8, kind="float", layout="float8_e4m3fn")
FLOAT8_E5M2 = QType(8, kind="float", layout="float8_e5m2")
BOOL = QType(8, signed=False, kind="bool")
RESOURCE = QType(32, kind="resource")


TYPES = (
    *("int2", "int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32", "uint64"),
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "bool", "resource"),
)
"""The names of the element types that a tensor may have."""


@dataclass(frozen=True, slots=True)
class QuantParams:
    """``real = scale * (raw - zero_point)``, one pair for the tensor, or one for each index along ``axis``.

    A file may name an ``axis`` for one pair too, which no arithmetic minds, but some engines do. Scales are the
    file's float32 values, held exactly as Python floats.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    @property
    def per_tensor(self) -> bool:
        """True if one scale serves the whole tensor."""
        return len(self.scale) == 1

    def quantize(self, real: npt.ArrayLike, qtype: QType = INT8) -> Array:
        """``clamp(round(real / scale) + zero_point)``, ties away from zero, in float64: for preparing inputs."""
        x = np.asarray(real, dtype=np.float64) / self.scale[0]
        whole = np.trunc(np.abs(x))
        q = np.copysign(whole + (np.abs(x) - whole >= 0.5), x)  # exact; floor(x + 0.5) is not
        raw: Array = np.clip(q + self.zero_point[0], qtype.min, qtype.max).astype(qtype.dtype)
        return raw

    def dequantize(self, raw: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """``scale * (raw - zero_point)`` in float64."""
        q = np.asarray(raw).astype(np.float64)
        if self.per_tensor:
            return self.scale[0] * (q - self.zero_point[0])
        shape = [1] * q.ndim
        shape[self.axis or 0] = -1
        result: npt.NDArray[np.float64] = np.reshape(self.scale, shape) * (q - np.reshape(self.zero_point, shape))
        return result
