"""Binds the changes of a tensor's type or scale: QUANTIZE and DEQUANTIZE."""

import numpy as np

from fxsim.kernels import pointwise
from fxsim.kernels.requantize import requantize
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Site, clamped, make_scales, scalar_quant


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


BINDINGS = {"QUANTIZE": quantize, "DEQUANTIZE": dequantize}
