"""Cases of ONNX's float32 convolution: shapes around the blocks in which an engine sums, and numbers that cancel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.build_onnx import OnnxBuilder
from tests.onnx.cases import Array

CHANNELS = (1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 18, 20, 24, 32, 36, 48, 64, 132, 144)
"""around multiples of 4, 8 and 16, and of the 128 that are summed at once"""
WIDTHS = (1, 2, 3, 7, 16, 17, 32, 33, 64, 65, 140)


@dataclass(frozen=True, slots=True)
class FloatConv:
    """A convolution, and whether its weight and bias are constants of the model, or inputs."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    strides: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    dilations: tuple[int, ...] = (1, 1)
    group: int = 1
    bias: bool = True
    constant: bool = False
    seed: int = 0

    def build(self) -> tuple[bytes, list[Array]]:
        """The model and its inputs."""
        rng, b, inputs = np.random.default_rng(self.seed), OnnxBuilder(17), []
        names = []
        for name, shape in (("x", self.x), ("w", self.w), ("b", self.w[:1]))[: 2 + self.bias]:
            values = rng.normal(size=shape) * 2.0 ** rng.integers(-6, 7, shape)
            if name != "x" and self.constant:
                names.append(b.constant(values, "float32"))
            else:
                names.append(b.input(name, shape, "float32"))
                inputs.append(values.astype(np.float32))
        options: dict[str, Any] = {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}
        b.op("Conv", names, "y", group=self.group, **options)
        return b.finish({"y": "float32"}), inputs


@st.composite
def float_convs(draw: Any) -> FloatConv:
    """One and two axes, groups, depthwise layers, single output channels and cells, and all that lies between."""
    seed, group = draw(st.integers(0, 1 << 30)), draw(st.sampled_from([1, 1, 1, 2, 3, 8, 16, 20]))
    many = st.sampled_from(CHANNELS if group < 4 else (1, 1, 2))
    per, og, axes = draw(many), draw(many), draw(st.sampled_from([1, 2, 2, 2]))
    kernel = tuple(draw(st.sampled_from([1, 1, 2, 3, 5])) for _ in range(axes))
    size = tuple(
        max(k, n) for k, n in zip(kernel, (draw(st.integers(1, 7)), draw(st.sampled_from(WIDTHS)))[-axes:], strict=True)
    )
    strides = tuple(draw(st.sampled_from([1, 1, 2])) for _ in range(axes))
    pads = tuple(draw(st.sampled_from([0, 0, 1])) for _ in range(2 * axes))
    reach = tuple(n + pads[i] + pads[axes + i] for i, n in enumerate(size))
    dilations = tuple(2 if 2 * k - 1 <= r and draw(st.booleans()) else 1 for k, r in zip(kernel, reach, strict=True))
    return FloatConv(
        (draw(st.sampled_from([1, 1, 2])), group * per, *size), (group * og, per, *kernel), strides, pads, dilations,
        group, draw(st.booleans()), draw(st.booleans()), seed,
    )  # fmt: skip


BLOCKS = st.builds(
    lambda seed, c, o, k: FloatConv((1, c, 4, 7), (o, c, k, k), constant=True, seed=seed),
    st.integers(0, 1 << 30),
    st.sampled_from([8, 12, 20, 24, 36, 9, 7]),
    st.sampled_from([9, 8, 3, 1]),
    st.sampled_from([3, 2, 1]),
)
"""small files, in which blocks of 8 and of 16 channels differ"""
