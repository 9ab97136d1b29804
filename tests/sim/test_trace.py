"""Traces: statistics of registers, saving, comparing; determinism and threads."""

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fxsim
from fxsim.errors import DumpError, OutputError
from fxsim.files import load_arrays
from fxsim.sim.inputs import load_inputs
from tests import naive
from tests.sim.test_demo_model import DATA


@pytest.fixture(scope="module")
def model():
    return fxsim.read(str(DATA / "digits_int8.tflite"))


@pytest.fixture(scope="module")
def x(model):
    return load_inputs(model, "random:7", 3)["image"]


@pytest.fixture(scope="module")
def trace(model, x):
    return fxsim.simulate(model, x, keep="all")


def test_layer_statistics_of_the_first_convolution(model, x, trace):
    """Against the naive twin: what the register held, and what the clamp cut."""
    w, b = (model.tensor(n).data for n in ("conv1/kernel", "conv1/bias"))
    zero = model.tensors[0].quant.zero_point[0]
    low = high = overflows = 0
    for one in x:
        _, (lo, hi, over) = naive.conv(
            one, w.transpose(1, 2, 3, 0), b, zero, (1, 1), (1, 1), (0, 0, 0, 0), 1, 32, "wrap"
        )
        low, high, overflows = min(low, lo), max(high, hi), overflows + over
    row = trace.layers.iloc[0]
    assert (row["acc_min"], row["acc_max"], row["overflows"]) == (low, high, overflows)
    assert row["bits_used"] == max(len(bin(abs(low) - 1)), len(bin(high))) - 1
    at_floor = int(np.sum(trace.tensor("conv1") == -128))
    assert 0 < row["clamped_low"] <= at_floor
    assert row["elements"] == 3 * 6 * 6 * 8


def test_narrow_accumulators_change_what_arithmetic_says(model, x, tmp_path, trace):
    counts = {}
    for name, bits, overflow in (
        ("wrap24", 24, "wrap"),
        ("sat20", 20, "saturate"),
        ("sat12", 12, "saturate"),
        ("wrap12", 12, "wrap"),
    ):
        path = tmp_path / f"{name}.toml"
        path.write_text(f'base = "litert-reference"\n[accumulator]\nbits = {bits}\noverflow = "{overflow}"\n')
        narrow = fxsim.simulate(model, x, str(path), keep="all")
        counts[name] = sum(s.overflows for s in narrow.stats)
        if counts[name] == 0:
            assert fxsim.compare(narrow, trace).equal
            assert max(s.bits_used for s in trace.stats) <= bits
        first = narrow.stats[0]
        assert -(1 << (bits - 1)) <= first.acc_min
        assert first.acc_max < 1 << (bits - 1)
    assert counts["wrap24"] == counts["sat20"] == 0
    assert counts["sat12"] > 0
    assert counts["wrap12"] > 0


def test_narrow_registers_equal_the_naive_twin(model, x):
    """conv1 with a 12-bit register, both policies, through the whole layer."""
    profile = fxsim.load_numerics("litert-reference")
    w, b = (model.tensor(n).data for n in ("conv1/kernel", "conv1/bias"))
    zero = model.tensors[0].quant.zero_point[0]
    import msgspec

    for policy in ("wrap", "saturate"):
        narrow = msgspec.structs.replace(profile, accumulator=fxsim.Accumulator(12, policy))
        from fxsim.arith.multiplier import quantize_multiplier

        got = fxsim.simulate(model, x, narrow, keep=["conv1"]).tensor("conv1")
        out, scales = model.tensor("conv1").quant, model.tensor("conv1/kernel").quant.scale
        multipliers = [quantize_multiplier(model.tensors[0].quant.scale[0] * s / out.scale[0]) for s in scales]
        for one, mine in zip(x, got, strict=True):
            acc, _ = naive.conv(one, w.transpose(1, 2, 3, 0), b, zero, (1, 1), (1, 1), (0, 0, 0, 0), 1, 12, policy)
            for index in np.ndindex(*acc.shape):
                q, shift = multipliers[index[-1]]
                v = naive.tflite_multiply(int(acc[index]), q, shift) + out.zero_point[0]
                assert mine[index] == min(max(v, -128), 127)


def test_save_load_compare(trace, tmp_path):
    path = tmp_path / "t.npz"
    trace.save(path)
    arrays = load_arrays(path)
    assert set(arrays) == {"output_0", "meta", *(f"tensor_{i}" for i in trace.kept if i != 23)}
    meta = json.loads(str(arrays["meta"]))
    assert meta["model_sha256"] == trace.graph.sha256
    assert (meta["numerics"], meta["fxsim"], meta["inferences"]) == ("litert-reference", fxsim.__version__, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]
    result = fxsim.compare(trace, path)
    assert result.equal
    assert result.elements == sum(v.size for v in trace.kept.values())
    with pytest.raises(OutputError, match="cannot be written"):
        trace.save(tmp_path / "missing" / "t.npz")


