"""Laws of rounding that anyone's rule or device function can be held against, by exhaustion on a small domain.

A function under test takes ``(value, shift)`` and returns ``value / 2**shift`` rounded to an integer; with
``vectorized=True`` it takes an int64 array and a shift, and returns an array. Each law returns None, or raises
:class:`LawBroken` with the least counterexample: the least shift, then the least magnitude, then the positive value.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from fxsim.errors import DomainError, FxsimError

Function = Callable[[Any, int], Any]
"""(value, shift) -> integer, or (array, shift) -> array"""


class LawBroken(FxsimError, AssertionError):
    """A function breaks a law; ``law`` names it, ``counterexample`` holds the least inputs that show it."""

    def __init__(self, law: str, counterexample: dict[str, int], what: str) -> None:
        self.law, self.counterexample, self.what = law, counterexample, what
        super().__init__(f"{law} is broken at {', '.join(f'{k}={v}' for k, v in counterexample.items())}: {what}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Survives a trip between processes."""
        return type(self), (self.law, self.counterexample, self.what)


@dataclass(frozen=True, slots=True)
class Domain:
    """Every value ``-reach..reach`` with every shift ``0..shifts``: where the laws are checked."""

    reach: int = 130
    shifts: int = 5

    def __post_init__(self) -> None:
        """Raises DomainError on a domain without a tie on both sides of zero."""
        if self.reach < 2 or self.shifts < 1:
            raise DomainError(f"domain is {self}; allowed: reach at least 2, shifts at least 1")

    @property
    def values(self) -> list[int]:
        """All values, the least magnitude first, the positive one before its negative."""
        return [0, *(v for m in range(1, self.reach + 1) for v in (m, -m))]


DOMAIN = Domain()
"""where the laws look unless told otherwise: 261 values, 6 shifts"""


def integer(result: object, value: int, shift: int) -> int:
    """What the function returned, as an int.

    Raises:
        LawBroken: if it is no integer at all.
    """
    if isinstance(result, float | np.floating) and float(result).is_integer():
        return int(result)
    try:
        return operator.index(result)  # type: ignore[arg-type]
    except TypeError:
        at = {"value": value, "shift": shift}
        raise LawBroken("the result is an integer", at, f"the function returns {result!r}") from None


def results(fn: Function, values: Sequence[int], shift: int, vectorized: bool) -> list[int]:
    """``fn`` of every value.

    Raises:
        LawBroken: if a result is no integer; DomainError: if an array comes back in another shape.
    """
    if not vectorized:
        return [integer(fn(v, shift), v, shift) for v in values]
    got = np.asarray(fn(np.array(values, np.int64), shift))
    if got.shape != (len(values),):
        raise DomainError(
            f"the function returns shape {list(got.shape)} for {len(values)} values; allowed: the same shape"
        )
    return [integer(r, v, shift) for r, v in zip(got.tolist(), values, strict=True)]


def _table(fn: Function, values: Sequence[int], shift: int, vectorized: bool) -> dict[int, int]:
    return dict(zip(values, results(fn, values, shift, vectorized), strict=True))


def check_monotone(fn: Function, *, domain: Domain = DOMAIN, vectorized: bool = False) -> None:
    """``v <= w`` implies ``fn(v) <= fn(w)``: a greater value never rounds to a lesser integer."""
    for shift in range(domain.shifts + 1):
        f = _table(fn, domain.values, shift, vectorized)
        for v in domain.values:
            if v < domain.reach and f[v] > f[v + 1]:
                at = {"value": v, "shift": shift}
                raise LawBroken("monotone", at, f"fn({v}) = {f[v]}, but fn({v + 1}) = {f[v + 1]}")


def check_exact_on_representables(fn: Function, *, domain: Domain = DOMAIN, vectorized: bool = False) -> None:
    """``fn(k * 2**shift, shift) == k``: what is an integer already stays."""
    for shift in range(domain.shifts + 1):
        inputs = [k << shift for k in domain.values]
        for k, v, got in zip(domain.values, inputs, results(fn, inputs, shift, vectorized), strict=True):
            if got != k:
                at = {"value": v, "shift": shift}
                raise LawBroken("exact on representables", at, f"{v} / 2**{shift} is {k}, but fn gives {got}")


