"""Hardware targets by name: the profiles that are shipped under ``hwprofiles``, or a user's own TOML file."""

import re
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from fxsim import hwfiles
from fxsim.cost.profiles import Accelerator, Mcu, Profile, Systolic, load
from fxsim.cost.quantity import Constant
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


SYSTOLIC = re.compile(r"systolic-(\d{1,5})x(\d{1,5})-(os|ws|is)(?:-(int8|int4|int2|binary))?(?:-bw(\d{1,6}))?")
"""rows, columns, dataflow; multipliers (int8); bytes per cycle of the main memory (never a limit)"""


def _sized(base: Systolic, name: str, parts: re.Match[str]) -> Systolic:
    """The systolic array that ``name`` describes, with all else as in ``base``."""
    rows, columns, dataflow, multiplier, bandwidth = parts.groups()
    bits = {None: 8, "int8": 8, "int4": 4, "int2": 2, "binary": 1}[multiplier]
    if not int(rows) * int(columns):
        raise ProfileError(f"target {name!r}: rows and columns are {rows} and {columns}; allowed: at least 1")

    def said(value: float, unit: str, source: str = "the target's name") -> Constant:
        return Constant(value, unit, source)

    # a multiplier's energy grows with the square of its width; the addition stays
    add = base.op_energy.value
    energy = add + (base.mac_energy.value - add) * (bits / 8) ** 2
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
        peak_macs=said(int(rows) * int(columns), "MAC/cycle", "rows x columns"),
        mac_energy=said(energy, "pJ/MAC", f"{base.mac_energy.source}; multiply scaled with the square of the width"),
        memory=memory,
    )


def _file_of(name: str) -> Path:
    for kind in FAMILIES:
        if name in hwfiles.names(kind):
            return hwfiles.find(kind, name)
    known = list_targets()
    raise ProfileError(
        f"no target {name!r}; there are: {listed(known)}, systolic-RxC-DATAFLOW such as systolic-16x16-ws, "
        f"or the path of a .toml file{hwfiles.nearest(name, known)}"
    )


def load_target(name_or_path: str | Path) -> Target:
    """The target of that name, or in that file if it ends in ``.toml``.

    Raises:
        ProfileError: if there is none, or its profile is not sound.
    """
    text = str(name_or_path)
    array = SYSTOLIC.fullmatch(text)
    path = Path(text) if text.lower().endswith(".toml") else _file_of("systolic-32x32-os" if array else text)
    profile = load(path)
    if array and isinstance(profile, Systolic):
        profile = _sized(profile, text, array)
    if not isinstance(profile, Accelerator):
        return Target(profile)
    beside = path.parent / profile.host if profile.host.endswith(".toml") else None
    host = load(beside or hwfiles.find("mcu", profile.host))
    if not isinstance(host, Mcu):
        raise ProfileError(f"{path}: key host: got {profile.host!r}, a {host.kind}; allowed: an mcu profile")
    return Target(profile, host)
