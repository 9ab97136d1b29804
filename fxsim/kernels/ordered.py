"""Accumulators as hardware has them: any width, order of additions, quantization of products; watched at every step.

One output at a time, its products gathered first, then added in the order of the accumulator. Slower than
:mod:`fxsim.kernels.accumulate`, whose slow twin it is, and able to do what that cannot.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from fxsim.arith.cast import cast
from fxsim.arith.floats import to_half
from fxsim.arith.overflow import OVERFLOWS, POLICIES, highest, lowest, saturate
from fxsim.arith.rounding import RULES, from_float, ties_even
from fxsim.kernels._jit import INTEGER, STAMP, kernel

Kernel = Callable[..., Any]
FREE_BITS = 63
"""a register so wide that nothing overflows it"""
ORDERS = ("sequential", "tree", "lanes", "pairs16", "spill16", "float32", "float16")
_, TREE, LANES, PAIRS, SPILL, SINGLE, HALF = range(len(ORDERS))
LOW, HIGH, OVERFLOWED, FIRST = range(4)
"""columns of ``seen``, one row a channel: least and greatest value that the register held, steps that overflowed it, and
the flat index of the first output in which one did (-1: none)"""


@cache
def ordered(order: str, policy: str, product_rounding: str, product_overflow: str) -> Kernel:
    """``f(x, w, bias, x_zero, lift, window, groups, bits, lanes, at_end, product_shift, product_bits, acc, seen)``.

    Arrays as in :mod:`fxsim.kernels.accumulate`; ``acc`` int64. ``order``:

    - ``sequential``: kernel row, kernel column, input channel.
    - ``tree``: neighbours are added ``lanes`` at a time, level by level, each adder ``bits`` wide.
    - ``lanes``: product ``i`` goes to register ``i % lanes``; the registers are added in turn.
    - ``pairs16``: neighbours are added two at a time in 16 saturating bits, then to the register (x86 vpmaddubsw).
    - ``spill16``: pairs go to a register of 16 saturating bits, emptied into the wide one every ``lanes`` products
      (0: at the end) (FBGEMM acc16).
    - ``float32``, ``float16``: the running sum is rounded to that format at each addition; every ``lanes`` products
      (0: at the end) it is rounded to an integer and added to the register.

    ``pairs16`` and ``spill16`` multiply the stored inputs plus ``lift``, as that hardware does (128 makes int8 unsigned);
    the share of ``x_zero + lift`` is taken off with the bias. ``at_end`` lets the steps run free and fits the register
    once, at the end.
    Each product is first scaled by ``2**-product_shift`` with its rule, and fitted to ``product_bits`` if that is above 0.
    """
    plain = order == ORDERS[0]
    return partial(_ordered(plain, policy, product_rounding, product_overflow), ORDERS.index(order))


@cache
def _ordered(plain: bool, policy: str, product_rounding: str, product_overflow: str) -> Kernel:
    """:func:`ordered`, given the index of the order first: one kernel for all but the ``plain`` one, which is the first."""
    step, rule, narrow = POLICIES[policy], RULES[product_rounding], OVERFLOWS[product_overflow]
    stamp = STAMP

    @kernel
    def f(order, x, w, bias, x_zero, lift, window, groups, bits, lanes, at_end, product_shift, product_bits, acc, seen):
        if stamp < 0:
            return
        which = 0 if plain else order
        tree, in_lanes, pairs, spill = which == TREE, which == LANES, which == PAIRS, which == SPILL
        single, half = which == SINGLE, which == HALF
        unsigned = pairs or spill
        n, oh, ow, o = acc.shape
        kh, kw, c, _ = w.shape
        og = o // groups
        count = kh * kw * c
        p = np.empty(count, np.int64)
        sums = np.zeros(max(lanes, 1), np.int64)
        wide = FREE_BITS if at_end else bits
        zero, raised = (INTEGER(0), INTEGER(lift)) if unsigned else (INTEGER(x_zero), INTEGER(0))
        for b in range(n):
            for y in range(oh):
                for z in range(ow):
                    for q in range(o):
                        at, weights = 0, INTEGER(0)
                        for i in range(kh):
                            for j in range(kw):
                                for k in range(c):
                                    v = x[
                                        b, y * window[0] + i * window[2], z * window[1] + j * window[3], q // og * c + k
                                    ]
                                    u = INTEGER(w[i, j, k, q])
                                    t = (INTEGER(v) + raised - zero) * u
                                    weights += u
                                    if product_shift > 0 or product_bits > 0:
                                        register = product_bits if product_bits > 0 else FREE_BITS
                                        t = cast(rule, narrow, t, product_shift, register, True, 0, 0)
                                    p[at] = t
                                    at += 1
                        s, low, high, lost = INTEGER(0), INTEGER(0), INTEGER(0), INTEGER(0)
                        if tree:
                            left = count
                            while left > 1:
                                filled = 0
                                for start in range(0, left, lanes):
                                    s = INTEGER(p[start])
                                    for k in range(start + 1, min(start + lanes, left)):
                                        s += INTEGER(p[k])
                                    exact = s
                                    s = step(exact, wide)
                                    lost += s != exact
                                    low, high = min(low, s), max(high, s)
                                    p[filled] = s
                                    filled += 1
                                left = filled
                            s = INTEGER(p[0])
                            exact = s
                            s = step(exact, wide)
                            lost += s != exact
                            low, high = min(low, s), max(high, s)
                        elif in_lanes:
                            sums[:] = 0
                            for k in range(count):
                                exact = INTEGER(sums[k % lanes]) + INTEGER(p[k])
                                t = step(exact, wide)
                                lost += t != exact
                                low, high = min(low, t), max(high, t)
                                sums[k % lanes] = t
                            for k in range(lanes):
                                exact = s + INTEGER(sums[k])
                                s = step(exact, wide)
                                lost += s != exact
                                low, high = min(low, s), max(high, s)
                        elif pairs or spill:
                            short = INTEGER(0)
                            for k in range(0, count, 2):
                                exact = INTEGER(p[k]) + (INTEGER(p[k + 1]) if k + 1 < count else 0)
                                t = saturate(exact, 16)
                                lost += t != exact
                                if spill:
                                    exact = short + t
                                    short = saturate(exact, 16)
                                    lost += short != exact
                                    if not (lanes > 0 and (k + 2) % lanes == 0) and k + 2 < count:
                                        continue
                                    t, short = short, INTEGER(0)
                                exact = s + t
                                s = step(exact, wide)
                                lost += s != exact
                                low, high = min(low, s), max(high, s)
                        elif single or half:
                            chunk = 0.0
                            for k in range(count):
                                chunk += p[k]
                                chunk = np.float64(np.float32(chunk)) if single else to_half(chunk)
                                if not (lanes > 0 and (k + 1) % lanes == 0) and k + 1 < count:
                                    continue
                                if math.isinf(chunk):
                                    t = highest(wide) if chunk > 0 else lowest(wide)
                                else:
                                    t = INTEGER(from_float(ties_even, chunk))
                                chunk = 0.0
                                exact = s + t
                                s = step(exact, wide)
                                lost += s != exact
                                low, high = min(low, s), max(high, s)
                        else:
                            for k in range(count):
                                exact = s + INTEGER(p[k])
                                s = step(exact, wide)
                                lost += s != exact
                                low, high = min(low, s), max(high, s)
                        exact = s + INTEGER(bias[q]) - ((INTEGER(x_zero) + raised) * weights if unsigned else 0)
                        s = step(exact, bits)
                        lost += s != exact
                        low, high = min(low, s), max(high, s)
                        acc[b, y, z, q] = s
                        if lost > 0 and seen[q, FIRST] < 0:
                            seen[q, FIRST] = ((b * oh + y) * ow + z) * o + q
                        seen[q, OVERFLOWED] += lost
                        seen[q, LOW], seen[q, HIGH] = min(seen[q, LOW], low), max(seen[q, HIGH], high)

    return f


def watch(channels: int) -> Any:  # noqa: ANN401
    """A fresh ``seen``: nothing held, nothing overflowed."""
    seen = np.zeros((channels, 4), np.int64)
    seen[:, FIRST] = -1
    return seen
