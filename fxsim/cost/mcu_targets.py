"""Microcontrollers by name: ``CORE[+LIBRARY][@CLOCK][@VOLTS]``, such as ``cortex-m4+x-cube-ai-9@80MHz@1.8V``."""

import re
import tomllib
from functools import cache
from pathlib import Path
from types import MappingProxyType

import msgspec

from fxsim import hwfiles
from fxsim.cost.evidence import DEVICE_LEFT_OUT, LIBRARY_LEFT_OUT, METRICS, UNKNOWN, ErrorBand, shipped
from fxsim.cost.mcu_library import ANY, Core, Library, at, compose, counts_of, load_core, load_library
from fxsim.cost.profiles import Mcu
from fxsim.errors import ProfileError, listed

NAME = re.compile(r"(?P<core>[^+@]+)(\+(?P<library>[^+@]+))?(?P<point>(@[^@]+)*)")
POINT = re.compile(r"(?P<value>\d+(\.\d+)?)(?P<unit>kHz|MHz|GHz|mV|V)")
HERTZ = {"kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
VOLTS = {"mV": 1e-3, "V": 1.0}


@cache
def libraries() -> MappingProxyType[str, Path]:
    """The files of all shipped libraries, by their names and aliases."""
    files = {n: hwfiles.find("library", n) for n in hwfiles.names("library")}
    return MappingProxyType(files | {a: f for f in files.values() for a in load_library(f).aliases})


@cache
def cores() -> MappingProxyType[str, Path]:
    """The files of all shipped cores by name."""
    return MappingProxyType({n: hwfiles.find("mcu", n) for n in hwfiles.names("mcu")})


def bands_of(core: Core, library: Library) -> dict[str, ErrorBand]:
    """What is known of the errors on that core with that library, or else of the nearest that was measured."""
    known = shipped("mcu")
    exact = known.get(f"{core.name}+{library.name}", {})
    found: dict[str, ErrorBand] = {}
    for metric in METRICS:
        measured = [k.split("+") for k, b in known.items() if "+" in k and metric in b and not b[metric].extrapolated]
        if metric in exact:
            found[metric] = exact[metric]
        elif core.name in {c for c, _ in measured}:
            near = DEVICE_LEFT_OUT if library.name in {n for _, n in measured} else LIBRARY_LEFT_OUT
            found[metric] = known[near][metric].beyond(
                f"the {metric} of {library.name} was not measured on {core.name}"
            )
        else:
            why = f"no measurement of the {metric} of a network on {core.name}"
            found[metric] = msgspec.structs.replace(UNKNOWN, source=why)
    return found


def _parts(name: str) -> re.Match[str] | None:
    """Core, library and operating point of a name; ``cortex-m0+`` is the one core whose own name ends in a plus."""
    return NAME.fullmatch(re.sub(r"^cortex-m0\+(?=$|[+@])", "cortex-m0plus", name))


def is_core(name: str) -> bool:
    """True if the part before ``+`` and ``@`` is a shipped core."""
    parts = _parts(name)
    return parts is not None and parts["core"] in cores()


@cache
def runs(core: str, library: str) -> bool:
    """True if the library has kernels for the core's instruction set."""
    known = libraries()
    sets = counts_of(load_library(known[library]), known)
    return load_core(cores()[core]).isa in sets or ANY in sets


@cache
def _composed(core: str, library: str) -> Mcu:
    return _with_library(load_core(cores()[core]), library)


def of_file(path: Path) -> Mcu | None:
    """The user's own core in a file, with the library that it names; None if the file holds something else."""
    try:
        kind = tomllib.loads(path.read_text(encoding="utf-8")).get("kind")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None  # whoever reads it next says what is wrong
    return _with_library(load_core(path), "") if kind == "core" else None


def _with_library(c: Core, library: str) -> Mcu:
    known = libraries()
    wanted = library or c.library
    if wanted not in known:
        near = hwfiles.nearest(wanted, list(known))
        raise ProfileError(f"target {c.name}+{wanted}: no library {wanted!r}; there are: {listed(sorted(known))}{near}")
    chosen = load_library(known[wanted])
    return compose(c, chosen, known, bands_of(c, chosen))


def named(name: str) -> Mcu:
    """The microcontroller of that name.

    Raises:
        ProfileError: if there is no such core or library, they do not go together, or the operating point is none.
    """
    parts = _parts(name)
    if parts is None or parts["core"] not in cores():
        known = sorted(cores())
        raise ProfileError(f"no mcu profile {name!r}; there are: {listed(known)}{hwfiles.nearest(name, known)}")
    mcu = _composed(parts["core"], parts["library"] or "")
    point: dict[str, float] = {}
    for text in filter(None, (parts["point"] or "").split("@")):
        said = POINT.fullmatch(text)
        key = "hertz" if said and said["unit"] in HERTZ else "volts"
        if said is None or key in point or not float(said["value"]):
            allowed = "one clock such as @80MHz, one supply such as @1.8V"
            raise ProfileError(f"target {name!r}: got {'@' + text!r}; allowed: {allowed}")
        point[key] = float(said["value"]) * (HERTZ | VOLTS)[said["unit"]]
    return at(mcu, name, **point) if point else mcu
