"""Ops of ONNX that bring values to other places."""

from collections.abc import Callable

import numpy as np

from fxsim.convert.dense import Operands, Outputs, need
from fxsim.convert.layout import Held, Layouts
from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops import onnx_layout
from fxsim.model.ops.base import Attributes, normal_axis
from fxsim.model.ops.gather import Gather, StridedSlice
from fxsim.model.ops.layout import Axis
from fxsim.model.ops.space import MirrorPad


def _reshape(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    """Reshape, Flatten, Squeeze and Unsqueeze: the importer knows the shape."""
    return [lay.reshaped(need(inputs[0]), outputs[0].shape)]


def _transpose(lay: Layouts, inputs: Operands, attrs: onnx_layout.Permutation, outputs: Outputs) -> list[Held]:
    """Transpose: another name for the axes; nothing moves before that matters."""
    h = need(inputs[0])
    n = len(h.shape)
    perm = attrs.perm or tuple(reversed(range(n)))
    if h.other:
        h = lay.hold(lay.plain(h))
    shape = tuple(h.shape[p] for p in perm)
    return [Held(h.value, shape, shape, tuple(perm.index(a) for a in h.order))]


def _concat(lay: Layouts, inputs: Operands, attrs: Axis, outputs: Outputs) -> list[Held]:
    operands = [need(h) for h in inputs]
    n = len(outputs[0].shape)
    order = lay.common(operands, n)
    values = [lay.ordered(h, order) for h in operands]
    (y,) = lay.draft.emit("CONCATENATION", values, Axis(axis=order.index(normal_axis(attrs.axis, n))))
    return [lay.hold(y, order)]


def _unflat(lay: Layouts, h: Held) -> Held:
    return lay.hold(lay.plain(h)) if h.other or h.constant else h


def _split(lay: Layouts, inputs: Operands, attrs: Axis, outputs: Outputs) -> list[Held]:
    h = _unflat(lay, need(inputs[0]))
    axis = normal_axis(attrs.axis, len(h.shape))
    sizes = [t.shape[axis] for t in outputs]
    place = lay.draft.constant(h.order.index(axis), "axis")
    if len(set(sizes)) == 1:
        made = lay.draft.emit("SPLIT", [place, h.value], outputs=len(sizes))
    else:
        made = lay.draft.emit("SPLIT_V", [h.value, lay.draft.constant(sizes, "sizes"), place], outputs=len(sizes))
    return [lay.hold(y, h.order) for y in made]


def _operand(name: str, h: Held | None, lay: Layouts) -> Tensor | None:
    """A constant as the model floor's functions on shapes want it."""
    if h is None:
        return None
    value = lay.plain(h)
    return Tensor(0, name, value.shape, value.qtype, None, value.data)


def _slice(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    h = _unflat(lay, need(inputs[0]))
    x = Tensor(0, "input", h.shape, h.value.qtype)
    found = onnx_layout.slices([x, *(_operand("limits", i, lay) for i in inputs[1:])])
    begin, end, steps, mask = [], [], [], 0
    for place, axis in enumerate(h.order):
        start, stop, step = found[axis].indices(h.shape[axis])
        if stop < 0:  # a step back that takes the first cell too: no number says that, but the mask does
            stop, mask = 0, mask | 1 << place
        begin.append(start)
        end.append(stop)
        steps.append(step)
    limits = [lay.draft.constant(v, what) for v, what in ((begin, "begin"), (end, "end"), (steps, "strides"))]
    (y,) = lay.draft.emit("STRIDED_SLICE", [h.value, *limits], StridedSlice(end_mask=mask))
    return [lay.hold(y, h.order)]


def _pad(lay: Layouts, inputs: Operands, attrs: onnx_layout.Pad, outputs: Outputs) -> list[Held]:
    h = _unflat(lay, need(inputs[0]))
    x = Tensor(0, "input", h.shape, h.value.qtype)
    found = onnx_layout.paddings([x, *(_operand("pads", i, lay) for i in inputs[1:])])
    widths = lay.draft.constant([list(found[a]) for a in h.order], "pads")
    if attrs.mode == "reflect":
        (y,) = lay.draft.emit("MIRROR_PAD", [h.value, widths], MirrorPad("REFLECT"))
        return [lay.hold(y, h.order)]
    if attrs.mode != "constant":
        raise UnsupportedOp(f"mode is {attrs.mode!r}; supported: 'constant', 'reflect'")
    fill = inputs[2] if len(inputs) > 2 else None
    data = None if fill is None else lay.plain(fill).data
    if fill is not None and data is None:
        raise UnsupportedOp("the value to pad with is computed at run time; supported: constants")
    if data is None or not np.any(data):
        (y,) = lay.draft.emit("PAD", [h.value, widths])
    else:
        (y,) = lay.draft.emit("PADV2", [h.value, widths, lay.draft.constant(data.reshape(()), "fill")])
    return [lay.hold(y, h.order)]


def _gather(lay: Layouts, inputs: Operands, attrs: Axis, outputs: Outputs) -> list[Held]:
    h, index = need(inputs[0]), need(inputs[1])
    axis = normal_axis(attrs.axis, len(h.shape))
    positions = lay.plain(index)
    if positions.data is not None:  # engines take no negative positions
        positions = lay.draft.constant((positions.data % h.shape[axis]).astype(np.int32), "indices")
    (y,) = lay.draft.emit("GATHER", [lay.plain(h), positions], Gather(axis=axis))
    return [lay.hold(y)]


def _expand(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    shape = outputs[0].shape
    (y,) = lay.draft.emit("BROADCAST_TO", [lay.plain(need(inputs[0])), lay.draft.constant(shape, "shape")])
    return [lay.hold(y)]


LOWER: dict[str, Callable[..., list[Held]]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gather,
    "Expand": _expand,
}
