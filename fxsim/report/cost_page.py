"""Pages of costs that need no other file: of one target, and of two side by side."""

from typing import TYPE_CHECKING

from fxsim.cost.quantity import constants
from fxsim.report import compare_cost_figure, cost_figure, memory_figure, roofline_figure
from fxsim.report.cost import unit_of
from fxsim.report.pages import picture, render
from fxsim.report.units import ENERGIES, TIMES, amount

if TYPE_CHECKING:
    from fxsim.report.compare_cost import CostComparison
    from fxsim.report.cost import Cost


def _ranges(cost: "Cost") -> dict[str, str]:
    """``latency`` and ``energy`` -> the range that nine of ten measured rows would lie in."""
    total, found = cost.totals(), {}
    values = {"latency": (total.get("time_us", 0.0) / 1e6, TIMES), "energy": (total.get("energy_pj", 0.0), ENERGIES)}
    for metric, b in cost.bands.items():
        value, steps = values[metric]
        if b.known:
            high = amount(value / (1 - b.p90), steps) if b.p90 < 1 else "any"
            found[metric] = f"{amount(value / (1 + b.p90), steps)} to {high}"
    return found


def page(cost: "Cost") -> str:
    """Totals, pictures, table, and the constants that it all rests on."""
    profiles = [cost.target.profile] + ([cost.target.host] if cost.target.host else [])
    pictures = {}
    if any(c.estimate.cycles for c in cost.layers):
        pictures = {
            "Time and energy": picture(cost_figure.layers(cost)),
            "Roofline": picture(roofline_figure.figure(cost)),
            "RAM over time": picture(memory_figure.figure(cost)),
        }
    return render(
        "cost.html.j2",
        cost=cost.as_dict(),
        unit_of=unit_of,
        pictures=pictures,
        bands={m: b.sentence() for m, b in cost.bands.items()},
        ranges=_ranges(cost),
        profiles=[(p.name, constants(p)) for p in profiles],
    )


def comparison_page(c: "CostComparison") -> str:
    """Totals, picture and table of two targets."""
    return render(
        "compare_cost.html.j2",
        title=f"{c.a.model}: {c.a.target.name} and {c.b.target.name}",
        summary=c.summary().splitlines(),
        picture=picture(compare_cost_figure.draw(c)),
        sides=[
            {"cost": x.as_dict(), "bands": {m: b.sentence() for m, b in x.bands.items()}, "ranges": _ranges(x)}
            for x in (c.a, c.b)
        ],
        rows=[r for r in c.rows if r.cycles_a or r.cycles_b],
        times=[(amount(r.time_us_a / 1e6, TIMES), amount(r.time_us_b / 1e6, TIMES)) for r in c.rows
               if r.cycles_a or r.cycles_b],
    )  # fmt: skip
