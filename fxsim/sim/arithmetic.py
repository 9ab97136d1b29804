"""Binds the arithmetic of two tensors, element by element."""

from dataclasses import replace

import numpy as np

from fxsim.arith.multiplier import CHAINS, quantize_multiplier
from fxsim.errors import DomainError, UnsupportedOp
from fxsim.kernels import pointwise
from fxsim.kernels.requantize import requantize
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activated
from fxsim.model.qtype import Array
from fxsim.sim import natives, plain
from fxsim.sim.base import (
    INT32,
    Arrays,
    Bound,
    Site,
    clamp_range,
    clamped,
    make_scales,
    multiplier_of,
    power_of_two,
    quantized_range,
    scalar_quant,
    symmetric,
)

_EIGHT_BIT = "int8 uint8"
_QUANTIZED = "int8 uint8 int16"


def flat(x: Array, shape: tuple[int, ...]) -> Array:
    """``x`` broadcast to ``shape``, as one axis."""
    return x.reshape(-1) if x.shape == shape else np.broadcast_to(x, shape).reshape(-1)


def _same(site: Site, allowed: str) -> None:
    """Holds both inputs and the output to one type of those allowed; 16-bit tensors have zero points of 0."""
    site.types(input0=allowed, input1=site.input(0).qtype.name, output=site.input(0).qtype.name)
    symmetric(site.input(0), site.input(1), site.outputs[0])


def _join(site: Site, how: str, left: int, clamp: tuple[int, int], *, squared: bool = False) -> Bound:
    """Both terms, shifted left, scaled to twice the greater input scale, joined, and rescaled to the output's."""
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    r, chain = site.integer_scheme(), CHAINS[site.numerics.requantize.chain]
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = map(scalar_quant, (a, b, out))
    twice = 2 * max(a_scale, b_scale)
    whole = (twice * twice, out_scale * (1 << 2 * left)) if squared else (twice, out_scale * (1 << left))
    pairs = [multiplier_of(r, chain((x,), y)) for x, y in ((a_scale, twice), (b_scale, twice), whole)]
    if pairs[2][1] > (30 if site.numerics.variant == "any_scale" else 0):
        raise UnsupportedOp(
            f"output scale {out_scale:g} is too small for input scales {a_scale:g} and {b_scale:g}: the engine refuses it"
        )
    q, shift = (np.array(v, np.int64) for v in zip(*pairs, strict=True))
    zeros = np.array([a_zero, b_zero], np.int64)
    kernel = pointwise.join(r.scheme, r.rounding, how)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        flat_a, flat_b = flat(inputs[0], out.shape), flat(inputs[1], out.shape)
        kernel(flat_a, flat_b, zeros, q, shift, left, out_zero, *clamp, y.reshape(-1))

    fast = None
    sign = {"sum": 1, "difference": -1}.get(how)
    if r.scheme == "double_rounding" and sign is not None:
        fast = natives.doubly_rounded((a, b, out), (a_zero, b_zero, out_zero), q, shift, left, r.rounding, clamp, sign)
    return replace(clamped(run, out, clamp), native=fast)


def _shifted(site: Site, exponents: tuple[int, int, int], sign: int, clamp: tuple[int, int]) -> Bound:
    """``clamp(a * 2**(a_exponent - out_exponent) +- b * 2**(...))`` for scales that are powers of two.

    One of the inputs has the output's scale, the other none above it, which is rounded, ties away.

    Source: tflite/kernels/internal/reference/add.h, sub.h @ LiteRT 2.3.0.
    """
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    shifts = [e - exponents[2] for e in exponents[:2]]
    if max(shifts) > 0 or 0 not in shifts or min(shifts) < -15:
        raise UnsupportedOp(
            f"scales are 2**{exponents[0]}, 2**{exponents[1]} and 2**{exponents[2]}; supported with pot_scale_int16: "
            "one input's equal to the output's, the other's not above it"
        )
    if sign > 0 and a.shape != b.shape:
        raise UnsupportedOp(
            f"shapes are {list(a.shape)} and {list(b.shape)}; supported with pot_scale_int16: equal ones"
        )
    rounded = requantize("single_rounding", "ties_away")
    q, shift, no = np.array([1 << 30] * 2), np.array([1 + s for s in shifts]), np.zeros(2)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        terms = np.stack([flat(inputs[0], out.shape), flat(inputs[1], out.shape)], axis=1).astype(np.int32)
        rounded(terms, q, shift, no, 0, *INT32, terms)
        np.clip(terms[:, 0] + sign * terms[:, 1], *clamp, out=y.reshape(-1), casting="unsafe")

    return clamped(run, out, clamp)


