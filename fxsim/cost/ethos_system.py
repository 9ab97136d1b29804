"""An NPU's profile from three files: the accelerator, the system it is in, and what its memories are used for.

The accelerator names a system (``hwprofiles/npu/systems``: clock, and memories on two ports of the bus) and a memory mode
(``hwprofiles/npu/modes``: the port of constants, of activations and of what is copied to be near), by name or as a file
beside it. One that names none holds ``clock`` and ``memory`` itself.
"""

from pathlib import Path
from typing import Any

from fxsim import hwfiles
from fxsim.cost.quantity import read
from fxsim.errors import ProfileError, listed

PORTS = ("axi0", "axi1")
ROLES = ("activations", "constants", "cache")
SYSTEM_KEYS = ("name", "description", "clock", "memory")
MODE_KEYS = ("name", "description", *ROLES, "cache_size")


def _part(path: Path, kind: str, name: object, keys: tuple[str, ...]) -> tuple[Path, dict[str, Any]]:
    """The file of a system or a mode, and its tables."""
    if not isinstance(name, str):
        raise ProfileError(f"{path}: key {kind[:-1]}: got {name!r}; allowed: {listed(hwfiles.names(f'npu/{kind}'))}")
    beside = path.parent / name
    file = beside if name.endswith(".toml") else hwfiles.find(f"npu/{kind}", _plain(name, kind, path))
    raw = read(file)
    for key in raw:
        if key not in keys:
            raise ProfileError(f"{file}: key {key}: unknown, got {raw[key]!r}; allowed: {listed(keys)}")
    for key in keys[:-1]:
        if key not in raw:
            raise ProfileError(f"{file}: key {key}: missing; allowed: {listed(keys)}")
    return file, raw


def _plain(name: str, kind: str, path: Path) -> str:
    """A name as fxsim or Vela writes it (``Ethos_U55_Deep_Embedded``), or without the family where it is the only one."""
    plain, known = name.lower().replace("_", "-"), hwfiles.names(f"npu/{kind}")
    if plain in known:
        return plain
    family = path.stem.rsplit("-", 1)[0]
    own = [n for n in (f"{family}-{plain}", f"{family}-sys-{plain}") if n in known]
    return own[0] if own else plain


def composed(raw: dict[str, Any], path: Path, system: str = "", mode: str = "") -> dict[str, Any]:
    """The tables of an accelerator with clock and memories of its system and mode, or of those that are asked for.

    Raises:
        ProfileError: if there is no such system or mode, or if they do not fit each other.
    """
    if "system" not in raw and "mode" not in raw:
        if system or mode:
            raise ProfileError(f"{path}: it has clock and memories of its own; allowed: no system, no mode")
        return raw
    _, s = _part(path, "systems", system or raw.get("system"), SYSTEM_KEYS)
    file, m = _part(path, "modes", mode or raw.get("mode"), MODE_KEYS)
    memory: dict[str, Any] = {}
    for name, table in s["memory"].items():
        port = table.get("port")
        if port not in PORTS:
            raise ProfileError(f"{path}: key memory.{name}.port of its system: got {port!r}; allowed: {listed(PORTS)}")
        holds = [r for r in ROLES if m[r] == port and not (r == "cache" and m["activations"] == port)]
        if not holds:
            continue
        memory[name] = {k: v for k, v in table.items() if k != "port"} | {"holds": holds}
        if "cache_size" in m and m["cache"] == port:
            memory[name]["size"] = m["cache_size"]
    for role in ROLES:
        if m[role] not in PORTS:
            raise ProfileError(f"{file}: key {role}: got {m[role]!r}; allowed: {listed(PORTS)}")
    family = str(raw.get("name")).rpartition("-")[0]
    other = [s["name"].removeprefix(f"{family}-").removeprefix("sys-")] if s["name"] != raw.get("system") else []
    other += [m["name"]] if m["name"] != raw.get("mode") else []
    full = f"{raw.get('name')}@{','.join(other)}" if other else raw.get("name")
    text = f"{raw.get('description')}; {s['description']}; {m['description']}"
    return raw | {
        "name": full, "description": text, "system": s["name"], "mode": m["name"], "clock": s["clock"], "memory": memory
    }  # fmt: skip
