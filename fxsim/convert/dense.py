"""Conv, Gemm and MatMul as CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and BATCH_MATMUL."""

from collections.abc import Callable, Sequence

import numpy as np

from fxsim.convert.draft import Value
from fxsim.convert.layout import IMAGE, Held, Layouts
from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected, Padding, window_1d
from fxsim.model.ops.matmul import BatchMatMul
from fxsim.model.ops.onnx_conv import OnnxConv, OnnxConvTranspose, OnnxWindow, two_d, window_2d
from fxsim.model.ops.onnx_dense import Gemm
from fxsim.model.ops.transpose_conv import TransposeConv
from fxsim.model.qtype import Array, Shape

Operands = Sequence[Held | None]
Outputs = Sequence[Tensor]
ROWS = (0, 2, 1)
"""(N, C, L) as (N, L, C)"""
_WEIGHT = {"CONV_2D": (0, 2, 3, 1), "DEPTHWISE_CONV_2D": (1, 2, 3, 0)}
"""op -> the axes of ONNX's (O, C, KH, KW) in its order"""


def need(h: Held | None) -> Held:
    """An operand that the importer has checked to be there."""
    assert h is not None
    return h


def image(lay: Layouts, h: Held) -> Value:
    """``h`` as (N, H, W, C); one spatial axis becomes a width."""
    if len(h.shape) == 3:
        n, c, length = h.shape
        if h.grid == (n, c, 1, length) and h.order == IMAGE:
            return h.value
        return lay.reshape(lay.ordered(h, ROWS), (n, 1, length, c))
    return lay.ordered(h, IMAGE)


def from_image(lay: Layouts, value: Value, rank: int) -> Held:
    """An image (N, H, W, C) as the model's value of that rank."""
    h = lay.hold(value, IMAGE)
    return h if rank == 4 else Held(value, (*h.shape[:2], h.shape[3]), h.grid, IMAGE)


def window(
    attrs: OnnxWindow, shape: Shape, kernel: tuple[int, ...]
) -> tuple[dict[str, int], list[tuple[int, int]], list[int]]:
    """Strides by their names, the padding (before, after) of each axis, and the dilations, of height and width."""
    axes = window_2d(attrs, shape[2:], kernel)
    strides = {"stride_h": axes[0][1], "stride_w": axes[1][1]}
    return strides, [(a[3], a[4]) for a in axes], [a[2] for a in axes]


def padding(sizes: Sequence[int], kernel: Sequence[int], strides: dict[str, int], dilations: Sequence[int],
            pads: Sequence[tuple[int, int]], out: Sequence[int]) -> Padding | None:  # fmt: skip
    """SAME or VALID where it means just these pads; else None."""
    names: tuple[Padding, Padding] = "VALID", "SAME"
    for name in names:
        good = True
        for size, k, stride, dilation, (before, _), cells in zip(
            sizes, kernel, strides.values(), dilations, pads, out, strict=True
        ):
            good &= window_1d(size, k, stride, dilation, str(name)) == (cells, before)
        if good:
            return name
    return None


def pad_image(lay: Layouts, x: Value, pads: Sequence[tuple[int, int]], fill: float | None = None) -> Value:
    """(N, H, W, C) with cells of 0, or of ``fill``, around it."""
    widths = lay.draft.constant([[0, 0], *map(list, pads), [0, 0]], "pads")
    if fill is None:
        return lay.draft.emit("PAD", [x, widths], what="padded")[0]
    return lay.draft.emit(
        "PADV2", [x, widths, lay.draft.constant(np.asarray(fill, np.float64), "fill")], what="padded"
    )[0]


def needed(size: int, k: int, stride: int, dilation: int, before: int, out: int) -> int:
    """The cells behind an axis that the last of ``out`` windows reaches; none if it ends earlier."""
    return max(0, (out - 1) * stride + (k - 1) * dilation + 1 - size - before)


