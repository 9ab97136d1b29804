"""Steps of vector code on narrow lanes, where a scalar would have room.

Source: Arm NEON VSHL, VMOVN, VADD; NEON_2_SSE.h of ARM_NEON_2_x86_SSE.
"""

from fxsim.arith.overflow import wrap


def shift_32(value: int, shift: int) -> int:
    """``value * 2**shift`` in 32 bits: to the left wrapping, to the right toward minus infinity; ``-31 <= shift <= 31``."""
    return wrap(value << shift, 32) if shift >= 0 else value >> -shift


def add_16(a: int, b: int) -> int:
    """``a + b`` modulo ``2**16``, as a signed number: ``a`` is cut to 16 bits, and the sum wraps."""
    return wrap(a + b, 16)
