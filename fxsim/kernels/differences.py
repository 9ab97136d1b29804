"""How two arrays of one type differ, in one pass: counts, a histogram, sums, and where the differing elements sit."""

from collections.abc import Callable
from functools import cache
from typing import Any

from fxsim.kernels._intrinsics import WORD, count, differing, lowest, moments, stepped
from fxsim.kernels._jit import INTEGER, STAMP, jitable, kernel

Kernel = Callable[..., Any]
NEAR = 255
"""greatest difference with a bin of its own: any of 8 bits"""
STEPS = 2
"""by which an element may be off and still be close"""
HEAD = 1024
"""bytes of each tensor that :func:`alike` looks at"""
CHUNK = 64 * WORD
"""elements at a time, which the first cache holds"""
MISMATCHES, LEAST, MOST, FAR, SUM, SQUARES, PRODUCTS, APART, NOISE, LANES_LOW, LANES_HIGH, PAIRS, CLOSE = range(13)
PARTICULAR, TOP, BOTTOM, LEFT, RIGHT, INNER, CHANNELS = range(13, 20)
"""what a word of ``told`` says"""
FIGURES = 20
TOLD = FIGURES + 3 * (2 * NEAR + 1)
"""words of ``told``: the figures, the pairs, and room to count in"""


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


@cache
def differences() -> Kernel:
    """``f(mine, other, rows, columns, channels, far, seen, told) -> first``: how ``other - mine`` is distributed.

    ``first`` is the first index at which they differ; -1 if none does, and then nothing is told. Element ``i`` lies in
    channel ``i % channels``, column ``i // channels % columns`` and row ``i // channels // columns % rows``.

    Shapes: ``mine``, ``other`` flat, of one integer type; ``far`` room for differences beyond ``-NEAR..NEAR``; ``seen`` flags
    of the channels that differ; ``told`` :data:`TOLD` words: the :data:`FIGURES`, and pairs of a difference within
    ``-NEAR..NEAR`` and how often it is found, ascending. The figures: mismatches; least and greatest difference; how many
    went to ``far``; of types of up to 16 bits, the sums of ``mine``, of ``mine**2``, of ``mine * other``, of the differences
    and of their squares; the lanes ``i % 64`` that differ, as the bits of two words of 32; how many pairs follow; how many
    elements are off by up to :data:`STEPS`. Then, if something particular can be said of it, where the differing elements
    lie: the first and last row and column, whether one is off all borders, in how many channels.
    """
    stamp, near, chunk, word, integer, figures, steps = STAMP, NEAR, CHUNK, WORD, INTEGER, FIGURES, STEPS

    @kernel
    def f(mine, other, rows, columns, channels, far, seen, told):
        if stamp < 0:
            return -1
        size, first = mine.size, -1
        for i in range(0, size, word):
            bits = differing(mine, other, i)
            if bits != 0:
                first = i + lowest(bits)
                break
        if first < 0:
            return -1
        pairs, bins = told[figures : -(2 * near + 1)], told[-(2 * near + 1) :]
        bins[:] = 0
        seen[:] = 0
        start = first // word * word
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
        found = 0
        for i in range(2 * near + 1):
            times = bins[i]
            if times != 0:
                d = i - near
                pairs[found], pairs[found + 1] = d, times
                found += 2
                least, most = min(least, d), max(most, d)
                apart += d * times
                noise += d * d * times
        told[MISMATCHES], told[LEAST], told[MOST], told[FAR] = wrong, least, most, distant
        told[SUM], told[SQUARES], told[PRODUCTS], told[APART], told[NOISE] = total, squares, products, apart, noise
        told[LANES_LOW], told[LANES_HIGH], told[PAIRS] = lanes & 0xFFFFFFFF, (lanes >> 32) & 0xFFFFFFFF, found // 2
        told[CLOSE] = bins[near - steps : near + steps + 1].sum()
        told[PARTICULAR], told[TOP], told[BOTTOM], told[LEFT], told[RIGHT], told[INNER], told[CHANNELS] = (
            looking, top, bottom, left, right, inner, lines,
        )  # fmt: skip
        return first

    return f
