"""A sum of products over a window and its requantization, prepared: what every layer with an accumulator runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fxsim.arith.bounds import bits_needed, dot_range
from fxsim.arith.overflow import highest, lowest
from fxsim.errors import UnsupportedOp
from fxsim.kernels import accumulate
from fxsim.kernels.ordered import ordered, watch
from fxsim.kernels.requantize import requantize
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.numerics import Accumulator, Operands
from fxsim.sim.base import INT32, Arrays, Probe, Scales, Site, make_scales, scalar_quant, scheme_of
from fxsim.sim.rescale import parts, rounded

RESCALED_BITS = 48
"""what the engines' rescale of a 64-bit sum takes"""
SEPARATE_AREA = 25
"""up to which window size XNNPACK has a kernel of its own for channels that do not mix, which saturates on both sides"""


Pad = tuple[int, int, int, int]


def padded(x: Array, geometry: Geometry, pad: Pad, spread: tuple[int, int], zero: int) -> Array:
    """``x`` as ``(N, H, W, C)``, spread and padded with ``zero`` as :class:`Layer` says."""
    g, (down, across) = geometry, spread
    x = x.reshape(g.batch, g.in_h, g.in_w, g.in_c)
    if not any(pad) and spread == (1, 1):
        return x
    h, w = (g.in_h - 1) * down + 1, (g.in_w - 1) * across + 1
    top, bottom, left, right = (max(0, p) for p in pad)
    result = np.full((g.batch, top + h + bottom, left + w + right, g.in_c), zero, x.dtype)
    result[:, top : top + h : down, left : left + w : across] = x
    cut_top, cut_bottom, cut_left, cut_right = (max(0, -p) for p in pad)
    return result[:, cut_top : result.shape[1] - cut_bottom, cut_left : result.shape[2] - cut_right]


def read_on(image: Array, beyond: tuple[int, int]) -> Array:
    """``(N, H, W, C)`` with rows and columns ``beyond`` its end: what lies next in memory; zeros after the last row."""
    n, h, w, c = image.shape
    memory = np.concatenate([image.reshape(n, -1), np.zeros((n, (beyond[0] * w + beyond[1]) * c), image.dtype)], axis=1)
    size = w + beyond[1]
    return np.stack(
        [memory[:, y * w * c : (y * w + size) * c].reshape(n, size, c) for y in range(h + beyond[0])], axis=1
    )


