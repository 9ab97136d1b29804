"""Variants ``lanes``: ops as LiteRT's vector kernels compute them, in blocks of lanes; the rest as its reference does.

Where a block ends depends on an element's position, so the same values may round one way or the other.
"""

import math
from dataclasses import replace

import msgspec
import numpy as np

from fxsim.arith import gemmlowp16
from fxsim.arith.multiplier import float32, quantize_multiplier
from fxsim.errors import UnsupportedOp
from fxsim.kernels import lanes
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activated
from fxsim.model.ops.reduce import Reduce, reduced_axes
from fxsim.model.qtype import Array, Shape
from fxsim.sim import activation, arithmetic, quantize, reduce
from fxsim.sim.arithmetic import flat
from fxsim.sim.base import (
    INT32,
    Arrays,
    Bound,
    Probe,
    Site,
    clamped,
    make_scales,
    power_of_two,
    scalar_quant,
    symmetric,
)

VECTOR = {"int8": 16, "uint8": 8}
"""elements in a block of a sum or a product of two tensors"""


def blocks(size: int, width: int, segment: int, way: int = lanes.BLOCK) -> Array:
    """The way of each of ``size`` elements, which come in segments: blocks of ``width``, then what is left of a segment."""
    at = np.arange(size) % max(segment, 1)
    return np.where(at < segment - segment % width, way, lanes.SCALAR).astype(np.int8)


def broadcast_segment(a: Shape, b: Shape) -> tuple[int, bool] | None:
    """``(length, scalar)`` of the runs that two broadcast tensors are walked in: one operand is a ``scalar`` in each.

    None where broadcast axes alternate too often, for which there is only the reference.

    Source: tflite/kernels/internal/reference/process_broadcast_shapes.h; optimized_ops.h, BinaryBroadcastFiveFold @
    LiteRT 2.3.0.
    """
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    if a == b:
        return math.prod(a), False
    last = max(i for i in range(rank) if a[i] != b[i])
    if a[last] != 1:
        a, b = b, a
    inner = math.prod(a[last + 1 :])
    i, run = last, 1
    while i >= 0 and a[i] == 1:
        run, i = run * b[i], i - 1
    for same in (True, False, True):
        while i >= 0 and (a[i] == b[i] if same else b[i] == 1):
            i -= 1
    if i >= 0:
        return None
    return (inner, False) if inner > 1 else (run, True)


def add(site: Site) -> Bound:
    """As ADD of the reference; in blocks of 16 (uint8, or with a scalar operand: 8) terms are rounded once, or cut off.

    16-bit tensors have blocks where nothing is broadcast.
    """
    site.types(input0="int8 uint8 int16", input1=site.input(0).qtype.name, output=site.input(0).qtype.name)
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    attrs = site.node.attributes
    assert isinstance(attrs, Sum)
    symmetric(a, b, out)
    if out.qtype.name == "int16" and attrs.pot_scale_int16:
        if None not in (power_of_two(scalar_quant(t)[0]) for t in (a, b, out)):
            return arithmetic.add(_plain(site))
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = map(scalar_quant, (a, b, out))
    left, twice = 15 if out.qtype.name == "int16" else 20, 2 * max(a_scale, b_scale)
    pairs = [quantize_multiplier(m) for m in (a_scale / twice, b_scale / twice, twice / ((1 << left) * out_scale))]
    if pairs[2][1] > 0:
        raise UnsupportedOp(
            f"output scale {out_scale:g} is too small for input scales {a_scale:g} and {b_scale:g}: the engine refuses it"
        )
    q, shift = (np.array(v, np.int64) for v in zip(*pairs, strict=True))
    zeros, kernel = np.array([a_zero, b_zero], np.int64), lanes.add(out.qtype.bits)
    way = _ways_of_sum(site)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        terms = flat(inputs[0], out.shape), flat(inputs[1], out.shape)
        kernel(*terms, way, zeros, q, shift, left, out_zero, *clamp, y.reshape(-1))

    return clamped(run, out, site.clamp(attrs.activation))


