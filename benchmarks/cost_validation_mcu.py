"""Microcontroller estimates against MLPerf Tiny measurements: fit of the libraries' factors, error bands, report.

    FXSIM_CORPUS=<folder> python -m benchmarks.cost_validation_mcu [--write] [--report FILE]

``--write`` puts the fitted factors into ``hwprofiles/library``, the error bands into ``hwprofiles/evidence/mcu.toml`` and
the figure beside the report. Without it the shipped profiles are taken as they are.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import fxsim
from benchmarks.machine import options, publish, table
from benchmarks.mcu_rows import Elsewhere, Row, elsewhere, graph, kernels, rows
from fxsim import hwfiles
from fxsim.cost import mcu_targets
from fxsim.cost.calibrate import Measured, errors, fit, measured
from fxsim.cost.evidence import DEVICE_LEFT_OUT, ENOUGH, LIBRARY_LEFT_OUT, ErrorBand, band, quantile, shipped
from fxsim.cost.mcu_library import SCALED, Library, Scale, compose, load_core, load_library
from fxsim.cost.mcu_library import at as operating
from fxsim.cost.profiles import Mcu
from fxsim.cost.quantity import Constant
from fxsim.cost.toml import dump
from fxsim.files import atomic_write
from fxsim.model.live import works
from fxsim.targets import load_target

FITTED = SCALED[:-1]
"""types of layers that a library has a fitted factor for"""
FIGURE = Path("reports/cost_validation_mcu.png")
Factors = Mapping[str, Mapping[str, float]]
"""library -> type of layer -> factor"""
KERNELS = "published cycles of single kernels, in view when assumed instruction counts were set"
UNSEEN = "networks built from their layers, seen by no fit"
UNFITTED = dict.fromkeys(FITTED, 1.0)


@dataclass(frozen=True)
class Errors:
    """Relative errors of estimates with their rows."""

    rows: tuple[Row, ...]
    absolute: tuple[float, ...]

    def relative(self) -> list[float]:
        """Errors of AD, KWS and VWW predicted from the same stack's time for IC."""
        base = {r.stack: e for r, e in zip(self.rows, self.absolute, strict=True) if r.network == "IC"}
        pairs = zip(self.rows, self.absolute, strict=True)
        return [(1 + e) / (1 + base[r.stack]) - 1 for r, e in pairs if r.stack in base and r.network != "IC"]


@cache
def unscaled(core: str, library: str) -> Mcu:
    """The core with the library as if its factors were 1."""
    files = mcu_targets.libraries()
    chosen = load_library(files[library])
    one = {k: Constant(1.0, "1", "unscaled") for k in SCALED}
    plain = Library(
        name=chosen.name,
        kind=chosen.kind,
        description=chosen.description,
        scale=Scale(**one),
        base=chosen.base,
        live_channels=chosen.live_channels,
        isa=chosen.isa,
    )
    return compose(load_core(mcu_targets.cores()[core]), plain, files, {})


@cache
def parts(row: Row, live: bool = True) -> Measured:
    """The row as the fit needs it: cycles by type of layer with factors of 1; with dead channels if not ``live``."""
    mcu = operating(unscaled(row.core, row.library), row.target, hertz=row.hertz)
    return measured(works(graph(row.network), live=live and mcu.live_channels), mcu, row.seconds)


def closed(library: str) -> bool:
    """True if the library has no instruction counts of its own: its factors are fitted."""
    return not load_library(mcu_targets.libraries()[library]).isa


def fitted(data: Iterable[Row], live: bool = True) -> dict[str, dict[str, float]]:
    """The factors of each closed library that has rows."""
    by_library: dict[str, list[Measured]] = defaultdict(list)
    for r in data:
        if closed(r.library):
            by_library[r.library].append(parts(r, live))
    return {name: fit(known, UNFITTED) for name, known in sorted(by_library.items())}


def estimated(data: Sequence[Row], factors: Factors, live: bool = True) -> Errors:
    """The errors of rows with these factors; libraries without any are their base."""
    return Errors(tuple(data), tuple(errors([parts(r, live)], factors.get(r.library, {}))[0] for r in data))


