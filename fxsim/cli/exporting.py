"""``export``: a model as a file that others load."""

from pathlib import Path
from typing import Annotated, Literal

import typer

import fxsim
from fxsim.cli.common import app, out
from fxsim.report import terminal

AnyModel = Annotated[Path, typer.Argument(help="A .tflite or .onnx model.", show_default=False)]


@app.command()
def export(
    model: AnyModel,
    save: Annotated[Path, typer.Option("--save", "-o", help="The file to write: .tflite, .onnx, .h or .bin.")],
    style: Annotated[
        Literal["qdq", "qoperator"],
        typer.Option(help="Of a quantized .onnx: pairs of QuantizeLinear and DequantizeLinear, or quantized ops."),
    ] = "qdq",
    nhwc: Annotated[
        bool, typer.Option("--nhwc", help="Let images of an .onnx model enter and leave as (N, H, W, C).")
    ] = False,
) -> None:
    """Write a model as .tflite, .onnx, C header or packed binary; one of the other dialect is converted."""
    graph = fxsim.read(model)
    if nhwc:
        graph = fxsim.convert.to_tflite(graph, nhwc=True)
    path = fxsim.export(graph, save, style=style)
    terminal.say(out, f"saved {path}")
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for i in indices:
            t = graph.tensors[i]
            terminal.say(out, f"{what} {t.name}: {t.qtype.name} {list(t.shape)}")
