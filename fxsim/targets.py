"""Hardware targets by name: the profiles that are shipped under ``hwprofiles``, or a user's own TOML file."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from msgspec.structs import replace

from fxsim import hwfiles
from fxsim.cost import mcu_targets
from fxsim.cost.energy import product_pj
from fxsim.cost.evidence import shipped
from fxsim.cost.mcu_library import load_library
from fxsim.cost.profiles import Accelerator, Dsp, Mcu, Overlap, Profile, Systolic, load
from fxsim.cost.quantity import Constant
from fxsim.cost.technology import priced as technology_of
from fxsim.cost.technology import technologies
from fxsim.errors import ProfileError, listed

FAMILIES = ("npu", "dsp", "mcu")


@dataclass(frozen=True, slots=True)
class Target:
    """A piece of hardware to estimate for: its profile and, for an accelerator, the core that runs the rest."""

    profile: Profile
    host: Mcu | None = None

    @property
    def name(self) -> str:
        """The profile's name."""
        return self.profile.name

    @property
    def kind(self) -> str:
        """``npu``, ``dsp`` or ``mcu``."""
        return self.profile.kind


def list_targets() -> list[str]:
    """The names of all shipped targets, sorted."""
    return sorted(n for kind in FAMILIES for n in hwfiles.names(kind))


def describe_targets() -> tuple[list[str], list[list[str]]]:
    """The headings and rows of a table of all shipped targets."""
    rows = []
    for name in list_targets():
        t = load_target(name)
        p = t.profile
        rows.append([name, t.kind, p.description, f"{p.clock.value / 1e6:g} MHz", f"{p.peak_macs.value:g}", p.evidence])
    return ["target", "kind", "what", "clock", "MAC/cycle", "evidence"], rows


def describe_libraries() -> tuple[list[str], list[list[str]]]:
    """The headings and rows of a table of all shipped kernel libraries, and what each was measured on."""
    measured = {t: b["latency"] for t, b in shipped("mcu").items() if "latency" in b}
    rows = []
    for name in hwfiles.names("library"):
        found = load_library(hwfiles.find("library", name))
        runs = [c for c in sorted(mcu_targets.cores()) if mcu_targets.runs(c, name)]
        known = [f"{c}: {b.median:.0%}, {b.p90:.0%}" for c in runs if (b := measured.get(f"{c}+{name}"))]
        rows.append(
            [name, ", ".join(found.aliases), found.description, ", ".join(runs), "; ".join(known) or "unvalidated"]
        )
    return ["library", "also", "what", "cores", "error: median, 90 %"], rows


def describe_technologies() -> tuple[list[str], list[list[str]]]:
    """The headings and rows of a table of all technology tables, in picojoules."""
    keys = ("add8", "add32", "multiply8", "sram8k", "sram32k", "sram1m", "dram")
    rows = [[t.name, t.description, *(f"{getattr(t, k).value:g}" for k in keys)] for t in technologies().values()]
    return ["technology", "what", *keys], rows


def priced(target: Target, technology: str) -> Target:
    """The target with the energies of another technology table.

    Raises:
        ProfileError: if there is no such table, or the target's energy is that of a whole chip.
    """
    return Target(technology_of(target.profile, technology), target.host)


def overlapped(target: Target, overlap: str) -> Target:
    """The target with computing and fetching overlapped in that way.

    Raises:
        ProfileError: if there is no such way, or the target's model has no choice of it.
    """
    ways = get_args(Overlap)
    if overlap not in ways:
        raise ProfileError(f"overlap is {overlap!r}; allowed: {listed(ways)}")
    if not isinstance(target.profile, Mcu | Dsp | Systolic):
        raise ProfileError(
            f"overlap on {target.name}, a {target.kind}: its model has one of its own; allowed: mcu, dsp and systolic"
        )
    return Target(replace(target.profile, overlap=overlap), target.host)


SYSTOLIC = re.compile(
    r"systolic-(\d{1,5})x(\d{1,5})-(os|ws|is)(?:-(int16|int8|int4|int2|binary))?(?:-acc(\d{1,2}))?(?:-bw(\d{1,6}))?"
)
"""rows, columns, dataflow; multipliers (int8), accumulator bits (32); bytes per cycle of the main memory (never a limit)"""


