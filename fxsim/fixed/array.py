"""Arrays of raw integers that know their format: the functions of :mod:`fxsim.fixed` as methods."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.fixed import floats, linear, ops
from fxsim.fixed.formats import FixedFormat, as_format
from fxsim.numerics import Accumulator

Raw = npt.NDArray[Any]
_TRUNCATE, _WRAP = "systemc:SC_TRN", "systemc:SC_WRAP"


@dataclass(frozen=True, slots=True, eq=False)
class FixedArray:
    """``raw * 2**-format.frac_bits``. Immutable; every value of ``raw`` lies in ``format``.

    Raises:
        DomainError: on raw values that are no integers, or out of range.
    """

    raw: Raw
    format: FixedFormat

    def __post_init__(self) -> None:
        """Checks the values, and keeps a read-only copy of them."""
        format = as_format(self.format)
        raw = ops.check_raw(self.raw, format).astype(format.dtype)
        raw.setflags(write=False)
        object.__setattr__(self, "format", format)
        object.__setattr__(self, "raw", raw)

    @classmethod
    def from_float(
        cls, x: npt.ArrayLike, format: FixedFormat | str, rounding: str = "ties_even", overflow: str = "saturate"
    ) -> "FixedArray":
        """``x``, quantized: see :func:`fxsim.fixed.quantize`."""
        return cls(floats.quantize(x, format, rounding, overflow), as_format(format))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``raw``."""
        return self.raw.shape

    def to_float(self) -> npt.NDArray[np.float64]:
        """The real values in float64."""
        return floats.to_float(self.raw, self.format)

    def cast(
        self, target: FixedFormat | str, rounding: str = _TRUNCATE, overflow: str = _WRAP, wrap_bits: int = 0
    ) -> "FixedArray":
        """The values in another format: see :func:`fxsim.fixed.cast`."""
        return FixedArray(ops.cast(self.raw, self.format, target, rounding, overflow, wrap_bits), as_format(target))

    def add(
        self, other: "FixedArray", target: FixedFormat | str, rounding: str = _TRUNCATE, overflow: str = _WRAP
    ) -> "FixedArray":
        """The exact sum, cast: see :func:`fxsim.fixed.add`."""
        total = ops.add(self.raw, self.format, other.raw, other.format, target, rounding, overflow)
        return FixedArray(total, as_format(target))

    def mul(
        self, other: "FixedArray", target: FixedFormat | str, rounding: str = _TRUNCATE, overflow: str = _WRAP
    ) -> "FixedArray":
        """The exact product, cast: see :func:`fxsim.fixed.mul`."""
        product = ops.mul(self.raw, self.format, other.raw, other.format, target, rounding, overflow)
        return FixedArray(product, as_format(target))

    def matmul(self, other: "FixedArray", accumulator: Accumulator = linear.PLAIN) -> "FixedArray":
        """The matrix product in the format of the accumulator: its bits, and the fraction bits of both less what is cut."""
        sums = linear.matmul(self.raw, other.raw, accumulator)
        frac = self.format.frac_bits + other.format.frac_bits - accumulator.product_shift
        return FixedArray(sums, FixedFormat(accumulator.bits, frac))

    def __repr__(self) -> str:
        """The real values and the format."""
        return f"FixedArray({np.array2string(self.to_float(), threshold=12)}, {self.format.notation('fix')!r})"
