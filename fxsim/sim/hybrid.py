"""Layers of float32 inputs: with float32 weights, or with int8 ones, for which inputs are quantized at run time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fxsim.errors import UnsupportedOp
from fxsim.kernels import dynamic
from fxsim.kernels.dynamic import Floats, Quantizer
from fxsim.kernels.float32 import fma
from fxsim.kernels.float_sums import sums
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Activation
from fxsim.model.ops.conv import Conv2D, FullyConnected
from fxsim.model.ops.transpose_conv import TransposeConv
from fxsim.model.qtype import INT8, Array, QuantParams
from fxsim.model.work import Geometry
from fxsim.sim.base import INT32, Arrays, Bound, Site, quant
from fxsim.sim.layer import SEPARATE_AREA, Pad, padded, prepare
from fxsim.sim.quantize import known

VARIANTS = ("plain", "plain_float", "gemm", "fused")
"""``plain``: reference kernels; ``plain_float``: these, but none for int8 weights; ``gemm``: matrix products that are
faster; ``fused``: XNNPACK's, each product and sum rounded once."""
Finish = Callable[[Floats, np.float32, Floats, Floats], Floats]
"""sums of integers, the input's scale, the channels' scales, the bias -> real values"""
LANES = 4
Compute = Callable[[Array], Floats]


def _channel_first(acc: Floats, scale: np.float32, channels: Floats, bias: Floats) -> Floats:
    return acc * channels * scale + bias


def _scales_first(acc: Floats, scale: np.float32, channels: Floats, bias: Floats) -> Floats:
    return acc * (channels * scale) + bias


def _in_lanes(acc: Floats, scale: np.float32, channels: Floats, bias: Floats) -> Floats:
    whole = channels.size - channels.size % LANES
    first = np.where(np.arange(channels.size) < whole, acc * channels * scale, acc * scale * channels)
    return first + bias


def _fused(acc: Floats, scale: np.float32, channels: Floats, bias: Floats) -> Floats:
    shape = acc.shape
    return np.asarray(fma(acc * scale, np.broadcast_to(channels, shape), np.broadcast_to(bias, shape)), np.float32)


