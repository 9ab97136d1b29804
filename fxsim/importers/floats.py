"""The bits of floats, as values."""

import numpy as np

from fxsim.model.qtype import BFLOAT16, FLOAT8_E4M3FN, FLOAT8_E5M2, Array, QType


def decode(raw: Array, qtype: QType) -> Array:
    """The values in bytes (little-endian); those of short floats without a numpy type in float32, exactly."""
    if qtype == BFLOAT16:
        wide: Array = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        return wide
    if qtype == FLOAT8_E5M2:
        half: Array = (raw.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
        return half
    if qtype == FLOAT8_E4M3FN:
        exponent, fraction = raw.astype(np.int64) >> 3 & 15, raw & 7
        size = np.ldexp(np.where(exponent > 0, 8 + fraction, fraction).astype(np.float32), np.maximum(exponent, 1) - 10)
        size = np.where((exponent == 15) & (fraction == 7), np.float32(np.nan), size)
        return np.where(raw & 128, -size, size)
    data: Array = raw.view(qtype.dtype.newbyteorder("<")).astype(qtype.dtype, copy=False)
    return data