def conv(lay: Layouts, inputs: Operands, attrs: OnnxConv, outputs: Outputs) -> list[Held]:
    """Conv; where padding is neither SAME nor VALID, PAD comes before."""
    h, w = need(inputs[0]), need(inputs[1])
    kernel4 = two_d(w.shape)
    strides, pads, dilations = window(attrs, h.shape, w.shape[2:])
    out = two_d(outputs[0].shape)[2:]
    x, sizes = image(lay, h), two_d(h.shape)[2:]
    channels = h.shape[1]
    kind = padding(sizes, kernel4[2:], strides, dilations, pads, out)
    if kind is None:
        after = [needed(s, k, st, d, p[0], o) for s, k, st, d, p, o in zip(
            sizes, kernel4[2:], strides.values(), dilations, pads, out, strict=True)]  # fmt: skip
        x, kind = pad_image(lay, x, [(p[0], a) for p, a in zip(pads, after, strict=True)]), "VALID"
    op = "DEPTHWISE_CONV_2D" if attrs.group == channels and kernel4[1] == 1 and channels > 1 else "CONV_2D"
    if op == "DEPTHWISE_CONV_2D" and strides["stride_h"] != strides["stride_w"] and 1 not in out:
        op = "CONV_2D"  # the depthwise kernels take one stride for both axes; a grouped convolution does the same
    weight = lay.transpose(lay.reshape(lay.plain(w), kernel4), _WEIGHT[op])
    bias = _conv_bias(lay, inputs[2] if len(inputs) > 2 else None, kernel4[0])
    attributes = Conv2D(
        "NONE", strides["stride_h"], strides["stride_w"], kind, dilation_h=dilations[0], dilation_w=dilations[1]
    )
    (y,) = lay.draft.emit(op, [x, weight, bias], attributes)
    return [from_image(lay, y, len(h.shape))]


def conv_transpose(lay: Layouts, inputs: Operands, attrs: OnnxConvTranspose, outputs: Outputs) -> list[Held]:
    """ConvTranspose; where its pads are neither SAME's nor VALID's, the whole image is made and cut."""
    h, w = need(inputs[0]), need(inputs[1])
    if attrs.group != 1 or any(d != 1 for d in attrs.dilations):
        raise UnsupportedOp(f"group is {attrs.group}, dilations are {list(attrs.dilations)}; supported: 1")
    kernel4, sizes, out = two_d(w.shape), two_d(h.shape)[2:], two_d(outputs[0].shape)[2:]
    axes = [
        attrs.spread(i, len(w.shape) - 2, s, k) for i, (s, k) in enumerate(zip(h.shape[2:], w.shape[2:], strict=True))
    ]
    axes = axes if len(axes) == 2 else [(1, 1, 1, 0), *axes]
    strides = {"stride_h": axes[0][1], "stride_w": axes[1][1]}
    before = [a[3] for a in axes]
    kind = padding(out, kernel4[2:], strides, (1, 1), [(b, 0) for b in before], sizes)
    whole = list(out)
    if kind is None:
        kind = "VALID"
        for i, (n, k) in enumerate(zip(sizes, kernel4[2:], strict=True)):
            whole[i] = max((n - 1) * axes[i][1] + k, out[i] + before[i])
    shape = lay.draft.constant([h.shape[0], *whole, kernel4[1]], "shape")
    weight = lay.transpose(lay.reshape(lay.plain(w), kernel4), (1, 2, 3, 0))
    bias = _conv_bias(lay, inputs[2] if len(inputs) > 2 else None, kernel4[1])
    attributes = TransposeConv("NONE", strides["stride_h"], strides["stride_w"], kind)
    (y,) = lay.draft.emit("TRANSPOSE_CONV", [shape, weight, image(lay, h), bias], attributes)
    if whole != list(out):
        begin = lay.draft.constant([0, *before, 0], "begin")
        size = lay.draft.constant([h.shape[0], *out, kernel4[1]], "size")
        (y,) = lay.draft.emit("SLICE", [y, begin, size], what="cut")
    return [from_image(lay, y, len(h.shape))]


def _conv_bias(lay: Layouts, h: Held | None, channels: int) -> Value:
    if h is None:
        return lay.draft.constant(np.zeros(channels, np.float64), "bias")
    return lay.plain(h)


def _rows(lay: Layouts, h: Held, weight: Array) -> tuple[Value, Array]:
    """The rows of a dense layer and its weight (O, K), whose columns follow a flattened image as it lies."""
    if not h.other or len(h.shape) != 2 or h.order[0] != 0:
        return lay.plain(h), weight
    grid = (weight.shape[0], *h.grid[1:])
    return h.value, weight.reshape(grid).transpose(h.order).reshape(weight.shape)


