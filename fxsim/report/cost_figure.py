"""The figure of a cost estimate. Uses matplotlib's object interface only: no pyplot, no display, no global state."""

import io
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fxsim.report.units import ENERGIES, SIZES, TIMES, amount, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fxsim.report.cost import Cost

PALETTE = ("#3b6ea8", "#d98032", "#4f9d69", "#a8518a", "#8a7f3c", "#5aa7b8")
IDLE = "#9aa0a6"
BAR_INCHES = 0.22


def draw(cost: "Cost") -> Figure:
    """Three panels with one bar a layer; layers that cost nothing are left out."""
    rows = [r for r in cost.rows() if r["cycles"]]
    total, profile = cost.totals(), cost.target.profile
    height = max(3.4, BAR_INCHES * len(rows) + 2.2)
    figure = Figure(figsize=(13, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(5, 4, 3))
    labels = []
    for r in rows:
        away = "" if r["runs_on"] == profile.name else f" ({r['runs_on']})"
        labels.append(f"{r['layer']}  {r['op']}{away}")
    at = list(range(len(rows)))
    _time(axes[0], height, cost, rows)
    _energy(axes[1], height, cost, rows)
    _memory(axes[2], height, cost, rows)
    axes[0].set_yticks(at, labels, fontsize=8)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    for a in axes:
        a.spines[["top", "right"]].set_visible(False)
        a.grid(axis="x", color="#dddddd", linewidth=0.6)
        a.set_axisbelow(True)
        a.tick_params(axis="y", length=0)
        a.set_xlim(left=0)
    name = cost.model.replace("$", r"\$")
    figure.suptitle(
        f"{name} on {profile.name}: {total['cycles']:,} cycles, {amount(total['time_us'] / 1e6, TIMES)}, "
        f"{amount(total['energy_pj'], ENERGIES)}, peak RAM {amount(total['peak_ram_bytes'], SIZES)}, "
        f"flash {amount(total['flash_bytes'], SIZES)}",
        fontsize=11,
    ) if rows else figure.suptitle(f"{name} on {profile.name}: nothing to compute")
    return figure


def _time(axes: "Axes", height: float, cost: "Cost", rows: list[dict[str, object]]) -> None:
    seconds = [c.time_s for c in cost.layers if c.estimate.cycles]
    unit, factor = scale(seconds, TIMES)
    bounds = ["compute", *cost.target.profile.memories]
    colours = dict(zip(bounds, PALETTE, strict=False))
    shades = [colours[str(r["bound"])] for r in rows]
    axes.barh(range(len(rows)), [s * factor for s in seconds], color=shades, height=0.75)
    axes.set_xlabel(f"time ({unit})")
    axes.set_title("Time, by what binds the layer", fontsize=10)
    used = [b for b in bounds if any(r["bound"] == b for r in rows)]
    _legend(axes, height, [(f"{b} bound", colours[b]) for b in used])


def _energy(axes: "Axes", height: float, cost: "Cost", rows: list[dict[str, object]]) -> None:
    costs = [dict(c.estimate.energy_pj) for c in cost.layers if c.estimate.cycles]
    unit, factor = scale([sum(c.values()) for c in costs], ENERGIES)
    left = [0.0] * len(rows)
    shown = []
    for i, part in enumerate(cost.energy_parts):
        values = [c[part] * factor for c in costs]
        if any(values):
            colour = IDLE if part == "idle_pj" else PALETTE[i % len(PALETTE)]
            axes.barh(range(len(rows)), values, left=left, color=colour, height=0.75)
            shown.append((part.removesuffix("_pj"), colour))
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_xlabel(f"energy ({unit})")
    axes.set_title("Energy, by part", fontsize=10)
    _legend(axes, height, shown)


def _memory(axes: "Axes", height: float, cost: "Cost", rows: list[dict[str, object]]) -> None:
    live = [b for b, c in zip(cost.plan.live_bytes, cost.layers, strict=True) if c.estimate.cycles]
    peak = cost.plan.peak_ram_bytes
    unit, factor = scale([float(peak)], SIZES)
    axes.barh(range(len(rows)), [b * factor for b in live], color=PALETTE[5], height=0.75)
    axes.axvline(peak * factor, color="#b03030", linewidth=1.2, linestyle="--")
    axes.set_xlabel(f"RAM in use ({unit})")
    axes.set_title("RAM while the layer runs", fontsize=10)
    _legend(axes, height, [("live tensors", PALETTE[5]), (f"planned peak {amount(peak, SIZES)}", "#b03030")])


def _legend(axes: "Axes", height: float, entries: list[tuple[str, str]]) -> None:
    """Below the panel, where no bar can be."""
    if entries:
        below = -0.5 / max(height - 2.0, 1.0)
        axes.legend(
            [Patch(color=colour) for _, colour in entries],
            [label for label, _ in entries],
            loc="upper center",
            bbox_to_anchor=(0.5, below),
            ncols=len(entries),
            frameon=False,
            fontsize=8,
            handlelength=1.0,
            columnspacing=1.0,
        )


def image(figure: Figure, kind: str) -> bytes:
    """The figure as a file of that kind: png, svg or pdf."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()
