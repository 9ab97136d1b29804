"""``compare``: a dump against the simulation."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import fxsim
from fxsim.cli.common import Count, Input, Model, Numerics, app, out, simulate
from fxsim.report import terminal

Dump = Annotated[
    Path,
    typer.Option("--against", "-a", help="The dump: .npz, .npy, .bin, .csv, .hex, .c, .json, .log, ... or a folder."),
]


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
    count: Count = 1,
) -> None:
    """Compare a dump with the simulation, tensor by tensor. Exit code 1 if they differ."""
    result = fxsim.compare(simulate(model, source, count, numerics), against, mode.value, again)
    out.print(terminal.comparison(f"{against.name} against {model.name} as {result.numerics}", result))
    for note in result.notes:
        terminal.say(out, note)
    terminal.say(out, terminal.verdict(result), "green" if result.equal else "red")
    if not result.equal:
        raise typer.Exit(1)
