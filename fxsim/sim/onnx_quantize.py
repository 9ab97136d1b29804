"""Binds QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear and Cast of ONNX."""

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import normal_axis
from fxsim.model.ops.onnx_quantize import Cast, Linear, scale_shape
from fxsim.model.qtype import Array
from fxsim.sim.base import Bound, Site
from fxsim.sim.onnx_base import Values, bound, quietly, rounded, to_type, value


def _spread(t: Tensor, scale: Tensor, attrs: Linear, values: Array) -> Array:
    """A scale or zero point in a shape that broadcasts against ``t``."""
    shape, block = scale_shape(t, scale, attrs)
    if block == 1:
        return values.reshape(shape)
    axis = normal_axis(attrs.axis, len(t.shape))
    return np.repeat(values, block, axis=axis).take(range(t.shape[axis]), axis=axis)


def _alone(x: Tensor, scale: Tensor, attrs: Linear) -> Array:
    """True for the elements whose neighbour in the byte has another scale or does not exist."""
    which = _spread(x, scale, attrs, np.arange(scale.elements).reshape(scale.shape))
    flat = np.append(np.broadcast_to(which, x.shape).reshape(-1), [-1] * (x.elements % 2))
    apart: Array = np.repeat(flat[::2] != flat[1::2], 2)[: x.elements].reshape(x.shape)
    return apart


def quantize_linear(site: Site) -> Bound:
    """``y = clamp(round(x / scale) + zero)``, the quotient in float32.

    To 4 bits, an element whose neighbour in the byte has another scale, or that has none, is cast by itself: a quotient
    beyond 32 bits becomes ``-2**31`` there (the "integer indefinite" of x86).

    Source: onnxruntime/core/mlas/lib/quantize.cpp, providers/cpu/quantization/quantize_linear.cc @ ONNX Runtime 1.31.
    """
    attrs, out, rule = site.node.attributes, site.outputs[0], site.numerics.requantize.rounding
    assert isinstance(attrs, Linear)
    x, scale = site.input(0), site.input(1)
    alone = _alone(x, scale, attrs) if out.qtype.bits == 4 else None

    def run(values: Values) -> list[Array]:
        zero = value(values, 2)
        shift = np.zeros((), np.int64) if zero is None else _spread(x, scale, attrs, zero.astype(np.int64))
        quotient = value(values, 0) / _spread(x, scale, attrs, value(values, 1))
        whole = rounded(rule, quotient)
        if alone is not None:
            lost = alone & ((whole < -(1 << 31)) | (whole >= 1 << 31))
            whole, shift = np.where(lost, (shift - (1 << 31)).astype(np.int32), whole + shift), np.zeros((), np.int64)
        return [to_type(out.qtype, whole, shift)]

    return bound(site, run)


def dequantize_linear(site: Site) -> Bound:
    """``y = float(x - zero) * scale`` in float32."""
    attrs = site.node.attributes
    assert isinstance(attrs, Linear)
    x, scale = site.input(0), site.input(1)
    zero = site.optional(2)
    if x.qtype.name == "int32" and zero is not None and (zero.data is None or np.any(zero.data)):
        raise UnsupportedOp(f"zero point {zero.name!r} of int32 is not 0; supported: 0")

    def run(values: Values) -> list[Array]:
        centred = value(values, 0).astype(np.int64)
        if (offset := value(values, 2)) is not None:
            centred = centred - _spread(x, scale, attrs, offset.astype(np.int64))
        return [centred.astype(np.float32) * _spread(x, scale, attrs, value(values, 1))]

    return bound(site, run)


def dynamic_quantize_linear(site: Site) -> Bound:
    """uint8 values over the input's own range with 0 in it: ``scale = (max - min) / 255``, ``zero = round(-min / scale)``.

    Source: onnxruntime/core/util/qmath.h, GetQuantizationParameter @ ONNX Runtime 1.31.
    """
    rule, count = site.numerics.requantize.rounding, len(site.outputs)

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
        scale = np.float32(1) if high == low else np.float32((high - low) / np.float32(255))
        zero = rounded(rule, np.clip(np.float32(0) - low / scale, np.float32(0), np.float32(255)))
        y = np.clip(rounded(rule, x / scale) + zero, 0, 255)
        return [y, np.asarray(scale), zero][:count]

    return bound(site, run)


def cast(site: Site) -> Bound:
    """The value in another type: integers keep their low bits, floats to integers lose their fraction.

    A float beyond the integer type is refused by no engine and alike in none: it becomes the type's least value here.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, Cast)
    source, to = site.input(0).qtype, attrs.to

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        if source.kind == "float" and to.kind == "int":
            whole = np.trunc(x.astype(np.float64))
            inside = (whole >= to.min) & (whole <= to.max)
            return [np.where(inside, whole, to.min).astype(to.dtype)]
        return [x.astype(to.dtype)]

    return bound(site, run)


BINDINGS = quietly(
    {
        "QuantizeLinear": quantize_linear,
        "DequantizeLinear": dequantize_linear,
        "DynamicQuantizeLinear": dynamic_quantize_linear,
        "Cast": cast,
    }
)
