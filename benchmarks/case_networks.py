"""The float networks of the case studies, as ``.tflite`` files with random weights: a CNN and a small encoder."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fxsim.importers import parse
from fxsim.model.graph import Graph
from tests.build import Builder


@dataclass
class _Net:
    """A float file in the making; every tensor is known by its index, with its shape."""

    rng: np.random.Generator
    b: Builder = field(default_factory=Builder)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str = "float32", data: Any = None) -> int:
        index = self.b.tensor(name, shape, dtype, data=data)
        self.shapes[index] = shape
        return index

    def op(self, op: str, inputs: list[int], name: str, shape: tuple[int, ...], **options: Any) -> int:
        y = self.tensor(name, shape)
        self.b.op(op, inputs, [y], **options)
        return y

    def weight(self, name: str, *shape: int, scale: float | None = None) -> int:
        """Normal numbers, of variance 2 / fan-in unless said otherwise."""
        scale = math.sqrt(2 / math.prod(shape[1:])) if scale is None else scale
        return self.tensor(name, shape, data=(self.rng.normal(size=shape) * scale).astype(np.float32))

    def full(self, name: str, shape: tuple[int, ...], value: float) -> int:
        return self.tensor(name, shape, data=np.full(shape, value, np.float32))

    def conv(self, x: int, channels: int, name: str) -> int:
        _, h, w, c = self.shapes[x]
        parts = [x, self.weight(f"{name}/w", channels, 3, 3, c), self.full(f"{name}/b", (channels,), 0.0)]
        shape = (1, h, w, channels)
        same = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
        return self.op("CONV_2D", parts, name, shape, fused_activation_function="RELU", **same)

    def dense(self, x: int, units: int, name: str, activation: str = "NONE") -> int:
        *lead, k = self.shapes[x]
        parts = [x, self.weight(f"{name}/w", units, k), self.full(f"{name}/b", (units,), 0.0)]
        keep = {"keep_num_dims": True} if len(lead) > 1 else {}
        return self.op("FULLY_CONNECTED", parts, name, (*lead, units), fused_activation_function=activation, **keep)

    def two(self, op: str, x: int, y: int, name: str, shape: tuple[int, ...] | None = None) -> int:
        options = {} if op == "SQUARED_DIFFERENCE" else {"fused_activation_function": "NONE"}
        return self.op(op, [x, y], name, shape or self.shapes[x], **options)

    def moved(self, op: str, x: int, name: str, how: list[int], shape: tuple[int, ...]) -> int:
        options = {"new_shape": how} if op == "RESHAPE" else {}
        return self.op(op, [x, self.b.constant(f"{name}/how", how)], name, shape, **options)

    def mean(self, x: int, axis: int, name: str, *, keep: bool) -> int:
        shape = tuple(1 if a == axis else s for a, s in enumerate(self.shapes[x]) if keep or a != axis)
        return self.op("MEAN", [x, self.b.constant(f"{name}/axis", [axis])], name, shape, keep_dims=keep)

    def pool(self, x: int, name: str) -> int:
        _, h, w, c = self.shapes[x]
        window = {"padding": "VALID", "stride_h": 2, "stride_w": 2, "filter_width": 2, "filter_height": 2}
        return self.op("MAX_POOL_2D", [x], name, (1, h // 2, w // 2, c), fused_activation_function="NONE", **window)

    def layer_norm(self, x: int, name: str) -> int:
        """``(x - mean) / sqrt(variance + epsilon) * gain + offset``, in parts."""
        width = self.shapes[x][-1]
        mean = self.mean(x, 2, f"{name}/mean", keep=True)
        centred = self.two("SUB", x, mean, f"{name}/centred")
        variance = self.mean(self.two("SQUARED_DIFFERENCE", x, mean, f"{name}/squares"), 2, f"{name}/var", keep=True)
        raised = self.two("ADD", variance, self.full(f"{name}/epsilon", (1,), 1e-3), f"{name}/raised")
        root = self.op("RSQRT", [raised], f"{name}/root", self.shapes[raised])
        scaled = self.two("MUL", centred, root, f"{name}/scaled")
        gained = self.two("MUL", scaled, self.full(f"{name}/gain", (width,), 1.0), f"{name}/gained")
        return self.two("ADD", gained, self.full(f"{name}/offset", (width,), 0.0), name)

    def attention(self, x: int, heads: int, name: str) -> int:
        _, tokens, width = self.shapes[x]
        each = width // heads
        parts = []
        for part in "qkv":
            y = self.dense(x, width, f"{name}/{part}")
            split = self.moved("RESHAPE", y, f"{name}/{part}s", [1, tokens, heads, each], (1, tokens, heads, each))
            parts.append(self.moved("TRANSPOSE", split, f"{name}/{part}h", [0, 2, 1, 3], (1, heads, tokens, each)))
        q, k, v = parts
        square = (1, heads, tokens, tokens)
        scores = self.op("BATCH_MATMUL", [q, k], f"{name}/scores", square, adj_x=False, adj_y=True)
        scaled = self.two("MUL", scores, self.full(f"{name}/factor", (1,), each**-0.5), f"{name}/scaled")
        shares = self.op("SOFTMAX", [scaled], f"{name}/shares", square, beta=1.0)
        mixed = self.op("BATCH_MATMUL", [shares, v], f"{name}/mixed", self.shapes[v], adj_x=False, adj_y=False)
        back = self.moved("TRANSPOSE", mixed, f"{name}/back", [0, 2, 1, 3], (1, tokens, heads, each))
        joined = self.moved("RESHAPE", back, f"{name}/joined", [1, tokens, width], (1, tokens, width))
        return self.dense(joined, width, f"{name}/o")

    def graph(self, start: int, end: int, name: str) -> Graph:
        return parse(self.b.finish([start], [end]), f"{name}.tflite")


def cnn(seed: int, width: int = 16) -> Graph:
    """8x8 images to 10 classes: a residual block, pooling, a convolution twice as wide, two dense layers, SOFTMAX."""
    n = _Net(np.random.default_rng(seed))
    x = n.tensor("image", (1, 8, 8, 1))
    stem = n.conv(x, width, "conv1")
    y = n.pool(n.two("ADD", stem, n.conv(stem, width, "conv2"), "residual"), "pool1")
    y = n.pool(n.conv(y, 2 * width, "conv3"), "pool2")
    y = n.dense(n.moved("RESHAPE", y, "flat", [1, 8 * width], (1, 8 * width)), 4 * width, "dense1", "RELU")
    return n.graph(x, n.op("SOFTMAX", [n.dense(y, 10, "dense2")], "classes", (1, 10), beta=1.0), f"digits_cnn_{width}")


def encoder(
    seed: int, words: int, tokens: int, classes: int, width: int = 32, heads: int = 4, blocks: int = 2
) -> Graph:
    """Word numbers to classes, as BERT does: embedding and positions, blocks of attention and dense layers, a mean."""
    n = _Net(np.random.default_rng(seed))
    ids = n.tensor("ids", (1, tokens), "int32")
    table = n.weight("words", words, width, scale=0.5)
    x = n.op("GATHER", [table, ids], "embedded", (1, tokens, width), axis=0, batch_dims=0)
    x = n.two("ADD", x, n.weight("positions", 1, tokens, width, scale=0.5), "placed")
    x = n.layer_norm(x, "norm0")
    for b in range(blocks):
        x = n.layer_norm(n.two("ADD", x, n.attention(x, heads, f"attention{b}"), f"sum{b}a"), f"norm{b}a")
        wide = n.op("GELU", [n.dense(x, 2 * width, f"wide{b}")], f"gelu{b}", (1, tokens, 2 * width), approximate=False)
        x = n.layer_norm(n.two("ADD", x, n.dense(wide, width, f"narrow{b}"), f"sum{b}b"), f"norm{b}b")
    y = n.dense(n.mean(x, 1, "mean", keep=False), classes, "scores")
    return n.graph(ids, n.op("SOFTMAX", [y], "classes", (1, classes), beta=1.0), "encoder")
