"""Exported ``.onnx`` files: ONNX Runtime loads them, and fxsim computes what it computes, in every bit."""

import numpy as np
import pytest

import fxsim
from fxsim.convert import to_onnx, to_tflite
from fxsim.errors import ModelError, UnsupportedOp
from fxsim.exporters.onnx import encode
from fxsim.importers import onnx as reader
from fxsim.importers import parse
from fxsim.sim.inputs import random_values
from tests.build import Builder
from tests.build_onnx import OnnxBuilder
from tests.export.engines_of import assert_same, onnxruntime_outputs, special
from tests.export.floats import encoder
from tests.export.test_tflite import CASES, convolution

pytestmark = pytest.mark.live
STYLES = ("qdq", "qoperator")
BYTES = (
    *(
        "ad01_int8",
        "resnet8_int8",
        "kws_int8",
        "vww_int8",
        "str_ww_int8",
        "micro_speech",
        "hello_world_int8",
        "simple_add",
    ),
    *("rock_paper_scissors", "magic_wand", "autoencoder", "fingerprint", "kws_mobilenetv2", "ad_float_io"),
)
"""recorded networks of int8 and uint8 that have their ops in ONNX"""


def assert_equal(content, x):
    """Holds fxsim's reading of a file to ONNX Runtime in every bit; returns the graph and the outputs."""
    graph = parse(content, "exported.onnx", reader.parse)
    live = onnxruntime_outputs(content, x)
    ours = fxsim.simulate(graph, x, "onnxruntime").outputs
    for name, want in zip((graph.tensors[i].name for i in graph.outputs), live, strict=True):
        got = np.asarray(ours[name]).reshape(want.shape)
        assert got.dtype == want.dtype
        assert np.array_equal(got, want), name
    return graph, live


def cases_of(graph, seed=1):
    rng = np.random.default_rng(seed)
    return [special(graph.tensors[i], rng) for i in graph.inputs]


@pytest.mark.corpus
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", BYTES)
def test_recorded_networks_as_onnx(corpus, name, style):
    source = fxsim.read(corpus / "models" / f"{name}.tflite")
    graph, live = assert_equal(encode(source, style), cases_of(source))
    for group, other in ((graph.inputs, source.inputs), (graph.outputs, source.outputs)):
        ours, theirs = ([g.tensors[i] for i in indices] for g, indices in ((graph, group), (source, other)))
        assert [(t.name, t.shape, t.qtype) for t in ours] == [(t.name, t.shape, t.qtype) for t in theirs]
    assert len({np.asarray(v).tobytes() for v in live[0]}) > 1  # the outputs depend on the inputs


@pytest.mark.corpus
def test_exported_networks_compute_what_the_source_computes(corpus):
    """The same numbers up to a rounding at each layer: one LSB for most, on the recorded inputs' own kind of data."""
    source = fxsim.read(corpus / "models" / "ad01_int8.tflite")
    x = cases_of(source)
    _, (live,) = assert_equal(encode(source), x)
    want = next(iter(fxsim.simulate(source, x, "litert-reference").outputs.values()))
    assert np.abs(live.astype(int) - np.asarray(want).reshape(live.shape)).max() <= 1


@pytest.mark.parametrize("style", [*STYLES, "qdq-int4"])
@pytest.mark.parametrize("name", [n for n in CASES if "int16" not in n])
def test_weights_of_all_widths(name, style):
    source = parse(CASES[name][0](), "made.tflite")
    graph, (live,) = assert_equal(encode(source, style), cases_of(source, 2))
    types = {t.qtype.name for t in graph.tensors if t.constant and t.name == "w"}
    assert types == ({"int4"} if "int4" in name and style == "qdq-int4" else {"int8"})
    want = np.asarray(fxsim.simulate(source, cases_of(source, 2), "litert-reference").outputs["y"]).reshape(live.shape)
    assert np.abs(live.astype(int) - want).max() <= 1
    ops = [n.op for n in graph.nodes]
    if style == "qoperator":
        assert any(op in ("QGemm", "QLinearConv") for op in ops)
        assert not any(op in ("Gemm", "Conv") for op in ops)


def test_sixteen_bits_are_within_one_unit():
    """ONNX Runtime computes 16-bit layers in float32 and adds in an order of its own: few elements, one unit."""
    source = parse(convolution("CONV_2D", "int8", "int16"), "made.tflite")
    content, x = encode(source), cases_of(source, 3)
    (live,) = onnxruntime_outputs(content, x)
    ours = fxsim.simulate(parse(content, "m.onnx", reader.parse), x, "onnxruntime").outputs["y"]
    apart = np.abs(live.astype(int) - np.asarray(ours).reshape(live.shape))
    assert apart.max() <= 1
    assert np.mean(apart != 0) < 0.02


