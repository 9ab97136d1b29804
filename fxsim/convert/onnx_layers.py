"""Each op of TensorFlow Lite as layers of ONNX on reals."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fxsim.convert.draft import Value
from fxsim.convert.layout import Held
from fxsim.convert.onnx_real import Layer, Operand, Real
from fxsim.errors import UnsupportedOp
from fxsim.model.ops import gather, space
from fxsim.model.ops.activation import Gelu
from fxsim.model.ops.base import Attributes, normal_axis
from fxsim.model.ops.conv import Conv2D, Padding, window_1d
from fxsim.model.ops.gather import Gather, StridedSlice
from fxsim.model.ops.layout import Axis
from fxsim.model.ops.matmul import BatchMatMul
from fxsim.model.ops.onnx_conv import OnnxConv, OnnxConvTranspose
from fxsim.model.ops.onnx_dense import Gemm
from fxsim.model.ops.onnx_layout import Pad
from fxsim.model.ops.onnx_pointwise import Alpha
from fxsim.model.ops.onnx_pool import GlobalPool, OnnxPool
from fxsim.model.ops.onnx_quantize import Cast
from fxsim.model.ops.onnx_reduce import ReduceAxes, Softmax
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.ops.reduce import Reduce
from fxsim.model.ops.softmax import Softmax as RowSoftmax
from fxsim.model.ops.transpose_conv import TransposeConv, transpose_geometry

CHANNELS_FIRST = (0, 3, 1, 2)
"""(N, H, W, C) as (N, C, H, W)"""
LayerFn = Callable[[Real, Layer], list[Held]]


def _image(lay: Real, value: Value) -> list[Held]:
    return [lay.hold(value, CHANNELS_FIRST)]


def _pads(
    padding: Padding,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    """ONNX's pads: the cells before each axis, then those after."""
    if isinstance(padding, tuple):
        return padding[0], padding[2], padding[1], padding[3]
    before, after = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        out, first = window_1d(size, k, stride, dilation, padding)
        before.append(first)
        after.append(max(0, (out - 1) * stride + (k - 1) * dilation + 1 - size - first))
    return (*before, *after) if padding == "SAME" else (0, 0, 0, 0)


