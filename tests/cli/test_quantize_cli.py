"""``fxsim quantize``: a float file in, an integer file out; one line and nothing half-written on any error."""

import numpy as np
import pytest

import fxsim
from tests.cli.test_cli import fx
from tests.quant.graphs import FloatBuilder


@pytest.fixture
def files(tmp_path):
    b, rng = FloatBuilder(), np.random.default_rng(0)
    x = b.input("x", (1, 6, 6, 2))
    y = b.conv(x, rng.normal(size=(4, 3, 3, 2)), rng.normal(size=4), activation="RELU")
    out = b.dense(b.reshape(y, (1, 64)), rng.normal(size=(3, 64)))
    fxsim.export(b.finish(out), tmp_path / "float.tflite")
    np.savez(tmp_path / "cal.npz", x=rng.normal(size=(20, 6, 6, 2)).astype(np.float32))
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 6, 6, 2), np.float32))
    return tmp_path


def test_quantize_saves_a_model_that_runs(files):
    made, state = files / "int8.tflite", files / "state.npz"
    args = ("quantize", files / "float.tflite", "--calibration", files / "cal.npz", "--integer", "--state", state)
    text = fx(*args, "--save", made, "--scheme", "int8+bias", "--bits", "0=4", "--numerics", "litert-reference")
    assert "int4" in text
    assert "int8 -> int8" in text
    assert "saved" in text
    q = fxsim.read(made)
    assert [q.tensors[i].qtype.name for i in (*q.inputs, *q.outputs)] == ["int8", "int8"]
    assert "int8" in fx("run", made, "--input", "random:1")
    assert state.exists()
    assert "4 bits, kmeans" in fx(*args, "--scheme", "kmeans4")  # from the state


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--calibration", "empty.npz"), "hold no inference"),
        (("--calibration", "cal.npz", "--scheme", "binary", "--numerics", "tflm"), "cannot run layer 1 CONV_2D"),
        (("--calibration", "cal.npz", "--bits", "conv"), "--bits is 'conv'; allowed: LAYER=BITS or LAYER=float"),
        (("--calibration", "cal.npz", "--save", "m.txt"), "suffix is '.txt'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(files, args, told):
    before = sorted(files.iterdir())
    fx_error = fx("quantize", "float.tflite", *args, cwd=files, code=2) if "--save" not in args else None
    if fx_error is None:  # the table is printed first, the file is what fails
        import subprocess
        import sys

        run = [sys.executable, "-c", "from fxsim.cli import main; main()", "quantize", "float.tflite", *args]
        fx_error = subprocess.run(run, capture_output=True, text=True, cwd=files, check=False).stderr
    assert told in fx_error
    assert sorted(files.iterdir()) == before
