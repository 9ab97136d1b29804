"""Short floating-point formats: rounding to them, exactly, for accumulators that add in them."""

import math

from fxsim.arith.rounding import from_float, ties_even

HALF_MAX = 65504.0


def to_half(x: float) -> float:
    """``x`` rounded to binary16 (11 significant bits, ties to even); infinite from 65520 on.

    Exact for any finite float64.
    """
    if x == 0.0:
        return x
    _, exponent = math.frexp(x)
    quantum = 2.0 ** (max(exponent, -13) - 11)
    rounded = from_float(ties_even, x / quantum) * quantum if abs(x) < 2.0 * HALF_MAX else 2.0 * HALF_MAX
    if rounded > HALF_MAX or rounded < -HALF_MAX:
        return math.inf if x > 0 else -math.inf
    return rounded
