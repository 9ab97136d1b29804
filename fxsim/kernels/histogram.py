"""Counts of floats in bins of equal width."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]


@cache
def histogram() -> Kernel:
    """``f(x, scale, counts)``: counts each element in bin ``floor(x * scale) + n / 2`` of ``n``, the first or last beyond.

    The product is in float64. ``x`` flat and finite.
    """
    stamp = STAMP

    @kernel
    def f(x, scale, counts):
        if stamp < 0:
            return
        middle, last = counts.size // 2, counts.size - 1
        for i in range(x.size):
            place = int(np.floor(np.float64(x[i]) * scale)) + middle
            counts[min(max(place, 0), last)] += 1

    return f
