"""Technology tables: what operations and memory accesses take on a process, and accelerators priced with another one."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from msgspec.structs import replace

from fxsim import hwfiles
from fxsim.cost import quantity as q
from fxsim.cost.energy import product_pj
from fxsim.cost.profiles import Accelerator, Dsp, PricedMemory, Profile, Systolic
from fxsim.cost.quantity import Constant, Struct
from fxsim.errors import ProfileError, listed

DRAM = ("dram", "ddr")
"""names of memories off the chip"""
UNLISTED = ("flash",)
"""names of memories that tables do not have: they keep what the profile says"""
WORD_BYTES = 8


class Technology(Struct, frozen=True):
    """Energy of operations, and of 64-bit accesses to memories of three sizes and to DRAM."""

    name: str
    kind: str
    description: str
    add8: q.OpEnergy
    add32: q.OpEnergy
    multiply8: q.OpEnergy
    sram8k: q.WordEnergy
    sram32k: q.WordEnergy
    sram1m: q.WordEnergy
    dram: q.WordEnergy

    def access(self, name: str, size: float) -> Constant:
        """Of a byte, of a memory of that name and size: the smallest in the table that is as large, else the largest."""
        word = self.dram if name in DRAM else self.sram1m
        if name not in DRAM:
            word = next((w for s, w in ((8192, self.sram8k), (32768, self.sram32k)) if size <= s), word)
        return Constant(word.value / WORD_BYTES, "pJ/B", word.source)


@cache
def technologies() -> Mapping[str, Technology]:
    """All tables by name, the oldest process first."""
    kinds = {"technology": Technology}
    found = [q.decode(hwfiles.find("technology", n), kinds) for n in hwfiles.names("technology")]
    return MappingProxyType({t.name: t for t in found})


def priced(profile: Profile, name: str) -> Profile:
    """The profile with the energies of that technology; idle power, and memories that the table lacks, stay.

    Raises:
        ProfileError: if there is no such table, or the profile's energy is that of a whole chip.
    """
    if name not in technologies():
        raise ProfileError(f"technology is {name!r}; allowed: {listed(technologies())}")
    if not isinstance(profile, Accelerator | Dsp):
        whole = "its energy is the current of the whole chip, which no table of operations replaces"
        raise ProfileError(f"technology on {profile.name}, a {profile.kind}: {whole}; allowed: npu, systolic and dsp")
    t = technologies()[name]
    widths = (8, 8, 32)
    if isinstance(profile, Systolic):
        bits = int(profile.multiplier_bits.value)
        widths = (bits, bits, int(profile.accumulator_bits.value))
    mac = product_pj(t.multiply8.value + t.add32.value, t.add32.value, *widths)
    memory: dict[str, PricedMemory] = {}
    for n, m in profile.memory.items():
        access = t.access(n, m.size.value)
        memory[n] = m if n in UNLISTED else replace(m, read_energy=access, write_energy=access)
    kept = [n for n in profile.memory if n in UNLISTED]
    return replace(
        profile,
        technology=f"{t.description}; {' and '.join(['idle power', *kept])} as the profile has them",
        mac_energy=Constant(mac, "pJ/MAC", f"{t.multiply8.source}; {t.add32.source}"),
        op_energy=t.add32,
        memory=memory,
    )
