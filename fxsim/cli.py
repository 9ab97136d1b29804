"""The command line: the public functions, one command each. Exit code 2 and one line on any error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import fxsim
from fxsim.errors import FxsimError
from fxsim.report.names import short_name

if TYPE_CHECKING:
    from fxsim.diagnose.compare import Comparison
    from fxsim.model.graph import Graph
    from fxsim.sim.trace import Trace

app = typer.Typer(
    name="fxsim", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="Bit-exact simulation, comparison and cost of quantized networks.",
)  # fmt: skip
PIPE_WIDTH = 140
"""columns of a table that nobody's terminal limits"""
out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True)

Model = Annotated[Path, typer.Argument(help="A quantized .tflite model.", show_default=False)]
Input = Annotated[str, typer.Option("--input", "-i", help="X.npy, X.npz or random:SEED.")]
Count = Annotated[int, typer.Option(min=1, help="Inferences to draw for random:SEED.")]
Numerics = Annotated[str, typer.Option("--numerics", "-n", help="A profile name (see: fxsim numerics) or a .toml file.")]


class Format(str, Enum):
    """How estimate prints."""

    table = "table"
    csv = "csv"
    json = "json"
    html = "html"


class Keep(str, Enum):
    """Which tensors run saves."""

    outputs = "outputs"
    all = "all"


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on standard error, for work of more than one step seen by a person."""
    if total < 2 or not err.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def simulate(model: Path, source: str, count: int, numerics: str, keep: str = "outputs") -> "tuple[Graph, Trace]":
    """Reads, loads and runs."""
    from fxsim.sim.inputs import load_inputs, make_batch

    graph = fxsim.read(model)
    x = load_inputs(graph, source, count)
    with progress(f"{model.name} as {numerics}", make_batch(graph, x).count) as tick:
        return graph, fxsim.simulate(graph, x, numerics, keep, tick)  # type: ignore[arg-type]


FIXED = {"layer", "op", "numerics", "target", "elements", "exact", "cycles", "time"}
"""headings of columns that are never folded"""


def show(title: str, columns: dict[str, str], rows: Iterator[list[Any]] | list[list[Any]]) -> None:
    """A table; ``columns`` maps headings to their justification."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading, justify in columns.items():
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=heading in FIXED)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(str(v) for v in row))
    out.print(table)


@app.command()
def run(
    model: Model,
    source: Input,
    numerics: Numerics = "litert-reference",
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write the trace to this .npz file.")] = None,
    keep: Annotated[Keep, typer.Option(help="Tensors to keep in the trace.")] = Keep.outputs,
    count: Count = 1,
    layers: Annotated[bool, typer.Option("--layers", help="Show each layer's registers.")] = False,
) -> None:
    """Run a model bit for bit, as an engine or chip computes it."""
    if save is not None and save.suffix.lower() != ".npz":
        raise FxsimError(f"--save is {str(save)!r}; allowed: a name that ends in .npz")
    graph, trace = simulate(model, source, count, numerics, keep.value)
    rows = []
    for name, value in trace.outputs.items():
        flat = value.reshape(-1)
        head = " ".join(f"{v:g}" for v in flat[:8].tolist()) + (" ..." if flat.size > 8 else "")
        rows.append([name, value.dtype, list(value.shape), flat.min(), flat.max(), head])
    columns = {"output": "left", "type": "left", "shape": "left", "min": "right", "max": "right", "values": "left"}
    show(f"{model.name} as {trace.plan.numerics.name}, {trace.batch.count} inference(s)", columns, rows)
    if layers:
        show_layers(trace)
    if save is not None:
        trace.save(save)
        out.print(f"saved {len(trace.kept)} tensors to {save}")


def show_layers(trace: "Trace") -> None:
    """The registers of each layer."""
    stats = trace.stats
    headings = ["layer", "op", "name", "acc bits", "acc min", "acc max", "bits used", "overflows", "clamped low", "clamped high"]
    rows = [
        [s.layer, s.op, short_name(s.name), s.acc_bits or "", *((s.acc_min, s.acc_max, s.bits_used, s.overflows) if s.acc_bits else [""] * 4),
         s.clamped_low, s.clamped_high]
        for s in stats
    ]  # fmt: skip
    show("registers", {h: "left" if h in ("op", "name") else "right" for h in headings}, rows)


