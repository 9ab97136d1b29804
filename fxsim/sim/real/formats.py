"""Rounds to the values of a floating-point format, to the nearest, ties to even."""

from dataclasses import dataclass

import numpy as np

from fxsim.model.qtype import Array


@dataclass(frozen=True, slots=True)
class Format:
    """The values ``m * 2**e`` of ``significand`` bits (the leading one counts), from ``2**exponent`` on normal.

    Below, values are multiples of the least normal one's last bit; above ``greatest`` lies ``beyond`` (infinity, or NaN
    where the format has no infinity).
    """

    significand: int
    exponent: int
    greatest: float
    beyond: float = np.inf


FORMATS = {
    "float64": Format(53, -1022, float(np.finfo(np.float64).max)),
    "float32": Format(24, -126, float(np.finfo(np.float32).max)),
    "float16": Format(11, -14, 65504.0),
    "bfloat16": Format(8, -126, 255 * 2.0**120),
    "float8_e4m3fn": Format(4, -6, 448.0, np.nan),
    "float8_e5m2": Format(3, -14, 57344.0),
}
"""Source: IEEE 754; OCP 8-bit Floating Point Specification 1.0; the names are those of ml_dtypes."""
_CARRIERS = {4: (np.uint32, 24, -126), 8: (np.uint64, 53, -1022)}
"""bytes of the carrying float -> its bits as an integer, its significand, its least exponent"""


def round_to(x: Array, format: str, *, saturate: bool = False) -> Array:
    """``x`` rounded to the nearest value of ``format``, ties to even, in the type of ``x`` (float32 or float64).

    What rounds beyond the greatest value becomes infinite (NaN in ``float8_e4m3fn``), or with ``saturate`` the greatest
    value; infinities too. NaN stays. A format of at least the precision of ``x`` changes nothing.
    """
    if format in ("float32", "float64"):
        return x.astype(format, copy=False).astype(x.dtype, copy=False)
    f = FORMATS[format]
    carrier, significand, least = _CARRIERS[x.dtype.itemsize]
    drop = significand - f.significand
    bits = x.view(carrier)
    # Adding just under half of the last kept bit, or half where that bit is odd, carries exactly where the value rounds up.
    one = carrier(1)
    rounded = bits + (((bits >> carrier(drop)) & one) + carrier((1 << (drop - 1)) - 1))
    rounded &= carrier((1 << 8 * x.dtype.itemsize) - (1 << drop))
    y: Array = rounded.view(x.dtype)
    if f.exponent > least:
        small = np.abs(x) < 2.0**f.exponent
        if small.any():
            step = x.dtype.type(2.0 ** (f.exponent + 1 - f.significand))
            y = np.where(small, np.copysign(np.rint(np.where(small, x, 0) / step) * step, x), y)
    unknown = np.isnan(x)
    over = ~(np.abs(y) <= f.greatest) | unknown
    if over.any():
        limit = f.greatest if saturate else f.beyond
        y = np.where(unknown, x, np.where(over, np.copysign(x.dtype.type(limit), x), y))
    return y
