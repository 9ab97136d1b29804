"""Cycles of one operation of an Ethos-U for a given block: MACs, output stage, command stream.

With micro-block ``(uh, uw, ud)`` and a block of ``h x w x d`` outputs from an input block of ``c`` channels, let
``N_wh = ceil(h / uh) * ceil(w / uw)`` and ``N_d = ceil(d / ud)``. The weight decoder needs ``floor = 32 * ud / 8`` cycles
a step (over all cores of a U85 together). The kernel is cut into parts of at most 8x8 taps, ``n`` taps each; MAC cycles
of a part:

- conv, depth first: ``max(floor, 4 N_wh) * n * N_d``
- conv, part of the kernel first: ``max(floor, 4 N_wh) * ceil(n / 4) * N_d * ceil(c / 8)`` (``n / 2`` for 16 bits)
- depthwise: ``max(floor, 4 N_wh * bits / 8) * ceil(n / 4) * N_d``
- pooling: ``max(4, n) * N_wh * N_d * bits / 2`` (U55-32: without the bits)

and 2 cycles a step more where ``N_wh = 1`` (3 or 7 on small arrays and wide accumulators), as nothing hides the
pipeline. A convolution repeats that for each input block: ``ceil(C / c)``; the cores of a U65 share the work. The output
stage takes a number of cycles an element, from a table, or the time to fetch the scales. Neither can be faster than the
command stream, a quarter of the sum of both and of what input and output take from memory. The slower of the two
counts for all blocks, the other once, with the first input and the last output block.

Source: ethos-u-vela 5.2.0, regor; MAC cycles reproduced within 1.5 cycles for all layers with MACs of its debug databases.
"""

import math
from functools import lru_cache
from typing import NamedTuple

from fxsim.cost.ethos_array import Core, Size
from fxsim.cost.ethos_blocks import Block
from fxsim.cost.ethos_ops import Operation
from fxsim.cost.layer import ceil_div

PART = 8
"""longest side of a part of the kernel, in taps"""
STAGE_ROWS = ("unary32", "binary32", "multiply32", "multiply", "add", "max_pool", "other", "lookup")


