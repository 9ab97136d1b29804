"""``compare``: a dump against the simulation."""

from pathlib import Path
from typing import Annotated

import typer

import fxsim
from fxsim.cli.common import Count, Input, Model, Numerics, app, out, simulate
from fxsim.report import terminal


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
