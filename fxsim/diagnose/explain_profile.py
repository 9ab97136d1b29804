"""The found arithmetic as a numerics profile, and as the TOML that makes it again."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fxsim.errors import FxsimError, OutputError
from fxsim.files import atomic_write
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.ops import spec
from fxsim.numerics import PARTS, NumericsProfile, OpNumerics, list_numerics, load_numerics
from fxsim.sim.delegate import takes

if TYPE_CHECKING:
    from fxsim.diagnose.explain import Finding

NAME = "found"


def found_profile(graph: Graph, users: NumericsProfile, findings: "Sequence[Finding]") -> NumericsProfile:
    """The user's profile with the found arithmetic of every op that differs: what most of its layers agree on."""
    ops, delegated = dict(users.ops), dict(users.delegate.ops) if users.delegate else {}
    nodes = {n.index: n for n in graph.nodes}
    votes: dict[tuple[str, bool], Counter[OpNumerics]] = {}
    for f in findings:
        if f.members:
            place = _key(graph, nodes[f.layer], users)
            votes.setdefault(place, Counter()).update(dict.fromkeys((m.settings for m in f.members), 1))
    for (key, by_delegate), votes_of in votes.items():
        (delegated if by_delegate else ops)[key] = votes_of.most_common(1)[0][0]
    delegate = msgspec.structs.replace(users.delegate, ops=delegated) if users.delegate else None
    return msgspec.structs.replace(
        users, name=NAME, description=f"{users.name}, changed to what a device was found to do", verified="none",
        against="", ops=ops, delegate=delegate,
    )  # fmt: skip


def _key(graph: Graph, node: Node, users: NumericsProfile) -> tuple[str, bool]:
    data = node.inputs[spec(node.op).data_input] if node.inputs else ABSENT
    dtype = graph.tensors[data].qtype.name if data != ABSENT else ""
    by_delegate = users.delegate is not None and takes(users.delegate.name, graph, node)
    return f"{node.op}:{dtype}", by_delegate


def write(profile: NumericsProfile, path: str | os.PathLike[str]) -> None:
    """Writes a profile whole, every op with all that is not the default.

    Raises:
        FxsimError: on another suffix than ``.toml``; OutputError if the file cannot be written.
    """
    if Path(path).suffix.lower() != ".toml":
        raise FxsimError(f"{os.fspath(path)}: got the suffix {Path(path).suffix!r}; allowed: '.toml'")
    if profile.real is not None:
        raise OutputError(f"{os.fspath(path)}: real arithmetic is not written; allowed: profiles of integers")
    atomic_write(path, text(profile).encode())


def text(profile: NumericsProfile) -> str:
    """The TOML of a profile: a shipped one by its name, any other in full."""
    if profile.name in list_numerics() and profile == load_numerics(profile.name):
        return f'base = "{profile.name}"\nname = "{profile.name}"\n'
    lines = [
        f"{f} = {json.dumps(getattr(profile, f))}" for f in ("name", "description", "rewrite") if getattr(profile, f)
    ]
    if profile.only:
        lines.append(f"only = {json.dumps(profile.only)}")
    lines += [f"{flag} = true" for flag in ("symmetric", "any_bits") if getattr(profile, flag)]
    for part in PARTS:
        _table(lines, part, changed(getattr(profile, part)))
    general = OpNumerics(profile.accumulator, profile.requantize, operands=profile.operands)
    _ops(lines, "ops", profile.ops, general)
    if profile.delegate is not None:
        lines += ["", "[delegate]", f"name = {json.dumps(profile.delegate.name)}"]
        _ops(lines, "delegate.ops", profile.delegate.ops, general)
    return "\n".join(lines) + "\n"


def _ops(lines: list[str], where: str, ops: dict[str, OpNumerics], general: OpNumerics) -> None:
    for key, settings in sorted(ops.items()):
        under = ops.get(key.partition(":")[0], general) if ":" in key else general
        lines += ["", f"[{where}.{json.dumps(key)}]"]
        lines += [
            f"{part} = {_inline(struct)}"
            for part in PARTS
            if (struct := changed(getattr(settings, part), getattr(under, part)))
        ]
        if settings.variant != under.variant:
            lines.append(f"variant = {json.dumps(settings.variant)}")


def changed(struct: msgspec.Struct, other: msgspec.Struct | None = None) -> dict[str, Any]:
    """The fields that are not as in ``other``, by default as at first."""
    base = type(struct)() if other is None else other
    return {
        f.name: v for f in msgspec.structs.fields(struct) if (v := getattr(struct, f.name)) != getattr(base, f.name)
    }


def _table(lines: list[str], name: str, fields: dict[str, Any]) -> None:
    if fields:
        lines += ["", f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in fields.items())]


def _inline(fields: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in fields.items()) + " }"
