"""Hypothesis strategies of fxsim's own types, which love what random data never meets: ties, limits, zero, powers of two.

Needs hypothesis: ``pip install 'fxsim[testing]'``.
"""

from typing import get_args

import msgspec
import numpy as np

from fxsim.arith.multiplier import CHAINS, float32
from fxsim.arith.overflow import OVERFLOWS, POLICIES
from fxsim.arith.requantize import SCHEMES
from fxsim.arith.rounding import RULES
from fxsim.errors import DomainError
from fxsim.fixed.formats import FixedFormat
from fxsim.fixed.names import OVERFLOW, ROUNDING, STOCHASTIC
from fxsim.model.check import check
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activation, Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected, Padding
from fxsim.model.qtype import INT8, INT32, QuantParams
from fxsim.numerics import MAX_BITS, MIN_BITS, Accumulator, Order, Requantize

try:
    from hypothesis import strategies as st
except ImportError as e:
    raise ImportError("the strategies of fxsim.testing need hypothesis: pip install 'fxsim[testing]'") from e


@st.composite
def formats(draw: st.DrawFn, max_bits: int = 64, min_bits: int = 1, signed: bool | None = None) -> FixedFormat:
    """Fixed-point formats of ``min_bits..max_bits`` bits; the point may lie outside of them, by up to 8 places.

    ``signed``: only formats with, or only those without a sign.
    """
    if not 1 <= min_bits <= max_bits:
        raise DomainError(f"min_bits is {min_bits} and max_bits {max_bits}; allowed: 1 <= min_bits <= max_bits")
    bits = draw(st.integers(min_bits, max_bits))
    frac_bits = draw(st.integers(0, bits) | st.integers(-8, bits + 8))
    return FixedFormat(bits, frac_bits, draw(st.booleans()) if signed is None else signed)


