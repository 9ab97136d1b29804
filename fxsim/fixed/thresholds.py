"""Activations of few bits as counts of thresholds, and the batch normalization that folds into them exactly.

``code = #{i : x >= t[i]}``: a quantizer of any step function, without a multiplication. A batch normalization before it only
moves the thresholds, and because accumulators are integers, so can they be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError, listed

Array = npt.NDArray[Any]
Number = int | float | Fraction
_COMPARES = {">=": "right", ">": "left"}
"""comparison -> the side on which numpy.searchsorted puts an equal value"""
LOWEST, HIGHEST = -(1 << 31), (1 << 31) + 1
"""Thresholds that every int32 and its negative reach, and that none reaches."""


def _compare(who: str, compare: str) -> str:
    if compare not in _COMPARES:
        raise DomainError(f"{who}: compare is {compare!r}; allowed: {listed(_COMPARES)}")
    return compare


def multi_threshold(
    x: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    compare: str = ">=",
    out_scale: float = 1,
    out_bias: float = 0,
    axis: int = -1,
) -> Array:
    """``out_scale * #{i : x >= t[c, i]} + out_bias``, with ``c`` the index along ``axis``; ``compare`` ``">"`` for ``>``.

    QONNX and FINN count ``>=``; PULP-NN goes down on ``<=``, which for its sorted thresholds is a count of ``>``.
    Thresholds ``(C, T)``, or ``(1, T)`` for all channels, in any order. The result is int32 where scale and bias are ints;
    otherwise float32, the product and the sum rounded to float32 each, as QONNX computes.

    Raises:
        DomainError: on NaN, on int64 values that no float64 holds next to float thresholds, on shapes that do not fit.

    Source: qonnx 1.0.0 custom_op/general/multithreshold.py; pulp_nn_utils.h pulp_nn_u4_quant @ 219a1cb.
    """
    who = "multi_threshold"
    side = _COMPARES[_compare(who, compare)]
    values, t = np.asarray(x), np.asarray(thresholds)
    if t.ndim != 2:
        raise DomainError(f"{who}: thresholds have shape {list(t.shape)}; allowed: (channels, thresholds)")
    if not -values.ndim <= axis < values.ndim:
        raise DomainError(f"{who}: axis is {axis}; x has shape {list(values.shape)}")
    moved = np.moveaxis(values, axis, -1)
    if t.shape[0] not in (1, moved.shape[-1]):
        raise DomainError(f"{who}: thresholds for {t.shape[0]} channels; allowed: 1 or {moved.shape[-1]}")
    values, t = _one_type(who, moved, t)
    t = np.sort(t, axis=1)
    rows = values.reshape(-1, values.shape[-1])
    count = np.empty(rows.shape, np.int32)
    for c in range(rows.shape[1]):
        count[:, c] = np.searchsorted(t[c if len(t) > 1 else 0], rows[:, c], side=side)  # type: ignore[call-overload]
    codes: Array = np.moveaxis(count.reshape(moved.shape), -1, axis)
    if isinstance(out_scale, int) and isinstance(out_bias, int):
        return out_scale * codes + out_bias
    return np.float32(out_scale) * codes.astype(np.float32) + np.float32(out_bias)


def _one_type(who: str, x: Array, t: Array) -> tuple[Array, Array]:
    """Both as int64 or both as float64, exactly."""
    for name, array in (("x", x), ("thresholds", t)):
        if array.dtype.kind not in "iuf":
            raise DomainError(f"{who}: {name} is {array.dtype}; allowed: integers or floats")
        if array.dtype.kind == "f" and np.any(np.isnan(array)):
            raise DomainError(f"{who}: {name} holds NaN, which no comparison orders")
    if x.dtype.kind != "f" and t.dtype.kind != "f":
        return x.astype(np.int64), t.astype(np.int64)
    for name, array in (("x", x), ("thresholds", t)):
        if array.dtype.kind != "f" and array.size and max(abs(int(array.min())), abs(int(array.max()))) > 1 << 53:
            raise DomainError(f"{who}: {name} holds integers beyond 2**53 next to floats; allowed: up to 2**53")
    return x.astype(np.float64), t.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Folded:
    """``code = #{i : sign[c] * acc >= t[c, i]}``: thresholds of integer accumulators, one row a channel."""

    sign: npt.NDArray[np.int64]
    """``(C,)`` of 1 and -1: where the slope is negative, the accumulator is negated instead of the comparison turned"""
    thresholds: npt.NDArray[np.int64]
    """``(C, T)``, ``LOWEST..HIGHEST``: the ends are reached by every int32, and by none"""

    def __call__(self, acc: npt.ArrayLike, axis: int = -1) -> Array:
        """The codes of int32 accumulators, whose channels lie along ``axis``."""
        values = np.asarray(acc)
        if values.dtype.kind not in "iu":
            raise DomainError(f"Folded: accumulators are {values.dtype}; allowed: integers")
        if values.size and not (LOWEST <= int(values.min()) and int(values.max()) < -LOWEST):
            raise DomainError(f"Folded: accumulators are {values.min()}..{values.max()}; allowed: those of int32")
        moved = np.moveaxis(values.astype(np.int64), axis, -1) * self.sign
        return np.moveaxis(multi_threshold(moved, self.thresholds), -1, axis)


