"""A real run as a whole: rounding after every op, streaming, quantized networks, and what is refused."""

import sys

import ml_dtypes
import numpy as np
import pytest

import fxsim
from fxsim.importers import parse
from fxsim.sim.real import plan as real
from tests.build import Builder
from tests.build_onnx import OnnxBuilder
from tests.real.conftest import error, read_onnx
from tests.real.test_tflite_live import CONV, network
from tests.sim.test_demo_model import DATA

SHORT = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def two_layers(rng, spread=1.0):
    """``relu(x @ w + b) @ v`` and its constants."""
    w, b, v = (rng.normal(size=s).astype(np.float32) * np.float32(spread) for s in ((6, 8), (8,), (8, 3)))
    m = OnnxBuilder()
    x = m.input("x", (1, 6), "float32")
    h = m.op("Relu", [m.op("Gemm", [x, m.constant(w, "float32"), m.constant(b, "float32")])])
    m.op("MatMul", [h, m.constant(v, "float32")], "y")
    return read_onnx(m.finish({"y": "float32"})), w, b, v


@pytest.mark.parametrize("format", SHORT)
def test_every_tensor_and_weight_is_rounded_once(format, rng):
    graph, *constants = two_layers(rng)

    def short(a):
        return a.astype(np.float32).astype(SHORT[format]).astype(np.float32)

    w, b, v = map(short, constants)
    x = rng.normal(size=(50, 6)).astype(np.float32)
    wanted = short(short(np.maximum(short(short(x) @ w + b), 0)) @ v)
    got = fxsim.simulate(graph, x, format).outputs["y"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, short(got))
    different = np.mean(got != wanted)  # numpy's sums may run in another order than a chunk's, and fall beside a tie
    assert different < 0.02
    assert error(got, fxsim.simulate(graph, x, "float64").outputs["y"]) > 1e-4


def test_overflow_is_infinite_or_saturates(rng, tmp_path):
    graph, *_ = two_layers(rng, 300.0)
    x = np.full((1, 6), 100, np.float32)
    assert not np.isfinite(fxsim.simulate(graph, x, "float16").outputs["y"]).all()
    assert np.abs(fxsim.simulate(graph, x, "float8_e4m3fn").outputs["y"]).max() == 448
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "float16"\n[real]\noverflow = "saturate"\n')
    assert np.abs(fxsim.simulate(graph, x, mine).outputs["y"]).max() == 65504


