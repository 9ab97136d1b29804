"""Binds the changes of a tensor's type or scale: QUANTIZE and DEQUANTIZE."""

from dataclasses import replace

import numpy as np

from fxsim.kernels import pointwise
from fxsim.kernels.requantize import requantize
from fxsim.model.qtype import Array
from fxsim.sim import moves
from fxsim.sim.base import Arrays, Bound, Site, clamped, make_scales, quant, scalar_quant


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

        fast = moves.quantized(x, out, r.rounding, saturating, scale, out_zero)
        return replace(clamped(run_float, out, clamp), native=fast)
    x_scale, x_zero = scalar_quant(x)
    r, s, kernel = site.integer_scheme(), make_scales(site, [(x_scale,)], out_scale), requantize(r.scheme, r.rounding)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        acc = inputs[0].astype(np.int64).reshape(-1, 1) - x_zero
        kernel(acc, s.q, s.shift, s.real, out_zero, *clamp, y.reshape(-1, 1))

    bound = clamped(run, out, clamp)
    return replace(bound, native=moves.looked_up(x, out, bound.run))


def dequantize(site: Site) -> Bound:
    """``out = scale * (x - zero)``, the product in float64, rounded to float32.

    Variants: ``by_channel`` (a scale for each channel, and weights below 8 bits) and ``one_scale``.

    Source: tflite/kernels/dequantize.cc, internal/reference/dequantize.h @ LiteRT 2.3.0.
    """
    site.types(output="float32")
    x = site.input(0)
    if site.variant("by_channel", "one_scale") == "one_scale":
        site.types(input0="int8 uint8 int16 int32")
        scalar_quant(x)
    q = quant(x)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, as in the engines
            outputs[0][...] = q.dequantize(inputs[0])

    return Bound(run, native=moves.looked_up(x, site.outputs[0], run) if q.per_tensor else None)


def known(site: Site, i: int) -> Array | None:
    """The values of input ``i`` where they are known before the run: a constant's, or what DEQUANTIZE makes of one."""
    t = site.input(i)
    maker = next((n for n in site.graph.nodes if t.index in n.outputs), None)
    if t.data is not None or maker is None or maker.op != "DEQUANTIZE":
        return t.data
    stored = site.graph.tensors[maker.inputs[0]]
    return None if stored.data is None else quant(stored).dequantize(stored.data).astype(np.float32)


BINDINGS = {"QUANTIZE": quantize, "DEQUANTIZE": dequantize}
