"""Floats quantized to 8 bits at run time, each vector by its own range: ``vector -> (integers, scale, zero point)``."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Quantized = tuple[npt.NDArray[np.int8], np.float32, int]
BLOCK = 8
"""values that the vector loops of LiteRT take at once"""


def _away(x: Floats) -> npt.NDArray[np.float64]:
    """Nearest, ties away from zero: the vector loops add 0.5 in float32 and truncate, the rest is exact."""
    whole = x.size - x.size % BLOCK
    quick = np.trunc(x + np.where(x < 0, np.float32(-0.5), np.float32(0.5))).astype(np.float64)
    size = np.abs(x.astype(np.float64))
    floor = np.floor(size)
    exact = np.copysign(floor + (size - floor >= 0.5), x)
    return np.concatenate([quick[:whole], exact[whole:]])


def _range(x: Floats) -> tuple[np.float32, np.float32]:
    """Least and greatest value, and 0."""
    return np.minimum(np.float32(0), x.min()), np.maximum(np.float32(0), x.max())


def symmetric(x: Floats) -> Quantized:
    """``round(x * 127 / max(abs(x)))``, zero point 0.

    Source: tflite/kernels/internal/optimized/neon_tensor_utils.cc, NeonSymmetricQuantizeFloats @ LiteRT 2.3.0.
    """
    reach = np.float32(np.max(np.abs(x)))
    if reach == 0:
        return np.zeros(x.shape, np.int8), np.float32(1), 0
    q = np.clip(_away(x * (np.float32(127) / reach)), -127, 127)
    return q.astype(np.int8), reach / np.float32(127), 0


def asymmetric(x: Floats) -> Quantized:
    """``round(x / scale) + zero_point`` with ``scale = (max - min) / 255``, over a range that holds 0.

    Source: tflite/kernels/internal/optimized/neon_tensor_utils.cc, NeonAsymmetricQuantizeFloats @ LiteRT 2.3.0.
    """
    low, high = _range(x)
    if low == high:
        return np.zeros(x.shape, np.int8), np.float32(1), 0
    step = float(high - low) / 255
    below, above = float(low) / step, float(high) / step
    real = -128 - below if 128 + abs(below) < 127 + abs(above) else 127 - above
    zero = min(max(math.floor(abs(real) + 0.5) * (1 if real >= 0 else -1), -128), 127)
    scale = np.float32(step)
    q = np.clip(_away(x * (np.float32(1) / scale)) + zero, -128, 127)
    return q.astype(np.int8), scale, zero


def to_even(x: Floats) -> Quantized:
    """As :func:`asymmetric`, all in float32 from ``255 / (max - min)`` on, ties to even.

    Source: XNNPACK src/xnnpack/quantization.h, xnn_qd8_asymmetric_quantization_params.
    """
    low, high = _range(x)
    inverse = np.float32(1) if low == high else np.float32(255) / (high - low)
    below, above = low * inverse, high * inverse
    from_low = (np.float32(-128) + below) + (np.float32(127) + above) > 0
    real = np.float32(-128) - below if from_low else np.float32(127) - above
    zero = int(np.rint(np.clip(real, np.float32(-128), np.float32(127))))
    q = np.clip(np.rint(x * inverse), -128 - zero, 127 - zero) + zero
    return q.astype(np.int8), np.float32(1) / inverse, zero


Quantizer = Callable[[Floats], Quantized]