def _sum(site: Site, sign: int) -> Bound:
    attrs = site.node.attributes
    assert isinstance(attrs, Sum)
    if plain.is_plain(site):
        return plain.apply(site, np.add if sign > 0 else np.subtract, attrs.activation)
    _same(site, _QUANTIZED)
    wide = site.input(0).qtype.name == "int16"
    clamp = clamp_range(site.outputs[0], attrs.activation)
    shifts_taken = site.variant("shifts_where_flagged", "general") == "shifts_where_flagged"
    if wide and attrs.pot_scale_int16 and shifts_taken:
        a, b, out = (power_of_two(scalar_quant(t)[0]) for t in (site.input(0), site.input(1), site.outputs[0]))
        if a is not None and b is not None and out is not None:
            return _shifted(site, (a, b, out), sign, clamp)
    return _join(site, "sum" if sign > 0 else "difference", 15 if wide else 20, clamp)


def add(site: Site) -> Bound:
    """``out = clamp(round((a_scale * (a - a_zero) + b_scale * (b - b_zero)) / out_scale) + out_zero)``.

    Both terms are shifted left by 20 (15 for int16), scaled to twice the greater input scale, added and rescaled.
    Variants for int16: ``shifts_where_flagged`` (scales that are powers of two are shifted, if the model says so) and
    ``general``.

    Source: tflite/kernels/add.cc, reference/add.h @ LiteRT 2.3.0.
    """
    return _sum(site, 1)


def sub(site: Site) -> Bound:
    """``out = clamp(round((a_scale * (a - a_zero) - b_scale * (b - b_zero)) / out_scale) + out_zero)``; see :func:`add`.

    Source: tflite/kernels/sub.cc, reference/sub.h @ LiteRT 2.3.0.
    """
    return _sum(site, -1)


def mul(site: Site) -> Bound:
    """``out = clamp(round(a_scale * b_scale / out_scale * (a - a_zero) * (b - b_zero)) + out_zero)``.

    Source: tflite/kernels/mul.cc, reference/integer_ops/mul.h @ LiteRT 2.3.0.
    """
    attrs, r = site.node.attributes, site.numerics.requantize
    assert isinstance(attrs, Activated)
    if plain.is_plain(site):
        return plain.apply(site, np.multiply, attrs.activation)
    _same(site, _QUANTIZED)
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = map(scalar_quant, (a, b, out))
    s = make_scales(site, [(a_scale, b_scale)], out_scale)
    kernel = requantize(r.scheme, r.rounding, r.scheme == "float32")

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        product = (inputs[0].astype(np.int32) - a_zero) * (inputs[1].astype(np.int32) - b_zero)
        kernel(product.reshape(-1, 1), s.q, s.shift, s.real, out_zero, *clamp, y.reshape(-1, 1))

    return clamped(run, out, site.clamp(attrs.activation))