def left_out(key: Callable[[Row], str]) -> Errors:
    """The errors of each group of rows, with factors fitted on all other groups."""
    seen: list[Row] = []
    wrong: list[float] = []
    for group in sorted({key(r) for r in rows()}):
        factors = fitted(r for r in rows() if key(r) != group)
        result = estimated([r for r in rows() if key(r) == group], factors)
        seen += result.rows
        wrong += result.absolute
    return Errors(tuple(seen), tuple(wrong))


def of_dropping(live: bool) -> list[float]:
    """Errors of the libraries that drop dead channels, fitted on their rows with and without that."""
    mine = [r for r in rows() if unscaled(r.core, r.library).live_channels]
    return estimated(mine, fitted(mine, live), live).relative()


def by_macs() -> list[float]:
    """AD, KWS and VWW from the same stack's IC by MACs alone."""
    count = {n: sum(w.macs for w in works(graph(n))) for n in ("AD", "IC", "KWS", "VWW")}
    base = {r.stack: r for r in rows() if r.network == "IC"}
    return [
        base[r.stack].seconds * count[r.network] / count["IC"] / r.seconds - 1
        for r in rows()
        if r.stack in base and r.network != "IC"
    ]


def by_ratio(value: Callable[[Row], float]) -> list[float]:
    """AD, KWS and VWW from the same stack's IC by the typical ratio of all other stacks."""
    base = {r.stack: value(r) for r in rows() if r.network == "IC" and value(r)}
    ratios = {(r.stack, r.network): value(r) / base[r.stack] for r in rows() if r.stack in base and value(r)}
    found = []
    for (stack, network), own in ratios.items():
        if network != "IC":
            others = [x for (s, n), x in ratios.items() if n == network and s != stack]
            found.append(quantile(others, 0.5) / own - 1)
    return found


def energy(kept: Errors) -> tuple[list[float], list[float]]:
    """Errors of joules, absolute and from the same stack's IC: the errors of cycles, and of the power."""
    absolute, rated = [], []
    for r, e in zip(kept.rows, kept.absolute, strict=True):
        if r.joules:
            mcu = unscaled(r.core, r.library)
            cycles = (1 + e) * r.seconds * r.hertz
            rated.append(r)
            absolute.append(cycles * mcu.cycle_pj * 1e-12 / r.joules - 1)
    return absolute, Errors(tuple(rated), tuple(absolute)).relative()


def as_shipped() -> Errors:
    """The errors of the profiles as they are, asked for by name and clock like any user would."""
    wrong = []
    for r in rows():
        target = load_target(f"{r.target}@{r.hertz / 1e6:g}MHz")
        time = fxsim.estimate(graph(r.network), target).totals()["time_us"] / 1e6
        wrong.append(time / r.seconds - 1)
    return Errors(rows(), tuple(wrong))


def bands() -> dict[str, dict[str, ErrorBand]]:
    """The error bands of all that was measured, and of what was not."""
    by_stack, by_device, by_library = (
        left_out(k) for k in (lambda r: r.stack, lambda r: r.device, lambda r: r.library)
    )
    found: dict[str, dict[str, ErrorBand]] = {}
    source = "MLPerf Tiny closed division, int8; each submission estimated from factors fitted without it"
    for target in sorted({r.target for r in rows()}):
        mine = [i for i, r in enumerate(by_stack.rows) if r.target == target]
        kept = Errors(tuple(by_stack.rows[i] for i in mine), tuple(by_stack.absolute[i] for i in mine))
        clocks = ends(r.hertz for r in kept.rows)
        found[target] = {"latency": band(kept.absolute, source, clocks=clocks)}
        joules, _ = energy(kept)
        if joules:
            found[target]["energy"] = band(joules, source, clocks=ends(r.hertz for r in kept.rows if r.joules))
    for name, kept, left in (
        (DEVICE_LEFT_OUT, by_device, "device"),
        (LIBRARY_LEFT_OUT, by_library, "library"),
    ):
        source = f"MLPerf Tiny closed division, int8; each {left} estimated from factors fitted without it"
        found[name] = {"latency": band(kept.absolute, source), "energy": band(energy(kept)[0], source)}
    for (target, metric), b in bands_elsewhere().items():
        found.setdefault(target, {}).setdefault(metric, b)
    for target, wrong in kernel_errors().items():
        if "latency" not in found.get(target, {}) and len(wrong) >= ENOUGH:
            only = "only single kernels were measured, no network"
            found.setdefault(target, {})["latency"] = band(wrong, KERNELS, extrapolated=only)
    return found


