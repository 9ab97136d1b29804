"""Networks of a few random ops: what one layer leaves is the next one's input, every bit as the live engines compute it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build import ABSENT, Builder
from tests.live.cases import ACTIVATIONS, VALUES, Model, Values, decades, explore, f32, powers, zeros

pytestmark = pytest.mark.live
SPREAD = st.builds(Values, st.just("random"), st.integers(0, 1 << 30)) | VALUES
"""more often over the whole range than :data:`VALUES`: a layer that gives one value hides what comes after"""
ZEROS = st.integers(-40, 40) | zeros()
LARGEST = 3000
"""elements of a tensor; a larger one is not made larger still"""


class Grown(NamedTuple):
    """A tensor of the network."""

    index: int
    shape: tuple[int, ...]
    scale: float
    zero: int


@dataclass(slots=True)
class Growing:
    """A network in the making: the tensors that a next layer may take. Each method adds one layer on ``x``."""

    draw: Any
    b: Builder = field(default_factory=Builder)
    tensors: list[Grown] = field(default_factory=list)

    def pick(self, *among: Any) -> Any:
        """One of them."""
        return self.draw(st.sampled_from(among))

    def new(self, shape: Sequence[int], scale: float | None = None, zero: int | None = None) -> int:
        """Adds an activation, of a drawn quantization unless one is given."""
        scale = self.draw(decades(-2, 0) | powers(-6, 0)) if scale is None else scale
        zero = self.draw(ZEROS) if zero is None else zero
        index = self.b.tensor(f"t{len(self.tensors)}", shape, "int8", scale, zero)
        self.tensors.append(Grown(index, tuple(shape), scale, zero))
        return index

    def partner(self, x: Grown) -> Grown:
        """A tensor of the shape of ``x``: an earlier one, perhaps itself, or a constant."""
        if self.draw(st.booleans()):
            return self.pick(*(t for t in self.tensors if t.shape == x.shape))
        scale, zero = f32(x.scale * self.pick(0.3, 1, 1.7)), self.draw(ZEROS)
        data = self.draw(SPREAD).fill(x.shape, "int8", zero)
        return Grown(
            self.b.tensor(f"k{len(self.tensors)}", x.shape, "int8", scale, zero, data=data), x.shape, scale, zero
        )

    def ints(self, values: Any) -> int:
        """Adds a constant: axes, sizes, borders."""
        return self.b.constant(f"c{len(self.tensors)}", values)

    def weights(self, shape: tuple[int, ...], axis: int, in_scale: float, window: int) -> tuple[int, int, float]:
        """Weights, a bias of a few hundred steps, and an output scale that leaves some outputs unclamped."""
        count, name = shape[axis], f"w{len(self.tensors)}"
        scales = [f32(0.01 * 2.0**e) for e in self.draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count))]
        w = self.b.tensor(name, shape, "int8", scales, 0, axis, data=self.draw(SPREAD).fill(shape, "int8"))
        steps = np.random.default_rng(self.draw(st.integers(0, 999))).integers(-300, 300, count)
        b = self.b.tensor(f"{name}b", (count,), "int32", [f32(in_scale * s) for s in scales], 0, 0, data=steps)
        return w, b, f32(in_scale * 0.01 * 40 * window**0.5 * self.pick(0.5, 1, 1, 2))

    def conv(self, x: Grown, depthwise: bool = False) -> None:
        """CONV_2D or DEPTHWISE_CONV_2D with 1x1 to 3x3 windows."""
        n, h, w, c = x.shape
        k, stride = self.pick(1, 3), self.pick(1, 1, 2)
        channels = c if depthwise else self.draw(st.integers(1, 12))
        shape = (1, k, k, c) if depthwise else (channels, k, k, c)
        weight, bias, scale = self.weights(shape, 3 if depthwise else 0, x.scale, k * k * (1 if depthwise else c))
        y = self.new((n, -(-h // stride), -(-w // stride), channels), scale)
        self.b.op(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x.index, weight, bias], [y], padding="SAME",
            stride_h=stride, stride_w=stride, dilation_h_factor=1, dilation_w_factor=1,
            fused_activation_function=self.draw(ACTIVATIONS), **({"depth_multiplier": 1} if depthwise else {}),
        )  # fmt: skip

    def depthwise(self, x: Grown) -> None:
        """DEPTHWISE_CONV_2D."""
        self.conv(x, depthwise=True)

    def transpose_conv(self, x: Grown) -> None:
        """TRANSPOSE_CONV with 1x1 to 3x3 windows."""
        n, h, w, c = x.shape
        k, stride, channels = self.draw(st.integers(1, 3)), self.pick(1, 2), self.draw(st.integers(1, 8))
        weight, bias, scale = self.weights((channels, k, k, c), 0, x.scale, k * k * c)
        shape = (n, h * stride, w * stride, channels)
        size, y = self.ints(shape), self.new(shape, scale)
        self.b.op(
            "TRANSPOSE_CONV", [size, weight, x.index, bias], [y], padding="SAME", stride_h=stride, stride_w=stride
        )

    def dense(self, x: Grown) -> None:
        """RESHAPE to rows, then FULLY_CONNECTED."""
        size, count = int(np.prod(x.shape[1:])), self.draw(st.integers(1, 16))
        shape = self.ints([x.shape[0], size])
        flat = self.new((x.shape[0], size), x.scale, x.zero)
        self.b.op("RESHAPE", [x.index, shape], [flat], new_shape=[x.shape[0], size])
        w, b, scale = self.weights((count, size), 0, x.scale, size)
        y = self.new((x.shape[0], count), scale)
        bias = b if self.draw(st.booleans()) else ABSENT
        self.b.op("FULLY_CONNECTED", [flat, w, bias], [y], fused_activation_function=self.draw(ACTIVATIONS))

    def matmul(self, x: Grown) -> None:
        """BATCH_MATMUL of ``x`` and the transpose of a tensor of its shape."""
        other = self.partner(x)
        scale = f32(x.scale * other.scale * 90 * x.shape[-1] ** 0.5 * self.pick(0.5, 1, 1, 2))
        y = self.new((*x.shape[:-1], x.shape[-2]), scale)
        self.b.op("BATCH_MATMUL", [x.index, other.index], [y], adj_x=False, adj_y=True)

    def pool(self, x: Grown) -> None:
        """AVERAGE_POOL_2D or MAX_POOL_2D."""
        n, h, w, c = x.shape
        y = self.new((n, -(-h // 2), -(-w // 2), c), x.scale, x.zero)
        self.b.op(
            self.pick("AVERAGE_POOL_2D", "MAX_POOL_2D"), [x.index], [y], padding="SAME", stride_h=2, stride_w=2,
            filter_height=self.draw(st.integers(1, 3)), filter_width=2,
            fused_activation_function=self.draw(ACTIVATIONS),
        )  # fmt: skip

    def mean(self, x: Grown) -> None:
        """MEAN over the image."""
        axes = self.ints([1, 2])
        y = self.new((x.shape[0], 1, 1, x.shape[3]), f32(x.scale * self.pick(0.5, 0.9, 1.0)))
        self.b.op("MEAN", [x.index, axes], [y], keep_dims=True)

    def two(self, x: Grown) -> None:
        """ADD, SUB or MUL with a tensor of the same shape."""
        other = self.partner(x)
        op = self.pick("ADD", "MUL", *(["SUB"] if other is not x else []))
        y = self.new(x.shape, f32(x.scale * other.scale * 60 if op == "MUL" else max(x.scale, other.scale) * 1.5))
        self.b.op(op, [x.index, other.index], [y], fused_activation_function=self.draw(ACTIVATIONS))

    def extreme(self, x: Grown) -> None:
        """MAXIMUM or MINIMUM with a tensor of the same shape and quantization."""
        other = self.pick(*(t for t in self.tensors if t[1:] == x[1:]))
        self.b.op(self.pick("MAXIMUM", "MINIMUM"), [x.index, other.index], [self.new(*x[1:])])

    def one(self, x: Grown) -> None:
        """An op of one tensor: to another scale, bent, or into the range that its results need."""
        op = self.pick("QUANTIZE", "RELU", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH", "SOFTMAX")
        ranges = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}
        options = {"LEAKY_RELU": {"alpha": f32(self.pick(0.01, 0.1, 0.25, 0.3))}, "SOFTMAX": {"beta": 1.0}}
        quant = ranges.get(op) or (f32(x.scale * self.pick(0.5, 0.7, 1.0, 1.3, 2.0)),)
        self.b.op(op, [x.index], [self.new(x.shape, *quant)], **options.get(op, {}))

    def pad(self, x: Grown) -> None:
        """PAD by up to 2 on each side."""
        border = [(self.pick(0, 0, 1, 2), self.pick(0, 0, 1)) for _ in x.shape[1:]]
        at = self.ints([(0, 0), *border])
        y = self.new((x.shape[0], *(a + n + b for n, (a, b) in zip(x.shape[1:], border, strict=True))), *x[2:])
        self.b.op("PAD", [x.index, at], [y])

    def cut(self, x: Grown) -> None:
        """STRIDED_SLICE with steps of 1 and 2, from a drawn place to the end of the axis."""
        begin = [0, *(self.draw(st.integers(0, n // 2)) for n in x.shape[1:])]
        step = [1, *(self.pick(1, 1, 2) for _ in x.shape[1:])]
        at = [self.ints(v) for v in (begin, x.shape, step)]
        y = self.new([-(-(n - b) // s) for n, b, s in zip(x.shape, begin, step, strict=True)], *x[2:])
        self.b.op("STRIDED_SLICE", [x.index, *at], [y])

    def resize(self, x: Grown) -> None:
        """RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR to twice or any size."""
        n, h, w, c = x.shape
        size = [2 * h, 2 * w] if self.draw(st.booleans()) else [self.draw(st.integers(1, 9)) for _ in range(2)]
        corners, centers = self.pick((False, False), (True, False), (False, True))
        to = self.ints(size)
        y = self.new((n, *size, c), *x[2:])
        op = self.pick("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
        self.b.op(op, [x.index, to], [y], align_corners=corners, half_pixel_centers=centers)

    def join(self, x: Grown) -> None:
        """CONCATENATION along the last axis with a tensor of the same quantization, perhaps itself."""
        other = self.pick(*(t for t in self.tensors if t.shape[:-1] == x.shape[:-1] and t[2:] == x[2:]))
        y = self.new((*x.shape[:-1], x.shape[-1] + other.shape[-1]), *x[2:])
        axis = len(x.shape) - 1
        self.b.op("CONCATENATION", [x.index, other.index], [y], axis=axis, fused_activation_function="NONE")

    def halves(self, x: Grown) -> None:
        """SPLIT in two, and the ADD of both."""
        axis = self.pick(*(i for i, n in enumerate(x.shape) if n % 2 == 0))
        shape = [n // 2 if i == axis else n for i, n in enumerate(x.shape)]
        at = self.ints(axis)
        parts = [self.new(shape, *x[2:]) for _ in range(2)]
        self.b.op("SPLIT", [at, x.index], parts, num_splits=2)
        self.b.op("ADD", parts, [self.new(shape, f32(x.scale * 1.5))], fused_activation_function="NONE")

    def grow(self) -> None:
        """Adds one layer on the newest tensor."""
        x = self.tensors[-1]
        kinds = [self.two, self.extreme, self.one, self.one, self.cut]
        if any(n % 2 == 0 for n in x.shape):
            kinds.append(self.halves)
        if len(x.shape) == 4:
            kinds += [self.conv, self.conv, self.depthwise, self.pool, self.mean, self.dense]
        if np.prod(x.shape) < LARGEST:
            kinds += [
                self.pad,
                self.join,
                self.matmul,
                *([self.transpose_conv, self.resize] if len(x.shape) == 4 else []),
            ]
        self.pick(*kinds)(x)


@st.composite
def networks(draw: Any) -> Model:
    """2 to 6 layers on an image of up to 9x9x6; the output is the last tensor and one in between."""
    g = Growing(draw)
    shape = (1, draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 6)))
    x = g.new(shape)
    for _ in range(draw(st.integers(2, 6))):
        g.grow()
    outputs = sorted({g.tensors[-1].index, g.tensors[len(g.tensors) // 2].index})
    values: Values = draw(SPREAD)
    return Model(g.b.finish([x], outputs), [values.fill(shape, "int8", g.tensors[0].zero)], outputs)


def test_networks(tally):
    """At least 4 elements a case."""
    explore(networks(), tally.compare, share=2)
    tally.check(4)
