"""Binds curved functions of single elements: 8-bit tensors look up one of 256 entries, 16-bit ones interpolate."""

import math
from collections.abc import Callable

import numpy as np

from fxsim.arith import gemmlowp, hard_swish, roots, tables
from fxsim.arith.multiplier import CHAINS, float32, quantize_multiplier
from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import high_multiply
from fxsim.arith.rounding import shift_right, ties_away
from fxsim.errors import DomainError, UnsupportedOp
from fxsim.kernels import pointwise
from fxsim.kernels.float32 import fma
from fxsim.model.graph import Tensor
from fxsim.model.ops.activation import Gelu
from fxsim.model.qtype import Array
from fxsim.sim import moves, plain
from fxsim.sim.base import Arrays, Bound, Site, power_of_two, scalar_quant, symmetric

Real = Callable[[float], float]


def table(x: Tensor, function: Callable[[int], int]) -> Bound:
    """A layer that looks up one of 256 entries: ``function`` of the raw input."""
    return _look_up(x, [function(v) for v in range(x.qtype.min, x.qtype.max + 1)])


def _look_up(x: Tensor, values: list[int] | tables.Ints) -> Bound:
    entries = np.array(values, x.qtype.dtype)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        np.take(entries, inputs[0].astype(np.int64) - x.qtype.min, out=outputs[0])

    return Bound(run, native=moves.looked_up(x, x, run))


def _each16(function: Callable[..., int], values: tables.Ints, *settings: int) -> Bound:
    """A layer that applies an arith function of the element, a table and integers."""
    entries, kernel = np.array(values, np.int64), pointwise.each(function)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        kernel(outputs[0].reshape(-1), inputs[0].reshape(-1), entries, *settings)

    return Bound(run)


def _float_table(site: Site, function: Real, *, x86_cast: bool = False) -> Bound:
    """``clamp(round(function(x_scale * (x - x_zero)) / out_scale) + out_zero)`` in float32, by a table.

    Quotients beyond 32 bits saturate in LiteRT's int8 tables; in its uint8 ones x86's cast shows.

    Source: tflite/kernels/internal/common.h, LUTPopulate @ LiteRT 2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    symmetric(x, out)
    scales = (*scalar_quant(x), *scalar_quant(out))
    if x.qtype.name == "int16":
        return _each16(tables.interpolate, tables.table_of_513(function, float32, *scales))
    saturating = x.qtype.signed and not x86_cast
    return _look_up(x, tables.table_of_256(function, x.qtype.min, x.qtype.max, *scales, saturating))


def _radius(scale: float, integer_bits: int) -> tuple[int, int, int]:
    """``(multiplier, shift, radius)``: to Q``integer_bits``; inputs from ``radius`` on are beyond its range.

    Source: tflite/kernels/internal/quantization_util.cc, CalculateInputRadius @ LiteRT 2.3.0.
    """
    mantissa, shift = math.frexp(scale * (1 << (31 - integer_bits)))
    # C leaves shifts outside 0..63 undefined; x86 takes the count modulo 64 (32 below): tiny scales have radius 0.
    reach = ((1 << integer_bits) - 1) * (1 << (31 - integer_bits))
    return round(mantissa * (1 << 31)), shift, math.floor(reach / wrap(1 << (shift & 63), 64))


def _gemmlowp(site: Site, function: Callable[[int, int], int], fraction_bits: int, out_zero: int) -> Bound:
    """A table of one of gemmlowp's functions from Q4.27 to Q0.31, rounded to ``fraction_bits``."""
    scale, zero = scalar_quant(site.input(0))
    q, shift, radius = _radius(scale, 4)
    left, right = max(shift, 0) & 31, max(-shift, 0)

    def entry(v: int) -> int:
        value = v - zero
        if value <= -radius:
            return -128
        if value >= radius:
            return 127
        scaled = shift_right(ties_away, high_multiply(wrap(value << left, 32), q), right)
        return min(max(shift_right(ties_away, function(scaled, 4), 31 - fraction_bits) + out_zero, -128), 127)

    return table(site.input(0), entry)


