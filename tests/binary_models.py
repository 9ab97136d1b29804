"""Models of one binary convolution, and what it computes: by its definition on +1 and -1, tap by tap, no bits."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from fxsim.numerics import Accumulator, NumericsProfile, OpNumerics, Requantize, load_numerics
from tests import naive
from tests.build import ABSENT, Builder

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
"""in the order of the format's codes"""
BOUNDS = {"NONE": (None, None), "RELU": (0, None), "RELU_N1_TO_1": (-1, 1), "RELU6": (0, 6)}


def larq_words(values: Any) -> Any:
    """+1 and -1 along the last axis as int32 words: a set bit is -1, channel ``c`` is bit ``c % 32``."""
    flat = values.reshape(-1, values.shape[-1])
    words = [
        [sum(int(v < 0) << i for i, v in enumerate(row[start : start + 32])) for start in range(0, len(row), 32)]
        for row in flat
    ]
    return np.array(words, np.uint32).view(np.int32).reshape(*values.shape[:-1], -1)


def normal(value: float) -> Any:
    """The float32 nearest to ``value``; a zero of its sign if that is not normal."""
    rounded = np.float32(value)
    return np.float32(np.copysign(0, rounded)) if abs(float(rounded)) < 2.0**-126 else rounded


@dataclass(frozen=True, slots=True)
class Binary:
    """One LceBconv2d: ``x`` ``(N, H, W, C)`` and ``w`` ``(O, KH, KW, C / groups)`` of +1 and -1."""

    x: Any
    w: Any
    multiplier: Any
    bias: Any
    threshold: Any
    output: str = "float32"
    padding: str = "VALID"
    pad_value: int = 1
    activation: str = "NONE"
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    scale: float = 1.0
    zero: int = 0

    @property
    def depth(self) -> int:
        """Products of one output."""
        return int(np.prod(self.w.shape[1:]))

    def _axis(self, i: int) -> tuple[int, int]:
        """Outputs and padding before, along height or width: TensorFlow's two rules."""
        size, kernel, stride = self.x.shape[1 + i], self.w.shape[1 + i], self.stride[i]
        reach = (kernel - 1) * self.dilation[i] + 1
        if self.padding == "VALID":
            return (size - reach) // stride + 1, 0
        out = (size + stride - 1) // stride
        return out, max(0, (out - 1) * stride + reach - size) // 2

    @property
    def options(self) -> dict[str, int]:
        """The op's custom options."""
        return {
            "channels_in": self.x.shape[3],
            "dilation_height_factor": self.dilation[0],
            "dilation_width_factor": self.dilation[1],
            "fused_activation_function": ACTIVATIONS.index(self.activation),
            "pad_values": self.pad_value,
            "padding": ("SAME", "VALID").index(self.padding),
            "stride_height": self.stride[0],
            "stride_width": self.stride[1],
        }

    def file(self, **changed: Any) -> bytes:
        """The model; ``changed`` replaces options, None takes them out."""
        b, n, o = Builder(), len(self.x), len(self.w)
        x = b.tensor("x", (*self.x.shape[:3], (self.x.shape[3] + 31) // 32), "int32")
        w = b.constant("w", larq_words(self.w))
        multiplier, bias = (b.constant(k, v, "float32") for k, v in (("m", self.multiplier), ("b", self.bias)))
        threshold = b.constant("t", self.threshold)
        packed = self.output == "int32"
        shape = (n, self._axis(0)[0], self._axis(1)[0], (o + 31) // 32 if packed else o)
        y = b.tensor("y", shape, self.output, *((self.scale, self.zero) if self.output == "int8" else ()))
        # The engine reads the multiplier of a bit-packed output too where it corrects zero padding.
        unused = packed and self.pad_value == 1
        inputs = [x, w, *((ABSENT, ABSENT) if unused else (multiplier, bias)), threshold if packed else ABSENT]
        options = {k: v for k, v in (self.options | changed).items() if v is not None}
        return b.custom("LceBconv2d", inputs, [y], options).finish([x], [y])

    @property
    def words(self) -> Any:
        """The input of the model."""
        return larq_words(self.x)

    def dots(self, pad: int | None = None) -> Any:
        """``sum(x * w)``, ``(N, OH, OW, O)``, with ``pad`` outside the image."""
        pad = self.pad_value if pad is None else pad
        (oh, top), (ow, left) = self._axis(0), self._axis(1)
        n, h, wid, _ = self.x.shape
        o, kh, kw, d = self.w.shape
        per_group = o // (self.x.shape[3] // d)
        acc = np.zeros((n, oh, ow, o), np.int64)
        for y, z, k, i, j in np.ndindex(oh, ow, o, kh, kw):
            at_y = y * self.stride[0] + i * self.dilation[0] - top
            at_x = z * self.stride[1] + j * self.dilation[1] - left
            group = slice(k // per_group * d, (k // per_group + 1) * d)
            inside = 0 <= at_y < h and 0 <= at_x < wid
            cells = self.x[:, at_y, at_x, group].astype(np.int64) if inside else np.full((n, d), pad)
            acc[:, y, z, k] += cells @ self.w[k, i, j].astype(np.int64)
        return acc

    def floats(self, *, counted: bool) -> Any:
        """``clamp(dot) * multiplier + bias`` as float32 arithmetic makes it: int8 scaled, not rounded yet.

        The engine computes with ``K - dot``. A zero outside is ``counted``, or corrected after all else.
        """
        f32, corrected = np.float32, self.padding == "SAME" and self.pad_value == 0 and not counted
        dots, zeros = self.dots(1 if corrected else None), self.dots(0)
        low, high = BOUNDS[self.activation]
        dots = np.clip(dots, -self.depth if low is None else low, self.depth if high is None else high)
        out = np.empty(dots.shape, np.float32)
        scale, zero = (float(f32(self.scale)), self.zero) if self.output == "int8" else (1.0, 0)
        for at in np.ndindex(out.shape):
            m, b = float(normal(self.multiplier[at[3]])), float(normal(self.bias[at[3]]))
            y = f32(self.depth - int(dots[at])) * normal(-m / scale) + normal((b + self.depth * m) / scale + zero)
            if corrected and self._touches(at):
                y = normal(y) + f32(-m) * f32(int(dots[at] - zeros[at]))
            out[at] = normal(y)
        return out

    def _touches(self, at: tuple[int, ...]) -> bool:
        """True if some tap of the output lies outside the image."""
        for i in (0, 1):
            start = at[1 + i] * self.stride[i] - self._axis(i)[1]
            end = start + (self.w.shape[1 + i] - 1) * self.dilation[i]
            if start < 0 or end >= self.x.shape[1 + i]:
                return True
        return False

    def expected(self, *, counted: bool = False, rounding: str = "ties_away") -> Any:
        """The output of the model, by the definition."""
        if self.output == "int32":
            counts = (self.depth - self.dots()) // 2
            return larq_words(np.where(counts > np.asarray(self.threshold, np.int64), -1, 1))
        y = self.floats(counted=counted)
        if self.output == "float32":
            return y
        rounded = [naive.round_fraction(naive.Fraction(float(v)), rounding) for v in y.reshape(-1)]
        return np.clip(rounded, -128, 127).astype(np.int8).reshape(y.shape)


def with_variant(variant: str) -> NumericsProfile:
    """LiteRT's profile with another kernel of Larq's."""
    base = load_numerics("litert-reference")
    ops = {**base.ops, "LceBconv2d": OpNumerics(Accumulator(), Requantize(), variant)}
    return msgspec.structs.replace(base, ops=ops)


def bits_equal(a: Any, b: Any) -> bool:
    """Equal shape, type and bits: -0.0 is not 0.0."""
    return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())
