"""Which rounding rule is a black box? Every rule of fxsim is held against it: on all small inputs, then on wide ones."""

from collections.abc import Iterator
from dataclasses import dataclass

from fxsim.arith.rounding import RULES, shift_right
from fxsim.errors import DomainError
from fxsim.fixed.names import ROUNDING
from fxsim.testing.laws import DOMAIN, Domain, Function, results

MIN_BITS, MAX_BITS = 6, 64
"""of the values: with fewer bits the rules cannot be told apart, with more the arrays cannot hold them"""


def aliases(rule: str) -> tuple[str, ...]:
    """What other libraries call a rule: ``dialect:NAME``."""
    return tuple(f"{d}:{n}" for d, names in ROUNDING.items() for n, own in names.items() if own == rule)


@dataclass(frozen=True, slots=True)
class Parting:
    """The least input on which a black box and a rule differ."""

    value: int
    shift: int
    got: int
    expected: int

    def __str__(self) -> str:
        """``value=2, shift=2: got 1, not 0``."""
        return f"value={self.value}, shift={self.shift}: got {self.got}, not {self.expected}"


@dataclass(frozen=True, slots=True)
class Identified:
    """What a black box was found to be. ``str()`` tells it with the names of other libraries; false if it is no rule."""

    names: tuple[str, ...]
    """the rules that agree on every input; empty if the box is none of them"""
    partings: dict[str, Parting]
    """every other rule -> the least input that rules it out"""
    inputs: int
    """how many inputs were compared"""
    closest: str | None = None
    """if the box is no rule: the one that agreed longest"""

    def __bool__(self) -> bool:
        """True if the box is a rule of fxsim."""
        return bool(self.names)

    @property
    def counterexample(self) -> Parting | None:
        """The least input by which no rule is left; None if one is."""
        return None if self.closest is None else self.partings[self.closest]

    def __str__(self) -> str:
        """One line for each rule with its foreign names, or where the closest rule parts."""
        if self.closest is not None:
            return f"no rule of fxsim; {self.closest} agrees longest, up to {self.partings[self.closest]}"
        lines = (f"{name} ({', '.join(aliases(name)) or 'no foreign name'})" for name in self.names)
        return "\n".join((*lines, f"on all of {self.inputs} inputs"))


def _small(bits: int, domain: Domain) -> Iterator[tuple[int, list[int]]]:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = [v for v in domain.values if low <= v <= high]
    for shift in range(min(domain.shifts, bits - 1) + 1):
        yield shift, values


def _wide(bits: int) -> Iterator[tuple[int, list[int]]]:
    """Around every tie and integer next to powers of two, and at the limits, for every shift that the width has."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    for shift in range(min(bits, 63)):
        half, found = 1 << shift >> 1, {low, low + 1, high - 1, high}
        for power in range(bits - shift):
            for whole in ((1 << power) - 1, 1 << power):
                for sign in (1, -1):
                    centre = sign * whole << shift
                    found.update(centre + d for d in (-half - 1, -half, 1 - half, -1, 0, 1, half - 1, half, half + 1))
        yield shift, sorted((v for v in found if low <= v <= high), key=lambda v: (abs(v), v < 0))


def check_rounding(
    fn: Function, *, bits: int = 32, domain: Domain = DOMAIN, wide: bool = True, vectorized: bool = False
) -> Identified:
    """The named rules that ``fn(value, shift)``, or ``fn(array, shift)``, agrees with on every input tried.

    All of ``domain`` is tried, then, if ``wide``, values at ties, at integers and at the limits up to ``bits`` bits, with
    every shift below ``bits`` (at most 62). The inputs come in the order of the laws, so that a parting is the least one.

    Raises:
        DomainError: if ``bits`` is out of range or ``fn`` no function.
        LawBroken: if ``fn`` returns something that is no integer.
    """
    if not callable(fn):
        raise DomainError(f"fn is {fn!r}; allowed: a function of (value, shift)")
    if not MIN_BITS <= bits <= MAX_BITS:
        raise DomainError(f"bits is {bits}; allowed: {MIN_BITS}..{MAX_BITS}")
    partings: dict[str, Parting] = {}
    left, inputs = list(RULES), 0
    for shift, values in (*_small(bits, domain), *(_wide(bits) if wide else ())):
        got = results(fn, values, shift, vectorized)
        inputs += len(values)
        fallen = {}
        for name in left:
            for order, (value, result) in enumerate(zip(values, got, strict=True)):
                expected = shift_right(RULES[name], value, shift)
                if result != expected:
                    fallen[name] = order, Parting(value, shift, result, expected)
                    break
        partings |= {name: parting for name, (_, parting) in fallen.items()}
        if left and len(fallen) == len(left):
            closest = max(fallen, key=lambda name: fallen[name][0])
            return Identified((), partings, inputs, closest)
        left = [name for name in left if name not in fallen]
    return Identified(tuple(left), partings, inputs)
