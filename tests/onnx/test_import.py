"""Reading ``.onnx``: what the graph holds, what is folded, what is refused and in which words."""

import builtins
import sys

import msgspec
import numpy as np
import onnx as package
import pytest
from onnx import TensorProto, helper

import fxsim
from fxsim.errors import ModelError, UnsupportedOp
from fxsim.importers import onnx, parse
from fxsim.model.graph import Graph
from tests.build_onnx import OnnxBuilder


def conv(**options) -> OnnxBuilder:
    """x -> QLinearConv -> y."""
    b = OnnxBuilder()
    ins = [b.input("x", (1, 2, 5, 5), "uint8"), *b.scalars(0.5, 3, "uint8")]
    ins += [b.constant(np.arange(24).reshape(3, 2, 2, 2), "int8"), b.constant([0.1, 0.2, 0.3], "float32")]
    ins += [b.constant([0, 0, 0], "int8"), *b.scalars(0.25, 7, "uint8"), b.constant([1, 2, 3], "int32")]
    b.op("QLinearConv", ins, "y", **options)
    return b


def read(content: bytes) -> Graph:
    return parse(content, "case.onnx", onnx.parse)


def edited(content: bytes, change) -> bytes:
    """The file after ``change(model)``."""
    model = package.load_from_string(content)
    change(model)
    return model.SerializeToString()


def test_graph_keeps_what_the_file_says():
    g = read(conv(pads=[1, 1, 0, 0]).finish({"y": "uint8"}))
    (node,) = g.nodes
    assert (node.op, len(node.inputs)) == ("QLinearConv", 9)
    x, y, w = g.tensor("x"), g.tensor("y"), g.tensors[node.inputs[3]]
    assert (x.quant.scale, x.quant.zero_point) == ((0.5,), (3,))
    assert (y.shape, y.qtype.name, y.quant.scale, y.quant.zero_point) == ((1, 3, 5, 5), "uint8", (0.25,), (7,))
    assert w.quant.axis == 0
    assert w.quant.scale == tuple(float(np.float32(v)) for v in (0.1, 0.2, 0.3))
    assert len(g.sha256) == 64


def test_read_by_suffix(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(conv().finish({"y": "uint8"}))
    graph = fxsim.read(path)
    trace = fxsim.simulate(graph, np.zeros((1, 2, 5, 5), np.uint8), "onnxruntime")
    assert trace.outputs["y"].shape == (1, 3, 4, 4)
    assert trace.stats[0].acc_bits == 32
    assert fxsim.estimate(graph, "cortex-m4").totals()["macs"] == 3 * 4 * 4 * 8


def test_work_of_quantized_and_float_products():
    from fxsim.model.ops import work

    g = read(conv(group=1, strides=[2, 1]).finish({"y": "uint8"}))
    done = work(g, g.nodes[0])
    assert (done.kind, done.macs, done.weight_bytes, done.bias_bytes, done.per_channel) == (
        "conv",
        3 * 2 * 4 * 8,
        24,
        12,
        True,
    )
    b = OnnxBuilder()
    b.op("MatMul", [b.input("a", (2, 3, 4), "float32"), b.input("b", (2, 4, 5), "float32")], "y")
    g = read(b.finish({"y": "float32"}))
    assert work(g, g.nodes[0]).macs == 2 * 3 * 4 * 5


def test_index_arithmetic_is_folded():
    b = OnnxBuilder(17)
    x = b.input("x", ("N", 3, 4, 5), "float32")
    shape = b.op("Shape", [x])
    batch = b.op("Gather", [shape, b.constant(0, "int64")], axis=0)
    sizes = b.op("Concat", [b.op("Unsqueeze", [batch, b.constant([0], "int64")]), b.constant([-1], "int64")], axis=0)
    b.op("Reshape", [x, sizes], "y")
    g = read(b.finish({"y": "float32"}))
    assert [n.op for n in g.nodes] == ["Reshape"]
    assert g.tensor("y").shape == (1, 60)


def test_constants_of_four_bits():
    for dtype, values in (("int4", [-8, 7, -1]), ("uint4", [15, 0, 9])):
        b = OnnxBuilder()
        b.dequantize(b.constant(values, dtype), 1.0, 0, dtype, "y")
        g = read(b.finish({"y": "float32"}))
        assert g.tensors[0].data.tolist() == values
        assert g.tensors[0].nbytes == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.graph.ClearField("node"), ModelError, "without nodes"),
        (
            lambda m: m.graph.node[0].input.__setitem__(0, "nothing"),
            ModelError,
            "uses value 'nothing' before any layer makes it",
        ),
        (lambda m: m.graph.node[0].output.__setitem__(0, "x"), ModelError, "value 'x' is made twice"),
        (lambda m: m.graph.node.append(m.graph.node[0]), ModelError, "value 'y' is made twice"),
        (
            lambda m: setattr(m.graph.node[0], "op_type", "LSTM"),
            UnsupportedOp,
            "op LSTM is not supported; supported: 'Abs'",
        ),
        (lambda m: setattr(m.graph.node[0], "op_type", "CONV_2D"), UnsupportedOp, "op CONV_2D is not supported"),
        (lambda m: setattr(m.graph.node[0], "domain", "my.ops"), UnsupportedOp, "of domain 'my.ops'"),
        (lambda m: m.graph.output[0].__setattr__("name", "z"), ModelError, "output 'z' is made by no layer"),
        (
            lambda m: m.graph.initializer[2].dims.__setitem__(0, 4),
            ModelError,
            "has 24 bytes; allowed for 32 of int8: 32",
        ),
        (lambda m: m.graph.initializer[2].dims.__setitem__(0, -3), ModelError, "shape \\[-3, 2, 2, 2\\]"),
        (
            lambda m: setattr(m.graph.initializer[2], "data_type", 15),
            UnsupportedOp,
            "is COMPLEX128; supported: 'bfloat16'",
        ),
        (lambda m: setattr(m.graph.initializer[2], "data_type", 99), UnsupportedOp, "is code 99"),
        (lambda m: setattr(m.graph.initializer[2], "data_location", 1), UnsupportedOp, "stored in another file"),
        (lambda m: setattr(m.graph.initializer[0], "raw_data", b"\0\0\xc0\x7f"), ModelError, "not numbers"),
        (
            lambda m: setattr(m.graph.initializer[0], "raw_data", b"\0\0\0\0"),
            ModelError,
            "scale .* is 0.0; allowed: above 0",
        ),
        (lambda m: setattr(m.opset_import[0], "version", 3), UnsupportedOp, "opset is 3; supported: 7 and later"),
        (
            lambda m: m.graph.node[0].attribute.append(helper.make_attribute("shrink", 3)),
            UnsupportedOp,
            "attributes 'shrink' are not supported",
        ),
        (
            lambda m: m.graph.node[0].attribute.append(helper.make_attribute("pads", [1, 2])),
            ModelError,
            "pads are \\[1, 2\\]; allowed: 4 values",
        ),
        (
            lambda m: m.graph.node[0].attribute.append(helper.make_attribute("group", 0)),
            ModelError,
            "fits no 0 groups of 2 input channels",
        ),
        (
            lambda m: m.graph.node[0].attribute.append(helper.make_attribute("group", "x")),
            ModelError,
            "attribute group is of type str; allowed: int",
        ),
        (
            lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_param", "C"),
            ModelError,
            "input 'x': size 1 is 'C'; allowed: a number of at least 1",
        ),
        (
            lambda m: m.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 9, 9, 9])),
            ModelError,
            "output 'y' is declared \\[1, 9, 9, 9\\], but the op makes \\[1, 3, 4, 4\\]",
        ),
        (
            lambda m: m.graph.output[0].type.tensor_type.__setattr__("elem_type", TensorProto.INT8),
            ModelError,
            "declared int8, but the op makes uint8",
        ),
    ],
)
def test_errors_say_what_and_where(change, error, message):
    with pytest.raises(error, match=message) as info:
        read(edited(conv().finish({"y": "uint8"}), change))
    assert str(info.value).startswith("case.onnx")
    assert "\n" not in str(info.value)