def test_sums_in_float64_are_more_exact(rng, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "bfloat16"\n[real]\naccumulate = "float64"\n')
    m = OnnxBuilder()
    x = m.input("x", (1, 4096), "float32")
    m.op("ReduceSum", [x], "y")
    graph = read_onnx(m.finish({"y": "float32"}))
    values = np.full((1, 4096), 1.0, np.float32)
    values[0, 0] = 2.0**26  # beside it a 1 is lost in float32
    exact = values.astype(np.float64).sum()
    assert fxsim.simulate(graph, values, mine).outputs["y"].item() == float(ml_dtypes.bfloat16(exact))


@pytest.mark.parametrize("text, said", [
    ('[real]\nformat = "float7"\n', "format is 'float7'; allowed: 'float64', 'float32'"),
    ('[real]\nformat = "float64"\n', "accumulate is 'float32' with format 'float64'; allowed: 'float64'"),
    ('[real]\nformat = "float32"\nspeed = 1\n', "allowed keys: 'format', 'accumulate', 'overflow'"),
])  # fmt: skip
def test_bad_profiles(text, said, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    with pytest.raises(fxsim.ProfileError, match=said):
        fxsim.load_numerics(mine)


def test_streaming_shows_every_activation_once_in_order(rng, monkeypatch):
    graph = parse(network(rng, half=True), "float.tflite")
    x = rng.normal(size=(7, 24, 24, 3)).astype(np.float32)
    whole = fxsim.simulate(graph, x, "float32", keep="all")
    monkeypatch.setattr(real, "CHUNK_BYTES", 3 * 24 * 24 * 3 * 4)
    seen: dict[int, list] = {}
    done = []
    kept = real.run(
        graph, x, keep=graph.outputs, observe=lambda i, v: seen.setdefault(i, []).append(v.copy()), progress=done.append
    )
    assert done == [3, 6, 7]
    assert next(iter(seen)) == graph.inputs[0]
    assert list(seen)[-1] == graph.outputs[0]
    weights = {n.outputs[0] for n in graph.nodes if n.op == "DEQUANTIZE"}
    made = {i for n in graph.nodes for i in n.outputs} | set(graph.inputs)
    assert set(seen) == made - weights
    for i, parts in seen.items():
        assert [len(p) for p in parts] == [3, 3, 1]
        one = whole.tensor(i)
        assert error(np.concatenate(parts).reshape(one.shape), one) < 1e-6
    assert error(kept[graph.outputs[0]].reshape(7, 10), whole.tensor(graph.outputs[0])) < 1e-6
    for i in weights:  # folded, and the same in every inference
        assert np.ptp(whole.tensor(i).reshape(7, -1), axis=0).max() == 0


def test_memory_does_not_grow_with_the_inferences(rng):
    """What runs at once is bounded by the largest tensor, and a tensor goes when nobody needs it any more."""
    graph = parse(network(rng), "float.tflite")
    plan = real.plan_of(graph, fxsim.load_numerics("float32"))
    assert plan.chunk() == real.CHUNK_BYTES // (24 * 24 * 3 * 4)
    gone = [i for s in plan.steps for i in s.last]
    assert sorted(gone) == sorted({i for s in plan.steps for i in (*s.node.inputs, *s.node.outputs)})
    assert real.plan_of(graph, fxsim.load_numerics("float32")) is plan


def test_a_quantized_network_in_real_numbers(rng):
    """The demo's int8 network: real activations differ from the integers by rounding alone, and so agree on the class."""
    graph = fxsim.read(DATA / "digits_int8.tflite")
    t, out = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    raw = rng.integers(t.qtype.min, t.qtype.max, (16, *t.shape[1:]), endpoint=True).astype(t.qtype.dtype)
    whole = out.quant.dequantize(fxsim.simulate(graph, raw).tensor(out.index))
    from_raw = fxsim.simulate(graph, raw, "float32").tensor(out.index)
    from_real = fxsim.simulate(graph, t.quant.dequantize(raw), "float32").tensor(out.index)
    np.testing.assert_array_equal(from_raw, from_real)
    assert 0 < np.abs(whole - from_raw).max() < 0.15
    assert np.mean(whole.argmax(1) == from_raw.argmax(1)) > 0.9
    assert np.abs(from_raw * 256 - np.rint(from_raw * 256)).max() > 0.01  # not on the grid of the output


def test_quantized_ranges_hold(rng):
    """A ReLU that lives in the zero point of an int8 tensor alone still cuts."""
    m = OnnxBuilder()
    x = m.input("x", (1, 8), "float32")
    m.dequantize(m.quantize(x, 0.1, -128, "int8"), 0.1, -128, "int8", "y")
    values = rng.normal(0, 20, (20, 8)).astype(np.float32)
    got = fxsim.simulate(read_onnx(m.finish({"y": "float32"})), values, "float32").outputs["y"]
    np.testing.assert_allclose(got, np.clip(values, 0, 25.5), rtol=1e-6)


def qlinear(rng):
    """QLinearConv with a bias, and the same in real numbers."""
    w = rng.integers(-127, 127, (4, 3, 3, 3)).astype(np.int8)
    scales = rng.uniform(0.01, 0.02, 4).astype(np.float32)
    bias = rng.integers(-2000, 2000, 4).astype(np.int32)
    m = OnnxBuilder()
    x = m.input("x", (1, 3, 6, 6), "float32")
    q = m.quantize(x, 0.05, 3, "int8")
    weight = [m.constant(w, "int8"), m.constant(scales, "float32"), m.constant(np.zeros(4), "int8")]
    parts = [*m.scalars(0.05, 3, "int8"), *weight]
    y = m.op("QLinearConv", [q, *parts, *m.scalars(2.0, -5, "int8"), m.constant(bias, "int32")])
    m.dequantize(y, 2.0, -5, "int8", "y")
    return read_onnx(m.finish({"y": "float32"})), w * scales.reshape(-1, 1, 1, 1), bias * np.float32(0.05) * scales


def test_qlinear_ops_are_their_real_values(rng):
    graph, w, b = qlinear(rng)
    m = OnnxBuilder()
    x = m.input("x", (1, 3, 6, 6), "float32")
    m.op("Conv", [x, m.constant(w, "float32"), m.constant(b, "float32")], "y")
    values = rng.normal(0, 1, (5, 3, 6, 6)).astype(np.float32)
    wanted = fxsim.simulate(read_onnx(m.finish({"y": "float32"})), values, "float64").outputs["y"]
    assert error(fxsim.simulate(graph, values, "float64").outputs["y"], wanted) < 1e-6


def test_scales_that_tell_nothing_are_refused(rng):
    m = OnnxBuilder()
    x, scale = m.input("x", (1, 8), "float32"), m.input("s", (), "float32")
    q = m.op("QuantizeLinear", [x, scale, m.constant(0, "int8")])
    m.op("DequantizeLinear", [q, scale, m.constant(0, "int8")], "y")
    graph = read_onnx(m.finish({"y": "float32"}))
    with pytest.raises(fxsim.UnsupportedOp, match="has scale 's', which is computed at run time"):
        fxsim.simulate(graph, [np.ones((1, 8), np.float32), np.float32(1)], "float32")


def test_blocks_of_weights_are_dequantized(rng):
    w, scale = rng.integers(-7, 7, (8, 3)).astype(np.int8), rng.uniform(0.5, 2, (2, 3)).astype(np.float32)
    m = OnnxBuilder()
    x = m.input("x", (1, 8), "float32")
    real_w = m.op("DequantizeLinear", [m.constant(w, "int4"), m.constant(scale, "float32")], axis=0, block_size=4)
    m.op("MatMul", [x, real_w], "y")
    values = rng.normal(size=(3, 8)).astype(np.float32)
    got = fxsim.simulate(read_onnx(m.finish({"y": "float32"})), values, "float64").outputs["y"]
    assert error(got, values.astype("f8") @ (w * np.repeat(scale, 4, axis=0).astype("f8"))) < 1e-14


def float_model(dtype):
    b = Builder()
    x = b.tensor("x", (1, 5, 5, 2), dtype)
    w = b.constant("w", np.ones((3, 1, 1, 2)), dtype)
    y = b.tensor("y", (1, 5, 5, 3), dtype)
    b.op("CONV_2D", [x, w], [y], padding="VALID", **CONV)
    z = b.tensor("z", (1, 5, 5, 3), dtype)
    b.op("SOFTMAX", [y], [z], beta=1.0)
    return parse(b.finish([x], [z]), f"{dtype}.tflite")


def test_engines_refuse_what_they_do_not_compute_and_name_what_does():
    short = float_model("float16")
    x = np.ones((1, 5, 5, 2), np.float16)
    with pytest.raises(
        fxsim.UnsupportedOp, match="tensor 'x' is float16; numerics 'litert-reference' computes float32"
    ):
        fxsim.simulate(short, x)
    assert error(fxsim.simulate(short, x, "float16").tensor("z"), np.full((1, 5, 5, 3), 1 / 3)) < 1e-3
    with pytest.raises(
        fxsim.UnsupportedOp, match=r"SOFTMAX.*supported: .*; numerics 'float32' has it as a real function"
    ):
        fxsim.simulate(float_model("float32"), x.astype(np.float32))


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_inputs_are_floats(dtype):
    with pytest.raises(fxsim.InputError, match=f"input 'x' is {dtype}; allowed: float32"):
        fxsim.simulate(float_model("float32"), np.ones((1, 5, 5, 2), dtype), "float32")


def test_not_a_number_is_refused():
    x = np.ones((1, 5, 5, 2), np.float32)
    x[0, 1, 2, 1] = np.nan
    with pytest.raises(fxsim.InputError, match=r"input 'x' is nan at \[0, 1, 2, 1\]; allowed: finite values"):
        fxsim.simulate(float_model("float32"), x, "bfloat16")


def test_an_engine_has_no_real_plan():
    with pytest.raises(fxsim.ProfileError, match="numerics 'tflm' has no real arithmetic; allowed: 'float64'"):
        real.run(float_model("float32"), np.ones((1, 5, 5, 2), np.float32), "tflm")


def test_what_has_no_real_function_is_named_before_anything_runs():
    m = OnnxBuilder()
    x = m.input("x", (1, 8), "float32")
    m.op("DynamicQuantizeLinear", [x], ["q", "s", "z"])
    m.op("DequantizeLinear", ["q", "s", "z"], "y")
    graph = read_onnx(m.finish({"y": "float32"}))
    (gap,) = fxsim.unsupported(graph, "float32")
    assert gap.op == "DynamicQuantizeLinear"
    assert gap.reason.startswith("op DynamicQuantizeLinear has no real function in numerics 'float32'; supported: ")


def test_command_line(tmp_path, monkeypatch, capsys):
    """``run``, ``check`` and ``numerics`` know the profiles; what they refuse is one line and exit code 2."""
    from fxsim.cli import main

    def said(*arguments):
        monkeypatch.setattr(sys, "argv", ["fxsim", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, "".join(capsys.readouterr())

    m = OnnxBuilder()
    m.op("Gelu", [m.input("x", (1, 8), "float32")], "y")
    path, saved = tmp_path / "float.onnx", tmp_path / "trace.npz"
    path.write_bytes(m.finish({"y": "float32"}))
    code, text = said(
        "run", str(path), "--input", "random:1", "--numerics", "bfloat16", "--layers", "--save", str(saved)
    )
    assert code == 0
    assert "as bfloat16" in text
    y = np.load(saved)["output_0"]
    np.testing.assert_array_equal(y, y.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert said("check", str(path), "--numerics", "float8_e5m2")[0] == 0
    code, text = said("check", str(path))
    assert code == 2
    assert "numerics 'float32' has it as a" in " ".join(text.split())
    code, text = said("run", str(path), "--input", "random:1")
    assert code == 2
    assert "op Gelu is not simulated" in text
    assert "to float8_e4m3fn" in " ".join(said("numerics")[1].split())


def test_registers_there_are_none(rng):
    graph, *_ = two_layers(rng)
    trace = fxsim.simulate(graph, np.ones((1, 6), np.float32), "float32")
    assert [s.acc_bits for s in trace.stats] == [0, 0, 0]
    assert fxsim.needed_bits(graph, "float32") == ()
