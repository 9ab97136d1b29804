"""Cycles, traffic and energy of a layer on a microcontroller: an in-order core with a kernel library.

``cycles = max(kernel, RAM traffic / RAM bandwidth) + flash traffic / flash bandwidth``

The kernel's own loads from RAM are part of its cycles per MAC; the core stands still while a flash line arrives, unless
the profile says otherwise (``overlap``). Weights that fit the cache of the flash are fetched once, others again for each
group of pixels. The kernel terms are those of :class:`fxsim.cost.profiles.MacKernel`, :class:`ElementKernel` and
:class:`CopyKernel`. Where activations and weights have one bit, 32 MACs are one word: exclusive or, count, add.
"""

import math

from fxsim.cost.layer import Estimate, Flow, binding, ceil_div, input_footprint_bytes, joined, memory_cycles
from fxsim.cost.profiles import CopyKernel, ElementKernel, MacKernel, Mcu
from fxsim.model.work import Work

IM2COL_BYTES = 2
"""CMSIS-NN gathers 8-bit inputs as 16-bit values."""
WORD = 32
"""binary values in a word"""
LINE = 16
"""bytes that a flash delivers at once"""


def kernel_of(work: Work, mcu: Mcu) -> MacKernel | ElementKernel | CopyKernel:
    """The kernel that runs the work."""
    k, g = mcu.kernel, work.geometry
    if work.kind == "conv" and g is not None:
        in_place = (g.kernel_h, g.kernel_w, g.stride_h, g.stride_w, g.groups) == (1, 1, 1, 1, 1)
        return k.pointwise if in_place else k.conv
    kernel: MacKernel | ElementKernel | CopyKernel = getattr(k, work.kind)
    return kernel


def _mac_layer(work: Work, k: MacKernel, mcu: Mcu) -> tuple[float, list[Flow], int]:
    g = work.geometry
    assert g is not None
    ram, rom = mcu.memory_of("activations"), mcu.memory_of("constants")
    pixels = g.batch * g.out_h * g.out_w
    binary = work.activation_bits == 1 and work.weight_bits == 1
    gathers = k.im2col.value > 0
    gathered = pixels * g.window * g.groups if gathers else 0
    wide = mcu.kernel.wide_factor.value if max(work.activation_bits, work.weight_bits) > 8 else 1.0
    macs = g.outputs * ceil_div(g.window, int(k.unroll.value)) * int(k.unroll.value)
    inner = wide * (k.im2col.value * gathered + k.mac.value * macs)
    if binary:  # a window of few products is done one by one
        words = ceil_div(g.window, WORD)
        packed = k.im2col.value * ceil_div(gathered, WORD) + mcu.kernel.binary_word.value * words * g.outputs
        inner = min(inner, packed)
    cycles = k.call.value + inner + k.output.value * g.outputs
    passes = ceil_div(g.out_c // g.groups, int(k.input_reuse.value))
    cached = work.weight_bytes <= mcu.constant_cache.value
    streams = 1 if cached else ceil_div(pixels, int(k.weight_reuse.value))
    read = ceil_div((gathered if gathers else pixels * g.window * g.groups * passes) * work.activation_bits, 8)
    flows = [
        Flow(ram, "ifm", read_bytes=max(read, input_footprint_bytes(work))),
        Flow(rom, "weights", read_bytes=work.weight_bytes * streams),
        Flow(rom, "bias", read_bytes=work.bias_bytes),
        Flow(ram, "ofm", write_bytes=work.output_bytes),
    ]
    each = 1 / 8 if binary else IM2COL_BYTES
    if gathers:
        once = math.ceil(gathered * each)
        flows.append(Flow(ram, "scratch", once * passes, once))
    columns = math.ceil(k.weight_reuse.value * g.window * each) if gathers else 0
    return cycles, flows, columns


def _plain_layer(work: Work, k: ElementKernel | CopyKernel, mcu: Mcu) -> tuple[float, list[Flow]]:
    ram, rom = mcu.memory_of("activations"), mcu.memory_of("constants")
    if isinstance(k, CopyKernel):
        moved = max(work.input_bytes, work.output_bytes)
        cycles = k.call.value + k.byte.value * moved + k.rescale.value * work.requantized
    else:
        cycles = k.call.value + k.op.value * work.element_ops + k.output.value * work.elements
    read = work.input_bytes
    if work.geometry is not None:
        read = max(ceil_div(work.element_ops * work.activation_bits, 8), input_footprint_bytes(work))
    flows = [Flow(ram, "ifm", read_bytes=read), Flow(ram, "ofm", write_bytes=work.output_bytes)]
    if work.constant_bytes:
        flows.append(Flow(rom, "weights", read_bytes=work.constant_bytes))
    return cycles, flows


def cost(work: Work, mcu: Mcu) -> Estimate:
    """The cost of ``work`` on ``mcu``."""
    kernel = kernel_of(work, mcu)
    scratch = 0
    if isinstance(kernel, MacKernel):
        exact, flows, scratch = _mac_layer(work, kernel, mcu)
    else:
        exact, flows = _plain_layer(work, kernel, mcu)
    compute = max(1, math.ceil(exact))
    per_memory = memory_cycles(flows, mcu.bytes_per_cycle)
    ram, rom = mcu.memory_of("activations"), mcu.memory_of("constants")
    busy = max(compute, per_memory[ram])
    lines = ceil_div(sum(f.read_bytes for f in flows if f.memory == rom), LINE)
    cycles = busy if rom == ram else joined(busy, per_memory[rom], mcu.overlap, lines)
    return Estimate(
        mcu.name,
        cycles,
        compute,
        max(per_memory.values()),
        binding(compute, per_memory),
        tuple(flows),
        (("core_pj", cycles * mcu.cycle_pj),),
        scratch,
    )
