"""Ops of ONNX over whole axes: Softmax, means, sums, extremes and layer normalization."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from fxsim.convert.dense import Operands, Outputs, need
from fxsim.convert.layout import Held, Layouts
from fxsim.convert.pointwise import apply, number
from fxsim.model.ops.base import normal_axis
from fxsim.model.ops.onnx_reduce import LayerNorm, ReduceAxes, Softmax
from fxsim.model.ops.reduce import Reduce

_ROWS_RANK = 4
"""the softmax kernels of some engines take no more axes"""


def reduced(lay: Layouts, op: str, h: Held, axes: Sequence[int], keep: bool) -> Held:
    """``op`` over ``axes`` of the value, which stays in its order."""
    if h.other:
        h = lay.hold(lay.plain(h))
    places = sorted(h.order.index(a) for a in axes)
    (y,) = lay.draft.emit(op, [h.value, lay.draft.constant(places, "axes")], Reduce(keep_dims=keep))
    if keep:
        return lay.hold(y, h.order)
    left = [a for a in h.order if a not in axes]
    return lay.hold(y, tuple(sorted(left).index(a) for a in left))


def _reduce(op: str) -> Callable[..., list[Held]]:
    def lower(lay: Layouts, inputs: Operands, attrs: ReduceAxes, outputs: Outputs) -> list[Held]:
        h = need(inputs[0])
        data = lay.plain(inputs[1]).data if len(inputs) > 1 and inputs[1] is not None else None
        given = [] if data is None else [int(a) % len(h.shape) for a in data.reshape(-1)]
        axes = given or ([] if attrs.noop else list(range(len(h.shape))))
        return [reduced(lay, op, h, axes, attrs.keep) if axes else h]

    return lower


def _softmax(op: str) -> Callable[..., list[Held]]:
    def lower(lay: Layouts, inputs: Operands, attrs: Softmax, outputs: Outputs) -> list[Held]:
        h = need(inputs[0])
        n = len(h.shape)
        axis = normal_axis(attrs.axis, n)
        if attrs.flatten and axis != n - 1:
            rows = (math.prod(h.shape[:axis]), math.prod(h.shape[axis:]))
            (y,) = lay.draft.emit(op, [lay.reshape(lay.plain(h), rows)])
            return [lay.hold(lay.reshape(y, h.shape))]
        order = h.order if not h.other and h.order[-1] == axis else (*(a for a in range(n) if a != axis), axis)
        x = lay.ordered(h, order)
        shape = x.shape
        if n > _ROWS_RANK:
            x = lay.reshape(x, (math.prod(shape[:-1]), shape[-1]))
        (y,) = lay.draft.emit(op, [x])
        return [lay.hold(lay.reshape(y, shape), order)]

    return lower


def _layer_norm(lay: Layouts, inputs: Operands, attrs: LayerNorm, outputs: Outputs) -> list[Held]:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, in ops that every engine has."""
    x, gamma = need(inputs[0]), need(inputs[1])
    n = len(x.shape)
    axes = list(range(normal_axis(attrs.axis, n), n))
    mean = reduced(lay, "MEAN", x, axes, True)
    square = lay.elementwise("SQUARED_DIFFERENCE", [x, mean], x.shape)
    variance = reduced(lay, "MEAN", square, axes, True)
    root = apply(lay, "RSQRT", apply(lay, "ADD", variance, number(lay, attrs.epsilon)))
    y = apply(lay, "MUL", apply(lay, "SUB", x, mean), root)
    if not _all(lay, gamma, 1.0):
        y = apply(lay, "MUL", y, gamma)
    beta = inputs[2] if len(inputs) > 2 else None
    return [y if beta is None or _all(lay, beta, 0.0) else apply(lay, "ADD", y, beta)]


def _all(lay: Layouts, h: Held, value: float) -> bool:
    """True for a constant of one value alone."""
    data = lay.plain(h).data
    return data is not None and bool(np.all(data == value))


LOWER: dict[str, Callable[..., list[Held]]] = {
    "ReduceMean": _reduce("MEAN"),
    "ReduceSum": _reduce("SUM"),
    "ReduceMax": _reduce("REDUCE_MAX"),
    "ReduceMin": _reduce("REDUCE_MIN"),
    "Softmax": _softmax("SOFTMAX"),
    "LogSoftmax": _softmax("LOG_SOFTMAX"),
    "LayerNormalization": _layer_norm,
}
