"""``run`` on data sets, ``--threads`` and ``warmup`` on the command line."""

import numpy as np

from tests.cli.test_cli import MODEL, fx


def test_run_streams_a_data_set_and_resumes(tmp_path):
    x = np.random.default_rng(0).integers(-128, 127, (40, 1, 8, 8, 1), dtype=np.int8, endpoint=True)
    np.savez(tmp_path / "x.npz", input_0=x)
    outs = []
    for threads in (1, 3):
        text = fx("run", MODEL, "-i", tmp_path / "x.npz", "-o", tmp_path / f"{threads}.npz", "--threads", threads)
        assert "40 inferences" in text
        assert "saved 1 tensors" in text
        with np.load(tmp_path / f"{threads}.npz", allow_pickle=False) as z:
            outs.append(z["output_0"])
    assert outs[0].shape[0] == 40
    assert np.array_equal(*outs)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.npz", "3.npz", "x.npz"]
    (tmp_path / "1.npz.journal").write_bytes(b'{"format":1,"count":40,"made_of":{"model":"other"}}\n')
    error = fx("run", MODEL, "-i", tmp_path / "x.npz", "-o", tmp_path / "1.npz", code=2)
    assert "a run was begun whose model and input" in error
    assert "delete" in error


def test_threads_without_a_file():
    assert fx("run", MODEL, "-i", "random:4", "--count", 9, "--threads", 2) == fx(
        "run", MODEL, "-i", "random:4", "--count", 9, "--threads", 1
    )


def test_warmup():
    assert fx("warmup", MODEL, "--numerics", "tflm").strip() == "ready: tflm"
    assert "'nonsense'" in fx("warmup", MODEL, "--numerics", "nonsense", code=2)
