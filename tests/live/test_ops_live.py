"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: one-op models, every bit as the live engines compute them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import tflite
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import (
    ACTIVATIONS,
    VALUES,
    Array,
    Model,
    Tally,
    Values,
    decades,
    explore,
    f32,
    fractions,
    limits,
    powers,
    zeros,
)

pytestmark = pytest.mark.live
BIASES = st.sampled_from(["none", "zero", "small", "small", "small", "large", "huge"])
TIE_BIASES = st.sampled_from(["none", "zero", "coarse", "coarse", "coarse"])


@dataclass(frozen=True, slots=True)
class Scaling:
    """The quantization of a layer with weights: the first channel's rescale is about ``2**-gain``.

    As drawn, ``gain`` counts from the one that fits the accumulators into the output (see :meth:`fitted`).
    """

    output: float
    weight: tuple[float, ...]
    """one, or one for each channel"""
    gain: float
    in_zero: int
    out_zero: int
    weight_zero: int = 0

    def fitted(self, acc: Array, dtype: str = "int8") -> "Scaling":
        """The scaling whose ``gain`` holds for these accumulators ``(..., channels)`` and outputs of this type."""
        middle = float(np.median(np.abs(acc[..., 0].astype(np.int64))))
        usual = 6000 if dtype == "int16" else 40
        return replace(self, gain=self.gain + max(0, round(math.log2(middle / usual + 0.01))))

    @property
    def input(self) -> float:
        """The input's scale, a float32."""
        return f32(self.output * 2.0**-self.gain / self.weight[0])

    @property
    def bias(self) -> list[float]:
        """The bias's scales."""
        return [f32(self.input * w) for w in self.weight]

    @property
    def exact(self) -> Array:
        """The real rescales, as Fractions."""
        return fractions([float(w) for w in self.weight], self.output) * fractions([self.input], 1.0)[0]


@st.composite
def scalings(draw: Any, channels: int, *, ties: bool, per_channel: bool, dtype: str) -> Scaling:
    """Power-of-two scales, which make ties, or any; gains from far left shifts to rescales that leave nothing."""
    gain = draw(st.sampled_from([0, 1, 2] if ties else [0, 0, 0, 0, 1, 1, 1, 2, -1, -29, -25, -9, -3, 8, 24]))
    count = channels if per_channel else 1
    if ties or draw(st.booleans()):
        output = draw(powers(-8, 3))
        weight = [2.0 ** draw(st.integers(-9, 0))]
        tail = draw(st.lists(st.integers(-12, 2), min_size=count - 1, max_size=count - 1))
        weight += [weight[0] * 2.0**e for e in tail]
    else:
        output, gain = draw(decades(-4, 1) | st.just(f32(6 / 255))), gain + draw(st.floats(-0.5, 0.5))
        weight = [draw(decades(-5, 1))]
        tail = draw(st.lists(st.floats(-5, 1), min_size=count - 1, max_size=count - 1))
        weight += [f32(weight[0] * 10.0**e) for e in tail]
    zero = draw(zeros("uint8")) if dtype == "uint8" else 0
    return Scaling(output, tuple(weight), gain, draw(zeros(dtype)), draw(zeros(dtype)), zero)


def bias_values(kind: str, channels: int, seed: int, dtype: str = "int32") -> Array | None:
    """Nothing, zeros, as large as a usual accumulator, far larger, or beyond what 32 bits can add up."""
    rng = np.random.default_rng(seed)
    if kind == "none":
        return None
    huge = (1 << 31) - 1 if dtype == "int32" else 1 << 39
    reach = {"zero": 0, "coarse": 1 << 3, "small": 1 << 11, "large": 1 << 20, "huge": huge}[kind]
    step = 1 << 8 if kind == "coarse" else 1
    return (step * rng.integers(-reach, reach, channels, endpoint=True)).astype(dtype)


def declared(dtype: str, bias_type: str) -> dict[str, Any]:
    """The option that tells an int16 layer the type of its bias."""
    return {"quantized_bias_type": getattr(tflite.TensorType, bias_type.upper())} if dtype == "int16" else {}


@st.composite
def filled(draw: Any, dtype: str) -> dict[str, Any]:
    """Values, bias and weight type of a layer; and whether they are such that power-of-two scales make ties."""
    others = {"uint8": ["uint8"], "int16": ["int8"]}.get(dtype, ["int8", "int8", "int8", "int4"])
    weight_type = draw(st.sampled_from(others))
    if draw(st.integers(0, 2)) == 0:
        x, w = (Values("coarse", draw(st.integers(0, 1 << 30))) for _ in range(2))
        return {"ties": True, "x": x, "w": w, "bias": draw(TIE_BIASES), "weight_type": weight_type}
    return {"ties": False, "x": draw(VALUES), "w": draw(VALUES), "bias": draw(BIASES), "weight_type": weight_type}


