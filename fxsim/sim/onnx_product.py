"""Sums of products for ONNX's ops: accumulators of windows over ``(N, H, W, C)``, and layers with constant parameters.

An engine that multiplies bytes in pairs (order ``pairs16``) does so where its first factor is unsigned and its second
signed, as they are stored: zero points are taken off afterwards. All other types and depthwise products it sums exactly.

Source: onnxruntime/core/mlas/lib/qgemm.h, qgemm_kernel_avx2.cpp, qdwconv.cpp @ ONNX Runtime 1.31.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np

from fxsim.arith.overflow import highest, lowest
from fxsim.kernels import accumulate
from fxsim.kernels.ordered import FIRST, ordered, watch
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.numerics import Accumulator, Requantize
from fxsim.sim.base import Arrays, Bound, Probe, Scales, Site
from fxsim.sim.layer import Layer, changed_bias, register_range, registers


def effective(a: Accumulator, first: Tensor, second: Tensor, *, depthwise: bool = False) -> Accumulator:
    """The accumulator for the types of two factors: pairs are added in 16 bits only for unsigned times signed."""
    if a.order == "pairs16" and (depthwise or first.qtype.signed or not second.qtype.signed):
        return msgspec.structs.replace(a, order="sequential", lanes=0)
    return a


def accumulated(
    a: Accumulator, x: Array, x_zero: int, weight: Array, weight_zero: Array, window: tuple[int, int, int, int], groups: int,
    bias: Array, out: tuple[int, int],
) -> tuple[Array, Array]:  # fmt: skip
    """``(accumulators, seen)``: int64 ``(N, OH, OW, O)``, and what each channel's register held at every step.

    ``x`` ``(N, H, W, C)`` padded; ``weight`` ``(KH, KW, C / G, O)`` and ``weight_zero`` ``(O,)`` as stored.
    """
    o = weight.shape[-1]
    acc, seen = np.empty((x.shape[0], *out, o), np.int64), watch(o)
    f = ordered(a.order, a.overflow, a.product_rounding, a.product_overflow)
    steps = (a.bits, a.lanes, a.at == "end", a.product_shift, a.product_bits)
    lift = 128 if x.dtype == np.int8 == weight.dtype else 0  # bytes are multiplied as unsigned by signed
    stored = a.order in ("pairs16", "spill16")
    w = weight if stored or not weight_zero.any() else weight.astype(np.int16) - weight_zero.astype(np.int16)
    f(np.ascontiguousarray(x), np.ascontiguousarray(w), bias, x_zero, lift, window, groups, *steps, acc, seen)
    if stored and weight_zero.any():
        ones = np.ones_like(weight)
        sums = np.empty(acc.shape, np.int32)
        accumulate.conv("wrap")(x, ones, np.zeros(o, np.int32), x_zero, window, groups, *_INT32, sums)
        acc = (acc - sums.astype(np.int64) * weight_zero.astype(np.int64)).astype(np.int32).astype(np.int64)
    return acc, seen


_INT32 = (lowest(32), highest(32))


def products(
    a: Accumulator, x: Array, x_zero: int, weight: Array, weight_zero: Array,
    window: tuple[int, int, int, int] = (1, 1, 1, 1), groups: int = 1, out: tuple[int, int] | None = None,
) -> Array:  # fmt: skip
    """int32 accumulators ``(N, OH, OW, O)`` of a window whose parameters are known at run time; as :func:`accumulated`."""
    out = out or (x.shape[1], x.shape[2])
    bias = np.zeros(weight.shape[-1], np.int32)
    if a.plain and a.bits == 32 and a.overflow == "wrap":
        acc = np.empty((x.shape[0], *out, weight.shape[-1]), np.int32)
        w = weight.astype(np.int16) - weight_zero.astype(np.int16) if weight_zero.any() else weight
        f = accumulate.conv("wrap")
        f(np.ascontiguousarray(x), np.ascontiguousarray(w), bias, x_zero, window, groups, *_INT32, acc)
        return acc
    found, _ = accumulated(a, x, x_zero, weight, weight_zero, window, groups, bias, out)
    return found.astype(np.int32)


@dataclass(frozen=True, slots=True)
class OnnxLayer(Layer):
    """A layer with constant weights whose input and output have their channels where ONNX has them."""

    channels_first: bool = True
    transposed: bool = False
    """the input is a matrix ``(K, M)``"""
    stored: Array | None = None
    """the weight with its zero point, where the register sums those products"""
    weight_zero: Array | None = None

    def padded(self, x: Array) -> Array:
        """The input as ``(N, H, W, C)``, with its padding."""
        g = self.geometry
        if self.channels_first:
            x = x.reshape(g.batch, g.in_c, g.in_h, g.in_w).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(Layer.padded(self, np.ascontiguousarray(x.T if self.transposed else x)))

    def watched(self, x: Array) -> tuple[Array, Array]:
        """The accumulators, and what each channel's register held at every step, by the slow kernel."""
        if self.stored is None or self.weight_zero is None:
            return Layer.watched(self, x)
        g = self.geometry
        return accumulated(
            self.accumulator, self.padded(x), self.x_zero, self.stored, self.weight_zero, self.window, g.groups,
            self.bias, (g.out_h, g.out_w),
        )  # fmt: skip

    def probe(self, inputs: Arrays) -> Probe:
        """As :meth:`Layer.probe`; the first output that overflowed is counted in ONNX's order."""
        found = Layer.probe(self, inputs)
        if self.channels_first and found.seen is not None:
            g, at = self.geometry, found.seen[:, FIRST] >= 0
            n, y, x, c = np.unravel_index(found.seen[at, FIRST], (g.batch, g.out_h, g.out_w, g.out_c))
            found.seen[at, FIRST] = np.ravel_multi_index((n, c, y, x), (g.batch, g.out_c, g.out_h, g.out_w))
        return found

    def as_input(self, image: Array) -> Array:
        """``(N, H, W, C)`` values in the layer's own layout."""
        g = self.geometry
        if self.channels_first:
            return image.transpose(0, 3, 1, 2)
        rows = image.reshape(g.in_w, g.in_c)
        return rows.T if self.transposed else rows

    def output_index(self, y: int, x: int, channel: int) -> tuple[int, ...]:
        """Where output ``(0, y, x, channel)`` lies."""
        return (0, channel, y, x) if self.channels_first else (x, channel)

    def as_rows(self, out: Array) -> Array:
        """Outputs in the layer's own layout as ``(N, OH, OW, O)``."""
        g = self.geometry
        if not self.channels_first:
            return Layer.as_rows(self, out)
        return out.reshape(g.batch, g.out_c, g.out_h, g.out_w).transpose(0, 2, 3, 1)

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """One inference of the layer."""
        acc, out = self.accumulate(inputs[self.position]), outputs[0]
        if not self.channels_first:
            self.requantize(acc, self.clamp, out)
            return
        made = np.empty(acc.shape, out.dtype)
        self.requantize(acc, self.clamp, made)
        out[...] = made.transpose(0, 3, 1, 2).reshape(out.shape)


