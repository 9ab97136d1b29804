"""What was found, in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fxsim.diagnose.quirks import tell

if TYPE_CHECKING:
    from fxsim.diagnose.explain import Explanation, Finding

FEW = 3
"""with fewer elements that separate it, a finding is weak"""


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
        return "none", f"nothing fits; the nearest, {near}, misses {misses} of {f.outcome.tried} sampled elements"
    device, yours = tell(f.members[0].settings, f.users)
    return confidence(f), f"{device}; your simulation: {yours}"


def confidence(f: "Finding") -> str:
    """How surely the first of the class is the device's: by what else fits, and how much told the rest off."""
    assert f.outcome is not None
    others = [m for m, _ in f.outcome.nearest if m]
    if len({m.behaviour for m in f.members if m.behaviour}) == 1 or len(f.members) == 1:
        return "alone"
    return "weak" if not others or min(others) < FEW else "several fit"


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
        return f"all {len(known)} layers in the dump are equal to {e.users.name} in every bit"
    groups: dict[tuple[str, str], list[Finding]] = {}
    for f in e.differing:
        groups.setdefault((f.op, _shared(e, f)), []).append(f)
    lines = []
    for (op, words), several in groups.items():
        layers = [f.layer for f in several]
        missed, total = sum(f.mismatches for f in several), sum(f.elements for f in several)
        name = "layer" if len(layers) == 1 else "layers"
        lines.append(f"{name} {spans(layers)} {op}: {words} ({missed} of {total} elements differ)")
    if e.numerics and e.numerics[0] != e.users.name:
        lines.append(f"profiles that explain every layer that differs: {', '.join(e.numerics)}")
    return "\n".join(lines)


def _shared(e: "Explanation", f: "Finding") -> str:
    """The words of the arithmetic that the whole network's explanation has for this layer."""
    if f.users is not None and f.members:
        for name in e.numerics:
            for m in f.members:
                if name in m.profiles:
                    device, yours = tell(m.settings, f.users)
                    return f"{device}; your simulation: {yours}"
    return verdict(f)[1]