def _fully(lay: Layouts, h: Held, weight: Array, bias: Array | None, keep: bool) -> Value:
    x, weight = _rows(lay, h, weight)
    bias = np.zeros(len(weight)) if bias is None else bias
    operands = [x, lay.draft.constant(weight, "weight"), lay.draft.constant(bias, "bias")]
    return lay.draft.emit("FULLY_CONNECTED", operands, FullyConnected("NONE", keep_dims=keep))[0]


def gemm(lay: Layouts, inputs: Operands, attrs: Gemm, outputs: Outputs) -> list[Held]:
    """Gemm; a weight or a bias that is computed at run time is multiplied or added by a layer of its own."""
    h, w, c = need(inputs[0]), need(inputs[1]), inputs[2] if len(inputs) > 2 else None
    if attrs.transpose_a:
        h = _swapped(h)
    weight, bias = (None if v is None else lay.plain(v).data for v in (w, c))
    channels = outputs[0].shape[1]
    if weight is not None:
        weight = attrs.alpha * (weight if attrs.transpose_b else weight.T)
        single = bias is not None and bias.size in (1, channels) and (bias.size == 1 or bias.shape[-1] == channels)
        row = np.broadcast_to(attrs.beta * bias.reshape(-1), (channels,)) if bias is not None and single else None
        made = lay.hold(_fully(lay, h, weight, row, keep=False))
        return [made if row is not None or c is None else _plus(lay, made, c, attrs.beta, outputs)]
    made = _product(lay, h, _swapped(w) if attrs.transpose_b else w)
    if attrs.alpha != 1.0:
        made = lay.elementwise("MUL", [made, lay.constant("alpha", np.asarray(attrs.alpha))], outputs[0].shape)
    return [made if c is None else _plus(lay, made, c, attrs.beta, outputs)]


def _plus(lay: Layouts, made: Held, c: Held, beta: float, outputs: Outputs) -> Held:
    if beta != 1.0:
        c = lay.elementwise("MUL", [c, lay.constant("beta", np.asarray(beta))], c.shape)
    return lay.elementwise("ADD", [made, c], outputs[0].shape)


def _swapped(h: Held) -> Held:
    """The transpose of a matrix, which moves nothing yet."""
    n = len(h.shape)
    flip = (*range(n - 2), n - 1, n - 2)
    shape = tuple(h.shape[a] for a in flip)
    return Held(h.value, shape, shape, tuple(flip.index(a) for a in h.order)) if not h.other else h


def _product(lay: Layouts, a: Held, b: Held) -> Held:
    """``a @ b`` of values that are both computed at run time; a transposed factor is read as it lies."""

    def factor(h: Held) -> tuple[Value, bool]:
        n = len(h.shape)
        swapped = (*range(n - 2), n - 1, n - 2)
        return (h.value, True) if h.order == swapped and not h.other and not h.constant else (lay.plain(h), False)

    (x, adj_x), (y, adj_y) = factor(a), factor(b)
    return lay.hold(lay.draft.emit("BATCH_MATMUL", [x, y], BatchMatMul(adj_x, adj_y))[0])


def matmul(lay: Layouts, inputs: Operands, attrs: Attributes, outputs: Outputs) -> list[Held]:
    """MatMul: FULLY_CONNECTED where the right factor is a constant matrix, else BATCH_MATMUL."""
    a, b = need(inputs[0]), need(inputs[1])
    shape = outputs[0].shape
    weight = lay.plain(b).data if b.constant else None
    if weight is not None and not a.constant and weight.ndim == 2 and len(a.shape) >= 2:
        return [lay.hold(_fully(lay, a, weight.T, None, keep=len(a.shape) > 2))]
    a = lay.hold(lay.reshape(lay.plain(a), (1, *a.shape))) if len(a.shape) == 1 else a
    b = lay.hold(lay.reshape(lay.plain(b), (*b.shape, 1))) if len(b.shape) == 1 else b
    return [lay.hold(lay.reshape(_product(lay, a, b).value, shape))]


LOWER: dict[str, Callable[..., list[Held]]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
}
