"""Which instructions the packed kernels use: chosen when the process starts, or forced by ``FXSIM_ISA``."""

import os
from functools import cache

from fxsim.errors import FxsimError, listed
from fxsim.kernels._jit import DISABLED, cpu_features
from fxsim.kernels._vectors import CODES, KINDS

NEEDS = {
    "vnni": (("avx512f", "avx512bw", "avx512vl", "avx512vnni"), ("avx2", "avxvnni")),
    "avx2": (("avx2",),),
    "neon": (("dotprod",),),
    "portable": ((),),
}
"""instruction set -> the features that it needs, any of these sets; best first"""
VARIABLE = "FXSIM_ISA"


def available() -> list[str]:
    """The instruction sets of this machine, best first."""
    there = cpu_features()
    return [isa for isa, sets in NEEDS.items() if any(there.issuperset(s) for s in sets)]


@cache
def instruction_set(wanted: str = "") -> str:
    """``wanted`` if the machine has it, by default the best.

    Raises:
        FxsimError: if there is no such set, or if this machine lacks it.
    """
    found = available()
    if wanted and wanted not in found:
        raise FxsimError(f"{VARIABLE} is {wanted!r}; allowed on this machine: {listed(found)}")
    return wanted or found[0]


def chosen() -> str:
    """The instruction set of this process.

    Raises:
        FxsimError: as :func:`instruction_set`.
    """
    return instruction_set(os.environ.get(VARIABLE, ""))


def kind(isa: str, group: int) -> int:
    """The code of the kind that multiplies words of ``group`` inputs, at most, on ``isa``."""
    wide = "avx512bw" in cpu_features() and isa == "vnni"
    names = {4: "bytes", 2: "pairs", 1: "single"}
    have = {"vnni": (4, 2, 1), "avx2": (2, 1), "neon": (4, 1), "portable": (1,)}[isa]
    held = max(g for g in have if g <= group)
    return CODES[f"{names[held]}{512 if wide else 128 if isa == 'neon' and held == 4 else 256}"]


def tiles(code: int, clamped: bool) -> tuple[tuple[int, int], ...]:
    """The tiles ``(rows, blocks of 16 channels)`` whose sums fit the registers, the ones for single rows first."""
    if KINDS[code].vectors > 1:
        return ((1, 2), (4, 1)) if clamped or KINDS[code].group == 1 else ((1, 2), (6, 1))
    return ((1, 4), (8, 2), (8, 1)) if clamped else ((1, 4), (6, 4), (8, 2), (10, 1))


def fused() -> bool:
    """Whether a product and a sum of float32 are rounded once by one instruction."""
    return compiled() and not cpu_features().isdisjoint(("fma", "neon"))


def compiled() -> bool:
    """False where kernels run as plain Python, so that there are no packed ones."""
    return not DISABLED
