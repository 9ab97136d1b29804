"""Binds the ops of Larq Compute Engine: convolutions of +1 and -1 in packed bits, and the way there and back.

Their arithmetic is the engine's own under every numerics profile; a profile chooses among :data:`VARIANTS`.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.rounding import from_float, ties_away
from fxsim.errors import UnsupportedOp, listed
from fxsim.fixed.binary import conv_words, outside_sum, tap_values
from fxsim.kernels import pointwise
from fxsim.kernels.binary import both
from fxsim.kernels.ordered import HIGH, watch
from fxsim.model.graph import Tensor
from fxsim.model.ops.binary import BIAS, MULTIPLIER, THRESHOLD, WORD, BinaryConv2D, Dequantize, binary_geometry
from fxsim.model.ops.pool import Pool2D, pool_geometry
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import INT32, Arrays, Bound, Probe, Site, scalar_quant

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the engine's kernels, as compiled for a machine."""

    counts_zeros: bool
    """a zero outside the image counts half a tap's bits; otherwise float outputs are corrected afterwards"""
    rounding: str
    """of int8 outputs"""


VARIANTS = {
    "optimized": Variant(False, "ties_away"),
    "optimized_aarch64": Variant(False, "ties_even"),
    "reference": Variant(True, "ties_away"),
    "reference_thumb": Variant(True, "ties_even"),
}
"""The first is the default: the portable kernels that Larq's wheel runs on x86, and its reference kernels, are the same but
for zero padding. The NEON kernels round by ``fcvtns``, the reference compiled for Thumb by ``vcvtr``."""
_ACTIVATIONS = {"NONE": INT32, "RELU": (0, INT32[1]), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
_EXACT = 1 << 24
"""Integers up to here are float32 values."""
_NORMAL = 2.0**-126
"""The least normal float32: the engine's interpreter sets the processor to read and write smaller ones as 0."""


def flushed(x: npt.NDArray[Any]) -> Float:
    """``x`` as float32, with zeros of its sign for what is not normal: tiny is what rounds below, as x86 decides it."""
    tiny = np.abs(x) < (_NORMAL * (1 - 2.0**-25) if x.dtype == np.float64 else np.float32(_NORMAL))
    return np.where(tiny, np.copysign(np.float32(0), x), x).astype(np.float32)


def pack(bits: Array) -> npt.NDArray[np.int32]:
    """``(..., C)`` of 0 and 1 as int32 words, the first bit lowest, unused bits 0."""
    unused = -bits.shape[-1] % WORD
    padded = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, unused)]) if unused else bits
    raw = np.packbits(padded, axis=-1, bitorder="little")
    return np.ascontiguousarray(raw).view("<u4").view(np.int32)


def unpack(words: Array, channels: int) -> npt.NDArray[np.uint8]:
    """The first ``channels`` bits of int32 words along the last axis."""
    raw = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(raw, axis=-1, bitorder="little")[..., :channels]


@dataclass(frozen=True, slots=True)
class Layer:
    """A prepared binary convolution. Its register counts unequal bits; ``2 * count = depth - dot`` goes on."""

    geometry: Geometry
    window: tuple[int, int, int, int]
    pad: tuple[int, int, int, int]
    weights: tuple[Array, ...]
    """uint32 ``(KH * KW * words, O / groups)`` of each group"""
    depth: int
    """products of one output"""
    zeros: Array | None
    """int32 ``(OH, OW, O)``: what taps outside the image added to ``dot`` too much, where zeros are counted"""

    def dots(self, x: Array) -> npt.NDArray[np.int32]:
        """The sums of products, int32 ``(N, OH, OW, O)``."""
        g, words = self.geometry, x.view(np.uint32)
        taps, parts = (g.kernel_h, g.kernel_w), np.split(words, g.groups, axis=3)
        made = [
            conv_words(np.ascontiguousarray(part), w, self.window, taps, self.pad, self.depth)
            for part, w in zip(parts, self.weights, strict=True)
        ]
        acc = made[0] if g.groups == 1 else np.concatenate(made, axis=3)
        return acc if self.zeros is None else acc - self.zeros

    def twice(self, x: Array) -> npt.NDArray[np.int32]:
        """Twice the count of unequal bits: what the engine clamps and scales."""
        return np.int32(self.depth) - self.dots(x)

    def register(self, doubled: Array) -> Probe:
        """The register that counts: it starts at 0 and only goes up."""
        seen = watch(self.geometry.out_c)
        seen[:, HIGH] = (doubled >> 1).reshape(-1, self.geometry.out_c).max(axis=0)
        return Probe(32, 0, 0, seen)