def ends(hertz: Iterable[float]) -> tuple[float, ...]:
    """The least and the greatest clock."""
    seen = sorted(hertz)
    return tuple(dict.fromkeys((seen[0], seen[-1])))


def error_of(row: Elsewhere) -> float:
    """The relative error of an estimate: of its time or, where only they are published, of its pJ/MAC."""
    total = fxsim.estimate(row.graph, row.target).totals()
    if row.pj_per_mac:
        return float(total["energy_pj"] / total["macs"] / row.pj_per_mac - 1)
    return float(total["time_us"] / 1e3 / row.milliseconds - 1)


def bands_elsewhere() -> dict[tuple[str, str], ErrorBand]:
    """``(target, metric)`` -> band of the networks that were measured outside of MLPerf Tiny."""
    groups: dict[tuple[str, str], list[Elsewhere]] = defaultdict(list)
    for row in elsewhere():
        groups[row.target.split("@")[0], "energy" if row.pj_per_mac else "latency"].append(row)
    found = {}
    for (target, metric), mine in groups.items():
        few = f"{len(mine)} network only" if len(mine) < ENOUGH else ""
        clock = load_target(mine[0].target).profile.clock.value
        clocks = () if metric == "energy" else (clock,)
        source = f"{mine[0].source}; {UNSEEN}"
        found[target, metric] = band(map(error_of, mine), source, clocks=clocks, extrapolated=few)
    return found


def kernel_errors() -> dict[str, list[float]]:
    """Errors of single kernels by target."""
    found: dict[str, list[float]] = defaultdict(list)
    for target, _, layer, cycles in kernels():
        found[target].append(fxsim.estimate(layer, target).totals()["cycles"] / cycles - 1)
    return found


def write(factors: Factors) -> None:
    """Puts factors and bands into ``hwprofiles``."""
    for library, values in factors.items():
        path = hwfiles.find("library", library)
        text = path.read_text(encoding="utf-8")
        for kind, v in values.items():
            text, n = re.subn(rf"^({kind} = {{ value = )[^,]*", rf"\g<1>{v:.3g}", text, flags=re.M)
            assert n == 1, (library, kind)
        atomic_write(path, text.encode())
    put("mcu", bands())
    for c in (mcu_targets.libraries, mcu_targets._composed):
        c.cache_clear()


def put(family: str, found: Mapping[str, Mapping[str, ErrorBand]]) -> None:
    """Writes an evidence file."""
    text = "# Written by benchmarks/cost_validation.py --write.\n" + dump(found)
    atomic_write(hwfiles.profile_dir() / "evidence" / f"{family}.toml", text.encode())
    shipped.cache_clear()


def said(found: Sequence[float]) -> list[str]:
    """Rows, median, 90 %, greatest."""
    sizes = [abs(e) for e in found]
    return [str(len(sizes)), *(f"{quantile(sizes, s):.1%}" for s in (0.5, 0.9, 1.0))]