def _ways_of_sum(site: Site) -> Array:
    """The way of each element of a sum."""
    out, found = site.outputs[0], broadcast_segment(site.input(0).shape, site.input(1).shape)
    if out.qtype.name == "int16":
        same = site.input(0).shape == site.input(1).shape
        return blocks(out.elements, 16, out.elements, lanes.SHIFT_FIRST if same else lanes.SCALAR)
    if found is None:
        return np.zeros(out.elements, np.int8)
    segment, scalar = found
    if scalar or out.qtype.name == "uint8":
        return blocks(out.elements, 8, segment, lanes.SHIFT_LAST)
    return blocks(out.elements, 16, segment, lanes.SHIFT_FIRST)


def mul(site: Site) -> Bound:
    """As MUL of the reference; blocks of 16 (uint8: 8) saturate to 16 bits before the zero point is added.

    With a scalar operand blocks of uint8 cut to 16 bits instead.
    """
    site.types(input0="int8 uint8", input1=site.input(0).qtype.name, output=site.input(0).qtype.name)
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    attrs = site.node.attributes
    assert isinstance(attrs, Activated)
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = map(scalar_quant, (a, b, out))
    s, kernel = make_scales(site, [(a_scale, b_scale)], out_scale), lanes.multiply()
    found, way = broadcast_segment(a.shape, b.shape), np.zeros(out.elements, np.int8)
    if found is not None:
        cut = found[1] and out.qtype.name == "uint8"
        way = blocks(out.elements, VECTOR[out.qtype.name], found[0], lanes.CUT if cut else lanes.BLOCK)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        product = (inputs[0].astype(np.int32) - a_zero) * (inputs[1].astype(np.int32) - b_zero)
        kernel(product.reshape(-1), way, s.q[0], s.shift[0], out_zero, *clamp, y.reshape(-1))

    return clamped(run, out, site.clamp(attrs.activation))


def mean(site: Site) -> Bound:
    """MEAN over height and width of four kept axes: the zero point is rescaled and rounded by itself, blocks tie up.

    ``out = clamp(round(M / n * sum(x)) + (out_zero - trunc(x_zero * M +- 1/2)))``, ``M`` in float32; 16 channels a block.

    Source: tflite/kernels/internal/optimized/integer_ops/mean.h @ LiteRT 2.3.0.
    """
    x, out, attrs = site.input(0), site.outputs[0], site.node.attributes
    assert isinstance(attrs, Reduce)
    if not (attrs.keep_dims and reduced_axes(list(site.inputs)) == (1, 2) and len(x.shape) == 4):
        return reduce.mean(_plain(site))
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    n = x.shape[1] * x.shape[2]
    offset = float32(float32(x_zero * x_scale) / out_scale)
    bias = out_zero - math.trunc(float32(offset + (0.5 if offset > 0 else -0.5)))
    q, shift = quantize_multiplier(float32(x_scale / float32(n * out_scale)))
    clamp, kernel = (out.qtype.min, out.qtype.max), lanes.rescale()
    way = blocks(out.elements, 16, out.shape[-1])

    def accumulate(inputs: Arrays) -> Array:
        return np.sum(inputs[0], axis=(1, 2), dtype=np.int64).astype(np.int32).reshape(-1)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        kernel(accumulate(inputs), way, q, shift, bias, *clamp, outputs[0].reshape(-1))

    def probe(inputs: Arrays) -> Probe:
        acc = accumulate(inputs)
        free = np.empty(acc.shape, np.int32)
        kernel(acc, way, q, shift, bias, *INT32, free)
        low, high = int(np.sum(free < clamp[0])), int(np.sum(free > clamp[1]))
        return Probe(32, low, high, np.array([[acc.min(), acc.max(), 0, -1]], np.int64))

    return Bound(run, probe)


