"""XNNPACK's rescales of 8-bit values: small fixed-point multipliers, one shift, ties toward plus infinity.

Source: src/microparams-init.c, src/xnnpack/requantization.h @ XNNPACK of August 2026.
"""

import math

from fxsim.arith.multiplier import float32
from fxsim.arith.rounding import from_float, shift_right, ties_even, ties_pos

ADD_BITS, CONVERT_BITS = 20, 8
"""fraction bits of the multipliers of a sum (of the greater one) and of a conversion"""


def sum_multipliers(a_scale: float, b_scale: float, output_scale: float) -> tuple[int, int, int]:
    """``(a, b, shift)`` with ``a_scale / output_scale ~ a * 2**-shift``, and ``b`` alike: the greater has 21 bits.

    Ratios in float32, multipliers rounded ties to even. For a difference, ``b`` is negated.
    """
    a, b = float32(a_scale / output_scale), float32(b_scale / output_scale)
    shift = ADD_BITS - (math.frexp(max(a, b))[1] - 1)
    return from_float(ties_even, math.ldexp(a, shift)), from_float(ties_even, math.ldexp(b, shift)), shift


def convert_multiplier(ratio: float) -> int:
    """``256 * ratio`` of a float32 ratio of scales, ties to even."""
    return from_float(ties_even, ratio * (1 << CONVERT_BITS))


def convert(value: int, multiplier: int) -> int:
    """``value * multiplier / 256``, nearest, ties toward plus infinity."""
    return shift_right(ties_pos, value * multiplier, CONVERT_BITS)


def weighted_sum(a: int, b: int, a_multiplier: int, b_multiplier: int, shift: int) -> int:
    """``(a * a_multiplier + b * b_multiplier) / 2**shift``, nearest, ties toward plus infinity."""
    return shift_right(ties_pos, a * a_multiplier + b * b_multiplier, shift)


def mean_parameters(
    x_scale: float, x_zero: int, output_scale: float, output_zero: int, count: int
) -> tuple[float, float]:
    """``(scale, offset)`` in float32: the mean of ``count`` values is ``rint(sum * scale + offset)``.

    The zero points are in the offset, which is no integer.
    """
    scale = float32(float32(x_scale / output_scale) * float32(1.0 / count))
    return scale, _offset(scale, x_zero, output_zero, count)


def sum_parameters(
    x_scale: float, x_zero: int, output_scale: float, output_zero: int, count: int
) -> tuple[float, float]:
    """``(scale, offset)`` in float32: the sum of ``count`` values is ``rint(sum * scale + offset)``."""
    scale = float32(x_scale / output_scale)
    return scale, _offset(scale, x_zero, output_zero, count)


def _offset(scale: float, x_zero: int, output_zero: int, count: int) -> float:
    return float32(output_zero - float32(float32(float(count * x_zero)) * scale))


def affine_or_limit(value: float, scale: float, offset: float, low: int, high: int) -> int:
    """``rint(value * scale + offset)`` within ``low..high``: product and sum each rounded to float32, ties to even."""
    return from_float(ties_even, min(max(float32(float32(value * scale) + offset), low), high))


def activation_bound(bound: float, scale: float, zero: int, low: int, high: int) -> int:
    """A fused activation's bound as an integer: ``rint(bound / scale + zero)`` in float32, within ``low..high``."""
    return from_float(ties_even, min(max(float32(float32(bound / scale) + zero), low), high))
