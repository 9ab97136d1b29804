"""Data sets in pieces: the same bits as one call, whatever the pieces, threads and interrupts, in bounded memory."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import fxsim
from fxsim.sim import stream
from fxsim.sim.inputs import load_inputs
from fxsim.sim.partial import beside
from fxsim.sim.stream import run_file
from tests.build import Builder
from tests.sim.test_demo_model import DATA

MODEL = DATA / "digits_int8.tflite"
COUNT = 300


@pytest.fixture(scope="module")
def model():
    return fxsim.read(MODEL)


@pytest.fixture(scope="module")
def values(model):
    return load_inputs(model, "random:7", COUNT)


@pytest.fixture(scope="module")
def whole(model, values):
    return fxsim.simulate(model, values, keep="all", threads=1)


def saved(folder, values, name="x.npz", write=np.savez):
    write(folder / name, **values)
    return str(folder / name)


def held(path):
    with np.load(path, allow_pickle=False) as z:
        return {k: z[k] for k in z.files}


def left_behind(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("x"))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_bits_of_one_call(model, values, whole, tmp_path, threads):
    result = run_file(model, saved(tmp_path, values), tmp_path / "out.npz", keep="all", threads=threads)
    whole.save(tmp_path / "expected.npz")
    ours, expected = held(tmp_path / "out.npz"), held(tmp_path / "expected.npz")
    assert list(ours) == list(expected)
    for name, value in expected.items():
        assert ours[name].dtype == value.dtype
        assert np.array_equal(ours[name], value), name
    assert result.count == COUNT
    assert list(result.outputs) == whole.summaries()
    assert left_behind(tmp_path) == ["expected.npz", "out.npz"]


def test_simulate_gives_the_same_with_any_number_of_threads(model, values, whole):
    for threads in (2, 5):
        other = fxsim.simulate(model, values, keep="all", threads=threads)
        assert all(np.array_equal(other.kept[i], v) for i, v in whole.kept.items())


@pytest.mark.parametrize("kind", ["compressed", "npy", "batch"])
def test_files_of_every_kind(model, values, whole, tmp_path, kind):
    (x,) = values.values()
    if kind == "compressed":
        source = saved(tmp_path, values, write=np.savez_compressed)
    else:
        source = str(tmp_path / "x.npy")
        np.save(source, x if kind == "npy" else x.reshape(-1, *x.shape[2:]))
    run_file(model, source, tmp_path / "out.npz")
    expected = fxsim.simulate(model, np.load(source) if kind != "compressed" else values)
    assert np.array_equal(held(tmp_path / "out.npz")["output_0"], expected.kept[model.outputs[0]])


def test_one_inference_and_drawn_ones(model, values, whole, tmp_path):
    ((name, x),) = values.items()
    run_file(model, saved(tmp_path, {name: x[3]}), tmp_path / "out.npz")
    out = held(tmp_path / "out.npz")["output_0"]
    assert out.shape == model.tensors[model.outputs[0]].shape
    assert np.array_equal(out, whole.kept[model.outputs[0]][3])
    run_file(model, "random:7", tmp_path / "out.npz", count=COUNT)
    assert np.array_equal(held(tmp_path / "out.npz")["output_0"], whole.kept[model.outputs[0]])


class _StopError(Exception):
    pass


def stop_after(pieces, monkeypatch):
    """Lets a run die after some pieces; small ones."""
    monkeypatch.setattr(stream, "PIECE_BYTES", 1 << 14)
    calls = iter(range(pieces))

    def stop(done):
        if done and next(calls, None) is None:
            raise _StopError

    return stop


def begun(model, source, target, monkeypatch, pieces=3, **more):
    with pytest.raises(_StopError):
        run_file(model, source, target, progress=stop_after(pieces, monkeypatch), **more)
    assert not target.exists()


def test_an_interrupted_run_goes_on(model, values, whole, tmp_path, monkeypatch):
    source, target = saved(tmp_path, values), tmp_path / "out.npz"
    begun(model, source, target, monkeypatch)
    with beside(target, "partial").open("ab") as f:
        f.write(b"a piece that was never finished")
    with beside(target, "journal").open("ab") as f:
        f.write(b"299 12")
    ran = []
    one = stream.run
    monkeypatch.setattr(stream, "run", lambda plan, batch, *a: (ran.append(batch.count), one(plan, batch, *a))[1])
    result = run_file(model, source, target)
    assert 0 < result.resumed < COUNT
    assert sum(ran) == COUNT - result.resumed
    assert np.array_equal(held(target)["output_0"], whole.kept[model.outputs[0]])
    assert list(result.outputs) == whole.summaries()
    assert left_behind(tmp_path) == ["out.npz"]


def test_kill_and_resume_as_if_nothing_had_been(model, values, whole, tmp_path):
    source, target = saved(tmp_path, values), tmp_path / "out.npz"
    code = (
        "import sys, time, fxsim; from fxsim.sim import stream; stream.PIECE_BYTES = 1 << 14\n"
        "run = stream.run\n"
        "stream.run = lambda *a: (time.sleep(0.05), run(*a))[1]\n"
        "stream.run_file(fxsim.read(sys.argv[1]), sys.argv[2], sys.argv[3])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(MODEL), source, str(target)])
    journal = beside(target, "journal")
    end = time.monotonic() + 60
    while time.monotonic() < end and (not journal.exists() or journal.read_bytes().count(b"\n") < 4):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    result = run_file(model, source, target)
    assert 0 < result.resumed < COUNT
    assert np.array_equal(held(target)["output_0"], whole.kept[model.outputs[0]])


@pytest.mark.parametrize("change", ["input", "model", "numerics", "keep", "count"])
def test_what_was_begun_with_other_things_is_refused(model, values, tmp_path, monkeypatch, change):
    source, target = saved(tmp_path, values), tmp_path / "out.npz"
    begun(model, source, target, monkeypatch)
    before = [beside(target, k).read_bytes() for k in ("journal", "partial")]
    ((name, x),) = values.items()
    more, expected = {}, {"keep": "kept tensors", "count": "input"}.get(change, change)
    if change == "input":
        other = x.copy()
        other[-1, ..., -1] ^= 1
        saved(tmp_path, {name: other})
    elif change == "count":
        saved(tmp_path, {name: x[:-1]})
    elif change == "model":
        weight = next(t for t in model.tensors if t.data is not None and t.data.size > 50)
        data = weight.data.copy()
        data.reshape(-1)[0] ^= 1
        tensors = [replace(t, data=data) if t is weight else t for t in model.tensors]
        model = replace(model, tensors=tuple(tensors), derived={})
    else:
        more = {"numerics": "litert-xnnpack"} if change == "numerics" else {"keep": "all"}
    with pytest.raises(fxsim.OutputError, match=rf"out\.npz: a run was begun whose .*{expected}.* differ; .*delete"):
        run_file(model, source, target, **more)
    assert [beside(target, k).read_bytes() for k in ("journal", "partial")] == before


@pytest.mark.parametrize("damage", ["short", "gone", "changed"])
def test_damaged_results_are_refused(model, values, tmp_path, monkeypatch, damage):
    source, target = saved(tmp_path, values), tmp_path / "out.npz"
    begun(model, source, target, monkeypatch)
    partial = beside(target, "partial")
    data = bytearray(partial.read_bytes())
    if damage == "gone":
        partial.unlink()
    else:
        data[5] ^= damage == "changed"
        partial.write_bytes(data[:-1] if damage == "short" else data)
    with pytest.raises(fxsim.OutputError, match=r"lacks or changed some of [0-9]+ finished inferences; .*delete"):
        run_file(model, source, target)


def test_a_journal_of_something_else(model, values, tmp_path):
    source, target = saved(tmp_path, values), tmp_path / "out.npz"
    beside(target, "journal").write_bytes(b"{}\n")
    with pytest.raises(fxsim.OutputError, match="is no journal of a run"):
        run_file(model, source, target)


def test_two_runs_at_once(model, values, tmp_path):
    source, target = saved(tmp_path, values), tmp_path / "out.npz"

    def other(done):
        with pytest.raises(fxsim.OutputError, match="another run is writing it"):
            run_file(model, source, target)

    run_file(model, source, target, progress=other)
    assert target.exists()


def test_bad_data_leave_nothing_behind(model, values, tmp_path):
    ((name, x),) = values.items()
    whole = saved(tmp_path, values)
    data = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x2.npy").write_bytes(b"\x93NUMPY")
    cases = {
        "is in Fortran order": saved(tmp_path, {name: np.asfortranarray(x)}, "xf.npz"),
        "has shape": saved(tmp_path, {name: x[:, 1:]}, "xs.npz"),
        "is int16; allowed: int8": saved(tmp_path, {name: x.astype(np.int16)}, "xt.npz"),
        "is no input": saved(tmp_path, {"other": x}, "xo.npz"),
        "no inference": saved(tmp_path, {name: x[:0]}, "xe.npz"),
        "is not .npy data": str(tmp_path / "x2.npy"),
        "cannot be read": str(tmp_path / "x3.npz"),
        "suffix": str(tmp_path / "x.txt"),
    }
    at = data.index(x.tobytes()[:64]) + 100
    (tmp_path / "xc.npz").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    cases["is not .npz data: Bad CRC-32"] = str(tmp_path / "xc.npz")
    for told, source in cases.items():
        with pytest.raises(fxsim.FxsimError, match=re.escape(told)):
            run_file(model, source, tmp_path / "out.npz")
        assert left_behind(tmp_path) == [], told
    with pytest.raises(fxsim.OutputError, match=r"allowed: '\.npz'"):
        run_file(model, whole, tmp_path / "out.csv")
    with pytest.raises(fxsim.OutputError, match="cannot be written"):
        run_file(model, whole, tmp_path / "missing" / "out.npz")


def test_a_float_that_is_not_finite_is_found_in_its_place(tmp_path):
    b = Builder()
    x = b.tensor("x", (1, 4), "float32")
    y = b.tensor("y", (1, 4), "int8", 0.5, 0)
    b.op("QUANTIZE", [x], [y])
    (tmp_path / "xm.tflite").write_bytes(b.finish([x], [y]))
    graph = fxsim.read(tmp_path / "xm.tflite")
    values = np.zeros((40, 1, 4), np.float32)
    values[37, 0, 2] = np.nan
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(fxsim.InputError, match=r"is nan at \[37, 0, 2\]"):
        run_file(graph, str(tmp_path / "x.npy"), tmp_path / "out.npz")


@pytest.mark.corpus
def test_a_model_with_state_keeps_it_from_piece_to_piece(corpus, tmp_path, monkeypatch):
    graph = fxsim.read(corpus / "models" / "hey_jarvis_stream.tflite")
    x = load_inputs(graph, "random:5", 60)
    expected = fxsim.simulate(graph, x, keep="all").kept
    alone = fxsim.simulate(graph, {k: v[30:] for k, v in x.items()}, keep="all").kept
    assert any(not np.array_equal(alone[i], v[30:]) for i, v in expected.items())
    source, target = saved(tmp_path, x), tmp_path / "out.npz"
    begun(graph, source, target, monkeypatch, pieces=2, keep="all")
    assert run_file(graph, source, target, keep="all", threads=4).resumed == 0
    out = held(target)
    assert all(np.array_equal(out[f"tensor_{i}"], v) for i, v in expected.items() if i not in graph.outputs)


MEASURE = """
import json, re, sys
import fxsim
from fxsim.sim.stream import run_file
model = fxsim.read(sys.argv[1])
run_file(model, "random:1", sys.argv[3], count=20)
def megabytes(key):
    with open("/proc/self/status") as f:
        return int(re.search(rf"{key}:\\s+(\\d+)", f.read())[1]) / 1024
with open("/proc/self/clear_refs", "w") as f:
    f.write("5")
before = megabytes("VmRSS")
run_file(model, sys.argv[2], sys.argv[3])
print(json.dumps(megabytes("VmHWM") - before))
"""


def grown(model, source, target):
    """Megabytes by which the peak of memory grows in a process of its own."""
    command = [sys.executable, "-c", MEASURE, str(model), str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    return float(json.loads(result.stdout))


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux, to measure memory")
def test_memory_does_not_grow_with_the_data(values, tmp_path):
    (x,) = values.values()
    count = (32 << 20) // x[0].nbytes // 8
    with open(tmp_path / "x.npy", "wb") as f:
        header = {"descr": x.dtype.str, "fortran_order": False, "shape": (count * 8, *x.shape[1:])}
        np.lib.format.write_array_header_1_0(f, header)
        for _ in range(8):
            f.write(np.resize(x, (count, *x.shape[1:])).tobytes())
    assert os.path.getsize(tmp_path / "x.npy") > 31 << 20
    assert grown(MODEL, tmp_path / "x.npy", tmp_path / "out.npz") < 20