def draw(kept: Errors, path: Path) -> None:
    """Estimate against measurement, each row estimated from factors fitted without its submission."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    for core in sorted({r.core for r in kept.rows}):
        pairs = zip(kept.rows, kept.absolute, strict=True)
        mine = [(r.seconds * 1e3, r.seconds * 1e3 * (1 + e)) for r, e in pairs if r.core == core]
        axes.scatter(*zip(*mine, strict=True), s=18, label=f"{core} ({len(mine)})", alpha=0.8)
    ends = [0.3, 3000.0]
    axes.plot(ends, ends, color="black", linewidth=0.8)
    for factor in (1.45, 1 / 1.45):
        axes.plot(ends, [factor * e for e in ends], color="grey", linewidth=0.6, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="measured (ms)", ylabel="estimated (ms)", xlim=ends, ylim=ends)
    axes.set_title("MLPerf Tiny on microcontrollers, submission left out; dashed: 45 % off", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def section() -> str:
    """The report's part on microcontrollers, in Markdown."""
    by_stack, by_device, by_library = (
        left_out(k) for k in (lambda r: r.stack, lambda r: r.device, lambda r: r.library)
    )
    now = as_shipped()
    names = ("profiles as shipped", "submission left out", "device left out", "library left out")
    cases = list(zip(names, (now, by_stack, by_device, by_library), strict=True))
    head = ["", "rows", "median", "90 %", "greatest"]
    stacks, devices = len({r.stack for r in rows()}), len({r.device for r in rows()})
    text = [
        "## Microcontrollers",
        "",
        f"{len(rows())} latencies of AD, IC, KWS and VWW (int8, closed division) of {stacks} submissions to MLPerf Tiny "
        f"v0.7 to v1.3 on {devices} devices. Errors are |estimate / measurement - 1|. A core's constants come from its "
        "documents; a closed library has four fitted factors on CMSIS-NN's instruction counts, shared by all cores. What "
        "is left out is kept from the fit of the factors. CMSIS-NN's own counts for pointwise, depthwise and dense layers "
        "and the cost of a load on Cortex-M4 were set once, with all rows in view.",
        "",
        "Latency from core, clock and library alone:",
        "",
        table(head, ([name, *said(kept.absolute)] for name, kept in cases)),
        "",
        "AD, KWS and VWW from the same submission's latency of IC:",
        "",
        table(
            head,
            [
                ["MACs", *said(by_macs())],
                ["typical ratio of the other submissions", *said(by_ratio(lambda r: r.seconds))],
                *([name, *said(kept.relative())] for name, kept in cases),
                ["fit of the libraries that drop dead channels", *said(of_dropping(True))],
                ["the same libraries, fitted as if they did not", *said(of_dropping(False))],
            ],
        ),
        "",
        "Energy, from the power of the core alone, and from the same submission's energy of IC:",
        "",
        table(
            head,
            [
                ["typical ratio of the other submissions", *said(by_ratio(lambda r: r.joules))],
                *([f"{name}, from IC", *said(energy(kept)[1])] for name, kept in cases),
                *([f"{name}, absolute", *said(energy(kept)[0])] for name, kept in cases),
            ],
        ),
        "",
        "By target, submission left out (a library with one submission is then estimated as plain CMSIS-NN):",
        "",
        table(["target", *head[1:]], _by_target(by_stack)),
        "",
        "Single kernels (published cycles; a load on Cortex-M55 and ESP-NN's counts were set with them in view):",
        "",
        table(["target", *head[1:]], ([t, *said(e)] for t, e in sorted(kernel_errors().items()))),
        "",
        "Networks measured outside of MLPerf Tiny, built from their layers, seen by no fit (of the model zoo those that "
        "the chip's own RAM and flash hold; its SRAM runs at half the core's clock, which the profile, a slower chip, does "
        "not know). TFLM's reference kernels take 70 to 77 cycles per MAC in Espressif's build for three cores, ten times "
        "what their loops need: how they were compiled decides, and no profile can know that:",
        "",
        table(["target", "network", "measured", "estimated", "error", "source"], _elsewhere()),
        "",
        "Factors of the closed libraries, relative to CMSIS-NN's instruction counts:",
        "",
        table(["library", *FITTED], _factors()),
        "",
        f"![Estimate against measurement]({FIGURE.name})",
        "",
    ]
    return "\n".join(text)


def _by_target(kept: Errors) -> list[list[str]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for r, e in zip(kept.rows, kept.absolute, strict=True):
        groups[r.target].append(e)
    return [[t, *said(e)] for t, e in sorted(groups.items())]


def _elsewhere() -> list[list[str]]:
    lines = []
    for row in elsewhere():
        e = error_of(row)
        value, unit = (row.pj_per_mac, "pJ/MAC") if row.pj_per_mac else (row.milliseconds, "ms")
        found = f"{value * (1 + e):.4g} {unit}"
        lines.append([row.target, row.network, f"{value:g} {unit}", found, f"{e:+.1%}", row.source])
    return lines


def _factors() -> list[list[str]]:
    names = sorted({r.library for r in rows() if closed(r.library)})
    found = {n: load_library(mcu_targets.libraries()[n]).scale for n in names}
    return [[n, *(f"{getattr(s, k).value:g}" for k in FITTED)] for n, s in found.items()]


def update() -> None:
    """Fits, and puts factors, error bands and figure in their places."""
    write(fitted(rows()))
    draw(left_out(lambda r: r.stack), FIGURE)


def main() -> None:
    """Fits, writes and reports."""
    parser = options(__doc__, 1)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.write:
        update()
    publish(section(), args.report)


if __name__ == "__main__":
    main()
