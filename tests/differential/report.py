"""What the rounds of a differential run add up to: engine x op x type, as a Markdown report."""

import importlib.metadata
import platform
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fxsim.files import atomic_write
from tests.differential.corpus import Compared

ENGINES = ("ai-edge-litert", "tflite-micro", "onnxruntime")
TITLES = {"tflite": "TFLite", "onnx": "ONNX"}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class Totals:
    """The sum of many tallies (see :class:`tests.live.cases.Tally`)."""

    def __init__(self) -> None:
        self.cases = self.elements = self.ties = self.clamped = 0
        self.equal = True
        self.rows: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        """(test, engine) -> cases, elements, ..."""
        self.kinds: dict[str, Counter[str]] = defaultdict(Counter)
        """op and type -> engine -> elements"""
        self.reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def add(self, tally: dict[str, Any]) -> None:
        """Takes in one tally."""
        row = self.rows[tally["op"], tally["engine"]]
        row["tolerated"] += tally.get("tolerated", 0)
        for key in ("cases", "elements", "ties", "clamped"):
            row[key] += tally[key]
            setattr(self, key, getattr(self, key) + tally[key])
        row["mismatches"] += not tally["equal"]
        self.equal &= tally["equal"]
        for who in ("refused", "unsupported"):
            row[who] += sum(tally[who].values())
            self.reasons[who, tally["engine"]].update(tally[who])
        for kind, elements in tally["kinds"].items():
            self.kinds[kind][tally["engine"]] += elements

    def summary(self) -> str:
        """One sentence."""
        wrong = sum(r["mismatches"] for r in self.rows.values())
        compared = self.cases - sum(r["refused"] + r["unsupported"] for r in self.rows.values())
        return (
            f"{self.cases:,} cases, of which {compared:,} ran on both sides: {self.elements:,} elements, {self.ties:,} ties, "
            f"{self.clamped:,} clamped; {wrong} ops with a mismatch"
        )


def _table(headings: list[str], rows: list[list[object]]) -> list[str]:
    cells = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]
    return ["| " + " | ".join(r) + " |" for r in (headings, ["---"] * len(headings), *cells)]


def text(found: Mapping[str, Totals], recorded: Sequence[Compared], command: str) -> str:
    """The report."""
    lines = ["# Bit exactness", "", f"Made by `{command}`.", ""]
    packages = ", ".join(f"{p} {_version(p)}" for p in ENGINES)
    lines += [f"{packages}; {platform.machine()}, Python {platform.python_version()}."]
    if recorded:
        lines += ["", "## Recorded models", "", *_recorded(recorded)]
    for kind, totals in found.items():
        lines += ["", f"## Generated {TITLES[kind]} models", "", totals.summary() + ".", "", *_generated(totals)]
    return "\n".join(lines) + "\n"


def _recorded(recorded: Sequence[Compared]) -> list[str]:
    lines = ["All tensors of `litert-reference`, the outputs of the other engines."]
    names, rows = sorted({c.engine for c in recorded}), []
    for engine in names:
        mine = [c for c in recorded if c.engine == engine]
        ran = [c for c in mine if not c.note]
        row = [len(mine), len(ran), sum(c.mismatches == 0 for c in ran)]
        rows.append([engine, *row, sum(c.elements for c in ran), sum(c.mismatches for c in ran)])
    lines += ["", *_table(["engine", "models", "compared", "equal", "elements", "elements that differ"], rows)]
    rest = [[c.model, c.engine, c.note or f"{c.mismatches:,} of {c.elements:,} elements differ"]
            for c in recorded if c.note or c.mismatches]  # fmt: skip
    return [*lines, "", *_table(["not equal or not compared", "engine", "why"], rest)] if rest else lines


def _generated(totals: Totals) -> list[str]:
    engines = sorted({e for _, e in totals.rows})
    lines = ["### Elements compared, by op and type", ""]
    lines += _table(
        ["op, type", *engines],
        [[k, *(by.get(e, 0) for e in engines)] for k, by in sorted(totals.kinds.items())],
    )
    keys = ("cases", "elements", "ties", "clamped", "refused", "unsupported", "tolerated", "mismatches")
    legend = (
        "`refused`: by the engine; `unsupported`: by fxsim; `tolerated`: elements of float layers off by last bits."
    )
    sums = {e: sum((row for (_, by), row in totals.rows.items() if by == e), Counter()) for e in engines}
    lines += ["", "### Cases, by engine", "", legend, ""]
    lines += _table(["engine", *keys], [[e, *(row[k] for k in keys)] for e, row in sums.items()])
    wrong = [[*name, row["mismatches"]] for name, row in sorted(totals.rows.items()) if row["mismatches"]]
    if wrong:
        lines += ["", "### Mismatches", "", *_table(["test", "engine", "rounds with a mismatch"], wrong)]
    for who, title in (("refused", "What the engines refused"), ("unsupported", "What fxsim refused")):
        rows = [(e, r, n) for (w, e), c in sorted(totals.reasons.items()) if w == who for r, n in c.most_common(40)]
        if rows:
            clean = [[e, n, " ".join(r.replace("|", "/").split())[:200]] for e, r, n in rows]
            lines += ["", f"### {title}", "", *_table(["engine", "cases", "reason"], clean)]
    return lines


def write(path: Path, found: Mapping[str, Totals], recorded: Sequence[Compared], command: str) -> None:
    """Writes the report."""
    atomic_write(path, text(found, recorded, command).encode())
