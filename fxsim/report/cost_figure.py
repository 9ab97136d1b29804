"""The figure of a cost: time and energy of each layer, roofline, memory over time."""

from typing import TYPE_CHECKING

from fxsim.cost.energy import HOST as HOST_COLUMN
from fxsim.report import memory_figure, roofline_figure
from fxsim.report.figures import HOST, IDLE, PALETTE, bare, legend, new_figure, plain, resource_colours
from fxsim.report.units import ENERGIES, SIZES, TIMES, amount, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from fxsim.report.cost import Cost

WIDTH, BAR_INCHES, MARGIN, BELOW = 13.0, 0.22, 1.7, 5.0
"""inches: of the figure, of a layer's bar, around the bars, of the panels below them"""


def draw(cost: "Cost") -> "Figure":
    """All panels on one figure."""
    bars = _bars_height(cost)
    figure = new_figure(WIDTH, bars + BELOW)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(bars, BELOW))[:, 0]
    draw_layers(upper, cost, bars)
    left, right = lower.subfigures(1, 2, squeeze=False)[0]
    roofline_figure.draw(left, cost)
    memory_figure.draw(right, cost)
    figure.suptitle(title(cost), fontsize=11)
    return figure


def layers(cost: "Cost") -> "Figure":
    """Time and energy of each layer alone."""
    height = _bars_height(cost)
    figure = new_figure(WIDTH, height)
    draw_layers(figure, cost, height)
    return figure


def title(cost: "Cost") -> str:
    """Model, target and totals in a line."""
    total, name = cost.totals(), plain(f"{cost.model} on {cost.target.name}")
    if not total["cycles"]:
        return f"{name}: nothing to compute"
    host = total.get(HOST_COLUMN, 0.0)
    beside = f" and {amount(host, ENERGIES)} of the host" if host else ""
    return (
        f"{name}: {total['cycles']:,} cycles, {amount(total['time_us'] / 1e6, TIMES)}, "
        f"{amount(total['energy_pj'], ENERGIES)}{beside}, peak RAM {amount(total['peak_ram_bytes'], SIZES)}, "
        f"flash {amount(total['flash_bytes'], SIZES)}"
    )


def _bars_height(cost: "Cost") -> float:
    return max(3.2, BAR_INCHES * sum(1 for c in cost.layers if c.estimate.cycles) + MARGIN)


def draw_layers(figure: "Figure | SubFigure", cost: "Cost", height: float) -> None:
    """Two panels with one bar a layer; layers that cost nothing are left out."""
    rows = [r for r in cost.rows() if r["cycles"]]
    time, energy = figure.subplots(1, 2, sharey=True, width_ratios=(5, 4))
    inner = height - MARGIN + 0.4
    _time(time, inner, cost)
    _energy(energy, inner, cost, rows)
    away = {r["layer"]: f" ({r['runs_on']})" for r in rows if r["runs_on"] != cost.target.profile.name}
    labels = [f"{r['layer']}  {r['op']}{away.get(r['layer'], '')}" for r in rows]
    time.set_yticks(range(len(rows)), labels, fontsize=8)
    time.set_ylim(len(rows) - 0.4, -0.6)
    for axes in (time, energy):
        bare(axes, "x")
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(left=0)


def _stack(axes: "Axes", series: list[tuple[str, list[float], str, str]]) -> list[tuple[str, str]]:
    """Bars upon each other: label, values, colour, hatch; returns the legend of those that are not all nothing."""
    left = [0.0] * len(series[0][1])
    shown = []
    for label, values, colour, hatch in series:
        if any(values):
            axes.barh(range(len(values)), values, left=left, color=colour, height=0.75, hatch=hatch, edgecolor="white",
                      linewidth=0)  # fmt: skip
            shown.append((label, colour))
        left = [a + b for a, b in zip(left, values, strict=True)]
    return shown


def _time(axes: "Axes", height: float, cost: "Cost") -> None:
    running = [c for c in cost.layers if c.estimate.cycles]
    unit, factor = scale([c.time_s for c in running], TIMES)
    spent = [cost.spent(c) for c in running]
    colours = resource_colours(cost) | {"host": HOST}
    names = {"compute": "computing", "host": "on the host"}
    series = [
        (names.get(k, f"waiting for {k}"), [s.get(k, 0.0) * factor for s in spent], colour, "")
        for k, colour in colours.items()
    ]
    shown = _stack(axes, series)
    axes.set_xlabel(f"time ({unit})")
    axes.set_title("Time, by what it goes to", fontsize=10)
    legend(axes, height, shown)


def _energy(axes: "Axes", height: float, cost: "Cost", rows: list[dict[str, float]]) -> None:
    unit, factor = scale([max(r["energy_pj"], r.get(HOST_COLUMN, 0.0)) for r in rows], ENERGIES)
    colours = {f"{k}_pj": v for k, v in resource_colours(cost).items()}
    other = {"mac_pj": PALETTE[0], "core_pj": PALETTE[0], "idle_pj": IDLE}
    series = [
        (k.removesuffix("_pj"), [r[k] * factor for r in rows], (other | colours)[k], "") for k in cost.energy_parts
    ]
    if any(r.get(HOST_COLUMN) for r in rows):
        series.append(("host (whole chip, not added)", [r[HOST_COLUMN] * factor for r in rows], HOST, "////"))
    shown = _stack(axes, series)
    axes.set_xlabel(f"energy ({unit})")
    axes.set_title("Energy, by part", fontsize=10)
    legend(axes, height, shown)
