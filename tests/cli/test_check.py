"""``fxsim check``: everything that a model needs and fxsim lacks, at once and before anything runs."""

import numpy as np
import pytest
from typer.testing import CliRunner

import fxsim
from fxsim.cli import app
from fxsim.errors import UnsupportedOp
from fxsim.importers import parse, tflite
from fxsim.model.fold import fold
from tests.build import Builder


def _lacking() -> bytes:
    """Six layers: an op that fxsim lacks, an element type, an attribute, a custom op, options of a custom op, and none."""
    b = Builder()
    x, half = b.tensor("x", (1, 4), "int8", 0.5, 0), b.tensor("half", (1, 4), "float16")
    t0, t1, t2 = (b.tensor(f"t{i}", (1, 4), "int8", 0.5, 0) for i in range(3))
    joined, reshaped = b.tensor("joined", (2, 4), "int8", 0.5, 0), b.tensor("reshaped", (4,), "int8", 0.5, 0)
    wave, spectrum = b.tensor("wave", (1, 14), "int16"), b.tensor("spectrum", (1, 16), "int16")
    b.op("LOGICAL_NOT", [x], [t0])
    b.op("DEQUANTIZE", [half], [t1])
    b.op("CONCATENATION", [x, x], [joined], axis=0, fused_activation_function="RELU")
    b.custom("Unheard", [x], [t2], {"a": 1})
    b.custom("SignalRfft", [wave], [spectrum], {"T": 7, "fft_length": 14})
    b.op("RESHAPE", [x], [reshaped], new_shape=[4])
    return b.finish([x, half, wave], [reshaped])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "lacking.tflite"
    path.write_bytes(_lacking())
    return path


def test_all_gaps_at_once(model):
    gaps = fxsim.unsupported(fxsim.survey(model))
    assert [(g.layer, g.op) for g in gaps] == [
        (0, "LOGICAL_NOT"),
        (1, "DEQUANTIZE"),
        (2, "CONCATENATION"),
        (3, "Unheard"),
        (4, "SignalRfft"),
    ]
    said = [g.reason for g in gaps]
    assert "input 0 'x' is int8; supported: 'bool'" in said[0]
    assert "tensor 'half' is float16; numerics 'litert-reference' computes float32" in said[1]
    assert "fused activation is RELU; supported: NONE" in said[2]
    assert said[3] == "op is not supported"
    assert "fft_length is 14; supported: even products" in said[4]


def test_reading_names_the_first(model):
    with pytest.raises(UnsupportedOp, match=r"layer 0 LOGICAL_NOT 't0': input 0 'x' is int8; supported: 'bool'"):
        fxsim.read(model)


def test_the_command(model):
    result = CliRunner().invoke(app, ["check", str(model)])
    assert result.exit_code == 2
    for text in (
        "LOGICAL_NOT",
        "DEQUANTIZE",
        "fused activation is RELU",
        "Unheard",
        "fft_length is 14",
        "supported ops:",
    ):
        assert text in result.stdout
    assert "RESHAPE │" not in result.stdout.split("supported ops:", maxsplit=1)[0]


def test_nothing_lacking(tmp_path):
    b = Builder()
    x, y = b.tensor("x", (2, 3), "int8", 1.0, 0), b.tensor("y", (6,), "int8", 1.0, 0)
    path = tmp_path / "whole.tflite"
    path.write_bytes(b.op("RESHAPE", [x], [y], new_shape=[6]).finish([x], [y]))
    assert fxsim.unsupported(fxsim.survey(path)) == ()
    result = CliRunner().invoke(app, ["check", str(path), "--numerics", "tflm"])
    assert result.exit_code == 0
    assert "all 1 layers of whole.tflite can be simulated as tflm" in result.stdout


def test_what_one_engine_lacks():
    """Gaps depend on the numerics: TFLM pads a SPACE_TO_BATCH_ND with memory that it never sets."""
    b = Builder()
    x, y = b.tensor("x", (1, 3, 1), "int8", 1.0, 3), b.tensor("y", (2, 2, 1), "int8", 1.0, 3)
    b.op("SPACE_TO_BATCH_ND", [x, b.constant("block", [2]), b.constant("paddings", [[0, 1]])], [y])
    graph = parse(b.finish([x], [y]), "border")
    assert fxsim.unsupported(graph, "litert-reference") == ()
    (gap,) = fxsim.unsupported(graph, "tflm")
    assert "the engine pads with unset memory" in gap.reason


def test_folding_keeps_what_it_cannot_compute():
    """Positions beyond a constant are left in the graph, where the run refuses them."""
    b = Builder()
    x, y = b.constant("x", [1, 2, 3]), b.tensor("y", (1,), "int32")
    content = b.op("GATHER", [x, b.constant("at", [5])], [y], axis=0, batch_dims=0).finish([], [y])
    graph = fold(tflite.parse(content, "far"))
    assert [n.op for n in graph.nodes] == ["GATHER"]
    assert np.array_equal(graph.tensors[0].data, [1, 2, 3])