@st.composite
def raw_values(draw: st.DrawFn, format: FixedFormat, shift: int | None = None) -> int:
    """Raw integers of ``format``: limits, zero, ones, powers of two and their neighbours, ties, and all others.

    ``shift``: how many bits a cast is going to drop; ties, and their neighbours, are then those of that cast.
    """
    low, high = format.min, format.max
    kind = draw(st.sampled_from(("tie", "limit", "power", "any")))
    if kind == "limit":
        values = [low, low + 1, -1, 0, 1, high - 1, high]
    elif kind == "power":
        power = 1 << draw(st.integers(0, format.bits))
        values = [sign * power + d for sign in (1, -1) for d in (0, -1, 1)]
    elif kind == "tie":
        half = 1 << (draw(st.integers(0, format.bits - 1)) if shift is None else max(shift - 1, 0))
        odd = 2 * draw(st.integers(low // (2 * half), high // (2 * half))) + 1
        values = [odd * half, odd * half - 1, odd * half + 1]
        if draw(st.booleans()):  # every other time exactly the tie
            values = [odd * half]
    else:
        values = [draw(st.integers(low, high))]
    legal = [v for v in values if low <= v <= high]
    return draw(st.sampled_from(legal or [low, high]))


def rounding_names(foreign: bool = True, stochastic: bool = False) -> st.SearchStrategy[str]:
    """Names of rounding rules: fxsim's own and, if ``foreign``, ``dialect:NAME``; ``stochastic``: with the random ones."""
    names = [*RULES, *(STOCHASTIC if stochastic else ())]
    if foreign:
        names += [f"{d}:{n}" for d, rules in ROUNDING.items() for n, own in rules.items() if own in names]
    return st.sampled_from(names)


def overflow_names(foreign: bool = True, error: bool = False) -> st.SearchStrategy[str]:
    """Names of overflow policies: fxsim's own and, if ``foreign``, ``dialect:NAME``; ``error``: with those that raise."""
    names = [*OVERFLOWS, *(("error",) if error else ())]
    if foreign:
        names += [f"{d}:{n}" for d, policies in OVERFLOW.items() for n, own in policies.items() if own in names]
    return st.sampled_from(names)


@st.composite
def accumulators(
    draw: st.DrawFn, min_bits: int = MIN_BITS, max_bits: int = MAX_BITS, plain: bool = False
) -> Accumulator:
    """Accumulators of every width, policy, order and product cast that a profile may have.

    ``plain``: only those that sum whole products one after the other and fit each sum.
    """
    if not MIN_BITS <= min_bits <= max_bits <= MAX_BITS:
        raise DomainError(f"min_bits..max_bits is {min_bits}..{max_bits}; allowed: within {MIN_BITS}..{MAX_BITS}")
    usual = [b for b in (8, 16, 20, 24, 32) if min_bits <= b <= max_bits]
    bits = draw(st.sampled_from(usual or [min_bits]) | st.integers(min_bits, max_bits))
    overflow = draw(st.sampled_from(list(POLICIES)))
    if plain:
        return Accumulator(bits, overflow)
    order = draw(st.sampled_from(get_args(Order)))
    lanes = draw(st.sampled_from({"tree": (2, 3, 4), "lanes": (1, 2, 4, 8), "spill16": (2, 4, 8)}.get(order, (0,))))
    accumulator = Accumulator(bits, overflow, order, lanes, draw(st.sampled_from(("step", "end"))))
    if order.startswith("float") or draw(st.booleans()):
        return accumulator
    return msgspec.structs.replace(
        accumulator,
        product_shift=draw(st.integers(0, 8)),
        product_bits=draw(st.sampled_from((0, 8, 16)) | st.integers(1, 24)),
        product_rounding=draw(st.sampled_from(list(RULES))),
        product_overflow=draw(st.sampled_from(list(OVERFLOWS))),
    )


def requantizers() -> st.SearchStrategy[Requantize]:
    """Requantizations of every scheme, rule and chain that a profile may have."""
    chains = st.sampled_from(list(CHAINS))
    return st.builds(
        Requantize,
        scheme=st.sampled_from(SCHEMES),
        rounding=st.sampled_from(list(RULES)),
        chain=chains,
        chain_per_channel=chains,
    )


class _Drawing:
    """A graph in the making: its tensors and nodes so far."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.tensors: list[Tensor] = []
        self.nodes: list[Node] = []

    def activation(self, shape: tuple[int, ...], scale: float, name: str) -> Tensor:
        """A new int8 tensor without data."""
        quant = QuantParams((float32(scale),), (self.draw(st.sampled_from((0, -128, 127)) | st.integers(-128, 127)),))
        self.tensors.append(Tensor(len(self.tensors), name, shape, INT8, quant))
        return self.tensors[-1]

    def constant(self, shape: tuple[int, ...], quant: QuantParams, name: str) -> Tensor:
        """A new int8 tensor with data: -127..127, as TFLite's weights."""
        count = int(np.prod(shape))
        data = np.frombuffer(self.draw(st.binary(min_size=count, max_size=count)), np.int8).reshape(shape)
        data = np.maximum(data, -127)
        data.flags.writeable = False
        self.tensors.append(Tensor(len(self.tensors), name, shape, INT8, quant, data))
        return self.tensors[-1]

    def scale(self) -> float:
        """A power of two every other time: only then are there ties."""
        exact = st.integers(-9, -1).map(lambda e: 2.0**e)
        return float32(self.draw(exact | st.floats(2.0**-9, 0.5)))

    def node(
        self, op: str, inputs: list[Tensor], shape: tuple[int, ...], scale: float, attributes: Attributes
    ) -> Tensor:
        """A new node and its output."""
        y = self.activation(shape, scale, f"{op.lower()}{len(self.nodes)}")
        self.nodes.append(Node(len(self.nodes), op, tuple(t.index for t in inputs), (y.index,), attributes, y.name))
        return y

    def fused(self) -> Activation:
        """A fused activation; NONE most of the time, RELU else: neither can leave an empty range."""
        return self.draw(st.sampled_from(("NONE", "NONE", "RELU")))

    def summing(self, x: Tensor) -> Tensor:
        """FULLY_CONNECTED or, on images, CONV_2D: legal TFLite quantization, per tensor or per channel."""
        assert x.quant is not None
        channels = self.draw(st.integers(1, 3))
        conv = len(x.shape) == 4 and self.draw(st.booleans())
        kernel = (self.draw(st.integers(1, 2)), self.draw(st.integers(1, 2)), x.shape[-1]) if conv else (x.elements,)
        several = channels > 1 and self.draw(st.booleans())
        scales = [self.scale() for _ in range(channels if several else 1)]
        zeros = (0,) * len(scales)
        axis = 0 if several else None
        w = self.constant((channels, *kernel), QuantParams(tuple(scales), zeros, axis), "weight")
        products = QuantParams(tuple(float32(x.quant.scale[0] * s) for s in scales), zeros, axis)
        bias = np.array(
            self.draw(st.lists(st.integers(-(2**15), 2**15), min_size=channels, max_size=channels)), np.int32
        )
        bias.flags.writeable = False
        self.tensors.append(Tensor(len(self.tensors), "bias", (channels,), INT32, products, bias))
        out_scale = products.scale[0] * 2.0 ** self.draw(st.integers(1, 12))
        operands = [x, w, self.tensors[-1]]
        if not conv:
            attributes: Attributes = FullyConnected(self.fused())
            return self.node("FULLY_CONNECTED", operands, (1, channels), out_scale, attributes)
        strides = st.integers(1, 2)
        window = Conv2D(self.fused(), self.draw(strides), self.draw(strides), self._padding())
        oh, ow, _, _ = window.output(x.shape[1], x.shape[2], *w.shape[1:3])
        return self.node("CONV_2D", operands, (1, oh, ow, channels), out_scale, window)

    def _padding(self) -> Padding:
        return self.draw(st.sampled_from(("SAME", "VALID")))

    def adding(self, x: Tensor) -> Tensor:
        """ADD of the tensor and itself, or of the tensor and a constant."""
        assert x.quant is not None
        other = x
        if self.draw(st.booleans()):
            shape = x.shape if self.draw(st.booleans()) else (1,)
            quant = QuantParams((self.scale(),), (self.draw(st.integers(-128, 127)),))
            other = self.constant(shape, quant, "term")
        scale = x.quant.scale[0] * self.draw(st.sampled_from((0.5, 1.0, 2.0, 3.0)))
        return self.node("ADD", [x, other], x.shape, scale, Sum(self.fused()))


@st.composite
def small_graphs(draw: st.DrawFn, max_ops: int = 2) -> Graph:
    """Sound int8 networks of one to ``max_ops`` ops of FULLY_CONNECTED, CONV_2D and ADD, quantized as TFLite does."""
    d = _Drawing(draw)
    sides = st.integers(2, 4)
    images = st.tuples(st.just(1), sides, sides, st.integers(1, 2))
    shape = draw(st.one_of(images, images, st.tuples(st.just(1), st.integers(1, 6))))
    x = y = d.activation(shape, d.scale(), "input")
    for _ in range(draw(st.integers(1, max_ops))):
        y = d.summing(y) if draw(st.booleans()) else d.adding(y)
    return check(Graph("drawn", tuple(d.tensors), tuple(d.nodes), (x.index,), (y.index,)))
