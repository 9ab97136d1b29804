"""Float ONNX networks in TensorFlow Lite's ops and back: LiteRT and ONNX Runtime compute the same, within float32."""

import numpy as np
import pytest
from hypothesis import given, settings

import fxsim
from fxsim.convert import to_onnx, to_tflite
from fxsim.errors import UnsupportedOp
from fxsim.exporters.onnx import encode as encode_onnx
from fxsim.exporters.tflite import encode
from fxsim.importers import onnx as reader
from fxsim.importers import parse
from tests.build_onnx import OnnxBuilder
from tests.export.engines_of import ENGINES, onnxruntime_outputs
from tests.export.floats import encoder, networks

pytestmark = pytest.mark.live
NEAR = 1e-5
"""the greatest difference, as a share of the greatest value"""


def read(content):
    return parse(content, "m.onnx", reader.parse)


def assert_near(got, want):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= NEAR * max(np.abs(want).max(), 1e-3)


def assert_converts(content, x, engines=tuple(ENGINES)):
    """Holds both engines to ONNX Runtime; returns the converted graph."""
    want = onnxruntime_outputs(content, [x])
    graph = to_tflite(read(content))
    made = encode(graph)
    for name in engines:
        if name == "litert-reference" and any(n.op == "ELU" for n in graph.nodes):
            continue  # which its reference kernels lack
        for i in range(len(x)):
            for got, w in zip(ENGINES[name](made, [x[i]], graph.outputs), want, strict=True):
                assert_near(got, w[i])
    again = onnxruntime_outputs(encode_onnx(graph), [x])
    for got, w in zip(again, want, strict=True):
        assert_near(got, w)
    return graph


@given(networks())
@settings(max_examples=60)
def test_networks_of_convolutions(case):
    content, shape = case
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    source, graph = read(content), assert_converts(content, x)
    assert [graph.tensors[i].shape for i in graph.inputs] == [source.tensors[i].shape for i in source.inputs]
    assert [graph.tensors[i].name for i in graph.outputs] == [source.tensors[i].name for i in source.outputs]
    assert [graph.tensors[i].shape for i in graph.outputs] == [source.tensors[i].shape for i in source.outputs]


@pytest.mark.parametrize("order", range(3))
def test_an_encoder_block(order):
    content = encoder(order)
    x = np.random.default_rng(2).normal(size=(3, 1, 6, 16)).astype(np.float32)
    graph = assert_converts(content, x)
    ops = [n.op for n in graph.nodes]
    assert ops.count("GELU") == 1
    assert ops.count("FULLY_CONNECTED") == 6  # each has taken its Add in
    assert ops.count("BATCH_MATMUL") == 2


