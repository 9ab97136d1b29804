"""Cost estimates against measurements and against other tools, in one report.

    FXSIM_CORPUS=<folder> python -m benchmarks.cost_validation [--write] [--vela FILE] [--scalesim PYTHON]
                                                               [--report reports/cost_validation.md]

``--write`` first fits the microcontrollers' libraries and puts factors, error bands and figures in their places;
``--vela`` names the ``vela`` program of an environment with ``ethos-u-vela==5.2.0``, ``--scalesim`` the Python of one with
``scalesim==3.0.0``. The live parts are left out, and the report says so, where they are not named.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import cost_validation_energy as energy
from benchmarks import cost_validation_ethos as ethos
from benchmarks import cost_validation_mcu as mcu
from benchmarks import cost_validation_systolic as systolic
from benchmarks.machine import options, publish
from benchmarks.mcu_rows import corpus
from fxsim.cost.evidence import ErrorBand, band

VELA = "Vela 5.2.0"
FIGURE = Path("reports/cost_validation_tools.png")


def npu_bands(folder: Path) -> dict[str, dict[str, ErrorBand]]:
    """The error bands of accelerators against the tools that they follow, by target or family."""
    errors: dict[str, list[float]] = defaultdict(list)
    for c in ethos.recorded(folder):
        for name in (c.accelerator, c.accelerator.rsplit("-", 1)[0]):
            errors[name].append(c.ratio - 1)
    source = "cycles of recorded networks in several systems and memory modes, layers on the host left out"
    found = {name: {"latency": band(e, source, against=VELA)} for name, e in sorted(errors.items())}
    return found | systolic.bands(folder)


def draw(against: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], path: Path) -> None:
    """A panel a tool, a colour a target: its cycles and ours."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(6.2 * len(against), 5.6), layout="constrained")
    for axes, (tool, targets) in zip(figure.subplots(1, len(against), squeeze=False)[0], against.items(), strict=True):
        for target, pairs in targets.items():
            axes.scatter(*zip(*pairs, strict=True), s=16, alpha=0.7, label=f"{target} ({len(pairs)})")
        ends = [f(v for pairs in targets.values() for pair in pairs for v in pair) for f in (min, max)]
        axes.plot(ends, ends, color="black", linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel=f"cycles by {tool}", ylabel="cycles by fxsim")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def pictures(folder: Path) -> None:
    """The scatter plots of accelerators: recorded networks and layers."""
    npus: dict[str, list[tuple[float, float]]] = defaultdict(list)
    arrays: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for c in ethos.recorded(folder):
        npus[c.accelerator].append((c.vela_cycles, c.cycles))
    for r in systolic.recorded(folder):
        arrays[r.array.rsplit("-", 1)[1]].append((r.scalesim, r.cycles))
    draw({VELA: npus, systolic.TOOL: arrays}, FIGURE)


def main() -> None:
    """Fits and writes if asked; reports."""
    parser = options(__doc__, 1)
    parser.add_argument("--write", action="store_true", help="fit first, and write factors, error bands and figures")
    parser.add_argument("--vela", help="the vela program of another environment: networks that it compiles now")
    parser.add_argument("--scalesim", help="the Python of another environment: layers that SCALE-Sim simulates now")
    args = parser.parse_args()
    folder = corpus()
    if args.write:
        mcu.update()
        mcu.put("npu", npu_bands(folder))
        pictures(folder)
    parts = [
        "# Cost estimates and what they were held against\n",
        mcu.section(),
        energy.section(),
        systolic.section(folder, args.scalesim),
        f"## All recorded rows\n\n![Cycles of Vela and SCALE-Sim against fxsim's]({FIGURE.name})\n",
        ethos.sections(folder, args.vela),
    ]
    if not args.vela:
        parts.append("Live runs of Vela: left out, since this report was made without `--vela FILE`.\n")
    publish("\n".join(parts), args.report)


if __name__ == "__main__":
    main()
