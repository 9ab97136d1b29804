"""``estimate``, ``calibrate``, ``targets``: what a model costs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fxsim
from fxsim.cli.common import Model, app, out
from fxsim.errors import FxsimError
from fxsim.files import atomic_write
from fxsim.report import sheet, terminal

if TYPE_CHECKING:
    from fxsim.cost.profiles import Overlap as Way


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
        Overlap | None,
        typer.Option(help="How computing and fetching go together (mcu, dsp, systolic).", show_default=False),
    ] = None,
    technology: Annotated[
        str | None, typer.Option(help="Energies of another process (accelerators, dsp): 45nm, 7nm.", show_default=False)
    ] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print.")] = Format.table,
    plot: Annotated[Path | None, typer.Option(help="Write a picture to this .png file.")] = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write to this file instead of printing.")] = None,
) -> None:
    """Estimate cycles, memory traffic and energy of each layer on a target, or compare two targets."""
    if bool(target) == bool(compare):
        raise FxsimError("estimate: got both or neither of --target and --compare; allowed: one of them")
    from fxsim.report.compare_cost import compare_costs

    graph = fxsim.read(model)
    way: Way | None = overlap.value if overlap else None
    costs = [fxsim.estimate(graph, t, way, technology) for t in compare or (target,)]
    result = compare_costs(*costs) if compare else costs[0]
    if format is Format.table:
        with out.capture() as captured:
            layers, summary = terminal.cost_report(*costs)
            out.print(layers)
            terminal.say(out, summary)
        text = captured.get()
    else:
        text = result.text(format.value)
    if plot is not None:
        result.plot(plot)
    if save is not None:
        atomic_write(save, text.encode())
    else:
        out.file.write(text)


@app.command()
def calibrate(
    target: Annotated[str, typer.Argument(help="A target: a name (see: fxsim targets) or a .toml file.")],
    measured: Annotated[
        Path, typer.Argument(help="A .csv file with the columns model, latency_ms and, if any, layer.")
    ],
    save: Annotated[Path, typer.Option("--save", "-o", help="The .toml file to write.")] = Path("calibrated.toml"),
) -> None:
    """Fit a target to your own measurements and write it as a target of its own."""
    from fxsim.calibration import calibrate as fitted

    result = fitted(target, measured, save.stem)
    path = result.save(save)
    out.print(terminal.calibration(result))
    terminal.say(out, f"saved {path}, evidence: {result.profile.evidence}")


@app.command()
def targets() -> None:
    """List the hardware targets, the kernel libraries of microcontrollers, and the technologies of all others."""
    from fxsim.targets import describe_libraries, describe_targets, describe_technologies

    headings, rows = describe_targets()
    out.print(sheet.table("targets", dict.fromkeys(headings, "left"), rows))
    headings, rows = describe_libraries()
    out.print(sheet.table("libraries: CORE+LIBRARY[@CLOCK][@VOLTS]", dict.fromkeys(headings, "left"), rows))
    headings, rows = describe_technologies()
    out.print(sheet.table("technologies: --technology NAME; picojoules", dict.fromkeys(headings, "left"), rows))
