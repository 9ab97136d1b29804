"""What a real op is: a function on stacked values, settled once for a layer."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fxsim.errors import UnsupportedOp, listed
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Operands
from fxsim.model.qtype import FLOAT32, Array
from fxsim.sim.base import Site

Values = Sequence[Array | None]
"""the inputs by position, None where one is left out; each ``(N, *shape)``, or ``(1, *shape)`` if all inferences share it"""
RealFn = Callable[[Values], Sequence[Array]]
"""inputs -> outputs, stacked alike"""
Binding = Callable[[Site], RealFn]


def is_real(t: Tensor) -> bool:
    """True if the tensor holds real numbers: floats, or integers with a scale. Others are indices, sizes and flags."""
    return t.qtype.kind == "float" or (t.qtype.kind == "int" and t.quant is not None)


def operands(site: Site) -> Operands:
    """The layer's inputs as real tensors: a move fills with the number 0, not with a zero point."""
    return [replace(t, quant=None, qtype=FLOAT32) if t is not None and is_real(t) else t for t in site.inputs]


def value(values: Values, position: int) -> Array:
    """The input at ``position``, which is there."""
    v = values[position]
    assert v is not None
    return v


def optional(values: Values, position: int) -> Array | None:
    """The input at ``position``, or None."""
    return values[position] if position < len(values) else None


def aligned(values: Sequence[Array], rank: int = 0) -> list[Array]:
    """Views whose tensors have the same number of axes (at least ``rank``), so that numpy broadcasts them as tensors."""
    most = max(rank + 1, *(v.ndim for v in values))
    return [v if v.ndim == most else v.reshape(len(v), *(1,) * (most - v.ndim), *v.shape[1:]) for v in values]


def one_by_one(run: RealFn, values: Values) -> list[Array]:
    """``run`` for each inference by itself: for operands that ``run`` takes for constants."""
    count = max(len(v) for v in values if v is not None)
    rows = [run([v if v is None or len(v) == 1 else v[n : n + 1] for v in values]) for n in range(count)]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def shared(constant: Sequence[int], run: RealFn) -> RealFn:
    """``run``, which sees the operands at the positions ``constant`` without their leading axis; these may differ, too."""

    def with_shared(values: Values) -> Sequence[Array]:
        if any((v := optional(values, i)) is not None and len(v) > 1 for i in constant):
            return one_by_one(with_shared, values)
        return run([v[0] if v is not None and i in constant else v for i, v in enumerate(values)])

    return with_shared


_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0, None),
    "RELU6": (0, 6),
    "RELU_N1_TO_1": (-1, 1),
}


def activate(site: Site) -> Callable[[Array], Array]:
    """The fused activation of a TFLite layer; it may write over its argument.

    Raises:
        UnsupportedOp: on one that is no real function of its own.
    """
    name = getattr(site.node.attributes, "activation", "NONE")
    if name == "TANH":
        return np.tanh
    if name not in _BOUNDS:
        raise UnsupportedOp(f"fused activation is {name}; supported: {listed((*_BOUNDS, 'TANH'))}")
    low, high = _BOUNDS[name]

    def clamp(y: Array) -> Array:
        if low is not None:
            y = np.maximum(y, y.dtype.type(low), out=y)
        return y if high is None else np.minimum(y, y.dtype.type(high), out=y)

    return clamp
