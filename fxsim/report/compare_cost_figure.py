"""The picture of two targets on one network: time of each layer, and what the totals consist of."""

from typing import TYPE_CHECKING

from fxsim.cost.energy import HOST as HOST_COLUMN
from fxsim.report.figures import HOST, IDLE, PALETTE, bare, legend, new_figure, plain
from fxsim.report.units import ENERGIES, TIMES, Steps, amount, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fxsim.report.compare_cost import CostComparison
    from fxsim.report.cost import Cost

A, B = PALETTE[0], PALETTE[1]
LAYER_INCHES, BELOW = 0.34, 3.0
OTHER = {"computing": PALETTE[0], "mac": PALETTE[0], "core": PALETTE[0], "host": HOST, "idle": IDLE}
MEMORIES = PALETTE[1:]


def draw(c: "CostComparison") -> "Figure":
    """Above, two bars a layer; below, the totals of both by what they go to."""
    rows = [r for r in c.rows if r.cycles_a or r.cycles_b]
    bars = max(2.6, LAYER_INCHES * len(rows) + 1.5)
    figure = new_figure(13, bars + BELOW)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(bars, BELOW))[:, 0]
    axes = upper.subplots()
    unit, factor = scale([t for r in rows for t in (r.time_us_a / 1e6, r.time_us_b / 1e6)], TIMES)
    ats = range(len(rows))
    names = [plain(x.target.name) for x in (c.a, c.b)]
    for shift, colour, values in ((-0.2, A, [r.time_us_a for r in rows]), (0.2, B, [r.time_us_b for r in rows])):
        axes.barh([i + shift for i in ats], [v / 1e6 * factor for v in values], height=0.38, color=colour)
    axes.set_yticks(ats, [f"{r.layer}  {r.op}" for r in rows], fontsize=8)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"time ({unit})")
    axes.set_xlim(left=0)
    bare(axes, "x")
    axes.set_title("Time of each layer", fontsize=10)
    legend(axes, bars - 1.3, list(zip(names, (A, B), strict=True)))
    time, energy = lower.subplots(1, 2)
    _totals(time, c, "Time", [_time_parts(x) for x in (c.a, c.b)], TIMES)
    if c.same_world:
        _totals(energy, c, "Energy", [_energy_parts(x) for x in (c.a, c.b)], ENERGIES)
    else:
        _totals(energy, c, "Energy: two worlds, which do not compare", [_energy_parts(x) for x in (c.a, c.b)], ENERGIES,
                each=True)  # fmt: skip
    figure.suptitle(plain(f"{c.a.model}: {c.a.target.name} and {c.b.target.name}"), fontsize=11)
    return figure


def _time_parts(cost: "Cost") -> dict[str, float]:
    total: dict[str, float] = {}
    for layer in cost.layers:
        for k, v in (cost.spent(layer) if layer.estimate.cycles else {}).items():
            name = "computing" if k == "compute" else k
            total[name] = total.get(name, 0.0) + v
    return total


def _energy_parts(cost: "Cost") -> dict[str, float]:
    total = cost.totals()
    parts = {k.removesuffix("_pj"): total[k] for k in cost.energy_parts if k in total}
    return parts | ({"host": total[HOST_COLUMN]} if total.get(HOST_COLUMN) else {})


def _totals(
    axes: "Axes", c: "CostComparison", title: str, sides: list[dict[str, float]], steps: Steps, *, each: bool = False
) -> None:
    """Two bars, each stacked by its parts; ``each`` as shares of its own length. A host's energy is said, not drawn."""
    hosts = [s.get("host", 0.0) if steps is ENERGIES else 0.0 for s in sides]
    sides = [{k: v for k, v in s.items() if v and (k != "host" or steps is TIMES)} for s in sides]
    unit, factor = scale([sum(s.values()) for s in sides], steps)
    factors = [100 / (sum(s.values()) or 1.0) if each else factor for s in sides]
    memories = dict.fromkeys(m for x in (c.a, c.b) for m in x.target.profile.memory)
    colours = OTHER | {m: MEMORIES[i % len(MEMORIES)] for i, m in enumerate(memories)}
    parts = list(dict.fromkeys(k for s in sides for k in s))
    left = [0.0, 0.0]
    for part in parts:
        values = [s.get(part, 0.0) * f for s, f in zip(sides, factors, strict=True)]
        axes.barh((0, 1), values, left=left, color=colours[part], height=0.6)
        left = [a + b for a, b in zip(left, values, strict=True)]
    for y, (end, side, host) in enumerate(zip(left, sides, hosts, strict=True)):
        beside = f", host {amount(host, steps)}" if host else ""
        axes.text(end, y, f" {amount(sum(side.values()), steps)}{beside}", va="center", fontsize=8)
    axes.set_yticks((0, 1), [plain(x.target.name) for x in (c.a, c.b)], fontsize=8)
    axes.set_ylim(1.6, -0.6)
    axes.set_xlim(0, max(*left, 1e-12) * 1.3)
    axes.set_xlabel("% of each" if each else unit)
    axes.set_title(title, fontsize=10)
    axes.tick_params(axis="y", length=0)
    bare(axes, "x")
    legend(axes, BELOW - 1.4, [(p, colours[p]) for p in parts])
