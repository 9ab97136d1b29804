"""Hostile ``.onnx`` files: truncated, mutated, foreign, bombs. Each is read or refused; none hangs or eats memory."""

import random
import resource
import struct
import time

import numpy as np
import onnx as package
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import fxsim
from fxsim.errors import FxsimError, ModelError
from fxsim.importers import onnx, parse
from tests.build_onnx import OnnxBuilder
from tests.onnx.networks import KINDS, Network

GOOD = Network(("conv", "add", "pool", "matmul_add", "softmax"), "uint8", True, False, True, 3).build()[0]


def attempt(data: bytes) -> str | None:
    """Reads, and if that works, runs and prices: whatever was let through must be simulated or refused."""
    try:
        graph = parse(bytes(data), "hostile.onnx", onnx.parse)
        x = [np.zeros(graph.tensors[i].shape, graph.tensors[i].qtype.dtype) for i in graph.inputs]
        fxsim.simulate(graph, x, "onnxruntime")
        fxsim.estimate(graph, "cortex-m4").totals()
    except FxsimError as e:
        assert "hostile.onnx" in str(e), "the message names the file"
        return str(e)
    return None


def test_the_good_one_is_good():
    assert attempt(GOOD) is None


def test_every_truncation():
    for size in range(0, len(GOOD), 7):
        assert attempt(GOOD[:size]) is not None or size > len(GOOD) // 2


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n" * 99, b"PK\x03\x04" * 99, b"\0" * 999, b"\xff" * 999, b"\x0a" * 999]
)
def test_foreign(data):
    with pytest.raises(ModelError):
        parse(data, "hostile.onnx", onnx.parse)


def test_mutations():
    """Single bytes, and words set to what sizes and counts are abused with."""
    rng = random.Random(5)
    words = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000000, 0x00FFFFFF]
    start, slowest = time.monotonic(), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = tried = 0
    while tried < 4000 and time.monotonic() - start < 8:
        data = bytearray(GOOD)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(0, len(data) - 4)
            if rng.random() < 0.7:
                data[at] = rng.randrange(256)
            else:
                struct.pack_into("<I", data, at, rng.choice(words))
        began = time.monotonic()
        refused += attempt(data) is not None
        slowest = max(slowest, time.monotonic() - began)
        tried += 1
    assert tried > 300
    assert refused > tried // 20
    assert slowest < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000  # KiB


def _broken(rng: random.Random) -> bytes:
    """A random network with its nodes rewired, renamed, cut short, or its constants changed."""
    kinds = tuple(rng.choice(KINDS) for _ in range(rng.randint(1, 4)))
    net = Network(
        kinds, rng.choice(["uint8", "int8"]), rng.random() < 0.5, rng.random() < 0.5, True, rng.randrange(1 << 30)
    )
    model = package.load_from_string(net.build()[0])
    graph = model.graph
    names = [o for n in graph.node for o in n.output] + [i.name for i in graph.initializer] + ["", graph.input[0].name]
    for _ in range(rng.choice((1, 1, 2, 3))):
        node, constant = rng.choice(graph.node), rng.choice(graph.initializer)
        kind = rng.randrange(6)
        if kind < 2 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif kind == 2:
            node.op_type = rng.choice(graph.node).op_type
        elif kind == 3 and node.input:
            del node.input[-1]
        elif kind == 4 and node.attribute:
            node.attribute[0].i = rng.choice([-9, 0, 1, 99, 1 << 40])
        elif constant.raw_data:
            data = bytearray(constant.raw_data)
            data[rng.randrange(len(data))] = rng.randrange(256)
            constant.raw_data = bytes(data)
    return model.SerializeToString()


def test_broken_networks():
    rng, start = random.Random(8), time.monotonic()
    refused = tried = 0
    while tried < 1500 and time.monotonic() - start < 8:
        refused += attempt(_broken(rng)) is not None
        tried += 1
    assert tried > 100
    assert tried // 4 < refused < tried


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_noise(data):
    attempt(data)


def test_deep_nesting():
    """A graph inside an attribute of a node of a graph inside ...: protobuf bounds the depth."""
    inner = b""
    for _ in range(3000):
        field = b"\x32" + _length(inner) + inner  # attribute.g = 6
        node = b"\x2a" + _length(field) + field  # node.attribute = 5
        inner = b"\x0a" + _length(node) + node  # graph.node = 1
    attempt(b"\x3a" + _length(inner) + inner)


def _length(data: bytes) -> bytes:
    n, out = len(data), b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def test_bombs():
    """Small files that ask for much: refused, and quickly."""
    for dims, op, extra in (
        ([1, 1 << 20, 1 << 20], "Relu", []),
        ([1, 1 << 62, 4], "Relu", []),
        ([1, 4], "Expand", [[1 << 20, 1 << 20, 4]]),
        ([1, 4], "Pad", [[0, 1 << 40, 0, 1 << 40]]),
    ):
        b = OnnxBuilder(17)
        b.op(op, [b.input("x", dims, "float32"), *(b.constant(v, "int64") for v in extra)], "y")
        began = time.monotonic()
        assert attempt(b.finish({"y": "float32"})) is not None
        assert time.monotonic() - began < 5


def test_folding_makes_no_small_file_large():
    b = OnnxBuilder(17)
    x = b.constant(np.zeros(4), "float32")
    for _ in range(12):
        x = b.op("Concat", [x] * 8, axis=0)
    b.op("Identity", [x], "y")
    assert attempt(b.finish({"y": "float32"})) is not None


def test_long_chains_are_linear():
    """Thousands of layers are read and rewritten in seconds."""
    b = OnnxBuilder(17)
    x = b.input("x", (1, 4), "uint8")
    for _ in range(1500):
        x = b.quantize(b.op("Sigmoid", [b.dequantize(x, 0.5, 0, "uint8")]), 0.01, 0, "uint8")
    began = time.monotonic()
    assert attempt(b.finish({x: "uint8"})) is None
    assert time.monotonic() - began < 30


def test_cycles_and_disorder():
    def model(*nodes):
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()

    relu = package.helper.make_node
    assert "before any layer makes it" in attempt(model(relu("Add", ["x", "y"], ["a"]), relu("Relu", ["a"], ["y"])))
    assert "before any layer makes it" in attempt(model(relu("Relu", ["a"], ["y"]), relu("Relu", ["x"], ["a"])))


def test_subgraphs_and_odd_inputs_are_refused():
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["t"])], "b", [], [helper.make_tensor_value_info("t", 1, [2])]
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    ins = [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("x", 1, [2])]
    graph = helper.make_graph([node], "g", ins, [helper.make_tensor_value_info("y", 1, [2])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert "supported: numbers, strings and tensors" in attempt(model.SerializeToString())
    graph.input[1].type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2])))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert "sequence_type without a shape" in attempt(model.SerializeToString())
