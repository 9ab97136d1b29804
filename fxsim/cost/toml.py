"""A profile or an evidence file as TOML text, such as :func:`fxsim.cost.profiles.load` reads."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from fxsim.cost.quantity import Constant


def dump(profile: msgspec.Struct | Mapping[str, Any]) -> str:
    """The text of a profile, or of other tables: plain keys first, then its tables."""
    lines: list[str] = []
    _table(_fields(profile) if isinstance(profile, msgspec.Struct) else profile, "", lines)
    return "\n".join(lines) + "\n"


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    found = {}
    for f in msgspec.structs.fields(struct):
        value = getattr(struct, f.name)
        default = f.default_factory() if f.default_factory is not msgspec.NODEFAULT else f.default
        if f.required or value != default:
            found[f.encode_name] = value
    return found


def _table(values: Mapping[str, Any], path: str, lines: list[str]) -> None:
    tables = {}
    for key, value in values.items():
        if isinstance(value, Constant):
            lines.append(f"{key} = {_inline(value)}")
        elif isinstance(value, msgspec.Struct):
            tables[key] = _fields(value)
        elif isinstance(value, Mapping):
            tables[key] = dict(value)
        else:
            lines.append(f"{key} = {_scalar(value)}")
    for key, inner in tables.items():
        if not inner:
            continue
        name = f"{path}.{_key(key)}" if path else _key(key)
        if any(not isinstance(v, msgspec.Struct | Mapping) or isinstance(v, Constant) for v in inner.values()):
            lines += ["", f"[{name}]"]
        _table(inner, name, lines)


def _inline(c: Constant) -> str:
    return f"{{ value = {_scalar(c.value)}, unit = {_scalar(c.unit)}, source = {_scalar(c.source)} }}"


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def _scalar(value: object) -> str:
    """A TOML value: TOML's strings and lists are written as JSON writes them."""
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, tuple | list):
        return f"[{', '.join(_scalar(v) for v in value)}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
