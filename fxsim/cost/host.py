"""What an accelerator does not run: the same work on its host core, which lives on the accelerator's memories."""

import math

from fxsim.cost import mcu
from fxsim.cost.energy import HOST
from fxsim.cost.layer import Estimate, Flow, binding, memory_cycles
from fxsim.cost.profiles import Accelerator, Mcu
from fxsim.model.work import Work


def cost(work: Work, accelerator: Accelerator, host: Mcu) -> Estimate:
    """The cost of ``work`` on the host core of an accelerator, in cycles of the accelerator's clock.

    The host works on the accelerator's memories, which may be slower than its own. Its energy per cycle covers its memory
    accesses, so that they are not charged again; the accelerator idles meanwhile.
    """
    own = mcu.cost(work, host)
    rename = {host.memory_of(r): accelerator.memory_of(r) for r in ("constants", "activations")}
    flows = tuple(Flow(rename[f.memory], f.tensor, f.read_bytes, f.write_bytes) for f in own.flows)
    per_memory = memory_cycles(flows, accelerator.bytes_per_cycle)
    ratio = accelerator.clock.value / host.clock.value
    compute = math.ceil(own.compute_cycles * ratio + accelerator.host_call.value)
    slowest = max(per_memory.values())
    cycles = max(math.ceil(own.cycles * ratio + accelerator.host_call.value), compute, slowest)
    energy = [("mac_pj", 0.0), *((f"{name}_pj", 0.0) for name in accelerator.memory)]
    energy.append(("idle_pj", accelerator.idle_power.value * cycles / accelerator.clock.value * 1e12))
    energy.append((HOST, cycles / ratio * host.cycle_pj))
    return Estimate(
        host.name, cycles, compute, slowest, binding(compute, per_memory), flows, tuple(energy), own.scratch_bytes
    )
