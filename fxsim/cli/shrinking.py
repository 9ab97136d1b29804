"""``evaluate``, ``prune``, ``ladder``, ``allocate``: how good a network is, and how small it can be."""

from pathlib import Path
from typing import Annotated

import typer

import fxsim
from fxsim.cli.common import Model, Numerics, app, called, out, progress
from fxsim.errors import FxsimError
from fxsim.files import atomic_write
from fxsim.report import shrinking as tables
from fxsim.report import terminal

Data = Annotated[
    Path, typer.Option("--data", "-d", help="An .npz file with x and y; ladders take x_train, y_train too.")
]
Target = Annotated[str, typer.Option("--target", "-t", help="A target name (see: fxsim targets) or a .toml file.")]
Plot = Annotated[Path | None, typer.Option(help="Write a picture to this file.", show_default=False)]
Save = Annotated[
    Path | None, typer.Option("--save", "-o", help="Write the network to this .tflite file.", show_default=False)
]


@app.command()
def evaluate(
    model: Model,
    data: Data,
    numerics: Numerics = None,
    reference: Annotated[Path | None, typer.Option(help="A model to agree with.", show_default=False)] = None,
    anomaly: Annotated[bool, typer.Option("--anomaly", help="Judge the difference of output and input.")] = False,
    classes: Annotated[bool, typer.Option("--classes", help="Show each class.")] = False,
    plot: Plot = None,
) -> None:
    """Accuracy, F1 and ROC of a model on labelled data, bit for bit as an engine computes."""
    from fxsim.evaluation.data import load

    graph, examples = fxsim.read(model), load(data)
    with progress(f"{model.name} as {called(model, numerics)}", len(examples)) as tick:
        result = fxsim.evaluate(
            graph, examples, numerics, fxsim.read(reference) if reference else None,
            task="anomaly" if anomaly else "classify", progress=tick,
        )  # fmt: skip
    out.print(tables.evaluation(result, model.name))
    if classes and result.classes:
        out.print(tables.classes(result))
    if plot is not None:
        result.plot(plot)


@app.command()
def prune(
    model: Model,
    save: Annotated[Path, typer.Option("--save", "-o", help="The .tflite file to write.", show_default=False)],
    channels: Annotated[float | None, typer.Option(help="Share of channels to remove.", show_default=False)] = None,
    sparsity: Annotated[float | None, typer.Option(help="Share of weights to set to zero.", show_default=False)] = None,
    pattern: Annotated[str, typer.Option(help="Which zeros: unstructured, or N:M such as 2:4.")] = "unstructured",
    method: Annotated[str, typer.Option(help="What goes first: magnitude (the least) or random.")] = "magnitude",
    multiple: Annotated[int, typer.Option(help="Round what is left of channels up to a multiple.")] = 1,
    target: Annotated[str, typer.Option("--target", "-t", help="Where to show the effect.")] = "cortex-m4",
) -> None:
    """Remove channels or zero weights of a network, and see what a target makes of it."""
    asked = [channels is not None, sparsity is not None, pattern != "unstructured"]
    if sum(asked) != 1:
        raise FxsimError("prune: exactly one of --channels, --sparsity and --pattern N:M says how much goes")
    graph = fxsim.read(model)
    if channels is not None:
        small = fxsim.prune.channels(graph, channels, method, multiple=multiple)
    else:
        small = fxsim.prune.weights(graph, sparsity, method, pattern)
    before, after = (fxsim.estimate(g, target).totals() for g in (graph, small))
    fxsim.export(small, save)
    out.print(tables.before_and_after(before, after, f"{model.name} on {target}"))
    terminal.say(out, f"saved {save}")


@app.command()
def ladder(
    model: Model,
    data: Data,
    target: Target = "cortex-m4",
    numerics: Annotated[
        str, typer.Option("--numerics", "-n", help="The engine of rungs that it can run.")
    ] = "litert-reference",
    rungs: Annotated[str, typer.Option(help="Names, separated by commas.", show_default="all")] = "",
    train: Annotated[int, typer.Option(min=0, help="Also train each rung for so many epochs (needs torch).")] = 0,
    plot: Plot = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write the table to this .csv file.")] = None,
) -> None:
    """A float network from 64 bits to 1: accuracy, size, cycles and energy, plain and repaired."""
    from fxsim.choose.ladder import RUNGS, steps

    names = tuple(r.strip() for r in rungs.split(",") if r.strip()) or RUNGS
    graph = fxsim.read(model)
    trained = None
    if train:
        from fxsim.train import trainer

        trained = trainer(epochs=train)
    with progress(f"{model.name} down the ladder", steps(names, train=bool(train))) as tick:
        result = fxsim.ladder(graph, data, target, names, numerics, train=trained, progress=tick)
    out.print(tables.ladder(result, model.name))
    for note in result.notes:
        terminal.say(out, note)
    if plot is not None:
        result.plot(plot)
    if save is not None:
        atomic_write(save, result.table.to_csv(index=False).encode())


@app.command()
def allocate(
    model: Model,
    data: Data,
    budget: Annotated[
        str, typer.Option("--budget", "-b", help="Such as 40KiB (flash), 2.5ms or 80uJ.", show_default=False)
    ],
    target: Target = "cortex-m4",
    bits: Annotated[str, typer.Option(help="Weight bits to choose from.")] = "8,4,2",
    scheme: Annotated[str, typer.Option(help="All else about the quantization.")] = "int8",
    save: Save = None,
) -> None:
    """Choose the bits of each layer so that the network keeps to a budget, which the estimate proves."""
    from fxsim.choose.allocate import trials

    if not all(b.strip().isdecimal() for b in bits.split(",")):
        raise FxsimError(f"allocate: --bits is {bits!r}; allowed: numbers separated by commas, such as 8,4,2")
    widths = [int(b) for b in bits.split(",")]
    graph = fxsim.read(model)
    with progress(f"{model.name}: each layer alone", trials(graph, widths)) as tick:
        result = fxsim.allocate_bits(graph, data, budget, target, widths, scheme, progress=tick)
    if save is not None:
        fxsim.export(result.graph, save)
    out.print(tables.allocation(result, model.name))
    terminal.say(out, tables.proof(result), "green")
