"""One block of a transformer encoder as a quantized file, every scale found on the block's own real values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from tests.build import Builder

Array = npt.NDArray[Any]
Quant = tuple[float, int]
"""scale and zero point"""
TOKENS, WORDS, WIDTH, HEADS = 8, 24, 32, 4
EXTREMES = 3
"""so many words of the table lie at its least value, at its greatest and at 0; the calibration leaves them out"""
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], dict[str, Any]]] = {
    "GELU": (lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), {"approximate": False}),
    "TANH": (np.tanh, {}),
    "LEAKY_RELU": (lambda x: np.where(x < 0, 0.1 * x, x), {"alpha": 0.1}),
}
"""op -> its real function and its options"""


@dataclass(slots=True)
class Calibrated:
    """A file in the making. Each tensor is known with its real values for a few inferences, the leading axis."""

    dtype: str
    rng: np.random.Generator
    b: Builder = field(default_factory=Builder)
    real: dict[int, Array] = field(default_factory=dict)
    quant: dict[int, Quant] = field(default_factory=dict)

    def fit(self, values: Array) -> Quant:
        """The quantization that just holds ``values`` and 0; int16 is symmetric."""
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        if self.dtype == "int16":
            return max(-low, high) / 32767, 0
        scale = (high - low) / 255
        return scale, round(-128 - low / scale)

    def tensor(self, real: Array, quant: Quant | None = None, raw: Array | None = None) -> int:
        """An activation, or a constant of raw values."""
        quant = quant or self.fit(real)
        shape = (1, *real.shape[1:]) if raw is None else raw.shape
        index = self.b.tensor(f"t{len(self.real)}", shape, self.dtype, *quant, data=raw)
        self.real[index], self.quant[index] = real, quant
        return index

    def constant(self, real: Array) -> int:
        """A constant, fitted; its real values are those that the raw ones stand for."""
        (scale, zero), limits = self.fit(real), np.iinfo(self.dtype)
        raw = np.clip(np.round(real / scale) + zero, limits.min, limits.max).astype(self.dtype)
        return self.tensor(scale * (raw - float(zero)), (scale, zero), raw)

    def op(self, op: str, inputs: Sequence[int], real: Array, quant: Quant | None = None, **options: Any) -> int:
        """Adds an op and returns its output."""
        y = self.tensor(real, quant)
        self.b.op(op, inputs, [y], **options)
        return y

    def two(self, op: str, x: int, y: int) -> int:
        """ADD, SUB, MUL or SQUARED_DIFFERENCE."""
        a, b = self.real[x], self.real[y]
        value = {"ADD": a + b, "SUB": a - b, "MUL": a * b, "SQUARED_DIFFERENCE": (a - b) ** 2}[op]
        options: dict[str, Any] = {} if op == "SQUARED_DIFFERENCE" else {"fused_activation_function": "NONE"}
        if op in ("ADD", "SUB"):
            options["pot_scale_int16"] = False
        return self.op(op, [x, y], value, **options)

    def move(self, op: str, x: int, real: Array, how: Sequence[int], **options: Any) -> int:
        """An op that moves values only: the quantization stays."""
        at = self.b.constant(f"{op}{len(self.real)}", how)
        return self.op(op, [x, at], real, self.quant[x], **options)

    def mean(self, x: int) -> int:
        """MEAN over the last axis."""
        axis = self.b.constant(f"axis{len(self.real)}", [2])
        return self.op("MEAN", [x, axis], self.real[x].mean(-1, keepdims=True), keep_dims=True)

    def dense(self, x: int, count: int, per_channel: bool = False) -> int:
        """FULLY_CONNECTED on the last axis, weights of int8 and a bias."""
        value = self.real[x]
        w = self.rng.normal(size=(count, value.shape[-1])) / math.sqrt(value.shape[-1])
        scale = np.float32(np.abs(w).max(1 if per_channel else None, keepdims=True) / 127)
        raw = np.round(w / scale).astype(np.int8)
        name, steps = f"w{len(self.real)}", scale.reshape(-1).tolist()
        weight = self.b.tensor(name, raw.shape, "int8", steps, 0, 0, data=raw)
        grid = np.float32(self.quant[x][0]) * scale.reshape(-1)
        bias = np.round(self.rng.normal(size=count) / 4 / grid).astype(np.int64)
        kind = "int64" if self.dtype == "int16" else "int32"
        b = self.b.tensor(f"{name}b", bias.shape, kind, grid.tolist(), 0, 0, data=bias)
        options: dict[str, Any] = {"keep_num_dims": True, "fused_activation_function": "NONE"}
        if self.dtype == "int16":
            options["quantized_bias_type"] = tflite.TensorType.INT64
        return self.op("FULLY_CONNECTED", [x, weight, b], value @ (raw * scale).T + bias * grid, **options)

    def heads(self, x: int) -> int:
        """``(1, tokens, width)`` to ``(1, heads, tokens, width of a head)``."""
        shape = [1, TOKENS, HEADS, WIDTH // HEADS]
        split = self.move("RESHAPE", x, self.real[x].reshape(-1, *shape[1:]), shape, new_shape=shape)
        return self.move("TRANSPOSE", split, self.real[split].swapaxes(1, 2), [0, 2, 1, 3])

    def attention(self, x: int) -> int:
        """softmax(q k' / sqrt(width)) v of every head, and the layer that mixes the heads."""
        q, k, v = (self.heads(self.dense(x, WIDTH)) for _ in range(3))
        product: dict[str, Any] = {"adj_x": False}
        scores = self.op("BATCH_MATMUL", [q, k], self.real[q] @ self.real[k].swapaxes(-2, -1), adj_y=True, **product)
        factor = self.constant(np.full((1,), 2 * (WIDTH // HEADS) ** -0.5))  # peaks, so that the softmax is not flat
        scaled = self.two("MUL", scores, factor)
        e = np.exp(self.real[scaled] - self.real[scaled].max(-1, keepdims=True))
        unit = (2.0**-15, 0) if self.dtype == "int16" else (1 / 256, -128)
        shares = self.op("SOFTMAX", [scaled], e / e.sum(-1, keepdims=True), unit, beta=1.0)
        mixed = self.op("BATCH_MATMUL", [shares, v], self.real[shares] @ self.real[v], adj_y=False, **product)
        back = self.move("TRANSPOSE", mixed, self.real[mixed].swapaxes(1, 2), [0, 2, 1, 3])
        shape = [1, TOKENS, WIDTH]
        joined = self.move("RESHAPE", back, self.real[back].reshape(-1, *shape[1:]), shape, new_shape=shape)
        return self.dense(joined, WIDTH)

    def normalized(self, x: int) -> int:
        """(x - mean) / sqrt(variance + epsilon) * gain + offset, in parts."""
        mean = self.mean(x)
        centred = self.two("SUB", x, mean)
        if self.dtype == "int8":
            squares = self.two("SQUARED_DIFFERENCE", x, mean)
        else:  # LiteRT has no SQUARED_DIFFERENCE of int16
            squares = self.two("MUL", centred, centred)
        variance = self.mean(squares)
        raised = self.two("ADD", variance, self.constant(np.full((1,), 0.01)))
        root = self.op("RSQRT", [raised], self.real[raised] ** -0.5)
        gain = self.two("MUL", root, self.constant(self.rng.uniform(0.5, 1.5, WIDTH)))
        return self.two("ADD", self.two("MUL", centred, gain), self.constant(self.rng.normal(size=WIDTH) / 4))

    def forward(self, x: int, activation: str) -> int:
        """A layer twice as wide, the activation, a layer back; scales by channel."""
        wide = self.dense(x, 2 * WIDTH, per_channel=True)
        real, options = ACTIVATIONS[activation]
        unit = ((2.0**-15, 0) if self.dtype == "int16" else (1 / 128, 0)) if activation == "TANH" else None
        bent = self.op(activation, [wide], real(self.real[wide]), unit, **options)
        return self.dense(bent, WIDTH, per_channel=True)


def sentences() -> Array:
    """``(13, 1, TOKENS)``: 8 of usual words, one of each extreme word, two of them by turns, one usual word throughout."""
    usual = np.random.default_rng(5).integers(EXTREMES, WORDS, (8, TOKENS))
    special = [np.full(TOKENS, n) for n in range(EXTREMES)] + [np.arange(TOKENS) % 2, np.full(TOKENS, WORDS - 1)]
    return np.concatenate([usual, special])[:, None].astype(np.int32)


def encoder(dtype: str, activation: str, seed: int = 7) -> tuple[bytes, Array]:
    """The file, ``(1, TOKENS, WIDTH)`` out, and its input in 13 inferences, the leading axis.

    The input is the words' numbers ``(1, TOKENS)`` int32; in int16 the words ``(1, TOKENS, WIDTH)``, as TFLM's GATHER
    takes no int16.
    """
    c = Calibrated(dtype, np.random.default_rng(seed))
    table = c.rng.normal(size=(WORDS, WIDTH))
    table[:EXTREMES] = np.array([[table.min()], [table.max()], [0.0]])
    usual = c.rng.integers(EXTREMES, WORDS, (16, TOKENS))
    if dtype == "int16":
        start = x = c.tensor(table[usual], c.fit(table))
        given = np.round(table[sentences()] / c.quant[x][0]).astype(np.int16)
    else:
        start, given, words = c.b.tensor("ids", (1, TOKENS), "int32"), sentences(), c.constant(table)
        x = c.op("GATHER", [words, start], c.real[words][usual], c.quant[words], axis=0, batch_dims=0)
    x = c.two("ADD", x, c.constant(c.rng.normal(size=(1, TOKENS, WIDTH)) / 2))
    x = c.normalized(c.two("ADD", x, c.attention(x)))
    x = c.normalized(c.two("ADD", x, c.forward(x, activation)))
    return c.b.finish([start], [x]), given