def residual_network():
    """A ResNet's beginning: 7x7 with stride 2, pool, two blocks, head."""
    from tests.export.floats import Net

    n = Net(np.random.default_rng(3), OnnxBuilder(), {})
    x = n.keep(n.b.input("x", (1, 3, 32, 32), "float32"), (3, 32, 32))
    x = n.alone("Relu", n.norm(n.conv(x, 8, (7, 7), bias=False, strides=[2, 2], pads=[3] * 4)))
    y = n.b.op("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = n.keep(y, (8, 8, 8))
    for channels, stride in ((8, 1), (16, 2)):
        way = x if stride == 1 else n.norm(n.conv(x, channels, (1, 1), bias=False, strides=[2, 2]))
        y = n.alone("Relu", n.norm(n.conv(x, channels, (3, 3), bias=False, strides=[stride] * 2, pads=[1] * 4)))
        y = n.norm(n.conv(y, channels, (3, 3), bias=False, pads=[1] * 4))
        x = n.alone("Relu", n.alone("Add", y, way))
    y = n.b.op("Flatten", [n.b.op("GlobalAveragePool", [x])])
    n.b.op("Gemm", [y, n.const(n.rng.normal(size=(10, 16))), n.const(n.rng.normal(size=10))], "out", transB=1)
    return n.b.finish({"out": "float32"})


def test_a_residual_network_moves_its_image_once():
    content = residual_network()
    graph = assert_converts(content, np.random.default_rng(4).normal(size=(2, 1, 3, 32, 32)).astype(np.float32))
    ops = [(n.op, getattr(n.attributes, "activation", "NONE")) for n in graph.nodes]
    assert ops == [
        ("TRANSPOSE", "NONE"), ("PAD", "NONE"), ("CONV_2D", "RELU"), ("PAD", "NONE"), ("MAX_POOL_2D", "NONE"),
        ("CONV_2D", "RELU"), ("CONV_2D", "NONE"), ("ADD", "RELU"),
        ("CONV_2D", "NONE"), ("PAD", "NONE"), ("CONV_2D", "RELU"), ("CONV_2D", "NONE"), ("ADD", "RELU"),
        ("MEAN", "NONE"), ("RESHAPE", "NONE"), ("FULLY_CONNECTED", "NONE"),
    ]  # fmt: skip
    assert sum(op == "TRANSPOSE" for op, _ in ops) == 1
    assert not any(op in ("MUL", "RELU") for op, _ in ops)
    back = to_onnx(graph)
    assert not any(n.op == "Transpose" for n in back.nodes)  # the way back cancels the one at the border


def test_images_may_enter_as_they_are_computed():
    content = residual_network()
    graph = to_tflite(read(content), nhwc=True)
    assert graph.tensors[graph.inputs[0]].shape == (1, 32, 32, 3)
    assert not any(n.op == "TRANSPOSE" for n in graph.nodes)
    x = np.random.default_rng(5).normal(size=(1, 1, 3, 32, 32)).astype(np.float32)
    (want,) = onnxruntime_outputs(content, [x])
    (got,) = ENGINES["litert-xnnpack"](encode(graph), [x[0].transpose(0, 2, 3, 1)], graph.outputs)
    assert_near(got, want[0])


def test_one_channel_needs_no_transpose():
    b = OnnxBuilder()
    x = b.input("x", (1, 1, 6, 6), "float32")
    w = np.random.default_rng(6).normal(size=(4, 1, 3, 3))
    y = b.op("Relu", [b.op("Conv", [x, b.constant(w, "float32")], kernel_shape=[3, 3])])
    rows = b.op("Flatten", [y])
    weight = np.random.default_rng(7).normal(size=(64, 5))
    b.op("MatMul", [rows, b.constant(weight, "float32")], "out")
    graph = assert_converts(
        b.finish({"out": "float32"}), np.random.default_rng(8).normal(size=(2, 1, 1, 6, 6)).astype(np.float32)
    )
    assert [n.op for n in graph.nodes] == ["RESHAPE", "CONV_2D", "RESHAPE", "FULLY_CONNECTED"]


def test_normalization_is_folded_in_float64():
    """One rounding to float32 for each weight: the correctly rounded value of what float64 says."""
    b = OnnxBuilder()
    rng = np.random.default_rng(9)
    x = b.input("x", (1, 2, 4, 4), "float32")
    w, bias = rng.normal(size=(3, 2, 1, 1)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    gamma, beta, mean, var = (rng.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))
    y = b.op("Conv", [x, b.constant(w, "float32"), b.constant(bias, "float32")], kernel_shape=[1, 1])
    b.op("BatchNormalization", [y, *(b.constant(v, "float32") for v in (gamma, beta, mean, var))], "out", epsilon=1e-5)
    graph = to_tflite(read(b.finish({"out": "float32"})))
    (conv,) = [n for n in graph.nodes if n.op == "CONV_2D"]
    epsilon = float(np.float32(1e-5))
    factor = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + epsilon)
    want = (w.astype(np.float64) * factor[:, None, None, None]).astype(np.float32).transpose(0, 2, 3, 1)
    shift = (bias.astype(np.float64) * factor + (beta.astype(np.float64) - mean * factor)).astype(np.float32)
    assert np.array_equal(graph.tensors[conv.inputs[1]].data, want)
    assert np.array_equal(graph.tensors[conv.inputs[2]].data, shift)