def div(site: Site) -> Bound:
    """``out = clamp(round(a_scale / (b_scale * out_scale) * (a - a_zero) / (b - b_zero)) + out_zero)``.

    By a 31-bit reciprocal of the divisor; integers without a scale are divided toward zero.

    Source: tflite/kernels/div.cc, reference/div.h @ LiteRT 2.3.0.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, Activated)
    if plain.is_plain(site):
        if site.input(0).qtype.kind == "float":
            return plain.apply(site, np.divide, attrs.activation)
        return plain.apply(site, _whole(site, _truncated, "int32"), attrs.activation)
    _same(site, _QUANTIZED)
    chain = CHAINS[site.numerics.requantize.chain]
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = (
        scalar_quant(t) for t in (site.input(0), site.input(1), site.outputs[0])
    )
    q, shift = quantize_multiplier(chain((a_scale,), chain((b_scale, out_scale), 1.0)))
    kernel, out = pointwise.quotient(), site.outputs[0]

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        if np.any(inputs[1] == b_zero):
            raise _by_zero(site)
        flat_a, flat_b = flat(inputs[0], out.shape), flat(inputs[1], out.shape)
        kernel(flat_a, flat_b, a_zero, b_zero, q, shift, out_zero, *clamp, y.reshape(-1))

    return clamped(run, out, clamp_range(out, attrs.activation))


def _by_zero(site: Site) -> DomainError:
    return DomainError(f"{site.node.op} {site.node.name!r}: a divisor is 0: the engine refuses it")


def _nonzero(site: Site, zero: int, function: plain.Function) -> plain.Function:
    """``function`` of a numerator and a divisor, which must not be ``zero``."""

    def checked(a: Array, b: Array) -> Array:
        if np.any(b == zero):
            raise _by_zero(site)
        return function(a, b)

    return checked


def _whole(site: Site, function: plain.Function, types: str) -> plain.Function:
    """``function`` of integers, whose least by -1 leaves the type: of these types C leaves that undefined."""

    def checked(a: Array, b: Array) -> Array:
        if a.dtype.name in types.split() and np.any((a == np.iinfo(a.dtype).min) & (b == -1)):
            raise DomainError(
                f"{site.node.op} {site.node.name!r}: {np.iinfo(a.dtype).min} / -1 leaves the type, which C leaves undefined"
            )
        return function(a, b)

    return _nonzero(site, 0, checked)


def _truncated(a: Array, b: Array) -> Array:
    quotient: Array = (np.abs(a.astype(np.int64)) // np.abs(b.astype(np.int64))) * (np.sign(a) * np.sign(b))
    return quotient.astype(a.dtype)


def _floored(a: Array, b: Array) -> Array:
    quotient: Array = np.floor(a.astype(np.float64) / b)
    return quotient if a.dtype == np.float32 else quotient.astype(np.int64).astype(a.dtype)


def _modulo(a: Array, b: Array) -> Array:
    if a.dtype != np.float32:
        return np.asarray(np.mod(a, b))
    rest = np.fmod(a, b)
    return np.asarray(np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest))


def floor_div(site: Site) -> Bound:
    """``out = floor(a / b)`` of the tensors' own numbers, the quotient in float64.

    Source: tflite/kernels/floor_div.cc, reference/floor_div.h @ LiteRT 2.3.0.
    """
    return plain.raw(site, _whole(site, _floored, "int8 int16"))


def floor_mod(site: Site) -> Bound:
    """``out = a - b * floor(a / b)`` of the tensors' own numbers, of the sign of ``b``.

    Source: tflite/kernels/floor_mod.cc, reference/floor_mod.h @ LiteRT 2.3.0.
    """
    real = site.input(0).qtype.kind == "float"
    return plain.raw(site, _modulo if real else _whole(site, _modulo, "int32 int64"))


def squared_difference(site: Site) -> Bound:
    """``out = clamp(round((a_scale * (a - a_zero) - b_scale * (b - b_zero))**2 / out_scale) + out_zero)``.

    As :func:`add`, with a left shift of 7 (0 for int16). Variants: ``below_one`` (8 bits; the last rescale must be by
    less than 1) and ``any_scale`` (also 16 bits).

    Source: tflite/kernels/squared_difference.cc @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/squared_difference.cc.
    """
    if plain.is_plain(site):
        return plain.apply(site, lambda a, b: (a - b) * (a - b))
    wide = site.input(0).qtype.name == "int16"
    _same(site, "int8" if site.variant("below_one", "any_scale") == "below_one" else "int8 int16")
    return _join(
        site, "squared_difference", 0 if wide else 7, quantized_range(site.outputs[0], None, None), squared=True
    )


def maximum(site: Site) -> Bound:
    """``out = max(a, b)`` of the raw numbers: no engine looks at the scales."""
    return plain.raw(site, lambda a, b: np.asarray(np.where(a > b, a, b)))


def minimum(site: Site) -> Bound:
    """``out = min(a, b)`` of the raw numbers: no engine looks at the scales."""
    return plain.raw(site, lambda a, b: np.asarray(np.where(a < b, a, b)))


BINDINGS = {
    "ADD": add,
    "SUB": sub,
    "MUL": mul,
    "DIV": div,
    "FLOOR_DIV": floor_div,
    "FLOOR_MOD": floor_mod,
    "SQUARED_DIFFERENCE": squared_difference,
    "MAXIMUM": maximum,
    "MINIMUM": minimum,
}
