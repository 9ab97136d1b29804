"""QONNX's quantizers, step by step in float32 as its own execution computes them.

Their rounding modes have foreign names and, in two cases, foreign ties: both are kept.

Source: qonnx 1.0.0 custom_op/general/intquant.py, bipolar_quant.py, trunc.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError, listed

Floats = npt.NDArray[np.float32]
_MAX_BITS = 24
"""Every integer of the range is a float32."""


def _half_up(x: Floats) -> Floats:
    # |x| + 0.5 is rounded to float32: 0.49999997 becomes 1.
    return np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))


def _half_down(x: Floats) -> Floats:
    return np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5))


def _up(x: Floats) -> Floats:
    return np.sign(x) * np.ceil(np.abs(x))


ROUNDING: dict[str, Callable[[Any], Any]] = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": _up,
    "DOWN": np.trunc,
    "HALF_UP": _half_up,
    "HALF_DOWN": _half_down,
}
"""Nearest with ties to even (twice), ceiling, floor, away from zero, toward zero, ties away, ties toward zero."""


def _finite(who: str, **values: npt.ArrayLike) -> list[Floats]:
    arrays = [np.asarray(v, np.float32) for v in values.values()]
    for name, array in zip(values, arrays, strict=True):
        if np.any(np.isnan(array)):
            raise DomainError(f"{who}: {name} holds NaN, which has no place on a scale")
    return arrays


def int_quant(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    bits: int,
    *,
    signed: bool = True,
    narrow: bool = False,
    rounding: str = "ROUND",
) -> tuple[npt.NDArray[np.int32], Floats]:
    """``q = round(clamp(x / scale + zero_point))`` and ``(q - zero_point) * scale``: QONNX's Quant (IntQuant).

    Clamped first, then rounded, all in float32. One signed bit is bipolar: -1 below 0, else 1. ``narrow`` drops the least
    value of a signed range and the greatest of an unsigned one. ``scale`` and ``zero_point`` broadcast against ``x``.

    Raises:
        DomainError: on a width or a rounding mode that is not one of QONNX's, and on NaN.
    """
    who = "int_quant"
    if not 1 <= bits <= _MAX_BITS:
        raise DomainError(f"{who}: bits is {bits}; allowed: 1..{_MAX_BITS}")
    if rounding not in ROUNDING:
        raise DomainError(f"{who}: rounding is {rounding!r}; allowed: {listed(ROUNDING)}")
    value, step, zero = _finite(who, x=x, scale=scale, zero_point=zero_point)
    if np.any(step == 0):
        raise DomainError(f"{who}: a scale is 0; allowed: other numbers")
    y = value / step + zero
    if signed and bits == 1:
        q = np.where(y >= 0, np.float32(1), np.float32(-1))
    else:
        low = narrow - (1 << (bits - 1)) if signed else 0
        high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
        q = ROUNDING[rounding](np.clip(y, np.float32(low), np.float32(high)))
    return q.astype(np.int32), (q - zero) * step


def bipolar_quant(x: npt.ArrayLike, scale: npt.ArrayLike = 1) -> tuple[npt.NDArray[np.int8], Floats]:
    """``q = 1 if x >= 0 else -1`` and ``q * scale``: QONNX's BipolarQuant, for which 0 and -0 are +1."""
    value, step = _finite("bipolar_quant", x=x, scale=scale)
    q = np.where(value >= 0, np.float32(1), np.float32(-1))
    return q.astype(np.int8), q * step


def trunc_quant(
    x: npt.ArrayLike, scale: npt.ArrayLike, zero_point: npt.ArrayLike, drop: int, rounding: str = "FLOOR"
) -> Floats:
    """``(round(n / 2**drop) - zero_point) * scale``, ``n`` the nearest integer (ties even): QONNX's Trunc, version 1.

    ``n`` stands for ``x / scale + zero_point``; the low ``drop`` bits go by the rule of ``rounding``; all in float32.

    Raises:
        DomainError: on a rounding mode that is not one of QONNX's, and on NaN.

    Source: qonnx 1.0.0 custom_op/general/trunc.py.
    """
    who = "trunc_quant"
    if rounding not in ROUNDING:
        raise DomainError(f"{who}: rounding is {rounding!r}; allowed: {listed(ROUNDING)}")
    value, step, zero = _finite(who, x=x, scale=scale, zero_point=zero_point)
    y = ROUNDING[rounding](np.round(value / step + zero) / np.float32(2.0**drop))
    result: Floats = (y - zero) * step
    return result


def trunc_to_scale(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    out_scale: npt.ArrayLike,
    out_bits: int,
    *,
    signed: bool = True,
    narrow: bool = False,
    rounding: str = "FLOOR",
) -> Floats:
    """``(round(clamp(n / r)) - zero_point / r) * out_scale`` with ``r = 2**round(log2(out_scale / scale))``.

    QONNX's Trunc, version 2; ``n`` and the arithmetic as in :func:`trunc_quant`.

    Raises:
        DomainError: on a width or a rounding mode that is not one of QONNX's, and on NaN.

    Source: qonnx 1.0.0 custom_op/general/trunc.py.
    """
    who = "trunc_to_scale"
    if not 1 <= out_bits <= _MAX_BITS:
        raise DomainError(f"{who}: out_bits is {out_bits}; allowed: 1..{_MAX_BITS}")
    if rounding not in ROUNDING:
        raise DomainError(f"{who}: rounding is {rounding!r}; allowed: {listed(ROUNDING)}")
    value, step, zero, out_step = _finite(who, x=x, scale=scale, zero_point=zero_point, out_scale=out_scale)
    if np.any(step <= 0) or np.any(out_step <= 0):
        raise DomainError(f"{who}: a scale is not above 0; allowed: numbers above 0")
    ratio = np.float32(2) ** np.round(np.log2(out_step / step))
    low = narrow - (1 << (out_bits - 1)) if signed else 0
    high = (1 << (out_bits - 1)) - 1 if signed else (1 << out_bits) - 1 - narrow
    y = ROUNDING[rounding](np.clip(np.round(value / step + zero) / ratio, np.float32(low), np.float32(high)))
    result: Floats = (y - zero / ratio) * out_step
    return result
