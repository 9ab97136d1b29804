"""Cycles, traffic and energy of a layer on an Arm Ethos-U: U55, U65 and U85.

A layer becomes operations (:mod:`ethos_ops`), each with a block (:mod:`ethos_blocks`) that decides its cycles
(:mod:`ethos_cycles`) and bytes (:mod:`ethos_traffic`). Weights are compressed (:mod:`ethos_weights`) and may be copied to a
faster memory on their way (:mod:`ethos_dma`). An operation takes

    max(operation and what of the weight copy nothing hides, traffic / bandwidth of each memory)

A layer of a network gets the block that Vela would choose, and its weights their encoded size. A layer on its own
(``estimate_work``, ``fxsim.layer``: no neighbours, no values) gets the fastest of a fixed set of blocks, and takes its
weights as incompressible; there a larger layer, wider types or a slower memory never cost less. Vela's own choices do not
promise that, and a network follows them: one channel more may lead to a better block, a slower memory to a copy of the
weights that pays. Of 4000 random enlargements of a layer of small networks, 2 % (U55-32) to 10 % (U85-1024) lower the total,
at most by 34 %; of as many slower memories 1 to 4 %, mostly by less than 3 %, at most by 15 %.

Not modelled: cascades (several layers in turn, stripe by stripe, which Vela uses where feature maps do not fit), chains of
more than two operations on U85, transfers of tables, waiting for an earlier operation.

Source: ethos-u-vela 5.2.0, regor, network performance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fxsim.cost import ethos_dma as dma
from fxsim.cost.energy import HOST, parts
from fxsim.cost.ethos_array import Core, Size, core_of
from fxsim.cost.ethos_blocks import DEPTH_STEP, Block, candidates, compiler_block, input_depth
from fxsim.cost.ethos_cycles import Pace, pace
from fxsim.cost.ethos_graph import surroundings
from fxsim.cost.ethos_ops import Operation, Surroundings, batch_of, operations
from fxsim.cost.ethos_traffic import CHANNELS, Access, BlockBytes, Port, access, block_bytes
from fxsim.cost.ethos_weights import Weights
from fxsim.cost.layer import Estimate, Flow, TensorClass, binding, ceil_div, input_footprint_bytes, memory_cycles
from fxsim.cost.profiles import Npu, NpuMemory, WideNpu
from fxsim.model.graph import Graph
from fxsim.model.work import Work

SUSTAINED = 0.8
"""share of the accesses that a U85 may have under way which it has, and of the bandwidth that results"""
BUS_BYTES = 16
DEPTHWISE_PADDING = ((256, 0), (512, 2), (1 << 30, 6))
"""taps that a U85 of at most so many MACs adds to ten taps of a depthwise kernel"""
FAST_HEADER = 32
ONES_HEADER = 16
CODED_ZEROS = 4
"""zeros of padding that take a byte, where weights are coded"""


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
    speeds: dict[str, float]
    """bytes per cycle of each memory"""


@dataclass(slots=True, eq=False)
class Plan:
    """An operation with its block: what depends on the array, but on no speed of a memory."""

    op: Operation
    sized: Operation
    """the operation that cycles are counted of"""
    block: Block
    stored: dma.Stored
    core: Core
    pace: Pace
    bytes: dict[tuple[int, int], tuple[Access, BlockBytes]] = field(default_factory=dict)
    """by the bursts of source and target"""

    def moved(self, source: Port, target: Port) -> tuple[Access, BlockBytes]:
        """Bytes of the operation and of a block."""
        key = source.burst, target.burst
        if key not in self.bytes:
            at = self.block, self.core, source, target
            self.bytes[key] = access(self.op, *at), block_bytes(self.sized, *at)
        return self.bytes[key]


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What is known of a layer in its network, and its operations once they are planned for a core."""

    surroundings: Surroundings
    weights: Weights | None
    plans: list[Plan] = field(default_factory=list)


def settings(graph: Graph, on_npu: Sequence[bool], m: Machine) -> tuple[Setting | None, ...]:
    """The settings of all layers, remembered with the graph; None for a layer that is taken on its own."""
    key = settings, tuple(on_npu), m.core, m.scale_record
    if key not in graph.derived:
        around = surroundings(graph, on_npu, chains=m.core.wide)
        graph.derived[key] = tuple(Setting(*near) if near else None for near in around)
    found: tuple[Setting | None, ...] = graph.derived[key]  # type: ignore[assignment]
    return found