def check_idempotent(fn: Function, *, domain: Domain = DOMAIN, vectorized: bool = False) -> None:
    """``fn(fn(v) * 2**shift) == fn(v)``: a rounded value, rounded again, stays."""
    for shift in range(domain.shifts + 1):
        once = results(fn, domain.values, shift, vectorized)
        twice = results(fn, [r << shift for r in once], shift, vectorized)
        for v, a, b in zip(domain.values, once, twice, strict=True):
            if a != b:
                at = {"value": v, "shift": shift}
                raise LawBroken("idempotent", at, f"fn gives {a}, and of {a << shift} = {a} * 2**{shift} it gives {b}")


def check_error_bound(
    fn: Function,
    bound: float | Fraction,
    *,
    strict: bool = False,
    domain: Domain = DOMAIN,
    vectorized: bool = False,
) -> None:
    """``abs(fn(v) - v / 2**shift) <= bound``, in units of the result's last place; ``strict``: less than ``bound``.

    1/2 is the bound of every nearest rule; 1, strictly, that of every directed one.
    """
    limit = Fraction(bound)
    for shift in range(domain.shifts + 1):
        for v, got in zip(domain.values, results(fn, domain.values, shift, vectorized), strict=True):
            error = abs(got - Fraction(v, 1 << shift))
            if error > limit or (strict and error == limit):
                at, law = {"value": v, "shift": shift}, f"error {'<' if strict else '<='} {limit}"
                raise LawBroken(law, at, f"fn gives {got} for {v} / 2**{shift}: error {error}")


def check_odd(fn: Function, *, domain: Domain = DOMAIN, vectorized: bool = False) -> None:
    """``fn(-v) == -fn(v)``: both sides of zero are alike."""
    for shift in range(domain.shifts + 1):
        f = _table(fn, domain.values, shift, vectorized)
        for v in domain.values:
            if f[-v] != -f[v]:
                at = {"value": v, "shift": shift}
                raise LawBroken("odd", at, f"fn({v}) = {f[v]}, but fn({-v}) = {f[-v]}")


def check_unbiased(fn: Function, *, domain: Domain = DOMAIN, vectorized: bool = False) -> None:
    """The mean of ``fn(v) - v / 2**shift`` is 0 over the full period ``2**(shift + 1)`` on each side of zero.

    The period is that of rules which look at the last kept bit. Rules that are merely odd are biased on each side.
    """
    for shift in range(domain.shifts + 1):
        period = 2 << shift
        for start in (0, -period):
            values = range(start, start + period)
            total = sum(results(fn, values, shift, vectorized)) - Fraction(sum(values), 1 << shift)
            if total:
                at = {"value": start, "shift": shift}
                what = f"the mean error over {start}..{start + period - 1} is {total / period}"
                raise LawBroken("unbiased", at, what)


def _pairs(domain: Domain) -> Iterable[tuple[int, int]]:
    return sorted(
        ((a, b) for a in range(1, domain.shifts) for b in range(1, domain.shifts + 1 - a)), key=lambda p: (sum(p), p)
    )


def check_composition(fn: Function, *, domain: Domain = DOMAIN, vectorized: bool = False) -> None:
    """``fn(fn(v, a), b) == fn(v, a + b)``: rounding in two steps is rounding at once.

    No nearest rule obeys: that is the double rounding of gemmlowp and of every chain of shifts.
    """
    for a, b in _pairs(domain):
        once = results(fn, domain.values, a + b, vectorized)
        twice = results(fn, results(fn, domain.values, a, vectorized), b, vectorized)
        for v, one, two in zip(domain.values, once, twice, strict=True):
            if one != two:
                at = {"value": v, "shift": a, "then": b}
                raise LawBroken("composition", at, f"in two steps {two}, at once {one}")
