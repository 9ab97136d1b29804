"""One multiply-add in float32 instead of an engine's requantization: the constants, proved channel by channel.

Both are monotone in the accumulator. An output of ``N`` levels is then nothing but the ``N - 1`` accumulators at which
it steps up; where both step at the same ones, they are the same function.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES, from_float
from fxsim.kernels._jit import STAMP, jitable, kernel

TRIED = 13
"""float32 numbers next to the real scale that are tried"""
AWRY = 4
"""how far from the quotient a step may lie"""


def level(acc: int, scale: Any, offset: Any, odd: int) -> Any:  # noqa: ANN401
    """``rint(fma(acc + copysign(offset, acc), scale, M))`` less ``M = 1.5 * 2**23 + zero``, where ``odd = zero & 1``.

    All in float32, and in full: a product of two float32 numbers is exact in float64, and adding 1 to it moves no tie.
    """
    x = np.float32(acc)
    x = x + offset if acc >= 0 else x - offset
    return np.rint(np.float64(x) * np.float64(scale) + odd) - odd


@cache
def steps(scheme: str, rounding: str) -> Callable[..., Any]:
    """``f(q, shift, scale, least, most, low, high, odd, scales, offsets)``: how many channels were proved, from the first.

    For each channel, ``scales`` and ``offsets`` (float32) get constants with which :func:`level`, limited to
    ``low..high``, is the scheme's output for every accumulator ``least..most``. The first channel without them ends it.
    """
    rule, stamp, formula = RULES[rounding], STAMP, jitable(level)
    apply = NARROW.get(scheme)

    if apply is not None:

        def exact(acc, q, shift, scale):
            return apply(rule, acc, q, shift)
    else:

        def exact(acc, q, shift, scale):
            return from_float(rule, np.float64(scale.dtype.type(acc) * scale[0]))

    of = jitable(exact)

    @kernel
    def f(q, shift, scale, least, most, low, high, odd, scales, offsets):
        if stamp < 0:
            return 0
        at = np.empty(high - low, np.int64)
        for c in range(q.shape[0]):
            one, real, first, last = scale[c : c + 1], np.float64(scale[c]), np.int64(least[c]), np.int64(most[c])
            # where each level begins
            for i in range(high - low):
                k = low + 1 + i
                t = np.int64(np.ceil(min(max((k - 0.5) / real, first), last + 1.0)))
                for _ in range(AWRY):
                    if t > first and of(t - 1, q[c], shift[c], one) >= k:
                        t -= 1
                    elif t <= last and of(t, q[c], shift[c], one) < k:
                        t += 1
                if (t > first and of(t - 1, q[c], shift[c], one) >= k) or (
                    t <= last and of(t, q[c], shift[c], one) < k
                ):
                    return c
                at[i] = t
            found, center = False, np.float32(real)
            for n in range(TRIED):
                by = (n + 1) // 2 if n % 2 else -(n // 2)
                s = np.float32(center + by * np.spacing(center))
                # the offsets that real numbers allow
                below, above, farthest = 0.0, 1.0e9, 1.0
                for i in range(high - low):
                    t, edge = at[i], (low + 0.5 + i) / np.float64(s)
                    if t <= last:
                        farthest = max(farthest, abs(t))
                        if t >= 0:
                            below = max(below, edge - t)
                        else:
                            above = min(above, t - edge)
                    if t > first:
                        farthest = max(farthest, abs(t - 1))
                        if t > 0:
                            above = min(above, edge - t + 1)
                        else:
                            below = max(below, t - 1 - edge)
                if below > above:
                    continue
                grid = 2.0 ** (np.ceil(np.log2(farthest + 2.0)) - 24)
                middle = below if above > 1.0e8 else (below + above) / 2
                d = np.float32(0.0 if below == 0.0 else np.rint(middle / grid) * grid)
                good = True
                for i in range(high - low):
                    t, k = at[i], low + 1 + i
                    if (t <= last and formula(t, s, d, odd) < k) or (t > first and formula(t - 1, s, d, odd) >= k):
                        good = False
                        break
                if good:
                    scales[c], offsets[c], found = s, d, True
                    break
            if not found:
                return c
        return q.shape[0]

    return f
