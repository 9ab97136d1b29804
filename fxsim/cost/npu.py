"""Cycles, traffic and energy of a layer on an Ethos-U-like NPU: micro-block formulas after Vela's cycle model.

A layer is cut into output blocks. For a block of ``h x w x d`` outputs, with micro-block ``(uh, uw, ud)``, let
``N_wh = ceil(h / uh) * ceil(w / uw)``, ``N_d = ceil(d / ud)`` and
``p = max(weight_floor + pipeline_delay, pixel_pass * N_wh)``. The kernel is split into parts of at most 8x8 taps, ``n``
taps each. MAC cycles of the block:

- conv, dense: the lesser of depth first ``p * sum(n) * N_d * ceil(C / 32)`` and part-kernel first
  ``p * sum(ceil(n / 4)) * N_d * ceil(C / 8)``; 16-bit activations halve the 32 and the 4
- depthwise: ``p' * sum(ceil(n / 4)) * N_d`` with ``p' = max(weight_floor + pipeline_delay, pixel_pass * N_wh * b)`` and
  ``b = ceil(bits / 8)``
- pooling: ``max(pixel_pass, n) * N_wh * N_d * bits / 2``

The output stage takes ``c`` cycles an output, and works beside the MACs: a block takes the greater of the two. To the
sum over blocks come the lesser part of one block (pipeline fill), the load of the first input block, the store of the
last output block and ``call``. The layer takes ``max(that, traffic / bandwidth of each memory)``.

Block choice: all power-of-two blocks of ``max_block``, a half or a quarter as many outputs whose input block and
accumulators (4 bytes), double-buffered, fit the block memory; the one with the least layer cycles, then the least
traffic.

The pipeline delay is charged for every micro-block row, not only for single ones as in Vela, so that a larger layer
never costs less. Not modelled: cascades of layers, overlap of one layer's weights with the layer before, bursts,
latency.

Source: ethos-u-vela 5.2.0, NPU performance estimation.
"""

import math
from functools import lru_cache
from typing import NamedTuple

from fxsim.cost.layer import Estimate, Flow, binding, ceil_div, input_footprint_bytes, memory_cycles
from fxsim.cost.profiles import CHANNELS_PER_PASS, Npu
from fxsim.model.work import Geometry, Work

PART = 8
"""longest side of a kernel part, in taps"""
MAC_KINDS = ("conv", "depthwise", "dense")


class Block(NamedTuple):
    """Outputs that are worked on at once."""

    h: int
    w: int
    d: int


