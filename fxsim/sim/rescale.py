"""Accumulators to integers on whole arrays: what a rounding rule sees of each, so that many rules share one product.

The slow twin of :mod:`fxsim.kernels.requantize`, run on the very text of :mod:`fxsim.arith.requantize`.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES
from fxsim.model.qtype import Array
from fxsim.sim.base import Scales

Parts = tuple[Array, Array, Array, Array]
"""``(floor, inexact, tie, above)`` as :mod:`fxsim.arith.rounding` has them"""
OWN_ROUNDING = ("tosa_double_rounding",)
"""the schemes that ask no rule"""
SCHEMES = {name: f for name, f in NARROW.items() if name not in OWN_ROUNDING}
"""the integer schemes that ask their rule last; those of wider accumulators are a kernel's alone"""
SAFE = float(1 << 30)
"""below it, no engine's conversion of a float product saturates, nor does the sum with a zero point"""


def _recorded(*parts: Any) -> Any:  # noqa: ANN401
    """A rule that answers with what it saw."""
    return parts


def _of_float(product: npt.NDArray[Any]) -> Parts:
    value = product.astype(np.float64)
    floor = np.floor(value)
    fraction = value - floor  # exact below 2**52
    return floor.astype(np.int64), fraction > 0, fraction == 0.5, fraction > 0.5


def parts(scheme: str, acc: Array, scales: Scales) -> Parts | None:
    """What the last rounding of ``acc`` ``(rows, channels)`` sees; None where a kernel alone knows the answer."""
    if scheme in ("float32", "float64"):
        product = acc.astype(scales.real.dtype) * scales.real
        return _of_float(product) if product.size == 0 or np.abs(product).max() < SAFE else None
    if scheme not in SCHEMES:
        return None
    apply, wide = SCHEMES[scheme], acc.astype(np.int64)
    yes_no = [np.empty(acc.shape, np.bool_) for _ in range(3)]
    found: Parts = np.empty(acc.shape, np.int64), yes_no[0], yes_no[1], yes_no[2]
    shifts = np.unique(scales.shift)
    for shift in shifts:
        of = slice(None) if len(shifts) == 1 else scales.shift == shift
        seen: Any = apply(_recorded, wide[:, of], scales.q[of], int(shift))  # type: ignore[arg-type]
        for whole, part in zip(found, seen, strict=True):
            whole[:, of] = part
    return found if found[0].size == 0 or np.abs(found[0]).max() < SAFE else None


def part(scheme: str, acc: int, scales: Scales, entry: int) -> tuple[int, bool, bool, bool] | None:
    """:func:`parts` of one accumulator with the scale ``entry``."""
    if scheme in ("float32", "float64"):
        product = float(scales.real.dtype.type(acc) * scales.real[entry])
        floor = math.floor(product) if abs(product) < SAFE else 0
        fraction = product - floor
        return (floor, fraction > 0, fraction == 0.5, fraction > 0.5) if abs(product) < SAFE else None
    if scheme not in SCHEMES:
        return None
    seen: Any = SCHEMES[scheme](_recorded, acc, int(scales.q[entry]), int(scales.shift[entry]))
    return seen if abs(seen[0]) < SAFE else None


def rounded(seen: Any, rounding: str, zero: int, *, before: bool = False) -> Any:  # noqa: ANN401
    """The rounded values plus ``zero``, which may be added ``before`` they are rounded; of arrays or of one value."""
    floor, *rest = seen
    rule: Any = RULES[rounding]
    return rule(floor + zero, *rest) if before else rule(floor, *rest) + zero