@dataclass(frozen=True, slots=True)
class Layer:
    """A prepared sum of products over a window, and its requantization."""

    geometry: Geometry
    window: tuple[int, int, int, int]
    pad: tuple[int, int, int, int]
    """rows above and below, columns left and right, of the input's zero point; where negative, the input is cut"""
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
    width: int
    """bits of the integers that the kernel adds up in: 32 wherever the sums fit"""
    scales: Scales
    scheme: str
    rounding: str
    lanes: int
    tail: str
    """the rounding of what lies beyond the last full block of lanes"""
    lanes_over: Literal["channels", "elements"]
    saturating: bool | Literal["above"]
    """what a float rescale beyond 32 bits does"""
    zero: int
    clamp: tuple[int, int]
    spread: tuple[int, int] = (1, 1)
    """distance of neighbouring inputs, down and across; between them lie zero points"""
    position: int = 0
    """of the data among the layer's inputs"""
    fill: int | None = None
    """what stands outside the image; None: ``x_zero``"""
    dropped: tuple[int, int] = (0, 0)
    """rows and columns that a window reaches beyond the padded image, into the memory that follows"""
    zero_point: Literal["after", "before", "ignored"] = "after"
    factors: tuple[tuple[tuple[float, ...], ...], float] = ((), 1.0)
    """numerators and denominator of the real scales"""

    def padded(self, x: Array) -> Array:
        """The input as ``(N, H, W, C)``, spread and with its padding."""
        fill = self.x_zero if self.fill is None else self.fill
        image = padded(x, self.geometry, self.pad, self.spread, fill)
        return read_on(image, self.dropped) if any(self.dropped) else image

    def accumulate(self, x: Array) -> Array:
        """The accumulators ``(N, OH, OW, O)``, as the register holds them at the end."""
        g = self.geometry
        if not self.accumulator.plain:
            return self.watched(x)[0]
        acc = np.empty((g.batch, g.out_h, g.out_w, g.out_c), f"i{self.width // 8}")
        limits = lowest(self.accumulator.bits), highest(self.accumulator.bits)
        x = self.padded(x)
        if g.groups == g.in_c and g.groups > 1:
            multiplier = g.out_c // g.in_c
            x = x if multiplier == 1 else np.repeat(x, multiplier, axis=3)
            weight = self.weight[:, :, 0]
            f = accumulate.depthwise(self.policy, self.width)
            f(x, weight, self.bias, self.x_zero, self.window, *limits, acc)
        else:
            f = accumulate.conv(self.policy, self.width)
            f(x, self.weight, self.bias, self.x_zero, self.window, g.groups, *limits, acc)
        unused = self.width - self.accumulator.bits
        if self.policy == "wrap" and self.accumulator.overflow == "wrap" and unused > 0:
            acc = (acc << unused) >> unused
        return acc

    def watched(self, x: Array) -> tuple[Array, Array]:
        """The accumulators, and what each channel's register held at every step, by the slow kernel."""
        g, a = self.geometry, self.accumulator
        acc, seen = np.empty((g.batch, g.out_h, g.out_w, g.out_c), np.int64), watch(g.out_c)
        lift = 128 if x.dtype == np.int8 else 0
        scaled = a.product_shift or a.product_bits  # else no product is rounded, so that one kernel serves all
        rules = (a.product_rounding, a.product_overflow) if scaled else ("to_neg", "saturate")
        f = ordered(a.order, a.overflow, *rules)
        steps = (a.bits, a.lanes, a.at == "end", a.product_shift, a.product_bits)
        weight = self.weight.view()
        weight.flags.writeable = False  # which kernels of constants and of others' weights would be compiled apart for
        f(self.padded(x), weight, self.bias, self.x_zero, lift, self.window, g.groups, *steps, acc, seen)
        return acc, seen

    def requantize(self, acc: Array, clamp: tuple[int, int], out: Array) -> None:
        """The outputs of given accumulators, clamped to ``clamp``."""
        channels, s = self.geometry.out_c, self.scales
        rows, every = acc.reshape(-1, channels), slice(None)
        flat = out.reshape(rows.shape)
        if clamp == INT32 and out.dtype.itemsize < 4:
            flat = np.empty(rows.shape, np.int32)
            self.requantize(acc, INT32, flat)
            out[...] = flat.reshape(out.shape).astype(out.dtype)
            return

        def fill(rounding: str, of: slice, below: slice, y: Array) -> None:
            if self.zero_point == "before":
                seen = parts(self.scheme, rows[below, of], Scales(s.q[of], s.shift[of], s.real[of]))
                if seen is None:
                    raise UnsupportedOp(
                        f"with scheme {self.scheme!r} the zero point cannot come before the rounding here"
                    )
                y[...] = np.clip(rounded(seen, rounding, self.zero, before=True), *clamp)
                return
            f = requantize(self.scheme, rounding, self.saturating)
            f(rows[below, of], s.q[of], s.shift[of], s.real[of], self.zero, *clamp, y)

        over = flat.size if self.lanes_over == "elements" else channels
        whole = over - over % self.lanes if self.lanes else over
        if whole == over:
            fill(self.rounding, every, every, flat)
        elif self.lanes_over == "elements":
            row = whole // channels
            rest = flat[row:].copy()
            fill(self.tail, every, slice(row, None), rest)
            fill(self.rounding, every, every, flat)
            flat.reshape(-1)[whole:] = rest.reshape(-1)[whole - row * channels :]
        else:
            for rule, of in ((self.rounding, slice(0, whole)), (self.tail, slice(whole, channels))):
                fill(rule, of, every, flat[:, of])

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """One inference of the layer."""
        self.requantize(self.accumulate(inputs[self.position]), self.clamp, outputs[0])

    def probe(self, inputs: Arrays) -> Probe:
        """The register, watched at every step by the slow kernel; and how many outputs the clamp changed."""
        acc, seen = self.watched(inputs[self.position])
        free = np.empty(acc.shape, np.int32)
        self.requantize(acc, INT32, free)
        below, above = int(np.sum(free < self.clamp[0])), int(np.sum(free > self.clamp[1]))
        return Probe(self.accumulator.bits, below, above, seen)

    def as_input(self, image: Array) -> Array:
        """``(N, H, W, C)`` values in the layer's own layout."""
        return image

    def as_rows(self, out: Array) -> Array:
        """Outputs in the layer's own layout as ``(N, OH, OW, O)``."""
        g = self.geometry
        return out.reshape(g.batch, g.out_h, g.out_w, g.out_c)

    def output_index(self, y: int, x: int, channel: int) -> tuple[int, ...]:
        """Where output ``(0, y, x, channel)`` lies."""
        return 0, y, x, channel


def dot_ranges(weight: Array, bias: Array, low: int, high: int) -> list[tuple[int, int]]:
    """:func:`fxsim.arith.bounds.dot_range` of each output channel; ``weight`` ``(..., O)``, inputs without zero point."""
    flat = weight.reshape(-1, weight.shape[-1]).astype(np.int64)
    positive, negative = np.maximum(flat, 0).sum(axis=0), np.minimum(flat, 0).sum(axis=0)
    return [dot_range(int(p), int(n), low, high, int(b)) for p, n, b in zip(positive, negative, bias, strict=True)]