@lru_cache(maxsize=64)
def _candidates(most: int, uh: int, uw: int, ud: int) -> tuple[Block, ...]:
    sides = [1 << i for i in range(most.bit_length())]
    blocks = [Block(h, w, size // (h * w)) for size in (most, most // 2, most // 4) for h in sides for w in sides]
    legal = [b for b in blocks if uh <= b.h <= 64 and uw <= b.w <= 64 and ud <= b.d <= 128]
    return (*legal, Block(uh, uw, ud))


def _parts(size: int) -> list[int]:
    return [PART] * (size // PART) + ([size % PART] if size % PART else [])


def _tiles(size: int, block: int) -> tuple[tuple[int, int], ...]:
    """``(tile size, how many)``: the full tiles and the rest."""
    rest = size % block
    return ((block, size // block), (rest, 1)) if rest else ((block, size // block),)


def _steps(work: Work, g: Geometry, npu: Npu) -> float:
    """Passes of the array for one micro-block column: the part of the MAC cycles that no block choice changes."""
    taps = [h * w for h in _parts(g.kernel_h) for w in _parts(g.kernel_w)]
    if work.kind == "pool":
        return sum(max(npu.array.pixel_pass.value, n) for n in taps) * max(work.activation_bits, 8) / 2
    if work.kind == "depthwise":
        return sum(ceil_div(n, 4) for n in taps)
    wide = 2 if work.activation_bits > 8 else 1
    channels = g.in_c // g.groups
    deep = sum(taps) * ceil_div(channels * wide, CHANNELS_PER_PASS)
    return min(deep, sum(ceil_div(n * wide, 4) for n in taps) * ceil_div(channels, 8))


def _input_block(work: Work, g: Geometry, block: Block) -> tuple[int, int]:
    """Height and width of the input that a block needs for one kernel part."""
    kh = (min(g.kernel_h, PART) - 1) * g.dilation_h + 1
    kw = (min(g.kernel_w, PART) - 1) * g.dilation_w + 1
    return min((block.h - 1) * g.stride_h + kh, g.in_h), min((block.w - 1) * g.stride_w + kw, g.in_w)


def _fits(work: Work, g: Geometry, npu: Npu, block: Block) -> bool:
    h, w = _input_block(work, g, block)
    deep = block.d if work.kind in ("depthwise", "pool") else min(g.in_c, CHANNELS_PER_PASS)
    load = h * w * ceil_div(deep, 8) * 8 * ceil_div(work.activation_bits, 8)
    return 2 * (load + 4 * block.h * block.w * block.d) <= npu.array.block_memory.value


def _flows(work: Work, g: Geometry, npu: Npu, block: Block) -> list[Flow]:
    ram, rom = npu.memory_of("activations"), npu.memory_of("constants")
    h, w = _input_block(work, g, block)
    passes = g.batch * ceil_div(g.out_h, block.h) * ceil_div(g.out_w, block.w)
    per_channel = work.kind in ("depthwise", "pool")
    parts = ceil_div(g.kernel_h, PART) * ceil_div(g.kernel_w, PART)
    channels = g.in_c if per_channel else g.in_c * ceil_div(g.out_c, block.d)
    read = ceil_div(passes * parts * h * w * channels * work.activation_bits, 8)
    flows = [
        Flow(ram, "ifm", read_bytes=max(read, input_footprint_bytes(work))),
        Flow(ram, "ofm", write_bytes=work.output_bytes),
    ]
    if work.kind in MAC_KINDS:
        weights = math.ceil(work.weight_bytes * npu.array.weight_encoding.value)
        scales = max(int(npu.array.scale_bytes.value) * g.out_c, work.bias_bytes)
        flows += [Flow(rom, "weights", read_bytes=weights), Flow(rom, "bias", read_bytes=scales)]
        if passes > 1:  # read more than once: copied to RAM first
            flows += [Flow(ram, "weights", weights * passes, weights), Flow(ram, "bias", scales * passes, scales)]
    return flows


def _windowed(work: Work, g: Geometry, npu: Npu, block: Block, steps: float) -> int:
    a = npu.array
    per_output = (a.pool_output if work.kind == "pool" else a.conv_output).value
    floor = 1.0 if work.kind == "pool" else a.weight_floor.value + a.pipeline_delay.value
    per_row = {"pool": 1.0, "depthwise": a.pixel_pass.value * (2 if work.activation_bits > 8 else 1)}.get(
        work.kind, a.pixel_pass.value
    )
    total = fill = 0.0
    for h, nh in _tiles(g.out_h, block.h):
        rows = ceil_div(h, int(a.micro_h.value))
        for w, nw in _tiles(g.out_w, block.w):
            pixels = max(floor, per_row * rows * ceil_div(w, int(a.micro_w.value))) * steps
            for d, nd in _tiles(g.out_c, block.d):
                mac = pixels * ceil_div(d, int(a.micro_d.value))
                out = per_output * h * w * d
                total += max(mac, out) * nh * nw * nd
                fill = max(fill, min(mac, out))
    speed = npu.bytes_per_cycle[npu.memory_of("activations")]
    h, w = _input_block(work, g, block)
    first = h * w * min(g.in_c, CHANNELS_PER_PASS) * work.activation_bits / 8 / speed
    last = block.h * block.w * block.d * work.activation_bits / 8 / speed
    return math.ceil(g.batch * total + fill + first + last + a.call.value)


def _best(work: Work, g: Geometry, npu: Npu) -> tuple[int, list[Flow]]:
    """Compute cycles and traffic of the best block."""
    a = npu.array
    micro = int(a.micro_h.value), int(a.micro_w.value), int(a.micro_d.value)
    steps, speeds = _steps(work, g, npu), npu.bytes_per_cycle
    seen: set[Block] = set()
    best: tuple[tuple[int, int], int, list[Flow]] | None = None
    smallest = Block(*(min(m, s) for m, s in zip(micro, (g.out_h, g.out_w, g.out_c), strict=True)))
    for c in _candidates(int(a.max_block.value), *micro):
        block = Block(min(c.h, g.out_h), min(c.w, g.out_w), min(c.d, g.out_c))
        if block in seen or not (block == smallest or _fits(work, g, npu, block)):
            continue
        seen.add(block)
        cycles = _windowed(work, g, npu, block, steps)
        if best is not None and cycles > best[0][0]:
            continue
        flows = _flows(work, g, npu, block)
        slowest = max(memory_cycles(flows, speeds).values())
        rank = max(cycles, slowest), sum(f.read_bytes + f.write_bytes for f in flows)
        if best is None or rank < best[0]:
            best = rank, cycles, flows
    assert best is not None
    return best[1], best[2]


def _plain(work: Work, npu: Npu) -> tuple[int, list[Flow]]:
    a = npu.array
    ram, rom = npu.memory_of("activations"), npu.memory_of("constants")
    cycles = a.call.value
    if work.kind == "softmax":
        cycles += a.softmax_call.value + a.softmax.value * work.element_ops
    elif work.kind == "reduce":
        groups = ceil_div(work.elements, int(a.micro_d.value))
        taps = ceil_div(work.element_ops, max(work.elements, 1))
        cycles += max(a.pixel_pass.value, taps) * groups * max(work.activation_bits, 8) / 2
    elif work.kind == "copy":
        cycles += a.copy.value * work.elements + a.elementwise.value * work.requantized
    else:
        per_op = a.lookup if work.kind == "lookup" else a.elementwise
        cycles += per_op.value * max(work.element_ops, work.elements)
    flows = [Flow(ram, "ifm", read_bytes=work.input_bytes), Flow(ram, "ofm", write_bytes=work.output_bytes)]
    if work.constant_bytes:
        flows.append(Flow(rom, "weights", read_bytes=work.constant_bytes))
    return math.ceil(cycles), flows


def cost(work: Work, npu: Npu) -> Estimate:
    """The cost of ``work`` on the NPU itself."""
    compute, flows = _best(work, work.geometry, npu) if work.geometry is not None else _plain(work, npu)
    per_memory = memory_cycles(flows, npu.bytes_per_cycle)
    cycles = max(compute, *per_memory.values())
    op_pj = npu.op_energy.value * (work.element_ops + work.requantized)
    energy = [("mac_pj", npu.mac_energy.value * work.macs * max(1, work.activation_bits / 8) + op_pj)]
    for name, m in npu.memory.items():
        read = sum(f.read_bytes for f in flows if f.memory == name)
        written = sum(f.write_bytes for f in flows if f.memory == name)
        energy.append((f"{name}_pj", read * m.read_energy.value + written * m.write_energy.value))
    energy += [("idle_pj", npu.idle_power.value * cycles / npu.clock.value * 1e12), ("host_pj", 0.0)]
    bound = binding(compute, per_memory)
    return Estimate(npu.name, cycles, compute, max(per_memory.values()), bound, tuple(flows), tuple(energy))
