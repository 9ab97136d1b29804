"""``compare``, ``reproduce``, ``vectors``: a dump against the simulation, and cases for test benches."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import fxsim
from fxsim.cli.common import Count, Input, Model, Numerics, app, out, simulate
from fxsim.names import counted
from fxsim.report import terminal

Dump = Annotated[
    Path,
    typer.Option("--against", "-a", help="The dump: .npz, .npy, .bin, .csv, .hex, .c, .json, .log, ... or a folder."),
]


Folder = Annotated[Path, typer.Option("--out", "-o", help="The folder to write to; it is made.", show_default=False)]


class Mode(StrEnum):
    """How layers are judged."""

    entire = "entire"
    single = "single"


@app.command()
def compare(
    model: Model,
    against: Dump,
    source: Input,
    numerics: Numerics = None,
    mode: Annotated[
        Mode, typer.Option(help="The whole network, or each layer on the dump's own inputs.")
    ] = Mode.entire,
    again: Annotated[Path | None, typer.Option(help="A second dump of the same run.", show_default=False)] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with heat maps to this file.", show_default=False)
    ] = None,
    count: Count = 1,
) -> None:
    """Compare a dump with the simulation, tensor by tensor. Exit code 1 if they differ, or the two dumps of --again do."""
    result = fxsim.compare(simulate(model, source, count, numerics), against, mode.value, again)
    out.print(terminal.comparison(f"{against.name} against {model.name} as {result.numerics}", result))
    for note in result.notes:
        terminal.say(out, note)
    terminal.say(out, terminal.verdict(result), "green" if result.equal else "red")
    if html is not None:
        result.to_html(html)
    if result.unsteady:
        terminal.say(
            out, f"left out, as two runs of the device differ: {counted(len(result.unsteady), 'tensor')}", "red"
        )
    if not result.equal or result.unsteady:
        raise typer.Exit(1)


@app.command()
def reproduce(
    model: Model,
    against: Dump,
    source: Input,
    folder: Folder,
    numerics: Numerics = None,
    layer: Annotated[int | None, typer.Option(help="Which layer.", show_default="the first that differs")] = None,
    count: Count = 1,
) -> None:
    """Write the smallest case in which a device's dump differs: a model of one layer, its input and both outputs."""
    from fxsim.diagnose.reproduce import reproduce as smallest

    found = smallest(simulate(model, source, count, numerics), against, layer)
    written = found.save(folder)
    what = "one output" if found.cropped else "the whole layer"
    terminal.say(
        out,
        f"layer {found.layer} {found.op} at {list(found.index)}: fxsim {found.got.reshape(-1)[:8].tolist()}, "
        f"dump {found.expected.reshape(-1)[:8].tolist()} as {found.numerics}\n{what}: {len(written)} files in {folder}",
    )


@app.command()
def vectors(
    model: Model,
    source: Input,
    folder: Folder,
    numerics: Numerics = None,
    layer: Annotated[
        list[int] | None, typer.Option("--layer", "-l", help="A layer; again for more.", show_default="all")
    ] = None,
    formats: Annotated[str, typer.Option("--format", "-f", help="Some of npy,c,json,hex.")] = "npy,c,json,hex",
    count: Count = 1,
) -> None:
    """Write golden vectors of layers: inputs, constants, accumulators and outputs, for firmware and RTL test benches."""
    from fxsim.diagnose.vectors import save
    from fxsim.diagnose.vectors import vectors as golden

    found = golden(simulate(model, source, count, numerics), layer)
    written = save(found, folder, [f.strip() for f in formats.split(",") if f.strip()])
    name, files = found[0].numerics if found else "", counted(len(written), "file")
    terminal.say(out, f"{counted(len(found), 'layer')} as {name}: {files} in {folder}")
