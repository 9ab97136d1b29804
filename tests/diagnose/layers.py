"""One-layer networks of any shape, for devices to differ on."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.multiplier import quantize_multiplier
from fxsim.importers import parse, tflite
from fxsim.model.graph import Graph
from tests.build import Builder

Array = npt.NDArray[Any]


def bias_tensor(b: Builder, bias: Array, scales: tuple[float, Any, float], dtype: str) -> int:
    """The bias, with the scale of the products."""
    per, o = np.ndim(scales[1]) > 0, len(bias)
    scale = [scales[0] * s for s in scales[1]] if per else scales[0] * scales[1]
    return b.tensor(
        "b", (o,), "int64" if dtype == "int16" else "int32", scale, [0] * o if per else 0, 0 if per else None, data=bias
    )


def dense(weight: Array, bias: Array, scales: tuple[float, Any, float], zeros: tuple[int, int] = (0, 0), rows: int = 1,
          activation: str = "NONE", dtype: str = "int8") -> Graph:  # fmt: skip
    """A FULLY_CONNECTED layer; ``scales`` of input, weight and output, ``zeros`` of input and output."""
    return parse(dense_file(weight, bias, scales, zeros, rows, activation, dtype), "dense.tflite", tflite.parse)


def dense_file(weight: Array, bias: Array, scales: tuple[float, Any, float], zeros: tuple[int, int] = (0, 0),
               rows: int = 1, activation: str = "NONE", dtype: str = "int8") -> bytes:  # fmt: skip
    """The same as a file."""
    b, (o, k) = Builder(), weight.shape
    per = np.ndim(scales[1]) > 0
    x = b.tensor("x", (rows, k), dtype, scales[0], zeros[0])
    w = b.tensor("w", (o, k), "int8", scales[1], [0] * o if per else 0, 0 if per else None, data=weight)
    c = bias_tensor(b, bias, scales, dtype)
    y = b.tensor("y", (rows, o), dtype, scales[2], zeros[1])
    b.op("FULLY_CONNECTED", [x, w, c], [y], fused_activation_function=activation)
    return b.finish([x], [y])


def conv(weight: Array, bias: Array, scales: tuple[float, Any, float], zeros: tuple[int, int] = (0, 0),
         size: tuple[int, int] = (6, 6), stride: int = 1, padding: str = "SAME", activation: str = "NONE",
         depthwise: bool = False, dtype: str = "int8") -> Graph:  # fmt: skip
    """A CONV_2D or DEPTHWISE_CONV_2D layer of a weight ``(O, KH, KW, C)``, or ``(1, KH, KW, O)``."""
    b, o = Builder(), len(bias)
    c = o if depthwise else weight.shape[3]
    per = np.ndim(scales[1]) > 0
    axis = (3 if depthwise else 0) if per else None
    x = b.tensor("x", (1, *size, c), dtype, scales[0], zeros[0])
    w = b.tensor("w", weight.shape, "int8", scales[1], [0] * o if per else 0, axis, data=weight)
    t = bias_tensor(b, bias, scales, dtype)
    oh, ow = (
        -(-s // stride) if padding == "SAME" else (s - k) // stride + 1
        for s, k in zip(size, weight.shape[1:3], strict=True)
    )
    y = b.tensor("y", (1, oh, ow, o), dtype, scales[2], zeros[1])
    options: dict[str, Any] = {"depth_multiplier": 1} if depthwise else {}
    b.op(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, w, t], [y], padding=padding, stride_h=stride, stride_w=stride,
        fused_activation_function=activation, dilation_h_factor=1, dilation_w_factor=1, **options,
    )  # fmt: skip
    return parse(b.finish([x], [y]), "conv.tflite", tflite.parse)


def constants(
    weight: Array, bias: Array, scales: tuple[float, float, float], zeros: tuple[int, int], rows: int
) -> bytes:
    """The file that ``device.c`` reads, of :func:`dense`."""
    q, shift = quantize_multiplier(scales[0] * scales[1] / scales[2])
    outputs, inputs = weight.shape
    parts = ([inputs, outputs, rows, *zeros, q, shift], bias, weight.reshape(-1))
    return np.concatenate(parts).astype(np.int32).tobytes()
