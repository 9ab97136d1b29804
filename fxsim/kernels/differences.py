"""How two arrays of one type differ, in one pass: counts, a histogram, sums, and where the differing elements sit."""

from collections.abc import Callable
from functools import cache
from typing import Any

from fxsim.kernels._intrinsics import WORD, count, differing, lowest, moments, stepped
from fxsim.kernels._jit import INTEGER, STAMP, jitable, kernel

Kernel = Callable[..., Any]
NEAR = 255
"""greatest difference with a bin of its own: any of 8 bits"""
BINS = 2 * NEAR + 1
STEPS = 2
"""by which an element may be off and still be close"""
ENOUGH = 16
"""a reach of values beyond which nobody asks"""
HEAD = 1024
"""bytes of each tensor that :func:`alike` looks at"""
CHUNK = 64 * WORD
"""elements at a time, which the first cache holds"""
NAMED = 9
"""channels that are told one by one"""
FIGURES = 24 + NAMED
(
    FIRST, ELEMENTS, MISMATCHES, LEAST, MOST, CLOSE, REACH, FAR, SUM, SQUARES, PRODUCTS, APART, NOISE, LANES_LOW, LANES_HIGH,
    PARTICULAR, TOP, BOTTOM, LEFT, RIGHT, INNER, PAIRS, END, CHANNELS, CHANNEL,
) = range(FIGURES - NAMED + 1)  # fmt: skip
"""the words of a row of figures of :func:`differences`; from CHANNEL on, those of the first channels that differ"""


@jitable
def _at_one_end(first: int, last: int, size: int) -> bool:
    """True if what lies at ``first..last`` of ``size`` lines is the first or the last line alone."""
    return size > 2 and (last == 0 or first == size - 1)


@cache
def farther() -> Kernel:
    """``f(mine, other, steps, most) -> n``: how many elements of two flat arrays of integers differ by more than ``steps``.

    It ends early where there are more than ``most``.
    """
    stamp, word, integer = STAMP, WORD, INTEGER

    @kernel
    def f(mine, other, steps, most):
        n = integer(0)
        if stamp < 0:
            return n
        for base in range(0, mine.size, word):
            for i in range(base, min(base + word, mine.size)):
                d = integer(other[i]) - integer(mine[i])
                n += d < -steps or d > steps
            if n > most:
                break
        return n

    return f


@cache
def alike() -> Kernel:
    """``f(heads, sizes, asked, per, found) -> n``: which arrays begin alike.

    Shapes: ``heads`` ``(arrays, HEAD)``, the first bytes of arrays of ``sizes``; ``found`` ``(pairs, 2)``. For each array
    ``i`` of the first ``asked`` it gets every ``(i, j)``, ``asked <= j``, of which fewer bytes of the heads differ than one
    in ``per`` of the shorter array's.
    """
    stamp, word = STAMP, WORD

    @kernel
    def f(heads, sizes, asked, per, found):
        if stamp < 0:
            return 0
        n = 0
        for i in range(asked):
            for j in range(asked, heads.shape[0]):
                size = min(sizes[i], sizes[j])
                end, wrong = min(size, heads.shape[1]), 0
                mine, other = heads[i, :end], heads[j, :end]
                for k in range(0, end, word):
                    wrong += count(differing(mine, other, k))
                    if wrong * per >= size:
                        break
                if wrong * per < size:
                    found[n, 0], found[n, 1] = i, j
                    n += 1
        return n

    return f


@jitable
def _first(mine: Any, other: Any, word: int) -> int:  # noqa: ANN401
    for i in range(0, mine.size, word):
        bits = differing(mine, other, i)
        if bits != 0:
            return i + lowest(bits)
    return -1