def test_without_the_package(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.partition(".")[0] == "onnx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.partition(".")[0] == "onnx"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ModelError, match=r"needs the onnx package: pip install fxsim\[onnx\]"):
        read(b"\x08\x0a")


def test_dynamic_scales_are_refused_by_name():
    b = OnnxBuilder()
    x, s = b.input("x", (4,), "uint8"), b.input("s", (), "float32")
    b.op("QLinearSigmoid", [x, s, b.constant(0, "uint8"), *b.scalars(0.5, 0, "uint8")], "y")
    graph = read(b.finish({"y": "uint8"}))
    with pytest.raises(UnsupportedOp, match="input 1 's' is no constant of one value"):
        fxsim.simulate(graph, [np.zeros(4, np.uint8), np.float32(1)], "onnxruntime")


def test_registers_in_the_layout_of_onnx():
    """The worst input is an image ``(N, C, H, W)``; run, it drives the register to the value that was promised."""
    graph = read(conv().finish({"y": "uint8"}))
    needed = fxsim.needed_bits(graph, "onnxruntime")[0]
    worst = fxsim.worst_input(graph, 0, 2, "onnxruntime")
    assert worst.inputs.shape == (1, 2, 5, 5)
    trace = fxsim.simulate(graph, worst.inputs, "onnxruntime")
    row = trace.channels.iloc[2]
    assert worst.value in (row.acc_min, row.acc_max)
    assert needed.high >= worst.value >= needed.low
    assert worst.output[1] == 2


def test_first_overflow_is_an_index_of_the_output():
    """In a register of 8 bits some output of channel 1 overflows first; its index is one of (N, O, OH, OW)."""
    profile = fxsim.load_numerics("onnxruntime")
    narrow = msgspec.structs.replace(profile, accumulator=msgspec.structs.replace(profile.accumulator, bits=10))
    x = np.zeros((1, 2, 5, 5), np.uint8) + 3
    x[0, :, 3:, 3:] = 255
    stats = fxsim.simulate(read(conv().finish({"y": "uint8"})), x, narrow).stats[0]
    assert stats.overflows > 0
    assert len(stats.first_overflow) == 5
    assert stats.first_overflow[3:] >= (2, 2)
