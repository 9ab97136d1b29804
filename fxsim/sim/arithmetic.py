"""Binds the arithmetic of two tensors: ADD and MUL."""

import numpy as np

from fxsim.arith.multiplier import quantize_multiplier
from fxsim.errors import UnsupportedOp
from fxsim.kernels import pointwise
from fxsim.kernels.requantize import requantize
from fxsim.model.ops.base import Activated
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Site, clamp_range, clamped, make_scales, scalar_quant


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


BINDINGS = {"ADD": add, "MUL": mul}
