"""The profile ``generic``: any widths, each against a slow twin; and that no engine takes what only it does."""

from dataclasses import replace

import numpy as np
import pytest

import fxsim
from fxsim.errors import UnsupportedOp
from fxsim.model.check import faults
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected
from fxsim.model.ops.pool import Pool2D
from fxsim.model.qtype import FLOAT32, INT8, INT32, INT64, QType, QuantParams
from tests import naive

STRICT = ("litert-reference", "litert-optimized", "litert-xnnpack", "tflm", "cmsis-nn")
WIDTHS = [(w, a) for a in (2, 3, 4, 5, 7, 8) for w in (1, 2, 3, 4, 5, 6, 7, 8)]
WIDE = [(w, a) for a in (9, 12, 15, 16) for w in (1, 4, 8, 9, 12, 16)]


def every(qtype, shape, rng):
    """Random integers of the type, its ends among them."""
    if qtype.bits == 1:
        return rng.choice([-1, 1], shape).astype(np.int8)
    values = rng.integers(qtype.min, qtype.max + 1, shape).astype(qtype.dtype)
    values.reshape(-1)[:2] = qtype.min, qtype.max
    return values


def conv_model(weight_bits, activation_bits, rng, scale=0.04):
    """A 3x3 convolution on 4x4 pixels of 2 channels, with zero points where there are any."""
    x, w = QType(activation_bits), QType(weight_bits)
    zero = 1 if activation_bits <= 8 else 0
    quants = QuantParams((0.5,), (zero,)), QuantParams((0.25, 0.125, 0.5), (0,) * 3, 0)
    out = QuantParams((scale * 2.0**weight_bits,), (-zero,))
    weight = every(w, (3, 3, 3, 2), rng)
    bias = rng.integers(-50, 50, 3).astype(np.int64 if activation_bits > 8 else np.int32)
    tensors = (
        Tensor(0, "x", (1, 4, 4, 2), x, quants[0]),
        Tensor(1, "w", (3, 3, 3, 2), w, quants[1], weight),
        Tensor(2, "b", (3,), INT64 if activation_bits > 8 else INT32, None, bias),
        Tensor(3, "y", (1, 4, 4, 3), x, out),
    )
    node = Node(0, "CONV_2D", (0, 1, 2), (3,), Conv2D("RELU", 1, 1, "SAME"), "conv")
    return Graph("m.tflite", tensors, (node,), (0,), (3,))


def by_hand(graph, x):
    """The convolution on Python ints; the rescale as TFLite's reference text has it."""
    xt, w, b, y = graph.tensors
    acc, _ = naive.conv(
        x, w.data.transpose(1, 2, 3, 0), b.data, xt.quant.zero_point[0], (1, 1), (1, 1), (1, 1, 1, 1), 1, 64, "wrap"
    )
    found = np.zeros(acc.shape, np.int64)
    for index in np.ndindex(*acc.shape):
        real = np.float64(np.float32(xt.quant.scale[0])) * np.float64(np.float32(w.quant.scale[index[3]]))
        mantissa, exponent = np.frexp(real / np.float64(np.float32(y.quant.scale[0])))
        q = round(float(mantissa) * 2**31)
        if xt.qtype.bits > 8:  # 64-bit sums: a multiplier of 16 bits, and one rounding, ties up
            q16 = (q + (1 << 15)) >> 16 if q < 0x7FFF0000 else 0x7FFF
            total = (int(acc[index]) * q16 + (1 << (14 - int(exponent)))) >> (15 - int(exponent))
        else:
            total = naive.tflite_multiply(int(acc[index]), q, int(exponent))
        zero = y.quant.zero_point[0]
        found[index] = min(max(total + zero, zero), y.qtype.max)
    return found


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [*WIDTHS, *WIDE])
def test_a_convolution_of_any_width_is_that_by_hand(weight_bits, activation_bits):
    rng = np.random.default_rng(100 * weight_bits + activation_bits)
    graph = conv_model(weight_bits, activation_bits, rng)
    assert not list(faults(graph, any_bits=True))
    x = every(graph.tensors[0].qtype, (1, 4, 4, 2), rng)
    got = fxsim.simulate(graph, x, "generic").kept[3]
    assert np.array_equal(got, by_hand(graph, x))
    assert got.max() <= graph.tensors[3].qtype.max


@pytest.mark.parametrize("activation_bits", [4, 8, 12, 16])
def test_clamps_are_those_of_the_type(activation_bits):
    graph = conv_model(4, activation_bits, np.random.default_rng(1), scale=5e-4)
    x = every(graph.tensors[0].qtype, (1, 4, 4, 2), np.random.default_rng(2))
    got = fxsim.simulate(graph, x, "generic").kept[3]
    assert got.max() == graph.tensors[3].qtype.max
    assert np.array_equal(got, by_hand(graph, x))


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(1, 8), (3, 8), (8, 4), (2, 8), (16, 16), (8, 12)])
@pytest.mark.parametrize("numerics", STRICT)
def test_engines_refuse_other_widths(weight_bits, activation_bits, numerics):
    graph = conv_model(weight_bits, activation_bits, np.random.default_rng(3))
    with pytest.raises(
        UnsupportedOp, match=rf"CONV_2D 'conv': .*int{min(weight_bits, activation_bits)}|.*int{activation_bits}"
    ):
        fxsim.simulate(graph, np.zeros((1, 4, 4, 2), graph.tensors[0].qtype.dtype), numerics)
    (gap,) = fxsim.unsupported(graph, numerics)
    assert "int" in gap.reason
    assert not fxsim.unsupported(graph, "generic")


