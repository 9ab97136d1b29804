"""What was found, in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fxsim.diagnose.quirks import tell
from fxsim.names import counted

if TYPE_CHECKING:
    from fxsim.diagnose.explain import Explanation, Finding

FEW = 3
"""with fewer elements that separate it, a finding is weak"""
SHOWN = 3
"""kinds that are told in words"""


def verdict(f: "Finding") -> tuple[str, str]:
    """``(confidence, words)`` of one layer."""
    if f.status == "equal":
        return "", "equal"
    if f.status == "not in the dump":
        return "", "not in the dump"
    if f.status == "within":
        return "", "differs; its inputs are not in the dump, so that the layers before it count too"
    if f.outcome is None or f.users is None:
        return "whole dump", f"as {', '.join(f.profiles)} computes"
    if f.status == "nothing fits":
        misses, settings = f.outcome.nearest[0] if f.outcome.nearest else (f.outcome.tried, f.users)
        near = tell(settings, f.users)[0] if settings != f.users else "your simulation"
        return (
            "nothing fits",
            f"nothing fits; the nearest, {near}, misses {misses} of {f.outcome.tried} sampled elements",
        )
    device, yours = tell(f.members[0].settings, f.users)
    return confidence(f), f"{device}; your simulation: {yours}"


def confidence(f: "Finding") -> str:
    """How surely the first of the class is the device's: what else fits, and how many elements told the nearest rival off."""
    assert f.outcome is not None
    count, told, tried = len(f.members), f.separating, f.outcome.tried
    kinds = len(f.kinds) if f.decided else count
    if kinds > 1:
        fit = f"simplest of {kinds:,} {'kinds of arithmetic' if f.decided else 'arithmetics'} that fit"
    else:
        fit = "alone fits" if count == 1 else f"alone fits, written in {count:,} ways"
    if not told:
        return f"{fit}; weak: none of {tried:,} elements tells any shipped arithmetic off"
    weak = "weak: " if told < FEW else ""
    return f"{fit}; {weak}{told:,} of {tried:,} elements tell{'s' if told == 1 else ''} the nearest other off"


def kinds_words(f: "Finding") -> str:
    """What the data of a layer could not tell apart, the simplest first, in words."""
    kinds, users = f.kinds, f.users
    assert users is not None
    lines = [f"layer {f.layer} {f.op}: {len(kinds):,} kinds of arithmetic fit this data, the simplest first:"]
    said: dict[str, None] = {}
    for kind in kinds:
        said.setdefault(tell(kind[0], users)[0])
        if len(said) == SHOWN:
            break
    lines += [f"  {n}. {words}" for n, words in enumerate(said, 1)]
    rest = sum(tell(kind[0], users)[0] not in said for kind in kinds)
    return "\n".join([*lines, f"  and {rest:,} more"] if rest else lines)


def spans(layers: Sequence[int]) -> str:
    """``2-4, 7``."""
    runs: list[list[int]] = []
    for n in layers:
        if runs and runs[-1][-1] == n - 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def network_words(e: "Explanation") -> str:
    """Layers of one finding together."""
    known = [f for f in e.findings if f.status != "not in the dump"]
    if e.equal:
        which = "all that the device answered" if e.queries else f"the dump's {counted(len(known), 'layer')}"
        return f"equal to {e.users.name} in every bit: {which}"
    groups: dict[tuple[str, str], list[Finding]] = {}
    for f in e.differing:
        groups.setdefault((f.op, shared(e, f)), []).append(f)
    lines = []
    for (op, words), several in groups.items():
        layers = [f.layer for f in several]
        missed, total = sum(f.mismatches for f in several), sum(f.elements for f in several)
        name = "layer" if len(layers) == 1 else "layers"
        least = min((f for f in several if f.members), key=lambda f: f.separating, default=None)
        told = f"; {confidence(least)}" if least is not None and least.outcome is not None else ""
        where = f" in layer {least.layer}" if told and len(several) > 1 and least is not None else ""
        lines.append(f"{name} {spans(layers)} {op}: {words} ({missed:,} of {total:,} elements differ{told}{where})")
    if e.numerics and e.numerics[0] != e.users.name:
        which = "could be judged alone" if any(f.status == "within" for f in e.differing) else "differs"
        lines.append(f"profiles that explain every layer that {which}: {', '.join(e.numerics)}")
    return "\n".join(lines)


def shared(e: "Explanation", f: "Finding") -> str:
    """The words of the arithmetic that the whole network's explanation has for this layer."""
    if f.users is not None and f.members and e.whole:
        for name in e.numerics:
            for m in f.members:
                if name in m.profiles:
                    device, yours = tell(m.settings, f.users)
                    return f"{device}; your simulation: {yours}"
    return verdict(f)[1]
