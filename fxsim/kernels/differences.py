"""How two arrays of one type differ, in one pass: counts, a histogram, sums, and where the differing elements sit."""

from collections.abc import Callable
from functools import cache
from typing import Any

from fxsim.kernels._intrinsics import WORD, count, differing, lowest, moments, stepped
from fxsim.kernels._jit import INTEGER, STAMP, jitable, kernel

Kernel = Callable[..., Any]
NEAR = 255
"""greatest difference with a bin of its own: any of 8 bits"""
CHUNK = 64 * WORD
"""elements at a time, which the first cache holds"""
MISMATCHES, LEAST, MOST, FAR, SUM, SQUARES, PRODUCTS, APART, NOISE, LANES_LOW, LANES_HIGH = range(11)
PARTICULAR, TOP, BOTTOM, LEFT, RIGHT, INNER, CHANNELS = range(11, 18)
"""what a word of ``told`` says"""
FIGURES = 18


@jitable
def _at_one_end(first: int, last: int, size: int) -> bool:
    """True if what lies at ``first..last`` of ``size`` lines is the first or the last line alone."""
    return size > 2 and (last == 0 or first == size - 1)


@cache
def first_difference() -> Kernel:
    """``f(mine, other) -> i``: the first index at which two flat arrays of integers of one type differ; -1 if none does."""
    stamp, word = STAMP, WORD

    @kernel
    def f(mine, other):
        if stamp < 0:
            return -1
        for i in range(0, mine.size, word):
            bits = differing(mine, other, i)
            if bits != 0:
                return i + lowest(bits)
        return -1

    return f


@cache
def mostly_equal() -> Kernel:
    """``f(mine, other, least) -> bool``: whether more than ``least`` elements of two flat arrays are equal."""
    stamp, word = STAMP, WORD

    @kernel
    def f(mine, other, least):
        left = mine.size
        if stamp < 0:
            return False
        for i in range(0, mine.size, word):
            left -= count(differing(mine, other, i))
            if left <= least:
                return False
        return left > least

    return f


@cache
def differences() -> Kernel:
    """``f(mine, other, first, rows, columns, channels, far, seen, told)``: how ``other - mine`` is distributed.

    It is 0 before ``first``. Element ``i`` lies in channel ``i % channels``, column ``i // channels % columns`` and row
    ``i // channels // columns % rows``.

    Shapes: ``mine``, ``other`` flat, of one integer type; ``far`` room for differences beyond ``-NEAR..NEAR``; ``seen`` flags
    of the channels that differ; ``told`` :data:`FIGURES` words, then counts of the differences ``-NEAR..NEAR``. The words:
    mismatches; least and greatest difference; how many went to ``far``; of types of up to 16 bits, the sums of ``mine``, of
    ``mine**2``, of ``mine * other``, of the differences and of their squares; the lanes ``i % 64`` that differ, as the bits
    of two words of 32. Then, if something particular can be said of it, where the differing elements lie: the first and
    last row and column, whether one is off all borders, in how many channels.
    """
    stamp, near, chunk, word, integer, figures = STAMP, NEAR, CHUNK, WORD, INTEGER, FIGURES

    @kernel
    def f(mine, other, first, rows, columns, channels, far, seen, told):
        if stamp < 0:
            return
        bins = told[figures:]
        bins[:] = 0
        seen[:] = 0
        size, start = mine.size, first // word * word
        total, squares, products, apart, noise = integer(0), integer(0), integer(0), integer(0), integer(0)
        wrong, distant = integer(0), integer(0)
        lanes, least = integer(0), integer(other[first]) - integer(mine[first])
        most = least
        top, bottom, left, right, inner, lines = rows, -1, columns, -1, False, 0
        few, looking = (max(1, channels // 4) if channels > 1 else 0), True
        for base in range(0, size, chunk):
            end = min(base + chunk, size)
            one, two, both = moments(mine, other, base, end)
            total, squares, products = total + one, squares + two, products + both
            for i in range(max(base, start), end, word):
                bits, up, down = stepped(mine, other, i)
                if bits == 0:
                    continue
                lanes |= bits
                wrong += count(bits)
                bins[near + 1] += count(up)
                bins[near - 1] += count(down)
                rest = bits & ~(up | down)
                while rest != 0:
                    at = i + lowest(rest)
                    rest &= rest - 1
                    d = integer(other[at]) - integer(mine[at])
                    least, most = min(least, d), max(most, d)
                    if -near <= d <= near:
                        bins[d + near] += 1
                    else:
                        far[distant] = d
                        distant += 1
                        if mine.itemsize <= 2:
                            apart += d
                            noise += d * d
                if not looking:
                    continue
                pixel = i // channels
                channel, column, row = i - pixel * channels, pixel % columns, pixel // columns % rows
                place = i
                while bits != 0:
                    at = i + lowest(bits)
                    bits &= bits - 1
                    channel += at - place
                    place = at
                    while channel >= channels:
                        channel -= channels
                        column += 1
                        if column == columns:
                            column, row = 0, row + 1 if row + 1 < rows else 0
                    top, bottom = min(top, row), max(bottom, row)
                    left, right = min(left, column), max(right, column)
                    inner |= 0 < row < rows - 1 and 0 < column < columns - 1
                    lines += seen[channel] == 0
                    seen[channel] = 1
                looking = (
                    lines <= few
                    or _at_one_end(top, bottom, rows)
                    or _at_one_end(left, right, columns)
                    or (rows > 2 and columns > 2 and not inner)
                )
        if bins[near + 1]:
            least, most = min(least, 1), max(most, 1)
        if bins[near - 1]:
            least, most = min(least, -1), max(most, -1)
        for i in range(max(least, -near) + near, min(most, near) + near + 1):
            apart += (i - near) * bins[i]
            noise += (i - near) * (i - near) * bins[i]
        told[MISMATCHES], told[LEAST], told[MOST], told[FAR] = wrong, least, most, distant
        told[SUM], told[SQUARES], told[PRODUCTS], told[APART], told[NOISE] = total, squares, products, apart, noise
        told[LANES_LOW], told[LANES_HIGH] = lanes & 0xFFFFFFFF, (lanes >> 32) & 0xFFFFFFFF
        told[PARTICULAR], told[TOP], told[BOTTOM], told[LEFT], told[RIGHT], told[INNER], told[CHANNELS] = (
            looking, top, bottom, left, right, inner, lines,
        )  # fmt: skip

    return f
