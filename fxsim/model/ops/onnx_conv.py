"""Conv, ConvTranspose, QLinearConv and ConvInteger of ONNX: attributes, output shapes, work.

Layouts: input ``(N, C, H, W)``, weight ``(O, C / group, KH, KW)`` (of ConvTranspose ``(C, O / group, KH, KW)``), bias
``(O,)``; one spatial axis is a height of 1.
"""

from dataclasses import dataclass
from typing import Literal

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes, InferFn, Operands, WorkFn, need, rank, total_bytes
from fxsim.model.ops.conv import check_bias
from fxsim.model.ops.onnx_base import BYTE, REAL, OnnxSpec, at, int32_out, like, one, params, same_type
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work

AutoPad = Literal["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]


@dataclass(frozen=True, slots=True)
class OnnxWindow(Attributes):
    """A sliding window over one or two spatial axes. Empty tuples stand for ones, or zeros for ``pads``.

    ``pads`` holds the cells before each axis, then those after each axis.
    """

    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    auto_pad: AutoPad = "NOTSET"
    ceil_mode: bool = False

    def axis(self, i: int, n: int, size: int, kernel: int) -> tuple[int, int, int, int, int]:
        """``(out, stride, dilation, before, after)`` along spatial axis ``i`` of ``n``, of ``size`` cells.

        Raises:
            ModelError: if a size is out of range or the window does not fit.
        """
        for what, values, count in (
            ("strides", self.strides, n),
            ("dilations", self.dilations, n),
            ("pads", self.pads, 2 * n),
        ):
            if values and (len(values) != count or min(values) < (what != "pads") or max(values) > 1 << 20):
                raise ModelError(
                    f"{what} are {list(values)}; allowed: {count} values of at least {int(what != 'pads')}"
                )
        stride = self.strides[i] if self.strides else 1
        dilation = self.dilations[i] if self.dilations else 1
        if kernel < 1:
            raise ModelError(f"kernel is {kernel} along spatial axis {i}; allowed: at least 1")
        reach = (kernel - 1) * dilation + 1
        before, after = (self.pads[i], self.pads[n + i]) if self.pads and self.auto_pad == "NOTSET" else (0, 0)
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            out = -(-size // stride)
            total = max(0, (out - 1) * stride + reach - size)
            before = (total + (self.auto_pad == "SAME_LOWER")) // 2
            after = total - before
        else:
            room = size + before + after - reach
            out = (-(-room // stride) if self.ceil_mode else room // stride) + 1
            if self.ceil_mode and (out - 1) * stride >= size + before:
                out -= 1  # a window may not begin beyond the image
        if out < 1 or size < 1:
            raise ModelError(
                f"a kernel of {kernel} (dilation {dilation}) does not fit {size} cells on spatial axis {i}"
            )
        return out, stride, dilation, before, after


@dataclass(frozen=True, slots=True)
class OnnxConv(OnnxWindow):
    """Conv, QLinearConv and ConvInteger."""

    group: int = 1


@dataclass(frozen=True, slots=True)
class OnnxConvTranspose(OnnxConv):
    """ConvTranspose. ``extra`` lengthens the output at the ends; ``shape``, where given, is its size, and sets the pads."""

    extra: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()

    def spread(self, i: int, n: int, size: int, kernel: int) -> tuple[int, int, int, int]:
        """``(out, stride, dilation, before)`` along spatial axis ``i`` of ``n``, of ``size`` cells.

        Raises:
            ModelError: if a size is out of range.
        """
        for what, values, count, least in (
            ("strides", self.strides, n, 1), ("dilations", self.dilations, n, 1), ("pads", self.pads, 2 * n, 0),
            ("output_padding", self.extra, n, 0), ("output_shape", self.shape, n, 1),
        ):  # fmt: skip
            if values and (len(values) != count or min(values) < least or max(values) > 1 << 20):
                raise ModelError(f"{what} are {list(values)}; allowed: {count} values of at least {least}")
        stride, dilation = self.strides[i] if self.strides else 1, self.dilations[i] if self.dilations else 1
        extra = self.extra[i] if self.extra else 0
        whole = (size - 1) * stride + extra + (kernel - 1) * dilation + 1
        before, after = (self.pads[i], self.pads[n + i]) if self.pads and self.auto_pad == "NOTSET" else (0, 0)
        if self.shape or self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            total = max(0, whole - (self.shape[i] if self.shape else size * stride))
            before = total - total // 2 if self.auto_pad == "SAME_LOWER" else total // 2
            after = total - before
        out = self.shape[i] if self.shape else whole - before - after
        if min(kernel, size, out) < 1:
            raise ModelError(
                f"a kernel of {kernel} makes {out} cells of {size} on spatial axis {i}; allowed: at least 1"
            )
        return out, stride, dilation, before


def two_d(shape: Shape) -> Shape:
    """``(N, C, L)`` as ``(N, C, 1, L)``; four axes as they are."""
    return (*shape[:2], 1, *shape[2:]) if len(shape) == 3 else shape


def window_2d(attrs: OnnxWindow, spatial: Shape, kernel: tuple[int, ...]) -> list[tuple[int, int, int, int, int]]:
    """:meth:`OnnxWindow.axis` for height and width; a missing height is 1."""
    n = len(spatial)
    if attrs.kernel and attrs.kernel != tuple(kernel):
        raise ModelError(f"kernel_shape is {list(attrs.kernel)}; the weight's is {list(kernel)}")
    axes = [attrs.axis(i, n, s, k) for i, (s, k) in enumerate(zip(spatial, kernel, strict=True))]
    return axes if n == 2 else [(1, 1, 1, 0, 0), *axes]


def _flat_images(x: Tensor, w: Tensor) -> None:
    """Holds input and weight to one or two spatial axes, the same number."""
    if len(x.shape) > 4:
        raise UnsupportedOp(f"input {x.name!r} has shape {list(x.shape)}; supported: one or two spatial axes")
    rank(x, "input", 3, 4)
    rank(w, "weight", len(x.shape))


def conv_2d(x: Tensor, w: Tensor, attrs: OnnxConv) -> tuple[Geometry, tuple[int, int, int, int]]:
    """The loop bounds, and the padding (top, bottom, left, right).

    Raises:
        ModelError: if input and weight do not fit each other; UnsupportedOp on three spatial axes.
    """
    _flat_images(x, w)
    n, c, h, wid = two_d(x.shape)
    o, d, kh, kw = two_d(w.shape)
    g = attrs.group
    if g < 1 or o < 1 or d * g != c or o % g:
        raise ModelError(f"weight {w.name!r} has shape {list(w.shape)}; it fits no {g} groups of {c} input channels")
    (oh, sh, dh, top, bottom), (ow, sw, dw, left, right) = window_2d(attrs, x.shape[2:], w.shape[2:])
    geometry = Geometry(n, h, wid, c, oh, ow, o, kh, kw, sh, sw, dh, dw, g)
    return geometry, (top, bottom, left, right)


def transpose_2d(x: Tensor, w: Tensor, attrs: OnnxConvTranspose) -> tuple[Geometry, tuple[int, int]]:
    """The loop bounds of a ConvTranspose, and the rows and columns that are cut off at the start.

    Raises:
        ModelError: if input and weight do not fit each other; UnsupportedOp on three spatial axes.
    """
    _flat_images(x, w)
    n, c, h, wid = two_d(x.shape)
    d, o, kh, kw = two_d(w.shape)
    g = attrs.group
    if g < 1 or d != c or c % g:
        raise ModelError(f"weight {w.name!r} has shape {list(w.shape)}; it fits no {g} groups of {c} input channels")
    if attrs.kernel and attrs.kernel != w.shape[2:]:
        raise ModelError(f"kernel_shape is {list(attrs.kernel)}; the weight's is {list(w.shape[2:])}")
    m = len(x.shape) - 2
    axes = [attrs.spread(i, m, s, k) for i, (s, k) in enumerate(zip(x.shape[2:], w.shape[2:], strict=True))]
    (oh, sh, dh, top), (ow, sw, dw, left) = axes if m == 2 else [(1, 1, 1, 0), *axes]
    return Geometry(n, h, wid, c, oh, ow, o * g, kh, kw, sh, sw, dh, dw, g), (top, left)


def _infer_transpose(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, OnnxConvTranspose)
    x = need(inputs[0], "input")
    g, _ = transpose_2d(x, need(inputs[1], "weight"), attrs)
    check_bias(at(inputs, 2), g.out_c)
    return ((g.batch, g.out_c, *(g.out_h, g.out_w)[4 - len(x.shape) :]),)


def _work_transpose(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    assert isinstance(attrs, OnnxConvTranspose)
    x, w, out = need(inputs[0], "input"), need(inputs[1], "weight"), need(outputs[0], "output")
    g, _ = transpose_2d(x, w, attrs)
    return Work(
        "conv",
        macs=g.batch * g.in_h * g.in_w * g.window * g.out_c,
        elements=out.elements,
        input_bytes=x.nbytes,
        weight_bytes=w.nbytes,
        bias_bytes=total_bytes([at(inputs, 2)]),
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
        weight_bits=w.qtype.bits,
        geometry=g,
    )


def _infer(weight: int, bias: int, scales: tuple[int, ...]) -> InferFn:
    def infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
        assert isinstance(attrs, OnnxConv)
        x, w = need(inputs[0], "input"), need(at(inputs, weight), "weight")
        g, _ = conv_2d(x, w, attrs)
        check_bias(at(inputs, bias), g.out_c)
        for i in scales:
            params(at(inputs, i), "weight scale or zero point", g.out_c)
        if weight == 3:
            one(inputs, input_scale=1, input_zero_point=2, output_scale=6, output_zero_point=7)
            same_type(inputs, 0, 2, 7)
            same_type(inputs, 3, 5)
        elif scales:
            one(inputs, input_zero_point=2)
            same_type(inputs, 0, 2)
            same_type(inputs, 1, 3)
        return ((g.batch, g.out_c, *(g.out_h, g.out_w)[4 - len(x.shape) :]),)

    return infer


def _work(weight: int, bias: int, scale: int) -> WorkFn:
    def work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
        assert isinstance(attrs, OnnxConv)
        x, w, out = need(inputs[0], "input"), need(at(inputs, weight), "weight"), need(outputs[0], "output")
        g, _ = conv_2d(x, w, attrs)
        s = at(inputs, scale) if scale else None
        return Work(
            "depthwise" if g.groups == g.in_c > 1 else "conv",
            macs=g.outputs * g.window,
            elements=out.elements,
            requantized=out.elements if out.qtype.kind == "int" and out.qtype.bits < 32 else 0,
            input_bytes=x.nbytes,
            weight_bytes=w.nbytes,
            bias_bytes=total_bytes([at(inputs, bias)]),
            output_bytes=out.nbytes,
            activation_bits=x.qtype.bits,
            weight_bits=w.qtype.bits,
            per_channel=s is not None and s.elements > 1,
            geometry=g,
        )

    return work


_NONE = 99
"""a position that no op has"""
SPECS = (
    OnnxSpec("Conv", OnnxConv, _infer(1, 2, ()), _work(1, 2, 0), 2, 3, dtypes=(REAL,)),
    OnnxSpec("ConvTranspose", OnnxConvTranspose, _infer_transpose, _work_transpose, 2, 3, dtypes=(REAL,)),
    OnnxSpec(
        "QLinearConv", OnnxConv, _infer(3, 8, (4, 5)), _work(3, 8, 4), 8, 9,
        dtypes=(BYTE, REAL, BYTE, BYTE, REAL, BYTE, REAL, BYTE, ("int32",)),
        types=like(7), params=((0, 1, 2), (3, 4, 5)), output_params=(6, 7),
    ),
    OnnxSpec(
        "ConvInteger", OnnxConv, _infer(1, _NONE, (3,)), _work(1, _NONE, 0), 2, 4,
        dtypes=(BYTE, BYTE, BYTE, BYTE), types=int32_out,
    ),
)  # fmt: skip