def _port(name: str, m: NpuMemory, npu: Npu, rate: float) -> Port:
    burst = int(m.burst.value)
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
    speeds = npu.bytes_per_cycle
    ports = {n: _port(n, m, npu, speeds[n]) for n, m in npu.memory.items()}
    outer, constants = ports[npu.memory_of("activations")], ports[npu.memory_of("constants")]
    maps = next((ports[n] for n, m in npu.memory.items() if "cache" in m.holds), outer)
    core = core_of(npu.array, npu.peak_macs.value)
    record = int(npu.array.scale_bytes.value)
    return Machine(core, tuple(ports.values()), maps, outer, constants, record, speeds)


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


def _step(p: Plan, m: Machine, ends: tuple[Port, Port], slack: int | None) -> Step:
    """The cost of an operation with that block; ``slack`` None is a layer on its own, which takes the better plan."""
    source, target = ends
    s, (a, each) = p.stored, p.moved(source, target)
    maps = (Flow(source.name, "ifm", a.input + a.second), Flow(target.name, "ofm", 0, a.output))

    def cycles(scales: Port) -> int:
        return p.pace.cycles(each.transfers(source, target, scales)).total

    def planned(scales: Port, known: int) -> int:
        """What the compiler takes the operation for while it does not know yet which feature maps will be near."""
        if slack is None or m.maps.name == m.outer.name:
            return known
        return p.pace.cycles(p.moved(m.outer, m.outer)[1].transfers(m.outer, m.outer, scales)).total

    def step(compute: int, plan: dma.WeightPlan) -> Step:
        flows = (*maps, *plan.flows)
        busy = max(_busy(port, flows, plan, m) for port in m.ports)
        return Step(max(compute + plan.exposed_cycles, plan.dma_cycles, busy), compute, plan.slack, flows)

    def copied() -> Step:
        return step(near, dma.copied(s, a.refetch, planned(m.maps, near), m.constants, m.maps, slack))

    compute, near = cycles(m.constants), cycles(m.maps)
    if not p.op.weights:
        return step(compute, dma.WeightPlan(slack=compute))
    if slack is not None:
        expected = planned(m.constants, compute), planned(m.maps, near)
        if dma.copies(s, a.refetch, *expected, m.constants, m.maps, slack):
            return copied()
    straight = step(compute, dma.in_place(s, a.refetch, compute, m.constants))
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
    micro, padding = block.micro.d, 0
    if work.kind == "reduce" and op.weights:  # ones: a bit each
        size = ceil_div(ceil_div(op.taps, 4) * 4 * ceil_div(channels, micro) * micro, 8) + ONES_HEADER
    elif weights is not None and op.weights:
        size, plain = _encoded(op, block, m.core, weights)
        padding = math.ceil(weights.values[0].size / (1 if plain else CODED_ZEROS))
    return dma.Stored(size, scales, first, channels, max(block.output.d, DEPTH_STEP), micro, padding)


