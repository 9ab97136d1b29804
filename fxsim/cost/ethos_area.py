"""Which block a U85 works on in operations that keep channels apart or sum them: depthwise, poolings, sums.

The compiler looks for one block whose accumulators and input fit as a whole, single-buffered: for each depth, the largest
area of the output's aspect ratio that fits, its width a regular part of the output's; of these, the one that comes closest
to the output. A block that is not all of the output then gives up rows, channels or columns until one more row of input
can be read ahead.

Source: ethos-u-vela 5.2.0, regor, block search of U85; all such blocks in its debug databases of three networks reproduced.
"""

import math
from typing import NamedTuple

from fxsim.cost.ethos_array import Core, Size
from fxsim.cost.ethos_ops import Operation
from fxsim.cost.layer import ceil_div

LIMIT = Size(128, 128, 1024)
SUB_KERNEL = 8
STEP = 16
"""channels that accumulators are counted in"""
RETRIES = 25
SMALLER = 0.9


def _up(n: int, unit: int) -> int:
    return ceil_div(n, unit) * unit


def input_unit(core: Core, micro: Size, depth_bits: int) -> Size:
    """What an input block is rounded up to: pixels and 16-byte words of channels that the input memory holds together.

    Deeper blocks have fewer pixels: twice, the longer side is halved, or the height, with rows of four as micro-block.
    """
    h, w, words = core.buffers[0], core.buffers[1], 1
    if (micro.h, micro.w) == (1, 4) and h * w == 4:
        h, w = 1, 4
    for limit in (128, 256):
        if depth_bits > limit and h * w > 1:
            rows_first = h > 1 and ((micro.h == 1 and micro.w == 4) or h >= w)
            h, w, words = (h // 2, w, words * 2) if rows_first else (h, w // 2, words * 2)
    return Size(h, w, words * STEP)


class _Search(NamedTuple):
    """An operation on a U85, and the room there is; in elements."""

    op: Operation
    core: Core
    micro: Size
    input_depth: int
    """of a block; 0: that of its output"""
    output: Size
    """of the layer, in whole granules"""
    limit: Size
    accumulators: int
    inputs: int

    def unit(self, depth: int) -> Size:
        """Of an input block, in elements."""
        bits = self.op.input_bits
        h, w, d = input_unit(self.core, self.micro, (self.input_depth or depth) * bits)
        return Size(h, w, d * 8 // bits)

    def needed(self, block: Size) -> Size:
        """The input of a block."""
        unit = self.unit(block.d)
        reach = [min(r, SUB_KERNEL) for r in self.op.reach]
        h = _up((block.h - 1) * self.op.stride[0] + reach[0], unit.h)
        w = _up((block.w - 1) * self.op.stride[1] + reach[1], unit.w)
        return Size(h, w, _up(self.input_depth or block.d, unit.d))

    def area(self, room: int) -> tuple[int, int]:
        """Height and width, in micro-blocks, of an area of at most ``room`` elements, as long and wide as the layer."""
        aspect = self.output.h / self.output.w
        w = math.sqrt(room / aspect)
        h = w * aspect
        if h < 1:
            w, h = w * h, 1
        elif w < 1:
            h, w = h * w, 1
        down = [max(int(n), u) // u * u for n, u in ((h, self.micro.h), (w, self.micro.w))]
        return min(down[0], self.limit.h), min(down[1], self.limit.w)

    def regular_width(self, widest: int) -> int:
        """The width that leaves most for the last block of a row."""
        whole, unit = self.output.w, self.micro.w
        if whole % widest == 0:
            return widest
        even = max(_up(whole // (whole // widest + 1), unit), unit)
        least = max(even - 2 * unit, (even + 1) // 2, unit)
        return max(range(widest, least - 1, -unit), key=lambda w: whole % w or w)

    def largest(self, depth: int) -> Size | None:
        """The largest block of that depth that fits."""
        unit, volume = self.unit(depth), self.op.input
        held = _up(volume.h, unit.h) * _up(volume.w, unit.w) * _up(volume.d, unit.d)
        granule, room = self.micro.h * self.micro.w * STEP, self.accumulators
        before, retries = -1, RETRIES
        while True:
            h, w = self.area(room // depth)
            area = h * w
            if w < self.output.w:
                w = self.regular_width(w)
            block = Size(max(area // w // self.micro.h * self.micro.h, self.micro.h), w, depth)
            sums = self.accumulators / block.elements
            inputs = self.inputs / min(self.needed(block).elements, held)
            if sums >= 1 and inputs >= 1:
                return block
            if block.elements == before:
                retries -= 1
                inputs = SMALLER if retries <= 0 else inputs
            before = block.elements
            if inputs < 1 < sums:
                room = min(room, block.elements)
            smaller = max(int(room // granule * min(inputs, sums)), 0) * granule
            room = smaller if smaller != room else room - granule
            if room < granule:
                return None

    def distance(self, block: Size) -> float:
        """How far a block is from covering the layer."""
        unit, flat = self.unit(block.d).d, self.op.reach == (1, 1)
        whole = self.output.w * (self.output.d if flat else self.output.h)
        waste = 1 + (unit - (block.d % unit or unit)) / unit / 10
        fit = 1 + abs(1 - self.limit.d / block.d) / 10
        return (1 + abs(1 - whole / (block.w * (block.d if flat else block.h)))) * fit * waste

    def best(self) -> Size:
        """The block that fits and is closest to the layer."""
        least = self.micro.h * self.micro.w * STEP
        deepest = min(max(self.core.macs, self.accumulators // least), self.limit.d)
        found, closest = Size(self.micro.h, self.micro.w, STEP), math.inf
        for depth in range(STEP, deepest + 1, STEP):
            block = self.largest(depth)
            if block is None:
                break
            if self.distance(block) < closest:
                found, closest = block, self.distance(block)
                if all(b >= o for b, o in zip(block, self.output, strict=True)):
                    return self.output
        return found

    def with_row_ahead(self, block: Size) -> Size:
        """The block, smaller if there is no room for another row of input and there are other blocks."""
        (h, w, d), forced = block, 0
        while any(b < o for b, o in zip((h, w, d), self.output, strict=True)):
            row = self.needed(Size(self.micro.h, w, d)).elements
            if self.inputs - self.needed(Size(h, w, d)).elements >= row:
                break
            if (h != self.output.h or forced > 1) and h > self.micro.h:
                h -= self.micro.h
            elif (d > w or forced) and d > STEP:
                d -= STEP
            elif (w != self.output.w or forced > 2) and w > self.micro.w:
                w -= self.micro.w
            elif forced < 3:
                forced += 1
            elif d > STEP:
                d = max(d // 2, STEP)
            else:
                break
        return Size(h, w, d)


def area_block(op: Operation, core: Core, micro: Size, input_depth: int, accumulator_bits: int) -> tuple[Size, Size]:
    """The output and input block; ``input_depth`` is fixed where channels are summed, else 0."""
    output = Size(_up(op.output.h, micro.h), _up(op.output.w, micro.w), _up(op.output.d, STEP))
    limit = Size(*(min(a, b) for a, b in zip(output, LIMIT, strict=True)))
    room = core.buffers[3] * 8 // accumulator_bits, core.buffers[2] * 8 // op.input_bits
    search = _Search(op, core, micro, input_depth, output, limit, *room)
    block = search.with_row_ahead(search.best())
    return block, search.needed(block)