def add(activation, zero):
    """ADD of two inputs; ``zero``: where the activation's lower limit lies in the output's range."""
    b = Builder()
    x, y = b.tensor("x", (1, 4, 5, 3), "int8", 0.1, 3), b.tensor("y", (1, 4, 5, 3), "int8", 0.07, -20)
    z = b.tensor("z", (1, 4, 5, 3), "int8", 0.12, zero)
    b.op("ADD", [x, y], [z], fused_activation_function=activation)
    return parse(b.finish([x, y], [z]), "made.tflite")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("activation", "zero", "clamps"), [
    ("NONE", 5, 0), ("RELU", -128, 0), ("RELU", 5, 1), ("RELU6", -128, 1), ("RELU_N1_TO_1", 0, 1),
])  # fmt: skip
def test_activations_are_the_range_of_the_output_or_a_layer(activation, zero, clamps, style):
    source = add(activation, zero)
    x = cases_of(source, 4)
    graph, (live,) = assert_equal(encode(source, style), x)
    assert sum(n.op in ("Relu", "Clip") for n in graph.nodes) == clamps
    assert any(n.op == ("QLinearAdd" if style == "qoperator" else "Add") for n in graph.nodes)
    want = np.asarray(fxsim.simulate(source, x, "litert-reference").outputs["z"]).reshape(live.shape)
    assert np.abs(live.astype(int) - want).max() <= 1


def test_the_same_graph_comes_back():
    """A graph of ONNX's ops is written as it is: attributes, constants, types, names."""
    for content in (encoder(), quantized()):
        graph = parse(content, "m.onnx", reader.parse)
        again = parse(encode(graph), "m.onnx", reader.parse)
        assert [(n.op, n.attributes) for n in again.nodes] == [(n.op, n.attributes) for n in graph.nodes]
        names = [
            [g.tensors[i].name for n in g.nodes for i in (*n.inputs, *n.outputs) if i >= 0] for g in (graph, again)
        ]
        assert names[0] == names[1]
        third = parse(encode(again), "m.onnx", reader.parse)
        assert_same(again, third)
        x = cases_of(graph)
        for a, b in zip(onnxruntime_outputs(content, x), onnxruntime_outputs(encode(graph), x), strict=True):
            assert np.array_equal(a, b)


def quantized():
    """QDQ with int4 weights, a block of scales, a tuple of attributes and a quantizer without zero point."""
    b = OnnxBuilder()
    x = b.quantize(b.input("x", (1, 4, 6, 6), "float32"), 0.05, 120, "uint8")
    w = b.constant(np.arange(4 * 4 * 9).reshape(4, 4, 3, 3) % 16 - 8, "int4", "w")
    scale, zero = b.constant([0.1, 0.2, 0.3, 0.4], "float32"), b.constant([0, 0, 0, 0], "int4")
    real = b.op("DequantizeLinear", [w, scale, zero], axis=0)
    y = b.op(
        "Conv", [b.dequantize(x, 0.05, 120, "uint8"), real], kernel_shape=[3, 3], pads=[1, 0, 1, 0], strides=[2, 1]
    )
    y = b.op("QuantizeLinear", [b.op("LeakyRelu", [y], alpha=0.2), b.constant(0.3, "float32")])
    y = b.op("DequantizeLinear", [y, b.constant(0.3, "float32")])
    b.op("Softmax", [b.op("Flatten", [y], axis=1)], "out", axis=1)
    return b.finish({"out": "float32"})


def test_what_has_no_counterpart(corpus, tmp_path):
    source = fxsim.read(corpus / "models" / "keyword_svdf.tflite")
    with pytest.raises(UnsupportedOp, match=r"layer \d+ SVDF .*no counterpart in ONNX"):
        fxsim.export(source, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ModelError, match=r'pip install "fxsim\[onnx\]"'):
        fxsim.export(add("NONE", 0), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_float_network_there_and_back(tmp_path):
    """ONNX to TensorFlow Lite's ops and back again: two files, each read by its own importer."""
    graph = to_tflite(parse(encoder(), "m.onnx", reader.parse))
    lite, onnx = fxsim.export(graph, tmp_path / "m.tflite"), fxsim.export(graph, tmp_path / "m.onnx")
    assert_same(fxsim.read(lite), fxsim.read(lite))
    back = fxsim.read(onnx)
    assert [t.name for t in map(back.tensor, back.inputs)] == ["x"]
    x = random_values(back.tensors[back.inputs[0]], np.random.default_rng(5), 3)
    (a,), (b,) = onnxruntime_outputs(encoder(), [x]), onnxruntime_outputs(onnx.read_bytes(), [x])
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()
    assert to_onnx(graph).outputs
