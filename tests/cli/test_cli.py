"""The command line as a user meets it: results, exit codes, one-line errors, nothing left behind."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import fxsim
from tests.sim.test_demo_model import DATA

MODEL = str(DATA / "digits_int8.tflite")


def fx(*args, cwd=None, code=0):
    """Runs ``fxsim`` in a process of its own; returns stdout, or the one line of the error."""
    result = subprocess.run(
        [sys.executable, "-c", "from fxsim.cli import main; main()", *map(str, args)],
        capture_output=True, text=True, cwd=cwd, check=False, env={**os.environ, "COLUMNS": "160", "NO_COLOR": "1"},
    )  # fmt: skip
    assert result.returncode == code, (result.stdout[-800:], result.stderr[-2000:])
    assert "Traceback" not in result.stderr
    if code == 2:
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1, result.stderr
        assert result.stderr.startswith("fxsim: error: ")
        return result.stderr
    return result.stdout


def test_run_save_compare_estimate(tmp_path):
    text = fx(
        "run", MODEL, "--input", "random:3", "--count", 2, "--save", tmp_path / "t.npz", "--keep", "all", "--layers"
    )
    assert "softmax" in text
    assert "bits used" in text
    with np.load(tmp_path / "t.npz", allow_pickle=False) as z:
        assert {"output_0", "tensor_14", "meta"} <= set(z.files)
        assert json.loads(str(z["meta"]))["numerics"] == "litert-reference"
    text = fx("compare", MODEL, "--input", "random:3", "--count", 2, "--against", tmp_path / "t.npz")
    assert re.search(r"elements in 11 tensors compared, 0 differ", text)
    theirs = dict(np.load(tmp_path / "t.npz", allow_pickle=False))
    theirs["tensor_16"] = theirs["tensor_16"].copy()
    theirs["tensor_16"].reshape(-1)[100] ^= 1
    np.savez(tmp_path / "device.npz", **theirs)
    text = fx("compare", MODEL, "--input", "random:3", "--count", 2, "-a", tmp_path / "device.npz", code=1)
    assert "first divergence: layer 2 ADD (tensor 16 'residual_add')" in text


def test_lists():
    numerics, targets = fx("numerics"), fx("targets")
    assert all(n in numerics for n in fxsim.list_numerics())
    assert all(n in targets for n in fxsim.list_targets())
    assert fxsim.__version__ in fx("--version")
    assert "Usage" in fx("--help")


def test_estimate_formats(tmp_path):
    target = fxsim.list_targets()[0]
    assert "cycles" in fx("estimate", MODEL, "--target", target)
    assert fx("estimate", MODEL, "--target", target, "--format", "csv").startswith("layer,name,op,runs_on,macs,cycles")
    assert json.loads(fx("estimate", MODEL, "--target", target, "--format", "json"))["target"] == target
    assert fx("estimate", MODEL, "--target", target, "--format", "html").lstrip().lower().startswith("<!doctype html")
    fx(
        "estimate",
        MODEL,
        "--target",
        target,
        "--plot",
        tmp_path / "p.png",
        "--format",
        "csv",
        "--save",
        tmp_path / "c.csv",
    )
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "c.csv").read_text().startswith("layer,")


def bad(name, *args, message):
    return pytest.param(args, message, id=name)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        bad("no file", "run", "none.tflite", "-i", "random:1", message=r"none.tflite: cannot be read"),
        bad("foreign", "run", "noise.tflite", "-i", "random:1", message=r"noise.tflite: not a .tflite file"),
        bad("truncated", "run", "short.tflite", "-i", "random:1", message=r"short.tflite: malformed or truncated"),
        bad("suffix", "run", "model.onnx2", "-i", "random:1", message=r"suffix is '.onnx2'; allowed: '.tflite'"),
        bad(
            "numerics",
            "run",
            MODEL,
            "-i",
            "random:1",
            "-n",
            "litert",
            message=r"no numerics profile 'litert'; there are",
        ),
        bad(
            "toml key",
            "run",
            MODEL,
            "-i",
            "random:1",
            "-n",
            "typo.toml",
            message=r"typo.toml: .*unknown field `bit`.*allowed keys: 'bits'",
        ),
        bad("no toml", "run", MODEL, "-i", "random:1", "-n", "none.toml", message=r"none.toml: cannot be read"),
        bad("seed", "run", MODEL, "-i", "random:x", message=r"random:x.*allowed"),
        bad("no input", "run", MODEL, "-i", "none.npy", message=r"none.npy: cannot be read"),
        bad("shape", "run", MODEL, "-i", "shape.npy", message=r"shape \[3, 3\]; allowed: \[1, 8, 8, 1\]"),
        bad("dtype", "run", MODEL, "-i", "float.npy", message=r"float64; allowed: int8"),
        bad("pickle", "run", MODEL, "-i", "pickle.npy", message=r"Python objects, which are never loaded"),
        bad(
            "save suffix",
            "run",
            MODEL,
            "-i",
            "random:1",
            "-o",
            "x.txt",
            message=r"x.txt.*allowed: a name that ends in .npz",
        ),
        bad(
            "unwritable",
            "run",
            MODEL,
            "-i",
            "random:1",
            "-o",
            "nowhere/x.npz",
            message=r"nowhere/x.npz: cannot be written",
        ),
        bad("dump", "compare", MODEL, "-i", "random:1", "-a", "noise.npz", message=r"noise.npz: is not .npz data"),
        bad(
            "dump names",
            "compare",
            MODEL,
            "-i",
            "random:1",
            "-a",
            "names.npz",
            message=r"'what' names no tensor",
        ),
        bad(
            "target", "estimate", MODEL, "-t", "cortex-m44", message=r"no target 'cortex-m44'.*did you mean 'cortex-m4'"
        ),
        bad("target toml", "estimate", MODEL, "-t", "typo.toml", message=r"typo.toml"),
        bad(
            "plot", "estimate", MODEL, "-t", "cortex-m4", "--plot", "p.xyz", message=r"p.xyz: suffix is 'xyz'; allowed"
        ),
        bad(
            "plot folder",
            "estimate",
            MODEL,
            "-t",
            "cortex-m4",
            "--plot",
            "nowhere/p.png",
            message=r"nowhere/p.png: cannot be written",
        ),
        bad("demo folder", "demo", "--out", "noise.npz", message=r"noise.npz: cannot be written|not a folder"),
    ],
)
def test_errors(args, message, tmp_path):
    (tmp_path / "noise.tflite").write_bytes(os.urandom(500))
    (tmp_path / "noise.npz").write_bytes(os.urandom(500))
    (tmp_path / "short.tflite").write_bytes((DATA / "digits_int8.tflite").read_bytes()[:4000])
    (tmp_path / "typo.toml").write_text("[accumulator]\nbit = 3\n")
    np.save(tmp_path / "shape.npy", np.zeros((3, 3), np.int8))
    np.save(tmp_path / "float.npy", np.zeros((1, 8, 8, 1)))
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "names.npz", what=np.zeros(3))
    before = sorted(p.name for p in tmp_path.iterdir())
    assert re.search(message, fx(*args, cwd=tmp_path, code=2))
    assert sorted(p.name for p in tmp_path.iterdir()) == before, "nothing is left behind"


@pytest.mark.corpus
def test_nan_and_float_models(corpus, tmp_path):
    model = corpus / "models" / "autoencoder.tflite"
    graph = fxsim.read(model)
    np.save(tmp_path / "nan.npy", np.full(graph.tensors[graph.inputs[0]].shape, np.nan, np.float32))
    assert re.search(r"is nan at \[0, 0\]; allowed: finite", fx("run", model, "-i", tmp_path / "nan.npy", code=2))
    assert "float32 inputs with int8 weights in FULLY_CONNECTED; supported by the engine: float32 weights" in fx(
        "run", corpus / "models" / "ad01_hybrid.tflite", "-i", "random:1", "-n", "tflm", code=2
    )
