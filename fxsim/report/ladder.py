"""Pictures of a ladder: accuracy against what each rung costs."""

import os
from typing import TYPE_CHECKING

from fxsim.report.units import ENERGIES, SIZES, TIMES, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fxsim.choose.ladder import Ladder

COLOURS = {"none": "#8a8f98", "corrected": "#1f6feb", "trained": "#2a7f62"}
MARKS = {"none": "o", "corrected": "s", "trained": "^"}
WIDE = 8
"""ratio from which an axis is logarithmic"""
RESOURCES = (
    ("flash_bytes", "flash", SIZES, 1.0),
    ("time_us", "time", TIMES, 1e-6),
    ("energy_pj", "energy", ENERGIES, 1.0),
)


def draw(ladder: "Ladder") -> "Figure":
    """Accuracy by rung, and against flash, time and energy with the front of what nothing beats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.6), layout="constrained")
    rooms = figure.subfigures(2, 1, height_ratios=(1, 1.15), squeeze=False)
    top, bottom = rooms[0, 0], rooms[1, 0]
    ax = top.subplots()
    names = list(dict.fromkeys(r.rung for r in ladder.rungs))
    repairs = list(dict.fromkeys(r.repair for r in ladder.rungs))
    width = 0.8 / len(repairs)
    alone = {n for n in names if sum(r.rung == n for r in ladder.rungs) == 1}
    for k, repair in enumerate(repairs):
        rows = [r for r in ladder.rungs if r.repair == repair]
        at = [names.index(r.rung) + (0 if r.rung in alone else (k - (len(repairs) - 1) / 2) * width) for r in rows]
        bars = ax.bar(at, [100 * r.accuracy for r in rows], width * 0.95, color=COLOURS.get(repair), label=repair)
        ax.bar_label(bars, [f"{100 * r.accuracy:.1f}" for r in rows], fontsize=7, padding=1)
    ax.set_xticks(range(len(names)), names)
    ax.set_ylabel("accuracy, %")
    ax.set_ylim(0, 130)
    ax.legend(title="repair", fontsize=8, title_fontsize=8, ncols=len(repairs), loc="upper right")
    ax.set_title(f"{_plain(ladder.model)} on {ladder.target}: {ladder.examples:,} examples", loc="left", fontsize=11)
    for ax, (field, label, units, factor) in zip(bottom.subplots(1, 3, sharey=True), RESOURCES, strict=True):
        rows = [r for r in ladder.rungs if getattr(r, field) is not None]
        unit, by = scale([getattr(r, field) * factor for r in rows], units)
        for r in rows:
            x = getattr(r, field) * factor * by
            edge = "black" if r.best else "none"
            ax.scatter(
                x, 100 * r.accuracy, color=COLOURS.get(r.repair), marker=MARKS.get(r.repair, "o"), s=42, edgecolors=edge
            )
        front = _front([(getattr(r, field) * factor * by, 100 * r.accuracy, r.rung) for r in rows])
        ax.step([p[0] for p in front], [p[1] for p in front], where="post", color="#444444", linewidth=0.8)
        for x, y, name in front:
            ax.annotate(name, (x, y), xytext=(4, -9), textcoords="offset points", fontsize=7)
        amounts = [getattr(r, field) for r in rows]
        if amounts and max(amounts) > WIDE * min(amounts):
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlabel(f"{label}, {unit}")
        ax.grid(alpha=0.25)
    bottom.axes[0].set_ylabel("accuracy, %")
    return figure


def _front(points: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """The points that are better than all cheaper ones."""
    best, result = -1.0, []
    for p in sorted(points, key=lambda p: (p[0], -p[1])):
        if p[1] > best:
            best = p[1]
            result.append(p)
    return result


def _plain(name: str) -> str:
    return os.path.basename(name).replace("$", r"\$")
