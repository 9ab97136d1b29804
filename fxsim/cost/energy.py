"""Energy of a layer on an engine whose products, memories and idling are priced apart.

A product of ``a`` by ``w`` bits, added to an accumulator of ``acc`` bits, takes ``multiply * a * w / 64 + add * acc / 32``
of an 8-bit multiplication and a 32-bit addition: a multiplier grows with the product of its widths, an adder with its.

This is one world: operations and accesses from a table. The other is the current of a whole chip (:class:`Mcu`), ten to ten
thousand times as much. The host of an accelerator belongs to the other; its energy stands in a column of its own, and no
total adds the two.
"""

from collections.abc import Sequence

from fxsim.cost.layer import Flow
from fxsim.cost.profiles import Accelerator, Dsp
from fxsim.model.work import Work

HOST = "host_pj"
"""the column of what the host of an accelerator takes: whole-chip energy, never added to the others"""
WORD_BITS, SUM_BITS = 8, 32
"""widths of the multiplication and of the addition that tables give"""


def product_pj(mac_pj: float, add_pj: float, activation_bits: int, weight_bits: int, accumulator_bits: int) -> float:
    """Picojoules of a product and its addition, from those of 8-bit operands (``mac_pj``) and a 32-bit addition."""
    multiply = (mac_pj - add_pj) * activation_bits * weight_bits / WORD_BITS**2
    return multiply + add_pj * accumulator_bits / SUM_BITS


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
