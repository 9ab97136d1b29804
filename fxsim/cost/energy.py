"""Energy of a layer on an engine whose products, memories and idling are priced apart."""

from collections.abc import Sequence

from fxsim.cost.layer import Flow
from fxsim.cost.profiles import Accelerator, Dsp
from fxsim.model.work import Work


def parts(
    work: Work, p: Accelerator | Dsp, flows: Sequence[Flow], cycles: int, products: float
) -> list[tuple[str, float]]:
    """``(column, picojoules)``: MACs and other operations, each memory's reads and writes, idling for ``cycles``.

    ``products`` is how many of the profile's products one MAC of the layer takes.
    """
    op_pj = p.op_energy.value * (work.element_ops + work.requantized)
    energy = [("mac_pj", p.mac_energy.value * work.macs * products + op_pj)]
    for name, memory in p.memory.items():
        read = sum(f.read_bytes for f in flows if f.memory == name)
        written = sum(f.write_bytes for f in flows if f.memory == name)
        energy.append((f"{name}_pj", read * memory.read_energy.value + written * memory.write_energy.value))
    return [*energy, ("idle_pj", p.idle_power.value * cycles / p.clock.value * 1e12)]
