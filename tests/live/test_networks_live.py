"""Networks of a few random ops: what one layer leaves is the next one's input, every bit as the live engines compute it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import ACTIVATIONS, VALUES, Model, Values, decades, explore, f32, powers, zeros

pytestmark = pytest.mark.live


@dataclass(slots=True)
class Growing:
    """A network in the making: the tensors that a next layer may take, with shape, scale and zero point."""

    draw: Any
    b: Builder = field(default_factory=Builder)
    tensors: list[tuple[int, tuple[int, ...], float, int]] = field(default_factory=list)
    layers: int = 0

    def new(self, shape: tuple[int, ...], scale: float | None = None, zero: int | None = None) -> int:
        """Adds an activation, of a drawn quantization unless one is given."""
        scale = self.draw(decades(-2, 0) | powers(-6, 0)) if scale is None else scale
        zero = self.draw(zeros()) if zero is None else zero
        index = self.b.tensor(f"t{len(self.tensors)}", shape, "int8", scale, zero)
        self.tensors.append((index, shape, scale, zero))
        return index

    def constant(self, shape: tuple[int, ...], scales: list[float], axis: int) -> int:
        """Adds random int8 weights."""
        data = self.draw(VALUES).fill(shape, "int8")
        return self.b.tensor(f"w{self.layers}", shape, "int8", scales, 0, axis, data=data)

    def bias(self, scales: list[float]) -> int:
        """Adds a bias of a few hundred steps."""
        data = np.random.default_rng(self.draw(st.integers(0, 999))).integers(-300, 300, len(scales)).astype(np.int32)
        return self.b.tensor(f"b{self.layers}", data.shape, "int32", scales, 0, 0, data=data)

    def weights(self, shape: tuple[int, ...], axis: int, in_scale: float, window: int) -> tuple[int, int, float]:
        """Weights, bias, and an output scale that leaves some outputs unclamped."""
        count = shape[axis]
        scales = [f32(0.01 * 2.0**e) for e in self.draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count))]
        w, b = self.constant(shape, scales, axis), self.bias([f32(in_scale * s) for s in scales])
        return w, b, f32(in_scale * 0.01 * 40 * window**0.5 * self.draw(st.sampled_from([0.5, 1, 1, 2])))

    def conv(self, x: tuple[int, tuple[int, ...], float, int], depthwise: bool) -> None:
        """CONV_2D or DEPTHWISE_CONV_2D with 1x1 to 3x3 windows."""
        index, (n, h, w, c), scale, _ = x
        k, stride = self.draw(st.sampled_from([1, 3])), self.draw(st.sampled_from([1, 1, 2]))
        channels = c if depthwise else self.draw(st.integers(1, 12))
        shape = (1, k, k, c) if depthwise else (channels, k, k, c)
        weight, bias, out_scale = self.weights(shape, 3 if depthwise else 0, scale, k * k * (1 if depthwise else c))
        y = self.new((n, -(-h // stride), -(-w // stride), channels), out_scale)
        self.b.op(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [index, weight, bias], [y], padding="SAME", stride_h=stride,
            stride_w=stride, dilation_h_factor=1, dilation_w_factor=1, fused_activation_function=self.draw(ACTIVATIONS),
            **({"depth_multiplier": 1} if depthwise else {}),
        )  # fmt: skip

    def dense(self, x: tuple[int, tuple[int, ...], float, int]) -> None:
        """RESHAPE to rows, then FULLY_CONNECTED."""
        index, shape, scale, zero = x
        size, count = int(np.prod(shape[1:])), self.draw(st.integers(1, 16))
        flat = self.new((shape[0], size), scale, zero)
        self.b.op(
            "RESHAPE", [index, self.b.constant(f"s{self.layers}", [shape[0], size])], [flat], new_shape=[shape[0], size]
        )
        w = self.b.tensor(
            f"w{self.layers}", (count, size), "int8", 0.01, 0, data=self.draw(VALUES).fill((count, size), "int8")
        )
        out = f32(scale * 0.01 * 40 * size**0.5)
        y = self.new((shape[0], count), out)
        bias = self.bias([f32(scale * f32(0.01))] * 1) if count == 1 else -1
        self.b.op("FULLY_CONNECTED", [flat, w, bias], [y], fused_activation_function=self.draw(ACTIVATIONS))

    def pool(self, x: tuple[int, tuple[int, ...], float, int]) -> None:
        """AVERAGE_POOL_2D or MAX_POOL_2D."""
        index, (n, h, w, c), scale, zero = x
        y = self.new((n, -(-h // 2), -(-w // 2), c), scale, zero)
        self.b.op(
            self.draw(st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"])), [index], [y], padding="SAME", stride_h=2,
            stride_w=2, filter_height=self.draw(st.integers(1, 3)), filter_width=2,
            fused_activation_function=self.draw(ACTIVATIONS),
        )  # fmt: skip

    def two(self, x: tuple[int, tuple[int, ...], float, int]) -> None:
        """ADD or MUL with an earlier tensor of the same shape, perhaps itself."""
        other = self.draw(st.sampled_from([t for t in self.tensors if t[1] == x[1]]))
        op = self.draw(st.sampled_from(["ADD", "ADD", "MUL"]))
        scale = f32(max(x[2], other[2]) * 1.5) if op == "ADD" else f32(x[2] * other[2] * 60)
        y = self.new(x[1], scale)
        self.b.op(op, [x[0], other[0]], [y], fused_activation_function=self.draw(ACTIVATIONS))

    def requantize(self, x: tuple[int, tuple[int, ...], float, int]) -> None:
        """QUANTIZE to another scale."""
        self.b.op("QUANTIZE", [x[0]], [self.new(x[1], f32(x[2] * self.draw(st.sampled_from([0.5, 0.7, 1.3, 2.0]))))])

    def mean(self, x: tuple[int, tuple[int, ...], float, int]) -> None:
        """MEAN over the image."""
        n, _, _, c = x[1]
        y = self.new((n, 1, 1, c), f32(x[2] * self.draw(st.sampled_from([0.5, 0.9, 1.0]))))
        self.b.op("MEAN", [x[0], self.b.constant(f"a{self.layers}", [1, 2])], [y], keep_dims=True)

    def logistic(self, x: tuple[int, tuple[int, ...], float, int]) -> None:
        """LOGISTIC."""
        self.b.op("LOGISTIC", [x[0]], [self.new(x[1], 1 / 256, -128)])

    def grow(self) -> None:
        """Adds one layer on the newest tensor."""
        x = self.tensors[-1]
        kinds: list[Any] = [self.two, self.requantize, self.logistic]
        if len(x[1]) == 4:
            kinds += (
                [lambda t: self.conv(t, False)] * 3
                + [lambda t: self.conv(t, True)] * 2
                + [self.pool, self.mean, self.dense]
            )
        self.draw(st.sampled_from(kinds))(x)
        self.layers += 1


@st.composite
def networks(draw: Any) -> Model:
    """2 to 6 layers on an image of up to 9x9x6; the output is the last tensor and one in between."""
    g = Growing(draw)
    shape = (1, draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 6)))
    x = g.new(shape)
    for _ in range(draw(st.integers(2, 6))):
        g.grow()
    outputs = sorted({g.tensors[-1][0], g.tensors[max(1, len(g.tensors) // 2)][0]})
    values: Values = draw(VALUES)
    return Model(g.b.finish([x], outputs), [values.fill(shape, "int8", g.tensors[0][3])], outputs)


def test_networks(tally):
    """At least 4 elements a case."""
    explore(networks(), tally.compare, share=2)
    tally.check(4)
