"""Commands on a device that computes otherwise: what its arithmetic is."""

import io
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fxsim
from fxsim.cli.common import Count, Model, Numerics, app, called, out, progress
from fxsim.errors import FxsimError
from fxsim.files import atomic_write
from fxsim.names import counted
from fxsim.report import terminal

if TYPE_CHECKING:
    from fxsim.diagnose.explain import Explanation


@app.command()
def explain(
    model: Model,
    dump: Annotated[Path | None, typer.Argument(help="What the device computed.", show_default=False)] = None,
    source: Annotated[
        str | None, typer.Option("--input", "-i", help="X.npy, X.npz or random:SEED: what the device was given.")
    ] = None,
    numerics: Numerics = None,
    count: Count = 1,
    device: Annotated[
        str | None,
        typer.Option(help="A command to ask instead of a dump: './run_board.sh {input} {output}'.", show_default=False),
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="How often the device may be asked.")] = 200,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write what was found to this .toml file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.", show_default=False)] = None,
    separate: Annotated[
        Path | None,
        typer.Option(help="Write inputs that tell apart what is left to this .npz file.", show_default=False),
    ] = None,
) -> None:
    """Find the arithmetic under which every bit of a dump comes out. Exit code 1 if a layer stays unexplained."""
    from fxsim.diagnose.blackbox import Command
    from fxsim.sim.inputs import load_inputs

    if (dump is None) == (device is None):
        raise FxsimError("explain: got both or neither of a dump and --device; allowed: one of them")
    if dump is not None and source is None:
        raise FxsimError("explain: got a dump without --input; allowed: both")
    if html is not None and dump is None:
        raise FxsimError("explain: got --html with --device; allowed: --html with a dump")
    for path, suffix in ((save, ".toml"), (separate, ".npz")):
        if path is not None and path.suffix.lower() != suffix:
            raise FxsimError(f"{path}: got the suffix {path.suffix!r}; allowed: {suffix!r}")
    for path in (save, separate, html):
        if path is not None and not path.absolute().parent.is_dir():
            raise FxsimError(f"{path}: its folder does not exist; allowed: a folder that is there")
    graph = fxsim.read(model)
    x = None if source is None else load_inputs(graph, source, count)
    with progress(f"{model.name} as {called(model, numerics)}", len(graph.nodes)) as tick:
        asked = Command(device, graph) if device is not None else dump
        assert asked is not None
        found = fxsim.explain(graph, asked, x, numerics, tick, queries)
    if save is not None:
        found.save(save)
    out.print(terminal.explanation(found, model.name))
    if html is not None and dump is not None and x is not None:
        trace = fxsim.simulate(graph, x, numerics)
        fxsim.compare(trace, dump, "single").to_html(html, found)
    unexplained = [f for f in found.differing if f.status != "explained"]
    for note in found.notes:
        terminal.say(out, note)
    terminal.say(out, found.words, "red" if unexplained else "green")
    terminal.say(out, telling(found, model, separate))
    if save is not None:
        terminal.say(out, saved(found, save))
    if found.queries:
        terminal.say(out, f"the device was asked {counted(found.queries, 'time')}")
    if unexplained:
        raise typer.Exit(1)


def saved(found: "Explanation", path: Path) -> str:
    """How much of the dump the profile that was written makes."""
    from fxsim.diagnose.explain_words import spans

    if not found.missed:
        return f"{path}: each layer, given the device's own inputs, is the device's in every bit"
    layers = spans(sorted(found.missed))
    return (
        f"{path}: does not make all that the device does: {sum(found.missed.values()):,} elements differ, in layers "
        f"{layers}, though each has the device's own inputs (a profile has one arithmetic for all layers of an op and a type)"
    )


def telling(found: "Explanation", model: Path, path: Path | None) -> str:
    """What stays ambiguous, and how to tell it apart; the inputs that do are written to ``path``."""
    import numpy as np

    from fxsim.diagnose.explain_words import kinds_words
    from fxsim.diagnose.reproduce import alone

    f = found.told_by
    if f is None:
        return "nothing left that an input could tell apart" if path is not None else ""
    text, given = kinds_words(f), f.separating_input
    if path is None:
        return f"{text}\nadd --separate telling.npz to write inputs of layer {f.layer} that tell them apart"
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **given)  # type: ignore[arg-type]
    atomic_write(path, buffer.getvalue())
    asked = model
    if set(given) != {found.graph.tensors[i].name for i in found.graph.inputs}:
        node = next(n for n in found.graph.nodes if n.index == f.layer)
        asked = fxsim.export(alone(found.graph, node), path.with_suffix(model.suffix))
    command = shlex.join(["fxsim", "explain", str(asked), "NEW_DUMP", "--input", str(path)])
    return f"{text}\nrun the device on {path} (layer {f.layer}, model {asked}), then: {command}"
