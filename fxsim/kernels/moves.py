"""Bytes at other places, and bytes for bytes: layers that compute nothing, and those that a table of 256 entries holds."""

from functools import cache
from typing import Any

import numpy as np

from fxsim.kernels._jit import STAMP, carray, native
from fxsim.kernels._vectors import copy, memory, word

ENTRIES = {1: np.uint8, 2: np.uint16, 4: np.uint32}


@cache
def moved(arrays: int) -> Any:  # noqa: ANN401
    """Runs of bytes, each from one array to another.

    The block's words: inputs, outputs and room, ``arrays`` in all; the border, the table's address and its rows. A row: the
    word that holds where the source begins, how many bytes from there; the same of the target; bytes.
    """
    stamp, first = STAMP, arrays

    @native
    def f(block):
        if stamp < 0:
            return
        words = carray(memory(block), first + 3, np.int64)
        rows = carray(memory(words[first + 1]), (words[first + 2], 5), np.int64)
        for i in range(rows.shape[0]):
            copy(words[rows[i, 2]] + rows[i, 3], words[rows[i, 0]] + rows[i, 1], rows[i, 4])

    return f


@cache
def looked_up(size: int) -> Any:  # noqa: ANN401
    """Entries of ``size`` bytes for bytes. The block's words: input, output, room, elements, the table's address."""
    stamp, entry = STAMP, ENTRIES[size]

    @native
    def f(block):
        if stamp < 0:
            return
        count = word(block, 3)
        x, y = carray(memory(word(block, 0)), count, np.uint8), carray(memory(word(block, 1)), count, entry)
        table = carray(memory(word(block, 4)), 256, entry)
        for i in range(count):
            y[i] = table[x[i]]

    return f