def _fraction(who: str, what: str, value: Number) -> Fraction:
    if not isinstance(value, Fraction) and not math.isfinite(value):
        raise DomainError(f"{who}: {what} is {value}; allowed: finite numbers")
    return Fraction(value) if isinstance(value, int | Fraction) else Fraction(float(value))


def _clamped(threshold: int) -> int:
    return max(LOWEST, min(HIGHEST, threshold))


def _reaches(u: Fraction, c: Fraction, v: Fraction, strict: bool) -> bool:
    """``u >= c * sqrt(v)``, or ``u > ...`` if ``strict``, exactly."""
    if u >= 0 and c <= 0:
        return not strict or u > 0 or c * v < 0
    if u < 0 <= c:
        return False
    squares = u * u - c * c * v  # both sides have one sign now
    if u < 0:
        squares = -squares
    return squares > 0 if strict else squares >= 0


def _least(a: Fraction, c: Fraction, v: Fraction, strict: bool) -> int:
    """The least integer ``m`` with ``m >= a + c * sqrt(v)``, or ``m > ...`` if ``strict``."""
    # The root to 64 bits below the point of c * sqrt(v), then exact steps: at most one or two.
    inside = c * c * v
    root = Fraction(math.isqrt((inside.numerator << 128) // inside.denominator), 1 << 64)
    m = math.floor(a + (root if c >= 0 else -root))
    while _reaches(m - 1 - a, c, v, strict):
        m -= 1
    while not _reaches(m - a, c, v, strict):
        m += 1
    return m


def fold_batch_norm(
    levels: Sequence[Number],
    gamma: Sequence[Number],
    beta: Sequence[Number],
    mean: Sequence[Number],
    var: Sequence[Number],
    eps: Number = 0,
    scale: Number = 1,
    compare: str = ">=",
) -> Folded:
    """``#{i : gamma * (scale * acc - mean) / sqrt(var + eps) + beta >= level[i]}`` as integer thresholds, exactly.

    Every number is taken for the real number that it is (a float for its binary value), and the inequality is solved in
    fractions; the square root is compared by squares, never rounded. So the codes are those of real arithmetic: an engine
    that computes the normalization in float32 may differ where it rounds. With a negative ``gamma`` the accumulator
    changes its sign; with ``gamma = 0`` the code is constant. ``scale`` is the value of one unit of the accumulator.

    Raises:
        DomainError: unless ``var + eps > 0``, ``scale > 0`` and all sequences are of one length and finite.
    """
    who = "fold_batch_norm"
    strict = _compare(who, compare) == ">"
    rows = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
    if len({len(r) for r in rows.values()}) != 1:
        raise DomainError(f"{who}: lengths are {[len(r) for r in rows.values()]} for {', '.join(rows)}; allowed: equal")
    unit, small = _fraction(who, "scale", scale), _fraction(who, "eps", eps)
    if unit <= 0:
        raise DomainError(f"{who}: scale is {scale}; allowed: above 0")
    steps = [_fraction(who, "a level", level) for level in levels]
    signs: list[int] = []
    thresholds: list[list[int]] = []
    for channel in zip(*rows.values(), strict=True):
        g, b, mu, variance = (_fraction(who, name, v) for name, v in zip(rows, channel, strict=True))
        v = variance + small
        if v <= 0:
            raise DomainError(f"{who}: var + eps is {float(v)} in channel {len(signs)}; allowed: above 0")
        sign = -1 if g < 0 else 1
        signs.append(sign)
        if g == 0:
            thresholds.append([LOWEST if (b > step if strict else b >= step) else HIGHEST for step in steps])
            continue
        row = [_least(sign * mu / unit, (step - b) / (abs(g) * unit), v, strict) for step in steps]
        thresholds.append([_clamped(t) for t in row])
    shape = (len(signs), len(steps))
    return Folded(np.array(signs, np.int64), np.array(thresholds, np.int64).reshape(shape))


def fold_integer_norm(
    levels: Sequence[int], kappa: Sequence[int], lambda_: Sequence[int], shift: int, compare: str = ">="
) -> Folded:
    """``#{i : floor((kappa * acc + lambda) / 2**shift) >= level[i]}`` as integer thresholds, exactly.

    PULP-NN's normalization, in unbounded integers: its own 32-bit ``kappa * acc + lambda`` must not overflow for the two
    to agree.

    Source: pulp-nn-mixed XpulpNN-mixed/32bit/include/pulp_nn_utils.h, pulp_nn_bn_quant_u4 @ 219a1cb.
    """
    who = "fold_integer_norm"
    strict = _compare(who, compare) == ">"
    if not 0 <= shift <= 62:
        raise DomainError(f"{who}: shift is {shift}; allowed: 0..62")
    if len(kappa) != len(lambda_):
        raise DomainError(f"{who}: {len(kappa)} values of kappa, {len(lambda_)} of lambda; allowed: equal")
    signs: list[int] = []
    thresholds: list[list[int]] = []
    for k, add in zip(kappa, lambda_, strict=True):
        # floor(a / 2**d) >= l is a >= l * 2**d, and > l is >= l + 1, for integers.
        needs = [((int(level) + strict) << shift) - int(add) for level in levels]
        signs.append(-1 if k < 0 else 1)
        if k == 0:
            thresholds.append([LOWEST if need <= 0 else HIGHEST for need in needs])
        else:
            thresholds.append([_clamped(-(-need // abs(int(k)))) for need in needs])
    shape = (len(signs), len(levels))
    return Folded(np.array(signs, np.int64), np.array(thresholds, np.int64).reshape(shape))
