"""Exported ``.tflite`` files: every recorded model comes back as it was, and engines compute the same with it."""

from dataclasses import replace

import numpy as np
import pytest
import tflite

import fxsim
from fxsim.errors import FxsimError, ModelError, OutputError, UnsupportedOp
from fxsim.exporters.tflite import encode
from fxsim.importers import parse
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.base import Attributes, Unread
from fxsim.model.qtype import INT8, QType, QuantParams
from tests import engines
from tests.build import Builder
from tests.export.engines_of import ENGINES, assert_same, special
from tests.golden import MODELS, Golden

TFLITE_OPS = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}


@pytest.mark.corpus
@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_model_comes_back_as_it_was(corpus, name):
    graph = fxsim.read(corpus / "models" / f"{name}.tflite")
    content = encode(graph)
    assert_same(graph, parse(content, graph.name))
    assert encode(parse(content, graph.name)) == content


@pytest.mark.live
@pytest.mark.corpus
@pytest.mark.parametrize("name", MODELS)
def test_engines_compute_the_same_with_an_exported_model(corpus, name):
    golden = Golden(corpus, name)
    content = encode(golden.graph)
    count = 1 if name == "mobilenet_v2" else golden.count
    sequence = [[x[i] for x in golden.inputs] for i in range(count)]
    tensors = engines.litert_reference_sequence(content, sequence)
    delegated = engines.litert_xnnpack_sequence(content, sequence)
    for i in range(count):
        for j, index in enumerate(golden.graph.outputs):
            assert np.array_equal(tensors[i][index], golden.arrays[f"ref{i}_out{j}"])
            assert np.array_equal(delegated[i][j], golden.arrays[f"xnn{i}_out{j}"])


def versions(content):
    """Op and version of each layer."""
    model = tflite.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    main = model.Subgraphs(0)
    found = [codes[main.Operators(i).OpcodeIndex()] for i in range(main.OperatorsLength())]
    return [(TFLITE_OPS[max(c.BuiltinCode(), c.DeprecatedBuiltinCode())], c.Version()) for c in found]


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["resnet8_int8", "kws_int8", "vww_int8", "ad01_int8", "magic_wand", "mobilenet_v2"])
def test_operator_versions_are_those_of_the_converter(corpus, name):
    """Tensors of int8 and uint8: the converter that made these files follows the same rules."""
    path = corpus / "models" / f"{name}.tflite"
    assert versions(encode(fxsim.read(path))) == versions(path.read_bytes())


def dense(weight, dtype="int8", bits="int8", bias="int32", rows=3, **options):
    """A fully connected layer with one scale for each output channel."""
    b = Builder()
    o, k = weight.shape
    scales = (0.01 + 0.003 * np.arange(o)).tolist()
    x = b.tensor("x", (rows, k), dtype, 0.05, 3 if dtype == "int8" else 0)
    w = b.tensor("w", weight.shape, bits, scales, 0, 0, data=weight)
    grid = (0.05 * np.asarray(scales)).tolist()
    c = b.tensor("b", (o,), bias, grid, 0, 0, data=np.arange(o) * 37 - 50)
    y = b.tensor("y", (rows, o), dtype, 0.11, -7 if dtype == "int8" else 0)
    b.op("FULLY_CONNECTED", [x, w, c], [y], fused_activation_function="RELU", **options)
    return b.finish([x], [y])


def convolution(kind, bits, dtype="int8"):
    """A convolution with one scale for each output channel."""
    b = Builder()
    depthwise = kind == "DEPTHWISE_CONV_2D"
    shape = (1, 3, 3, 6) if depthwise else (5, 3, 3, 6)
    rng = np.random.default_rng(5)
    low = {"int4": -8, "int8": -128}[bits]
    raw = rng.integers(low, -low, shape)
    o = 6 if depthwise else 5
    scales = (0.01 + 0.004 * np.arange(o)).tolist()
    zero = 5 if dtype == "int8" else 0
    x = b.tensor("x", (1, 7, 6, 6), dtype, 0.04, zero)
    w = b.tensor("w", shape, bits, scales, 0, 3 if depthwise else 0, data=raw)
    grid = (0.04 * np.asarray(scales)).tolist()
    bias = "int32" if dtype == "int8" else "int64"
    c = b.tensor("b", (o,), bias, grid, 0, 0, data=rng.integers(-500, 500, o))
    y = b.tensor("y", (1, 4, 3, o), dtype, 0.13 if dtype == "int8" else 0.004, -3 if dtype == "int8" else 0)
    extra = {"depth_multiplier": 1} if depthwise else {}
    b.op(kind, [x, w, c], [y], padding="SAME", stride_h=2, stride_w=2, dilation_h_factor=1, dilation_w_factor=1,
         fused_activation_function="RELU6", **extra)  # fmt: skip
    return b.finish([x], [y])


def small(bits):
    """Weights over the whole range of the type."""
    low = -(1 << (bits - 1))
    return np.arange(7 * 9).reshape(7, 9) % (1 << bits) + low


