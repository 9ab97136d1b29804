"""Random float layers, and random ways to hold them as integers: scales that clip, that tie, zero points at both ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.model.check import check
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.activation import Gelu
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activated, Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected
from fxsim.model.ops.layout import Axis, Reshape
from fxsim.model.ops.matmul import BatchMatMul
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.reduce import Reduce
from fxsim.model.ops.softmax import Softmax
from fxsim.model.qtype import FLOAT32, INT32, QType, QuantParams
from fxsim.quant.realize import Decision, settle
from fxsim.quant.rules import affine, data_operands, weighted
from fxsim.quant.scheme import Scheme

Array = npt.NDArray[Any]
Rng = np.random.Generator
ACTIVATIONS = ("NONE", "RELU", "RELU6")


@dataclass
class Drawn:
    """A graph in the making: tensors with the real values that they hold for a few inputs."""

    rng: Rng
    tensors: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def tensor(self, shape: tuple[int, ...], data: Array | None = None, qtype: QType = FLOAT32) -> int:
        index = len(self.tensors)
        self.tensors.append(Tensor(index, f"t{index}", shape, qtype, None, data))
        return index

    def input(self, *shape: int) -> int:
        self.inputs.append(self.tensor(shape))
        return self.inputs[-1]

    def constant(self, *shape: int, scale: float = 1.0) -> int:
        return self.tensor(shape, (self.rng.normal(size=shape) * scale).astype(np.float32))

    def whole(self, *values: int) -> int:
        return self.tensor((len(values),), np.array(values, np.int32), INT32)

    def op(self, op: str, inputs: list[int], shape: tuple[int, ...], attributes: Attributes | None = None) -> int:
        y = self.tensor(shape)
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(Node(len(self.nodes), op, tuple(inputs), (y,), attributes or Attributes(), name))
        return y

    def activation(self) -> Any:
        return ACTIVATIONS[self.size(0, 2)]

    def graph(self, y: int) -> Graph:
        return check(Graph("drawn.tflite", tuple(self.tensors), tuple(self.nodes), tuple(self.inputs), (y,)))


def conv(d: Drawn, *, depthwise: bool = False) -> int:
    c, k, o = d.size(1, 5), d.size(1, 3), d.size(1, 6)
    stride, dilation = d.size(1, 2), d.size(1, 2)
    attrs = Conv2D(
        d.activation(), stride, stride, "SAME" if d.rng.random() < 0.5 else "VALID", dilation_h=dilation, dilation_w=dilation
    )  # fmt: skip
    h, w = d.size(5, 8), d.size(5, 8)
    x = d.input(1, h, w, c)
    o = c * d.size(1, 2) if depthwise else o
    kernel = d.constant(1, k, k, o, scale=1 / k) if depthwise else d.constant(o, k, k, c, scale=1 / k / math.sqrt(c))
    bias = d.constant(o) if d.rng.random() < 0.8 else ABSENT
    oh, ow, _, _ = attrs.output(h, w, k, k, dilation, dilation)
    return d.op("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, kernel, bias], (1, oh, ow, o), attrs)


def dense(d: Drawn) -> int:
    k, o = d.size(1, 24), d.size(1, 12)
    x = d.input(d.size(1, 3), k)
    bias = d.constant(o) if d.rng.random() < 0.8 else ABSENT
    rows = d.tensors[x].shape[0]
    parts = [x, d.constant(o, k, scale=1 / math.sqrt(k)), bias]
    return d.op("FULLY_CONNECTED", parts, (rows, o), FullyConnected(d.activation()))


def two(op: str) -> Callable[[Drawn], int]:
    def draw(d: Drawn) -> int:
        shape = (1, d.size(1, 4), d.size(1, 6))
        x = d.input(*shape)
        how = d.size(0, 2)
        y = d.input(*shape) if how == 0 else d.constant(*shape) if how == 1 else d.constant(shape[-1])
        attrs: Attributes = Sum(d.activation(), False) if op in ("ADD", "SUB") else Activated(d.activation())
        return d.op(op, [x, y], shape, Attributes() if op == "SQUARED_DIFFERENCE" else attrs)

    return draw


def pool(op: str) -> Callable[[Drawn], int]:
    def draw(d: Drawn) -> int:
        k, s, h, c = d.size(1, 3), d.size(1, 2), d.size(4, 7), d.size(1, 4)
        attrs = Pool2D(d.activation(), s, s, "SAME" if d.rng.random() < 0.5 else "VALID", k, k)
        oh, ow, _, _ = attrs.output(h, h, k, k)
        return d.op(op, [d.input(1, h, h, c)], (1, oh, ow, c), attrs)

    return draw


def unary(op: str, attributes: Attributes | None = None) -> Callable[[Drawn], int]:
    def draw(d: Drawn) -> int:
        shape = (1, d.size(1, 4), d.size(2, 9))
        return d.op(op, [d.input(*shape)], shape, attributes)

    return draw


def mean(d: Drawn) -> int:
    b, h, c, keep = 1, d.size(1, 5), d.size(1, 5), bool(d.size(0, 1))
    x = d.input(b, h, c)
    axis = d.size(1, 2)
    shape = tuple(1 if a == axis else s for a, s in enumerate((b, h, c)) if keep or a != axis)
    return d.op("MEAN", [x, d.whole(axis)], shape, Reduce(keep))


def matmul(d: Drawn) -> int:
    m, k, n, h = d.size(1, 5), d.size(1, 8), d.size(1, 5), d.size(1, 3)
    x = d.input(1, h, m, k)
    swapped = bool(d.size(0, 1))
    y = d.input(1, h, n, k) if swapped else d.input(1, h, k, n)
    return d.op("BATCH_MATMUL", [x, y], (1, h, m, n), BatchMatMul(adj_y=swapped))


def moves(d: Drawn) -> int:
    h, w, c = d.size(1, 4), d.size(1, 4), d.size(1, 4)
    x = d.input(1, h, w, c)
    y = d.op("TRANSPOSE", [x, d.whole(0, 3, 1, 2)], (1, c, h, w))
    padded = d.op(
        "PAD", [y, d.tensor((4, 2), np.array([[0, 0], [0, 0], [1, 2], [0, 1]], np.int32), INT32)], (1, c, h + 3, w + 1)
    )
    flat = (1, c * (h + 3) * (w + 1))
    return d.op("RESHAPE", [padded, d.whole(*flat)], flat, Reshape())


def joined(d: Drawn) -> int:
    h, a, b = d.size(1, 4), d.size(1, 4), d.size(1, 4)
    return d.op("CONCATENATION", [d.input(1, h, a), d.input(1, h, b)], (1, h, a + b), Axis("NONE", 2))


def residual(d: Drawn) -> int:
    y = conv(d)
    shape = d.tensors[y].shape
    z = d.op("ADD", [y, d.constant(shape[-1])], shape, Sum("RELU", False))
    flat = (1, math.prod(shape))
    z = d.op("RESHAPE", [z, d.whole(*flat)], flat, Reshape())
    z = d.op(
        "FULLY_CONNECTED", [z, d.constant(4, flat[1], scale=flat[1] ** -0.5), d.constant(4)], (1, 4), FullyConnected()
    )
    return d.op("SOFTMAX", [z], (1, 4), Softmax())


LAYERS: dict[str, Callable[[Drawn], int]] = {
    "conv": conv,
    "depthwise": lambda d: conv(d, depthwise=True),
    "dense": dense,
    **{op.lower(): two(op) for op in ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE")},
    **{op.lower(): pool(op) for op in ("MAX_POOL_2D", "AVERAGE_POOL_2D")},
    **{op.lower(): unary(op) for op in ("LOGISTIC", "TANH", "RELU", "RELU6", "RSQRT")},
    "softmax": unary("SOFTMAX", Softmax()),
    "gelu": unary("GELU", Gelu()),
    "mean": mean,
    "matmul": matmul,
    "moves": moves,
    "joined": joined,
    "residual": residual,
}
POSITIVE = ("rsqrt",)
"""layers that take no number below 0"""
SCHEMES = (
    ("int8", Scheme(), ("litert-reference", "litert-xnnpack", "litert-optimized", "tflm")),
    ("int8 per tensor", Scheme(granularity="tensor"), ("litert-reference", "litert-xnnpack", "tflm")),
    ("int4", Scheme(weight_bits=4), ("litert-reference", "litert-xnnpack")),
    *((f"w{w}a{a}", Scheme(weight_bits=w, activation_bits=a), ("generic",)) for w, a in
      ((8, 8), (6, 8), (4, 4), (3, 5), (2, 8), (2, 4), (1, 8), (1, 4), (8, 16), (16, 16), (4, 12))),
)  # fmt: skip
"""name, bits and granularity, the numerics that take them"""


def draw(kind: str, seed: int, count: int = 4) -> tuple[Graph, list[Array]]:
    """A float graph, and ``count`` inferences for it."""
    d = Drawn(np.random.default_rng(seed))
    graph = d.graph(LAYERS[kind](d))
    inputs = []
    for i in graph.inputs:
        x = d.rng.normal(size=(count, *graph.tensors[i].shape)) * 2.0 ** d.rng.integers(-2, 3)
        inputs.append((np.abs(x) + 0.05 if kind in POSITIVE else x).astype(np.float32))
    return graph, inputs


def decide(graph: Graph, real: dict[int, Array], scheme: Scheme, seed: int) -> dict[int, Decision]:
    """Scales from the real values, then drawn: as they are, so small that values clip, or powers of two, where ties are."""
    rng = np.random.default_rng(seed)
    tie = rng.random() < 0.3
    result = {}
    for node in graph.nodes:
        for i in data_operands(graph, node):
            values, q = real[i], scheme.activation_type
            stretch = 1.0 if tie or rng.random() < 0.6 else float(rng.uniform(0.3, 1.5))
            low, high = float(values.min()) * stretch, float(values.max()) * stretch
            if rng.random() < 0.3:  # the zero point at an end
                low, high = (0.0, max(high, 0.01)) if rng.random() < 0.5 else (min(low, -0.01), 0.0)
            if node.op == "RSQRT":
                low = 0.0
            quant = affine(low, max(high, low + 1e-3), q, symmetric=q.bits > 8, power_of_two=tie)
            result.setdefault(i, Decision(q, quant))
        place = weighted(graph, node)
        if place is not None:
            i = node.inputs[place.weight]
            w = np.moveaxis(real[i], place.axis, 0).reshape(graph.tensors[i].shape[place.axis], -1)
            reach = np.abs(w).max(1) if scheme.granularity == "channel" else np.abs(w).max(keepdims=True).reshape(1)
            scale = np.maximum(reach, 1e-3) / scheme.weight_type.max * (1.0 if tie else rng.uniform(0.5, 1.2))
            if tie:
                scale = 2.0 ** np.ceil(np.log2(scale))
            axis = place.axis if scheme.granularity == "channel" else None
            quant = QuantParams(tuple(np.float32(scale).tolist()), (0,) * len(scale), axis)
            result[i] = Decision(scheme.weight_type, quant)
    return settle(graph, result)
