"""What all commands share: the application, its consoles, the options that many have, progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import fxsim

if TYPE_CHECKING:
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
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Inferences that run at once; no bit depends on it.", show_default="one a core"),
]
Numerics = Annotated[
    str | None,
    typer.Option(
        "--numerics",
        "-n",
        help="A profile name (see: fxsim numerics) or a .toml file.",
        show_default="the usual engine of the file's format",
    ),
]


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


def called(model: Path, numerics: str | None) -> str:
    """The name of the profile that a command runs with."""
    from fxsim.numerics import numerics_of

    return numerics_of(str(model), numerics).name


def simulate(
    model: Path,
    source: str,
    count: int,
    numerics: str | None,
    keep: "SimKeep" = "outputs",
    threads: int | None = None,
) -> "Trace":
    """Reads, loads and runs."""
    from fxsim.numerics import numerics_of
    from fxsim.sim.inputs import load_inputs, make_batch

    graph = fxsim.read(model)
    x = load_inputs(graph, source, count)
    profile = numerics_of(str(model), numerics)
    batch = make_batch(graph, x, real=profile.real is not None)
    with progress(f"{model.name} as {profile.name}", batch.count) as tick:
        return fxsim.simulate(graph, x, numerics, keep, tick, threads)
