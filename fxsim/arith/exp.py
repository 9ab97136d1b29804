"""The float32 exponential as C libraries compute it: a table of 32 powers of two and a polynomial in float64.

It is not correctly rounded: about one result in 2,000 is the neighbour of the nearest float32.

Source: glibc 2.28 and later, sysdeps/ieee754/flt-32/e_expf.c (Arm Optimized Routines), checked against libm in the tests.
"""

import math

from fxsim.arith.multiplier import float32

STEPS = 32
"""parts of an octave"""
_PER_STEP = STEPS / math.log(2)
_CUBIC = float.fromhex("0x1.c6af84b912394p-5") / STEPS**3
_SQUARE = float.fromhex("0x1.ebfce50fac4f3p-3") / STEPS**2
_LINEAR = float.fromhex("0x1.62e42ff0c52d6p-1") / STEPS
_LEAST = -104.0
"""below it the result is 0"""


def exp32(x: float) -> float:
    """``exp(x)`` of a float32 ``x``, to float32."""
    if x < _LEAST:
        return 0.0
    steps = _PER_STEP * x
    whole = round(steps)
    rest = steps - whole
    power = math.ldexp(2.0 ** (whole % STEPS / STEPS), whole // STEPS)
    return float32(((_CUBIC * rest + _SQUARE) * (rest * rest) + (_LINEAR * rest + 1)) * power)
