"""One op on one or a few tensors: how to build it, run it on an engine, and count the ties and clamps of its real values."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import RANGE, VALUES, Array, Model, Tally, Values, decades, f32, powers, zeros

Quant = tuple[float, int]
"""scale and zero point"""
Reals = Callable[..., Array]
PLAIN = ("float32", "int32", "int64", "bool")
RANDOM = Values("random", 0)


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor: raw values of a kind, or the given ``data``; a constant of the file if so said."""

    shape: tuple[int, ...]
    dtype: str
    quant: Quant | None = None
    values: Values = RANDOM
    data: Any = field(default=None, compare=False, repr=False)
    constant: bool = False

    def array(self) -> Array:
        """The raw values."""
        if self.data is not None:
            return np.asarray(self.data, self.dtype)
        zero = self.quant[1] if self.quant else 0
        if self.dtype not in PLAIN:
            return self.values.fill(self.shape, self.dtype, zero)
        whole = self.values.fill(self.shape, "int32")
        if self.dtype == "float32":  # over many decades, some of them whole
            rng = np.random.default_rng(self.values.seed)
            return (whole * 2.0 ** rng.integers(-40, 0, self.shape)).astype(np.float32)
        return (whole % 3 > 0) if self.dtype == "bool" else whole.astype(self.dtype)

    def real(self) -> Array:
        """The values that the raw ones stand for, in float64."""
        scale, zero = self.quant or (1.0, 0)
        return scale * (self.array().astype(np.float64) - zero)


def _binary(scale: float) -> bool:
    return math.frexp(scale)[0] == 0.5


@dataclass(frozen=True, slots=True)
class OneOp:
    """One op. ``real`` is its function on real numbers, by which ties (of scales that are powers of two) and clamps count."""

    op: str
    inputs: tuple[Operand, ...]
    out: Operand
    options: tuple[tuple[str, Any], ...] = ()
    real: Reals | None = field(default=None, compare=False, repr=False)

    def model(self) -> Model:
        """The file, its inputs and its output."""
        b, given, arrays = Builder(), [], []
        ins = []
        for n, t in enumerate(self.inputs):
            x = t.array()
            ins.append(b.tensor(f"x{n}", t.shape, t.dtype, *(t.quant or ()), data=x if t.constant else None))
            if not t.constant:
                given.append(ins[-1])
                arrays.append(x)
        y = b.tensor("out", self.out.shape, self.out.dtype, *(self.out.quant or ()))
        b.op(self.op, ins, [y], **dict(self.options))
        return Model(b.finish(given, [y]), arrays, [y])

    def run(self, tally: Tally) -> None:
        """Compares, and counts."""
        if tally.compare(self.model()) is None or self.real is None or self.out.quant is None:
            return
        scale, zero = self.out.quant
        low, high = RANGE[self.out.dtype]
        with np.errstate(all="ignore"):
            value = self.real(*(t.real() for t in self.inputs if t.dtype != "int32")) / scale + zero
        inside = (value >= low) & (value <= high)
        tally.clamped += int(np.sum(~inside))
        if all(_binary(t.quant[0]) for t in (*self.inputs, self.out) if t.quant):
            tally.ties += int(np.sum(inside & (np.abs(value) % 1 == 0.5)))


def scales(exact: bool, low: float = -4, high: float = 1) -> st.SearchStrategy[float]:
    """Powers of two, which make ties, or any of some decades."""
    return powers(-9, 2) if exact else decades(low, high)


@st.composite
def quants(draw: Any, dtype: str, scale: st.SearchStrategy[float]) -> Quant | None:
    """A scale and a zero point; none for types without."""
    return None if dtype in PLAIN else (draw(scale), draw(zeros(dtype)))


@st.composite
def near(draw: Any, scale: float, dtype: str, exact: bool, reach: float = 2) -> Quant:
    """A scale about ``scale``: a power of two times it, or any within ``10**reach``, seldom far off."""
    if exact:
        return 2.0 ** (round(math.log2(scale)) + draw(st.integers(-2, 5))), draw(zeros(dtype))
    ratio = draw(decades(-reach, reach) | decades(-reach, reach) | decades(-6, 6))
    return f32(scale * ratio), draw(zeros(dtype))


@st.composite
def unary(draw: Any, op: str, dtype: str, real: Reals | None = None, **options: Any) -> OneOp:
    """All 256 inputs, or 2,048 of wider types."""
    wide, exact = dtype not in ("int8", "uint8"), draw(st.booleans())
    values = draw(VALUES) if wide else Values("ramp", 0)
    x = Operand((2048,) if wide else (256,), dtype, draw(quants(dtype, scales(exact))), values)
    out = Operand(x.shape, dtype, draw(near(x.quant[0], dtype, exact)) if x.quant else None)
    return OneOp(op, (x,), out, tuple(options.items()), real)