def _conv(lay: Real, layer: Layer, *, depthwise: bool) -> list[Held]:
    attrs, x, w = layer.attributes, layer.tensors[0], layer.tensors[1]
    assert isinstance(attrs, Conv2D) and x is not None and w is not None
    weight = layer.weight(1, (3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
    strides, dilations = (attrs.stride_h, attrs.stride_w), (attrs.dilation_h, attrs.dilation_w)
    kernel = w.shape[1:3]
    groups = x.shape[3] if depthwise else x.shape[3] // w.shape[3]
    pads = _pads(attrs.padding, x.shape[1:3], kernel, strides, dilations)
    options = OnnxConv(kernel, strides, dilations, pads, group=groups)
    bias = layer.bias(2)
    inputs = [layer.ordered(0, CHANNELS_FIRST), weight, *([bias] if bias is not None else [])]
    return _image(lay, lay.draft.emit("Conv", inputs, options)[0])


def _transpose_conv(lay: Real, layer: Layer) -> list[Held]:
    attrs, w, x, out = layer.attributes, layer.tensors[1], layer.tensors[2], layer.outputs[0]
    assert isinstance(attrs, TransposeConv) and w is not None and x is not None
    strides, kernel = (attrs.stride_h, attrs.stride_w), w.shape[1:3]
    before = attrs.before(transpose_geometry(layer.tensors, out.shape, attrs))
    whole = [(n - 1) * s + k for n, s, k in zip(x.shape[1:3], strides, kernel, strict=True)]
    behind = [full - first - n for full, first, n in zip(whole, before, out.shape[1:3], strict=True)]
    pads, extra = (*before, *(max(0, b) for b in behind)), tuple(max(0, -b) for b in behind)
    bias = layer.bias(3, data=2)
    inputs = [layer.ordered(2, CHANNELS_FIRST), layer.weight(1, (3, 0, 1, 2)), *([bias] if bias is not None else [])]
    options = OnnxConvTranspose(kernel, strides, (1, 1), pads, extra=extra)
    return _image(lay, lay.draft.emit("ConvTranspose", inputs, options)[0])


def _dense(lay: Real, layer: Layer) -> list[Held]:
    w, out = layer.tensors[1], layer.outputs[0]
    assert w is not None
    o = layer.at(0)
    rows = lay.reshape(lay.plain(o.held), (out.elements // w.shape[0], w.shape[1]))
    bias = layer.bias(2)
    inputs = [lay.dequantized(rows, o.quant), layer.weight(1, (0, 1)), *([bias] if bias is not None else [])]
    (y,) = lay.draft.emit("Gemm", inputs, Gemm(transpose_b=True))
    return [lay.hold(lay.reshape(y, out.shape))]


def _matmul(lay: Real, layer: Layer) -> list[Held]:
    attrs = layer.attributes
    assert isinstance(attrs, BatchMatMul)

    def factor(position: int, swap: bool) -> Value:
        n = len(layer.at(position).held.shape)
        return layer.ordered(position, (*range(n - 2), n - 1, n - 2) if swap else tuple(range(n)))

    return [lay.hold(lay.draft.emit("MatMul", [factor(0, attrs.adj_x), factor(1, attrs.adj_y)])[0])]


def _pool(op: str) -> LayerFn:
    def convert(lay: Real, layer: Layer) -> list[Held]:
        attrs, x = layer.attributes, layer.tensors[0]
        assert isinstance(attrs, Pool2D) and x is not None
        kernel, strides = (attrs.kernel_h, attrs.kernel_w), (attrs.stride_h, attrs.stride_w)
        pads = _pads(attrs.padding, x.shape[1:3], kernel, strides, (1, 1))
        image = layer.ordered(0, CHANNELS_FIRST)
        if op == "AveragePool" and kernel == x.shape[1:3] and not any(pads):  # one kernel for it, of integers
            return _image(lay, lay.draft.emit("GlobalAveragePool", [image], GlobalPool())[0])
        return _image(lay, lay.draft.emit(op, [image], OnnxPool(kernel, strides, (), pads))[0])

    return convert


def _reduce(op: str) -> LayerFn:
    def convert(lay: Real, layer: Layer) -> list[Held]:
        attrs = layer.attributes
        assert isinstance(attrs, Reduce)
        n = len(layer.at(0).held.shape)
        axes = sorted({normal_axis(int(a), n) for a in layer.data(1, "axis").reshape(-1)})
        if op == "ReduceMean" and n == 4 and axes == [1, 2]:
            (y,) = lay.draft.emit("GlobalAveragePool", [layer.ordered(0, CHANNELS_FIRST)], GlobalPool())
            return [lay.reshaped(_image(lay, y)[0], layer.outputs[0].shape)]
        x = lay.dequantized(lay.plain(layer.at(0).held), layer.at(0).quant)
        inputs = [x, lay.draft.constant(np.asarray(axes, np.int64), "axes")]
        return [lay.hold(lay.draft.emit(op, inputs, ReduceAxes(attrs.keep_dims))[0])]

    return convert


def _pointwise(op: str, attributes: Callable[..., Attributes] | None = None) -> LayerFn:
    """An op of ONNX that works element by element."""

    def convert(lay: Real, layer: Layer) -> list[Held]:
        made = attributes(layer.attributes) if attributes else None
        return [_elementwise(lay, op, layer.all, len(layer.outputs[0].shape), made)]

    return convert


def _elementwise(lay: Real, op: str, operands: list[Operand], rank: int, attributes: Attributes | None = None) -> Held:
    """``op`` on operands that broadcast, moved to one order before they become reals."""
    if len(operands) == 1:
        h = lay.real(operands[0])
        return replace(h, value=lay.draft.emit(op, [h.value], attributes)[0])
    order = lay.common([o.held for o in operands], rank)
    values = [lay.dequantized(lay.aligned(o.held, order), o.quant) for o in operands]
    return lay.hold(lay.draft.emit(op, values, attributes)[0], order)


def _then(*ops: str) -> LayerFn:
    """One op after the other, on one value."""

    def convert(lay: Real, layer: Layer) -> list[Held]:
        h = layer.real()
        for op in ops:
            h = replace(h, value=lay.draft.emit(op, [h.value])[0])
        return [h]

    return convert


def _clip(low: float, high: float) -> LayerFn:
    return lambda lay, layer: [lay.clamp(layer.real(), (low, high))]


def _number(lay: Real, value: float) -> Operand:
    return Operand(lay.hold(lay.draft.constant(np.asarray(value, np.float64), "number")), None)


def _squared_difference(lay: Real, layer: Layer) -> list[Held]:
    both = layer.all
    h = Operand(_elementwise(lay, "Sub", both, len(layer.outputs[0].shape)), None)
    return [_elementwise(lay, "Mul", [h, h], len(layer.outputs[0].shape))]


def _square(lay: Real, layer: Layer) -> list[Held]:
    h = Operand(layer.real(), None)
    return [_elementwise(lay, "Mul", [h, h], len(layer.outputs[0].shape))]


def _gelu(lay: Real, layer: Layer) -> list[Held]:
    """0.5 * x * (1 + erf(x / sqrt(2))), or with tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))."""
    assert isinstance(layer.attributes, Gelu)
    x, rank = Operand(layer.real(), None), len(layer.outputs[0].shape)

    def two(op: str, a: Operand, b: Operand) -> Operand:
        return Operand(_elementwise(lay, op, [a, b], rank), None)

    if layer.attributes.approximate:
        cube = two("Mul", two("Mul", x, x), x)
        inner = two(
            "Mul", two("Add", x, two("Mul", cube, _number(lay, 0.044715))), _number(lay, math.sqrt(2 / math.pi))
        )
        curve = Operand(_elementwise(lay, "Tanh", [inner], rank), None)
    else:
        curve = Operand(_elementwise(lay, "Erf", [two("Div", x, _number(lay, math.sqrt(2)))], rank), None)
    return [two("Mul", two("Mul", x, two("Add", curve, _number(lay, 1.0))), _number(lay, 0.5)).held]


def _rows(op: str) -> LayerFn:
    def convert(lay: Real, layer: Layer) -> list[Held]:
        beta = layer.attributes.beta if isinstance(layer.attributes, RowSoftmax) else 1.0
        h = layer.real()
        if beta != 1.0:
            h = _elementwise(lay, "Mul", [Operand(h, None), _number(lay, beta)], len(h.shape))
        h = lay.hold(lay.plain(h)) if h.other else h
        axis = h.order.index(len(h.shape) - 1)
        return [replace(h, value=lay.draft.emit(op, [h.value], Softmax(axis))[0])]

    return convert


def _concat(lay: Real, layer: Layer) -> list[Held]:
    attrs = layer.attributes
    assert isinstance(attrs, Axis)
    operands = layer.all
    n = len(layer.outputs[0].shape)
    order = lay.common([o.held for o in operands], n)
    values = [lay.dequantized(lay.ordered(o.held, order), o.quant) for o in operands]
    axis = order.index(normal_axis(attrs.axis, n))
    return [lay.hold(lay.draft.emit("Concat", values, Axis(axis=axis))[0], order)]


def _whole(lay: Real, layer: Layer, position: int = 0) -> Held:
    """An input as reals in an order of its axes."""
    h = layer.real(position)
    return lay.hold(lay.plain(h)) if h.other else h


def _pad(lay: Real, layer: Layer) -> list[Held]:
    h = _whole(lay, layer)
    widths = space.paddings(layer.tensors[:2])
    flat = [w[side] for side in (0, 1) for w in (widths[a] for a in h.order)]
    inputs = [h.value, lay.draft.constant(np.asarray(flat, np.int64), "pads")]
    if len(layer.tensors) > 2:
        inputs.append(lay.reshape(layer.real(2).value, ()))
    return [lay.hold(lay.draft.emit("Pad", inputs, Pad())[0], h.order)]


def _mirror(lay: Real, layer: Layer) -> list[Held]:
    assert isinstance(layer.attributes, space.MirrorPad)
    if layer.attributes.mode != "REFLECT":
        raise UnsupportedOp(f"mode is {layer.attributes.mode}; supported: REFLECT")
    h = _whole(lay, layer)
    widths = space.paddings(layer.tensors[:2])
    flat = [w[side] for side in (0, 1) for w in (widths[a] for a in h.order)]
    inputs = [h.value, lay.draft.constant(np.asarray(flat, np.int64), "pads")]
    return [lay.hold(lay.draft.emit("Pad", inputs, Pad("reflect"))[0], h.order)]


def _split(data: int, axis: int) -> LayerFn:
    def convert(lay: Real, layer: Layer) -> list[Held]:
        h = _whole(lay, layer, data)
        along = normal_axis(int(layer.data(axis, "axis").reshape(-1)[0]), len(h.shape))
        sizes = np.asarray([t.shape[along] for t in layer.outputs], np.int64)
        inputs = [h.value, lay.draft.constant(sizes, "sizes")]
        made = lay.draft.emit("Split", inputs, Axis(axis=h.order.index(along)), outputs=len(sizes))
        return [lay.hold(y, h.order) for y in made]

    return convert


def _cut(lay: Real, h: Held, index: tuple[slice, ...]) -> Held:
    """A Slice, of all axes."""
    starts, ends, steps = [], [], []
    for axis in h.order:
        start, stop, step = index[axis].indices(h.shape[axis])
        starts.append(start)
        ends.append(stop if stop >= 0 else -(1 << 31))
        steps.append(step)
    limits = [starts, ends, list(range(len(starts))), steps]
    inputs = [h.value, *(lay.draft.constant(np.asarray(v, np.int64), "limits") for v in limits)]
    return lay.hold(lay.draft.emit("Slice", inputs)[0], h.order)


def _strided_slice(lay: Real, layer: Layer) -> list[Held]:
    attrs = layer.attributes
    assert isinstance(attrs, StridedSlice)
    if attrs.new_axis_mask:
        raise UnsupportedOp("new_axis_mask is not 0; supported: 0")
    found = gather.slices(layer.tensors, attrs)
    h = _whole(lay, layer)
    index = [slice(i, i + 1) if isinstance(i, int) else i or slice(None) for i in found]
    index += [slice(None)] * (len(h.shape) - len(index))
    return [lay.reshaped(_cut(lay, h, tuple(index)), layer.outputs[0].shape)]


def _slice(lay: Real, layer: Layer) -> list[Held]:
    begins = layer.data(1, "begin").reshape(-1)
    index = tuple(slice(int(b), int(b) + s) for b, s in zip(begins, layer.outputs[0].shape, strict=True))
    return [_cut(lay, _whole(lay, layer), index)]


def _gather(lay: Real, layer: Layer) -> list[Held]:
    attrs = layer.attributes
    assert isinstance(attrs, Gather)
    if attrs.batch_dims:
        raise UnsupportedOp(f"batch_dims is {attrs.batch_dims}; supported: 0")
    o, index = layer.at(0), layer.at(1)
    x = lay.dequantized(lay.plain(o.held), o.quant)
    axis = normal_axis(attrs.axis, len(o.held.shape))
    return [lay.hold(lay.draft.emit("Gather", [x, lay.plain(index.held)], Axis(axis=axis))[0])]


def _broadcast(lay: Real, layer: Layer) -> list[Held]:
    o = layer.at(0)
    shape = lay.draft.constant(np.asarray(layer.outputs[0].shape, np.int64), "shape")
    x = lay.dequantized(lay.plain(o.held), o.quant)
    return [lay.hold(lay.draft.emit("Expand", [x, shape])[0])]


def _cast(lay: Real, layer: Layer) -> list[Held]:
    h = layer.real()
    return [replace(h, value=lay.draft.emit("Cast", [h.value], Cast(layer.outputs[0].qtype))[0])]


def _same(lay: Real, layer: Layer) -> list[Held]:
    return [layer.real()]


def _transpose(lay: Real, h: Held, layer: Layer) -> Held:
    """Another name for the axes; nothing moves before that matters."""
    h = lay.hold(lay.plain(h)) if h.other else h
    n = len(h.shape)
    perm = tuple(normal_axis(int(p), n, "perm") for p in layer.data(1, "perm").reshape(-1))
    shape = tuple(h.shape[p] for p in perm)
    return Held(h.value, shape, shape, tuple(perm.index(a) for a in h.order))


def _reshape(lay: Real, h: Held, layer: Layer) -> Held:
    return lay.reshaped(h, layer.outputs[0].shape)


MOVES: dict[str, Callable[[Real, Held, Layer], Held]] = {
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    "TRANSPOSE": _transpose,
}
"""ops that leave values as they are"""
LAYERS: dict[str, LayerFn] = {
    "CONV_2D": lambda lay, layer: _conv(lay, layer, depthwise=False),
    "DEPTHWISE_CONV_2D": lambda lay, layer: _conv(lay, layer, depthwise=True),
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matmul,
    "MAX_POOL_2D": _pool("MaxPool"),
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "MEAN": _reduce("ReduceMean"),
    "SUM": _reduce("ReduceSum"),
    "REDUCE_MAX": _reduce("ReduceMax"),
    "REDUCE_MIN": _reduce("ReduceMin"),
    **{
        op: _pointwise(op.capitalize())
        for op in ("ADD", "SUB", "MUL", "DIV", "RELU", "TANH", "SQRT", "EXP", "LOG", "NEG", "ABS")
    },
    "MAXIMUM": _pointwise("Max"),
    "MINIMUM": _pointwise("Min"),
    "PRELU": _pointwise("PRelu"),
    "LOGISTIC": _pointwise("Sigmoid"),
    "HARD_SWISH": _pointwise("HardSwish"),
    "ELU": _pointwise("Elu", lambda a: Alpha(1.0)),
    "LEAKY_RELU": _pointwise("LeakyRelu", lambda a: Alpha(a.alpha) if isinstance(a, LeakyRelu) else Alpha()),
    "RSQRT": _then("Sqrt", "Reciprocal"),
    "RELU6": _clip(0.0, 6.0),
    "RELU_N1_TO_1": _clip(-1.0, 1.0),
    "RELU_0_TO_1": _clip(0.0, 1.0),
    "SQUARED_DIFFERENCE": _squared_difference,
    "SQUARE": _square,
    "GELU": _gelu,
    "SOFTMAX": _rows("Softmax"),
    "LOG_SOFTMAX": _rows("LogSoftmax"),
    "CONCATENATION": _concat,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror,
    "SPLIT": _split(1, 0),
    "SPLIT_V": _split(0, 2),
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "GATHER": _gather,
    "BROADCAST_TO": _broadcast,
    "CAST": _cast,
    "QUANTIZE": _same,
    "DEQUANTIZE": _same,
}
"""op -> its layers"""