@cache
def differences() -> Kernel:
    """``f(mine, other, rows, columns, channels, far, seen, told, k, end) -> end``: how ``other - mine`` is distributed.

    Element ``i`` lies in channel ``i % channels``, column ``i // channels % columns`` and row
    ``i // channels // columns % rows``.

    Shapes: ``mine``, ``other`` flat, of one integer type; ``far`` room for differences beyond ``-NEAR..NEAR``; ``seen``
    room for a flag a channel; ``told`` words: rows of :data:`FIGURES`, of which row ``k`` is written; histograms up to
    ``end``, behind which this call adds its own; and :data:`BINS` at the very end to count in. The figures: the first index
    that differs (-1: none does, and all else but ``ELEMENTS`` is 0); elements; how many differ; least and greatest
    difference; how many are off by up to :data:`STEPS`; how far the values of ``mine`` reach, up to :data:`ENOUGH`; how many
    differences went to ``far``; of types of up to 16 bits, the sums of ``mine``, of ``mine**2``, of ``mine * other``, of the
    differences and of their squares; the lanes ``i % 64`` that differ, as the bits of two words of 32. Then, if something
    particular can be said of it, where the differing elements lie: the first and last row and column, whether one is off all
    borders, in how many channels, and the first :data:`NAMED` of these. From ``PAIRS`` to ``END`` lie pairs of a difference
    within ``-NEAR..NEAR`` and how often it is found, ascending.
    """
    stamp, near, chunk, word, integer = STAMP, NEAR, CHUNK, WORD, INTEGER
    figures, many, steps, enough, named = FIGURES, BINS, STEPS, ENOUGH, NAMED

    @kernel
    def f(mine, other, rows, columns, channels, far, seen, told, k, end):
        if stamp < 0:
            return end
        size, first, row_told = mine.size, _first(mine, other, word), told[k * figures : (k + 1) * figures]
        row_told[:] = 0
        row_told[FIRST], row_told[ELEMENTS] = first, size
        if first < 0:
            return end
        bins, pairs = told[-many:], end
        bins[:] = 0
        seen[:channels] = 0
        start = first // word * word
        total, squares, products, apart, noise = integer(0), integer(0), integer(0), integer(0), integer(0)
        wrong, distant = integer(0), integer(0)
        lanes, least = integer(0), integer(other[first]) - integer(mine[first])
        most = least
        top, bottom, left, right, inner, lines = rows, -1, columns, -1, False, 0
        few, looking = (max(1, channels // 4) if channels > 1 else 0), True
        for base in range(0, size, chunk):
            stop = min(base + chunk, size)
            one, two, both = moments(mine, other, base, stop)
            total, squares, products = total + one, squares + two, products + both
            for i in range(max(base, start), stop, word):
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
                    if mine.itemsize == 1 or -near <= d <= near:
                        bins[d + near] += 1
                        continue
                    least, most = min(least, d), max(most, d)
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
        for i in range(many):
            times = bins[i]
            if times != 0:
                d = i - near
                told[pairs], told[pairs + 1] = d, times
                pairs += 2
                least, most = min(least, d), max(most, d)
                apart += d * times
                noise += d * d * times
        row_told[MISMATCHES], row_told[LEAST], row_told[MOST], row_told[FAR] = wrong, least, most, distant
        row_told[PAIRS], row_told[END] = end, pairs
        row_told[CLOSE] = bins[near - steps : near + steps + 1].sum()
        low = high = integer(mine[0])
        for i in range(size):
            low, high = min(low, integer(mine[i])), max(high, integer(mine[i]))
            if not 0 <= high - low < enough:  # below zero: more than a word holds
                break
        row_told[REACH] = high - low if 0 <= high - low < enough else enough
        row_told[SUM], row_told[SQUARES], row_told[PRODUCTS] = total, squares, products
        row_told[APART], row_told[NOISE] = apart, noise
        row_told[LANES_LOW], row_told[LANES_HIGH] = lanes & 0xFFFFFFFF, (lanes >> 32) & 0xFFFFFFFF
        row_told[PARTICULAR], row_told[INNER], row_told[CHANNELS] = looking, inner, lines
        at = 0
        for channel in range(channels if looking else 0):
            if seen[channel] and at < named:
                row_told[CHANNEL + at] = channel
                at += 1
        row_told[TOP], row_told[BOTTOM], row_told[LEFT], row_told[RIGHT] = top, bottom, left, right
        return pairs

    return f
