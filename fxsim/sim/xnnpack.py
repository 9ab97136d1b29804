"""Variants of ops as XNNPACK computes them: ``one_shift``, ``fraction8``, ``float32_sum``, ``float32_table``, ``float32``."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fxsim.arith import xnnpack as rules
from fxsim.arith.multiplier import float32
from fxsim.errors import UnsupportedOp
from fxsim.kernels import xnnpack as kernels
from fxsim.model.ops.base import Activated
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.ops.reduce import reduced_axes
from fxsim.model.qtype import Array
from fxsim.sim import arithmetic, moves, natives
from fxsim.sim.activation import table
from fxsim.sim.base import INT32, Arrays, Bound, Probe, Site, clamped, scalar_quant

_BYTES = "int8 uint8"


def _sum(site: Site, sign: int) -> Bound:
    """``out = clamp((m0 * (a - a_zero) + sign * m1 * (b - b_zero) + half) >> shift) + out_zero)``: one rounding, ties up."""
    site.types(input0=_BYTES, input1=site.input(0).qtype.name, output=site.input(0).qtype.name)
    a, b, out = site.input(0), site.input(1), site.outputs[0]
    attrs = site.node.attributes
    assert isinstance(attrs, Activated)
    (a_scale, a_zero), (b_scale, b_zero), (out_scale, out_zero) = map(scalar_quant, (a, b, out))
    first, second, shift = rules.sum_multipliers(a_scale, b_scale, out_scale)
    zeros, multipliers = np.array([a_zero, b_zero]), np.array([first, sign * second])
    kernel = kernels.add()

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        terms = arithmetic.flat(inputs[0], out.shape), arithmetic.flat(inputs[1], out.shape)
        kernel(*terms, zeros, multipliers, shift, out_zero, *clamp, y.reshape(-1))

    clamp = site.clamp(attrs.activation)
    fast = natives.once_rounded((a, b, out), (a_zero, b_zero, out_zero), (first, sign * second), shift, clamp)
    return replace(clamped(run, out, clamp), native=fast)


def add(site: Site) -> Bound:
    """ADD as :func:`_sum`."""
    return _sum(site, 1)


def sub(site: Site) -> Bound:
    """SUB as :func:`_sum`."""
    return _sum(site, -1)


def mul(site: Site) -> Bound:
    """MUL with one rounding of a float32 product; of a tensor by itself, the table of a square in float32."""
    if site.node.inputs[0] != site.node.inputs[1]:
        return arithmetic.mul(site)
    attrs = site.node.attributes
    assert isinstance(attrs, Activated)
    return float_table(site, lambda x: float32(x * x), site.clamp(attrs.activation))


def mean(site: Site) -> Bound:
    """MEAN as :func:`_reduce`."""
    return _reduce(site, rules.mean_parameters)


def sum_(site: Site) -> Bound:
    """SUM as :func:`_reduce`."""
    return _reduce(site, rules.sum_parameters)


def _reduce(site: Site, parameters_of: Callable[[float, int, float, int, int], tuple[float, float]]) -> Bound:
    """``out = clamp(rint(sum(x) * scale + offset))`` in float32; the zero points are in the offset.

    Source: src/operators/reduce-nd.c, src/reference/unary-elementwise.cc @ XNNPACK of August 2026.
    """
    site.types(input0=_BYTES, output=site.input(0).qtype.name)
    x, out = site.input(0), site.outputs[0]
    axes = reduced_axes(list(site.inputs))
    n = math.prod(x.shape[a] for a in axes)
    if n == 0 or out.elements == 0:
        raise UnsupportedOp(f"reduces {n} elements; supported: at least 1")
    scale, offset = parameters_of(*scalar_quant(x), *scalar_quant(out), n)
    kernel, clamp = kernels.affine32(), (out.qtype.min, out.qtype.max)
    parameters = np.float32(scale), np.float32(offset)

    def accumulate(inputs: Arrays) -> Array:
        return np.asarray(np.sum(inputs[0], axis=axes, dtype=np.int64)).astype(np.int32).reshape(-1)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        kernel(accumulate(inputs), *parameters, *clamp, outputs[0].reshape(-1))

    def probe(inputs: Arrays) -> Probe:
        acc = accumulate(inputs)
        free = np.empty(acc.shape, np.int32)
        kernel(acc, *parameters, *INT32, free)
        low, high = int(np.sum(free < clamp[0])), int(np.sum(free > clamp[1]))
        return Probe(32, low, high, np.array([[acc.min(), acc.max(), 0, -1]], np.int64))

    return Bound(run, probe, native=natives.affine_mean(x, natives.image(x, axes, out), *parameters, clamp))


def quantize(site: Site) -> Bound:
    """QUANTIZE: from float by a float32 reciprocal, ties to even; of 8-bit integers by a multiplier of 1/256ths, ties up."""
    x, out = site.input(0), site.outputs[0]
    out_scale, out_zero = scalar_quant(out)
    clamp = out.qtype.min, out.qtype.max
    if x.qtype.kind == "float":
        from_float, inverse = kernels.quantize(), np.float32(float32(1.0 / out_scale))

        def run_float(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
            from_float(inputs[0].reshape(-1), inverse, out_zero, *clamp, y.reshape(-1))

        return clamped(run_float, out, clamp)
    x_scale, x_zero = scalar_quant(x)
    multiplier, kernel = rules.convert_multiplier(float32(x_scale / out_scale)), kernels.leaky()

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        kernel(inputs[0].reshape(-1), x_zero, multiplier, multiplier, out_zero, *clamp, y.reshape(-1))

    bound = clamped(run, out, clamp)
    return replace(bound, native=moves.looked_up(x, out, bound.run))


def float_table(site: Site, function: Callable[[float], float], clamp: tuple[int, int] | None = None) -> Bound:
    """A table of ``rint(function((x - x_zero) * x_scale) / out_scale + out_zero)``, every step in float32, ties to even.

    Source: src/reference/unary-elementwise.cc, src/xnnpack/reference-utils.h @ XNNPACK of August 2026.
    """
    site.types(input0=_BYTES, output=site.input(0).qtype.name)
    x, out = site.input(0), site.outputs[0]
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    inverse = float32(1.0 / out_scale)
    low, high = clamp or (out.qtype.min, out.qtype.max)

    def entry(v: int) -> int:
        y = rules.affine_or_limit(
            function(float32((v - x_zero) * x_scale)), inverse, out_zero, out.qtype.min, out.qtype.max
        )
        return min(max(y, low), high)

    return table(x, entry)


def sigmoid(x: float) -> float:
    """``1 / (1 + exp(-x))`` in float64, to float32; 0 and 1 beyond +-100."""
    if abs(x) > 100:
        return float(x > 0)
    e = math.exp(x)
    return float32(e / (1 + e))


def logistic(site: Site) -> Bound:
    """LOGISTIC as a table of float32 results."""
    out_scale, out_zero = scalar_quant(site.outputs[0])
    if out_scale != 1 / 256 or out_zero != site.outputs[0].qtype.min:
        raise UnsupportedOp(
            f"output scale is {out_scale}, zero point {out_zero}; supported: 1/256 and the least integer"
        )
    return float_table(site, sigmoid)


def tanh(site: Site) -> Bound:
    """TANH as a table of float32 results."""
    return float_table(site, lambda x: float32(math.tanh(x)))


def elu(site: Site) -> Bound:
    """ELU as a table of float32 results."""
    return float_table(site, lambda x: x if x >= 0 else float32(math.expm1(x)))


def leaky_relu(site: Site) -> Bound:
    """``out = x`` or, below zero, ``alpha * x``, by one of two multipliers of 1/256ths, ties up."""
    site.types(input0=_BYTES, output=site.input(0).qtype.name)
    x, out, attrs = site.input(0), site.outputs[0], site.node.attributes
    assert isinstance(attrs, LeakyRelu)
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    ratio = float32(x_scale / out_scale)
    multipliers = rules.convert_multiplier(ratio), rules.convert_multiplier(float32(ratio * attrs.alpha))
    kernel = kernels.leaky()

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        kernel(inputs[0].reshape(-1), x_zero, *multipliers, out_zero, *clamp, y.reshape(-1))

    bound = clamped(run, out, (out.qtype.min, out.qtype.max))
    return replace(bound, native=moves.looked_up(x, out, bound.run))


VARIANTS = {
    ("ELU", "float32_table"): elu,
    ("ADD", "one_shift"): add,
    ("SUB", "one_shift"): sub,
    ("MUL", "float32"): mul,
    ("MEAN", "float32_sum"): mean,
    ("SUM", "float32_sum"): sum_,
    ("QUANTIZE", "fraction8"): quantize,
    ("LEAKY_RELU", "fraction8"): leaky_relu,
    ("LOGISTIC", "float32_table"): logistic,
    ("TANH", "float32_table"): tanh,
}
