"""Layers of float32 inputs, with float32 weights and with int8 ones: every bit as the live engines compute them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import Array, Model, Tally, explore, f32

pytestmark = pytest.mark.live


@dataclass(frozen=True, slots=True)
class Case:
    """One CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV or FULLY_CONNECTED."""

    op: str
    weight: str
    size: tuple[int, int, int]
    """images, height and width; rows of a dense layer"""
    groups: int
    depth: int
    channels: int
    """input and output channels of a group"""
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: int
    padding: str
    activation: str
    scales: tuple[float, ...]
    asymmetric: bool
    bias: bool
    values: str
    seed: int

    def inputs(self) -> Array:
        """Floats: normal, all positive, on a grid of eighths (for ties), tiny, partly zero."""
        rng = np.random.default_rng(self.seed)
        shape = (self.size[0], self.depth) if self.op == "FULLY_CONNECTED" else (*self.size, self.groups * self.depth)
        x = rng.normal(0, 10.0 ** rng.uniform(-2, 2), shape)
        kinds = {
            "positive": np.abs(x),
            "grid": np.round(x * 8) / 8,
            "ties": rng.integers(-127, 127, shape) + 0.5,
            "sparse": np.where(rng.random(shape) < 0.5, 0, x),
            "zero": np.zeros(shape),
        }
        x = kinds.get(self.values, x).astype(np.float32)
        if self.values == "ties":
            x.reshape(len(x), -1)[:, 0] = 127
        return x

    def weights(self) -> tuple[Array, int]:
        """The weight, and the axis of its output channels."""
        rng, total = np.random.default_rng(self.seed + 1), self.groups * self.channels
        shape: tuple[int, ...] = (total, *self.kernel, self.depth)
        if self.op == "DEPTHWISE_CONV_2D":
            shape = (1, *self.kernel, total)
        elif self.op == "FULLY_CONNECTED":
            shape = (total, self.depth)
        raw = rng.integers(-127, 127, shape, endpoint=True).astype(np.int8)
        values = raw if self.weight == "int8" else rng.normal(size=shape).astype(np.float32)
        return values, 3 if self.op == "DEPTHWISE_CONV_2D" else 0

    def output(self) -> tuple[int, int]:
        """Height and width of the output."""
        result = []
        for n, k, s in zip(self.size[1:], self.kernel, self.stride, strict=True):
            reach = (k - 1) * self.dilation + 1
            if self.op == "TRANSPOSE_CONV":
                result.append(n * s if self.padding == "SAME" else (n - 1) * s + k)
            else:
                result.append(-(-n // s) if self.padding == "SAME" else (n - reach) // s + 1)
        return result[0], result[1]

    def model(self) -> Model:
        """The one-op file."""
        b, x, (w, axis), total = Builder(), self.inputs(), self.weights(), self.groups * self.channels
        i = b.tensor("x", x.shape, "float32")
        if self.weight == "int8":
            k = b.tensor("w", w.shape, "int8", self.scales, 0, axis, data=w)
        else:
            k = b.tensor("w", w.shape, "float32", data=w)
        ins = [i, k]
        shape = (self.size[0], total) if self.op == "FULLY_CONNECTED" else (self.size[0], *self.output(), total)
        if self.op == "TRANSPOSE_CONV":
            ins = [b.constant("shape", shape), k, i]
        if self.bias:
            data = np.random.default_rng(self.seed + 2).normal(size=total).astype(np.float32)
            ins.append(b.tensor("b", (total,), "float32", data=data))
        y = b.tensor("y", shape, "float32")
        options: dict[str, Any] = {"fused_activation_function": self.activation}
        if self.op == "FULLY_CONNECTED":
            options["asymmetric_quantize_inputs"] = self.asymmetric
        else:
            options |= {"padding": self.padding, "stride_h": self.stride[0], "stride_w": self.stride[1]}
            if self.op != "TRANSPOSE_CONV":
                options |= {"dilation_h_factor": self.dilation, "dilation_w_factor": self.dilation}
        if self.op == "DEPTHWISE_CONV_2D":
            options["depth_multiplier"] = self.channels
        versions = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9, "TRANSPOSE_CONV": 4}
        version = versions[self.op] if self.weight == "int8" else 4 if self.op == "TRANSPOSE_CONV" else 1
        b.op(self.op, ins, [y], version=version, **options)
        return Model(b.finish([i], [y]), [x], [y])


@st.composite
def layers(draw: Any, op: str, weight: str) -> Case:
    """Layers of all geometries; at most some 100,000 products."""
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    kernel = pair(1, draw(st.sampled_from([3, 3, 5]))) if draw(st.integers(0, 2)) else (1, 1)
    plain = op in ("FULLY_CONNECTED", "TRANSPOSE_CONV")
    dilation = 1 if plain or draw(st.booleans()) else 2
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    stride = pair(1, 2) if draw(st.booleans()) else (1, 1)
    low = 1 if padding == "SAME" else (max(kernel) - 1) * dilation + 1
    groups, depth, channels = (
        1,
        draw(st.integers(1, 9) | st.integers(1, 70)),
        draw(st.integers(1, 9) | st.integers(1, 40)),
    )
    if op == "DEPTHWISE_CONV_2D":
        groups, depth, channels = draw(st.integers(1, 20)), 1, draw(st.integers(1, 3))
    elif op == "CONV_2D":
        groups = draw(st.sampled_from([1, 1, 2, 3]))
    scale = st.floats(-3, -1).map(lambda e: f32(10.0**e))
    single = draw(st.booleans()) and groups == 1 and op != "DEPTHWISE_CONV_2D"
    scales = tuple(draw(scale) for _ in range(1 if single else groups * channels))
    kinds = ["normal", "normal", "positive", "grid", "ties", "sparse", "zero"]
    return Case(
        op, weight, (draw(st.integers(1, 3)), draw(st.integers(low, low + 5)), draw(st.integers(low, low + 5))), groups,
        depth, channels, kernel, stride, dilation, padding,
        draw(st.sampled_from(["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"])), scales, draw(st.booleans()),
        draw(st.integers(0, 4)) > 0 or op in ("CONV_2D", "DEPTHWISE_CONV_2D"), draw(st.sampled_from(kinds)),
        draw(st.integers(0, 1 << 30)),
    )  # fmt: skip


def _hold(tally: Tally, case: Case) -> None:
    tally.compare(case.model())


UNKNOWN = {
    ("litert-optimized", "CONV_2D"),
    ("litert-optimized", "FULLY_CONNECTED"),
    ("litert-optimized", "TRANSPOSE_CONV"),
}
LAYERS = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]


@pytest.mark.parametrize("op", [*LAYERS, "TRANSPOSE_CONV"])
def test_float32_layers(engine, tallies, op):
    """Sums of float32 products in the engine's order, at least 20 elements a case."""
    if (engine, op) in UNKNOWN:
        pytest.skip("the engine's order of additions is not known: fxsim refuses the layer")
    tally = tallies(f"{op} float32", engine)
    explore(layers(op, "float32"), lambda case: _hold(tally, case), share=2)
    tally.check(20)


@pytest.mark.parametrize("op", LAYERS)
def test_hybrid_layers(engine, tallies, op):
    """Inputs quantized at run time, ties among them, at least 20 elements a case."""
    if engine == "tflm":
        pytest.skip("TFLM has no kernels of float32 inputs and int8 weights")
    tally = tallies(f"{op} hybrid", engine)
    explore(layers(op, "int8"), lambda case: _hold(tally, case), share=2)
    tally.check(20)
