"""What C leaves undefined and x86-64 does, where an engine's kernels come into it on ordinary models.

Every function equals the defined one wherever that is defined.

Source: Intel SDM, SAR, CVTTSS2SI; gemmlowp fixedpoint.h, RoundingDivideByPOT; measured on LiteRT 2.3.0 and TFLM.
"""

import math

from fxsim.arith.overflow import wrap


def rounding_shift_right(x: int, exponent: int, bits: int) -> int:
    """``x / 2**exponent`` of a register of 16 or 32 bits, nearest, ties away from zero; for ``0 <= exponent < bits``.

    Beyond that the shifts take ``exponent`` modulo 64 (the mask, cut to the register) and modulo 32 (the value).
    """
    mask = wrap((1 << (exponent & 63)) - 1, bits)
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> (exponent & 31)) + (1 if (x & mask) > threshold else 0)


def to_int32(x: float) -> int:
    """A float truncated to 32 bits; ``-2**31``, the "integer indefinite", if it does not fit or is no number."""
    if math.isfinite(x) and abs(x) < 1 << 31:
        return math.trunc(x)
    return -(1 << 31)


def to_int32_saturating(x: float) -> int:
    """A float truncated to 32 bits, the nearest end where it does not fit, 0 where it is no number: what Arm does."""
    if math.isnan(x):
        return 0
    return math.trunc(min(max(x, -(2.0**31)), 2.0**31 - 1))
