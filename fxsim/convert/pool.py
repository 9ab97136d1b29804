"""Pools of ONNX as MAX_POOL_2D, AVERAGE_POOL_2D, MEAN and REDUCE_MAX."""

from collections.abc import Callable

import numpy as np

from fxsim.convert.dense import Operands, Outputs, from_image, image, need, needed, pad_image, padding, window
from fxsim.convert.draft import Value
from fxsim.convert.layout import Held, Layouts
from fxsim.errors import UnsupportedOp
from fxsim.model.ops.base import Activated
from fxsim.model.ops.onnx_conv import two_d
from fxsim.model.ops.onnx_pool import GlobalPool, OnnxPool
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.reduce import Reduce

_AT_LEAST_ZERO = ("RELU", "RELU6", "RELU_0_TO_1", "LOGISTIC", "SOFTMAX")
_LEAST = float(np.finfo(np.float32).min)


def _rectified(lay: Layouts, x: Value) -> bool:
    """True if no element of ``x`` is below 0, so that zeros around it never are a maximum that was not there."""
    for op in lay.draft.ops:
        if x in op.outputs:
            fused = isinstance(op.attributes, Activated) and op.attributes.activation in ("RELU", "RELU6")
            return op.op in _AT_LEAST_ZERO or fused
    return False


def max_pool(lay: Layouts, inputs: Operands, attrs: OnnxPool, outputs: Outputs) -> list[Held]:
    """MaxPool. Cells around the image are 0 where none of it is below 0, else the least float32."""
    if len(outputs) > 1:
        raise UnsupportedOp("has indices as a second output; supported: the maxima alone")
    return _pool(lay, "MAX_POOL_2D", need(inputs[0]), attrs, outputs)


def average_pool(lay: Layouts, inputs: Operands, attrs: OnnxPool, outputs: Outputs) -> list[Held]:
    """AveragePool. Where the number of cells that count is not the one of SAME padding, a factor corrects it."""
    return _pool(lay, "AVERAGE_POOL_2D", need(inputs[0]), attrs, outputs)


def _pool(lay: Layouts, op: str, h: Held, attrs: OnnxPool, outputs: Outputs) -> list[Held]:
    strides, pads, dilations = window(attrs, h.shape, attrs.kernel)
    if dilations != [1, 1]:
        raise UnsupportedOp(f"dilations are {dilations}; supported: 1")
    x, sizes, out = image(lay, h), two_d(h.shape)[2:], two_d(outputs[0].shape)[2:]
    kernel = attrs.kernel if len(attrs.kernel) == 2 else (1, *attrs.kernel)
    kind = padding(sizes, kernel, strides, dilations, pads, out)
    average, padded = op == "AVERAGE_POOL_2D", any(p != (0, 0) for p in pads)
    if kind == "SAME" and average and attrs.count_include_pad and padded:
        kind = None
    counts = None
    if kind is None:
        after = [needed(s, k, st, 1, p[0], o) for s, k, st, p, o in zip(
            sizes, kernel, strides.values(), pads, out, strict=True)]  # fmt: skip
        widths = [(p[0], a) for p, a in zip(pads, after, strict=True)]
        x = pad_image(lay, x, widths, None if average or _rectified(lay, x) else _LEAST)
        kind = "VALID"
        if average:
            counts = [_counts(s, k, st, p, o, attrs.count_include_pad) for s, k, st, p, o in zip(
                sizes, kernel, strides.values(), pads, out, strict=True)]  # fmt: skip
    (y,) = lay.draft.emit(op, [x], Pool2D("NONE", **strides, padding=kind, kernel_h=kernel[0], kernel_w=kernel[1]))
    if counts is not None:
        factor = kernel[0] * kernel[1] / np.outer(*counts)[:, :, None]
        if np.any(factor != 1):
            (y,) = lay.draft.emit("MUL", [y, lay.draft.constant(factor, "factor")])
    return [from_image(lay, y, len(h.shape))]


def _counts(size: int, kernel: int, stride: int, pads: tuple[int, int], out: int, include: bool) -> np.ndarray:
    """How many cells of each window count along an axis."""
    low, high = (-pads[0], size + pads[1]) if include else (0, size)
    starts = np.arange(out) * stride - pads[0]
    return np.minimum(starts + kernel, high) - np.maximum(starts, low)


def _global(op: str) -> Callable[..., list[Held]]:
    def lower(lay: Layouts, inputs: Operands, attrs: GlobalPool, outputs: Outputs) -> list[Held]:
        x = image(lay, need(inputs[0]))
        (y,) = lay.draft.emit(op, [x, lay.draft.constant([1, 2], "axes")], Reduce(keep_dims=True))
        return [from_image(lay, y, len(outputs[0].shape))]

    return lower


LOWER: dict[str, Callable[..., list[Held]]] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _global("MEAN"),
    "GlobalMaxPool": _global("REDUCE_MAX"),
}
