"""Products of raw integers, rescaled into a register in the same loop."""

from collections.abc import Callable
from functools import cache
from typing import Any

from fxsim.arith.cast import fit
from fxsim.arith.overflow import OVERFLOWS
from fxsim.arith.rounding import RULES, shift_right
from fxsim.kernels._jit import INTEGER, STAMP, kernel

Kernel = Callable[..., Any]


@cache
def multiply(rounding: str, overflow: str) -> Kernel:
    """``f(a, b, shift, bits, signed, wrap_bits, out)``: ``a * b * 2**-shift`` in registers, for ``0 <= shift <= 62``.

    Flat arrays of integers whose exact products fit int64.
    """
    rule, policy, stamp = RULES[rounding], OVERFLOWS[overflow], STAMP

    @kernel
    def f(a, b, shift, bits, signed, wrap_bits, out):
        if stamp < 0:
            return
        if shift == 0:
            for i in range(a.size):
                k = INTEGER(a[i]) * INTEGER(b[i])
                out[i] = fit(policy, k, 0, k, bits, signed, wrap_bits)
        else:
            for i in range(a.size):
                k = shift_right(rule, INTEGER(a[i]) * INTEGER(b[i]), shift)
                out[i] = fit(policy, k, 0, k, bits, signed, wrap_bits)

    return f
