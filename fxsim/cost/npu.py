"""Cycles, traffic and energy of a layer on an Arm Ethos-U: U55, U65 and U85.

A layer becomes operations (:mod:`ethos_ops`), each with a block (:mod:`ethos_blocks`) that decides its cycles
(:mod:`ethos_cycles`) and bytes (:mod:`ethos_traffic`). Weights are compressed (:mod:`ethos_weights`) and may be copied to a
faster memory on their way (:mod:`ethos_dma`). An operation takes

    max(operation and what of the weight copy nothing hides, traffic / bandwidth of each memory)

A layer of a network gets the block that Vela would choose, and its weights their encoded size. A layer on its own
(``estimate_work``, ``fxsim.layer``: no neighbours, no values) gets the fastest of a fixed set of blocks, and takes its
weights as incompressible; there a larger layer, wider types or a slower memory never cost less. Vela's own choice does
not promise that: one channel more may lead it to a better block.

Not modelled: cascades (several layers in turn, stripe by stripe, which Vela uses where feature maps do not fit), chains of
more than two operations on U85, transfers of tables, waiting for an earlier operation.

Source: ethos-u-vela 5.2.0, regor, network performance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from fxsim.cost import ethos_dma as dma
from fxsim.cost.energy import parts
from fxsim.cost.ethos_array import Core, Size, core_of
from fxsim.cost.ethos_blocks import DEPTH_STEP, Block, candidates, compiler_block, input_depth
from fxsim.cost.ethos_cycles import operation_cycles
from fxsim.cost.ethos_ops import Operation, Surroundings, batch_of, operations
from fxsim.cost.ethos_traffic import CHANNELS, Port, access, refetches, transfers
from fxsim.cost.ethos_weights import Weights
from fxsim.cost.layer import Estimate, Flow, binding, ceil_div, input_footprint_bytes, memory_cycles
from fxsim.cost.profiles import Npu, NpuMemory, WideNpu
from fxsim.model.work import Work

SUSTAINED = 0.8
"""share of the accesses that a U85 may have under way which it has, and of the bandwidth that results"""
BUS_BYTES = 16
DEPTHWISE_PADDING = ((256, 0), (512, 2), (1 << 30, 6))
"""taps that a U85 of at most so many MACs adds to ten taps of a depthwise kernel"""
FAST_HEADER = 32
ONES_HEADER = 16


class Machine(NamedTuple):
    """An NPU as plain numbers, and what its memories hold."""

    core: Core
    ports: tuple[Port, ...]
    maps: Port
    """feature maps between operations of the NPU"""
    outer: Port
    """feature maps that others use"""
    constants: Port
    scale_record: int


class Setting(NamedTuple):
    """What is known of a layer in its network."""

    surroundings: Surroundings
    weights: Weights | None
    slack: int = 0
    """cycles of the layer before under which weights may load"""


def _port(name: str, m: NpuMemory, npu: Npu) -> Port:
    rate, burst = npu.bytes_per_cycle[name], int(m.burst.value)
    reading, writing = int(m.read_latency.value), int(m.write_latency.value)
    channels: tuple[float, ...] = ()
    if isinstance(npu, WideNpu):
        words = max(burst // BUS_BYTES, 1)
        reads, writes = (n.value * m.ports.value * SUSTAINED for n in (m.reads, m.writes))
        entries = [getattr(npu.array.channels, c).value / words for c in CHANNELS[:-1]]
        flying = [(min(e, reads), reading) for e in entries] + [(writes, writing)]
        channels = tuple(min(rate, burst * n * SUSTAINED / wait) if n * wait else rate for n, wait in flying)
    return Port(name, rate, burst, reading, writing, int(m.size.value), channels)


def machine_of(npu: Npu) -> Machine:
    """The numbers of a profile."""
    ports = {n: _port(n, m, npu) for n, m in npu.memory.items()}
    outer, constants = ports[npu.memory_of("activations")], ports[npu.memory_of("constants")]
    maps = next((ports[n] for n, m in npu.memory.items() if "cache" in m.holds), outer)
    core = core_of(npu.array, npu.peak_macs.value)
    return Machine(core, tuple(ports.values()), maps, outer, constants, int(npu.array.scale_bytes.value))


class Step(NamedTuple):
    """The cost of one operation."""

    cycles: int
    compute: int
    slack: int
    flows: tuple[Flow, ...]


def _busy(port: Port, flows: Sequence[Flow], plan: dma.WeightPlan, m: Machine) -> int:
    """Cycles of a memory for the traffic that is not hidden under the layer before."""
    mine = [f for f in flows if f.memory == port.name]
    source = port.name == m.constants.name
    hidden = plan.hidden_bytes if source or port.name == m.maps.name else 0
    again = plan.scale_bytes_again if source else 0
    written = sum(f.write_bytes for f in mine)
    cycles = (written + sum(f.read_bytes for f in mine) - hidden + again) / port.bytes_per_cycle
    if port.channels:
        speed = dict(zip(CHANNELS, port.channels, strict=True))
        weights = "mem2mem" if source and plan.dma_cycles else "weights"
        of = {"ifm": ("input", 0), "weights": (weights, hidden if source else 0), "bias": ("scales", -again)}
        for f in mine:
            channel, less = of.get(f.tensor, ("stream", 0))
            cycles = max(cycles, (f.read_bytes - less) / speed[channel])
        cycles = max(cycles, (written - hidden) / speed["write"])
    return max(0, math.ceil(cycles))


def _step(op: Operation, block: Block, m: Machine, ends: tuple[Port, Port], s: dma.Stored, slack: int | None) -> Step:
    """The cost of an operation with that block; ``slack`` None is a layer on its own, which takes the better plan."""
    source, target = ends
    sized = op if slack is not None else _filled(op, block)
    refetch, a = refetches(op, block), access(op, block, m.core, source, target)
    maps = (Flow(source.name, "ifm", a.input + a.second), Flow(target.name, "ofm", 0, a.output))

    def cycles(scales: Port, near: tuple[Port, Port] = ends) -> int:
        return operation_cycles(sized, block, m.core, transfers(sized, block, m.core, *near, scales)).total

    def planned(scales: Port, known: int) -> int:
        """What the compiler takes the operation for while it does not know yet which feature maps will be near."""
        return known if slack is None or m.maps.name == m.outer.name else cycles(scales, (m.outer, m.outer))

    def step(compute: int, plan: dma.WeightPlan) -> Step:
        flows = (*maps, *plan.flows)
        busy = max(_busy(p, flows, plan, m) for p in m.ports)
        return Step(max(compute + plan.exposed_cycles, plan.dma_cycles, busy), compute, plan.slack, flows)

    def copied() -> Step:
        near = cycles(m.maps)
        return step(near, dma.copied(s, refetch, planned(m.maps, near), m.constants, m.maps, slack))

    compute = cycles(m.constants)
    if not op.weights:
        return step(compute, dma.WeightPlan(slack=compute))
    if slack is not None and dma.copies(s, refetch, planned(m.constants, compute), m.constants, m.maps, slack):
        return copied()
    straight = step(compute, dma.in_place(s, refetch, compute, m.constants))
    if slack is not None or m.constants.name == m.maps.name:
        return straight
    return min(straight, copied(), key=lambda x: x.cycles)


def _filled(op: Operation, block: Block) -> Operation:
    """The operation on a layer of at least one block."""
    output = Size(*(max(a, b) for a, b in zip(op.output, block.output, strict=True)))
    source = Size(*(max(a, b) for a, b in zip(op.input, block.input, strict=True)))
    return replace(op, output=output, input=source)


def _stored(op: Operation, block: Block, m: Machine, work: Work, weights: Weights | None) -> dma.Stored:
    """What the constants take: encoded if the values are known, else a byte a weight (the NPU has no smaller ones)."""
    channels, cores = op.output.d, m.core.cores
    scales = max(dma.scale_bytes(channels, cores, m.scale_record), work.bias_bytes if weights is None else 0)
    size = work.geometry.out_c * work.geometry.window if op.weights and work.geometry else work.weight_bytes
    first = dma.scale_bytes(min(channels, dma.SLICE), cores, m.scale_record)
    micro = block.micro.d
    if work.kind == "reduce" and op.weights:  # ones: a bit each
        size = ceil_div(ceil_div(op.taps, 4) * 4 * ceil_div(channels, micro) * micro, 8) + ONES_HEADER
    elif weights is not None and op.weights:
        size = _encoded(op, block, m.core, weights)
    return dma.Stored(size, scales, first, channels, max(block.output.d, DEPTH_STEP), micro)


def _encoded(op: Operation, block: Block, core: Core, weights: Weights) -> int:
    """Bytes of the weights as the NPU's compiler stores them."""
    wide, narrow = core.wide, op.input_bits == 8
    if op.kind == "depthwise":
        more = next(n for macs, n in DEPTHWISE_PADDING if core.macs <= macs)
        micro, taps = (max(1, block.micro.d // core.cores), 10 + more) if wide else (block.micro.d, 4)
        return weights.encoded_bytes("depthwise", micro, 1, taps, core.cores)
    if block.by_part:
        order, deep, taps = "part", 16 if wide else 8, 5 if wide else 4 if narrow else 2
    else:
        order, taps = "deep", 1
        deep = input_depth(op, core, block.micro, part=False) if wide else 32 if narrow else 16
    if not wide:
        return weights.encoded_bytes(order, block.micro.d, deep, taps, core.cores)
    coded = weights.encoded_bytes(order, max(1, block.micro.d // core.cores), deep, taps, core.cores)
    return min(coded, FAST_HEADER + weights.plain_bytes(block.micro.d, deep, taps))


def sparse(m: Machine, setting: Setting | None) -> bool:
    """True if the array skips two of four weights of a convolution."""
    return m.core.wide and setting is not None and setting.weights is not None and setting.weights.two_of_four()


def _chosen(
    op: Operation, m: Machine, ends: tuple[Port, Port], work: Work, setting: Setting | None, slack: int
) -> Step:
    """The operation with the compiler's block, or on its own with the fastest candidate (of equals, least bytes)."""
    if setting is not None:
        block = compiler_block(op, m.core, sparse=op.kind == "conv" and sparse(m, setting))
        return _step(op, block, m, ends, _stored(op, block, m, work, setting.weights), slack)
    blocks = candidates(op, m.core)
    stored = _stored(op, blocks[0], m, work, None)
    steps = (_step(op, b, m, ends, stored, None) for b in blocks)
    return min(steps, key=lambda s: (s.cycles, sum(f.read_bytes + f.write_bytes for f in s.flows)))


def _merged(flows: Iterable[Flow], times: int) -> dict[tuple[str, str], Flow]:
    total: dict[tuple[str, str], Flow] = {}
    for f in flows:
        old = total.get((f.memory, f.tensor), Flow(f.memory, f.tensor))
        read, written = old.read_bytes + times * f.read_bytes, old.write_bytes + times * f.write_bytes
        total[f.memory, f.tensor] = Flow(f.memory, f.tensor, read, written)
    return total


def cost(work: Work, npu: Npu, machine: Machine | None = None, setting: Setting | None = None) -> Estimate:
    """The cost of ``work`` on the NPU itself; with a setting, as a layer of a network."""
    m = machine or machine_of(npu)
    around = setting.surroundings if setting else None
    ops = operations(work, around)
    slack = setting.slack if setting else 0
    held = work.input_bytes + work.output_bytes
    maps = m.maps if held <= m.maps.size else m.outer
    steps: list[Step] = []
    known: dict[tuple[Operation, str, str], Step] = {}  # a softmax repeats its operations
    for i, op in enumerate(ops):
        source = m.outer if around and around.outer_input and i == 0 else maps
        target = m.outer if around and around.outer_output and i == len(ops) - 1 else maps
        key = op, source.name, target.name
        step = known.get(key) or _chosen(op, m, (source, target), work, setting, slack)
        if not op.weights:
            known[key] = step
        steps.append(step)
        slack = step.slack
    batch = batch_of(work)
    total = _merged((f for s in steps for f in s.flows), batch)
    _at_least(total, maps.name, "ifm", read=input_footprint_bytes(work))
    _at_least(total, maps.name, "ofm", written=work.output_bytes)
    if work.geometry is None and work.constant_bytes:
        _at_least(total, m.constants.name, "weights", read=work.constant_bytes)
    flows = tuple(total.values())
    compute = batch * sum(s.compute for s in steps)
    per_memory = memory_cycles(flows, npu.bytes_per_cycle)
    slowest = max(per_memory.values())
    lent = setting.slack if setting else 0
    cycles = max(1, compute, batch * sum(s.cycles for s in steps), slowest - lent)
    energy = [*parts(work, npu, flows, cycles, max(1, work.activation_bits / 8)), ("host_pj", 0.0)]
    bound = binding(compute, per_memory)
    return Estimate(npu.name, cycles, compute, slowest, bound, flows, tuple(energy), slack_cycles=slack)


def _at_least(total: dict[tuple[str, str], Flow], memory: str, tensor: str, read: int = 0, written: int = 0) -> None:
    """Raises the traffic of a class of tensor over all memories to what must move at least."""
    same = [f for (_, t), f in total.items() if t == tensor]
    more = max(0, read - sum(f.read_bytes for f in same)), max(0, written - sum(f.write_bytes for f in same))
    if any(more):
        old = total.get((memory, tensor), Flow(memory, tensor))  # type: ignore[arg-type]
        total[memory, tensor] = replace(old, read_bytes=old.read_bytes + more[0], write_bytes=old.write_bytes + more[1])
