"""Binds ADD, MUL, QUANTIZE, DEQUANTIZE, LOGISTIC and SOFTMAX."""

import math
from collections.abc import Callable

import numpy as np

from fxsim.arith import gemmlowp
from fxsim.arith.multiplier import quantize_multiplier
from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import high_multiply
from fxsim.arith.rounding import shift_right, ties_away
from fxsim.errors import DomainError, UnsupportedOp
from fxsim.kernels import pointwise
from fxsim.kernels.requantize import requantize
from fxsim.kernels.softmax import DIFF_INTEGER_BITS, softmax
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Activated
from fxsim.model.ops.elementwise import Softmax
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Probe, Site, clamp_range, make_scales, scalar_quant

_INT32 = (-(1 << 31), (1 << 31) - 1)


def clamped(run: Callable[[Arrays, Array, tuple[int, int]], None], out: Tensor, clamp: tuple[int, int]) -> Bound:
    """A layer whose last step is a clamp: ``run(inputs, output, clamp)``, probed by opening the clamp to 32 bits."""

    def probe(inputs: Arrays) -> Probe:
        free = np.empty(out.shape, np.int32)
        run(inputs, free, _INT32)
        return Probe(clamped_low=int(np.sum(free < clamp[0])), clamped_high=int(np.sum(free > clamp[1])))

    return Bound(lambda inputs, outputs: run(inputs, outputs[0], clamp), probe)


