"""Claims that are often asked: requantizations that should agree, and the laws of rounding rules."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES, Rule
from fxsim.errors import DomainError, listed
from fxsim.prove import forms
from fxsim.prove.claims import Claim, Range, apart_by_at_most, as_range, at_most, below, equal
from fxsim.prove.forms import Scheme

INT32: Range = (-(1 << 31), (1 << 31) - 1)
MULTIPLIERS: Range = (1 << 30, (1 << 31) - 1)
VALUES: Range = (-(1 << 20), (1 << 20) - 1)
SHIFTS: Range = (0, 20)
SCHEMES: dict[str, Scheme] = NARROW
"""the integer schemes: ``f(rule, acc, q, shift)``"""
RULELESS = {"tosa_double_rounding"}
"""schemes whose text is their rounding"""
Requantization = str | tuple[str, str] | tuple[str, Rule]
"""``"scheme:rule"``, or the two apart; the rule may be a function"""


def find_rule(rule: str | Rule) -> Rule:
    """A rounding rule by its name, or the rule itself.

    Raises:
        DomainError: there is no such rule.
    """
    if callable(rule):
        return rule
    if rule not in RULES:
        raise DomainError(f"rounding rule {rule!r}; allowed: {listed(RULES)}")
    return RULES[rule]


def find_requantization(given: Requantization) -> tuple[Scheme, Rule, str]:
    """The scheme, the rule and the name of a requantization.

    Raises:
        DomainError: there is no such scheme or rule.
    """
    scheme, rule = (*given.split(":", 1), "")[:2] if isinstance(given, str) else given
    if scheme not in SCHEMES:
        raise DomainError(f"requantization {given!r}: the scheme is {scheme!r}; allowed: {listed(SCHEMES)}")
    if scheme in RULELESS:
        return SCHEMES[scheme], RULES["ties_away"], scheme
    if rule == "":
        raise DomainError(f"requantization {given!r} names no rule; allowed: {scheme}:RULE with {listed(RULES)}")
    found = find_rule(rule)
    return SCHEMES[scheme], found, f"{scheme}:{found.__name__}"


def _requantizations(
    a: Requantization, b: Requantization, relation: Callable[..., bool], verb: str,
    acc: int | Range, q: int | Range, shift: int | Range, zero_point: int | Range | None, clamp: Range | None,
) -> Claim:  # fmt: skip
    (f, f_rule, f_name), (g, g_rule, g_name) = find_requantization(a), find_requantization(b)
    variables = {"acc": as_range("acc", acc), "q": as_range("q", q), "shift": as_range("shift", shift)}
    if variables["q"][0] < 0 or variables["q"][1] >= 1 << 31:
        raise DomainError(f"q: {variables['q']}; allowed: 0 .. 2**31 - 1")
    if variables["shift"][0] < -31 or variables["shift"][1] > 30:
        raise DomainError(f"shift: {variables['shift']}; allowed: -31 .. 30 (the scale is q * 2**(shift - 31))")
    if zero_point is None and clamp is None:
        return Claim(f"{f_name} {verb} {g_name}", variables, partial(f, f_rule), partial(g, g_rule), relation)
    low, high = clamp if clamp is not None else (-(1 << 40), 1 << 40)
    fixed = {"zero_point": as_range("zero_point", zero_point or 0), "low": as_range("low", low)}
    return Claim(
        f"{f_name} {verb} {g_name}" + (f", clamped to {low} .. {high}" if clamp is not None else ""),
        {**variables, **fixed, "high": as_range("high", high)},
        partial(forms.output, f, f_rule),
        partial(forms.output, g, g_rule),
        relation,
    )


def equal_requantization(
    a: Requantization,
    b: Requantization,
    acc: int | Range = INT32,
    q: int | Range = MULTIPLIERS,
    shift: int | Range = (-31, 0),
    zero_point: int | Range | None = None,
    clamp: Range | None = None,
) -> Claim:
    """Two requantizations give the same output for every accumulator, multiplier, shift and zero point.

    The scale is ``q * 2**(shift - 31)``; each argument is a number or an inclusive range. With ``zero_point`` or ``clamp``
    the outputs are compared after adding the zero point and clamping.
    """
    return _requantizations(a, b, equal, "equals", acc, q, shift, zero_point, clamp)


def requantization_differs_by_at_most(
    a: Requantization,
    b: Requantization,
    lsb: int,
    acc: int | Range = INT32,
    q: int | Range = MULTIPLIERS,
    shift: int | Range = (-31, 0),
    zero_point: int | Range | None = None,
    clamp: Range | None = None,
) -> Claim:
    """The outputs of two requantizations are at most ``lsb`` apart; arguments as of :func:`equal_requantization`."""
    near = partial(apart_by_at_most, lsb)
    return _requantizations(a, b, near, f"is within {lsb} of", acc, q, shift, zero_point, clamp)


def monotone(rule: str | Rule, value: Range = VALUES, shift: int | Range = SHIFTS) -> Claim:
    """A greater value is never rounded to a smaller integer; neighbours suffice for all."""
    f = find_rule(rule)
    sides = partial(forms.rounded, f), partial(forms.rounded_next, f)
    return Claim(f"{f.__name__} is monotone", _domain(value, shift), *sides, at_most)


def odd(rule: str | Rule, value: Range = VALUES, shift: int | Range = SHIFTS) -> Claim:
    """The negative of a value is rounded to the negative of its rounding."""
    f = find_rule(rule)
    sides = partial(forms.rounded_negative, f), partial(forms.negative_rounded, f)
    return Claim(f"{f.__name__} is odd", _domain(value, shift), *sides)


def idempotent(rule: str | Rule, value: Range = VALUES, shift: int | Range = SHIFTS) -> Claim:
    """What was rounded once is not changed by rounding it again."""
    f = find_rule(rule)
    sides = partial(forms.rounded_twice, f), partial(forms.rounded, f)
    return Claim(f"{f.__name__} is idempotent", _domain(value, shift), *sides)


def exact_on_representables(rule: str | Rule, value: Range = VALUES, shift: int | Range = SHIFTS) -> Claim:
    """Integers are rounded to themselves."""
    f = find_rule(rule)
    variables = {"whole": as_range("whole", value), "shift": as_range("shift", shift)}
    name = f"{f.__name__} leaves representable values alone"
    return Claim(name, variables, partial(forms.rounded_whole, f), forms.itself)


def error_bound(
    rule: str | Rule,
    bound: Fraction | int | str = Fraction(1, 2),
    strict: bool = False,
    value: Range = VALUES,
    shift: int | Range = SHIFTS,
) -> Claim:
    """The rounded value is at most ``bound`` units of the result away from the value; with ``strict``, less than that."""
    f, limit = find_rule(rule), Fraction(bound)
    sides = partial(forms.scaled_error, f, limit.denominator), partial(forms.scaled_bound, limit.numerator)
    name = f"{f.__name__} errs by {'less than' if strict else 'at most'} {limit}"
    return Claim(name, _domain(value, shift), *sides, below if strict else at_most)


def unbiased(rule: str | Rule, period: Range = (-4, 3), shift: int | Range = (1, 8)) -> Claim:
    """The rounding errors of all values of a full period, ``2**(shift + 1)`` neighbours, add up to zero."""
    f = find_rule(rule)
    variables = {"period": as_range("period", period), "shift": as_range("shift", shift)}
    return Claim(f"{f.__name__} is unbiased", variables, partial(forms.period_error, f), forms.nothing)


def average_pool_within(
    rule: str | Rule,
    bound: Fraction | int | str = Fraction(1, 2),
    low: int = -128,
    high: int = 127,
    count: int | Range = (1, 64),
) -> Claim:
    """The rounded mean of ``count`` integers of ``low .. high`` is at most ``bound`` away from their mean."""
    f, limit = find_rule(rule), Fraction(bound)
    counts = as_range("count", count)
    if counts[0] < 1:
        raise DomainError(f"count: {counts}; allowed: 1 and above")
    totals = (min(low * counts[1], low), max(high * counts[1], high))
    sides = partial(forms.average_error, f, limit.denominator), partial(forms.average_bound, limit.numerator)
    name = f"a mean rounded by {f.__name__} errs by at most {limit}"
    return Claim(name, {"total": totals, "count": counts}, *sides, at_most)


def _domain(value: Range, shift: int | Range) -> dict[str, Range]:
    shifts = as_range("shift", shift)
    if shifts[0] < 0:
        raise DomainError(f"shift: {shifts}; allowed: 0 and above")
    return {"value": as_range("value", value), "shift": shifts}


LAWS: dict[str, Callable[..., Claim]] = {
    f.__name__: f for f in (monotone, odd, idempotent, exact_on_representables, error_bound, unbiased)
}
"""laws of one rounding rule"""
