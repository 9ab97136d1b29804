"""``fxsim export``."""

import subprocess
import sys

import fxsim
from tests.export.floats import encoder


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from fxsim.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_float_network_as_tflite(tmp_path):
    (tmp_path / "m.onnx").write_bytes(encoder())
    run = command("export", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.tflite"))
    assert run.returncode == 0, run.stderr
    assert "input x: float32" in run.stdout
    assert any(n.op == "GELU" for n in fxsim.read(tmp_path / "m.tflite").nodes)


def test_a_wrong_suffix_is_one_line(tmp_path):
    (tmp_path / "m.onnx").write_bytes(encoder())
    run = command("export", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.pt"))
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "'.tflite', '.onnx', '.h', '.bin'" in run.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
