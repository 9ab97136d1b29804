"""The MAC array of an Ethos-U: the tables of its profile, and the same as plain numbers (:class:`Core`).

Two generations. U55 and U65 share one block memory (SHRAM, in banks) between input blocks, accumulators and tables, and
have one micro-block; U85 has a memory for each, and several micro-blocks of which an operation takes the one that wastes
least.
"""

from typing import NamedTuple

from fxsim.cost import quantity as q
from fxsim.cost.quantity import Struct

CHANNELS_PER_PASS = 32
"""input channels (8-bit) that one pass over a block reduces"""


class Size(NamedTuple):
    """Height, width and channels."""

    h: int
    w: int
    d: int

    @property
    def elements(self) -> int:
        """``h * w * d``."""
        return self.h * self.w * self.d


ALL = ("conv", "depthwise", "pool", "sum", "elementwise")
"""kinds of operation"""


class MicroBlock(Struct, frozen=True):
    """Outputs that the array works on at once, and the kinds of operation that it is for, by bits of the input."""

    h: q.Count
    w: q.Count
    d: q.Count
    kinds8: tuple[str, ...] = ALL
    kinds16: tuple[str, ...] = ALL
    kinds32: tuple[str, ...] = ALL


class Granules(Struct, frozen=True):
    """Banks that each use of the block memory is rounded up to, by bits of an element."""

    input8: q.Count
    input16: q.Count
    input32: q.Count
    elementwise8: q.Count
    elementwise16: q.Count
    accumulator32: q.Count
    accumulator40: q.Count


class BlockMemory(Struct, frozen=True):
    """The SHRAM of U55 and U65."""

    bank: q.Bytes
    banks: q.Count
    output_banks: q.Count
    end_banks: q.Free
    """banks at the end that hold tables, or nothing"""
    granules: Granules


class OutputStage(Struct, frozen=True):
    """Cycles an output element takes on its way out of U55 and U65, by operation."""

    unary32: q.ElementCycles
    binary32: q.ElementCycles
    multiply32: q.ElementCycles
    multiply: q.ElementCycles
    """also all outputs of 40-bit accumulators"""
    add: q.ElementCycles
    max_pool: q.ElementCycles
    other: q.ElementCycles
    lookup: q.ElementCycles
    """least where a table is read"""


class Array(Struct, frozen=True):
    """What all generations have."""

    micro: dict[str, MicroBlock]
    input_micro: q.Count
    """input channels that enter at once"""
    cores: q.Count
    pixel_pass: q.Cycles
    """cycles that one micro-block takes for ``CHANNELS_PER_PASS`` input channels"""
    scale_bytes: q.ChannelBytes


class SharedArray(Array, frozen=True):
    """U55 and U65."""

    memory: BlockMemory
    output: OutputStage


class Buffers(Struct, frozen=True):
    """The memories inside a U85, and the pixels (of 16 bytes of channels) that its input memory holds together."""

    unit_h: q.Count
    unit_w: q.Count
    input: q.Bytes
    accumulator: q.Bytes
    output: q.Bytes
    chaining: q.Bytes


class WideStage(Struct, frozen=True):
    """Cycles an output element takes on its way out of a U85, by bits."""

    out8: q.ElementCycles
    out16: q.ElementCycles
    out32: q.ElementCycles
    out64: q.ElementCycles
    narrowed32: q.ElementCycles
    """binary operations on 32 bits with narrower results"""
    binary32: q.ElementCycles


class Channels(Struct, frozen=True):
    """Read-buffer entries of each kind of traffic of a U85: what it may have under way, in 16-byte words."""

    mem2mem: q.Count
    stream: q.Count
    weights: q.Count
    fast_weights: q.Count
    input: q.Count
    scales: q.Count


class SplitArray(Array, frozen=True):
    """U85."""

    buffers: Buffers
    output: WideStage
    channels: Channels


class Micro(NamedTuple):
    """A micro-block, and the kinds of operation that it is for with 8, 16 and 32 bits of input."""

    size: Size
    kinds: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


class Core(NamedTuple):
    """The numbers that block choice and cycles rest on: hashable, so that both can be remembered."""

    wide: bool
    """U85"""
    cores: int
    micro: tuple[Micro, ...]
    input_micro: int
    pixel_pass: int
    macs: int
    """of one core"""
    banks: tuple[int, ...]
    """U55, U65: bank bytes, banks, output banks, end banks, and the granules in the order of :class:`Granules`"""
    buffers: tuple[int, ...]
    """U85: height and width of the input unit; bytes for input, accumulators, output, chaining"""
    stage: tuple[float, ...]
    """in the order of :class:`OutputStage` or :class:`WideStage`"""


def _numbers(struct: Struct) -> tuple[float, ...]:
    return tuple(getattr(struct, f).value for f in struct.__struct_fields__)


def core_of(array: SharedArray | SplitArray, peak_macs: float) -> Core:
    """The numbers of a profile's array."""
    micro = tuple(
        Micro(Size(int(m.h.value), int(m.w.value), int(m.d.value)), (m.kinds8, m.kinds16, m.kinds32))
        for m in array.micro.values()
    )
    cores, entry, step = (int(c.value) for c in (array.cores, array.input_micro, array.pixel_pass))
    stage = _numbers(array.output)
    if isinstance(array, SplitArray):
        buffers = tuple(map(int, _numbers(array.buffers)))
        return Core(True, cores, micro, entry, step, int(peak_macs), (), buffers, stage)
    m = array.memory
    banks = (*(int(c.value) for c in (m.bank, m.banks, m.output_banks, m.end_banks)), *map(int, _numbers(m.granules)))
    return Core(False, cores, micro, entry, step, int(peak_macs) // cores, banks, (), stage)