def _encoded(op: Operation, block: Block, core: Core, weights: Weights) -> tuple[int, bool]:
    """Bytes of the weights as the NPU's compiler stores them; and True if it stores them without a code."""
    wide, narrow = core.wide, op.input_bits == 8
    if op.kind == "depthwise":
        more = next(n for macs, n in DEPTHWISE_PADDING if core.macs <= macs)
        micro, taps = (max(1, block.micro.d // core.cores), 10 + more) if wide else (block.micro.d, 4)
        return weights.encoded_bytes("depthwise", micro, 1, taps, core.cores), False
    if block.by_part:
        order = "part"
        deep = 16 if wide and narrow else 8
        taps = (5 if narrow else 10) if wide else 4 if narrow else 2
    else:
        order, taps = "deep", 1
        deep = input_depth(op, core, block.micro, part=False) if wide else 32 if narrow else 16
    if not wide:
        return weights.encoded_bytes(order, block.micro.d, deep, taps, core.cores), False
    coded = weights.encoded_bytes(order, max(1, block.micro.d // core.cores), deep, taps, core.cores)
    plain = FAST_HEADER + weights.plain_bytes(block.micro.d, deep, taps)
    return min(coded, plain), plain <= coded


def sparse(m: Machine, setting: Setting | None) -> bool:
    """True if the array skips two of four weights of a convolution."""
    return m.core.wide and setting is not None and setting.weights is not None and setting.weights.two_of_four()


def _plans(ops: Sequence[Operation], m: Machine, work: Work, setting: Setting) -> list[Plan]:
    """The operations of a layer of a network with the compiler's blocks; equal ones without weights share one."""
    if not setting.plans:
        made: dict[Operation, Plan] = {}
        for op in ops:
            if op not in made or op.weights:
                block = compiler_block(op, m.core, sparse=op.kind == "conv" and sparse(m, setting))
                stored = _stored(op, block, m, work, setting.weights)
                made[op] = Plan(op, op, block, stored, m.core, pace(op, block, m.core))
            setting.plans.append(made[op])
    return setting.plans


def _fastest(op: Operation, m: Machine, ends: tuple[Port, Port], work: Work) -> Step:
    """An operation of a layer on its own, with the fastest candidate (of equals, that of least bytes)."""
    blocks = candidates(op, m.core)
    stored = _stored(op, blocks[0], m, work, None)
    sized = ((b, _filled(op, b)) for b in blocks)
    steps = (_step(Plan(op, s, b, stored, m.core, pace(s, b, m.core)), m, ends, None) for b, s in sized)
    return min(steps, key=lambda s: (s.cycles, sum(f.read_bytes + f.write_bytes for f in s.flows)))


def _merged(steps: Iterable[Step], times: int) -> dict[tuple[str, TensorClass], list[int]]:
    """Bytes read and written by memory and class of tensor."""
    total: dict[tuple[str, TensorClass], list[int]] = {}
    for step in steps:
        for f in step.flows:
            both = total.setdefault((f.memory, f.tensor), [0, 0])
            both[0] += times * f.read_bytes
            both[1] += times * f.write_bytes
    return total


def _steps(work: Work, m: Machine, maps: Port, setting: Setting | None, slack: int) -> list[Step]:
    """The cost of each operation of the layer, in order."""
    around = setting.surroundings if setting else None
    ops = operations(work, around)
    steps: list[Step] = []
    known: dict[object, Step] = {}  # a softmax repeats its operations
    each: Sequence[Plan | Operation] = _plans(ops, m, work, setting) if setting else ops
    for i, one in enumerate(each):
        source = m.constants if ops[i].fills else m.outer if around and around.outer_input and i == 0 else maps
        final = i == len(ops) - 1 or ops[i].copies
        target = m.outer if around and around.outer_output and final else maps
        key = one, source.name, target.name
        step = known.get(key)
        if step is None:
            ends = source, target
            step = _step(one, m, ends, slack) if isinstance(one, Plan) else _fastest(one, m, ends, work)
            if not ops[i].weights:
                known[key] = step
        steps.append(step)
        slack = step.slack
    return steps


def cost(
    work: Work, npu: Npu, machine: Machine | None = None, setting: Setting | None = None, slack: int = 0
) -> Estimate:
    """The cost of ``work`` on the NPU itself; with a setting, as a layer of a network.

    ``slack``: cycles of the layer before under which weights may load.
    """
    m = machine or machine_of(npu)
    maps = m.maps if work.input_bytes + work.output_bytes <= m.maps.size else m.outer
    lent, steps = slack, _steps(work, m, maps, setting, slack)
    batch = batch_of(work)
    total = _merged(steps, batch)
    _at_least(total, (maps.name, "ifm"), 0, input_footprint_bytes(work))
    _at_least(total, (maps.name, "ofm"), 1, work.output_bytes)
    if work.geometry is None and work.constant_bytes:
        _at_least(total, (m.constants.name, "weights"), 0, work.constant_bytes)
    flows = tuple(Flow(*where, *moved) for where, moved in total.items())
    compute = batch * sum(s.compute for s in steps)
    per_memory = memory_cycles(flows, m.speeds)
    slowest = max(per_memory.values())
    cycles = max(1, compute, batch * sum(s.cycles for s in steps), slowest - lent)
    energy = [*parts(work, npu, flows, cycles, max(1, work.activation_bits / 8)), (HOST, 0.0)]
    bound = binding(compute, per_memory)
    return Estimate(npu.name, cycles, compute, slowest, bound, flows, tuple(energy), slack_cycles=steps[-1].slack)


def _at_least(
    total: dict[tuple[str, TensorClass], list[int]], where: tuple[str, TensorClass], way: int, least: int
) -> None:
    """Raises what is read (``way`` 0) or written (1) of a class of tensor over all memories to what must move at least."""
    more = least - sum(moved[way] for (_, tensor), moved in total.items() if tensor == where[1])
    if more > 0:
        total.setdefault(where, [0, 0])[way] += more
