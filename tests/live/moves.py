"""What the live tests of moves share: data of every type that a move takes, and one-op cases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import RANGE, VALUES, Array, Model, Values, decades, zeros

COMMON = ("int8", "int8", "int16", "float32")
"""what both engines move, wherever they move anything"""


@dataclass(frozen=True, slots=True)
class Data:
    """A tensor to move: its type, quantization and values."""

    dtype: str
    scale: float
    zero: int
    values: Values

    def tensor(self, b: Builder, name: str, shape: tuple[int, ...], values: Array | None = None) -> int:
        """Adds a tensor of this type, constant if it has values; types of up to 16 bits are quantized."""
        quant = (self.scale, self.zero) if self.dtype in ("int8", "uint8", "int16") else (None, None)
        return b.tensor(name, shape, self.dtype, *quant, data=values)

    def array(self, shape: tuple[int, ...], more: int = 0) -> Array:
        """Values of this type; ``more`` tells several tensors apart."""
        values = Values(self.values.kind, self.values.seed + more)
        if self.dtype in RANGE:
            return values.fill(shape, self.dtype, self.zero)
        whole = values.fill(shape, "int32")
        if self.dtype == "int64":
            return whole.astype(np.int64) << 31
        return whole % 3 > 0 if self.dtype == "bool" else whole.astype(self.dtype)


@st.composite
def data(draw: Any, *dtypes: str) -> Data:
    """Data of one of the types."""
    dtype = draw(st.sampled_from(dtypes))
    zero = draw(zeros(dtype)) if dtype in ("int8", "uint8", "int16") else 0
    return Data(dtype, draw(decades(-3, 1)), zero, draw(VALUES))


@dataclass(frozen=True, slots=True)
class Case:
    """The data, how to build the model, and what tells two cases apart."""

    data: Data
    make: Callable[[Data], Model] = field(compare=False, repr=False)
    told: Any


def unary(
    d: Data,
    op: str,
    shape: tuple[int, ...],
    out: Sequence[tuple[int, ...]],
    constants: Sequence[tuple[Any, str]] = (),
    first: Sequence[tuple[Any, str]] = (),
    **options: Any,
) -> Model:
    """One op of one tensor to move, with constants after it (or ``first``, before it)."""
    b = Builder()
    i, outs = d.tensor(b, "x", shape), [d.tensor(b, f"out{k}", s) for k, s in enumerate(out)]
    before, after = (
        [b.constant(f"{side}{k}", *c) for k, c in enumerate(v)] for side, v in (("a", first), ("b", constants))
    )
    b.op(op, [*before, i, *after], outs, **options)
    return Model(b.finish([i], outs), [d.array(shape)], outs)
