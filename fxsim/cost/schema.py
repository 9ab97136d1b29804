"""The JSON Schema of all hardware profiles, published as ``hwprofiles/schema.json``.

    python -m fxsim.cost.schema > hwprofiles/schema.json

An editor that knows it completes and checks the TOML files; fxsim itself checks more (ranges, memories, peak rates).
"""

import json
import sys
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from fxsim.cost.mcu_library import Core, Library
from fxsim.cost.profiles import FAMILIES
from fxsim.cost.quantity import Quantity
from fxsim.cost.technology import Technology

KINDS: dict[str, type[msgspec.Struct]] = {**FAMILIES, "core": Core, "library": Library, "technology": Technology}
"""what ``kind`` says -> the tables of the file"""


def _structs(found: type[msgspec.Struct], seen: dict[str, type[msgspec.Struct]]) -> None:
    """All structs that a struct consists of, by name."""
    if found.__name__ in seen:
        return
    seen[found.__name__] = found
    for hint in get_type_hints(found, include_extras=True).values():
        for part in _parts(hint):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                _structs(part, seen)


def _parts(hint: object) -> list[object]:
    if get_origin(hint) is Annotated:
        return [get_args(hint)[0]]
    return [hint, *(p for a in get_args(hint) for p in _parts(a))]


def _with_units(field: dict[str, Any], quantity: Quantity) -> dict[str, Any]:
    """A constant's field: only its units are allowed, and no value below its range."""
    least = {"exclusiveMinimum": 0} if quantity.positive else {"minimum": 0}
    return {"allOf": [field], "properties": {"unit": {"enum": list(quantity.units)}, "value": least}}


def schema() -> dict[str, Any]:
    """The schema: one of the kinds, each with its tables."""
    roots, parts = msgspec.json.schema_components(KINDS.values(), ref_template="#/$defs/{name}")
    structs: dict[str, type[msgspec.Struct]] = {}
    for kind in KINDS.values():
        _structs(kind, structs)
    for name, found in structs.items():
        properties = parts[name]["properties"]
        for field, hint in get_type_hints(found, include_extras=True).items():
            quantities = (
                [a for a in get_args(hint)[1:] if isinstance(a, Quantity)] if get_origin(hint) is Annotated else []
            )
            if quantities:
                properties[field] = _with_units(properties[field], quantities[0])
    for name, root in KINDS.items():
        parts[root.__name__]["properties"]["kind"] = {"const": name}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fxsim hardware profile",
        "oneOf": list(roots),
        "$defs": dict(sorted(parts.items())),
    }


def text() -> str:
    """The file's text."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