@dataclass(frozen=True, slots=True)
class ConvCase:
    """One CONV_2D or DEPTHWISE_CONV_2D; a group has ``depth`` input and ``multiplier`` output channels."""

    depthwise: bool
    batch: int
    size: tuple[int, int]
    groups: int
    depth: int
    multiplier: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: str
    activation: str
    scaling: Scaling
    dtype: str
    bias: str
    weight_type: str
    x: Values
    w: Values
    bias_type: str = "int32"
    given: bool = False
    """True if the weight is an input of the model"""

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.groups * self.multiplier

    def geometry(self) -> list[tuple[int, int, int]]:
        """Output size, padding before and after, for both axes."""
        result = []
        for size, k, s, d in zip(self.size, self.kernel, self.stride, self.dilation, strict=True):
            reach = (k - 1) * d + 1
            out = -(-size // s) if self.padding == "SAME" else (size - reach) // s + 1
            total = max(0, (out - 1) * s + reach - size) if self.padding == "SAME" else 0
            result.append((out, total // 2, total - total // 2))
        return result

    def weights(self) -> Array:
        """``(O, KH, KW, depth)``, or ``(1, KH, KW, O)`` for depthwise."""
        shape = (1, *self.kernel, self.channels) if self.depthwise else (self.channels, *self.kernel, self.depth)
        return self.w.fill(shape, self.weight_type, self.scaling.weight_zero)

    def inputs(self) -> Array:
        """The input tensor."""
        shape = (self.batch, *self.size, self.groups * self.depth)
        return self.x.fill(shape, self.dtype, self.scaling.in_zero)

    def biases(self) -> Array | None:
        """The bias, or None."""
        return bias_values(self.bias, self.channels, self.w.seed, self.bias_type)

    def model(self, s: Scaling) -> Model:
        """The one-op file with this quantization."""
        b, w, bias = Builder(), self.weights(), self.biases()
        x = b.tensor("x", self.inputs().shape, self.dtype, s.input, s.in_zero)
        data = None if self.given else w
        kernel = b.tensor(
            "w", w.shape, self.weight_type, s.weight, s.weight_zero, 3 if self.depthwise else 0, data=data
        )
        ins = [x, kernel]
        if bias is not None:
            ins.append(b.tensor("b", bias.shape, self.bias_type, s.bias, 0, 0, data=bias))
        sizes = [g[0] for g in self.geometry()]
        y = b.tensor("y", (self.batch, *sizes, self.channels), self.dtype, s.output, s.out_zero)
        extra = {"depth_multiplier": self.multiplier} if self.depthwise else declared(self.dtype, self.bias_type)
        b.op(
            "DEPTHWISE_CONV_2D" if self.depthwise else "CONV_2D",
            ins,
            [y],
            padding=self.padding,
            stride_h=self.stride[0],
            stride_w=self.stride[1],
            dilation_h_factor=self.dilation[0],
            dilation_w_factor=self.dilation[1],
            fused_activation_function=self.activation,
            **extra,
        )
        more = ([kernel], [w]) if self.given else ([], [])
        return Model(b.finish([x, *more[0]], [y]), [self.inputs(), *more[1]], [y])

    def accumulators(self) -> Array:
        """``(N, OH, OW, O)``: the sums of products and the bias, slowly, modulo ``2**32``."""
        (oh, top, bottom), (ow, left, right) = self.geometry()
        x = self.inputs().astype(np.int64) - self.scaling.in_zero
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        w = self.weights().astype(np.int64) - self.scaling.weight_zero
        if self.depthwise:
            w = w.transpose(3, 1, 2, 0)
        bias = self.biases()
        acc = np.zeros((self.batch, oh, ow, self.channels), np.int64) + (0 if bias is None else bias)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                tap = x[:, i * self.dilation[0] :: self.stride[0], j * self.dilation[1] :: self.stride[1]][:, :oh, :ow]
                for g in range(self.groups):
                    of = slice(g * self.multiplier, (g + 1) * self.multiplier)
                    acc[..., of] += tap[..., g * self.depth : (g + 1) * self.depth] @ w[of, i, j].T
        return acc.astype(self.bias_type)


@st.composite
def convs(draw: Any, *, depthwise: bool, dtype: str = "int8") -> ConvCase:
    """Convolutions of all geometries that the engines take; at most some 100,000 products."""
    wide = draw(st.integers(0, 5)) == 0
    side = st.integers(1, 3 if wide else 9)
    kernel = (draw(st.integers(1, 3 if wide else 4)), draw(st.integers(1, 3 if wide else 5)))
    dilation = (1, 1) if draw(st.booleans()) else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    size = (draw(side), draw(side))
    if padding == "VALID":
        size = (size[0] + (kernel[0] - 1) * dilation[0], size[1] + (kernel[1] - 1) * dilation[1])
    if depthwise:
        groups, depth, multiplier = draw(st.integers(1, 70 if wide else 12)), 1, draw(st.integers(1, 4))
    else:
        groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
        depth, multiplier = (draw(st.integers(1, 70 if wide else 9)) for _ in range(2))
    content = draw(filled(dtype))
    per_channel = dtype != "uint8" and draw(st.sampled_from([True, True, False]))
    scaling = draw(scalings(groups * multiplier, ties=content.pop("ties"), per_channel=per_channel, dtype=dtype))
    return ConvCase(
        depthwise, draw(st.integers(1, 2)), size, groups, depth, multiplier, kernel, stride, dilation, padding,
        draw(ACTIVATIONS), scaling, dtype, **content,
    )  # fmt: skip


def hold(tally: Tally, case: "ConvCase | DenseCase") -> None:
    acc = case.accumulators()
    s = case.scaling.fitted(acc, case.dtype)
    if tally.compare(case.model(s)) is not None:
        scale = s.exact if len(s.weight) > 1 else np.repeat(s.exact, acc.shape[-1])
        tally.count(acc, scale, s.out_zero, limits(case.activation, s.output, s.out_zero, case.dtype))


def test_conv_2d(tally):
    """All geometries, at least 20 elements a case; ties and clamps occur."""
    explore(convs(depthwise=False), lambda case: hold(tally, case), share=2)
    tally.check(20, ties=True, clamps=True)


def test_depthwise_conv_2d(tally):
    """All geometries, at least 20 elements a case; ties and clamps occur."""
    explore(convs(depthwise=True), lambda case: hold(tally, case), share=2)
    tally.check(20, ties=True, clamps=True)


@pytest.mark.parametrize("depthwise", [False, True])
def test_uint8_convolutions(litert, depthwise):
    """The older uint8 kernels, which only LiteRT has: at least 20 elements a case; ties and clamps occur."""
    tally = litert("DEPTHWISE_CONV_2D uint8" if depthwise else "CONV_2D uint8")
    explore(convs(depthwise=depthwise, dtype="uint8"), lambda case: hold(tally, case))
    tally.check(20, ties=True, clamps=True)


@dataclass(frozen=True, slots=True)
class DenseCase:
    """One FULLY_CONNECTED of ``prod(rows)`` rows."""

    rows: tuple[int, ...]
    inner: int
    units: int
    keep: bool
    activation: str
    scaling: Scaling
    dtype: str
    bias: str
    weight_type: str
    x: Values
    w: Values
    bias_type: str = "int32"
    given: bool = False
    """True if the weight is an input of the model"""

    def weights(self) -> Array:
        """``(units, inner)``."""
        return self.w.fill((self.units, self.inner), self.weight_type, self.scaling.weight_zero)

    def inputs(self) -> Array:
        """``(*rows, inner)``."""
        return self.x.fill((*self.rows, self.inner), self.dtype, self.scaling.in_zero)

    def biases(self) -> Array | None:
        """The bias, or None."""
        return bias_values(self.bias, self.units, self.w.seed, self.bias_type)

    def model(self, s: Scaling) -> Model:
        """The one-op file with this quantization; without a bias the third input is left out, or named -1."""
        b, w, bias = Builder(), self.weights(), self.biases()
        x = b.tensor("x", self.inputs().shape, self.dtype, s.input, s.in_zero)
        kernel = b.tensor("w", w.shape, self.weight_type, s.weight, s.weight_zero, 0, data=None if self.given else w)
        ins = [x, kernel]
        if bias is not None:
            ins.append(b.tensor("b", bias.shape, self.bias_type, s.bias, 0, 0, data=bias))
        elif self.x.seed % 2:
            ins.append(-1)
        rows = self.rows if self.keep else (int(np.prod(self.rows)),)
        y = b.tensor("y", (*rows, self.units), self.dtype, s.output, s.out_zero)
        extra = declared(self.dtype, self.bias_type)
        b.op("FULLY_CONNECTED", ins, [y], fused_activation_function=self.activation, keep_num_dims=self.keep, **extra)
        more = ([kernel], [w]) if self.given else ([], [])
        return Model(b.finish([x, *more[0]], [y]), [self.inputs(), *more[1]], [y])

    def accumulators(self) -> Array:
        """``(rows, units)``, modulo ``2**32``."""
        x = self.inputs().reshape(-1, self.inner).astype(np.int64) - self.scaling.in_zero
        acc = x @ (self.weights().astype(np.int64) - self.scaling.weight_zero).T
        bias = self.biases()
        return (acc + (0 if bias is None else bias)).astype(self.bias_type)


@st.composite
def denses(draw: Any, dtype: str = "int8") -> DenseCase:
    """Dense layers of 1 to 70 units, with weights per tensor or per channel."""
    units = draw(st.integers(1, 12) | st.integers(1, 70))
    keep = draw(st.booleans())
    rows = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3 if keep else 2))
    content = draw(filled(dtype))
    per_channel = content["weight_type"] == "int8" and draw(st.booleans())
    scaling = draw(scalings(units, ties=content.pop("ties"), per_channel=per_channel, dtype=dtype))
    inner = draw(st.integers(1, 80))
    return DenseCase(tuple(rows), inner, units, keep, draw(ACTIVATIONS), scaling, dtype, **content)


def test_fully_connected(tally):
    """Rows, units and inner sizes of all kinds, at least 15 elements a case; ties and clamps occur."""
    explore(denses(), lambda case: hold(tally, case), share=2)
    tally.check(15, ties=True, clamps=True)


def test_uint8_fully_connected(litert):
    """The older uint8 kernel with a weight zero point, which only LiteRT has: at least 15 elements a case."""
    tally = litert("FULLY_CONNECTED uint8")
    explore(denses("uint8"), lambda case: hold(tally, case))
    tally.check(15, ties=True, clamps=True)


LAYERS = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]


