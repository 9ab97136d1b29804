"""A constant of a profile: a value, its unit and where it comes from; and the decoding of TOML files full of them.

Decoding is strict. Every field of a profile names the units it may have; the value is converted to the first of them.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from fxsim.errors import ProfileError, listed


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number of a profile. After decoding, ``value`` is in the base unit of its field and ``unit`` says which."""

    value: float
    unit: str
    source: str


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all tables of a profile."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a field measures: its units (unit -> factor and base unit) and the range of its value."""

    units: Mapping[str, tuple[float, str]]
    positive: bool = True
    """above zero; otherwise zero is allowed"""
    whole: bool = False


def _units(base: str, **factors: float) -> Mapping[str, tuple[float, str]]:
    return MappingProxyType({base: (1.0, base)} | {k.replace("_per_", "/"): (f, base) for k, f in factors.items()})


def _cycles(per: str, *, positive: bool = False) -> Quantity:
    return Quantity(_units(f"cycle/{per}"), positive=positive)


Hertz = Annotated[Constant, Quantity(_units("Hz", kHz=1e3, MHz=1e6, GHz=1e9))]
_SIZES = {"KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3, "kB": 1e3, "MB": 1e6, "GB": 1e9}
Bytes = Annotated[Constant, Quantity(_units("B", **_SIZES), whole=True)]
Bandwidth = Annotated[
    Constant,
    Quantity(MappingProxyType({**_units("B/cycle"), **_units("B/s", kB_per_s=1e3, MB_per_s=1e6, GB_per_s=1e9)})),
]
"""``B/cycle`` of the profile's clock, or ``B/s``"""
Count = Annotated[Constant, Quantity(_units("1"), whole=True)]
Free = Annotated[Constant, Quantity(_units("1"), positive=False, whole=True)]
"""a count that may be zero"""
Bits = Annotated[Constant, Quantity(_units("bit"), whole=True)]
CacheBytes = Annotated[Constant, Quantity(_units("B", **_SIZES), positive=False, whole=True)]
"""a size that may be zero"""
Ratio = Annotated[Constant, Quantity(_units("1"))]
MacRate = Annotated[Constant, Quantity(_units("MAC/cycle"))]
CallCycles = Annotated[Constant, _cycles("call")]
Cycles = Annotated[Constant, Quantity(_units("cycle"), positive=False)]
MacCycles = Annotated[Constant, _cycles("MAC", positive=True)]
OpCycles = Annotated[Constant, _cycles("op", positive=True)]
OutputCycles = Annotated[Constant, _cycles("output")]
ElementCycles = Annotated[Constant, _cycles("element")]
ByteCycles = Annotated[Constant, _cycles("B", positive=True)]
InstructionCycles = Annotated[Constant, _cycles("instruction", positive=True)]
WordCycles = Annotated[Constant, _cycles("word", positive=True)]
"""a word is 32 binary values"""
VectorCycles = Annotated[Constant, _cycles("vector", positive=True)]
ChannelBytes = Annotated[Constant, Quantity(_units("B/channel"), whole=True)]
MacEnergy = Annotated[Constant, Quantity(_units("pJ/MAC", fJ_per_MAC=1e-3, nJ_per_MAC=1e3), positive=False)]
OpEnergy = Annotated[Constant, Quantity(_units("pJ/op", fJ_per_op=1e-3, nJ_per_op=1e3), positive=False)]
WordEnergy = Annotated[Constant, Quantity(_units("pJ/word", nJ_per_word=1e3), positive=False)]
"""a word is an access of 64 bits"""
ByteEnergy = Annotated[Constant, Quantity(_units("pJ/B", fJ_per_B=1e-3, nJ_per_B=1e3), positive=False)]
Power = Annotated[Constant, Quantity(_units("W", mW=1e-3, uW=1e-6), positive=False)]
Volt = Annotated[Constant, Quantity(_units("V", mV=1e-3))]
CurrentPerHertz = Annotated[Constant, Quantity(_units("A/Hz", uA_per_MHz=1e-12, mA_per_MHz=1e-9), positive=False)]

S = TypeVar("S", bound=msgspec.Struct)


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ProfileError: if it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise ProfileError(f"{path}: cannot be read: {e}") from None
    except tomllib.TOMLDecodeError as e:
        raise ProfileError(f"{path}: not TOML: {e}") from None


def decode(
    path: Path, kinds: Mapping[str, type[S]], complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda raw: raw
) -> S:
    """The profile in a TOML file, as the struct that its ``kind`` names, with all constants in base units.

    ``complete`` adds to the tables what the file leaves to others.

    Raises:
        ProfileError: if the file cannot be read, or a key is unknown, missing, of the wrong type, unit or range.
    """
    raw = complete(read(path))
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ProfileError(f"{path}: key kind: got {kind!r}; allowed: {listed(sorted(kinds))}")
    struct = kinds[kind]
    _check_keys(raw, struct, str(path), "")
    try:
        profile = msgspec.convert(raw, struct, strict=True)
    except msgspec.ValidationError as e:
        where = re.search(r" - at `\$\.?(.*)`$", str(e))
        key = where.group(1) if where else ""
        said = str(e)[: where.start()] if where else str(e)
        raise ProfileError(f"{path}: key {key}: got {_lookup(raw, key)!r}; {said[:1].lower()}{said[1:]}") from None
    return _in_base_units(profile, str(path), "")


def _lookup(raw: Any, key: str) -> object:  # noqa: ANN401  (whatever TOML holds)
    for part in filter(None, re.split(r"[.\[\]]+", key)):
        if isinstance(raw, dict):
            raw = raw.get(part, "nothing")
        elif isinstance(raw, list) and part.isdigit():
            raw = raw[int(part)]
    return raw


def _struct_of(hint: object) -> type[msgspec.Struct] | None:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else None


def _children(hint: object, value: object, key: str) -> list[tuple[str, object, object]]:
    """``(key, hint, value)`` of the tables inside a table of tables; otherwise the value itself."""
    if get_origin(hint) in (dict, Mapping) and isinstance(value, dict):
        return [(f"{key}.{k}", get_args(hint)[1], v) for k, v in value.items()]
    return [(key, hint, value)]


def _check_keys(raw: object, struct: type[msgspec.Struct], file: str, path: str) -> None:
    if not isinstance(raw, dict):
        example = " such as { value = 1, unit = '...', source = '...' }" if struct is Constant else ""
        raise ProfileError(f"{file}: key {path}: got {raw!r}; allowed: a table{example}")
    hints = get_type_hints(struct, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(struct)}
    for name in raw:
        if name not in fields:
            key = f"{path}.{name}" if path else name
            close = difflib.get_close_matches(name, fields, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise ProfileError(f"{file}: key {key}: unknown, got {raw[name]!r}; allowed: {listed(fields)}{meant}")
    for name, f in fields.items():
        key = f"{path}.{name}" if path else name
        if name not in raw:
            if f.required:
                raise ProfileError(f"{file}: key {key}: missing; a {struct.__name__} needs {listed(fields)}")
            continue
        for child, hint, value in _children(hints[f.name], raw[name], key):
            inner = _struct_of(hint)
            if inner is not None:
                _check_keys(value, inner, file, child)


def _in_base_units(struct: S, file: str, path: str) -> S:
    hints = get_type_hints(type(struct), include_extras=True)
    changed: dict[str, Any] = {}
    for f in msgspec.structs.fields(struct):
        value: object = getattr(struct, f.name)
        key = f"{path}.{f.name}" if path else f.name
        if isinstance(value, Constant):
            changed[f.name] = _convert(value, get_args(hints[f.name])[1], file, key)
        elif isinstance(value, msgspec.Struct):
            changed[f.name] = _in_base_units(value, file, key)
        elif isinstance(value, dict):
            changed[f.name] = {k: _in_base_units(v, file, f"{key}.{k}") for k, v in value.items()}
    return msgspec.structs.replace(struct, **changed)


def _convert(c: Constant, quantity: Quantity, file: str, key: str) -> Constant:
    if c.unit not in quantity.units:
        raise ProfileError(f"{file}: key {key}.unit: got {c.unit!r}; allowed: {listed(quantity.units)}")
    if not c.source.strip():
        raise ProfileError(f"{file}: key {key}.source: got {c.source!r}; allowed: where the value comes from")
    factor, base = quantity.units[c.unit]
    value = c.value * factor
    bad = not math.isfinite(value) or value < 0 or (quantity.positive and value == 0)
    if bad or (quantity.whole and value != int(value)):
        whole = "a whole number " if quantity.whole else "a finite number "
        bound = "above 0" if quantity.positive else "of at least 0"
        raise ProfileError(f"{file}: key {key}.value: got {c.value!r} {c.unit}; allowed: {whole}{bound}")
    return Constant(value, base, c.source)


def constants(struct: msgspec.Struct, path: str = "") -> list[tuple[str, Constant]]:
    """All constants of a profile with their keys: what an estimate rests on."""
    found: list[tuple[str, Constant]] = []
    for f in msgspec.structs.fields(struct):
        value, key = getattr(struct, f.name), f"{path}.{f.name}" if path else f.name
        if isinstance(value, Constant):
            found.append((key, value))
        elif isinstance(value, msgspec.Struct):
            found += constants(value, key)
        elif isinstance(value, dict):
            for k, v in value.items():
                found += constants(v, f"{key}.{k}")
    return found
