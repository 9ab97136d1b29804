"""How far the integer forms of real functions are from the functions: the exact worst error, and where it is reached.

**The argument.** For every input of the domain the error is first computed in float64, where the real value is off by
at most ``SLACK``: exp is the product of three table entries, each rounded correctly from 60 digits, so its relative
error is below ``6 * 2**-53``; the logistic adds a sum and a quotient, the reciprocal is one quotient of exact numbers;
``SLACK`` is ``2**-50``. With M the greatest of those errors, the true worst input has one of at least ``M - 2 * SLACK``.
All inputs that have are computed again with 60 digits (Python's decimal, whose exp is correctly rounded), where an
error is off by less than ``10**-50``; the greatest of them is the worst. Softmax goes the same way, row by row.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache, partial
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from fxsim.arith import gemmlowp
from fxsim.arith.multiplier import quantize_multiplier
from fxsim.arith.rounding import Rule
from fxsim.errors import DomainError
from fxsim.prove import forms
from fxsim.prove.claims import Certificate, Counterexample, Progress, Range, as_range
from fxsim.prove.ready import find_rule

Floats = npt.NDArray[np.float64]
SLACK = 2.0**-50
DIGITS = Context(prec=60)
CERTAIN = Decimal(10) ** -50
BLOCK = 1 << 20
MOST_CANDIDATES = 100_000
"""inputs that are computed with 60 digits"""
ONE = Decimal(1 << 31)


@dataclass(frozen=True, slots=True)
class ErrorClaim:
    """``|integer form - real function| <= bound`` over a domain; without a bound, whatever the worst error is.

    A counterexample to it is the input of the worst error. ``exact`` gives the error of one input, in ``unit``;
    ``screen`` yields inputs with their errors in float64, which are off by ``slack`` at most: at least all those within
    twice that of the greatest. ``slack`` is 0 where the errors are rational, and ``exact`` exact.
    """

    name: str
    variables: Mapping[str, Range]
    unit: str
    bound: Fraction | None
    exact: Callable[[Mapping[str, int]], Decimal | Fraction]
    screen: Callable[[Progress | None], Iterator[tuple[float, Mapping[str, int]]]]
    size: int
    slack: float

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether the error of one input is within the bound."""
        return self.bound is None or Fraction(self.exact(values)) <= self.bound

    def decide(self, progress: Progress | None) -> Certificate | Counterexample:
        """The worst error, held against the bound.

        Raises:
            DomainError: the worst error is so near to the bound that 60 digits do not tell.
        """
        start = time.perf_counter()
        found = list(self.screen(progress))
        top = max(error for error, _ in found)
        exact = [(self.exact(at), at) for error, at in found if error >= top - 2 * self.slack]
        worst, at = max(exact, key=lambda pair: pair[0])
        seconds = time.perf_counter() - start
        facts = {
            f"worst error ({self.unit})": DIGITS.create_decimal(worst).normalize(Context(prec=30))
            if isinstance(worst, Decimal)
            else worst,
            "reached at": ", ".join(f"{name} = {value}" for name, value in at.items()),
        }
        engine = "float64 screening, 60 digits" if isinstance(worst, Decimal) else "exact integers"
        if self.bound is not None and abs(Fraction(worst) - self.bound) <= Fraction(CERTAIN) and self.slack:
            raise DomainError(
                f"claim {self.name!r}: the worst error is {worst}, too near to the bound {self.bound} to tell"
            )
        if self.holds(at):
            return Certificate(self, "enumeration", engine, self.size, seconds, facts)
        return Counterexample(self, dict(at), worst, self.bound, "enumeration", engine, seconds, facts)


def _survey(
    limits: Range, errors: Callable[[int, Floats], None], progress: Progress | None
) -> Iterator[tuple[float, Mapping[str, int]]]:
    """All inputs whose float64 error may belong to the worst one: first the greatest, then all that come near it."""
    low, high = limits
    buffer = np.empty(min(BLOCK, high - low + 1))
    greatest: dict[int, float] = {}

    def block(start: int) -> Floats:
        out = buffer[: min(BLOCK, high + 1 - start)]
        errors(start, out)
        return out

    for start in range(low, high + 1, BLOCK):
        greatest[start] = float(block(start).max())
        if progress is not None:
            progress(min(start + BLOCK, high + 1) - low, high - low + 1)
    near, count = max(greatest.values()) - 2 * SLACK, 0
    for start in (s for s, error in greatest.items() if error >= near):
        out = block(start)
        where = np.flatnonzero(out >= near)
        count += len(where)
        if count > MOST_CANDIDATES:
            raise DomainError(
                f"a = {low} .. {high}: more than {MOST_CANDIDATES:,} inputs share the worst error within 2**-49, too many "
                "for 60 digits; widen the domain to where errors are greater, or narrow it"
            )
        for i in where:
            yield float(out[i]), {"a": start + int(i)}


