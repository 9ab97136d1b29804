"""Larq Compute Engine's ops on packed bits: attributes, output shapes, work.

A bit-packed tensor is int32, its last axis ``ceil(C / 32)`` words; channel ``c`` is bit ``c % 32`` of word ``c // 32``, and
a set bit is -1. LceBconv2d takes the input ``(N, H, W, words)``, the weight ``(O, KH, KW, words / groups)``, and a
multiplier, a bias and a threshold for each output channel, of which the output's type needs the first two or the last.

Source: larq_compute_engine/tflite/kernels/bconv2d.cc, bmaxpool.cc, quantization.cc @ e6860fc.
"""

from dataclasses import dataclass

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.ops.base import Attributes, Operands, OpSpec, need, rank, total_bytes
from fxsim.model.ops.conv import Conv2D
from fxsim.model.ops.pool import Pool2D, infer_pool, work_pool
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work

WORD = 32
"""bits of a word"""
MULTIPLIER, BIAS, THRESHOLD = 2, 3, 4
"""positions of LceBconv2d's inputs behind the weight"""
MAX_PADDED_BYTES = 1 << 30
"""A hostile dilation must not exhaust memory: no file bounds what SAME padding adds to the image."""


def words(channels: int) -> int:
    """The words that hold ``channels`` bits."""
    return -(-channels // WORD)


@dataclass(frozen=True, slots=True)
class BinaryConv2D(Conv2D):
    """LceBconv2d."""

    channels_in: int = 1
    pad_value: int = 1
    """what lies outside the image under SAME padding: 1 or 0"""
    packed: bool = False
    """the output is bits"""


@dataclass(frozen=True, slots=True)
class Dequantize(Attributes):
    """LceDequantize; only the declared output says how many bits of the last word count."""

    channels: int = 1


def binary_geometry(inputs: Operands, attrs: BinaryConv2D) -> Geometry:
    """The loop bounds of a binary convolution, in channels; checks that its operands fit each other."""
    x, w = need(inputs[0], "input"), need(inputs[1], "weight")
    n, h, wid, packed = rank(x, "input", 4)
    o, kh, kw, depth = rank(w, "weight", 4)
    c = attrs.channels_in
    if c < 1 or packed != words(c):
        raise ModelError(f"input {x.name!r} has {packed} words a pixel; channels_in is {c}, which takes {words(c)}")
    if attrs.pad_value not in (0, 1):
        raise ModelError(f"pad_values is {attrs.pad_value}; allowed: 0, 1")
    groups = packed // depth if depth and packed % depth == 0 else 0
    if not groups or o % groups or (groups > 1 and c % (WORD * groups)):
        raise ModelError(
            f"weight {w.name!r} has shape {list(w.shape)}, which fits no grouping of {c} input channels in {packed} words"
        )
    oh, ow, _, _ = attrs.output(h, wid, kh, kw, attrs.dilation_h, attrs.dilation_w)
    rows = max(h, (oh - 1) * attrs.stride_h + (kh - 1) * attrs.dilation_h + 1)
    columns = max(wid, (ow - 1) * attrs.stride_w + (kw - 1) * attrs.dilation_w + 1)
    if n * rows * columns * packed * WORD // 8 > MAX_PADDED_BYTES:
        raise UnsupportedOp(f"the padded image is {rows}x{columns}; allowed: at most {MAX_PADDED_BYTES} bytes")
    return Geometry(
        n, h, wid, c, oh, ow, o, kh, kw, attrs.stride_h, attrs.stride_w, attrs.dilation_h, attrs.dilation_w, groups
    )


def _infer_conv(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, BinaryConv2D)
    g = binary_geometry(inputs, attrs)
    used = ((THRESHOLD, "threshold"),) if attrs.packed else ((MULTIPLIER, "multiplier"), (BIAS, "bias"))
    for position, what in used:
        t = need(inputs[position], what)
        if t.shape != (g.out_c,):
            raise ModelError(f"{what} {t.name!r} has shape {list(t.shape)}; allowed: [{g.out_c}]")
    return ((g.batch, g.out_h, g.out_w, words(g.out_c) if attrs.packed else g.out_c),)


def _work_conv(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """Binary MACs: one XNOR and one count of a bit each."""
    assert isinstance(attrs, BinaryConv2D)
    g = binary_geometry(inputs, attrs)
    x, w, out = need(inputs[0], "input"), need(inputs[1], "weight"), need(outputs[0], "output")
    return Work(
        "conv",
        macs=g.outputs * g.window,
        elements=g.outputs,
        requantized=g.outputs,
        input_bytes=x.nbytes,
        weight_bytes=w.nbytes,
        bias_bytes=total_bytes(inputs[2:]),
        output_bytes=out.nbytes,
        activation_bits=1,
        weight_bits=1,
        per_channel=True,
        geometry=g,
    )


def _infer_quantize(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    if not x.shape:
        raise ModelError(f"input {x.name!r} is a scalar; allowed: at least one axis")
    return ((*x.shape[:-1], words(x.shape[-1])),)


def _infer_dequantize(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Dequantize)
    x = need(inputs[0], "input")
    if not x.shape or x.shape[-1] != words(attrs.channels):
        raise ModelError(
            f"input {x.name!r} has shape {list(x.shape)}; {attrs.channels} channels take {words(attrs.channels)} words"
        )
    return ((*x.shape[:-1], attrs.channels),)


def _work_cast(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """One comparison or choice for each channel, packed or not."""
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    return Work(
        "elementwise",
        elements=out.elements,
        element_ops=max(x.elements, out.elements),
        input_bytes=x.nbytes,
        output_bytes=out.nbytes,
        activation_bits=max(x.qtype.bits, out.qtype.bits),
    )


_PACKED, _FLOAT = ("int32",), ("float32",)
_SPREAD = ("float32", "int8", "bool")
SPECS = (
    OpSpec(
        "LceBconv2d", BinaryConv2D, _infer_conv, _work_conv, 5, 5, dtypes=(_PACKED, _PACKED, _FLOAT, _FLOAT, _PACKED)
    ),
    OpSpec("LceBMaxPool2d", Pool2D, infer_pool, work_pool, dtypes=(_PACKED,)),
    OpSpec("LceQuantize", Attributes, _infer_quantize, _work_cast, dtypes=(_SPREAD,)),
    OpSpec("LceDequantize", Dequantize, _infer_dequantize, _work_cast, dtypes=(_PACKED,)),
)
