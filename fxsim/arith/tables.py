"""Functions of 16-bit integers by table and interpolation, and of 8-bit ones by table.

Floats are rounded to float32 at every step where ``narrow`` is :func:`fxsim.arith.multiplier.float32`.

Source: tflite/kernels/internal/common.h, LUTPopulate, LUTLookup, sigmoid_table_uint16; reference/integer_ops/logistic.h,
tanh.h @ LiteRT 2.3.0.
"""

import math
from collections.abc import Callable

from fxsim.arith.multiplier import float32, round_half_away
from fxsim.arith.overflow import wrap
from fxsim.arith.x86 import to_int32, to_int32_saturating

Real = Callable[[float], float]
Ints = tuple[int, ...]
STEPS = 512
INT16 = (-(1 << 15), (1 << 15) - 1)


def _sigmoids() -> Ints:
    """``2**16 / (1 + exp(-i / 24))``, each raised by half of what a chord lacks at its middle; the last is the limit."""

    def exact(i: float) -> float:
        return 65536 / (1 + math.exp(-i / 24))

    raised = [exact(i) + (exact(i + 0.5) - (exact(i) + exact(i + 1)) / 2) / 2 for i in range(255)]
    return (*(math.floor(v + 0.5) for v in raised), 65535)


SIGMOIDS = _sigmoids()
"""256 values of the logistic function in Q0.16, 24 to the unit"""


def _scaled(x: int, multiplier: int, shift: int) -> int:
    return wrap(x * multiplier + ((1 << shift) >> 1), 32) >> shift


def logistic16(x: int, sigmoids: Ints, multiplier: int, shift: int) -> int:
    """``1 / (1 + exp(-r))`` in Q0.15 for ``r = x * multiplier * 2**-shift / 12288``."""
    scaled = _scaled(x, multiplier, shift)
    size = abs(scaled)
    index = size >> 9
    result = 0x7FFF << 10
    if index < 255:
        base = int(sigmoids[index])
        result = (base << 9) + (size & 511) * (int(sigmoids[index + 1]) - base)
    result = result + 512 if scaled >= 0 else (1 << 25) - result + 511
    return result >> 10


def tanh16(x: int, sigmoids: Ints, multiplier: int, shift: int) -> int:
    """``tanh(r)`` in Q0.15 for ``r = x * multiplier * 2**-shift / 12288``, as ``2 * sigmoid(2 r) - 1``."""
    scaled = _scaled(x, multiplier, shift)
    size = abs(scaled)
    index = size >> 8
    result = 0xFFFF << 8
    if index < 255:
        base = int(sigmoids[index])
        result = (base << 8) + (size & 255) * (int(sigmoids[index + 1]) - base)
    result = result - (1 << 23) + 128 if scaled >= 0 else -result + (1 << 23) + 127
    return result >> 8


def input_multiplier(scale: float) -> tuple[int, int]:
    """``(multiplier, shift)`` with ``scale * 12288 ~ multiplier * 2**-shift``, the multiplier below ``2**15`` for most."""
    multiplier, shift = scale * 12288, 0
    while multiplier <= 32767 / 2 and shift <= 30:
        multiplier, shift = multiplier * 2, shift + 1
    return to_int32(multiplier), shift


def interpolate(x: int, table: Ints) -> int:
    """The table of 513 entries at ``(x + 2**15) / 128``, linear between them."""
    index = (x >> 7) + 256
    base = int(table[index])
    slope = wrap(int(table[index + 1]) - base, 16)
    return wrap(base + ((slope * (x & 127) + 64) >> 7), 16)


def table_of_513(function: Real, narrow: Real, in_scale: float, in_zero: int, out_scale: float, out_zero: int) -> Ints:
    """``function`` over the 16-bit range in 512 steps, each entry moved by half the error at the middle of its step."""
    low, high = INT16
    first, last = narrow(in_scale * (low - in_zero)), narrow(in_scale * (high - in_zero))
    step = narrow(narrow(last - first) / STEPS)
    half = narrow(step / 2)
    span = narrow(narrow(out_scale * (high - out_zero)) - narrow(out_scale * (low - out_zero)))
    inverse = narrow(65536 / span)

    def at(x: float) -> float:
        return narrow(narrow(function(x)) * inverse)

    def entry(i: int) -> int:
        left, right = narrow(first + narrow(i * step)), narrow(first + narrow((i + 1) * step))
        here = _round(at(left))
        middle = _round(narrow(narrow(at(right) + here) / 2))
        error = narrow(middle - _round(at(narrow(left + half))))
        return clamped(narrow(here - _round(narrow(error / 2))))

    def clamped(x: float) -> int:
        return wrap(to_int32(min(max(x, low), high)), 16)

    return (*(entry(i) for i in range(STEPS)), clamped(_round(at(last))))


def _round(x: float) -> float:
    return float(round_half_away(x)) if math.isfinite(x) else x


def table_of_256(
    function: Real,
    low: int,
    high: int,
    in_scale: float,
    in_zero: int,
    out_scale: float,
    out_zero: int,
    saturating: bool,
) -> Ints:
    """``clamp(round(function(in_scale * (x - in_zero)) / out_scale) + out_zero)`` for ``x`` in ``low..high``, all in float32.

    A sum beyond 32 bits saturates and no number is 0, or both become ``-2**31`` (x86).
    """
    inverse = float32(1 / out_scale)

    def entry(x: int) -> int:
        real = float32(float32(function(float32(in_scale * (x - in_zero)))) * inverse)
        total = float32(_round(real) + out_zero)
        return min(max(to_int32_saturating(total) if saturating else to_int32(total), low), high)

    return tuple(entry(x) for x in range(low, high + 1))
