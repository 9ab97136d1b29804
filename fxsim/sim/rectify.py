"""Binds functions of single elements that are straight on both sides of zero."""

import numpy as np

from fxsim.arith.multiplier import CHAINS, quantize_multiplier
from fxsim.errors import UnsupportedOp
from fxsim.kernels.requantize import requantize
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.qtype import Array
from fxsim.sim import plain
from fxsim.sim.base import INT32, Arrays, Bound, Site, clamped, make_scales, quantized_range, scalar_quant, symmetric

_QUANTIZED = "int8 uint8 int16"
BOUNDS: dict[str, tuple[float, float | None]] = {
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}


def relu(site: Site) -> Bound:
    """``out = clamp(round(x_scale / out_scale * (x - x_zero)) + out_zero)``, between the op's bounds.

    Variants: ``rescaled``, and ``clamp_only`` (the raw numbers are clamped to the bounds at the input's scale).

    Source: tflite/kernels/activations.cc, QuantizedReluX @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/activations.cc.
    """
    low, high = BOUNDS[site.node.op]
    if plain.is_plain(site):
        return plain.raw(site, lambda x: plain.clamp(x, low, np.inf if high is None else high))
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    if site.variant("rescaled", "clamp_only") == "clamp_only":
        bounds = quantized_range(x, low, high)
        return plain.raw(site, lambda v: np.clip(v, *bounds))
    symmetric(x, out)
    r, s = site.numerics.requantize, make_scales(site, [(x_scale,)], out_scale)
    kernel = requantize(r.scheme, r.rounding)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        acc = inputs[0].astype(np.int32).reshape(-1, 1) - x_zero
        kernel(acc, s.q, s.shift, s.real, out_zero, *clamp, y.reshape(-1, 1))

    return clamped(run, out, quantized_range(out, low, high))


def _two_slopes(site: Site, slope: float, alpha: tuple[float, ...], below: "plain.Function") -> Bound:
    """``round(slope * x)`` above zero and ``round(prod(alpha) * below(x, ...))`` under it, plus the zero point, clamped.

    Both parts are rescaled; one of them is 0 at every element.
    """
    x, out = site.input(0), site.outputs[0]
    r, chain = site.integer_scheme(), CHAINS[site.numerics.requantize.chain]
    x_zero, (out_scale, out_zero) = scalar_quant(x)[1], scalar_quant(out)
    reals = [chain((slope,), out_scale), chain(alpha, out_scale)]
    sign = -1 if reals[1] < 0 else 1
    pairs = [quantize_multiplier(abs(m)) for m in reals]
    if max(shift for _, shift in pairs) > 30:
        raise UnsupportedOp(f"a rescale by {max(map(abs, reals)):g} is beyond the engine's shifts")
    q, shift = (np.array(v, np.int64) for v in zip(*pairs, strict=True))
    kernel, no = requantize(r.scheme, r.rounding), np.zeros(2)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        value = inputs[0].astype(np.int32) - x_zero
        parts = np.stack([np.maximum(value, 0), below(np.minimum(value, 0), *inputs[1:])], axis=-1).reshape(-1, 2)
        kernel(parts, q, shift, no, 0, *INT32, parts)
        total = parts[:, 0].astype(np.int64) + sign * parts[:, 1] + out_zero
        np.clip(total, *clamp, out=y.reshape(-1), casting="unsafe")

    return clamped(run, out, quantized_range(out, None, None))


def leaky_relu(site: Site) -> Bound:
    """``out = clamp(round(x_scale / out_scale * (x - x_zero) * (1 if x >= x_zero else alpha)) + out_zero)``.

    Variants for float32: ``zero_scaled`` (0 is multiplied, and may become -0) and ``zero_kept``.

    Source: tflite/kernels/activations.cc, LeakyReluPrepare; reference/leaky_relu.h @ LiteRT 2.3.0.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, LeakyRelu)
    if plain.is_plain(site):
        alpha = np.float32(attrs.alpha)
        kept = site.variant("zero_scaled", "zero_kept") == "zero_kept"
        return plain.raw(site, lambda x: np.where((x >= 0) if kept else (x > 0), x, x * alpha))
    site.types(input0=_QUANTIZED, output=site.input(0).qtype.name)
    symmetric(site.input(0), site.outputs[0])
    scale = scalar_quant(site.input(0))[0]
    return _two_slopes(site, scale, (scale, attrs.alpha), lambda value: value)


def prelu(site: Site) -> Bound:
    """``out = clamp(round(x_scale / out_scale * (x - x_zero) * (1 if x >= x_zero else alpha)) + out_zero)``.

    ``alpha = alpha_scale * (alpha_raw - alpha_zero)`` is a tensor, int8 for int16 inputs.

    Source: tflite/kernels/activations.cc, PreluPrepare; reference/prelu.h @ LiteRT 2.3.0.
    """
    x, alpha = site.input(0), site.input(1)
    if plain.is_plain(site):
        return plain.raw(site, lambda v, a: np.where(v >= 0, v, v * a))
    site.types(input0=_QUANTIZED, output=x.qtype.name, input1="int8" if x.qtype.name == "int16" else x.qtype.name)
    (scale, _), (alpha_scale, alpha_zero) = scalar_quant(x), scalar_quant(alpha)
    return _two_slopes(
        site, scale, (scale, alpha_scale), lambda value, raw: value * (raw.astype(np.int32) - alpha_zero)
    )


def absolute(site: Site) -> Bound:
    """``out = clamp(round(x_scale / out_scale * abs(x - x_zero)) + out_zero)``.

    Source: tflite/kernels/elementwise.cc, AbsEvalQuantized @ LiteRT 2.3.0.
    """
    if plain.is_plain(site):
        return plain.raw(site, np.abs)
    x, out = site.input(0), site.outputs[0]
    site.types(input0="int8 int16", output=x.qtype.name)
    symmetric(x, out)
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    r, s = site.numerics.requantize, make_scales(site, [(x_scale,)], out_scale)
    kernel = requantize(r.scheme, r.rounding)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        acc = np.abs(inputs[0].astype(np.int32).reshape(-1, 1) - x_zero)
        kernel(acc, s.q, s.shift, s.real, out_zero, *clamp, y.reshape(-1, 1))

    return clamped(run, out, quantized_range(out, None, None))


def neg(site: Site) -> Bound:
    """``out = -x`` of the raw numbers, which wrap: the engine does not look at the scales.

    Variants: ``negated``, and ``from_zero`` (``0 - x``: of zeros no float is negative).
    """
    zero = np.float32(0)
    return plain.raw(site, np.negative if site.variant("negated", "from_zero") == "negated" else lambda x: zero - x)


BINDINGS = {
    **dict.fromkeys(BOUNDS, relu),
    "LEAKY_RELU": leaky_relu,
    "PRELU": prelu,
    "ABS": absolute,
    "NEG": neg,
}
