"""What a layer has to do, counted from shapes alone: the meeting point of the graph and the cost models.

One MAC is one multiply-accumulate of the layer's definition; taps that fall on padding count, as they do in
the MLPerf Tiny and Vela conventions.
"""

from dataclasses import dataclass
from typing import Literal

WorkKind = Literal["conv", "depthwise", "dense", "pool", "reduce", "elementwise", "softmax", "lookup", "copy", "none"]
"""``lookup`` is one table or transcendental per element; ``copy`` moves bytes; ``none`` costs nothing at run time."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The loop bounds of a windowed layer, in elements. A dense layer is 1x1 with its rows along ``out_w``."""

    batch: int
    in_h: int
    in_w: int
    in_c: int
    out_h: int
    out_w: int
    out_c: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1

    @property
    def window(self) -> int:
        """Taps that make one output: kernel height x width x input channels of a group."""
        return self.kernel_h * self.kernel_w * (self.in_c // self.groups)

    @property
    def outputs(self) -> int:
        """Output elements."""
        return self.batch * self.out_h * self.out_w * self.out_c


@dataclass(frozen=True, slots=True)
class Work:
    """The demands of one layer. Bytes count each tensor once: what a perfect memory would move."""

    kind: WorkKind
    macs: int = 0
    elements: int = 0
    """output elements"""
    element_ops: int = 0
    """other arithmetic: adds, compares, table reads"""
    requantized: int = 0
    """elements rescaled to another quantization"""
    input_bytes: int = 0
    weight_bytes: int = 0
    bias_bytes: int = 0
    output_bytes: int = 0
    activation_bits: int = 8
    weight_bits: int = 8
    per_channel: bool = False
    geometry: Geometry | None = None

    @property
    def constant_bytes(self) -> int:
        """Weights and biases together."""
        return self.weight_bytes + self.bias_bytes

    @property
    def read_bytes(self) -> int:
        """The least that must be read."""
        return self.input_bytes + self.constant_bytes
