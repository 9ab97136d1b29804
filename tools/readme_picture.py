"""Draws the README's picture from the demo: where two engines part, and what each layer costs on three targets.

python tools/readme_picture.py docs/fxsim.png
"""

import sys

from matplotlib.figure import Figure

from fxsim import demo
from fxsim.files import atomic_write
from fxsim.report.compare_figure import DIFFERENT, EQUAL, png

COLORS = ("#3567a8", "#e08a3c", "#4c9f6b")


def draw() -> Figure:
    """Two panels over the same layers."""
    story = demo.tell()
    rows = story.parting.rows
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.35))
    at = range(len(rows))
    left.barh(at, [r.mismatches for r in rows], color=DIFFERENT, height=0.66)
    for y, r in enumerate(rows):
        color = DIFFERENT if r.mismatches else EQUAL
        left.text(r.mismatches, y, f"  {r.mismatches} of {r.elements:,}", va="center", color=color, fontsize=9)
    left.set_yticks(at, [f"{r.op}  {r.name}" for r in rows], fontsize=9)
    left.invert_yaxis()
    left.set_xlim(0, 14)
    left.set_xlabel("elements in which LiteRT and TFLM differ (fxsim equals both: 0)")
    left.set_title("every bit of every layer", loc="left", fontsize=11)
    for i, cost in enumerate(story.costs):
        times = [r["time_us"] for r in cost.rows()]
        right.barh([y + (i - 1) * 0.26 for y in at], times, height=0.24, color=COLORS[i], label=cost.target.name)
    right.set_xscale("log")
    right.set_xlabel("estimated time, µs")
    right.set_title("and what it costs before you port", loc="left", fontsize=11)
    right.legend(fontsize=9, frameon=False, loc="lower right")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    atomic_write(sys.argv[1], png(draw()))
