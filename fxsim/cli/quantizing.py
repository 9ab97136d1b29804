"""``quantize``: a float model becomes one of integers."""

from pathlib import Path
from typing import Annotated

import typer

import fxsim
from fxsim.cli.common import Numerics, app, out, progress
from fxsim.errors import FxsimError
from fxsim.report import terminal

FloatModel = Annotated[Path, typer.Argument(help="A float .tflite or .onnx model.", show_default=False)]


@app.command()
def quantize(
    model: FloatModel,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", "-c", help="Typical inputs: an .npy or .npz file.", show_default=False),
    ] = None,
    scheme: Annotated[
        str, typer.Option("--scheme", "-s", help="As int8, int4+clip+bias: a scheme, corrections.")
    ] = "int8",
    bits: Annotated[
        list[str] | None,
        typer.Option(help="Weight bits of one layer (index, name or op), or float.", metavar="LAYER=N"),
    ] = None,
    integer: Annotated[
        bool, typer.Option("--integer", help="Integer inputs and outputs, instead of float ones.")
    ] = False,
    numerics: Numerics = None,
    state: Annotated[
        Path | None, typer.Option(help="Keep the calibration in this .npz file, and go on from it.", show_default=False)
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write the model to this file.")] = None,
) -> None:
    """Quantize a float model after training: calibrate, choose scales, and repair."""
    from fxsim.quant.calibration import inputs_of

    graph = fxsim.read(model)
    x, total = (None, 0) if calibration is None else inputs_of(graph, calibration)
    overrides = dict(_override(text) for text in bits or ())
    with progress(f"calibrating {model.name}", total) as tick:
        result = fxsim.quantize(
            graph, x, scheme, overrides, io="integer" if integer else "float32", numerics=numerics, state=state,
            progress=tick,
        )  # fmt: skip
    out.print(terminal.quantized(result, f"{model.name} as {scheme}"))
    sizes = [sum(t.nbytes for t in g.tensors if t.constant) for g in (graph, result)]
    terminal.say(out, f"constants: {sizes[0]} -> {sizes[1]} bytes")
    if save is not None:
        terminal.say(out, f"saved {fxsim.export(result, save)}")


def _override(text: str) -> tuple[int | str, int | str]:
    """``LAYER=BITS`` as a layer and its bits."""
    layer, _, value = text.rpartition("=")
    if not layer or not (value == "float" or value.isdecimal()):
        raise FxsimError(f"--bits is {text!r}; allowed: LAYER=BITS or LAYER=float")
    return int(layer) if layer.isdecimal() else layer, int(value) if value.isdecimal() else value
