"""Hardware targets by name: the profiles that are shipped under ``hwprofiles``, or a user's own TOML file."""

from dataclasses import dataclass
from pathlib import Path

from fxsim import hwfiles
from fxsim.cost.profiles import Mcu, Npu, Profile, load
from fxsim.errors import ProfileError, listed

FAMILIES = ("npu", "dsp", "mcu")


@dataclass(frozen=True, slots=True)
class Target:
    """A piece of hardware to estimate for: its profile and, for an NPU, the core that runs the rest."""

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


def _file_of(name: str) -> Path:
    for kind in FAMILIES:
        if name in hwfiles.names(kind):
            return hwfiles.find(kind, name)
    known = list_targets()
    raise ProfileError(
        f"no target {name!r}; there are: {listed(known)}, or the path of a .toml file{hwfiles.nearest(name, known)}"
    )


def load_target(name_or_path: str | Path) -> Target:
    """The target of that name, or in that file if it ends in ``.toml``.

    Raises:
        ProfileError: if there is none, or its profile is not sound.
    """
    text = str(name_or_path)
    path = Path(text) if text.lower().endswith(".toml") else _file_of(text)
    profile = load(path)
    if not isinstance(profile, Npu):
        return Target(profile)
    beside = path.parent / profile.host if profile.host.endswith(".toml") else None
    host = load(beside or hwfiles.find("mcu", profile.host))
    if not isinstance(host, Mcu):
        raise ProfileError(f"{path}: key host: got {profile.host!r}, a {host.kind}; allowed: an mcu profile")
    return Target(profile, host)
