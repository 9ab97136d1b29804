"""Binds CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: accumulate, then requantize."""

from dataclasses import dataclass

import numpy as np

from fxsim.arith import bounds
from fxsim.arith.overflow import highest, lowest
from fxsim.errors import UnsupportedOp
from fxsim.kernels import accumulate
from fxsim.kernels.ordered import ordered, watch
from fxsim.kernels.requantize import requantize
from fxsim.model.ops.conv import Conv2D, FullyConnected, conv_geometry, dense_geometry
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.numerics import Accumulator
from fxsim.sim.base import INT32, Arrays, Bound, Probe, Scales, Site, clamp_range, make_scales, quant, scalar_quant


@dataclass(frozen=True, slots=True)
class Layer:
    """A prepared sum of products over a window, and its requantization."""

    geometry: Geometry
    window: tuple[int, int, int, int]
    pad: tuple[int, int, int, int]
    """rows above and below, columns left and right, of the input's zero point"""
    weight: Array
    """``(KH, KW, C / G, O)``"""
    bias: Array
    x_zero: int
    input_range: tuple[int, int]
    """the least and greatest stored input"""
    input_dtype: np.dtype[np.generic]
    accumulator: Accumulator
    policy: str
    """what the kernel must do at each step: ``wrap`` wherever no step can overflow"""
    scales: Scales
    scheme: str
    rounding: str
    saturating: bool
    """what a float rescale beyond 32 bits does"""
    zero: int
    clamp: tuple[int, int]

    def padded(self, x: Array) -> Array:
        """The input as ``(N, H, W, C)``, with its padding."""
        g = self.geometry
        x = x.reshape(g.batch, g.in_h, g.in_w, g.in_c)
        top, bottom, left, right = self.pad
        if not any(self.pad):
            return x
        padded = np.full((g.batch, g.in_h + top + bottom, g.in_w + left + right, g.in_c), self.x_zero, x.dtype)
        padded[:, top : top + g.in_h, left : left + g.in_w] = x
        return padded

    def accumulate(self, x: Array) -> Array:
        """The accumulators ``(N, OH, OW, O)``, as the register holds them at the end."""
        g = self.geometry
        if not self.accumulator.plain:
            return self.watched(x)[0]
        acc = np.empty((g.batch, g.out_h, g.out_w, g.out_c), np.int32)
        limits = lowest(self.accumulator.bits), highest(self.accumulator.bits)
        x = self.padded(x)
        if g.groups == g.in_c and g.groups > 1:
            multiplier = g.out_c // g.in_c
            x = x if multiplier == 1 else np.repeat(x, multiplier, axis=3)
            weight = self.weight[:, :, 0]
            accumulate.depthwise(self.policy)(x, weight, self.bias, self.x_zero, self.window, *limits, acc)
        else:
            accumulate.conv(self.policy)(x, self.weight, self.bias, self.x_zero, self.window, g.groups, *limits, acc)
        if self.policy == "wrap" and self.accumulator.overflow == "wrap" and self.accumulator.bits < 32:
            unused = 32 - self.accumulator.bits
            acc = (acc << unused) >> unused
        return acc

    def watched(self, x: Array) -> tuple[Array, Array]:
        """The accumulators, and what each channel's register held at every step, by the slow kernel."""
        g, a = self.geometry, self.accumulator
        acc, seen = np.empty((g.batch, g.out_h, g.out_w, g.out_c), np.int64), watch(g.out_c)
        lift = 128 if x.dtype == np.int8 else 0
        f = ordered(a.order, a.overflow, a.product_rounding, a.product_overflow)
        steps = (a.bits, a.lanes, a.at == "end", a.product_shift, a.product_bits)
        f(self.padded(x), self.weight, self.bias, self.x_zero, lift, self.window, g.groups, *steps, acc, seen)
        return acc, seen

    def requantize(self, acc: Array, clamp: tuple[int, int], out: Array) -> None:
        """The outputs of given accumulators, clamped to ``clamp``."""
        f = requantize(self.scheme, self.rounding, self.saturating)
        rows = acc.reshape(-1, self.geometry.out_c)
        s = self.scales
        f(rows, s.q, s.shift, s.real, self.zero, *clamp, out.reshape(rows.shape))

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """One inference of the layer."""
        self.requantize(self.accumulate(inputs[0]), self.clamp, outputs[0])

    def probe(self, inputs: Arrays) -> Probe:
        """The register, watched at every step by the slow kernel; and how many outputs the clamp changed."""
        acc, seen = self.watched(inputs[0])
        free = np.empty(acc.shape, np.int32)
        self.requantize(acc, INT32, free)
        below, above = int(np.sum(free < self.clamp[0])), int(np.sum(free > self.clamp[1]))
        return Probe(self.accumulator.bits, below, above, seen)


