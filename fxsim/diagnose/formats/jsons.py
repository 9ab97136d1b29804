"""JSON dumps: Polygraphy's saved results, and plain lists by name."""

import base64
import binascii
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fxsim.diagnose.formats.base import Entry, smallest
from fxsim.errors import DumpError, NoArrays
from fxsim.model.qtype import Array


def read(path: Path) -> list[Entry]:
    """Every array in the file, under the name that is nearest to it."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as e:
        raise DumpError(f"{path}: is not JSON: {e}") from None
    found = list(_arrays(content, path.stem, str(path)))
    if not found:
        raise NoArrays(f"{path}: holds no array; allowed: Polygraphy's results, or lists of numbers by name")
    names = [e.name for e in found]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DumpError(
            f"{path}: holds {names.count(twice[0])} arrays named {twice[0]!r} (several runners or iterations); "
            "allowed: one of each"
        )
    return found


def _arrays(value: Any, name: str, where: str) -> Iterator[Entry]:  # noqa: ANN401
    """Polygraphy writes an array as ``{"array": base64 of .npy data}``, at any depth."""
    if isinstance(value, dict):
        encoded = value.get("array")
        if isinstance(encoded, str):
            yield Entry(name, _npy(encoded, f"{where}, {name!r}"), name)
            return
        wrapped = {"values", "array", "data"}
        for key, inner in value.items():
            yield from _arrays(inner, name if key in wrapped else str(key), where)
    elif isinstance(value, list):
        shaped = _numbers(value)
        if shaped is not None:
            yield Entry(name, shaped, name, exact=False)
            return
        for inner in value:
            yield from _arrays(inner, name, where)


def _npy(encoded: str, where: str) -> Array:
    try:
        data = base64.b64decode(encoded.encode(), validate=True)
        result: Array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, binascii.Error, OSError) as e:
        raise DumpError(f"{where}: is no base64 of .npy data: {e}") from None
    return result


def _numbers(value: list[Any]) -> Array | None:
    """A list of numbers, nested evenly, or None."""
    shape: list[int] = []
    flat: list[Any] = [value]
    while flat and all(isinstance(v, list) for v in flat):
        sizes = {len(v) for v in flat}
        if len(sizes) != 1:
            return None
        shape.append(sizes.pop())
        flat = [x for v in flat for x in v]
    if not flat or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in flat):
        return None
    return smallest(flat).reshape(shape)