def test_compare_says_how_and_where(trace):
    theirs = {"conv2": trace.tensor("conv2").copy(), "softmax": trace.tensor("softmax").copy()}
    theirs["conv2"][1, 0, 2, 3, 4] += 1
    theirs["conv2"][2, 0, 0, 0, 0] += 2
    result = fxsim.compare(trace, theirs)
    table = result.table.set_index("name")
    row = table.loc["conv2"]
    assert row["mismatches"] == 2
    assert row["histogram"] == {1: 1, 2: 1}
    assert row["first_index"] == (1, 0, 2, 3, 4)
    assert row["bias_lsb"] == pytest.approx(3 / row["elements"])
    assert row["exact"] == pytest.approx(1 - 2 / row["elements"])
    assert table.loc["softmax"]["exact"] == 1
    first = result.first_divergence
    assert (first.layer, first.name, first.index, first.expected - first.got) == (1, "conv2", (1, 0, 2, 3, 4), 1)
    assert "layer 1 CONV_2D" in str(first)
    assert 14 in result.not_in_dump


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        ({"nothing": np.zeros(3, np.int8)}, "names no tensor"),
        ({"output_1": np.zeros(3, np.int8)}, "names no tensor"),
        ({"tensor_9999": np.zeros(3, np.int8)}, "names no tensor"),
        ({"conv1": np.zeros((3, 6, 6, 7), np.int8)}, "shape"),
        ({"conv1": np.full((3, 1, 6, 6, 8), 300, np.int16)}, r"300; allowed: -128\.\.127"),
        ({}, "holds no tensor"),
        (
            {"conv1": np.zeros((3, 1, 6, 6, 8), np.int8), "tensor_14": np.ones((3, 1, 6, 6, 8), np.int8)},
            "both hold tensor 14",
        ),
        ({"meta": '{"model_sha256": "beef"}'}, "another model"),
    ],
)
def test_compare_refusals(trace, dump, message):
    with pytest.raises(DumpError, match=message):
        fxsim.compare(trace, dump)


def test_floats_compare_by_place(corpus):
    from tests.golden import Golden

    golden = Golden(corpus, "autoencoder")
    trace = fxsim.simulate(golden.graph, golden.inputs)
    name, value = next(iter(trace.outputs.items()))
    other = value.copy()
    other.reshape(-1)[5] = np.nextafter(other.reshape(-1)[5], np.float32(9))
    row = fxsim.compare(trace, {name: other}).rows[0]
    assert (row.mismatches, row.histogram) == (1, {1: 1})


def test_deterministic_and_thread_safe(model):
    inputs = [load_inputs(model, f"random:{n}", 4)["image"] for n in range(8)]
    alone = [fxsim.simulate(model, x, "tflm").outputs["softmax"] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: fxsim.simulate(model, x, "tflm").outputs["softmax"], inputs * 3))
    for got, expected in zip(together, alone * 3, strict=True):
        assert np.array_equal(got, expected)
    shared = fxsim.simulate(model, inputs[0]).plan
    from fxsim.sim.inputs import make_batch
    from fxsim.sim.trace import run

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: run(shared, make_batch(model, x), [23])[23], inputs))
    for x, got in zip(inputs, results, strict=True):
        assert np.array_equal(got, fxsim.simulate(model, x).outputs["softmax"])


def test_streaming_state_runs_along_the_sequence_and_starts_fresh(corpus):
    from tests.golden import Golden

    golden = Golden(corpus, "hey_jarvis_stream")
    a = fxsim.simulate(golden.graph, golden.inputs, keep="all")
    b = fxsim.simulate(golden.graph, golden.inputs, keep="all")
    assert fxsim.compare(a, b).equal
    alone = fxsim.simulate(golden.graph, [golden.inputs[0][2]], keep="all")
    assert not np.array_equal(alone.tensor(64), a.tensor(64)[2]), "inference 2 must see what 0 and 1 left"


def test_an_interrupt_ends_all_threads_and_the_next_run_is_whole(model):
    x = load_inputs(model, "random:3", 40)["image"]
    trace = fxsim.simulate(model, x, threads=1)
    pace, seen = trace.plan.pace, []
    pace.update(dict.fromkeys(pace, 1.0))  # so slow that threads pay

    def interrupt(done):
        seen.append(done)
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fxsim.simulate(model, x, progress=interrupt, threads=3)
    assert max(seen) < 40
    assert np.array_equal(fxsim.simulate(model, x, threads=3).outputs["softmax"], trace.outputs["softmax"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_threads_of_its_own(model):
    x = load_inputs(model, "random:3", 12)["image"]
    expected = fxsim.simulate(model, x, threads=2).outputs["softmax"]
    pace = fxsim.simulate(model, x, threads=2).plan.pace
    pace.update(dict.fromkeys(pace, 1.0))  # so slow that threads pay
    assert np.array_equal(fxsim.simulate(model, x, threads=2).outputs["softmax"], expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
        child = os.fork()
    if not child:
        same = np.array_equal(fxsim.simulate(model, x, threads=2).outputs["softmax"], expected)
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