def _sized(base: Systolic, name: str, parts: re.Match[str]) -> Systolic:
    """The systolic array that ``name`` describes, with all else as in ``base``."""
    rows, columns, dataflow, multiplier, accumulator, bandwidth = parts.groups()
    bits = {None: 8, "int16": 16, "int8": 8, "int4": 4, "int2": 2, "binary": 1}[multiplier]
    sums = int(accumulator or base.accumulator_bits.value)
    if not int(rows) * int(columns):
        raise ProfileError(f"target {name!r}: rows and columns are {rows} and {columns}; allowed: at least 1")
    if not 2 * bits <= sums <= 64:
        raise ProfileError(f"target {name!r}: accumulators have {sums} bits; allowed: {2 * bits} (one product) to 64")

    def said(value: float, unit: str, source: str = "the target's name") -> Constant:
        return Constant(value, unit, source)

    energy = product_pj(base.mac_energy.value, base.op_energy.value, bits, bits, sums)
    memory, main = dict(base.memory), base.memory_of("activations")
    if bandwidth:
        if not int(bandwidth):
            raise ProfileError(f"target {name!r}: the bandwidth is 0 bytes a cycle; allowed: at least 1")
        memory[main] = replace(memory[main], bandwidth=said(int(bandwidth), "B/cycle"))
    array = f"Systolic array of {rows} x {columns} {multiplier or 'int8'} multipliers, dataflow {dataflow}"
    main_memory = f"main memory of {bandwidth} B/cycle" if bandwidth else "memory that never stalls"
    return replace(
        base,
        name=name,
        description=f"{array}, 1 GHz, 64 KiB a buffer, {main_memory}; host {base.host}",
        rows=said(int(rows), "1"),
        columns=said(int(columns), "1"),
        dataflow=dataflow,
        multiplier_bits=said(bits, "bit"),
        accumulator_bits=said(sums, "bit") if accumulator else base.accumulator_bits,
        peak_macs=said(int(rows) * int(columns), "MAC/cycle", "rows x columns"),
        mac_energy=said(energy, "pJ/MAC", f"{base.mac_energy.source}; scaled with the widths"),
        memory=memory,
    )


def _system_and_mode(within: str, name: str) -> tuple[str, str]:
    """``deep-embedded``, ``sram-only`` or ``deep-embedded,sram-only`` as a system and a memory mode of an NPU."""
    parts = [p.strip() for p in within.split(",")]
    modes = hwfiles.names("npu/modes")
    mode = [p for p in parts if p.lower().replace("_", "-") in modes]
    system = [p for p in parts if p not in mode]
    if len(mode) > 1 or len(system) > 1 or not all(parts):
        raise ProfileError(f"target {name!r}: allowed behind @: a system, a memory mode ({listed(modes)}), or both")
    return (system or [""])[0], (mode or [""])[0]


def _with_evidence(profile: Profile) -> Profile:
    """A shipped accelerator with the error bands of its name, else of its family."""
    known = shipped("npu")
    exact = known.get(profile.name, {})
    family = known.get("systolic" if isinstance(profile, Systolic) else profile.name.rpartition("-")[0], {})
    why = "" if isinstance(profile, Systolic) else f"{profile.name} was not compared, others of its family were"
    near = {m: b.beyond(why) if why else b for m, b in family.items()}
    return replace(profile, error_band=exact or near) if exact or near else profile


def _file_of(name: str) -> Path:
    for kind in FAMILIES:
        if name in hwfiles.names(kind):
            return hwfiles.find(kind, name)
    known = list_targets()
    raise ProfileError(
        f"no target {name!r}; there are: {listed(known)}, systolic-RxC-DATAFLOW such as systolic-16x16-ws, "
        f"CORE+LIBRARY@CLOCK such as cortex-m4+x-cube-ai-9@80MHz, NPU@SYSTEM,MODE such as ethos-u55-128@sram-only, "
        f"or the path of a .toml file{hwfiles.nearest(name, known)}"
    )


def load_target(name_or_path: str | Path) -> Target:
    """The target of that name, or in that file if it ends in ``.toml``.

    Raises:
        ProfileError: if there is none, or its profile is not sound.
    """
    text = str(name_or_path)
    file = text.lower().endswith(".toml")
    core = mcu_targets.of_file(Path(text)) if file else mcu_targets.named(text) if mcu_targets.is_core(text) else None
    if core is not None:
        return Target(core)
    array = SYSTOLIC.fullmatch(text)
    named = not file
    text, at, within = text.partition("@")
    path = Path(text) if text.lower().endswith(".toml") else _file_of("systolic-32x32-os" if array else text)
    profile = load(path, *_system_and_mode(within, text)) if at else load(path)
    if array and isinstance(profile, Systolic):
        profile = _sized(profile, text, array)
    profile = _with_evidence(profile) if named else profile
    if not isinstance(profile, Accelerator):
        return Target(profile)
    beside = path.parent / profile.host if profile.host.endswith(".toml") else None
    host = load(beside) if beside else mcu_targets.named(profile.host)
    if not isinstance(host, Mcu):
        raise ProfileError(f"{path}: key host: got {profile.host!r}, a {host.kind}; allowed: an mcu profile")
    return Target(profile, host)
