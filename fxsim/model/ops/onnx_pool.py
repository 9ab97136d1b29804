"""Pooling in ONNX: MaxPool, AveragePool, their global forms, and the quantized ones of com.microsoft."""

from dataclasses import dataclass

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes, Operands, need, rank
from fxsim.model.ops.onnx_base import BYTE, REAL, OnnxSpec, like_input, one, same_type
from fxsim.model.ops.onnx_conv import OnnxWindow, two_d, window_2d
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work


@dataclass(frozen=True, slots=True)
class OnnxPool(OnnxWindow):
    """A pooling window; ``count_include_pad`` lets an average divide by the whole window."""

    count_include_pad: bool = False


@dataclass(frozen=True, slots=True)
class GlobalPool(Attributes):
    """A pool over the whole image; ``channels_last`` for input ``(N, H, W, C)``."""

    channels_last: bool = False


def _filled(x: Tensor) -> None:
    """Holds an image to 3 or 4 axes, none of them of size 0."""
    if 0 in rank(x, "input", 3, 4):
        raise ModelError(f"input {x.name!r} has shape {list(x.shape)}; allowed: sizes of at least 1")


def pool_2d(inputs: Operands, attrs: OnnxPool) -> tuple[Geometry, tuple[int, int, int, int]]:
    """The loop bounds, and the padding (top, bottom, left, right).

    Raises:
        ModelError: if the window does not fit.
    """
    x = need(inputs[0], "input")
    if len(x.shape) > 4:
        raise UnsupportedOp(f"input {x.name!r} has shape {list(x.shape)}; supported: one or two spatial axes")
    _filled(x)
    if len(attrs.kernel) != len(x.shape) - 2:
        raise ModelError(f"kernel_shape is {list(attrs.kernel)}; allowed: {len(x.shape) - 2} values")
    n, c, h, w = two_d(x.shape)
    (oh, sh, dh, top, bottom), (ow, sw, dw, left, right) = window_2d(attrs, x.shape[2:], attrs.kernel)
    kh, kw = attrs.kernel if len(attrs.kernel) == 2 else (1, *attrs.kernel)
    if max(top, bottom) >= kh + (kh - 1) * (dh - 1) or max(left, right) >= kw + (kw - 1) * (dw - 1):
        raise ModelError(f"pads are {[top, left, bottom, right]}; allowed: less than the kernel, {[kh, kw]}")
    return Geometry(n, h, w, c, oh, ow, c, kh, kw, sh, sw, dh, dw, c), (top, bottom, left, right)


def _infer_pool(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, OnnxPool)
    one(inputs, **{f"parameter_{i}": i for i in range(1, len(inputs))})
    same_type(inputs, 0, 2, 4)
    g, _ = pool_2d(inputs, attrs)
    return ((g.batch, g.out_c, *(g.out_h, g.out_w)[4 - len(need(inputs[0], "input").shape) :]),) * outputs


def global_sizes(inputs: Operands, attrs: GlobalPool) -> tuple[int, int, int, Shape]:
    """``(batch, channels, cells, output shape)`` of a global pool."""
    x = need(inputs[0], "input")
    _filled(x)
    cells = 1
    for s in x.shape[1:-1] if attrs.channels_last else x.shape[2:]:
        cells *= s
    c = x.shape[-1] if attrs.channels_last else x.shape[1]
    ones = (1,) * (len(x.shape) - 2)
    return x.shape[0], c, cells, (x.shape[0], *ones, c) if attrs.channels_last else (x.shape[0], c, *ones)


def _infer_global(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, GlobalPool)
    one(inputs, **{f"parameter_{i}": i for i in range(1, len(inputs))})
    same_type(inputs, 0, 2, 4)
    return (global_sizes(inputs, attrs)[3],)


def _work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    if isinstance(attrs, GlobalPool):
        n, c, _, _ = global_sizes(inputs, attrs)
        h, w = x.shape[1:3] if attrs.channels_last and len(x.shape) == 4 else two_d(x.shape)[2:]
        h, w = (1, x.shape[1]) if attrs.channels_last and len(x.shape) == 3 else (h, w)
        g = Geometry(n, h, w, c, 1, 1, c, h, w, groups=c)
    else:
        assert isinstance(attrs, OnnxPool)
        g, _ = pool_2d(inputs, attrs)
    return Work(
        "pool",
        elements=out.elements,
        element_ops=g.outputs * g.window,
        requantized=out.elements if len(inputs) > 1 else 0,
        input_bytes=x.nbytes,
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
        geometry=g,
    )


_Q = (BYTE, REAL, BYTE, REAL, BYTE)
_PARAMS = (((0, 1, 2),), (3, 4))
SPECS = (
    OnnxSpec("MaxPool", OnnxPool, _infer_pool, _work, dtypes=(("float32", *BYTE),), types=like_input),
    OnnxSpec("AveragePool", OnnxPool, _infer_pool, _work, dtypes=(REAL,)),
    OnnxSpec("GlobalAveragePool", GlobalPool, _infer_global, _work, dtypes=(REAL,)),
    OnnxSpec("GlobalMaxPool", GlobalPool, _infer_global, _work, dtypes=(REAL,)),
    OnnxSpec(
        "QLinearAveragePool", OnnxPool, _infer_pool, _work, 4, 5, dtypes=_Q, params=_PARAMS[0], output_params=_PARAMS[1]
    ),
    OnnxSpec(
        "QLinearGlobalAveragePool", GlobalPool, _infer_global, _work, 4, 5,
        dtypes=_Q, params=_PARAMS[0], output_params=_PARAMS[1],
    ),
)  # fmt: skip