@app.command()
def compare(
    model: Model,
    against: Annotated[Path, typer.Option("--against", "-a", help="The dump: an .npz file.")],
    source: Input,
    numerics: Numerics = "litert-reference",
    count: Count = 1,
) -> None:
    """Compare a dump with the simulation, tensor by tensor. Exit code 1 if they differ."""
    _, trace = simulate(model, source, count, numerics)
    result = fxsim.compare(trace, against)
    show_comparison(f"{against.name} against {model.name} as {result.numerics}", result)
    if not result.equal:
        raise typer.Exit(1)


def show_comparison(title: str, result: "Comparison") -> None:
    """The rows of a comparison and its verdict."""
    headings = {"layer": "right", "op": "left", "tensor": "left", "elements": "right", "exact": "right",
                "off by (LSB): elements": "left", "bias (LSB)": "right", "first": "left"}  # fmt: skip
    rows = [
        ["" if r.layer < 0 else r.layer, r.op or "input", f"{r.tensor} {short_name(r.name)}", r.elements, f"{r.exact:.4%}", histogram(r.histogram),
         f"{r.bias_lsb:+.2g}" if r.mismatches else "", list(r.first_index) if r.first_index is not None else ""]
        for r in result.rows
    ]  # fmt: skip
    show(title, headings, rows)
    verdict = f"{result.elements} elements in {len(result.rows)} tensors compared, {result.mismatches} differ"
    if result.not_in_dump:
        verdict += f"; {len(result.not_in_dump)} computed tensors are not in the dump"
    out.print(f"[{'green' if result.equal else 'red'}]{verdict}[/]", soft_wrap=True)
    if result.first_divergence is not None:
        out.print(f"first divergence: {result.first_divergence}", markup=False, soft_wrap=True)


def histogram(counts: dict[int, int], most: int = 6) -> str:
    """``-1: 3  +1: 12``, the rarest differences summed up."""
    items = sorted(counts.items(), key=lambda kv: (-kv[1], abs(kv[0])))
    text = "  ".join(f"{d:+d}: {n}" for d, n in sorted(items[:most]))
    return text + (f"  others: {sum(n for _, n in items[most:])}" if len(items) > most else "")


@app.command()
def estimate(
    model: Model,
    target: Annotated[str, typer.Option("--target", "-t", help="A target name (see: fxsim targets) or a .toml file.")],
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print.")] = Format.table,
    plot: Annotated[Path | None, typer.Option(help="Write a picture to this .png file.")] = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write to this file instead of printing.")] = None,
) -> None:
    """Estimate cycles, memory traffic and energy of each layer on a target."""
    from fxsim.report.cost import write_estimate

    write_estimate(fxsim.estimate(fxsim.read(model), target), format.value, plot, save, out)


@app.command()
def targets() -> None:
    """List the hardware targets."""
    from fxsim.targets import describe_targets

    headings, rows = describe_targets()
    show("targets", dict.fromkeys(headings, "left"), rows)


@app.command()
def numerics() -> None:
    """List the numerics profiles, and how far each was verified."""
    rows = []
    for name in fxsim.list_numerics():
        p = fxsim.load_numerics(name)
        acc = f"{p.accumulator.bits} bits, {p.accumulator.overflow}"
        rows.append([name, p.description, acc, f"{p.requantize.scheme}, {p.requantize.rounding}", p.verified, p.against])
    headings = ("numerics", "what", "accumulator", "requantize", "verified", "against")
    show("numerics", dict.fromkeys(headings, "left"), rows)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("fxsim-demo"),
) -> None:
    """Run the model that ships with fxsim, compare it with recordings of two engines, and price it on three targets."""
    from fxsim import demo as story

    story.run(folder, out, progress, show_comparison)


def version(asked: bool) -> None:
    """Prints the version and leaves."""
    if asked:
        out.print(f"fxsim {fxsim.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Options of all commands."""


def main() -> None:
    """Entry point of the ``fxsim`` command."""
    try:
        app()
    except FxsimError as e:
        err.print(f"fxsim: error: {e}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("fxsim: interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