def parts(size: int) -> tuple[int, ...]:
    """The sides of the parts that a kernel side is cut into."""
    return (PART,) * (size // PART) + ((size % PART,) if size % PART else ())


def wide_accumulator(op: Operation) -> bool:
    """True if the sums take 40 bits (48 on U85)."""
    return op.input_bits == 16 and op.kind in ("conv", "depthwise", "elementwise") and op.scaled


def clipped(size: Size, limit: Size) -> Size:
    """The part of a block that holds anything."""
    return Size(min(size.h, limit.h), min(size.w, limit.w), min(size.d, limit.d))


def count(size: Size, unit: Size) -> int:
    """Units that cover ``size``."""
    return ceil_div(size.h, unit.h) * ceil_div(size.w, unit.w) * ceil_div(size.d, unit.d)


def micro_block(op: Operation, block: Block, core: Core) -> Size:
    """The micro-block: on arrays two rows high, one row of four for even single rows of 1-high kernels."""
    u = block.micro
    one_row = op.kind == "conv" and op.output.h == 1 and op.kernel[0] == 1 and op.output.w % 2 == 0
    return Size(1, 4, u.d) if not core.wide and u.h == 2 and one_row else u


def _delay(core: Core, op: Operation) -> int:
    """Cycles of a step that nothing hides."""
    wide = wide_accumulator(op)
    if core.macs == 32:
        return 7 if wide else 3
    return 3 if wide and core.macs <= 128 else 2


def _step(op: Operation, core: Core, floor: int, n_wh: int, n: int, c: int, *, by_part: bool) -> tuple[int, int]:
    """Cycles of one part of the kernel for one column of micro-blocks, and the steps that they consist of."""
    bits, pixel = op.input_bits, core.pixel_pass
    if op.kind == "pool":
        return max(pixel, n) * n_wh * (bits // 2 if core.macs != 32 else 1), 1
    if op.kind == "depthwise":
        steps = ceil_div(n, 4)
        return max(floor, pixel * n_wh * (bits // 8)) * steps, steps
    if by_part and op.kind == "conv":
        steps = ceil_div(n, 2 if bits == 16 else 4)
        return max(floor, pixel * n_wh) * steps * ceil_div(c, 8), steps
    wide = ceil_div(c, 8) * n_wh if core.wide else pixel * n_wh
    return max(floor, wide) * n * (bits // 8 if core.wide else 1), n


@lru_cache(maxsize=8192)
def mac_cycles(op: Operation, block: Block, core: Core) -> int:
    """Cycles that the array takes for one block. ``block`` is clipped to the layer."""
    unit = micro_block(op, block, core)
    ofm, ifm = clipped(block.output, op.output), clipped(block.input, op.input)
    rows, columns, n_d = ceil_div(ofm.h, unit.h), ceil_div(ofm.w, unit.w), ceil_div(ofm.d, unit.d)
    n_wh = rows * columns
    floor = 32 * unit.d // (8 * core.cores) if core.wide else 32 * unit.d // 8
    delay = _delay(core, op)
    total = 0
    for kw in parts(op.kernel[1]):
        for kh in parts(op.kernel[0]):
            cycles, steps = _step(op, core, floor, n_wh, kh * kw, ifm.d, by_part=block.by_part)
            halved = block.sparse and op.kind == "conv"
            cycles = cycles * n_d // 2 if halved else cycles * n_d
            idle = 0
            if n_wh == 1:
                idle = delay * steps if n_d == 1 else delay * (steps - 1) * n_d
            if core.macs == 32 and wide_accumulator(op) and n_d > 1 and 1 in (rows, columns):
                idle += delay * n_d
            total += cycles + (idle * ceil_div(ifm.d, 8) if op.kind == "conv" and block.by_part else idle)
    if op.kind in ("conv", "sum"):
        total *= ceil_div(op.input.d, ifm.d)
    return total if core.wide else total // core.cores


def output_rate(op: Operation, core: Core) -> float:
    """Cycles an output element takes in the output stage."""
    s = core.stage
    if core.wide:
        if op.kind == "elementwise" and op.second is not None and op.input_bits == 32:
            return s[5] if op.output_bits == 32 else s[4]
        return s[{8: 0, 16: 1, 32: 2}.get(op.output_bits, 3)] * (2 if op.chained else 1)
    stage = op.stage
    if op.kind == "elementwise" and op.input_bits == 32:
        stage = "unary32" if op.second is None else "binary32"
    elif stage == "multiply" and op.output_bits == 32:
        stage = "multiply32"
    elif wide_accumulator(op) and op.kind != "elementwise":
        stage = "multiply"
    elif stage == "lookup":
        return max(s[STAGE_ROWS.index("add" if op.kind == "elementwise" else "other")], s[7])
    return s[STAGE_ROWS.index(stage)]


class Transfers(NamedTuple):
    """Cycles that memory needs for one block: the input, the output, and the scales of a channel."""

    input: int
    output: int
    scale: float


class OperationCycles(NamedTuple):
    """Cycles of a whole operation: all of it; array and output stage alone, as Vela's debug database has them."""

    total: int
    mac: int
    output_stage: int
    command: int


def block_count(op: Operation, block: Block, core: Core) -> float:
    """Blocks of the layer; the parts of blocks at its edges count as what they hold."""
    unit = micro_block(op, block, core)
    return count(op.output, unit) / count(clipped(block.output, op.output), unit)


class Pace(NamedTuple):
    """What of the cycles of an operation does not depend on the memories."""

    kind: str
    rate: float
    """cycles an output element takes in the output stage"""
    elements: int
    """that pass the output stage: of an elementwise operation all, else those of a block"""
    block_elements: int
    blocks: float
    mac: int
    """of a block"""
    scales: int
    """of a block"""

    def cycles(self, t: Transfers) -> OperationCycles:
        """Cycles of the operation with memories that take so long, with weights at hand."""
        stage = math.ceil(self.rate * self.elements)
        if self.kind == "move":
            return OperationCycles(max(t.input, t.output), 0, 0, 0)
        if self.kind == "elementwise":
            issued = math.ceil((max(t.input, t.output) / self.block_elements + self.rate) / 4 * self.elements)
            return OperationCycles(max(stage, issued), 0, stage, issued)
        n, mac = self.blocks, self.mac
        out = max(float(stage), t.scale * self.scales)
        moved = abs(t.output - t.input) if n > 1 else 0
        command = (moved + mac + out) / 4
        a, b = max(float(mac), command), max(out, command)
        total = int(a * n) + b if a > b else b * n + a
        return OperationCycles(int(total) + t.input + t.output, int(mac * n + out), int(stage * n + mac), int(command))


def pace(op: Operation, block: Block, core: Core) -> Pace:
    """The pace of an operation with that block."""
    ofm = clipped(block.output, op.output)
    if op.kind == "move":
        return Pace(op.kind, 0, 0, 1, 1, 0, 0)
    rate = output_rate(op, core)
    if op.kind == "elementwise":
        elements = op.output.h * op.output.w * (op.output.d if op.linear_output else ceil_div(op.output.d, 16) * 16)
        return Pace(op.kind, rate, elements, block.output.elements, 1, 0, 0)
    blocks, mac = block_count(op, block, core), mac_cycles(op, block, core)
    return Pace(op.kind, rate, ofm.elements, block.output.elements, blocks, mac, ofm.d if op.bias else 0)


def operation_cycles(op: Operation, block: Block, core: Core, t: Transfers) -> OperationCycles:
    """Cycles of an operation with that block, with weights at hand."""
    return pace(op, block, core).cycles(t)
