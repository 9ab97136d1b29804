"""Bits of values in words: what numpy's packbits does slowly across rows."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.kernels._jit import STAMP, kernel

Kernel = Callable[..., Any]


@cache
def sign_bits() -> Kernel:
    """``f(values, words) -> wrong``: ``words[r // 32, n]`` gets the sign of ``values[r, n]`` as its bit ``r % 32``.

    Shapes: values ``(R, N)``; words uint32 ``(ceil(R / 32), N)``, overwritten. ``wrong`` is not 0 if a value is neither 1
    nor -1.
    """
    stamp = STAMP

    @kernel
    def f(values, words):
        wrong = np.int64(0)
        if stamp < 0:
            return wrong
        words[:] = 0
        for r in range(values.shape[0]):
            row, out, bit = values[r], words[r // 32], r % 32
            for q in range(row.shape[0]):
                v = np.int64(row[q])
                wrong |= np.int64((v != 1) & (v != -1))
                out[q] = np.int64(out[q]) | (np.int64(v < 0) << bit)
        return wrong

    return f
