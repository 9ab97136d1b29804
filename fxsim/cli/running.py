"""``run``, ``check``, ``bits``, ``numerics``: a model as an engine computes it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import fxsim
from fxsim.cli.common import Count, Input, Model, Numerics, app, called, out, simulate
from fxsim.errors import FxsimError
from fxsim.report import terminal


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
    out.print(terminal.table("numerics", dict.fromkeys(headings, "left"), rows))
