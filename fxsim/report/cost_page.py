"""Pages of costs that need no other file: of one target, and of two side by side."""

import base64
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from fxsim.cost.quantity import constants
from fxsim.report import compare_cost_figure, cost_figure, memory_figure, roofline_figure
from fxsim.report.cost import unit_of
from fxsim.report.figures import image
from fxsim.report.units import ENERGIES, TIMES, amount, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fxsim.report.compare_cost import CostComparison
    from fxsim.report.cost import Cost


def _render(template: str, **values: object) -> str:
    loader = PackageLoader("fxsim", "report/templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["number"] = show
    return environment.get_template(template).render(**values)


def _picture(figure: "Figure") -> str:
    return base64.b64encode(image(figure, "png")).decode()


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
            "Time and energy": _picture(cost_figure.layers(cost)),
            "Roofline": _picture(roofline_figure.figure(cost)),
            "RAM over time": _picture(memory_figure.figure(cost)),
        }
    return _render(
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
    return _render(
        "compare_cost.html.j2",
        title=f"{c.a.model}: {c.a.target.name} and {c.b.target.name}",
        summary=c.summary().splitlines(),
        picture=_picture(compare_cost_figure.draw(c)),
        sides=[
            {"cost": x.as_dict(), "bands": {m: b.sentence() for m, b in x.bands.items()}, "ranges": _ranges(x)}
            for x in (c.a, c.b)
        ],
        rows=[r for r in c.rows if r.cycles_a or r.cycles_b],
        times=[(amount(r.time_us_a / 1e6, TIMES), amount(r.time_us_b / 1e6, TIMES)) for r in c.rows
               if r.cycles_a or r.cycles_b],
    )  # fmt: skip
