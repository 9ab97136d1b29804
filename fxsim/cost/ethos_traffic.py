"""Bytes that an operation of an Ethos-U moves for a given block, and the cycles that memory needs for a block.

The input of a block is read again for each block position and, if the operation sums over channels, for each block of
output channels; channels lie in bricks of 16 (or one after the other, where tensors leave the NPU or change their shape).
Weights and scales are read for each block position. Where rows of a block are shorter than a burst of the memory, the
rest of the burst is lost: ``bytes * burst / used``.

What an elementwise layer that the U85 does on the way out writes is counted (Vela 5.2.0 leaves it out of its sums, unless
an activation follows: it takes note of one external tensor for each such layer).

Source: ethos-u-vela 5.2.0, regor, element accesses and transfer estimates.
"""

from typing import NamedTuple

from fxsim.cost.ethos_array import Core, Size
from fxsim.cost.ethos_blocks import SUB_KERNEL, Block
from fxsim.cost.ethos_cycles import Transfers, clipped
from fxsim.cost.ethos_ops import BRICK, Operation
from fxsim.cost.layer import ceil_div

WIDE_WRITE = 64
"""bytes that an output write joins at most where channels lie one after the other"""


class Port(NamedTuple):
    """A memory as the NPU sees it."""

    name: str
    bytes_per_cycle: float
    burst: int
    read_latency: int
    write_latency: int
    size: int
    channels: tuple[float, ...] = ()
    """U85: bytes per cycle of each kind of traffic, in the order of ``CHANNELS``; empty: no other limit"""


CHANNELS = ("mem2mem", "stream", "weights", "fast_weights", "input", "scales", "write")


class Access(NamedTuple):
    """Bytes of input, second input and output; and how often the weights are read."""

    input: int
    second: int
    output: int
    refetch: int


def _burst(port: Port, block: Size, shape: Size, bits: int, cores: int, *, linear: bool, read: bool) -> int:
    """Bytes of a burst that are used."""
    if not linear:
        if shape.w * bits * BRICK // 8 == block.d:
            used = bits * block.w * block.d
        else:
            used = BRICK * bits * block.w * (1 if read else cores)
    else:
        whole = shape.d * bits // 8 == block.d
        if whole and (read or block.d <= BRICK):
            used = bits * block.w * block.d
        elif read:
            used = bits * block.d
        else:
            used = min(WIDE_WRITE * 8, BRICK * bits * cores, block.d * bits)
    return max(1, min(port.burst, used // 8))


def moved(
    port: Port, block: Size, shape: Size, bits: int, elements: int, cores: int, *, linear: bool, read: bool
) -> int:
    """Bytes that pass the port for that many elements, with what bursts lose."""
    return elements * bits // 8 * port.burst // _burst(port, block, shape, bits, cores, linear=linear, read=read)


def _stored(size: Size, linear: bool) -> int:
    return size.h * size.w * (size.d if linear else ceil_div(size.d, BRICK) * BRICK)


def refetches(op: Operation, block: Block) -> int:
    """Block positions: how often weights are read."""
    return ceil_div(op.output.h, min(block.output.h, op.output.h)) * ceil_div(
        op.output.w, min(block.output.w, op.output.w)
    )


def access(op: Operation, block: Block, core: Core, source: Port, target: Port) -> Access:
    """The bytes of the feature maps; ``source`` holds the input, ``target`` the output."""
    bits, cores = op.input_bits, 1 if core.wide else core.cores
    positions = refetches(op, block)
    second = 0
    if op.kind == "move":
        first = op.input.elements
    elif op.kind == "elementwise":
        shape = op.input if core.wide else op.output
        wide = bits > 8  # a scalar of 8 bits is part of the command
        if op.input.elements == 1:
            first = BRICK if wide else 0
            second = 0 if wide or op.second is None else _stored(op.output, op.linear_input)
        else:
            first = _stored(shape, op.linear_input)
            if op.second is not None and op.second.elements > 1:
                second = _stored(op.second if core.wide else op.output, op.linear_input)
            elif op.second is not None and wide:
                second = BRICK
    else:
        held = clipped(block.input, op.input)
        deep = op.input.d if op.linear_input else ceil_div(op.input.d, BRICK) * BRICK
        again = 1 if op.per_channel else ceil_div(op.output.d, min(block.output.d, op.output.d))
        parts = ceil_div(op.kernel[0], SUB_KERNEL) * ceil_div(op.kernel[1], SUB_KERNEL)
        first = held.h * held.w * deep * parts * positions * again
        second = _stored(op.second, op.linear_input) if op.chained and op.second else 0
    rows, line = block.input, op.linear_input
    return Access(
        moved(source, rows, op.input, bits, first, cores, linear=line, read=True),
        moved(source, rows, op.second or op.input, bits, second, cores, linear=line, read=True) if second else 0,
        moved(target, block.output, op.output, op.output_bits, _stored(op.output, op.linear_output), cores,
              linear=op.linear_output, read=False),
        positions,
    )  # fmt: skip


class BlockBytes(NamedTuple):
    """Bytes of one block with what bursts lose: input, second input (or nothing) and output."""

    input: int
    second: int
    output: int

    def transfers(self, source: Port, target: Port, scales: Port) -> Transfers:
        """Cycles of the memories for the block."""
        into = source.read_latency + int(max(self.input, self.second) / source.bytes_per_cycle)
        out = target.write_latency + int(self.output / target.bytes_per_cycle)
        return Transfers(into, out, 10 * scales.read_latency / 256)


def block_bytes(op: Operation, block: Block, core: Core, source: Port, target: Port) -> BlockBytes:
    """The bytes of one block; of a transposition all."""
    cores = 1 if core.wide else core.cores
    held, made = clipped(block.input, op.input), clipped(block.output, op.output)
    if op.kind == "move":
        held, made = op.input, op.output
    rows, line, bits, second = block.input, op.linear_input, op.input_bits, 0
    if op.second is not None and op.kind == "elementwise":
        other = clipped(rows, op.second).elements
        second = moved(source, rows, op.second, bits, other, cores, linear=line, read=True)
    return BlockBytes(
        moved(source, rows, op.input, bits, held.elements, cores, linear=line, read=True),
        second,
        moved(target, block.output, op.output, op.output_bits, made.elements, cores,
              linear=op.linear_output, read=False),
    )  # fmt: skip


def transfers(op: Operation, block: Block, core: Core, source: Port, target: Port, scales: Port) -> Transfers:
    """Cycles of the memories for one block."""
    return block_bytes(op, block, core, source, target).transfers(source, target, scales)
