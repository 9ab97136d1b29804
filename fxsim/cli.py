"""The command line: the public functions, one command each. Exit code 2 and one line on any error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import fxsim
from fxsim.errors import FxsimError
from fxsim.files import atomic_write
from fxsim.report import terminal

if TYPE_CHECKING:
    from fxsim.cost.profiles import Overlap as Way
    from fxsim.sim import Keep as SimKeep
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
Numerics = Annotated[
    str | None,
    typer.Option(
        "--numerics",
        "-n",
        help="A profile name (see: fxsim numerics) or a .toml file.",
        show_default="the usual engine of the file's format",
    ),
]


class Format(StrEnum):
    """How estimate prints."""

    table = "table"
    csv = "csv"
    json = "json"
    html = "html"


class Overlap(StrEnum):
    """How computing and fetching go together."""

    sum = "sum"
    max = "max"
    pipelined = "pipelined"


class Keep(StrEnum):
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


def _called(model: Path, numerics: str | None) -> str:
    """The name of the profile that a command runs with."""
    from fxsim.numerics import numerics_of

    return numerics_of(str(model), numerics).name


def simulate(model: Path, source: str, count: int, numerics: str | None, keep: "SimKeep" = "outputs") -> "Trace":
    """Reads, loads and runs."""
    from fxsim.sim.inputs import load_inputs, make_batch

    graph = fxsim.read(model)
    x = load_inputs(graph, source, count)
    with progress(f"{model.name} as {_called(model, numerics)}", make_batch(graph, x).count) as tick:
        return fxsim.simulate(graph, x, numerics, keep, tick)


@app.command()
def run(
    model: Model,
    source: Input,
    numerics: Numerics = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write the trace to this .npz file.")] = None,
    keep: Annotated[Keep, typer.Option(help="Tensors to keep in the trace.")] = Keep.outputs,
    count: Count = 1,
    layers: Annotated[bool, typer.Option("--layers", help="Show each layer's registers.")] = False,
) -> None:
    """Run a model bit for bit, as an engine or chip computes it."""
    if save is not None and save.suffix.lower() != ".npz":
        raise FxsimError(f"--save is {str(save)!r}; allowed: a name that ends in .npz")
    trace = simulate(model, source, count, numerics, keep.value)
    if save is not None:
        trace.save(save)
    out.print(terminal.outputs(trace, model.name))
    if layers:
        out.print(terminal.layers(trace.stats))
    if save is not None:
        terminal.say(out, f"saved {len(trace.kept)} tensors to {save}")


@app.command()
def check(model: Model, numerics: Numerics = None) -> None:
    """List everything of a model that cannot be simulated, before anything runs. Exit code 2 if there is anything."""
    from fxsim.sim.support import known_ops

    graph = fxsim.survey(model)
    found = fxsim.unsupported(graph, numerics)
    if not found:
        count = sum(len(g.nodes) for g in (graph, *graph.called))
        terminal.say(out, f"all {count} layers of {model.name} can be simulated as {_called(model, numerics)}", "green")
        return
    out.print(terminal.gaps(found, model.name, _called(model, numerics)))
    if any(g.op not in known_ops() for g in found):
        terminal.say(out, f"supported ops: {', '.join(known_ops())}")
    raise typer.Exit(2)


@app.command()
def compare(
    model: Model,
    against: Annotated[Path, typer.Option("--against", "-a", help="The dump: an .npz file.")],
    source: Input,
    numerics: Numerics = None,
    count: Count = 1,
) -> None:
    """Compare a dump with the simulation, tensor by tensor. Exit code 1 if they differ."""
    result = fxsim.compare(simulate(model, source, count, numerics), against)
    out.print(terminal.comparison(f"{against.name} against {model.name} as {result.numerics}", result))
    terminal.say(out, terminal.verdict(result), "green" if result.equal else "red")
    if not result.equal:
        raise typer.Exit(1)


@app.command()
def estimate(
    model: Model,
    target: Annotated[
        str, typer.Option("--target", "-t", help="A target name (see: fxsim targets) or a .toml file.")
    ] = "",
    compare: Annotated[
        tuple[str, str] | None, typer.Option(help="Two targets, side by side.", metavar="A B", show_default=False)
    ] = None,
    overlap: Annotated[
        Overlap | None, typer.Option(help="How computing and fetching go together (mcu, dsp).", show_default=False)
    ] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print.")] = Format.table,
    plot: Annotated[Path | None, typer.Option(help="Write a picture to this .png file.")] = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write to this file instead of printing.")] = None,
) -> None:
    """Estimate cycles, memory traffic and energy of each layer on a target, or compare two targets."""
    if bool(target) == bool(compare):
        raise FxsimError("estimate: got both or neither of --target and --compare; allowed: one of them")
    if compare and (format is not Format.table or plot is not None):
        raise FxsimError("estimate: got --format or --plot with --compare; allowed: a table, with or without --save")
    graph = fxsim.read(model)
    way: Way | None = overlap.value if overlap else None
    costs = [fxsim.estimate(graph, t, way) for t in compare or (target,)]
    if format is Format.table:
        with out.capture() as captured:
            layers, summary = terminal.cost_report(*costs)
            out.print(layers)
            terminal.say(out, summary)
        text = captured.get()
    else:
        text = costs[0].text(format.value)
    if plot is not None:
        costs[0].plot(plot)
    if save is not None:
        atomic_write(save, text.encode())
    else:
        out.file.write(text)


@app.command()
def calibrate(
    target: Annotated[str, typer.Argument(help="An mcu target: a name (see: fxsim targets) or a .toml file.")],
    measured: Annotated[
        Path, typer.Argument(help="A .csv file with the columns model, latency_ms and, if any, layer.")
    ],
    save: Annotated[Path, typer.Option("--save", "-o", help="The .toml file to write.")] = Path("calibrated.toml"),
) -> None:
    """Fit a microcontroller to your own measurements and write it as a target of its own."""
    from fxsim.calibration import calibrate as fitted

    result = fitted(target, measured, save.stem)
    path = result.save(save)
    out.print(terminal.calibration(result))
    terminal.say(out, f"saved {path}, evidence: {result.mcu.evidence}")


@app.command()
def targets() -> None:
    """List the hardware targets, and the kernel libraries that microcontrollers can be named with."""
    from fxsim.targets import describe_libraries, describe_targets

    headings, rows = describe_targets()
    out.print(terminal.table("targets", dict.fromkeys(headings, "left"), rows))
    headings, rows = describe_libraries()
    out.print(terminal.table("libraries: CORE+LIBRARY[@CLOCK][@VOLTS]", dict.fromkeys(headings, "left"), rows))


@app.command()
def numerics() -> None:
    """List the numerics profiles, and how far each was verified."""
    rows = []
    for name in fxsim.list_numerics():
        p = fxsim.load_numerics(name)
        conv = p.of("CONV_2D", delegated=True)
        acc = f"{conv.accumulator.bits} bits, {conv.accumulator.overflow}"
        rescale = f"{conv.requantize.scheme}, {conv.requantize.rounding}"
        rows.append([name, p.description, acc, rescale, p.verified, p.against])
    headings = ("numerics", "what", "accumulator", "requantize", "verified", "against")
    out.print(terminal.table("numerics", dict.fromkeys(headings, "left"), rows))


@app.command()
def bits(model: Model, numerics: Numerics = None) -> None:
    """Show which accumulator each layer needs so that no input can ever overflow it. Exit code 1 if the profile's can."""
    from fxsim.sim.registers import needed_bits

    rows = needed_bits(fxsim.read(model), numerics)
    out.print(terminal.needed(rows, f"registers of {model.name} as {_called(model, numerics)}"))
    if not all(r.safe for r in rows):
        raise typer.Exit(1)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def prove(context: typer.Context) -> None:
    """Prove a claim about rounding, requantization or accumulators, or show its least counterexample."""
    from fxsim.prove.cli import app as claims  # loaded here, since it brings the compiler along

    claims(args=context.args, prog_name="fxsim prove")


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("fxsim-demo"),
) -> None:
    """Run the model that ships with fxsim, compare it with recordings of two engines, and price it on three targets."""
    from fxsim import demo as story

    story.run(folder, out)


def version(asked: bool) -> None:
    """Prints the version and leaves."""
    if asked:
        out.print(f"fxsim {fxsim.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
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
