"""The command line: the public functions, one command each. Exit code 2 and one line on any error."""

import sys
from pathlib import Path
from typing import Annotated

import typer

import fxsim
from fxsim.cli import diagnosing, explaining, exporting, pricing, quantizing, running, shrinking
from fxsim.cli.common import app, err, out
from fxsim.errors import FxsimError

COMMANDS = (running, diagnosing, explaining, pricing, quantizing, shrinking, exporting)
"""where the commands are; each module adds its own to ``app``"""


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
