"""From a real scale to an integer multiplier and a shift. Which precision, and in which order, is part of an engine.

A layer rescales its accumulator by ``M = input_scale * weight_scale / output_scale``. Integer engines store ``M`` as
``q * 2**(shift - 31)`` with a 31-bit ``q``, or one whose low bits are zero: shorter multipliers have the same form.

Source: tflite/kernels/internal/quantization_util.cc, kernel_util.cc @ LiteRT 2.3.0.
"""

import math
import struct
from collections.abc import Callable

from fxsim.arith.rounding import Rule, from_float, ties_away

MULTIPLIER_BITS = 31


def float32(x: float) -> float:
    """``x`` rounded to the nearest float32 (ties to even), as a Python float."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def chain_float64(numerator: tuple[float, ...], denominator: float) -> float:
    """``a * b / c``, every step in float64."""
    return math.prod(numerator) / denominator


def chain_float32_product(numerator: tuple[float, ...], denominator: float) -> float:
    """``a * b / c``: the product rounded to float32, the quotient in float64."""
    return float32(math.prod(numerator)) / denominator


def chain_float32(numerator: tuple[float, ...], denominator: float) -> float:
    """``a * b / c``, every step rounded to float32."""
    # A float32 quotient computed in float64 and rounded once more is the correctly rounded one (53 >= 2 * 24 + 2 bits).
    return float32(float32(math.prod(numerator)) / denominator)


Chain = Callable[[tuple[float, ...], float], float]
CHAINS: dict[str, Chain] = {
    "float64": chain_float64,
    "float32_product": chain_float32_product,
    "float32": chain_float32,
}


def round_half_away(x: float) -> int:
    """The integer nearest to a float, ties away from zero, exactly (never ``floor(x + 0.5)``)."""
    whole = math.trunc(x)
    return whole + (int(math.copysign(1, x)) if abs(x - whole) >= 0.5 else 0)


def quantize_multiplier(real: float, bits: int = MULTIPLIER_BITS, rule: Rule = ties_away) -> tuple[int, int]:
    """``(q, shift)`` with ``real ~ q * 2**(shift - 31)`` and ``2**30 <= q < 2**31``; ``(0, 0)`` below ``2**-32``.

    ``q`` is the float64 mantissa times ``2**31``, rounded by ``rule`` to its upper ``bits`` of 1 to 31.
    """
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    q = from_float(rule, mantissa * (1 << bits))
    if q == 1 << bits:
        q, shift = q >> 1, shift + 1
    if shift < -31:
        return 0, 0
    return q << (MULTIPLIER_BITS - bits), shift