def _limits(activation: Activation) -> tuple[np.float32, np.float32]:
    ends = {"NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
    if activation not in ends:
        raise UnsupportedOp(f"fused activation is {activation}; supported: {', '.join(ends)}")
    low, high = ends[activation]
    return np.float32(low), np.float32(high)


def float_layer(
    site: Site, geometry: Geometry, pack: Callable[[Array], Array], pad: Pad, spread: tuple[int, int]
) -> Bound:
    """A layer of float32 inputs and outputs; arguments as in :func:`fxsim.sim.conv.layer`.

    ``out = clamp(sum(x * w) + bias)``. Where weights are int8, ``x`` is ``scale * (q - zero_point)`` of a range that is
    measured at run time, and the sum one of integers.

    Source: tflite/kernels/internal/reference/conv.h, fully_connected.cc, depthwise_conv_hybrid.h @ LiteRT 2.3.0;
    XNNPACK qd8-f32-qc8w-gemm, f32-gemm and f32-dwconv microkernels.
    """
    attrs, first = site.node.attributes, site.spec.data_input
    assert isinstance(attrs, Conv2D | FullyConnected | TransposeConv)
    w, bias = site.input(1), site.optional(first + 1 if first else 2)
    site.types(output="float32", input1="float32 int8")
    values = known(site, 1)
    if values is None or (bias is not None and (bias.data is None or bias.qtype.name != "float32")):
        raise UnsupportedOp(f"weight {w.name!r} or bias is computed at run time, or no float32; supported: constants")
    offset = np.zeros(geometry.out_c, np.float32) if bias is None else np.array(bias.data).reshape(-1)
    low, high = _limits(attrs.activation)
    variant = site.variant("", *VARIANTS)
    if variant == "gemm" and site.node.op == "DEPTHWISE_CONV_2D" and bias is None:
        raise UnsupportedOp("the layer has no bias: the engine reads beyond its memory; supported here: a bias")
    weight = np.ascontiguousarray(pack(values))
    if w.qtype.name == "int8":
        compute = _hybrid(site, variant, geometry, weight, pad, offset)
    else:
        compute = _float(site, variant, geometry, weight, (pad, spread), offset)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(all="ignore"):  # what is beyond float32 becomes infinite, as in the engines
            result = compute(inputs[first])
        outputs[0][...] = np.minimum(np.maximum(result, low), high).reshape(outputs[0].shape)

    return Bound(run)


def _float(
    site: Site, variant: str, g: Geometry, weight: Array, place: tuple[Pad, tuple[int, int]], bias: Floats
) -> Compute:
    """``sum(x * w) + bias`` in float32."""
    op, separate = site.node.op, g.in_c == g.groups == g.out_c and g.kernel_h * g.kernel_w <= SEPARATE_AREA
    orders = {
        "plain": (False, False, False),
        "plain_float": (False, False, False),
        "gemm": (False, True, False) if op == "DEPTHWISE_CONV_2D" else None,
        "fused": (True, True, separate and op != "TRANSPOSE_CONV"),
    }
    order = orders.get(variant)
    if variant == "fused" and (g.kernel_h < place[1][0] or g.kernel_w < place[1][1]):
        order = None  # outputs that no input reaches: XNNPACK has another way, which is not known
    if order is None:
        raise UnsupportedOp(
            f"the order in which the engine adds up a {op} in float32 is not known; supported here: integers"
        )
    f, window = sums(*order), (g.stride_h, g.stride_w, g.dilation_h, g.dilation_w)
    # XNNPACK goes through the kernel of a transpose convolution as the file has it, the others through the input.
    turn = -1 if variant == "fused" and op == "TRANSPOSE_CONV" else 1
    kernel = np.ascontiguousarray(weight[::turn, ::turn])

    def compute(x: Array) -> Floats:
        result = np.empty((g.batch, g.out_h, g.out_w, g.out_c), np.float32)
        image = np.ascontiguousarray(padded(x, g, *place, 0)[:, ::turn, ::turn])
        f(image, kernel, bias, window, g.groups, result)
        return result[:, ::turn, ::turn]

    return compute


def _rule(site: Site, variant: str, g: Geometry, channels: int) -> tuple[Quantizer, Finish, bool]:
    """``(quantizer, finish, by_pixel)``: how a layer of int8 weights quantizes its input, and what.

    ``by_pixel``: each row or pixel has its own range, else each image.
    """
    attrs = site.node.attributes
    if isinstance(attrs, TransposeConv) or variant not in ("plain", "gemm", "fused"):
        raise UnsupportedOp(
            f"float32 inputs with int8 weights in {site.node.op}; supported by the engine: float32 weights"
        )
    if variant == "fused":
        window = (g.kernel_h, g.kernel_w, g.stride_h, g.stride_w, g.groups)
        by_pixel = window == (1, 1, 1, 1, 1) and (g.in_c, g.out_c) != (1, 1)
        return dynamic.to_even, _fused, isinstance(attrs, FullyConnected) or by_pixel
    if isinstance(attrs, FullyConnected):
        return dynamic.asymmetric if attrs.asymmetric else dynamic.symmetric, _scales_first, True
    if site.node.op == "DEPTHWISE_CONV_2D":
        return dynamic.asymmetric, _scales_first if variant == "plain" else _in_lanes, False
    if channels == 1:
        if g.groups > 1:
            raise UnsupportedOp("one weight scale for several groups; supported here: one for each output channel")
        return dynamic.symmetric, _scales_first, False
    finish = _scales_first if variant == "gemm" and g.groups == 1 else _channel_first
    return dynamic.asymmetric, finish, False


def _hybrid(site: Site, variant: str, g: Geometry, weight: Array, pad: Pad, bias: Floats) -> Compute:
    """``scale * channel_scale * sum((q - zero_point) * w) + bias``."""
    w = site.input(1)
    wq = quant(w)
    if any(wq.zero_point) or len(wq.scale) not in (1, g.out_c):
        raise UnsupportedOp(
            f"weight {w.name!r} has a zero point, or scales along axis {wq.axis}; supported: output channels"
        )
    quantizer, finish, by_pixel = _rule(site, variant, g, len(wq.scale))
    channels = np.broadcast_to(np.array(wq.scale, np.float32), (g.out_c,))
    one = replace(g, batch=1, in_h=1, in_w=1, out_h=1, out_w=1) if by_pixel else replace(g, batch=1)
    stored = Tensor(-1, "quantized", (), INT8, QuantParams((1.0,), (0,)))
    whole = prepare(
        site, one, stored, [weight], np.zeros(g.out_c, np.int32), [(1.0,)], 1.0, 0, INT32, site.numerics.accumulator
    )
    whole = replace(whole, pad=pad, fill=None)  # outside the image stands the zero point that is found at run time

    def compute(x: Array) -> Floats:
        vectors: npt.NDArray[np.float32] = x.reshape(-1, one.in_h * one.in_w * one.in_c)
        result = []
        for vector in vectors:
            q, scale, zero = quantizer(vector)
            acc = replace(whole, x_zero=zero).accumulate(q)
            result.append(finish(acc.astype(np.float32), scale, channels, bias))
        return np.stack(result)

    return compute
