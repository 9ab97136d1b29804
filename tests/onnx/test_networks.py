"""QDQ networks as ONNX Runtime executes them: what it fuses, and every bit of the outputs."""

import os
import tempfile
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx as package
import pytest

from fxsim.errors import UnsupportedOp
from fxsim.importers import onnx, parse
from fxsim.model.onnx_fuse import fuse
from tests.build_onnx import OnnxBuilder
from tests.live.cases import explore
from tests.onnx.cases import OnnxTally, runtime
from tests.onnx.networks import Network, networks

FLOAT = {"MatMul", "Gemm", "Softmax", "Sigmoid", "GlobalAveragePool", "AveragePool"}
"""ops that sum or approximate in float32: the engine's last bits are its own"""


def executed(content: bytes, inputs: Any) -> Counter[str]:
    """The ops of the model that ONNX Runtime saves after its "extended" optimizations; fused activations count apart."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (the test extra)")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "optimized.onnx")
        runtime(content, inputs, "EXTENDED", path)
        ops = Counter(n.op_type for n in package.load(path).graph.node)
    for fused in ("FusedConv", "FusedGemm"):
        ops[fused.removeprefix("Fused")] += ops.pop(fused, 0)
    return +ops


def fused(content: bytes) -> Counter[str]:
    """The ops that fxsim runs."""
    return Counter(n.op for n in fuse(parse(content, "case", onnx.parse))[0].nodes)


def test_networks(tallies):
    """Integer networks agree in every bit; where ops stay in float32, differences are counted and few."""
    whole: OnnxTally = tallies("QDQ networks")
    islands: OnnxTally = tallies("QDQ networks with float islands")
    same: Counter[bool] = Counter()

    def hold(net: Network) -> None:
        content, inputs = net.build()
        try:
            mine = fused(content)
        except UnsupportedOp:
            return
        if not FLOAT & mine.keys():
            whole.ask(content, inputs)
        else:
            islands.near(content, inputs, 30 if net.float_output else 3, "ALL")
        theirs = executed(content, inputs)
        same[not ((mine - theirs) | (theirs - mine)).keys() - {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Identity"}] += 1

    explore(networks(), hold, share=6)
    whole.check(5)
    assert islands.tolerated <= islands.elements / 200, str(islands)
    assert same[True] >= 0.95 * sum(same.values()), same


def _layer(dtype: str, weight: str, *, outer: bool, relu: bool, zero: int) -> bytes:
    """x -> DQ -> Conv -> Relu? -> Q, between float ends where ``outer``."""
    b = OnnxBuilder(17)
    x = (
        b.quantize(b.input("x", (1, 4, 5, 5), "float32"), 0.1, zero, dtype)
        if outer
        else b.input("x", (1, 4, 5, 5), dtype)
    )
    w = b.dequantize(b.constant(np.arange(64).reshape(4, 4, 2, 2), weight), 0.01, 0, weight)
    y = b.op("Conv", [b.dequantize(x, 0.1, zero, dtype), w])
    y = b.quantize(b.op("Relu", [y]) if relu else y, 0.2, zero, dtype)
    return b.finish({b.dequantize(y, 0.2, zero, dtype): "float32"} if outer else {y: dtype})


@pytest.mark.parametrize(
    ("model", "ops"),
    [
        (_layer("uint8", "int8", outer=False, relu=False, zero=3), {"QLinearConv": 1}),
        (_layer("uint8", "uint8", outer=False, relu=False, zero=3), {"QLinearConv": 1}),
        (_layer("uint8", "int8", outer=False, relu=True, zero=0), {"QLinearConv": 1}),
        # A signed input of the model has no Q to become unsigned with: the convolution stays float.
        (
            _layer("int8", "int8", outer=False, relu=False, zero=0),
            {"DequantizeLinear": 2, "Conv": 1, "QuantizeLinear": 1},
        ),
        # Between float ends it has.
        (
            _layer("int8", "int8", outer=True, relu=False, zero=0),
            {"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1},
        ),
        (
            _layer("int8", "int8", outer=True, relu=True, zero=-128),
            {"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1},
        ),
        # A Relu that cuts inside the output's range stays, and with it the float convolution.
        (
            _layer("uint8", "int8", outer=False, relu=True, zero=3),
            {"DequantizeLinear": 2, "Conv": 1, "Relu": 1, "QuantizeLinear": 1},
        ),
    ],
)
def test_what_is_fused(model, ops):
    assert fused(model) == ops
    x = np.zeros((1, 4, 5, 5), np.float32 if "QuantizeLinear" in ops and "QLinearConv" in ops else _input(model))
    theirs = executed(model, [x])
    assert theirs == {k: v for k, v in ops.items() if k != "Relu"}  # which ONNX Runtime puts into the convolution


def _input(model: bytes) -> Any:
    return parse(model, "case", onnx.parse).tensors[parse(model, "case", onnx.parse).inputs[0]].qtype.dtype


def test_signed_residual_stays_float():
    """An int8 tensor with two uses does not become unsigned, so that the convolution on it is not fused."""
    b = OnnxBuilder(17)
    x = b.dequantize(b.quantize(b.input("x", (1, 4, 5, 5), "float32"), 0.1, 3, "int8"), 0.1, 3, "int8")
    w = b.dequantize(b.constant(np.ones((4, 4, 1, 1)), "int8"), 0.01, 0, "int8")
    y = b.dequantize(b.quantize(b.op("Conv", [x, w]), 0.1, 0, "int8"), 0.1, 0, "int8")
    out = b.dequantize(b.quantize(b.op("Add", [y, x]), 0.1, 0, "int8"), 0.1, 0, "int8")
    content = b.finish({out: "float32"})
    assert fused(content) == executed(content, [np.zeros((1, 4, 5, 5), np.float32)])
    assert fused(content)["Conv"] == 1


def test_fusions_are_told():
    graph = parse(_layer("uint8", "int8", outer=False, relu=True, zero=0), "case", onnx.parse)
    after, fusions = fuse(graph)
    assert [(f.op, f.into, len(f.removed)) for f in fusions] == [("Conv", "QLinearConv", 3)]
    assert [n.op for n in graph.nodes].count("Conv") == 1, "the graph itself is left alone"
    assert [graph.tensors[i].name for i in graph.outputs] == [after.tensors[i].name for i in after.outputs]


def test_small_weights_are_refused_by_name():
    """A float input times a quantized weight runs as MatMulNBits, which quantizes the input as it goes."""
    b = OnnxBuilder(17)
    w = b.dequantize(b.constant(np.ones((32, 16)), "int8"), 0.01, 0, "int8")
    b.op("MatMul", [b.input("x", (2, 32), "float32"), w], "y")
    content = b.finish({"y": "float32"})
    assert executed(content, [np.zeros((2, 32), np.float32)]) == {"MatMulNBits": 1}
    with pytest.raises(UnsupportedOp, match=r"MatMulNBits.*'onnxruntime-unoptimized'"):
        fused(content)


def test_unoptimized_networks(tallies):
    """With graph optimizations off every layer is float32 between its DQ and Q: within one step of the output each."""
    tally = tallies("QDQ networks, unoptimized", "onnxruntime-unoptimized")

    def hold(net: Network) -> None:
        content, inputs = replace(net, kinds=net.kinds[:1], float_output=False).build()
        tally.near(content, inputs, 1)

    explore(networks(), hold, share=3)
    tally.check(5)
    assert tally.tolerated <= tally.elements / 200, str(tally)
