"""What a layer costs: the result of every cost model, and the bounds that no model may fall below."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fxsim.errors import FxsimError
from fxsim.model.work import Work

TensorClass = Literal["ifm", "ofm", "weights", "bias", "scratch"]
CLASSES: tuple[TensorClass, ...] = ("ifm", "ofm", "weights", "bias", "scratch")
"""ifm: input activations; ofm: output activations; bias: biases and scales; scratch: buffers inside a layer"""


@dataclass(frozen=True, slots=True)
class Flow:
    """Bytes of one class of tensor that one memory delivers (read) and takes (write)."""

    memory: str
    tensor: TensorClass
    read_bytes: int = 0
    write_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of one piece of work on one engine; cycles are of the target's clock.

    ``compute_cycles`` assumes a perfect memory, ``memory_cycles`` is the time of the slowest memory alone, and
    ``cycles`` joins them as the engine does: side by side (npu, dsp) or one after the other (mcu).
    """

    runs_on: str
    cycles: int
    compute_cycles: int
    memory_cycles: int
    bound: str
    flows: tuple[Flow, ...]
    energy_pj: tuple[tuple[str, float], ...]
    scratch_bytes: int = 0
    slack_cycles: int = 0
    """of these cycles, those under which a DMA may load the next layer's weights"""


@dataclass(frozen=True, slots=True)
class LayerCost:
    """The cost of one node of a graph. Units: cycles of the target's clock, bytes, picojoules, seconds."""

    layer: int
    name: str
    op: str
    macs: int
    weight_bytes: int
    """weights and biases as the model stores them"""
    time_s: float
    utilization: float
    """macs / (cycles * peak MACs per cycle)"""
    estimate: Estimate
    unmeasured: str = ""
    """why no measurement backs a layer of this type and width; empty if some do"""


def ceil_div(a: int, b: int) -> int:
    """``ceil(a / b)`` of integers."""
    return -(-a // b)


def total_bytes(flows: Iterable[Flow], memory: str) -> int:
    """All bytes that pass through a memory."""
    return sum(f.read_bytes + f.write_bytes for f in flows if f.memory == memory)


def memory_cycles(flows: Iterable[Flow], bytes_per_cycle: dict[str, float]) -> dict[str, int]:
    """Cycles that each memory needs for its traffic alone."""
    moved = dict.fromkeys(bytes_per_cycle, 0)
    for f in flows:
        moved[f.memory] += f.read_bytes + f.write_bytes
    return {m: math.ceil(n / bytes_per_cycle[m]) for m, n in moved.items()}


def joined(compute_cycles: int, memory_cycles: int, overlap: str, pieces: int) -> int:
    """Cycles of computing and fetching together.

    ``sum``: nothing is fetched while the core computes. ``max``: all is. ``pipelined``: all but the first of ``pieces``,
    which are fetched while the ones before are computed.
    """
    if overlap == "sum":
        return compute_cycles + memory_cycles
    longer, shorter = max(compute_cycles, memory_cycles), min(compute_cycles, memory_cycles)
    return longer if overlap == "max" else longer + ceil_div(shorter, max(1, pieces))


def binding(compute_cycles: int, memories: dict[str, int]) -> str:
    """The resource that takes longest; compute where it is even."""
    slowest = max(memories, key=lambda m: memories[m])
    return "compute" if compute_cycles >= memories[slowest] else slowest


def _touched(size: int, out: int, kernel: int, stride: int, dilation: int) -> int:
    """Input rows (or columns) that some tap can read: fewer than ``size`` where the stride skips some."""
    reach = (kernel - 1) * dilation + 1
    rows = out * reach if stride >= reach else (out - 1) * stride + reach
    return min(size, rows if dilation == 1 else out)


def input_footprint_bytes(work: Work) -> int:
    """The input bytes that must be read at least once."""
    g = work.geometry
    if g is None:
        return work.input_bytes
    h = _touched(g.in_h, g.out_h, g.kernel_h, g.stride_h, g.dilation_h)
    w = _touched(g.in_w, g.out_w, g.kernel_w, g.stride_w, g.dilation_w)
    return ceil_div(g.batch * h * w * g.in_c * work.activation_bits, 8)


def verify(
    work: Work,
    e: Estimate,
    *,
    peak_macs: float,
    bytes_per_cycle: dict[str, float],
    early_cycles: int = 0,
    compressed: bool = False,
) -> Estimate:
    """The estimate, if it respects the laws that hold for any machine.

    ``early_cycles`` of the layer before could load this layer's weights; ``compressed`` constants take less than the
    model's.

    Raises:
        FxsimError: if it is faster than peak, moves less than the tensors hold, or leaves work free of charge.
    """
    per_memory = memory_cycles(e.flows, bytes_per_cycle)
    read, written = sum(f.read_bytes for f in e.flows), sum(f.write_bytes for f in e.flows)
    laws = (
        ("cycles >= macs / peak", e.cycles * peak_macs >= work.macs),
        ("cycles >= compute_cycles", e.cycles >= e.compute_cycles),
        ("cycles >= memory_cycles", e.cycles + early_cycles >= e.memory_cycles),
        ("memory_cycles >= bytes / bandwidth of each memory", e.memory_cycles >= max(per_memory.values(), default=0)),
        (
            "reads >= inputs and constants",
            read >= input_footprint_bytes(work) + (0 if compressed else work.constant_bytes),
        ),
        ("writes >= outputs", written >= work.output_bytes),
        ("work is never free", work.kind == "none" or e.cycles > 0),
        ("no negative part", min((v for _, v in e.energy_pj), default=0.0) >= 0),
    )
    for law, holds in laws:
        if not holds:
            raise FxsimError(f"cost model of {e.runs_on} breaks the law {law!r} for {work}: {e}")
    return e
