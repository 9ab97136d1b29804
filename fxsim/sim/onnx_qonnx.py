"""Binds QONNX's quantizers, which compute in float32: Quant, BipolarQuant, Trunc and MultiThreshold."""

from fxsim.errors import UnsupportedOp
from fxsim.fixed.qonnx import bipolar_quant, int_quant, trunc_quant, trunc_to_scale
from fxsim.fixed.thresholds import multi_threshold
from fxsim.model.ops.onnx_quantize import MultiThreshold, Quant, channel_axis
from fxsim.model.qtype import Array
from fxsim.sim.base import Bound, Site
from fxsim.sim.onnx_base import Values, bound, number, quietly, value


def _bits(site: Site, position: int) -> int:
    bits = number(site, position)
    if bits != int(bits):
        raise UnsupportedOp(f"a bit width is {bits}; supported: whole numbers")
    return int(bits)


def quant(site: Site) -> Bound:
    """``(round(clamp(x / scale + zero)) - zero) * scale``."""
    attrs, bits = site.node.attributes, _bits(site, 3)
    assert isinstance(attrs, Quant)

    def run(values: Values) -> list[Array]:
        x, scale, zero = (value(values, i) for i in range(3))
        return [int_quant(x, scale, zero, bits, signed=attrs.signed, narrow=attrs.narrow, rounding=attrs.rounding)[1]]

    return bound(site, run)


def bipolar(site: Site) -> Bound:
    """``scale`` where ``x >= 0``, else ``-scale``."""
    return bound(site, lambda values: [bipolar_quant(value(values, 0), value(values, 1))[1]])


def trunc(site: Site) -> Bound:
    """Drops low bits: by widths where there are five inputs (version 1), by a ratio of scales where there are six."""
    attrs, by_scale = site.node.attributes, len(site.inputs) == 6
    assert isinstance(attrs, Quant)
    widths = _bits(site, 3), _bits(site, 5 if by_scale else 4)

    def run(values: Values) -> list[Array]:
        x, scale, zero = (value(values, i) for i in range(3))
        if not by_scale:
            return [trunc_quant(x, scale, zero, widths[0] - widths[1], attrs.rounding)]
        target = value(values, 4), widths[1]
        return [
            trunc_to_scale(x, scale, zero, *target, signed=attrs.signed, narrow=attrs.narrow, rounding=attrs.rounding)
        ]

    return bound(site, run)


def thresholds(site: Site) -> Bound:
    """``out_scale * #{i : x >= t[c, i]} + out_bias``."""
    attrs = site.node.attributes
    assert isinstance(attrs, MultiThreshold)
    axis = channel_axis(site.input(0), attrs)

    def run(values: Values) -> list[Array]:
        out = float(attrs.out_scale), float(attrs.out_bias)
        return [multi_threshold(value(values, 0), value(values, 1), ">=", *out, axis)]

    return bound(site, run)


BINDINGS = quietly({"Quant": quant, "BipolarQuant": bipolar, "Trunc": trunc, "MultiThreshold": thresholds})
