"""What the bindings of ONNX's ops share: inputs by their ONNX positions, scales and zero points, rounding."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.kernels.pointwise import quantize
from fxsim.model.qtype import Array, QType
from fxsim.sim.base import Arrays, Bound, Site

Values = Sequence[Array | None]
"""the inputs by position, None where one is left out"""
WIDE = (-(1 << 40), 1 << 40)
"""a clamp far beyond all integer types"""


def bound(site: Site, run: Callable[[Values], Sequence[Array | np.generic]]) -> Bound:
    """A layer that computes all its outputs at once from its inputs, which it sees by their ONNX positions."""
    there = [t is not None for t in site.inputs]

    def fill(inputs: Arrays, outputs: Arrays) -> None:
        given = iter(inputs)
        values = [next(given) if here else None for here in there]
        for out, made in zip(outputs, run(values), strict=True):
            out[...] = made

    return Bound(fill)


def quietly(bindings: dict[str, Callable[[Site], Bound]]) -> dict[str, Callable[[Site], Bound]]:
    """The bindings without numpy's warnings: what overflows float32 is infinite, as in the engine."""

    def quiet(bind: Callable[[Site], Bound]) -> Callable[[Site], Bound]:
        def prepared(site: Site) -> Bound:
            with np.errstate(all="ignore"):
                made = bind(site)

            def run(inputs: Arrays, outputs: Arrays) -> None:
                with np.errstate(all="ignore"):
                    made.run(inputs, outputs)

            return replace(made, run=run)

        return prepared

    return {op: quiet(bind) for op, bind in bindings.items()}


def number(site: Site, position: int, default: float | None = None) -> float:
    """The one value of the constant at ``position``.

    Raises:
        UnsupportedOp: if it is computed at run time, or holds several values.
    """
    t = site.optional(position)
    if t is None:
        if default is None:
            raise UnsupportedOp(f"input {position} is missing")
        return default
    if t.data is None or t.data.size != 1:
        raise UnsupportedOp(f"input {position} {t.name!r} is no constant of one value; supported: such constants")
    return float(np.asarray(t.data).reshape(())[()])


def pair(site: Site, scale: int, zero: int) -> tuple[np.float32, int]:
    """The one constant scale, and the one zero point (0 where it is left out).

    Raises:
        UnsupportedOp: if the scale is not above 0, or if either is no constant of one value.
    """
    found = number(site, scale)
    if not found > 0:
        raise UnsupportedOp(f"scale {site.input(scale).name!r} is {found}; supported: above 0")
    return np.float32(found), int(number(site, zero, 0))


def numbers(site: Site, position: int, count: int, default: float | None = None) -> Array:
    """``count`` values of the constant at ``position``, which holds one or as many; float64, exact."""
    t = site.optional(position)
    if t is None:
        if default is None:
            raise UnsupportedOp(f"input {position} is missing")
        return np.full(count, default)
    if t.data is None:
        raise UnsupportedOp(f"input {position} {t.name!r} is computed at run time; supported: constants")
    return np.broadcast_to(np.asarray(t.data, np.float64).reshape(-1), count)


def value(values: Values, position: int) -> Any:  # noqa: ANN401
    """The input at ``position``, or None."""
    return values[position] if position < len(values) else None


def rounded(rule: str, x: Array) -> Array:
    """float32 values as int64, rounded by ``rule``; NaN and what is beyond 40 bits become the least or greatest value."""
    x = np.asarray(x, np.float32)
    if np.isnan(x).any():
        x = np.where(np.isnan(x), np.float32(-np.inf), x)  # minps and maxps of x86 let the clamp's bound win over NaN
    flat, out = np.ascontiguousarray(x).reshape(-1), np.empty(x.size, np.int64)
    quantize(rule, True)(flat, np.float32(1), 0, *WIDE, out)
    return out.reshape(x.shape)


def to_type(qtype: QType, x: Array, zero: Array | int = 0) -> Array:
    """``x + zero`` saturated to an integer type."""
    return np.clip(x + zero, qtype.min, qtype.max).astype(qtype.dtype)