@cache
def _tables(fraction_bits: int) -> tuple[Floats, Floats, Floats]:
    """The tables: exp of ``-k``, ``-2048 * k``, ``-2**22 * k`` units of ``2**-fraction_bits``, rounded to float64."""

    def table(step: int, count: int) -> Floats:
        unit = Decimal(step) / Decimal(1 << fraction_bits)
        return np.array([float(DIGITS.exp(DIGITS.multiply(-unit, Decimal(k)))) for k in range(count)])

    return table(1, 2048), table(2048, 2048), table(1 << 22, 513)


def _exp(a: int, fraction_bits: int) -> Decimal:
    return DIGITS.exp(DIGITS.divide(Decimal(a), Decimal(1 << fraction_bits)))


def _apart(raw: int, real: Decimal) -> Decimal:
    """``|raw - 2**31 * real|``."""
    return abs(DIGITS.subtract(Decimal(raw), DIGITS.multiply(ONE, real)))


def _claim(
    name: str, limits: Range, allowed: Range, bound: Fraction | float | str | None,
    exact: Callable[[int], Decimal], errors: Callable[[], Callable[[int, Floats], None]],
) -> ErrorClaim:  # fmt: skip
    low, high = limits
    if low < allowed[0] or high > allowed[1]:
        raise DomainError(f"{name}: a is {low} .. {high}; allowed: {allowed[0]} .. {allowed[1]}")

    def scaled(progress: Progress | None) -> Iterator[tuple[float, Mapping[str, int]]]:
        return _survey(limits, errors(), progress)

    return ErrorClaim(
        name + ("" if bound is None else f" errs by at most {bound} lsb"), {"a": limits}, "units of 2^-31",
        None if bound is None else Fraction(bound), lambda values: exact(values["a"]), scaled, high - low + 1, SLACK,
    )  # fmt: skip


def _integer_bits(integer_bits: int) -> None:
    if not 1 <= integer_bits <= 5:
        raise DomainError(f"integer_bits is {integer_bits}; allowed: 1 .. 5")


def exp_error(
    a: int | Range = (-(1 << 27), 0), integer_bits: int = 5, at_most: Fraction | float | str | None = None
) -> ErrorClaim:
    """``exp(a / 2**(31 - integer_bits))`` by gemmlowp in Q0.31 is at most ``at_most * 2**-31`` away from exp."""
    _integer_bits(integer_bits)
    bits = 31 - integer_bits

    def errors() -> Callable[[int, Floats], None]:
        from fxsim.kernels.enumerate import exp_errors

        kernel, tables = exp_errors(False), _tables(bits)
        return lambda start, out: kernel(start, integer_bits, *tables, out)

    def exact(a: int) -> Decimal:
        return _apart(gemmlowp.exp_on_negative_values(a, integer_bits), _exp(a, bits))

    name = f"gemmlowp's exp of Q{integer_bits}.{bits}"
    return _claim(name, as_range("a", a), (-(1 << 31), 0), at_most, exact, errors)


def logistic_error(
    a: int | Range = (-(1 << 26), 1 << 26), integer_bits: int = 4, at_most: Fraction | float | str | None = None
) -> ErrorClaim:
    """``1 / (1 + exp(-a / 2**(31 - integer_bits)))`` by gemmlowp in Q0.31 is at most ``at_most * 2**-31`` away from it."""
    _integer_bits(integer_bits)
    bits = 31 - integer_bits

    def errors() -> Callable[[int, Floats], None]:
        from fxsim.kernels.enumerate import exp_errors

        kernel, tables = exp_errors(True), _tables(bits)
        return lambda start, out: kernel(start, integer_bits, *tables, out)

    def exact(a: int) -> Decimal:
        real = DIGITS.divide(Decimal(1), DIGITS.add(Decimal(1), _exp(-a, bits)))
        return _apart(gemmlowp.logistic(a, integer_bits), real)

    name = f"gemmlowp's logistic of Q{integer_bits}.{bits}"
    return _claim(name, as_range("a", a), (1 - (1 << 31), (1 << 31) - 1), at_most, exact, errors)


def reciprocal_error(a: int | Range = (0, (1 << 27) - 1), at_most: Fraction | float | str | None = None) -> ErrorClaim:
    """``1 / (1 + a / 2**31)`` by gemmlowp in Q0.31 is at most ``at_most * 2**-31`` away from it."""

    def errors() -> Callable[[int, Floats], None]:
        from fxsim.kernels.enumerate import reciprocal_errors

        return reciprocal_errors()

    def exact(a: int) -> Decimal:
        return _apart(gemmlowp.one_over_one_plus_x(a), DIGITS.divide(ONE, ONE + a))

    return _claim("gemmlowp's 1 / (1 + x)", as_range("a", a), (0, (1 << 31) - 1), at_most, exact, errors)


