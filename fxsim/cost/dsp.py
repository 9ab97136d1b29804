"""Cycles, traffic and energy of a layer on a vector DSP with a cache or a scratchpad over an external memory.

With ``L = width / 4`` 32-bit lanes and ``I = contexts * multiply instructions a cycle``, which the slots of a packet for
multiplications and for the loads they need allow:

- conv, dense: ``pixels * ceil(C_out / L) * taps * ceil(C_in / mac_depth) / I``: output channels lie along the lanes,
  so the last vector of a layer is filled up (a layer of 1 or L channels costs the same), unless the scalar unit is
  faster with what is left and the profile says that it takes it
- the same where activations and weights have one bit: ``pixels * ceil(C_out / L) * taps * ceil(C_in / 32) * binary``
- depthwise: ``pixels * ceil(C / depthwise_lanes) * taps / I``
- requantization: ``pixels * ceil(C_out / L) * requantize / contexts``
- other layers: ``ceil(operations * bytes / width) * cycles per vector / contexts``
- operators without a vector kernel run on the scalar core: ``call + mac * MACs + op * operations + byte * bytes``

Activations pass through the near memory. They also go to the external memory and back where inputs, outputs and weights
of a layer do not fit the near one together; then the weights are read again for each piece of the outputs. Half of a
scratchpad is usable, as DMA fills the other. Cycles = ``call + compute and slowest memory, overlapped + transfers``.
"""

import math

from fxsim.cost.energy import SUM_BITS, WORD_BITS, parts, product_pj
from fxsim.cost.layer import Estimate, Flow, binding, ceil_div, input_footprint_bytes, joined, memory_cycles
from fxsim.cost.profiles import Dsp
from fxsim.model.work import Work

ACCUMULATOR_BYTES = 4


PIECES = 8
"""pieces that a layer is at least cut into, so that DMA fetches one while the one before is computed"""
BINARY_DEPTH = 32
"""one-bit products in a 32-bit lane"""


def _mac_cycles(work: Work, dsp: Dsp) -> float:
    v, g = dsp.vector, work.geometry
    assert g is not None
    lanes = int(v.width.value) // ACCUMULATOR_BYTES
    pixels, taps = g.batch * g.out_h * g.out_w, g.kernel_h * g.kernel_w
    wide = v.wide_factor.value if max(work.activation_bits, work.weight_bits) > WORD_BITS else 1.0
    finish = v.requantize.value / v.contexts.value  # cycles of a vector of outputs
    if work.kind == "depthwise":
        multiply = pixels * ceil_div(g.out_c, int(v.depthwise_lanes.value)) * taps * wide / v.mac_issue
        return multiply / v.contexts.value + pixels * ceil_div(g.out_c, lanes) * finish
    in_c, out_c = g.in_c // g.groups, g.out_c // g.groups
    step = ceil_div(in_c, int(v.mac_depth.value)) * wide / v.mac_issue
    if work.activation_bits == 1 and work.weight_bits == 1:
        step = min(step, ceil_div(in_c, BINARY_DEPTH) * v.binary.value)
    vector = taps * step / v.contexts.value + finish
    whole, left = divmod(out_c, lanes)
    tail = vector if left else 0.0
    if v.tails == "scalar":
        tail = min(tail, left * (taps * in_c * dsp.scalar.mac.value + dsp.scalar.op.value))
    return pixels * g.groups * (whole * vector + tail)


def _vector_cycles(work: Work, dsp: Dsp) -> float:
    v = dsp.vector
    width = int(v.width.value)

    def vectors(n: int) -> int:
        return ceil_div(n * ceil_div(work.activation_bits, 8), width)

    per = {"softmax": v.softmax, "lookup": v.lookup, "pool": v.pool, "reduce": v.pool, "copy": v.copy}
    each = per.get(work.kind, v.elementwise).value
    if work.kind == "copy":
        cycles = ceil_div(max(work.input_bytes, work.output_bytes), width) * each
    else:
        cycles = vectors(max(work.element_ops, work.elements)) * each
    cycles += ceil_div(work.requantized, width // ACCUMULATOR_BYTES) * v.requantize.value
    return cycles / v.contexts.value


def _rounds(work: Work, dsp: Dsp) -> int:
    """Pieces that a layer is cut into to fit the near memory."""
    held = work.input_bytes + work.output_bytes + work.constant_bytes
    size = int(dsp.memory[dsp.memory_of("activations")].size.value)
    return max(1, ceil_div(held, size // 2 if dsp.overlap == "pipelined" else size))


def _flows(work: Work, dsp: Dsp) -> list[Flow]:
    cache, external = dsp.memory_of("activations"), dsp.memory_of("constants")
    read = input_footprint_bytes(work)
    rounds = _rounds(work, dsp)
    weights, bias = work.weight_bytes * rounds, work.bias_bytes * rounds
    flows = [Flow(cache, "ifm", read_bytes=read), Flow(cache, "ofm", write_bytes=work.output_bytes)]
    if work.constant_bytes:
        flows += [
            Flow(external, "weights", read_bytes=weights),
            Flow(cache, "weights", weights, weights),
            Flow(external, "bias", read_bytes=bias),
            Flow(cache, "bias", bias, bias),
        ]
    if rounds > 1 and cache != external:
        flows += [
            Flow(external, "ifm", read_bytes=read),
            Flow(cache, "ifm", write_bytes=read),
            Flow(external, "ofm", write_bytes=work.output_bytes),
            Flow(cache, "ofm", read_bytes=work.output_bytes),
        ]
    return flows


def _products(work: Work, dsp: Dsp) -> float:
    """Products of the 8-bit multipliers that one MAC takes: narrower weights are widened, one-bit pairs are counted."""
    if work.activation_bits == 1 and work.weight_bits == 1:
        mac = dsp.mac_energy.value
        return product_pj(mac, dsp.op_energy.value, 1, 1, SUM_BITS) / mac if mac else 0.0
    return max(1, work.activation_bits / WORD_BITS) * max(1, work.weight_bits / WORD_BITS)


def cost(work: Work, dsp: Dsp, *, vector: bool = True) -> Estimate:
    """The cost of ``work`` on the vector unit, or on the scalar core."""
    if vector:
        busy = _mac_cycles(work, dsp) if work.macs else _vector_cycles(work, dsp)
        call = dsp.vector.call.value
    else:
        s = dsp.scalar
        moved = work.input_bytes + work.constant_bytes + work.output_bytes
        busy = s.mac.value * work.macs + s.op.value * (work.element_ops + work.requantized) + s.byte.value * moved
        call = s.call.value
    flows = _flows(work, dsp)
    per_memory = memory_cycles(flows, dsp.bytes_per_cycle)
    compute = max(1, math.ceil(busy + call))
    slowest, transfers = max(per_memory.values()), max(_rounds(work, dsp), PIECES)
    begin = math.ceil(call + dsp.transfer.value * transfers)
    cycles = max(compute, begin + joined(math.ceil(busy), slowest, dsp.overlap, PIECES))
    energy = parts(work, dsp, flows, cycles, _products(work, dsp))
    runs_on = dsp.name if vector else f"{dsp.name}-scalar"
    return Estimate(runs_on, cycles, compute, slowest, binding(compute, per_memory), tuple(flows), tuple(energy))
