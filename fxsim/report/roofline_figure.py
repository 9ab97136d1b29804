"""The roofline: how fast each layer computes, against how much it computes for a byte of the memory that it uses most."""

from typing import TYPE_CHECKING, NamedTuple

from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from fxsim.cost.layer import memory_cycles, total_bytes
from fxsim.report.figures import HOST, bare, legend, new_figure, resource_colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from fxsim.report.cost import Cost

WIDTH, HEIGHT = 6.5, 5.0
FAR = 100
"""times as far as the points: a roof's knee that is left out; a range from which on only powers of ten are marked"""
NO_LIMIT = 1e5
"""bytes per cycle of memories that are said never to be the limit"""
NAMED = 8
"""points that take most time and are labelled with their layer"""


class Point(NamedTuple):
    """A layer with MACs that runs on the target itself."""

    layer: int
    memory: str
    """the memory that takes it longest"""
    macs_per_byte: float
    macs_per_cycle: float
    cycles: int


def points(cost: "Cost") -> list[Point]:
    """The points of all such layers, the longest first."""
    profile, found = cost.target.profile, []
    for c in cost.layers:
        e = c.estimate
        busy = memory_cycles(e.flows, profile.bytes_per_cycle)
        if not c.macs or not any(busy.values()) or e.runs_on != profile.name:
            continue
        memory = max(busy, key=lambda m: busy[m])
        moved = total_bytes(e.flows, memory)
        found.append(Point(c.layer, memory, c.macs / moved, c.macs / e.cycles, e.cycles))
    return sorted(found, key=lambda p: -p.cycles)


def figure(cost: "Cost") -> "Figure":
    """The roofline alone."""
    found = new_figure(WIDTH * 1.6, HEIGHT)
    draw(found, cost)
    return found


def draw(figure: "Figure | SubFigure", cost: "Cost") -> None:
    """Roofs are the peak and, for each memory that some layer uses most, its bandwidth."""
    axes = figure.subplots()
    bare(axes, "both")
    axes.set_title("Roofline: each layer against the memory that takes it longest", fontsize=10)
    axes.set_xlabel("MACs per byte of that memory")
    axes.set_ylabel("MACs per cycle")
    found, profile = points(cost), cost.target.profile
    if not found:
        axes.text(0.5, 0.5, "no layer with MACs runs on the target itself", ha="center", transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    peak, colours = profile.peak_macs.value, resource_colours(cost)
    used = [m for m in profile.memory if any(p.memory == m for p in found)]
    across = [p.macs_per_byte for p in found]
    knees = [peak / profile.bytes_per_cycle[m] for m in used]
    near = [k for k in knees if min(across) / FAR < k < max(across) * FAR]
    ends = min(across + near) / 3, max(across + near) * 3
    axes.plot(ends, (peak, peak), color="#333333", linewidth=1.2)
    axes.text(ends[1], peak, f"peak {peak:g} ", ha="right", va="bottom", fontsize=8)
    for m in used:
        speed = profile.bytes_per_cycle[m]
        knee = min(max(peak / speed, ends[0]), ends[1])
        axes.plot((ends[0], knee), (ends[0] * speed, knee * speed), color=colours[m], linewidth=1.2)
    longest = found[0].cycles
    for p in found:
        axes.scatter(p.macs_per_byte, p.macs_per_cycle, s=14 + 90 * p.cycles / longest, color=colours[p.memory],
                     alpha=0.75, linewidth=0)  # fmt: skip
    named: list[tuple[float, float]] = []
    for p in found[:NAMED]:
        taken = any(abs(a / p.macs_per_byte - 1) < 0.12 and abs(b / p.macs_per_cycle - 1) < 0.12 for a, b in named)
        if not taken:
            axes.annotate(
                str(p.layer), (p.macs_per_byte, p.macs_per_cycle), (6, 3), textcoords="offset points", fontsize=7
            )
            named.append((p.macs_per_byte, p.macs_per_cycle))
    axes.set_ylim(min(p.macs_per_cycle for p in found) / 2, peak * 2)
    axes.set_xlim(ends)
    for axis, (low, high) in ((axes.xaxis, ends), (axes.yaxis, axes.get_ylim())):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < FAR else (1,)))
    away = sum(1 for c in cost.layers if c.macs and c.estimate.runs_on != profile.name)
    speeds = {m: profile.bytes_per_cycle[m] for m in used}
    entries = [
        (f"{m} {s:.3g} B/cycle" if s < NO_LIMIT else f"{m}, never the limit", colours[m]) for m, s in speeds.items()
    ]
    legend(axes, HEIGHT - 1.0, entries + ([(f"{away} more on the host", HOST)] if away else []))