def register_range(weight: Array, bias: Array, low: int, high: int) -> tuple[int, int]:
    """The interval that holds every running sum of every output channel, for inputs ``low..high`` (zero point removed).

    ``weight`` ``(..., O)``. Exact per channel: see :func:`fxsim.arith.bounds.dot_range`.
    """
    flat = weight.reshape(-1, weight.shape[-1]).astype(np.int64)
    positive, negative = np.maximum(flat, 0).sum(axis=0), np.minimum(flat, 0).sum(axis=0)
    ranges = [
        bounds.dot_range(int(p), int(n), low, high, int(b)) for p, n, b in zip(positive, negative, bias, strict=True)
    ]
    return min(r[0] for r in ranges), max(r[1] for r in ranges)


def _policy(accumulator: Accumulator, weight: Array, bias: Array, inputs: tuple[int, int]) -> str:
    """``saturate`` only where the bound does not prove that no step can leave the register."""
    if accumulator.overflow == "wrap":
        return "wrap"
    low, high = register_range(weight, bias, *inputs)
    return "wrap" if lowest(accumulator.bits) <= low and high <= highest(accumulator.bits) else "saturate"


def _layer(site: Site, geometry: Geometry, weight: Array, pad: tuple[int, int, int, int]) -> Bound:
    x, w, out = site.input(0), site.input(1), site.outputs[0]
    attrs = site.node.attributes
    assert isinstance(attrs, Conv2D | FullyConnected)
    site.types(input0="int8 uint8", input1="int8 uint8 int4", output="int8 uint8")
    x_scale, x_zero = scalar_quant(x)
    out_scale, out_zero = scalar_quant(out)
    wq, g = quant(w), geometry
    if not wq.per_tensor and (len(wq.scale) != g.out_c or any(wq.zero_point)):
        raise UnsupportedOp(
            f"weight {w.name!r} has scales along axis {wq.axis}; supported: the output channels, zero point 0"
        )
    if wq.per_tensor and wq.zero_point[0]:
        weight = weight.astype(np.int16) - np.int16(wq.zero_point[0])
    bias_tensor = site.optional(2)
    if bias_tensor is not None and (bias_tensor.data is None or bias_tensor.qtype.name != "int32"):
        raise UnsupportedOp(f"bias {bias_tensor.name!r} is {bias_tensor.qtype.name}; supported: constant int32")
    bias = np.zeros(g.out_c, np.int32) if bias_tensor is None else np.array(bias_tensor.data).reshape(-1)
    accumulator, r = site.numerics.accumulator, site.numerics.requantize
    inputs = x.qtype.min - x_zero, x.qtype.max - x_zero
    layer = Layer(
        g,
        (g.stride_h, g.stride_w, g.dilation_h, g.dilation_w),
        pad,
        np.ascontiguousarray(weight),
        bias,
        x_zero,
        (x.qtype.min, x.qtype.max),
        x.qtype.dtype,
        accumulator,
        _policy(accumulator, weight, bias, inputs),
        make_scales(site, [(x_scale, s) for s in wq.scale], out_scale, g.out_c),
        r.scheme,
        r.rounding,
        r.scheme == "float32" or site.variant("x86_cast", "saturating_cast") == "saturating_cast",
        out_zero,
        clamp_range(out, attrs.activation),
    )
    return Bound(layer.run, layer.probe)


def _weights(site: Site) -> Array:
    w = site.input(1)
    if w.data is None:
        raise UnsupportedOp(f"weight {w.name!r} is computed at run time; supported: constants")
    return w.data


def _conv(site: Site, *, depthwise: bool) -> Bound:
    attrs = site.node.attributes
    assert isinstance(attrs, Conv2D)
    g = conv_geometry(list(site.inputs), attrs, depthwise=depthwise)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w, g.dilation_h, g.dilation_w)
    reach_h = (g.out_h - 1) * g.stride_h + (g.kernel_h - 1) * g.dilation_h + 1
    reach_w = (g.out_w - 1) * g.stride_w + (g.kernel_w - 1) * g.dilation_w + 1
    pad = (top, max(0, reach_h - g.in_h - top), left, max(0, reach_w - g.in_w - left))
    w = _weights(site)
    weight = w.transpose(1, 2, 0, 3) if depthwise else w.transpose(1, 2, 3, 0)
    return _layer(site, g, weight, pad)


def conv_2d(site: Site) -> Bound:
    """``out = clamp(round(M * (sum((x - x_zero) * w) + bias)) + out_zero)`` over a sliding window."""
    return _conv(site, depthwise=False)


def depthwise_conv_2d(site: Site) -> Bound:
    """As CONV_2D, each output channel from one input channel."""
    return _conv(site, depthwise=True)


def fully_connected(site: Site) -> Bound:
    """``out = clamp(round(M * (sum((x - x_zero) * (w - w_zero)) + bias)) + out_zero)`` over the rows of the input.

    Variants for products of the ``float64`` scheme beyond 32 bits: ``x86_cast`` and ``saturating_cast``, as in QUANTIZE.
    """
    g = dense_geometry(list(site.inputs))
    weight = _weights(site).T.reshape(1, 1, g.in_c, g.out_c)
    return _layer(site, g, weight, (0, 0, 0, 0))


BINDINGS = {"CONV_2D": conv_2d, "DEPTHWISE_CONV_2D": depthwise_conv_2d, "FULLY_CONNECTED": fully_connected}
