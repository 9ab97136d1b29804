"""Binds reductions along axes: MEAN."""

import math

import numpy as np

from fxsim.arith.multiplier import quantize_multiplier
from fxsim.errors import UnsupportedOp
from fxsim.kernels.requantize import requantize
from fxsim.model.ops.reduce import reduced_axes
from fxsim.model.qtype import Array
from fxsim.sim.base import INT32, Arrays, Bound, Probe, Site, scalar_quant


def mean(site: Site) -> Bound:
    """``out = clamp(round(M / n * (sum(x) - n * x_zero)) + out_zero)`` over ``n`` elements of the reduced axes.

    ``1 / n`` is folded into the integer multiplier: ``q' = floor((q << s) / n)``, ``s = min(floor(log2 n), 31 + shift)``.

    Source: tflite/kernels/internal/reference/reduce.h, QuantizedMeanOrSum @ LiteRT 2.3.0.
    """
    site.types(input0="int8 uint8 int16", output=site.input(0).qtype.name)
    x, out = site.input(0), site.outputs[0]
    axes = reduced_axes(list(site.inputs))
    n = math.prod(x.shape[a] for a in axes)
    if n == 0 or out.elements == 0:
        raise UnsupportedOp(f"reduces {n} elements; supported: at least 1")
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    r = site.integer_scheme()
    q, shift = quantize_multiplier(x_scale / out_scale)
    s = min(n.bit_length() - 1, 32, 31 + shift)
    if s < 0 or shift > 30:
        raise UnsupportedOp(f"a rescale by {x_scale / out_scale:g} is beyond the engine's shifts")
    scales = (np.array([(q << s) // n]), np.array([shift - s]), np.zeros(1))
    clamp = out.qtype.min, out.qtype.max
    kernel = requantize(r.scheme, r.rounding)

    def accumulate(inputs: Arrays) -> Array:
        total: Array = np.asarray(np.sum(inputs[0], axis=axes, dtype=np.int64)).reshape(-1, 1) - n * x_zero
        return total.astype(np.int32)  # modulo 2**32, as the engine's register

    def run(inputs: Arrays, outputs: Arrays) -> None:
        kernel(accumulate(inputs), *scales, out_zero, *clamp, outputs[0].reshape(-1, 1))

    def probe(inputs: Arrays) -> Probe:
        acc = accumulate(inputs)
        free = np.empty(acc.shape, np.int32)
        kernel(acc, *scales, out_zero, *INT32, free)
        low, high = int(np.sum(free < clamp[0])), int(np.sum(free > clamp[1]))
        return Probe(32, low, high, np.array([[acc.min(), acc.max(), 0, -1]], np.int64))

    return Bound(run, probe)


BINDINGS = {"MEAN": mean}