def _flat(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(-1) if x.shape == shape else np.broadcast_to(x, shape).reshape(-1)


def add(site: Site) -> Bound:
    """``out = clamp(round((a_scale * (a - a_zero) + b_scale * (b - b_zero)) / out_scale) + out_zero)``.

    Both terms are shifted left by 20 (15 for int16), scaled to twice the greater input scale, added and rescaled.

    Source: tflite/kernels/add.cc, reference/add.h @ LiteRT 2.3.0.
    """
    site.types(input0="int8 uint8", input1=site.input(0).qtype.name, output=site.input(0).qtype.name)
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    attrs, r = site.node.attributes, site.integer_scheme()
    assert isinstance(attrs, Activated)
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = map(scalar_quant, (a, b, out))
    left = 20
    twice = 2 * max(a_scale, b_scale)
    pairs = [quantize_multiplier(m) for m in (a_scale / twice, b_scale / twice, twice / ((1 << left) * out_scale))]
    if pairs[2][1] > 0:
        raise UnsupportedOp(
            f"output scale {out_scale:g} is below 2**-19 of the greater input scale {twice / 2:g}: the engine refuses it"
        )
    q, shift = (np.array(v, np.int64) for v in zip(*pairs, strict=True))
    zeros = np.array([a_zero, b_zero], np.int64)
    kernel = pointwise.add(r.scheme, r.rounding)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        flat_a, flat_b = _flat(inputs[0], out.shape), _flat(inputs[1], out.shape)
        kernel(flat_a, flat_b, zeros, q, shift, left, out_zero, *clamp, y.reshape(-1))

    return clamped(run, out, clamp_range(out, attrs.activation))


def mul(site: Site) -> Bound:
    """``out = clamp(round(a_scale * b_scale / out_scale * (a - a_zero) * (b - b_zero)) + out_zero)``.

    Source: tflite/kernels/mul.cc, reference/integer_ops/mul.h @ LiteRT 2.3.0.
    """
    site.types(input0="int8 uint8", input1=site.input(0).qtype.name, output=site.input(0).qtype.name)
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    attrs, r = site.node.attributes, site.numerics.requantize
    assert isinstance(attrs, Activated)
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = map(scalar_quant, (a, b, out))
    s = make_scales(site, [(a_scale, b_scale)], out_scale)
    kernel = requantize(r.scheme, r.rounding)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        product = (inputs[0].astype(np.int32) - a_zero) * (inputs[1].astype(np.int32) - b_zero)
        kernel(product.reshape(-1, 1), s.q, s.shift, s.real, out_zero, *clamp, y.reshape(-1, 1))

    return clamped(run, out, clamp_range(out, attrs.activation))


def quantize(site: Site) -> Bound:
    """``out = clamp(round(x / scale) + zero)`` from float; a rescale by ``x_scale / out_scale`` from integers.

    Variants for quotients beyond 32 bits: ``x86_cast`` (they become ``-2**31``, and adding the zero point wraps) and
    ``saturating_cast`` (Arm).

    Source: tflite/kernels/quantize.cc, reference/quantize.h, reference/requantize.h @ LiteRT 2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    site.types(output="int8 uint8 int16 int32")
    out_scale, out_zero = scalar_quant(out)
    clamp, r = (out.qtype.min, out.qtype.max), site.numerics.requantize
    if x.qtype.kind == "float":
        saturating = site.variant("x86_cast", "saturating_cast") == "saturating_cast"
        from_float, scale = pointwise.quantize(r.rounding, saturating), np.float32(out_scale)

        def run_float(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
            from_float(inputs[0].reshape(-1), scale, out_zero, *clamp, y.reshape(-1))

        return clamped(run_float, out, clamp)
    x_scale, x_zero = scalar_quant(x)
    r, s, kernel = site.integer_scheme(), make_scales(site, [(x_scale,)], out_scale), requantize(r.scheme, r.rounding)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        acc = inputs[0].astype(np.int64).reshape(-1, 1) - x_zero
        kernel(acc, s.q, s.shift, s.real, out_zero, *clamp, y.reshape(-1, 1))

    return clamped(run, out, clamp)


def dequantize(site: Site) -> Bound:
    """``out = scale * (x - zero)``, the product in float64, rounded to float32.

    Source: tflite/kernels/internal/reference/dequantize.h @ LiteRT 2.3.0.
    """
    site.types(output="float32")
    scale, zero = scalar_quant(site.input(0))

    def run(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, as in the engines
            outputs[0][...] = scale * (inputs[0].astype(np.int64) - zero)

    return Bound(run)


def _table(x: Tensor, function: Callable[[int], int]) -> Bound:
    """A layer that looks up one of 256 entries: ``function`` of the raw input."""
    table = np.array([function(v) for v in range(x.qtype.min, x.qtype.max + 1)], x.qtype.dtype)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        np.take(table, inputs[0].astype(np.int64) - x.qtype.min, out=outputs[0])

    return Bound(run)


def logistic(site: Site) -> Bound:
    """``out = clamp(round(256 / (1 + exp(-x_scale * (x - x_zero))))) - 128)``.

    Variants: ``float_table`` (float32 throughout, ties away) and ``fixed_point`` (gemmlowp's Q4.27 logistic).

    Source: tflite/kernels/activations.cc and internal/common.h, LUTPopulateInt8 @ LiteRT 2.3.0;
    tensorflow/lite/micro/kernels/logistic_common.cc and reference/integer_ops/logistic.h.
    """
    site.types(input0="int8", output="int8")
    x, out = site.input(0), site.outputs[0]
    (scale, zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    if out_scale != 1 / 256 or out_zero != -128:
        raise UnsupportedOp(f"output scale is {out_scale}, zero point {out_zero}; supported: 1/256 and -128")
    if site.variant("float_table", "fixed_point") == "float_table":
        one = np.float32(1)

        def from_float(v: int) -> int:
            with np.errstate(over="ignore"):
                real = np.float32(scale) * np.float32(v - zero)
                value = one / (one + np.float32(np.exp(-np.float64(real))))
            return min(max(math.floor(float(value) * 256 + 0.5) - 128, -128), 127)

        return _table(x, from_float)
    mantissa, shift = math.frexp(scale * (1 << 27))
    q = round(mantissa * (1 << 31))
    # C leaves shifts outside 0..63 undefined; x86 takes the count modulo 64 (32 below): tiny scales have radius 0.
    radius = math.floor(15 * (1 << 27) / wrap(1 << (shift & 63), 64))
    left, right = max(shift, 0) & 31, max(-shift, 0)

    def fixed_point(v: int) -> int:
        value = v - zero
        if value <= -radius:
            return -128
        if value >= radius:
            return 127
        scaled = shift_right(ties_away, high_multiply(wrap(value << left, 32), q), right)
        raw = gemmlowp.logistic(scaled, 4)
        return min(max(shift_right(ties_away, raw, 23) - 128, -128), 127)

    return _table(x, fixed_point)


def soft_max(site: Site) -> Bound:
    """``out = round(256 * exp(beta * x) / sum(exp(beta * x))) - 128`` along the last axis, in integers.

    Source: tflite/kernels/internal/reference/softmax.h; quantization_util.cc, PreprocessSoftmaxScaling @ LiteRT 2.3.0.
    """
    site.types(input0="int8 uint8", output="int8 uint8 int16")
    x, out = site.input(0), site.outputs[0]
    attrs = site.node.attributes
    assert isinstance(attrs, Softmax)
    scale, (out_scale, out_zero) = scalar_quant(x)[0], scalar_quant(out)
    expected = 2.0**-out.qtype.bits
    if abs(out_scale - expected) > 0.001 * expected or out_zero != out.qtype.min or not x.shape or not x.shape[-1]:
        raise UnsupportedOp(
            f"output scale is {out_scale:g}, zero point {out_zero}; supported: {expected:g} and {out.qtype.min}"
        )
    real = min(attrs.beta * scale * (1 << (31 - DIFF_INTEGER_BITS)), (1 << 31) - 1.0)
    if not real > 1:
        raise UnsupportedOp(f"beta * scale is {attrs.beta * scale:g}; allowed: above 2**-26")
    q, shift = quantize_multiplier(real)
    diff_min = -math.floor(((1 << DIFF_INTEGER_BITS) - 1) * (1 << (31 - DIFF_INTEGER_BITS)) / (1 << shift))
    kernel, depth = softmax(), x.shape[-1]
    low, high = out.qtype.min, out.qtype.max

    def run(inputs: Arrays, outputs: Arrays) -> None:
        if not kernel(inputs[0].reshape(-1, depth), q, shift, diff_min, low, high, outputs[0].reshape(-1, depth)):
            raise DomainError(
                f"SOFTMAX {site.node.name!r}: a row's exponentials add up to {1 << (out.qtype.bits + 1)} or more, or wrap "
                "to almost 0 in the 32-bit sum: the engine aborts there"
            )

    return Bound(run)


BINDINGS = {
    "ADD": add,
    "MUL": mul,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "LOGISTIC": logistic,
    "SOFTMAX": soft_max,
}