CASES = {
    "dense int8": (lambda: dense(small(8)), 4),
    "dense int4": (lambda: dense(small(4), bits="int4"), 10),
    "dense int2": (lambda: dense(small(2), bits="int2"), 14),
    "dense int16": (lambda: dense(small(8), "int16", bias="int64", quantized_bias_type=tflite.TensorType.INT64), 11),
    "dense int16 int4": (lambda: dense(small(4), "int16", "int4", "int64"), 13),
    "dense keeps axes": (lambda: dense(small(8), keep_num_dims=True), 5),
    "conv int8": (lambda: convolution("CONV_2D", "int8"), 3),
    "conv int4": (lambda: convolution("CONV_2D", "int4"), 7),
    "conv int16": (lambda: convolution("CONV_2D", "int8", "int16"), 1),
    "depthwise int8": (lambda: convolution("DEPTHWISE_CONV_2D", "int8"), 3),
    "depthwise int4": (lambda: convolution("DEPTHWISE_CONV_2D", "int4"), 6),
}


@pytest.mark.live
@pytest.mark.parametrize("name", CASES)
def test_narrow_and_wide_types_in_the_engines(name, tmp_path):
    """The exported file is read as it was written, and runs as fxsim computes it; weights over their whole range."""
    make, least = CASES[name]
    graph = parse(make(), "made.tflite")
    content = encode(graph)
    path = fxsim.export(graph, tmp_path / "m.tflite")
    assert path.read_bytes() == content
    again = fxsim.read(path)
    assert_same(graph, again)
    assert versions(content)[0][1] == least
    x = special(graph.tensors[graph.inputs[0]], np.random.default_rng(3))
    for numerics, engine in ENGINES.items():
        try:
            live = np.stack([engine(content, [row], graph.outputs)[0] for row in x])
        except engines.Refused as e:
            with pytest.raises(engines.Refused):  # the engine does not take the original either
                engine(make(), [x[0]], graph.outputs)
            assert "int16" in name or "int2" in name, e
            continue
        ours = fxsim.simulate(again, x, numerics).outputs["y"]
        assert np.array_equal(np.asarray(ours).reshape(live.shape), live), numerics


@pytest.mark.corpus
def test_constants_lie_on_sixteen_bytes(corpus):
    content = encode(fxsim.read(corpus / "models" / "resnet8_int8.tflite"))
    model = tflite.Model.GetRootAs(content, 0)
    seen = 0
    for i in range(model.BuffersLength()):
        data = model.Buffers(i).DataAsNumpy()
        if isinstance(data, np.ndarray):
            offset = (
                data.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            )
            assert offset % 16 == 0
            seen += 1
    assert seen > 20


def graph_of(op="RELU", attributes=None, qtype=INT8, constant=None):
    tensors = (
        Tensor(0, "x", (1, 2), qtype, QuantParams((0.5,), (0,))),
        Tensor(1, "y", (1, 2), qtype, QuantParams((0.5,), (0,))),
    )
    return Graph("g", tensors, (Node(0, op, (0,), (1,), attributes or Attributes(), "y"),), (0,), (1,))


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (graph_of("Relu"), "layer 0 Relu.*'x' is int8; supported: float32 networks"),
        (graph_of("NONSENSE"), "layer 0 NONSENSE"),
        (graph_of(attributes=Unread("says what nobody knows")), "layer 0 RELU.*says what nobody knows"),
        (graph_of(qtype=QType(5)), "tensor 0 'x' has 5-bit ints"),
        (graph_of(qtype=QType(5, register=8)), "tensor 0 'x' is an activation of 5 bits"),
    ],
)
def test_what_the_format_cannot_hold(graph, says, tmp_path):
    with pytest.raises(ModelError, match=says):
        fxsim.export(graph, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_explicit_padding_is_refused():
    graph = parse(convolution("CONV_2D", "int8"), "made.tflite")
    node = graph.nodes[0]
    bad = replace(graph, nodes=(replace(node, attributes=replace(node.attributes, padding=(1, 0, 1, 0))),))
    with pytest.raises(UnsupportedOp, match=r"layer 0 CONV_2D.*padding is \(1, 0, 1, 0\)"):
        encode(bad)


def test_weights_of_odd_bits_lie_in_their_register():
    weight = np.array([[-16, 15, 3]] * 2)
    graph = parse(dense(weight), "made.tflite")
    w = next(t for t in graph.tensors if t.name == "w")
    odd = replace(w, qtype=QType(5, register=8))
    tensors = tuple(odd if t is w else t for t in graph.tensors)
    assert encode(replace(graph, tensors=tensors)) == encode(graph)


@pytest.mark.parametrize(
    ("path", "says"), [("m.xml", r"'\.tflite', '\.onnx', '\.h', '\.bin'"), ("gone/m.tflite", "cannot be written")]
)
def test_wrong_places(path, says, tmp_path):
    with pytest.raises(OutputError, match=says):
        fxsim.export(parse(dense(small(8)), "made.tflite"), tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_wrong_style(tmp_path):
    with pytest.raises(FxsimError, match="style is 'QDQ'; allowed: 'qdq', 'qoperator'"):
        fxsim.export(parse(dense(small(8)), "made.tflite"), tmp_path / "m.onnx", style="QDQ")


@pytest.mark.live
def test_custom_ops_bear_every_option_that_an_engine_counts():
    """TensorFlow Lite for Microcontrollers finds an option by its place among the sorted names."""
    b = Builder()
    x, y = b.tensor("x", (1, 3, 8), "int16"), b.tensor("y", (1, 3 * 2), "int16")
    b.custom("SignalOverlapAdd", [x], [y], {"T": tflite.TensorType.INT16, "frame_step": 2})
    content = b.finish([x], [y])
    made = encode(parse(content, "made.tflite"))
    frames = np.arange(24, dtype=np.int16).reshape(1, 3, 8)
    assert np.array_equal(engines.tflm(made, [frames])[0], engines.tflm(content, [frames])[0])
