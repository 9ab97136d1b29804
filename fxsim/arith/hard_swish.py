"""``x * clamp(x + 3, 0, 6) / 6`` in 16-bit fixed point, as TFLite's kernels compute it for 8-bit tensors.

Source: tflite/kernels/internal/reference/hard_swish.h; activations.cc, HardSwishPrepare @ LiteRT 2.3.0.
"""

from fxsim.arith.multiplier import float32, quantize_multiplier
from fxsim.arith.overflow import saturate, wrap
from fxsim.arith.requantize import fifteen_bits
from fxsim.arith.rounding import shift_right, ties_pos, to_zero
from fxsim.arith.x86 import rounding_shift_right

Settings = tuple[int, int, int, int]
"""multiplier (15 bits) and shift to the output, the same to the gate"""


def settings(input_scale: float, output_scale: float) -> Settings:
    """How the input, times 128, becomes the output and the gate's argument ``x / 3``; all in float32."""
    fine = float32(input_scale / 128)
    pairs = [quantize_multiplier(float32(fine / s)) for s in (output_scale, float32(float32(3.0) / 32768))]
    return fifteen_bits(pairs[0][0]), pairs[0][1], fifteen_bits(pairs[1][0]), pairs[1][1]


def _high(a: int, b: int) -> int:
    """The rounding doubling high multiply of two 16-bit numbers."""
    return saturate(shift_right(ties_pos, a * b, 15), 16)


def hard_swish(x: int, out_q: int, out_shift: int, gate_q: int, gate_shift: int) -> int:
    """The output for ``x`` (its zero point taken off, at most 8 bits and a sign), before the output's zero point.

    The last shifts are those of :mod:`fxsim.arith.x86`, which show where a scale is so small that they exceed 15.
    """
    fine = wrap(x << 7, 16)
    gate = saturate(fine << (gate_shift - 1), 16) if gate_shift > 0 else fine
    gate = _high(gate, gate_q)
    if gate_shift > 0:
        gate = saturate(gate << 1, 16)
    gate = rounding_shift_right(gate, max(-gate_shift, 0), 16)
    gate = (gate + (1 << 15)) >> 1
    product = shift_right(to_zero, gate * _high(fine, out_q), 15)
    return rounding_shift_right(product, -out_shift, 16)
