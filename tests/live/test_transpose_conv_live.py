"""TRANSPOSE_CONV: one-op models, every bit as the live engines compute them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import ACTIVATIONS, Array, Model, Tally, Values, explore, limits
from tests.live.test_ops_live import Scaling, bias_values, declared, filled, scalings

pytestmark = pytest.mark.live


@dataclass(frozen=True, slots=True)
class Case:
    """One TRANSPOSE_CONV; ``extra`` chooses among the output sizes that go with the input's."""

    size: tuple[int, int, int]
    """batch, height and width of the input"""
    depth: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: str
    extra: tuple[int, int]
    activation: str
    scaling: Scaling
    dtype: str
    bias: str
    bias_type: str
    x: Values
    w: Values

    def output(self) -> list[tuple[int, int]]:
        """Output size, and what is cut before it, for both axes."""
        result = []
        for n, k, s, e in zip(self.size[1:], self.kernel, self.stride, self.extra, strict=True):
            out = n * s - e % s if self.padding == "SAME" else (n - 1) * s + k + e % s
            steps = -(-out // s)
            cut = max(0, (steps - 1) * s + k - out) // 2 if self.padding == "SAME" else 0
            result.append((out, cut))
        return result

    def weights(self) -> Array:
        """``(O, KH, KW, C)``."""
        weight_type = "uint8" if self.dtype == "uint8" else "int8"
        return self.w.fill((self.channels, *self.kernel, self.depth), weight_type, self.scaling.weight_zero)

    def inputs(self) -> Array:
        """The input tensor."""
        return self.x.fill((*self.size, self.depth), self.dtype, self.scaling.in_zero)

    def biases(self) -> Array | None:
        """The bias, or None."""
        return bias_values(self.bias, self.channels, self.w.seed, self.bias_type)

    def model(self, s: Scaling) -> Model:
        """The one-op file with this quantization."""
        b, w, bias = Builder(), self.weights(), self.biases()
        shape = (self.size[0], *(n for n, _ in self.output()), self.channels)
        x = b.tensor("x", self.inputs().shape, self.dtype, s.input, s.in_zero)
        kernel = b.tensor("w", w.shape, str(w.dtype), s.weight, s.weight_zero, 0, data=w)
        ins = [b.constant("shape", shape), kernel, x]
        if bias is not None:
            ins.append(b.tensor("b", bias.shape, self.bias_type, s.bias, 0, 0, data=bias))
        y = b.tensor("y", shape, self.dtype, s.output, s.out_zero)
        b.op(
            "TRANSPOSE_CONV",
            ins,
            [y],
            version=4 if self.activation != "NONE" else 3,
            padding=self.padding,
            stride_h=self.stride[0],
            stride_w=self.stride[1],
            fused_activation_function=self.activation,
            **declared(self.dtype, self.bias_type),
        )
        return Model(b.finish([x], [y]), [self.inputs()], [y])

    def accumulators(self) -> Array:
        """``(N, OH, OW, O)``: each input scattered over its window, slowly."""
        (oh, top), (ow, left) = self.output()
        x = self.inputs().astype(np.int64) - self.scaling.in_zero
        w = self.weights().astype(np.int64) - self.scaling.weight_zero
        acc = np.zeros((self.size[0], oh + 40, ow + 40, self.channels), np.int64)
        for i in range(self.size[1]):
            for j in range(self.size[2]):
                at = slice(20 + i * self.stride[0] - top, None), slice(20 + j * self.stride[1] - left, None)
                window = acc[:, at[0], at[1]][:, : self.kernel[0], : self.kernel[1]]
                window += np.einsum("nc,okmc->nkmo", x[:, i, j], w)[:, : window.shape[1], : window.shape[2]]
        bias = self.biases()
        return (acc[:, 20 : 20 + oh, 20 : 20 + ow] + (0 if bias is None else bias)).astype(self.bias_type)


@st.composite
def cases(draw: Any, dtype: str) -> Case:
    """Transpose convolutions of all geometries; the stride may leave outputs that no input reaches."""
    size = draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    depth, channels = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    kernel, stride, extra = pair(1, 4), pair(1, 3), pair(0, 2)
    content = draw(filled(dtype))
    content.pop("weight_type")
    per_channel = dtype != "uint8" and draw(st.booleans())
    scaling = draw(scalings(channels, ties=content.pop("ties"), per_channel=per_channel, dtype=dtype))
    return Case(
        size, depth, channels, kernel, stride, draw(st.sampled_from(["SAME", "VALID"])), extra, draw(ACTIVATIONS),
        scaling, dtype, bias_type="int64" if dtype == "int16" else "int32", **content,
    )  # fmt: skip


def _hold(tally: Tally, case: Case) -> None:
    acc = case.accumulators()
    s = case.scaling.fitted(acc, case.dtype)
    if tally.compare(case.model(s)) is not None:
        scale = s.exact if len(s.weight) > 1 else np.repeat(s.exact, acc.shape[-1])
        tally.count(acc, scale, s.out_zero, limits(case.activation, s.output, s.out_zero, case.dtype))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint8"])
def test_transpose_conv(engine, tallies, dtype):
    """All geometries, at least 20 elements a case; ties and clamps occur."""
    if (engine, dtype) == ("tflm", "uint8"):
        pytest.skip("TFLM has no uint8 kernel")
    tally = tallies(f"TRANSPOSE_CONV {dtype}", engine)
    explore(cases(dtype), lambda case: _hold(tally, case), share=2)
    tally.check(20, ties=True, clamps=True)