def _sigmoid16(site: Site, function: Callable[..., int], pot_shifts: tuple[int, ...]) -> Bound:
    """A 16-bit layer by the table of sigmoids; scales of ``2**-12`` times ``2**n``, n in ``pot_shifts``, are only shifted.

    Source: tflite/kernels/activations.cc, TanhPrepare, SigmoidPrepare; reference/integer_ops/logistic.h, tanh.h @ LiteRT
    2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    symmetric(x, out)
    scale, out_scale = scalar_quant(x)[0], scalar_quant(out)[0]
    exact = site.node.op == "LOGISTIC" and site.numerics.variant != "fixed_point"
    if power_of_two(out_scale) != -15 or (exact and out_scale != 2.0**-15):
        raise UnsupportedOp(f"output scale is {out_scale:g}; supported: 2**-15")
    exponent = power_of_two(scale)
    if exponent is not None and exponent + 12 in pot_shifts:
        multiplier, shift = 3 << (exponent + 12), 0
    else:
        multiplier, shift = tables.input_multiplier(scale)
        if not 0 < multiplier < 1 << 15:
            raise UnsupportedOp(f"input scale is {scale:g}; supported: 2**-44 to 2.66")
    return _each16(function, tables.SIGMOIDS, multiplier, shift)


def logistic(site: Site) -> Bound:
    """``out = clamp(round(256 / (1 + exp(-x_scale * (x - x_zero))))) - 128)``, or 0 for the last with uint8.

    Variants for 8 bits: ``float_table`` (float32 throughout, ties away) and ``fixed_point`` (gemmlowp's Q4.27 logistic).
    16-bit tensors interpolate in a table of sigmoids.

    Source: tflite/kernels/activations.cc and internal/common.h, LUTPopulateInt8 @ LiteRT 2.3.0;
    tensorflow/lite/micro/kernels/logistic_common.cc and reference/integer_ops/logistic.h.
    """
    variant = site.variant("float_table", "fixed_point")
    allowed = "int8 uint8 int16" if variant == "float_table" else "int8 int16"
    site.types(input0=allowed, output=site.input(0).qtype.name)
    x, out = site.input(0), site.outputs[0]
    if x.qtype.name == "int16":
        return _sigmoid16(site, tables.logistic16, (0,))
    (scale, zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    if out_scale != 1 / 256 or (out_zero != -128 and x.qtype.name == "int8"):
        raise UnsupportedOp(f"output scale is {out_scale}, zero point {out_zero}; supported: 1/256 and -128")
    if variant == "fixed_point":
        return _gemmlowp(site, gemmlowp.logistic, 8, -128)
    one, low, high = np.float32(1), out.qtype.min, out.qtype.max

    def from_float(v: int) -> int:
        with np.errstate(over="ignore"):
            real = np.float32(scale) * np.float32(v - zero)
            value = one / (one + np.float32(np.exp(-np.float64(real))))
        return min(max(math.floor(float(value) * 256 + 0.5) + out_zero, low), high)

    return table(x, from_float)


def tanh(site: Site) -> Bound:
    """``out = clamp(round(tanh(x_scale * (x - x_zero)) / out_scale) + out_zero)``.

    Variants for 8 bits: ``float_table`` (float32) and ``fixed_point`` (gemmlowp's Q4.27 tanh, output scale 1/128).
    16-bit tensors interpolate in a table of sigmoids.

    Source: tflite/kernels/activations.cc @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/tanh.cc, reference/integer_ops/tanh.h.
    """
    variant = site.variant("float_table", "fixed_point")
    allowed = "int8 uint8 int16" if variant == "float_table" else "int8 int16"
    site.types(input0=allowed, output=site.input(0).qtype.name)
    if site.input(0).qtype.name == "int16":
        return _sigmoid16(site, tables.tanh16, (0, 1))
    return _gemmlowp(site, gemmlowp.tanh, 7, 0) if variant == "fixed_point" else _float_table(site, math.tanh)


def elu(site: Site) -> Bound:
    """``out = clamp(round((x if x >= 0 else exp(x) - 1) / out_scale) + out_zero)``, by a float32 table.

    Variants: ``expm1`` (and a saturating cast to integer), ``exp_minus_one`` (rounded in between; x86's cast).

    Source: tflite/kernels/activations.cc, EluPrepare @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/elu.cc.
    """
    if site.variant("expm1", "exp_minus_one") == "expm1":
        return _float_table(site, lambda v: math.expm1(v) if v < 0 else v)
    return _float_table(site, lambda v: float32(math.exp(v)) - 1 if v < 0 else v, x86_cast=True)


def gelu(site: Site) -> Bound:
    """``out = clamp(round(x * (1 + erf(x / sqrt(2))) / 2 / out_scale) + out_zero)``, or by tanh, by a float32 table.

    Source: tflite/kernels/internal/reference/gelu.h @ LiteRT 2.3.0.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, Gelu)
    root, cubic, minus = (float32(v) for v in (math.sqrt(2 / math.pi), 0.044715, -math.sqrt(0.5)))

    def exact(v: float) -> float:
        return 0.5 * v * float32(math.erfc(float32(v * minus)))

    def by_tanh(v: float) -> float:
        inner = float32(v + float32(float32(float32(cubic * v) * v) * v))
        return 0.5 * v * float32(1 + float32(math.tanh(float32(root * inner))))

    return _float_table(site, by_tanh if attrs.approximate else exact)


def exp(site: Site) -> Bound:
    """``out = clamp(round(exp(x_scale * (x - x_zero)) / out_scale) + out_zero)``, by a float32 table.

    Source: tflite/kernels/exp.cc @ LiteRT 2.3.0.
    """
    return _float_table(site, lambda v: math.exp(v) if v < 89 else math.inf)


def log(site: Site) -> Bound:
    """``out = clamp(round(log(x_scale * (x - x_zero)) / out_scale) + out_zero)``, the least output up to 0.

    Source: tflite/kernels/elementwise.cc, LogLUTPrepare @ LiteRT 2.3.0.
    """
    (scale, zero), out = scalar_quant(site.outputs[0]), site.outputs[0]
    least = float32((out.qtype.min - zero) * scale)
    return _float_table(site, lambda v: math.log(v) if v > 0 else least)


def _checked(site: Site, bound: Bound, what: str) -> Bound:
    """``bound``, refused on negative inputs."""
    zero = scalar_quant(site.input(0))[1]

    def run(inputs: Arrays, outputs: Arrays) -> None:
        if np.any(inputs[0] < zero):
            raise DomainError(f"{site.node.op} {site.node.name!r}: {what}: the engine refuses a negative input")
        bound.run(inputs, outputs)

    return Bound(run)


def _exact(site: Site, function: plain.Function) -> Bound:
    """``function`` of float32 numbers, every step rounded to nearest; UnsupportedOp if the profile says ``approximate``."""
    if site.numerics.variant == "approximate":
        raise UnsupportedOp(
            f"profile {site.profile!r}: roots of floats are approximate on this engine; supported: 8 and 16 bits"
        )
    return plain.raw(site, function)


def sqrt(site: Site) -> Bound:
    """``out = clamp(trunc(sqrt(x_scale * (x - x_zero)) / out_scale) + out_zero)``, every step in float32.

    Source: tflite/kernels/elementwise.cc, SqrtEvalQuantized @ LiteRT 2.3.0.
    """
    if plain.is_plain(site):
        return _exact(site, np.sqrt)
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    (scale, zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        real = np.float32(scale) * (inputs[0].astype(np.int32) - zero).astype(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            quotient = (np.sqrt(real) / np.float32(out_scale)).astype(np.float64)
        if np.any(quotient >= 2.0**31):
            raise DomainError(f"SQRT {site.node.name!r}: a quotient is beyond 32 bits: the engine is undefined there")
        np.clip(quotient.astype(np.int64) + out_zero, out.qtype.min, out.qtype.max, out=outputs[0], casting="unsafe")

    return _checked(site, Bound(run), "a root of less than 0")


def rsqrt(site: Site) -> Bound:
    """``out = clamp(round(1 / sqrt(x_scale * (x - x_zero)) / out_scale) + out_zero)``, the greatest output for 0.

    8 bits in fixed point, with 20 fraction bits between two rescales. Variants for 16 bits: ``float_table`` (float32, and
    interpolated) and ``fixed_point`` (as 8 bits).

    Source: tflite/kernels/elementwise.cc, GenericPrepare @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/elementwise.cc.
    """
    if plain.is_plain(site):
        return _exact(site, lambda x: np.asarray(np.float32(1) / np.sqrt(x)))
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    symmetric(x, out)
    (scale, zero), (out_scale, out_zero), most = scalar_quant(x), scalar_quant(out), out.qtype.max
    if site.variant("float_table", "fixed_point") == "float_table" and x.qtype.name == "int16":
        greatest = float32(most * out_scale)
        bound = _float_table(site, lambda v: 1 / float32(math.sqrt(v)) if v > 0 else greatest)
        return _checked(site, bound, "a root of less than 0")
    chain = CHAINS[site.numerics.requantize.chain]
    real = 1.0 / chain((chain((math.sqrt(scale),), 1.0), out_scale), 1.0)
    q, shift = quantize_multiplier(real)
    if shift - 20 > 30:
        raise UnsupportedOp(f"a rescale by {real:g} is beyond the engine's shifts")
    kernel, least = pointwise.each(roots.reciprocal_root), out.qtype.min

    def run(inputs: Arrays, outputs: Arrays) -> None:
        value = np.empty(out.elements, np.int64)
        kernel(value, inputs[0].reshape(-1).astype(np.int64) - zero, q, shift, out_zero, most)
        np.maximum(value, least, out=outputs[0].reshape(-1), casting="unsafe")

    return _checked(site, Bound(run), "a root of less than 0")


def _gate(x: Array) -> Array:
    """``clamp(x + 3, 0, 6)``."""
    return plain.clamp(x + np.float32(3), 0.0, 6.0)


def _by_six(x: Array) -> Array:
    return np.asarray(x * _gate(x) / np.float32(6))


def _by_a_sixth(x: Array) -> Array:
    """Products with a rounded 1/6, which comes first in whole groups of four elements and last in the rest."""
    sixth, flat = np.float32(1 / 6), x.reshape(-1)
    y = flat * sixth * _gate(flat)
    rest = slice(flat.size // 4 * 4, None)
    y[rest] = flat[rest] * _gate(flat[rest]) * sixth
    return y.reshape(x.shape)


def _fused(x: Array) -> Array:
    """The gate as ``clamp(x / 6 + 1/2, 0, 1)``, its sum by a fused multiply-add."""
    return np.asarray(x * plain.clamp(fma(x, np.float32(1 / 6), np.float32(0.5)), 0.0, 1.0))


HARD_SWISHES = {"by_six": _by_six, "by_a_sixth": _by_a_sixth, "fused": _fused}


def hard_swish_layer(site: Site) -> Bound:
    """``out = clamp(round(x * clamp(x + 3, 0, 6) / 6 / out_scale) + out_zero)`` in 16-bit fixed point.

    Variants for float32: ``by_six``, ``by_a_sixth`` and ``fused``.

    Source: tflite/kernels/internal/reference/hard_swish.h, optimized/optimized_ops.h @ LiteRT 2.3.0.
    """
    if plain.is_plain(site):
        return plain.raw(site, HARD_SWISHES[site.variant(*HARD_SWISHES)])
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    (scale, zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    settings = hard_swish.settings(scale, out_scale)
    if settings[1] > 0:
        raise UnsupportedOp(
            f"output scale {out_scale:g} is below 1/128 of the input's, {scale:g}: the engine refuses it"
        )

    def entry(v: int) -> int:
        return min(max(wrap(hard_swish.hard_swish(v - zero, *settings) + out_zero, 16), out.qtype.min), out.qtype.max)

    return table(x, entry)


BINDINGS = {
    "LOGISTIC": logistic,
    "TANH": tanh,
    "ELU": elu,
    "GELU": gelu,
    "EXP": exp,
    "LOG": log,
    "SQRT": sqrt,
    "RSQRT": rsqrt,
    "HARD_SWISH": hard_swish_layer,
}