def quantize_(site: Site) -> Bound:
    """QUANTIZE: from float in blocks of 8, from 8 to 8 bits in blocks of 16; other types as the reference.

    Source: tflite/kernels/internal/optimized/optimized_ops.h, AffineQuantize, Requantize @ LiteRT 2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    out_scale, out_zero = scalar_quant(out)
    clamp = out.qtype.min, out.qtype.max
    if x.qtype.name == "float32" and out.qtype.name in ("int8", "uint8", "int16"):
        from_float, inverse, way = lanes.quantize(), np.float32(1.0 / out_scale), blocks(out.elements, 8, out.elements)

        def run_float(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
            from_float(inputs[0].reshape(-1), way, inverse, out_scale, out_zero, *clamp, y.reshape(-1))

        return clamped(run_float, out, clamp)
    if x.qtype.name not in VECTOR or out.qtype.name not in VECTOR:
        return quantize.quantize(_plain(site))
    x_scale, x_zero = scalar_quant(x)
    s, kernel, way = make_scales(site, [(x_scale,)], out_scale), lanes.rescale(), blocks(out.elements, 16, out.elements)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        acc = inputs[0].astype(np.int32).reshape(-1) - x_zero
        kernel(acc, way, s.q[0], s.shift[0], out_zero, *clamp, y.reshape(-1))

    return clamped(run, out, clamp)


def dequantize(site: Site) -> Bound:
    """``out = scale * x + (-zero * scale)`` in float32 in blocks of 8; the rest as the reference.

    Source: tflite/kernels/internal/optimized/optimized_ops.h, Dequantize @ LiteRT 2.3.0.
    """
    site.types(output="float32")
    x = site.input(0)
    if x.qtype.name not in ("int8", "uint8", "int16") or (x.quant is not None and not x.quant.per_tensor):
        return quantize.dequantize(_plain(site))
    scale, zero = scalar_quant(x)
    body, offset = x.elements - x.elements % 8, np.float32(-zero * scale)
    scale32 = np.float32(scale)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        flat, out = inputs[0].reshape(-1), outputs[0].reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            out[:body] = flat[:body].astype(np.float32) * scale32 + offset
            out[body:] = scale * (flat[body:].astype(np.int64) - zero)

    return Bound(run)


def _gemmlowp16(site: Site, function: str, shifts: tuple[int, ...]) -> Bound | None:
    """The function in 16-bit registers, for input scales of ``2**-12`` times ``2**n``, n in ``shifts``; else None."""
    x, out = site.input(0), site.outputs[0]
    exponent = power_of_two(scalar_quant(x)[0])
    if exponent is None or exponent + 12 not in shifts or scalar_quant(out)[0] != 2.0**-15:
        return None
    symmetric(x, out)
    raw = range(x.qtype.min, x.qtype.max + 1)
    of = gemmlowp16.logistic if function == "logistic" else lambda v: gemmlowp16.tanh(v, exponent + 12)
    entries = np.array([of(v) for v in raw], np.int16)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        np.take(entries, inputs[0].astype(np.int64) - x.qtype.min, out=outputs[0])

    return Bound(run)


def logistic16(site: Site) -> Bound:
    """LOGISTIC of 16 bits, in 16-bit fixed point where the input scale is ``2**-12``, else as LOGISTIC itself.

    Source: tflite/kernels/activations.cc, SigmoidEval; optimized_ops.h, Logistic @ LiteRT 2.3.0.
    """
    return _gemmlowp16(site, "logistic", (0,)) or activation.logistic(_plain(site))


def tanh16(site: Site) -> Bound:
    """TANH of 16 bits, in 16-bit fixed point where the input scale is ``2**-12`` or ``2**-11``, else as TANH itself.

    Source: tflite/kernels/activations.cc, TanhEval; optimized_ops.h, Tanh @ LiteRT 2.3.0.
    """
    return _gemmlowp16(site, "tanh", (0, 1)) or activation.tanh(_plain(site))


def _plain(site: Site) -> Site:
    """The site without its variant."""
    return replace(site, numerics=msgspec.structs.replace(site.numerics, variant=""))


VARIANTS = {
    ("LOGISTIC", "gemmlowp16"): logistic16,
    ("TANH", "gemmlowp16"): tanh16,
    ("ADD", "lanes"): add,
    ("MUL", "lanes"): mul,
    ("MEAN", "lanes"): mean,
    ("QUANTIZE", "lanes"): quantize_,
    ("DEQUANTIZE", "lanes"): dequantize,
}
