"""Two operations in float32 instead of an engine's requantization: the constants, proved channel by channel.

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
FREE = 1.0e9
"""no bound"""


def fused(acc: int, scale: Any, offset: Any, odd: int) -> Any:  # noqa: ANN401
    """``rint(fma(acc + copysign(offset, acc), scale, M)) - M``, in float32, for an ``M`` with the parity ``odd``.

    ``M = 1.5 * 2**23 + zero`` leaves a float32 no fraction. In full: a product of two float32 numbers is exact in float64,
    and adding 1 to it moves no tie.
    """
    x = np.float32(acc)
    x = x + offset if acc >= 0 else x - offset
    return np.rint(np.float64(x) * np.float64(scale) + odd) - odd


def folded(acc: int, scale: Any, offset: Any, odd: int) -> Any:  # noqa: ANN401
    """``acc * scale + M - M``, in float32, the product rounded by itself; ``M`` as in :func:`fused`."""
    return np.rint(np.float64(np.float32(acc) * scale) + odd) - odd


@cache
def proof(scheme: str, rounding: str) -> Callable[..., Any]:
    """``f(q, shift, scale, least, most, low, high, odd, scales, offsets)``: how many channels were proved, from the first.

    For each channel, ``scales`` and ``offsets`` (float32) get constants with which :func:`fused` (for a float32 scheme:
    :func:`folded`), limited to ``low..high``, is the scheme's output for every accumulator ``least..most``. The first
    channel without them ends it.
    """
    rule, stamp, single = RULES[rounding], STAMP, scheme == "float32"
    formula, tried = jitable(folded if single else fused), 1 if single else TRIED
    apply = NARROW.get(scheme)

    if apply is not None:

        def exact(acc, q, shift, scale):
            return apply(rule, acc, q, shift)
    else:

        def exact(acc, q, shift, scale):
            return from_float(rule, np.float64(scale.dtype.type(acc) * scale[0]))

    engine = jitable(exact)

    @kernel
    def f(q, shift, scale, least, most, low, high, odd, scales, offsets):
        if stamp < 0:
            return 0
        steps = np.empty(high - low, np.int64)
        for c in range(q.shape[0]):
            one, real, first, last = scale[c : c + 1], np.float64(scale[c]), np.int64(least[c]), np.int64(most[c])
            for i in range(high - low):  # the least accumulator of each level
                k = low + 1 + i
                t = np.int64(np.ceil(min(max((k - 0.5) / real, first), last + 1.0)))
                for n in range(AWRY + 1):
                    if n == AWRY:
                        return c
                    if t > first and engine(t - 1, q[c], shift[c], one) >= k:
                        t -= 1
                    elif t <= last and engine(t, q[c], shift[c], one) < k:
                        t += 1
                    else:
                        break
                steps[i] = t
            found, center = False, np.float32(real)
            for n in range(tried):
                s = np.float32(center + ((n + 1) // 2 if n % 2 else -(n // 2)) * np.spacing(center))
                below, above, farthest = 0.0, FREE, 1.0  # the offsets that real numbers allow
                for i in range(high - low):
                    t, edge = steps[i], (low + 0.5 + i) / np.float64(s)
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
                if below > above and not single:
                    continue
                grid = 2.0 ** (np.ceil(np.log2(farthest + 2.0)) - 24)
                middle = 0.0 if single or below == 0.0 else below if above == FREE else (below + above) / 2
                d, good = np.float32(np.rint(middle / grid) * grid), True
                for i in range(high - low):
                    t, k = steps[i], low + 1 + i
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
