"""Integer functions of audio front ends: automatic scale, rounded root, logarithm, gain.

Source: signal/src @ tflite-micro of October 2026.
"""

import math
from collections.abc import Sequence

from fxsim.arith.overflow import wrap
from fxsim.arith.rounding import shift_right, ties_pos

WORD = (1 << 32) - 1
"""the greatest of 32 bits without sign"""
SEGMENTS = 128
LN2 = 45426
"""ln 2 with 16 fraction bits, a little more"""
LOG_BOW = [round(65536 * (math.log2(1 + i / SEGMENTS) - i / SEGMENTS)) for i in range(SEGMENTS + 1)] + [0]
"""how far ``log2(1 + i / 128)`` lies above ``i / 128``, with 16 fraction bits"""


def peak(values: Sequence[int]) -> int:
    """The greatest magnitude of int16 values, as a register of 16 bits compares them.

    -32768 has no magnitude there: it makes the register negative, and what comes after it starts anew.
    """
    greatest = 0
    for v in values:
        if v > greatest:
            greatest = v
        elif -v > greatest:
            greatest = wrap(-v, 16)
    return greatest


def headroom(greatest: int) -> int:
    """The left shift that brings a magnitude to 15 bits: 0 for what has none (0 and negative registers)."""
    return 15 - greatest.bit_length() if greatest > 0 else 0


def rounded_root(x: int) -> int:
    """The square root, rounded to nearest; below ``2**32`` it stops at 65535, below ``2**64`` at ``2**32 - 1``."""
    root = math.isqrt(x)
    most = 0xFFFF if x <= WORD else WORD
    return root + 1 if x - root * root > root and root != most else root


def natural_log(x: int, scale: int) -> int:
    """``scale * ln(x)`` for ``1 <= x < 2**32``, by a table of 128 segments of the binary logarithm.

    The slope within a segment is taken for 1/128 of what it is.
    """
    whole = x.bit_length() - 1
    fraction = (x - (1 << whole) << 16) >> whole
    segment = fraction >> 9
    low, high = LOG_BOW[segment], LOG_BOW[segment + 1]
    binary = (whole << 16) + fraction + low + ((high - low) * (fraction - (segment << 9)) >> 16)
    log = shift_right(ties_pos, LN2 * binary, 16)
    return (scale * log + (1 << 15) & WORD) >> 16


def gain(x: int, table: Sequence[int]) -> int:
    """A function of ``0 <= x < 2**32`` from a table of three coefficients for each power of two: a parabola in between.

    ``table[4 * bits - 6:]`` holds value, slope and curvature; the first three entries are the function of 0, 1 and 2.
    """
    if x <= 2:
        return table[x]
    bits = x.bit_length()
    value, slope, curve = table[4 * bits - 6 : 4 * bits - 3]
    fraction = (x << 11 >> bits) & 0x3FF
    steep = wrap((curve * fraction >> 5) + (slope << 5), 32)
    return wrap(shift_right(ties_pos, wrap(steep * fraction, 32), 15) + value, 16)


def compressed(x: int) -> int:
    """``x**2 / 4`` for ``x < 2`` and ``x - 1`` above; ``x`` has 12 fraction bits, the result 6."""
    return x * x >> 20 if x < 2 << 12 else (x >> 6) - 64