def _shared(r: Requantize) -> dict[str, Any]:
    """The settings of a requantization that a :class:`Layer` holds under the same names."""
    return {f.name: getattr(r, f.name) for f in fields(Layer) if f.name in r.__struct_fields__}


def static_layer(
    site: Site,
    geometry: Geometry,
    pad: tuple[int, int, int, int],
    x: Tensor,
    x_zero: int,
    weight: tuple[Tensor, Array, Array],
    bias: Array,
    scales: Scales,
    zero: int,
    *,
    channels_first: bool,
    transposed: bool = False,
    factors: tuple[tuple[tuple[float, ...], ...], float] = ((), 1.0),
) -> Bound:
    """The layer of constant parameters; ``weight`` is the tensor, its values ``(KH, KW, C / G, O)`` and zero points."""
    g, out, operands = geometry, site.outputs[0].qtype, site.numerics.operands
    w, stored, weight_zero = weight
    if operands.weight_zero_point == "ignored":
        weight_zero = np.zeros_like(weight_zero)
    bias, fill = changed_bias(operands, bias), 0 if operands.padding == "zero" else x_zero
    x_zero = 0 if operands.input_zero_point == "ignored" else x_zero
    if site.numerics.requantize.zero_point == "ignored":
        zero = 0
    a = effective(site.numerics.accumulator, x, w, depthwise=g.groups == g.in_c == g.out_c > 1)
    pairs = a.order in ("pairs16", "spill16") and bool(weight_zero.any())
    plain = stored.astype(np.int16) - weight_zero.astype(np.int16) if weight_zero.any() else stored
    plain = np.ascontiguousarray(plain)
    policy, width = registers(a, register_range(plain, bias, x.qtype.min - x_zero, x.qtype.max - x_zero))
    layer = OnnxLayer(
        geometry=g,
        window=(g.stride_h, g.stride_w, g.dilation_h, g.dilation_w),
        pad=pad,
        weight=plain,
        bias=bias,
        x_zero=x_zero,
        input_range=(x.qtype.min, x.qtype.max),
        input_dtype=x.qtype.dtype,
        accumulator=a,
        policy=policy,
        width=width,
        scales=scales,
        **_shared(site.numerics.requantize),
        saturating=True,
        zero=zero,
        clamp=site.within((out.min, out.max)),
        fill=fill,
        factors=factors,
        channels_first=channels_first,
        transposed=transposed,
        stored=np.ascontiguousarray(stored) if pairs else None,
        weight_zero=weight_zero if pairs else None,
    )
    return Bound(layer.run, layer.probe)


def numerators(input_scale: float, weight_scale: Iterable[float], alpha: float = 1.0) -> list[tuple[float, ...]]:
    """The numerators of a layer's scales: ``alpha * input_scale``, rounded to float32, with each weight scale."""
    first = float(np.float32(alpha) * np.float32(input_scale))
    return [(first, float(s)) for s in weight_scale]
