"""Fixed-point casts and quantization on arrays: the arith rules, compiled into one loop for each rule and policy."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.cast import cast, fit
from fxsim.arith.overflow import OVERFLOWS, of_misfit, wrap
from fxsim.arith.rounding import RULES, from_float
from fxsim.kernels._jit import INTEGER, STAMP, kernel

Kernel = Callable[..., Any]
MANTISSA_BITS = 62
"""a float64 mantissa, scaled to an int64 with room below it: every float up to 2**62 has bits to round"""
PLAIN, TINY = 2.0**51, 2.0**-900
"""between them, scaling by a power of two and splitting off the fraction are exact in float64"""


@cache
def cast_raw(rounding: str, overflow: str) -> Kernel:
    """``f(raw, shift, bits, signed, wrap_bits, quirk, out)``: ``raw * 2**-shift`` in registers of ``bits`` bits.

    ``raw`` and ``out`` int64 (64 unsigned bits as the same bits); see :func:`fxsim.arith.cast.cast`.
    """
    rule, policy, stamp = RULES[rounding], OVERFLOWS[overflow], STAMP

    @kernel
    def f(raw, shift, bits, signed, wrap_bits, quirk, out):
        if stamp < 0:
            return
        for i in range(raw.size):
            out[i] = wrap(cast(rule, policy, INTEGER(raw[i]), shift, bits, signed, wrap_bits, quirk), 64)

    return f


@cache
def misfit(rounding: str) -> Kernel:
    """``f(raw, shift, bits, signed) -> index`` of the first element that, once rounded, does not fit; -1 if all do."""
    rule, stamp = RULES[rounding], STAMP

    @kernel
    def f(raw, shift, bits, signed):
        if stamp < 0:
            return -1
        for i in range(raw.size):
            if cast(rule, of_misfit, INTEGER(raw[i]), shift, bits, signed, 0, 0) != 0:
                return i
        return -1

    return f


@cache
def count_odd() -> Kernel:
    """``f(x, scale) -> count`` of the elements of float64 ``x`` that :func:`quantize_plain` must not see."""
    stamp = STAMP

    @kernel
    def f(x, scale):
        odd = 0
        if stamp < 0:
            return odd
        for i in range(x.size):
            size = abs(float(x[i]) * scale)
            odd += not ((x[i] == 0.0) | ((size > TINY) & (size < PLAIN)))
        return odd

    return f


@cache
def quantize_plain(rounding: str, overflow: str) -> Kernel:
    """``f(x, scale, bits, signed, wrap_bits, out)``: ``x * scale`` in registers, for elements of ordinary size."""
    rule, policy, stamp = RULES[rounding], OVERFLOWS[overflow], STAMP

    @kernel
    def f(x, scale, bits, signed, wrap_bits, out):
        if stamp < 0:
            return
        for i in range(x.size):
            k = from_float(rule, float(x[i]) * scale)
            out[i] = wrap(fit(policy, k, 0, k, bits, signed, wrap_bits), 64)

    return f


@cache
def quantize_any(rounding: str, overflow: str) -> Kernel:
    """``f(x, frac_bits, bits, signed, wrap_bits, quirk, out) -> index``: ``x * 2**frac_bits`` in registers, for any float64.

    Each value is an integer mantissa times a power of two, and is cast as such: the slow twin of
    :func:`quantize_plain`. Returns the index of the first element that is not finite, or -1.
    """
    rule, policy, stamp = RULES[rounding], OVERFLOWS[overflow], STAMP

    @kernel
    def f(x, frac_bits, bits, signed, wrap_bits, quirk, out):
        if stamp < 0:
            return -1
        for i in range(x.size):
            v = np.float64(x[i])
            if not math.isfinite(v):
                return i
            mantissa, exponent = math.frexp(v)
            whole, shift = INTEGER(mantissa * 2.0**MANTISSA_BITS), MANTISSA_BITS - exponent - frac_bits
            out[i] = wrap(cast(rule, policy, whole, shift, bits, signed, wrap_bits, quirk), 64)
        return -1

    return f