def register_range(weight: Array, bias: Array, low: int, high: int) -> tuple[int, int]:
    """The interval that holds every running sum of every output channel: see :func:`dot_ranges`."""
    ranges = dot_ranges(weight, bias, low, high)
    return min(r[0] for r in ranges), max(r[1] for r in ranges)


def reach(layer: Layer) -> tuple[Array, Array]:
    """The least and greatest whole sum of each channel, for inputs of the layer's range and its padding with zero points."""
    n, bits = layer.geometry.out_c, layer.accumulator.bits
    if layer.policy == "saturate":
        return np.full(n, lowest(bits)), np.full(n, highest(bits))
    low, high = (end - layer.x_zero for end in layer.input_range)
    ends = np.array(dot_ranges(layer.weight.reshape(-1, n), np.zeros(n), low, high), np.int64).T
    least, most = ends + layer.bias.astype(np.int64)
    return least, most


def within(span: tuple[int, int], bits: int) -> bool:
    """True if a register of that width holds every integer of ``span``."""
    return lowest(bits) <= span[0] and span[1] <= highest(bits)


def span_of(weights: Sequence[Array], bias: Array, inputs: tuple[int, int], bits: int) -> tuple[int, int]:
    """The interval of every running sum with any of ``weights``, for an accumulator of ``bits``.

    Raises:
        UnsupportedOp: if sums of a wide accumulator may leave what the engines' rescale takes.
    """
    spans = [register_range(w, bias, *inputs) for w in weights]
    span = min(s[0] for s in spans), max(s[1] for s in spans)
    if bits > 32 and not within(span, RESCALED_BITS):
        raise UnsupportedOp(f"its sums may need {bits_needed(*span)} bits; supported: {RESCALED_BITS}")
    return span


def registers(accumulator: Accumulator, span: tuple[int, int]) -> tuple[str, int]:
    """``(policy, width)`` of the kernel for running sums within ``span``.

    It must saturate only where the bound does not prove that no step leaves the register, and count in 64 bits only
    where the register is wider than 32 and the sums may be.
    """
    bits = accumulator.bits
    free = accumulator.overflow == "wrap" or within(span, bits)
    return "wrap" if free else "saturate", 32 if bits <= 32 or within(span, 32) else 64


def changed_bias(operands: Operands, bias: Array) -> Array:
    """The bias that the engine adds."""
    if operands.bias == "ignored":
        return np.zeros_like(bias)
    bits = operands.bias_bits
    return np.clip(bias, lowest(bits), highest(bits)).astype(bias.dtype) if 0 < bits < 8 * bias.itemsize else bias


def changed_pad(operands: Operands, pad: Pad, same: bool) -> tuple[Pad, tuple[int, int]]:
    """Padding, and rows and columns that a window reaches beyond it, where SAME padding's odd ones are elsewhere."""
    if not same or operands.odd == "end":
        return pad, (0, 0)
    top, bottom, left, right = pad
    if operands.odd == "start":
        return (bottom, top, right, left), (0, 0)
    return (top, min(top, bottom), left, min(left, right)), (max(0, bottom - top), max(0, right - left))


def prepare(
    site: Site,
    geometry: Geometry,
    x: Tensor,
    weights: Sequence[Array],
    bias: Array,
    numerators: Sequence[tuple[float, ...]],
    denominator: float,
    zero: int,
    clamp: tuple[int, int],
    accumulator: Accumulator,
    x_zero: int | None = None,
) -> Layer:
    """The sum of products of ``x`` with the first of ``weights``; no sum may need more than with any of them.

    Rescales are ``numerator / denominator``; the output is ``clamp(rescaled + zero)``. ``x_zero`` other than that of
    ``x`` may be given.
    """
    g, r, bits = geometry, site.numerics.requantize, accumulator.bits
    stored = scalar_quant(x)[1] if x_zero is None else x_zero
    operands = site.numerics.operands
    start = 0 if operands.input_zero_point == "ignored" else stored
    bias = changed_bias(operands, bias)
    span = span_of(weights, bias, (x.qtype.min - start, x.qtype.max - start), bits)
    return Layer(
        g,
        (g.stride_h, g.stride_w, g.dilation_h, g.dilation_w),
        (0, 0, 0, 0),
        weights[0],
        bias,
        start,
        (x.qtype.min, x.qtype.max),
        x.qtype.dtype,
        accumulator,
        *registers(accumulator, span),
        make_scales(site, numerators, denominator, g.out_c, bits),
        *scheme_of(r, bits),
        r.lanes,
        r.tail,
        r.lanes_over,
        r.scheme == "float32",
        0 if r.zero_point == "ignored" else zero,
        site.within(clamp),
        fill=0 if operands.padding == "zero" else stored,
        zero_point=r.zero_point,
        factors=(tuple(numerators), denominator),
    )
