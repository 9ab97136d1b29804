"""Random QDQ networks: layers between DequantizeLinear and QuantizeLinear, with what exporters put between."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.build_onnx import OnnxBuilder
from tests.onnx.cases import Array

KINDS = (
    "conv", "conv", "conv_relu", "conv_clip", "conv_float_bias", "conv_float_weight", "pool", "add", "mul_const", "sigmoid",
    "leaky", "global", "concat", "reshape", "transpose", "conv_reshape", "dense", "matmul", "matmul_add", "softmax",
    "double", "slice", "split", "average", "identity",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Network:
    """A chain of layers, some with branches, all told by a seed."""

    kinds: tuple[str, ...]
    dtype: str
    float_input: bool
    float_output: bool
    ties: bool
    seed: int

    def build(self) -> tuple[bytes, list[Array]]:
        """The model and one inference's input."""
        return _Maker(self).make()


class _Maker:
    def __init__(self, net: Network) -> None:
        self.net, self.b, self.rng = net, OnnxBuilder(17), np.random.default_rng(net.seed)
        self.low, self.high = (0, 255) if net.dtype == "uint8" else (-128, 127)

    def scale(self) -> float:
        if self.net.ties:
            return float(2.0 ** self.rng.integers(-6, -2))
        return float(np.float32(10 ** self.rng.uniform(-2, -0.7)))

    def zero(self, *, least: bool = False) -> int:
        ends = [self.low, self.high, (self.low + self.high + 1) // 2]
        return self.low if least else int(self.rng.choice([*ends, int(self.rng.integers(self.low, self.high))]))

    def pair(self, real: str, *, least: bool = False) -> str:
        """Q and DQ after a real value."""
        scale, zero = self.scale(), self.zero(least=least)
        raw = self.b.quantize(real, scale, zero, self.net.dtype)
        self.last, self.stale = (raw, scale, zero), False
        return self.b.dequantize(raw, scale, zero, self.net.dtype)

    def weight(self, shape: tuple[int, ...], axis: int = 0) -> str:
        """A DQ of a constant."""
        kind = "int8" if self.net.dtype == "int8" or self.rng.integers(3) else "uint8"
        values = self.rng.integers(-128 if kind == "int8" else 0, 128 if kind == "int8" else 256, shape)
        if self.rng.integers(2):
            scales = np.array([self.scale() / 16 for _ in range(shape[axis])], np.float32)
            zeros = np.zeros(shape[axis]) if kind == "int8" else np.full(shape[axis], 128)
            ins = [self.b.constant(values, kind), self.b.constant(scales, "float32"), self.b.constant(zeros, kind)]
            return self.b.op("DequantizeLinear", ins, axis=axis)
        zero = 0 if kind == "int8" else 128
        return self.b.dequantize(self.b.constant(values, kind), self.scale() / 16, zero, kind)

    def make(self) -> tuple[bytes, list[Array]]:
        net, b = self.net, self.b
        shape = (1, int(self.rng.choice([2, 4])), 6, int(self.rng.choice([4, 6])))
        if net.float_input:
            x = self.rng.normal(0, 3, shape).astype(np.float32)
            real = self.pair(b.input("x", shape, "float32"))
        else:
            x = self.rng.integers(self.low, self.high, shape, endpoint=True).astype(net.dtype)
            real = b.dequantize(b.input("x", shape, net.dtype), self.scale(), self.zero(), net.dtype)
        for kind in net.kinds:
            real, shape = self.layer(kind, real, shape)
        if not hasattr(self, "last"):
            real = self.pair(b.op("Relu", [real]))
        if net.float_output:
            return b.finish({real: "float32"}), [x]
        raw, scale, zero = self.last
        out = self.b.quantize(real, scale, zero, net.dtype) if self.stale else raw
        return b.finish({out: net.dtype}), [x]

    stale = False

    def layer(self, kind: str, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        b, rng = self.b, self.rng
        images, n = len(shape) == 4, int(np.prod(shape))
        if kind.startswith("conv") and images:
            o, k = int(rng.choice([1, 3, 4, 8])), int(rng.choice([1, 3]))
            ins = [x, self.weight((o, shape[1], k, k))]
            if kind == "conv_float_bias":
                ins.append(b.constant(rng.normal(0, 1, o), "float32"))
            if kind == "conv_float_weight":
                ins[1] = b.constant(rng.normal(0, 0.2, (o, shape[1], k, k)), "float32")
            y, made = b.op("Conv", ins, pads=[k // 2] * 4), (1, o, *shape[2:])
            if kind == "conv_relu":
                return self.pair(b.op("Relu", [y]), least=bool(rng.integers(2))), made
            if kind == "conv_clip":
                return self.pair(
                    b.op("Clip", [y, b.constant(0.0, "float32"), b.constant(6.0, "float32")]), least=True
                ), made
            if kind == "conv_reshape":
                made = (1, int(np.prod(made)))
                y = b.op("Reshape", [y, b.constant([1, -1], "int64")])
            return self.pair(y), made
        if kind == "pool" and images and min(shape[2:]) > 1:
            return self.pair(b.op("MaxPool", [x], kernel_shape=[2, 2])), (*shape[:2], shape[2] - 1, shape[3] - 1)
        if kind == "average" and images and min(shape[2:]) > 1:
            return self.pair(b.op("AveragePool", [x], kernel_shape=[2, 2])), (*shape[:2], shape[2] - 1, shape[3] - 1)
        if kind == "global" and images:
            return self.pair(b.op("GlobalAveragePool", [x])), (*shape[:2], 1, 1)
        if kind == "add":
            other = self.pair(b.op("Sigmoid", [x]))
            return self.pair(b.op("Add", [x, other] if rng.integers(2) else [other, x])), shape
        if kind == "mul_const":
            return self.pair(b.op("Mul", [x, self.small((1,) * len(shape))])), shape
        if kind in ("sigmoid", "leaky"):
            name, options = ("Sigmoid", {}) if kind == "sigmoid" else ("LeakyRelu", {"alpha": 0.1})
            return self.pair(b.op(name, [x], **options)), shape
        if kind == "concat":
            other = self.pair(b.op("LeakyRelu", [x], alpha=0.25))
            return self.pair(b.op("Concat", [x, other], axis=1)), (shape[0], 2 * shape[1], *shape[2:])
        if kind == "reshape":
            self.stale = True
            return b.op("Reshape", [x, b.constant([1, -1], "int64")]), (1, n)
        if kind == "transpose" and images:
            return self.pair(b.op("Transpose", [x], perm=[0, 1, 3, 2])), (*shape[:2], shape[3], shape[2])
        if kind in ("dense", "matmul", "matmul_add") and n < 500:
            flat = b.op("Reshape", [x, b.constant([1, -1], "int64")]) if len(shape) != 2 else x
            if kind == "dense":
                ins = [flat, self.weight((5, n), 0)]
                ins += [b.constant(rng.normal(0, 1, 5), "float32")] if rng.integers(2) else []
                return self.pair(b.op("Gemm", ins, transB=1)), (1, 5)
            y = b.op("MatMul", [flat, self.weight((n, 5), 1)])
            if kind == "matmul_add":
                y = b.op("Add", [y, b.constant(rng.normal(0, 1, 5), "float32")])
            return self.pair(y), (1, 5)
        if kind == "softmax":
            return self.pair(b.op("Softmax", [x], axis=-1)), shape
        if kind == "double":
            return self.pair(x), shape
        if kind == "slice" and shape[1] > 1:
            cut = [b.constant([v], "int64") for v in (0, shape[1] - 1, 1)]
            return self.pair(b.op("Slice", [x, *cut])), (shape[0], shape[1] - 1, *shape[2:])
        if kind == "split" and shape[1] % 2 == 0:
            half = [f"{x}_a", f"{x}_b"]
            b.op("Split", [x], half, axis=1)
            parts = [self.pair(h) for h in half]
            return self.pair(b.op("Add", parts)), (shape[0], shape[1] // 2, *shape[2:])
        if kind == "identity":
            self.stale = True
            return b.op("Identity", [x]), shape
        return self.pair(b.op("Relu", [x])), shape

    def small(self, shape: tuple[int, ...]) -> str:
        """A quantized constant of the network's own type."""
        values = self.rng.integers(self.low, self.high, shape, endpoint=True)
        return self.b.dequantize(self.b.constant(values, self.net.dtype), self.scale(), self.zero(), self.net.dtype)


@st.composite
def networks(draw: Any) -> Network:
    """Networks of one to five layers."""
    return Network(
        tuple(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))), draw(st.sampled_from(["uint8", "int8"])),
        draw(st.booleans()), draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 1 << 30)),
    )  # fmt: skip
