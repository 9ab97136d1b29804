"""Binds CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: accumulate, then requantize."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.conv import Conv2D, FullyConnected, conv_geometry, dense_geometry
from fxsim.model.ops.transpose_conv import TransposeConv
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.numerics import Accumulator
from fxsim.sim.base import Arrays, Bound, Site, quant, scalar_quant
from fxsim.sim.hybrid import float_layer
from fxsim.sim.layer import SEPARATE_AREA, Layer, changed_pad, prepare
from fxsim.sim.packed import native_of, native_within

Pack = Callable[[Array], Array]
"""a weight as the file has it -> ``(KH, KW, C / G, O)``"""


VARIANTS = ("x86_cast", "saturating_cast", "stored_bias", "x86_floor", "grouped_away", "wide_float64", "needs_bias")
"""``x86_cast``, ``saturating_cast``: float products beyond 32 bits, as in QUANTIZE (``x86_floor``: XNNPACK's, which saturate
above only); ``stored_bias``: see :func:`_bias`; ``grouped_away``: layers of several groups round ties away from zero,
whatever the profile says; ``wide_float64``: 64-bit sums have the ``float64`` scheme, ties away; ``needs_bias``: the engine
does not survive a layer without one."""


def _bias(site: Site, bias: Tensor | None, channels: int, declared: str) -> tuple[Array, str]:
    """The bias and the type of the engine's sum: that of a stored bias, or what the file declares where there is none.

    Variant ``stored_bias``: the stored type decides; else the declared one (64 bits if nothing is declared), which the
    stored one must be, since the engine would read the one as the other.
    """
    wide = site.numerics.accumulator.bits > 32
    if bias is None:
        return np.zeros(channels, np.int32), (declared or "int64") if wide else "int32"
    allowed = "int32"
    if wide:
        allowed = "int32 int64" if site.numerics.variant == "stored_bias" else declared or "int64"
    if bias.data is None or bias.qtype.name not in allowed.split():
        raise UnsupportedOp(f"bias {bias.name!r} is {bias.qtype.name}; supported here: constant {allowed}")
    return np.array(bias.data).reshape(-1), bias.qtype.name


def _settled(site: Site, variant: str, geometry: Geometry, accumulator: Accumulator) -> Site:
    """The site with the rescale that its variant has for this layer."""
    r = site.numerics.requantize
    if variant == "grouped_away" and geometry.groups > 1:
        r = msgspec.structs.replace(r, rounding="ties_away")
    if accumulator.bits > 32:  # no vector code
        r = msgspec.structs.replace(r, lanes=0)
        if variant == "wide_float64":
            r = msgspec.structs.replace(r, scheme="float64", rounding="ties_away", chain="float64")
    return replace(site, numerics=msgspec.structs.replace(site.numerics, requantize=r))


def layer(
    site: Site, geometry: Geometry, pack: Pack, pad: tuple[int, int, int, int], spread: tuple[int, int] = (1, 1)
) -> Bound:
    """A layer of the sum of products of input and weight; ``pad`` and ``spread`` as in :class:`Layer`.

    Raises:
        UnsupportedOp: on types, scales or a bias that the engines do not have.
    """
    first = site.spec.data_input
    attrs, g = site.node.attributes, geometry
    x, w, out = site.input(first), site.input(1), site.outputs[0]
    assert isinstance(attrs, Conv2D | FullyConnected | TransposeConv)
    if x.qtype.kind == "float":
        return float_layer(site, g, pack, pad, spread)
    dense = isinstance(attrs, FullyConnected)
    weights = {"uint8": "uint8", "int8": "int8 int4 int2", "int16": "int8 int4 int16"}.get(x.qtype.name, "int8")
    if isinstance(attrs, TransposeConv) or (site.node.op, x.qtype.name) == ("DEPTHWISE_CONV_2D", "int16"):
        weights = " ".join(t for t in weights.split() if t not in ("int4", "int2"))
    site.types(**{f"input{first}": "int8 uint8 int16", "input1": weights, "output": x.qtype.name})
    x_scale, x_zero = scalar_quant(x)
    out_scale, out_zero = scalar_quant(out)
    wq, variant = quant(w), site.variant(*VARIANTS)
    if not wq.per_tensor and len(wq.scale) != g.out_c:
        raise UnsupportedOp(f"weight {w.name!r} has scales along axis {wq.axis}; supported: the output channels")
    if any(wq.zero_point) and not (wq.per_tensor and (dense or w.qtype.name == "uint8")):
        raise UnsupportedOp(f"weight {w.name!r} has zero point {max(wq.zero_point, key=abs)}; supported here: 0")
    if x.qtype.name == "int16" and (x_zero or out_zero):
        raise UnsupportedOp(f"zero points are {x_zero} and {out_zero}; supported for int16: 0")

    def packed(weight: Array) -> Array:
        used = wq.per_tensor and site.numerics.operands.weight_zero_point == "used"
        zero = wq.zero_point[0] if used else 0
        return np.ascontiguousarray(pack(weight.astype(np.int16) - np.int16(zero) if zero else weight))

    if variant == "needs_bias" and site.optional(2) is None:
        raise UnsupportedOp("the layer has no bias: the engine reads beyond its memory; supported here: constant int32")
    bias, total = _bias(site, site.optional(first + 1 if first else 2), g.out_c, attrs.bias_type)
    accumulator = site.numerics.accumulator
    if total == "int32" and accumulator.bits > 32:
        accumulator = msgspec.structs.replace(accumulator, bits=32)
    if variant == "x86_floor" and w.qtype.name == "int4":
        accumulator = msgspec.structs.replace(accumulator, bits=28)  # XNNPACK adds up 16 times the products
    separate = isinstance(attrs, Conv2D) and g.in_c == g.groups == g.out_c and g.kernel_h * g.kernel_w <= SEPARATE_AREA
    ends = [w.data] if w.data is not None else [np.full(w.shape, v, w.qtype.dtype) for v in (w.qtype.min, w.qtype.max)]
    made = prepare(
        _settled(site, variant, g, accumulator), g, x, [packed(v) for v in ends], bias, [(x_scale, s) for s in wq.scale],
        out_scale, out_zero, site.clamp(attrs.activation), accumulator,
    )  # fmt: skip
    pad, dropped = changed_pad(site.numerics.operands, pad, getattr(attrs, "padding", None) == "SAME")
    made = replace(
        made,
        pad=pad,
        dropped=dropped,
        saturating="above"
        if variant == "x86_floor" and not separate
        else made.saturating or variant == "saturating_cast",
        spread=spread,
        position=first,
    )
    if w.data is not None:
        within = partial(native_within, made, out.qtype.dtype) if isinstance(attrs, Conv2D) else None
        return Bound(made.run, made.probe, native=native_of(made, out.qtype.dtype), within=within)

    def computed(inputs: Arrays) -> tuple[Layer, list[Array]]:
        return replace(made, weight=packed(inputs[1]), position=0), [inputs[first]]

    return Bound(
        lambda inputs, outputs: (given := computed(inputs))[0].run(given[1], outputs),
        lambda inputs: (given := computed(inputs))[0].probe(given[1]),
    )


def _conv(site: Site, *, depthwise: bool) -> Bound:
    attrs = site.node.attributes
    assert isinstance(attrs, Conv2D)
    g = conv_geometry(list(site.inputs), attrs, depthwise=depthwise)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w, g.dilation_h, g.dilation_w)
    reach_h = (g.out_h - 1) * g.stride_h + (g.kernel_h - 1) * g.dilation_h + 1
    reach_w = (g.out_w - 1) * g.stride_w + (g.kernel_w - 1) * g.dilation_w + 1
    pad = (top, max(0, reach_h - g.in_h - top), left, max(0, reach_w - g.in_w - left))
    axes = (1, 2, 0, 3) if depthwise else (1, 2, 3, 0)
    return layer(site, g, lambda w: w.transpose(axes), pad)


def conv_2d(site: Site) -> Bound:
    """``out = clamp(round(M * (sum((x - x_zero) * w) + bias)) + out_zero)`` over a sliding window."""
    return _conv(site, depthwise=False)


def depthwise_conv_2d(site: Site) -> Bound:
    """As CONV_2D, each output channel from one input channel."""
    return _conv(site, depthwise=True)


def fully_connected(site: Site) -> Bound:
    """``out = clamp(round(M * (sum((x - x_zero) * (w - w_zero)) + bias)) + out_zero)`` over the rows of the input.

    Variants for products of the ``float64`` scheme beyond 32 bits: ``x86_cast`` and ``saturating_cast``, as in QUANTIZE.
    """
    g = dense_geometry(list(site.inputs))
    return layer(site, g, lambda w: w.T.reshape(1, 1, g.in_c, g.out_c), (0, 0, 0, 0))


BINDINGS = {"CONV_2D": conv_2d, "DEPTHWISE_CONV_2D": depthwise_conv_2d, "FULLY_CONNECTED": fully_connected}
