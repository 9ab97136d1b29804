"""The picture of the arena plan over time: layers from left to right, a rectangle for each tensor at its offset."""

from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from fxsim.names import short_name
from fxsim.report.figures import LIMIT, PALETTE, bare, legend, new_figure, plain
from fxsim.report.units import SIZES, amount, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from fxsim.cost.memory import Buffer
    from fxsim.report.cost import Cost

WIDTH, HEIGHT = 6.5, 5.0
LETTER, LINE = 0.058, 0.13
"""inches of a small letter and of a line of them"""
READABLE, TELLING = 12, 5
"""letters of a place from which on it can hold a name, and of a name that say too little; the size stands there then"""
SHADES = (PALETTE[5], "#8fc3cf", "#3f8a9c")
"""in turn, so that neighbours can be told apart"""
SCRATCH = "#d9a05b"
NEAR = 1.6
"""a memory of less than so many arenas is drawn as a limit"""


def figure(cost: "Cost") -> "Figure":
    """The plan alone."""
    found = new_figure(WIDTH * 1.6, HEIGHT)
    draw(found, cost, WIDTH * 1.6)
    return found


def draw(figure: "Figure | SubFigure", cost: "Cost", width: float = WIDTH) -> None:
    """The plan on a figure of that width, in inches."""
    axes = figure.subplots()
    bare(axes, "y")
    plan, last = cost.plan, len(cost.layers)
    limit = cost.totals()["ram_size_bytes"]
    top = max(plan.peak_ram_bytes, 1)
    shown = limit if limit < NEAR * top else 0
    unit, factor = scale([float(top)], SIZES)
    axes.set_xlim(-0.5, max(last, 1) - 0.5)
    axes.set_ylim(0, max(top, shown) * factor * 1.12)
    per_layer = (width - 1.2) / max(last, 1)
    per_unit = (HEIGHT - 1.5) / (max(top, shown) * factor * 1.12)
    scratch = False
    for i, (buffer, offset) in enumerate(sorted(plan.placements, key=lambda p: (p[0].first, p[1]))):
        mine = buffer.name.startswith("scratch of layer")
        scratch = scratch or mine
        _rectangle(axes, buffer, offset, factor, SCRATCH if mine else SHADES[i % len(SHADES)], per_layer, per_unit)
    live = [b * factor for b in plan.live_bytes]
    if live:
        axes.stairs(live, [i - 0.5 for i in range(last + 1)], color="#333333", linewidth=1.0)
        at = plan.live_bytes.index(max(plan.live_bytes))
        axes.plot(at, live[at], marker="v", color=LIMIT, markersize=7, markeredgecolor="white", zorder=5)
    for size, words, style in ((plan.arena_bytes, "arena", "--"), (shown, "RAM of the target", "-")):
        if size:
            axes.axhline(size * factor, color=LIMIT, linewidth=1.1, linestyle=style)
            right = axes.get_xlim()[1]
            axes.text(
                right,
                size * factor,
                f"{words}: {amount(size, SIZES)} ",
                fontsize=8,
                color=LIMIT,
                ha="right",
                va="bottom",
            )
    axes.set_xlabel("layer")
    axes.set_ylabel(f"offset in the arena ({unit})")
    busiest = f", most in use at layer {plan.live_bytes.index(max(plan.live_bytes))}" if live else ""
    axes.set_title(f"RAM over time{busiest}", fontsize=10)
    entries = [("tensor", SHADES[0]), ("in use", "#333333")] + ([("scratch", SCRATCH)] if scratch else [])
    legend(axes, HEIGHT - 1.0, entries)


def _rectangle(
    axes: "Axes", buffer: "Buffer", offset: int, factor: float, colour: str, per_layer: float, per_unit: float
) -> None:
    """A tensor from its first to its last layer, with its name or its size where they fit."""
    spans, size = buffer.last - buffer.first + 1, buffer.size_bytes * factor
    corner = (buffer.first - 0.5, offset * factor)
    axes.add_patch(Rectangle(corner, spans, size, facecolor=colour, edgecolor="white", linewidth=0.8))
    letters = int((spans * per_layer - 0.04) / LETTER)
    words = short_name(buffer.name, letters) if letters >= READABLE else ""
    words = words if len(words) > TELLING else amount(buffer.size_bytes, SIZES)
    if letters >= len(words) and size * per_unit >= LINE:
        middle = corner[0] + spans / 2, corner[1] + size / 2
        axes.text(*middle, plain(words), fontsize=7, ha="center", va="center", clip_on=True)