def _constant(t: Tensor, what: str) -> Array:
    if t.data is None:
        raise UnsupportedOp(f"{what} {t.name!r} is computed at run time; supported: constants")
    return t.data


def _layer(site: Site, attrs: BinaryConv2D, *, counts_zeros: bool) -> Layer:
    g = binary_geometry(list(site.inputs), attrs)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w, g.dilation_h, g.dilation_w)
    window = (g.stride_h, g.stride_w, g.dilation_h, g.dilation_w)
    ends = [
        (out - 1) * window[i] + (kernel - 1) * window[2 + i] + 1
        for i, (out, kernel) in enumerate(((g.out_h, g.kernel_h), (g.out_w, g.kernel_w)))
    ]
    pad = (top, max(0, ends[0] - g.in_h - top), left, max(0, ends[1] - g.in_w - left))
    w = np.ascontiguousarray(_constant(site.input(1), "weight")).view(np.uint32)
    if 2 * g.kernel_h * g.kernel_w * w.shape[3] * WORD > INT32[1]:
        raise UnsupportedOp(f"{g.window} products an output; allowed: {INT32[1] // 2}, doubled in an int32")
    weights = tuple(
        np.ascontiguousarray(part.reshape(g.out_c // g.groups, -1).T) for part in np.split(w, g.groups, axis=0)
    )
    zeros = None
    if counts_zeros:
        zeros = outside_sum(_taps(site, g), (g.in_h, g.in_w), (g.out_h, g.out_w), window, (top, left))
    return Layer(g, window, pad, weights, g.window, zeros)


def _taps(site: Site, g: Geometry) -> npt.NDArray[np.int32]:
    weight = np.ascontiguousarray(_constant(site.input(1), "weight")).view(np.uint32)
    return tap_values(weight, g.in_c // g.groups)


@dataclass(frozen=True, slots=True)
class Transform:
    """``clamp(dot) * multiplier + bias`` in float32, of ``x = depth - dot``: the change of sign lies in the constants."""

    low: int
    high: int
    multiplier: Float
    bias: Float
    correction: Float | None = None
    """``(OH, OW, O)``, added behind: minus what a padding of ones has added where there should be zeros"""
    corrected: Array | None = None
    """``(OH, OW, 1)``: where it is added"""

    def __call__(self, x: Array, *, clamp: bool = True) -> Float:
        """Each operation is rounded to float32; no two are fused."""
        clamped = np.maximum(np.minimum(x, np.int32(self.high)), np.int32(self.low)) if clamp else x
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, as in the engine
            y = flushed(clamped.astype(np.float32) * self.multiplier + self.bias)
            if self.correction is not None and self.corrected is not None:
                np.add(y, self.correction, out=y, where=self.corrected)
                y = flushed(y)
        return y


def _transform(site: Site, layer: Layer, activation: str, scale: float, zero: int) -> Transform:
    """Float64 until the constants are done: ``-m / scale`` and ``(b + depth * m) / scale + zero``."""
    if activation not in _ACTIVATIONS:
        raise UnsupportedOp(f"fused activation is {activation}; supported: {listed(_ACTIVATIONS)}")
    least, most = _ACTIVATIONS[activation]
    depth = layer.depth
    m, b = (_constant(site.input(i), what) for i, what in ((MULTIPLIER, "multiplier"), (BIAS, "bias")))
    wide = flushed(m).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        multiplier = flushed(-1 * wide / scale)
        bias = flushed((flushed(b).astype(np.float64) + float(depth) * wide) / scale + zero)
    if not (np.all(np.isfinite(multiplier)) and np.all(np.isfinite(bias))):
        raise UnsupportedOp("a multiplier or a bias is not finite in float32; supported: finite ones")
    return Transform(depth - min(most, depth), depth - max(least, -depth), multiplier, bias)


def _corrected(site: Site, layer: Layer, transform: Transform) -> Transform:
    """The transform with the correction of a padding of ones to one of zeros, made in float32 as the engine makes it."""
    g, before = layer.geometry, (layer.pad[0], layer.pad[2])
    sizes, outs = (g.in_h, g.in_w), (g.out_h, g.out_w)
    reach = (g.kernel_h - 1) * g.dilation_h + 1, (g.kernel_w - 1) * g.dilation_w + 1
    if reach[0] > sizes[0] or reach[1] > sizes[1]:
        raise UnsupportedOp(
            f"zero padding of a {reach[0]}x{reach[1]} window on an image of {sizes[0]}x{sizes[1]}; "
            "supported by the engine's optimized kernels: windows within the image"
        )
    if layer.depth >= _EXACT:
        raise UnsupportedOp(f"zero padding of {layer.depth} products an output; supported: below {_EXACT}")
    taps = _taps(site, g)
    outside = outside_sum(taps, sizes, outs, layer.window, before)
    count = outside_sum(np.ones_like(taps[:1]), sizes, outs, layer.window, before)
    m = _constant(site.input(MULTIPLIER), "multiplier")
    with np.errstate(over="ignore"):
        correction = -flushed(m) * outside.astype(np.float32)
    return Transform(
        transform.low, transform.high, transform.multiplier, transform.bias, correction, np.asarray(count > 0)
    )


def bconv_2d(site: Site) -> Bound:
    """``clamp(sum(x * w)) * multiplier + bias`` of +1 and -1; to int8, its rounding; to bits, ``count > threshold``.

    ``count`` is the number of unequal bits, ``(depth - sum) / 2``. Padding is with +1, or with 0 as ``pad_values`` says.
    Zero padding needs, as in the engine, a float output and no activation, or a reference variant and even channels.

    Source: larq_compute_engine/tflite/kernels/bconv2d.cc; core/bconv2d/output_transform.h, reference.h and
    zero_padding_correction.h; core/bgemm/kernels_aarch64.h @ e6860fc.
    """
    attrs, out = site.node.attributes, site.outputs[0]
    assert isinstance(attrs, BinaryConv2D)
    site.types(output="float32 int8 int32")
    variant = VARIANTS[site.variant(*VARIANTS)]
    zero_padding = attrs.padding == "SAME" and attrs.pad_value == 0
    if zero_padding and variant.counts_zeros and attrs.channels_in % 2:
        raise UnsupportedOp(f"zero padding of {attrs.channels_in} channels; supported by the reference: an even number")
    plain_float = out.qtype.name == "float32" and attrs.activation == "NONE"
    if zero_padding and not variant.counts_zeros and not plain_float:
        raise UnsupportedOp(
            f"zero padding with activation {attrs.activation} into {out.qtype.name}; supported by the engine's "
            "optimized kernels: NONE into float32"
        )
    layer = _layer(site, attrs, counts_zeros=zero_padding and variant.counts_zeros)
    if attrs.packed:
        return _packed(site, layer)
    scale, zero = scalar_quant(out) if out.qtype.name == "int8" else (1.0, 0)
    transform = _transform(site, layer, attrs.activation, scale, zero)
    if zero_padding and not variant.counts_zeros:
        transform = _corrected(site, layer, transform)
    if out.qtype.kind == "float":
        return _float(layer, transform)
    return _int8(layer, transform, variant)


def _packed(site: Site, layer: Layer) -> Bound:
    threshold = _constant(site.input(THRESHOLD), "threshold")

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = pack(layer.twice(inputs[0]) >> 1 > threshold)

    return Bound(run, lambda inputs: layer.register(layer.twice(inputs[0])))


def _float(layer: Layer, transform: Transform) -> Bound:
    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = transform(layer.twice(inputs[0]))

    def probe(inputs: Arrays) -> Probe:
        x = layer.twice(inputs[0])
        return _clamps(layer, x, transform(x), transform(x, clamp=False))

    return Bound(run, probe)


def _int8(layer: Layer, transform: Transform, variant: Variant) -> Bound:
    rounded, one = pointwise.quantize(variant.rounding, saturating=True), np.float32(1)

    def quantize(y: Float, low: int, high: int, out: Array) -> Array:
        rounded(y.reshape(-1), one, 0, low, high, out.reshape(-1))
        return out

    def run(inputs: Arrays, outputs: Arrays) -> None:
        quantize(transform(layer.twice(inputs[0])), -128, 127, outputs[0])

    def probe(inputs: Arrays) -> Probe:
        x = layer.twice(inputs[0])
        shape = x.shape
        final = quantize(transform(x), -128, 127, np.empty(shape, np.int32))
        return _clamps(layer, x, final, quantize(transform(x, clamp=False), *INT32, np.empty(shape, np.int32)))

    return Bound(run, probe)


def _clamps(layer: Layer, x: Array, final: Array, free: Array) -> Probe:
    p = layer.register(x)
    p.clamped_low, p.clamped_high = int(np.sum(final > free)), int(np.sum(final < free))
    return p


def bmax_pool_2d(site: Site) -> Bound:
    """The greatest cell of a window: +1 unless all are -1, so that a bit is set where it is set in all."""
    attrs = site.node.attributes
    assert isinstance(attrs, Pool2D)
    site.types(output="int32")
    g, kernel = pool_geometry(list(site.inputs), attrs), both()
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w)
    window = (g.kernel_h, g.kernel_w, g.stride_h, g.stride_w, top, left)
    return Bound(lambda inputs, outputs: kernel(inputs[0], window, outputs[0]))


def quantize(site: Site) -> Bound:
    """The sign of each channel as a bit: set for ``x < zero``, so for -1 or False.

    Not below 0 are ``-0.0``, NaN, and floats that are not normal: see :func:`flushed`.

    Source: larq_compute_engine/tflite/kernels/quantization.cc, core/bitpacking/bitpack.h @ e6860fc.
    """
    x = site.input(0)
    site.types(output="int32")
    zero = 1 if x.qtype.kind == "bool" else scalar_quant(x)[1] if x.quant is not None else 0

    least = -_NORMAL if x.qtype.kind == "float" else zero - 1

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = pack(inputs[0] <= least)

    return Bound(run)


def dequantize(site: Site) -> Bound:
    """+1 for a bit that is not set, else -1: as float, as bool (True, False), or as int8 ``zero +- round(1 / scale)``.

    The quotient is a float32; ties go away from zero, and what int8 does not hold saturates.

    Source: larq_compute_engine/tflite/kernels/quantization.cc @ e6860fc.
    """
    attrs, out = site.node.attributes, site.outputs[0]
    assert isinstance(attrs, Dequantize)
    site.types(output="float32 int8 bool")
    values: tuple[float, float] = (1, 0) if out.qtype.kind == "bool" else (1.0, -1.0)
    if out.qtype.name == "int8":
        (scale, zero), one = scalar_quant(out), np.float32(1)
        with np.errstate(over="ignore"):
            step = float(one / np.float32(scale))
        if not isfinite(step) or step > INT32[1]:
            raise UnsupportedOp(f"output {out.name!r} has a scale of {scale}; supported: 1 / scale within an int32")
        whole = from_float(ties_away, step)
        values = min(127, zero + whole), max(-128, zero - whole)
    table = np.array(values, out.qtype.dtype)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = table[unpack(inputs[0], attrs.channels)]

    return Bound(run)


BINDINGS = {
    "LceBconv2d": bconv_2d,
    "LceBMaxPool2d": bmax_pool_2d,
    "LceQuantize": quantize,
    "LceDequantize": dequantize,
}
