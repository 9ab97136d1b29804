"""Where the hardware and numerics profiles lie: TOML files, one folder a kind."""

import difflib
from pathlib import Path

from fxsim.errors import ProfileError, listed

KINDS = ("numerics", "npu", "dsp", "mcu", "library", "technology", "evidence", "npu/systems", "npu/modes")


def profile_dir() -> Path:
    """The folder that holds the profiles: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "hwprofiles"
    return inside if inside.is_dir() else package.parent / "hwprofiles"


def names(kind: str) -> list[str]:
    """The names of all profiles of a kind, sorted.

    Raises:
        ProfileError: if there is no such kind.
    """
    if kind not in KINDS:
        raise ProfileError(f"no profile kind {kind!r}; allowed: {listed(KINDS)}")
    return sorted(p.stem for p in (profile_dir() / kind).glob("*.toml"))


def nearest(name: str, known: list[str]) -> str:
    """``; did you mean 'x'?``, or nothing if no known name is near."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def find(kind: str, name: str) -> Path:
    """The file of the profile of that kind and name.

    Raises:
        ProfileError: if there is no such kind or no such name; it lists what there is, and the nearest.
    """
    known = names(kind)
    if name not in known:
        raise ProfileError(f"no {kind} profile {name!r}; there are: {listed(known)}{nearest(name, known)}")
    return profile_dir() / kind / f"{name}.toml"