def average_pool_error(
    rule: str | Rule, low: int = -128, high: int = 127, count: int | Range = (1, 64),
    at_most: Fraction | float | str | None = None,
) -> ErrorClaim:  # fmt: skip
    """The rounded mean of ``count`` integers of ``low .. high`` is at most ``at_most`` away from their mean."""
    f, counts = find_rule(rule), as_range("count", count)
    if counts[0] < 1:
        raise DomainError(f"count: {counts}; allowed: 1 and above")
    ends = as_range("value", (low, high))

    def screen(progress: Progress | None) -> Iterator[tuple[float, Mapping[str, int]]]:
        from fxsim.kernels.enumerate import greatest

        kernel = greatest(partial(forms.average_error, f, 1))
        for n in range(counts[0], counts[1] + 1):
            error, total = kernel((), (n,), ends[0] * n, ends[1] * n + 1)
            yield int(error) / n, {"total": int(total), "count": n}
            if progress is not None:
                progress(n - counts[0] + 1, counts[1] - counts[0] + 1)

    def exact(values: Mapping[str, int]) -> Fraction:
        return Fraction(forms.average_error(f, 1, values["total"], values["count"]), values["count"])

    size = sum((ends[1] - ends[0]) * n + 1 for n in range(counts[0], counts[1] + 1))
    totals = (min(ends[0] * counts[1], ends[0]), max(ends[1] * counts[1], ends[1]))
    return ErrorClaim(
        f"a mean rounded by {f.__name__}" + ("" if at_most is None else f" errs by at most {at_most}"),
        {"total": totals, "count": counts}, "units of the output", None if at_most is None else Fraction(at_most),
        exact, screen, size, 0.0,
    )  # fmt: skip


def softmax_error(
    scale: float, beta: float = 1.0, length: int = 2, at_most: Fraction | float | str | None = None
) -> ErrorClaim:
    """int8 softmax in gemmlowp's integers is at most ``at_most / 256`` away from softmax, for all rows of 2 or 3 values.

    Softmax sees only the differences ``d1 <= d2`` of the others to the row's greatest value; the input is ``scale * x``.
    """
    if length not in (2, 3):
        raise DomainError(f"softmax_error: length is {length}; allowed: 2 or 3 (256 or 32,896 rows)")
    real = min(beta * scale * (1 << 26), (1 << 31) - 1.0)
    if not real > 1 or not math.isfinite(real):
        raise DomainError(f"softmax_error: beta * scale is {beta * scale!r}; allowed: finite, above 2**-26")
    q, shift = quantize_multiplier(real)
    exact_scale = DIGITS.multiply(Decimal(beta), Decimal(scale))
    rows = list(combinations_with_replacement(range(256), length - 1))
    names = [f"d{i}" for i in range(1, length)]

    def outputs(differences: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        from fxsim.kernels.softmax import softmax

        x = np.concatenate([np.full((len(differences), 1), 127), 127 - differences], axis=1).astype(np.int64)
        out = np.empty_like(x)
        diff_min = -math.floor(31 * (1 << 26) / (1 << shift))
        softmax()(x, q, shift, diff_min, -128, 127, out)
        return out + 128

    def exponentials() -> list[Decimal]:
        return [DIGITS.exp(DIGITS.multiply(-exact_scale, Decimal(d))) for d in range(256)]

    def screen(progress: Progress | None) -> Iterator[tuple[float, Mapping[str, int]]]:
        differences = np.array(rows, dtype=np.int64)
        powers = np.array([float(p) for p in exponentials()])
        terms = np.concatenate([np.ones((len(rows), 1)), powers[differences]], axis=1)
        error = np.abs(outputs(differences) - 256 * terms / terms.sum(axis=1, keepdims=True)).max(axis=1)
        for i in np.flatnonzero(error >= error.max() - 2 * 256 * SLACK):
            yield float(error[i]), dict(zip(names, rows[i], strict=True))
        if progress is not None:
            progress(len(rows), len(rows))

    def exact(values: Mapping[str, int]) -> Decimal:
        differences = [values[name] for name in names]
        table = exponentials()
        powers = [Decimal(1), *(table[d] for d in differences)]
        total = sum(powers, Decimal(0))
        out = outputs(np.array([differences], dtype=np.int64))[0]
        return max(
            abs(DIGITS.subtract(Decimal(int(o)), DIGITS.divide(DIGITS.multiply(Decimal(256), p), total)))
            for o, p in zip(out, powers, strict=True)
        )

    return ErrorClaim(
        f"int8 softmax of {length} values, scale {scale:g}, beta {beta:g}"
        + ("" if at_most is None else f" errs by at most {at_most}/256"),
        dict.fromkeys(names, (0, 255)), "units of 1/256", None if at_most is None else Fraction(at_most),
        exact, screen, len(rows), 256 * SLACK,
    )  # fmt: skip