@pytest.mark.parametrize("name", ["litert-reference"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 8), (8, 16), (4, 16)])
def test_engines_widths_are_computed_as_by_the_engine(weight_bits, activation_bits, name):
    graph = conv_model(weight_bits, activation_bits, np.random.default_rng(4))
    x = every(graph.tensors[0].qtype, (1, 4, 4, 2), np.random.default_rng(5))
    assert np.array_equal(*(fxsim.simulate(graph, x, n).kept[3] for n in (name, "generic")))


def layer(op, attributes, x, y, shapes=((1, 2, 2, 4), (1, 2, 2, 4)), quants=None):
    quants = quants or (QuantParams((0.25,), (1,)), QuantParams((0.25,), (1,)))
    tensors = (Tensor(0, "x", shapes[0], x, quants[0]), Tensor(1, "y", shapes[1], y, quants[1]))
    return Graph(
        "m.tflite", tensors, (Node(0, op, (0,) * (2 if op == "ADD" else 1), (1,), attributes, op),), (0,), (1,)
    )


def test_four_bit_pools_sums_and_casts():
    x4 = QType(4)
    x = np.arange(-8, 8).reshape(1, 2, 2, 4).astype(np.int8)
    pool = Pool2D("NONE", 2, 2, "VALID", 2, 2)
    most = fxsim.simulate(layer("MAX_POOL_2D", pool, x4, x4, ((1, 2, 2, 4), (1, 1, 1, 4))), x, "generic").kept[1]
    assert most.reshape(-1).tolist() == [4, 5, 6, 7]
    mean = fxsim.simulate(layer("AVERAGE_POOL_2D", pool, x4, x4, ((1, 2, 2, 4), (1, 1, 1, 4))), x, "generic").kept[1]
    assert mean.reshape(-1).tolist() == [-2, -1, 0, 1]
    twice = fxsim.simulate(layer("ADD", Sum("NONE", False), x4, x4), x, "generic").kept[1]
    assert twice.reshape(-1).tolist() == [min(max(2 * (v - 1) + 1, -8), 7) for v in range(-8, 8)]
    float_in = layer("QUANTIZE", Attributes(), FLOAT32, x4, quants=(None, QuantParams((0.5,), (-1,))))
    real = np.linspace(-5, 5, 16, dtype=np.float32).reshape(1, 2, 2, 4)
    made = fxsim.simulate(float_in, real, "generic").kept[1]
    assert made.min() == -8
    assert made.max() == 7
    up = layer("QUANTIZE", Attributes(), x4, INT8, quants=(QuantParams((0.5,), (0,)), QuantParams((0.125,), (3,))))
    assert fxsim.simulate(up, x, "generic").kept[1].reshape(-1).tolist() == [4 * v + 3 for v in range(-8, 8)]
    table = layer(
        "LOGISTIC", Attributes(), x4, INT8, quants=(QuantParams((0.5,), (0,)), QuantParams((1 / 256,), (-128,)))
    )
    got = fxsim.simulate(table, x, "generic").kept[1].reshape(-1)
    assert np.abs((got.astype(int) + 128) / 256 - 1 / (1 + np.exp(-0.5 * np.arange(-8, 8)))).max() <= 0.5 / 256 + 1e-6


def test_a_binary_tensor_takes_a_bit_an_element():
    binary = QType(1)
    assert (binary.min, binary.max) == (-1, 1)
    assert Tensor(0, "w", (3, 3), binary).nbytes == 2
    assert binary.registered.name == "int8"
    assert (binary.registered.min, binary.registered.max) == (-1, 1)
    assert QType(12).registered.name == "int16"
    assert FLOAT32.registered is FLOAT32


def test_float_layers_are_real_functions():
    w = np.array([[0.1, 0.2, 0.3]], np.float32)
    tensors = (
        Tensor(0, "x", (1, 3), FLOAT32),
        Tensor(1, "w", (1, 3), FLOAT32, None, w),
        Tensor(2, "h", (1, 1), FLOAT32),
        Tensor(3, "y", (1, 1), FLOAT32),
    )
    nodes = (
        Node(0, "FULLY_CONNECTED", (0, 1, -1), (2,), FullyConnected()),
        Node(1, "LOGISTIC", (2,), (3,), Attributes()),
    )
    graph = Graph("m.tflite", tensors, nodes, (0,), (3,))
    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    want = 1 / (1 + np.exp(-np.float64(x @ w.T)))
    assert fxsim.simulate(graph, x, "generic").kept[3] == pytest.approx(want, rel=1e-6)
    with pytest.raises(UnsupportedOp, match="LOGISTIC"):
        fxsim.simulate(replace(graph, derived={}), x, "litert-reference")