def _bias_alone(op: str, dtype: str, bias: Array, scale: float, weight: float, out: tuple[float, int]) -> Model:
    """A layer whose accumulators are its biases: one channel for each, all weights zero."""
    dense, deep, n = op == "FULLY_CONNECTED", op == "DEPTHWISE_CONV_2D", bias.size
    x, b = np.zeros((1, 1) if dense else (1, 1, 1, 1), dtype), Builder()
    options: dict[str, Any] = {} if dense else {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    if deep:
        options["depth_multiplier"] = n
    shape = (n, 1) if dense else (1, 1, 1, n) if deep else (n, 1, 1, 1)
    i = b.tensor("x", x.shape, dtype, scale, 0)
    ins = [i, b.tensor("w", shape, dtype, weight, 0, data=np.zeros(n))]
    ins.append(b.tensor("b", (n,), "int32", f32(scale * weight), 0, data=bias))
    y = b.tensor("y", (*x.shape[:-1], n), dtype, *out)
    b.op(op, ins, [y], **options)
    return Model(b.finish([i], [y]), [x], [y])


@pytest.mark.parametrize("op", LAYERS)
def test_output_register(engine, tallies, op):
    """The sum with the zero point at the ends of its 32 bits: rescales just below 1 and far above it; 288 elements."""
    tally = tallies(f"{op} register", engine)
    reach = [1, 1 << 15, 1 << 16, 1 << 30, (1 << 31) - 129, (1 << 31) - 128, (1 << 31) - 1]
    bias = np.array([-(1 << 31), *(-r for r in reach), 0, *reach], np.int32)
    scales = [1.0, 2.0**15, 2.0**16, 2.0**20, 2.0**29, 1 + 2.0**-13]
    if engine == "litert-xnnpack":  # which refuses rescales from 256 on
        scales = [1.0, 2.0**3, 2.0**7, 255.0, 1 + 2.0**-13]
    for zero in (-128, 0, 127):
        for scale in scales:
            tally.compare(_bias_alone(op, "int8", bias, scale, 1 - 2.0**-13 if scale % 1 else 1.0, (1.0, zero)))
    tally.check(bias.size)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op", LAYERS)
def test_precision_of_the_rescale(engine, tallies, op, dtype):
    """A rescale of ``2**-n * (1 - 2**-26)``: its product is a power of two in float32 but not in float64; 600 ties."""
    if (engine, dtype) == ("tflm", "uint8"):
        pytest.skip("TFLM has no uint8 kernels for layers with weights")
    tally = tallies(f"{op} {dtype} precision", engine)
    bias = np.arange(-300, 300, dtype=np.int32)
    for out in (2.0, 4.0, 8.0):
        scale, weight = 1 + 2.0**-13, 1 - 2.0**-13
        assert f32(scale * weight) != scale * weight
        tally.compare(_bias_alone(op, dtype, bias, scale, weight, (out, 100 if dtype == "uint8" else 0)))
    tally.check(bias.size)
