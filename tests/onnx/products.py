"""Cases of ONNX's integer products: convolutions and matrix products of all geometries, types and scales."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.build_onnx import OnnxBuilder
from tests.live.cases import VALUES, Values, f32, zeros
from tests.onnx.cases import Array, exact_conv, fitted

TYPES = (("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8"))
"""(input, weight) types that ONNX Runtime has"""
INTEGER_TYPES = (*TYPES, ("int8", "uint8"))
"""... in its ops with int32 results"""


@dataclass(frozen=True, slots=True)
class Quantized:
    """Types, zero points, scales and contents of a product."""

    input_type: str
    weight_type: str
    x: Values
    w: Values
    x_zero: int
    w_zero: int
    y_zero: int
    per_channel: bool
    bias: str
    spread: float
    ties: bool
    seed: int

    def weight_scales(self, channels: int) -> Array:
        """float32 scales of the weight: one, or one a channel."""
        rng, count = np.random.default_rng(self.seed), channels if self.per_channel else 1
        exponents = rng.integers(-6, 1, count) if self.ties else rng.uniform(-6, 0, count)
        return (2.0**exponents).astype(np.float32)

    def biases(self, channels: int) -> Array | None:
        """The bias, or None."""
        if self.bias == "none":
            return None
        reach = {"small": 300, "large": 100_000}[self.bias]
        values = np.random.default_rng(self.seed + 1).integers(-reach, reach, channels)
        return (values // 128 * 128 if self.ties else values).astype(np.int32)

    def scales(self, acc: Array) -> tuple[float, Array, float, Array]:
        """``(x_scale, w_scales, y_scale, M)`` for exact accumulators ``(..., channels)``."""
        w = self.weight_scales(acc.shape[-1])
        x_scale = 0.25 if self.ties else f32(0.013)
        reached = float(np.max(np.abs(acc) * (w if w.size > 1 else w[0]), initial=1e-9)) * x_scale or 1.0
        y_scale = 1 / fitted(np.array([reached]), self.spread, self.ties)
        y = np.float32(y_scale)
        return x_scale, w, float(y), np.float32(x_scale) * w / y


@st.composite
def quantized(draw: Any, types: tuple[tuple[str, str], ...] = TYPES) -> Quantized:
    """Every combination of types; zero points at the ends and elsewhere."""
    input_type, weight_type = draw(st.sampled_from(types))
    ties = draw(st.booleans())
    x, w = draw(VALUES), draw(VALUES)
    if ties:
        x, w = replace(x, kind="coarse"), replace(w, kind=draw(st.sampled_from(["small", "coarse", "random"])))
    symmetric = draw(st.sampled_from([True, True, False]))
    middle = 128 if weight_type == "uint8" else 0
    return Quantized(
        input_type, weight_type, x, w, draw(zeros(input_type)), middle if symmetric else draw(zeros(weight_type)),
        draw(zeros(input_type)), draw(st.booleans()), draw(st.sampled_from(["none", "small", "large"])),
        draw(st.sampled_from([90.0, 130.0, 300.0, 5.0, 2000.0])), ties, draw(st.integers(0, 1 << 30)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ConvCase:
    """One convolution; one spatial axis if ``flat``."""

    batch: int
    size: tuple[int, int]
    group: int
    per_group: int
    out_per_group: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    auto_pad: str
    flat: bool
    q: Quantized

    def inputs(self) -> Array:
        """``(N, C, H, W)``, or ``(N, C, W)``."""
        shape = (self.batch, self.group * self.per_group, *self.size[self.flat :])
        return self.q.x.fill(shape, self.q.input_type, self.q.x_zero)

    def weights(self) -> Array:
        """``(O, C / group, KH, KW)``, or ``(O, C / group, KW)``."""
        shape = (self.group * self.out_per_group, self.per_group, *self.kernel[self.flat :])
        return self.q.w.fill(shape, self.q.weight_type, self.q.w_zero)

    def padding(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right, with ``auto_pad`` resolved as ONNX says."""
        if self.auto_pad == "NOTSET":
            return self.pads
        found = [(0, 0), (0, 0)]
        if self.auto_pad.startswith("SAME"):
            for i in range(2):
                out = -(-self.size[i] // self.strides[i])
                total = max(
                    0, (out - 1) * self.strides[i] + (self.kernel[i] - 1) * self.dilations[i] + 1 - self.size[i]
                )
                odd = self.auto_pad == "SAME_LOWER"
                found[i] = ((total + odd) // 2, total - (total + odd) // 2)
        return found[0][0], found[1][0], found[0][1], found[1][1]

    def attributes(self) -> dict[str, Any]:
        """The node's attributes."""
        f = int(self.flat)
        made: dict[str, Any] = {
            "kernel_shape": self.kernel[f:], "strides": self.strides[f:], "dilations": self.dilations[f:], "group": self.group
        }  # fmt: skip
        if self.auto_pad != "NOTSET":
            return made | {"auto_pad": self.auto_pad}
        return made | {"pads": (self.pads[1], self.pads[3]) if self.flat else self.pads}

    def products(self) -> Array:
        """``(N, OH, OW, O)`` int64: sums of products without zero points, without the bias."""
        x, w = self.inputs().astype(np.int64) - self.q.x_zero, self.weights().astype(np.int64) - self.q.w_zero
        if self.flat:
            x, w = x[:, :, np.newaxis], w[:, :, np.newaxis]
        return exact_conv(x, w, self.padding(), self.strides, self.dilations, self.group)

    def model(self, scales: tuple[float, Array, float]) -> bytes:
        """The one-op QLinearConv."""
        q, b, w, bias = self.q, OnnxBuilder(), self.weights(), self.q.biases(self.group * self.out_per_group)
        x = b.input("x", self.inputs().shape, q.input_type)
        w_scale = scales[1] if q.per_channel else scales[1][0]
        w_zero = np.full(w_scale.shape, q.w_zero)
        ins = [
            x,
            *b.scalars(scales[0], q.x_zero, q.input_type),
            b.constant(w, q.weight_type),
            b.constant(w_scale, "float32"),
        ]
        ins += [b.constant(w_zero, q.weight_type), *b.scalars(scales[2], q.y_zero, q.input_type)]
        ins += [] if bias is None else [b.constant(bias, "int32")]
        b.op("QLinearConv", ins, "y", **self.attributes())
        return b.finish({"y": q.input_type})

    def integer_model(self) -> bytes:
        """The one-op ConvInteger."""
        q, b = self.q, OnnxBuilder()
        x = b.input("x", self.inputs().shape, q.input_type)
        ins = [x, b.constant(self.weights(), q.weight_type), b.constant(q.x_zero, q.input_type)]
        b.op("ConvInteger", [*ins, b.constant(q.w_zero, q.weight_type)], "y", **self.attributes())
        return b.finish({"y": "int32"})


@st.composite
def convs(draw: Any, depthwise: bool | None = None, types: tuple[tuple[str, str], ...] = TYPES) -> ConvCase:
    """Convolutions with strides, dilations, groups, paddings of all kinds; 1 to 70 channels; 1xN images."""
    depthwise = draw(st.sampled_from([False, False, True])) if depthwise is None else depthwise
    wide = draw(st.integers(0, 4)) == 0
    flat = draw(st.integers(0, 5)) == 0
    kernel = (1 if flat else draw(st.integers(1, 4)), draw(st.integers(1, 5)))
    strides = (1 if flat else draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilations = (1, 1) if draw(st.booleans()) else (1 if flat else draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto.startswith("SAME"):
        dilations = (1, 1)  # with dilation ONNX Runtime refuses auto_pad
    pads = tuple(draw(st.integers(0, k - 1 if k > 1 else 1)) for k in (*kernel, *kernel))
    pads = (0, pads[1], 0, pads[3]) if flat else pads
    side = 4 if wide else 9
    size = [1 if flat or draw(st.integers(0, 7)) == 0 else draw(st.integers(1, side)), draw(st.integers(1, side))]
    for i in range(2):
        reach = (kernel[i] - 1) * dilations[i] + 1
        size[i] = max(size[i], reach - (pads[i] + pads[i + 2] if auto == "NOTSET" else 0))
        size[i] = max(size[i], reach) if auto == "VALID" else max(size[i], 1)
    if depthwise:
        group, per, out = draw(st.integers(1, 70 if wide else 20)), 1, draw(st.sampled_from([1, 1, 1, 2, 3]))
    else:
        group = draw(st.sampled_from([1, 1, 1, 2, 3]))
        per, out = (draw(st.integers(1, 70 if wide and group == 1 else 12)) for _ in range(2))
    return ConvCase(
        draw(st.integers(1, 2)), (size[0], size[1]), group, per, out, kernel, strides, dilations, pads, auto, flat,
        draw(quantized(types)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MatCase:
    """One matrix product ``(*batch, M, K) x (K, N)``; ``batched`` gives the weight the batch as well."""

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    batched: bool
    constant: bool
    transposes: tuple[bool, bool]
    alpha: float
    bias_shape: str
    q: Quantized

    def inputs(self) -> Array:
        """``(*batch, M, K)``."""
        return self.q.x.fill((*self.batch, self.m, self.k), self.q.input_type, self.q.x_zero)

    def weights(self) -> Array:
        """``(K, N)``, or ``(*batch, K, N)``."""
        return self.q.w.fill((*(self.batch if self.batched else ()), self.k, self.n), self.q.weight_type, self.q.w_zero)

    def products(self) -> Array:
        """``(*batch, M, N)`` int64, without zero points."""
        return (self.inputs().astype(np.int64) - self.q.x_zero) @ (self.weights().astype(np.int64) - self.q.w_zero)

    def _weight(self, b: OnnxBuilder, values: Array) -> tuple[str, list[Array]]:
        """The weight as a constant, or as a second input of the model."""
        if self.constant:
            return b.constant(values, self.q.weight_type), []
        return b.input("w", values.shape, self.q.weight_type), [values]

    def _parameters(self, b: OnnxBuilder, scale: Array) -> list[str]:
        w_scale = scale if self.q.per_channel else scale[0]
        return [b.constant(w_scale, "float32"), b.constant(np.full(w_scale.shape, self.q.w_zero), self.q.weight_type)]

    def qlinear(self, scales: tuple[float, Array, float]) -> tuple[bytes, list[Array]]:
        """QLinearMatMul and its inputs."""
        q, b, x = self.q, OnnxBuilder(), self.inputs()
        ins = [b.input("x", x.shape, q.input_type), *b.scalars(scales[0], q.x_zero, q.input_type)]
        name, more = self._weight(b, self.weights())
        ins += [name, *self._parameters(b, scales[1]), *b.scalars(scales[2], q.y_zero, q.input_type)]
        b.op("QLinearMatMul", ins, "y")
        return b.finish({"y": q.input_type}), [x, *more]

    def integer(self) -> tuple[bytes, list[Array]]:
        """MatMulInteger and its inputs."""
        q, b, x = self.q, OnnxBuilder(), self.inputs()
        ins = [b.input("x", x.shape, q.input_type)]
        name, more = self._weight(b, self.weights())
        zero = np.full(self.n, q.w_zero) if q.per_channel and not self.batched else q.w_zero
        b.op("MatMulInteger", [*ins, name, b.constant(q.x_zero, q.input_type), b.constant(zero, q.weight_type)], "y")
        return b.finish({"y": "int32"}), [x, *more]

    def gemm(self, scales: tuple[float, Array, float] | None) -> tuple[bytes, list[Array]]:
        """QGemm and its inputs; a float output without ``scales[2]``."""
        q, b = self.q, OnnxBuilder()
        x, w = self.inputs().reshape(-1, self.k), self.weights()
        x, w = (np.ascontiguousarray(v.T) if t else v for v, t in zip((x, w), self.transposes, strict=True))
        kind = q.input_type
        ins = [b.input("x", x.shape, kind), *b.scalars(scales[0], q.x_zero, kind)]
        name, more = self._weight(b, w)
        ins += [name, *self._parameters(b, scales[1])]
        bias = self.bias()
        ins += ["" if bias is None else b.constant(bias, "int32")]
        ins += list(b.scalars(scales[2], q.y_zero, kind)) if scales[2] else []
        b.op("QGemm", ins, "y", alpha=self.alpha, transA=int(self.transposes[0]), transB=int(self.transposes[1]))
        return b.finish({"y": kind if scales[2] else "float32"}), [x, *more]

    def bias(self) -> Array | None:
        """QGemm's bias: one value, a row, a column, or a matrix."""
        rows = self.m * int(np.prod(self.batch, dtype=np.int64))
        shape = {"row": (self.n,), "one": (1,), "column": (rows, 1), "full": (rows, self.n)}[self.bias_shape]
        values = self.q.biases(int(np.prod(shape)))
        return None if values is None else values.reshape(shape)

    def to_float(self, scales: tuple[float, Array, float], float_bias: bool) -> tuple[bytes, list[Array]]:
        """MatMulIntegerToFloat and its inputs."""
        q, b, x = self.q, OnnxBuilder(), self.inputs()
        ins = [b.input("x", x.shape, q.input_type)]
        name, more = self._weight(b, self.weights())
        w_scale, w_zero = self._parameters(b, scales[1])
        x_scale, x_zero = b.scalars(scales[0], q.x_zero, q.input_type)
        ins += [name, x_scale, w_scale, x_zero, w_zero]
        if float_bias:
            ins.append(b.constant(np.linspace(-3, 3, self.n), "float32"))
        b.op("MatMulIntegerToFloat", ins, "y")
        return b.finish({"y": "float32"}), [x, *more]


@st.composite
def matrices(draw: Any, batched: bool | None = None, types: tuple[tuple[str, str], ...] = TYPES) -> MatCase:
    """Matrix products of 1 to 70 columns and up to 90 products, weights constant or not."""
    batch = draw(st.lists(st.integers(1, 3), max_size=2).map(tuple))
    batched = draw(st.booleans()) if batched is None else batched
    q = draw(quantized(types))
    q = replace(q, per_channel=False) if batched else q
    return MatCase(
        batch, draw(st.integers(1, 6)), draw(st.integers(1, 90)), draw(st.integers(1, 12) | st.integers(1, 70)), batched,
        draw(st.sampled_from([True, True, False])), (draw(st.booleans()), draw(st.booleans())),
        draw(st.sampled_from([1.0, 1.0, 0.5, 0.3])), draw(st.sampled_from(["row", "row", "one", "column", "full"])), q,
    )  # fmt: skip