def one(op, *more, shape=(1, 2, 4, 4), dtype="float32", **attributes):
    b = OnnxBuilder()
    x = b.input("x", shape, dtype)
    b.op(op, [x, *(b.constant(v, "float32") for v in more)], "out", **attributes)
    return b.finish({"out": "float32"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (one("Erf"), "layer 0 Erf 'out': has no counterpart"),
        (one("Pow", 2.5), "layer 0 Pow 'out': exponent is .2.5.; supported: 1, 2, 3, 0.5"),
        (one("Elu", alpha=0.5), "layer 0 Elu 'out': alpha is 0.5; supported: 1"),
        (one("MaxPool", kernel_shape=[2, 2], dilations=[2, 1]), r"layer 0 MaxPool 'out': dilations are \[2, 1\]"),
    ],
)
def test_what_has_no_counterpart(content, says):
    with pytest.raises(UnsupportedOp, match=says):
        to_tflite(read(content))


def test_integer_networks_are_refused():
    b = OnnxBuilder()
    x = b.quantize(b.input("x", (1, 4), "float32"), 0.5, 0, "int8")
    b.dequantize(x, 0.5, 0, "int8", "out")
    with pytest.raises(UnsupportedOp, match="QuantizeLinear"):
        to_tflite(read(b.finish({"out": "float32"})))


def test_a_graph_of_the_other_dialect_stays():
    graph = to_tflite(read(one("Relu")))
    assert to_tflite(graph) is graph
    source = read(one("Relu"))
    assert to_onnx(source) is source


ONE_OP = {
    "Clip": one("Clip", -0.3, 0.4),
    "Clip max": one("Relu"),
    "Exp": one("Exp"),
    "Neg": one("Neg"),
    "Abs": one("Abs"),
    "Pow 2": one("Pow", 2.0),
    "Pow 3": one("Pow", 3.0),
    "Reciprocal": one("Reciprocal"),
    "HardSigmoid": one("HardSigmoid", alpha=0.2, beta=0.4),
    "Softplus": one("Softplus"),
    "Softmax 1": one("Softmax", axis=1),
    "Softmax 2": one("Softmax", axis=2),
    "LogSoftmax": one("LogSoftmax", axis=-1),
    "Max": one("Max", 0.1),
    "Min": one("Min", np.linspace(-1, 1, 2).reshape(2, 1, 1)),
    "Div": one("Div", np.array([3.0, 7.0]).reshape(2, 1, 1)),
    "Sub": one("Sub", np.arange(4.0)),
    "Transpose": one("Transpose", perm=[0, 3, 1, 2]),
    "GlobalMaxPool": one("GlobalMaxPool"),
    "Flatten 2": one("Flatten", axis=2),
    "LayerNormalization": one("LayerNormalization", np.linspace(0.5, 2, 16).reshape(4, 4), axis=2),
    "Conv1d": one("Conv", np.linspace(-1, 1, 30).reshape(5, 2, 3), shape=(1, 2, 9), kernel_shape=[3], pads=[1, 1]),
    "MaxPool1d": one("MaxPool", shape=(1, 2, 9), kernel_shape=[3], strides=[2]),
    "ConvTranspose same": one("ConvTranspose", np.linspace(-1, 1, 48).reshape(2, 6, 2, 2), strides=[2, 2]),
    "ConvTranspose cut": one(
        "ConvTranspose", np.linspace(-1, 1, 54).reshape(2, 3, 3, 3),
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1], output_padding=[1, 0],
    ),
    "MatMul 4": one("MatMul", np.linspace(-1, 1, 12).reshape(4, 3)),
    "MatMul left": one("MatMul", np.linspace(-1, 1, 8).reshape(1, 2, 4, 1)),
    "PRelu": one("PRelu", np.array([0.1, -0.2]).reshape(2, 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_OP)
def test_each_op(name):
    graph = read(ONE_OP[name])
    shape = graph.tensors[graph.inputs[0]].shape
    x = np.random.default_rng(10).normal(size=(3, *shape)).astype(np.float32)
    assert_converts(ONE_OP[name], x)


def test_public_names():
    assert fxsim.convert.to_tflite is to_tflite
