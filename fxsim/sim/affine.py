"""Sums of two bytes by one rounding instead of three, where that was proved on every pair of bytes.

The engine's rule is a function of 65,536 pairs. Its three rescales cost several times what ``(ma * a + mb * b + c) >> shift``
does, and with constants that are chosen well both are the same function. The search may be wrong; :func:`proved` decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxsim.arith.overflow import highest, lowest
from fxsim.arith.requantize import double_rounding
from fxsim.arith.rounding import RULES
from fxsim.model.qtype import Array
from fxsim.sim.base import INT32

NEAR = 12
"""how far from the nearest integers multipliers are looked for"""
SHIFTS = 8, 30
"""beyond them the quotient leaves no room for a zero point, or nothing is left of it"""


@dataclass(frozen=True, slots=True)
class Affine:
    """``clamp(((ma * a + mb * b + c) >> shift) + zero)``, in 32 bits; ``a`` and ``b`` without their zero points."""

    multipliers: tuple[int, int]
    offset: int
    shift: int

    def sums(self, a: Array, b: Array) -> Array:
        """What is shifted, in 64 bits; ``a`` ``(A, 1)``, ``b`` ``(1, B)``."""
        ma, mb = self.multipliers
        return np.asarray(ma * a + mb * b + self.offset)


def pairs_of_bytes(signed: bool, zeros: Sequence[int]) -> tuple[Array, Array]:
    """All values of two bytes, less their zero points, as a column and a row."""
    values = np.arange(lowest(8, signed), highest(8, signed) + 1, dtype=np.int64)
    return (values - zeros[0])[:, np.newaxis], (values - zeros[1])[np.newaxis]


def doubly_rounded(
    a: Array, b: Array, sign: int, q: Array, shift: Array, left: int, rounding: str, zero: int, clamp: tuple[int, int]
) -> Array:
    """The outputs of the engine's rule for ``a + sign * b``: both terms and their sum rescaled by double rounding."""
    rule, pairs = RULES[rounding], [(int(m), int(n)) for m, n in zip(q, shift, strict=True)]
    x, y = (double_rounding(rule, v << left, *pairs[i]) for i, v in enumerate((a, b)))  # type: ignore[arg-type]
    return np.asarray(np.clip(double_rounding(rule, x + sign * y, *pairs[2]) + zero, *clamp))


def proved(formula: Affine, a: Array, b: Array, outputs: Array, zero: int, clamp: tuple[int, int]) -> bool:
    """True if the formula gives ``outputs`` ``(A, B)`` for every pair, and no constant or sum leaves 32 bits."""
    constants = *formula.multipliers, formula.offset
    if not SHIFTS[0] <= formula.shift <= SHIFTS[1] or min(constants) < INT32[0] or max(constants) > INT32[1]:
        return False
    sums = formula.sums(a, b)
    if sums.min() < INT32[0] or sums.max() > INT32[1]:
        return False
    return np.array_equal(np.clip((sums >> formula.shift) + zero, *clamp), outputs)


def affine(
    a: Array, b: Array, outputs: Array, factors: tuple[float, float], zero: int, clamp: tuple[int, int]
) -> Affine | None:
    """A formula proved to give ``outputs``, which are about ``factors[0] * a + factors[1] * b + zero``; None: none found."""
    guess = _guess(a, b, outputs - zero, factors, (outputs > clamp[0], outputs < clamp[1]))
    return guess if guess is not None and proved(guess, a, b, outputs, zero, clamp) else None


def _guess(a: Array, b: Array, steps: Array, factors: tuple[float, float], bound: tuple[Array, Array]) -> Affine | None:
    """The multipliers near ``factors`` that leave the offset the widest interval, and its middle.

    ``sums`` without the offset must reach ``steps << shift`` where ``bound[0]``, and stay below the next step where
    ``bound[1]``: each pair bounds the offset from below and from above. Only pairs near the tightest bounds can be the
    tightest of other multipliers nearby.
    """
    reach = [int(np.abs(v).max()) for v in (a, b)]
    most = sum(abs(f) * r for f, r in zip(factors, reach, strict=True)) + 1
    if not (0 < most < 1 << 22 and bound[0].any() and bound[1].any()):
        return None
    shift = min(SHIFTS[1], 30 - int(np.floor(np.log2(most))))
    middle = Affine((round(factors[0] * 2.0**shift), round(factors[1] * 2.0**shift)), 0, shift)
    below, never = (steps << shift) - middle.sums(a, b), 1 << 62
    ends = []
    for bounds, side in (
        (np.where(bound[0], below, -never), 1),
        (np.where(bound[1], below + ((1 << shift) - 1), never), -1),
    ):
        near = 2 * NEAR * sum(reach)
        tightest = bounds >= bounds.max() - near if side > 0 else bounds <= bounds.min() + near
        i, j = np.nonzero(tightest)
        ends.append((side, bounds[i, j], a[i, 0], b[0, j]))
    around = np.arange(-NEAR, NEAR + 1)
    da, db = (v.reshape(-1, 1) for v in np.meshgrid(around, around))
    low, high = (side * (side * (at - da * x - db * y)).max(axis=1) for side, at, x, y in ends)
    best = int(np.argmax(high - low))
    multipliers = middle.multipliers[0] + int(da[best, 0]), middle.multipliers[1] + int(db[best, 0])
    return Affine(multipliers, int(low[best] + high[best]) // 2, shift)
