"""The demo: a real int8 network against recordings of two engines, and its price on three targets. Needs no download."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import fxsim
from fxsim.diagnose.compare import Comparison, compare
from fxsim.errors import OutputError
from fxsim.files import atomic_write, load_arrays
from fxsim.importers import read
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.report import compare_figure, terminal
from fxsim.report.cost import Cost, estimate
from fxsim.report.units import ENERGIES, SIZES, TIMES, amount
from fxsim.sim import simulate
from fxsim.sim.trace import Trace

MODEL, RECORDINGS = "digits_int8.tflite", "digits_recordings.npz"
ENGINES = {"litert-reference": "ai-edge-litert", "tflm": "tflite-micro"}
"""numerics profile -> the package that recorded it"""
TARGETS = ("ethos-u55-128", "hexagon-680", "cortex-m4")
REASON = (
    "LiteRT's reference kernels rescale a dense layer's accumulator in float64 and round once; TFLM uses a 31-bit integer "
    "multiplier and rounds twice. Where the exact value lies near a tie, the two results differ by one."
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recordings that ship with fxsim."""

    inputs: Array
    labels: Array
    tensors: Mapping[str, Mapping[str, Array]]
    """numerics profile -> dump, keyed ``tensor_<index>``"""
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that the demo finds out."""

    graph: Graph
    recorded: Recorded
    traces: Mapping[str, Trace]
    checks: Mapping[str, Comparison]
    """numerics -> fxsim against the recording of that engine"""
    parting: Comparison
    """LiteRT's numerics against TFLM's recording"""
    costs: tuple[Cost, ...]

    def parting_words(self) -> str:
        """The layer where the two engines part, in a sentence."""
        d = self.parting.first_divergence
        if d is None:
            return "nowhere on these inputs"
        return (
            f"layer {d.layer} {d.op}, tensor {d.tensor} {d.name!r}: {d.mismatches} of {d.elements:,} elements differ; "
            f"the first at {list(d.index)}, LiteRT {d.got}, TFLM {d.expected}"
        )

    def accuracy(self, numerics: str) -> float:
        """The share of recorded digits that the network names right."""
        (scores,) = self.traces[numerics].outputs.values()
        return float(np.mean(scores.argmax(axis=-1) == self.recorded.labels))


def load() -> tuple[Graph, Recorded]:
    """The model and the recordings inside the package."""
    data = files("fxsim") / "data"
    with as_file(data / MODEL) as model, as_file(data / RECORDINGS) as recordings:
        arrays = load_arrays(recordings)
        graph = read(model)
    tensors: dict[str, dict[str, Array]] = {}
    for numerics in ENGINES:
        prefix = numerics.replace("-", "_") + "_"
        tensors[numerics] = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    provenance = json.loads(str(arrays["provenance"]))
    return graph, Recorded(arrays["inputs"], arrays["labels"], tensors, provenance)


def tell() -> Story:
    """Runs everything."""
    graph, recorded = load()
    traces = {n: simulate(graph, recorded.inputs, n, keep="all") for n in ENGINES}
    checks = {n: compare(t, recorded.tensors[n]) for n, t in traces.items()}
    parting = compare(traces["litert-reference"], recorded.tensors["tflm"])
    return Story(graph, recorded, traces, checks, parting, tuple(estimate(graph, t) for t in TARGETS))


def run(folder: Path, console: Console) -> None:
    """Tells the story on the console and writes tables, pictures and one page to ``folder``.

    Raises:
        OutputError: if the folder or a file in it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{folder}: cannot be written: {e.strerror or e}") from None
    with console.status("compiling kernels and running the network; a few seconds the first time"):
        story = tell()
    show(story, console)
    with console.status("drawing"):
        written = write(story, folder)
    terminal.say(console, f"wrote {len(written)} files to {folder}; open {folder / 'index.html'}")


def show(story: Story, console: Console) -> None:
    """The story as tables."""
    for numerics, check in story.checks.items():
        version = story.recorded.provenance["versions"][ENGINES[numerics]]
        console.print(terminal.comparison(f"fxsim as {numerics} against {ENGINES[numerics]} {version}", check))
        terminal.say(console, terminal.verdict(check) + "\n", "green" if check.equal else "red")
    terminal.say(console, f"where the two engines part: {story.parting_words()}\n{REASON}\n")
    for cost in story.costs:
        console.print(terminal.cost(cost))
        terminal.say(console, terminal.cost_summary(cost) + "\n")


def write(story: Story, folder: Path) -> list[Path]:
    """Writes every table, picture and page; returns the files."""
    written = [
        atomic_write(folder / f"compare_{n}.csv", c.table.to_csv(index=False).encode()) for n, c in story.checks.items()
    ]
    written.append(atomic_write(folder / "compare_engines.csv", story.parting.table.to_csv(index=False).encode()))
    layers = story.traces["litert-reference"].layers
    written.append(atomic_write(folder / "registers.csv", layers.to_csv(index=False).encode()))
    titles = {f"fxsim as {n} against {ENGINES[n]}": c for n, c in story.checks.items()}
    picture = compare_figure.png(compare_figure.draw(titles | {"LiteRT against TFLM": story.parting}))
    written.append(atomic_write(folder / "compare.png", picture))
    for cost in story.costs:
        name = f"cost_{cost.target.name}"
        written += [cost.to_csv(folder / f"{name}.csv"), cost.to_html(folder / f"{name}.html")]
        cost.plot(folder / f"{name}.png")
        written.append(folder / f"{name}.png")
    trace = folder / "trace_litert-reference.npz"
    story.traces["litert-reference"].save(trace)
    written.append(trace)
    written.append(atomic_write(folder / "index.html", page(story, picture, folder).encode()))
    return written


def page(story: Story, picture: bytes, folder: Path) -> str:
    """The page that holds it all."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fxsim", "report/templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    engines = [
        {
            "numerics": n,
            "recorded": f"{ENGINES[n]} {story.recorded.provenance['versions'][ENGINES[n]]}",
            "tensors": len(c.rows),
            "elements": c.elements,
            "mismatches": c.mismatches,
            "accuracy": story.accuracy(n),
        }
        for n, c in story.checks.items()
    ]
    return environment.get_template("demo.html.j2").render(
        model=MODEL,
        version=fxsim.__version__,
        inferences=len(story.recorded.inputs),
        engines=engines,
        parting=story.parting_words(),
        reason=REASON,
        comparison_picture=base64.b64encode(picture).decode(),
        stats=story.traces["litert-reference"].stats,
        costs=[_card(c, folder) for c in story.costs],
    )


def _card(cost: Cost, folder: Path) -> dict[str, Any]:
    t, name = cost.totals(), cost.target.name
    return {
        "target": name,
        "kind": cost.target.kind,
        "page": f"cost_{name}.html",
        "cycles": t["cycles"],
        "time": amount(t["time_us"] / 1e6, TIMES),
        "energy": amount(t["energy_pj"], ENERGIES),
        "ram": amount(t["peak_ram_bytes"], SIZES),
        "flash": amount(t["flash_bytes"], SIZES),
        "evidence": cost.target.profile.evidence,
        "picture": base64.b64encode((folder / f"cost_{name}.png").read_bytes()).decode(),
    }
