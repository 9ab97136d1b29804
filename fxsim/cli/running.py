"""``run``, ``warmup``, ``check``, ``bits``, ``numerics``: a model as an engine computes it."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import fxsim
from fxsim.cli.common import Count, Input, Model, Numerics, Threads, app, called, out, progress, simulate
from fxsim.errors import FxsimError
from fxsim.names import counted
from fxsim.report import sheet, terminal

if TYPE_CHECKING:
    from fxsim.sim.trace import Summary


class Keep(StrEnum):
    """Which tensors run saves."""

    outputs = "outputs"
    all = "all"


@app.command()
def run(
    model: Model,
    source: Input,
    numerics: Numerics = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write the trace to this .npz file.")] = None,
    keep: Annotated[Keep, typer.Option(help="Tensors to keep in the trace.")] = Keep.outputs,
    count: Count = 1,
    layers: Annotated[bool, typer.Option("--layers", help="Show each layer's registers.")] = False,
    threads: Threads = None,
) -> None:
    """Run a model bit for bit, as an engine or chip computes it.

    With --save, inputs are read and outputs written piece by piece, however many; after an interrupt, the same command
    goes on.
    """
    if save is not None and save.suffix.lower() != ".npz":
        raise FxsimError(f"--save is {str(save)!r}; allowed: a name that ends in .npz")
    if save is not None and not layers:
        stream(model, source, numerics, save, keep.value, count, threads)
        return
    trace = simulate(model, source, count, numerics, keep.value, threads)
    if save is not None:
        trace.save(save)
    _show(trace.summaries(), model, trace.plan.numerics.name, trace.batch.count)
    if layers:
        out.print(terminal.layers(trace.stats))
    if save is not None:
        terminal.say(out, f"saved {len(trace.kept)} tensors to {save}")


def stream(
    model: Path, source: str, numerics: str | None, save: Path, keep: Literal["outputs", "all"], count: int,
    threads: int | None,
) -> None:  # fmt: skip
    """Runs a data set piece by piece into a file."""
    from fxsim.numerics import numerics_of
    from fxsim.sim.dataset import open_dataset
    from fxsim.sim.stream import run_file

    graph, profile = fxsim.read(model), numerics_of(str(model), numerics)
    data = open_dataset(graph, source, count, real=profile.real is not None)
    with progress(f"{model.name} as {profile.name}", data.count) as tick:
        saved = run_file(graph, data, save, profile, keep, threads, tick)
    if saved.resumed:
        terminal.say(out, f"{saved.resumed} of {saved.count} inferences were done by an earlier run")
    _show(saved.outputs, model, saved.numerics, saved.count)
    terminal.say(out, f"saved {saved.tensors} tensors to {save}")


def _show(rows: "Iterable[Summary]", model: Path, numerics: str, count: int) -> None:
    out.print(terminal.outputs(rows, f"{model.name} as {numerics}, {counted(count, 'inference')}"))


@app.command()
def warmup(
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Models; by default the layers of common int8 networks.", show_default=False),
    ] = None,
    numerics: Annotated[
        list[str] | None,
        typer.Option(
            "--numerics", "-n", help="Profiles (see: fxsim numerics).", show_default="the LiteRT engines and TFLM"
        ),
    ] = None,
) -> None:
    """Compile now what models need, so that no later call waits for it."""
    from fxsim.warmup import PROFILES, common, needs

    graphs = [fxsim.read(m) for m in models] if models else common()
    found = [need for n in numerics or PROFILES for g in graphs for need in needs(g, n)]
    with progress("compiling", len(found)) as tick:
        for done, need in enumerate(found, 1):
            need()
            if tick is not None:
                tick(done)
    terminal.say(out, f"ready: {', '.join(numerics or PROFILES)}", "green")


@app.command()
def check(model: Model, numerics: Numerics = None) -> None:
    """List everything of a model that cannot be simulated, before anything runs. Exit code 2 if there is anything."""
    from fxsim.numerics import numerics_of
    from fxsim.sim.support import known_ops

    graph = fxsim.survey(model)
    found = fxsim.unsupported(graph, numerics)
    if not found:
        count = sum(len(g.nodes) for g in (graph, *graph.called))
        terminal.say(out, f"all {count} layers of {model.name} can be simulated as {called(model, numerics)}", "green")
        return
    out.print(terminal.gaps(found, model.name, called(model, numerics)))
    known = known_ops(numerics_of(str(model), numerics))
    if any(g.op not in known for g in found):
        terminal.say(out, f"supported ops: {', '.join(known)}")
    raise typer.Exit(2)


@app.command()
def bits(model: Model, numerics: Numerics = None) -> None:
    """Show which accumulator each layer needs so that no input can ever overflow it. Exit code 1 if the profile's can."""
    from fxsim.sim.registers import needed_bits

    rows = needed_bits(fxsim.read(model), numerics)
    out.print(terminal.needed(rows, f"registers of {model.name} as {called(model, numerics)}"))
    if not all(r.safe for r in rows):
        raise typer.Exit(1)


@app.command()
def numerics() -> None:
    """List the numerics profiles, and how far each was verified."""
    rows = []
    for name in fxsim.list_numerics():
        p = fxsim.load_numerics(name)
        conv = p.of("CONV_2D", delegated=True)
        acc = f"{conv.accumulator.bits} bits, {conv.accumulator.overflow}"
        rescale = f"{conv.requantize.scheme}, {conv.requantize.rounding}"
        if p.real is not None:
            acc, rescale = p.real.accumulate, f"to {p.real.format}, ties_even"
        rows.append([name, p.description, acc, rescale, p.verified, p.against])
    headings = ("numerics", "what", "accumulator", "requantize", "verified", "against")
    out.print(sheet.table("numerics", dict.fromkeys(headings, "left"), rows))
