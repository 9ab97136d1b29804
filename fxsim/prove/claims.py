"""What is claimed, and what comes of it: a certificate, or the least counterexample.

Plain data and plain Python: a counterexample is checked here by running the claim's own functions once more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

from fxsim.errors import DomainError, FxsimError

Range = tuple[int, int]
Progress = Callable[[int, int], None]
"""(done, of): inputs looked at so far"""


def equal(left: int, right: int) -> bool:
    """Both sides are the same number."""
    return left == right


def at_most(left: int, right: int) -> bool:
    """The left side is not above the right one."""
    return left <= right


def below(left: int, right: int) -> bool:
    """The left side is less than the right one."""
    return left < right


def apart_by_at_most(lsb: int, left: int, right: int) -> bool:
    """The sides differ by at most ``lsb``."""
    return (left - right <= lsb) & (right - left <= lsb)


def always(*values: int) -> bool:
    """True, whatever the values: the right side of a claim whose left side is the whole statement."""
    return True


def order(value: int) -> tuple[int, bool]:
    """The order in which values are smaller counterexamples: 0, 1, -1, 2, -2, ..."""
    return abs(value), value < 0


def as_range(name: str, value: int | Range) -> Range:
    """A number, or two, as an inclusive range.

    Raises:
        DomainError: the range is empty, or not of integers.
    """
    low, high = (value, value) if isinstance(value, int) else value
    if not isinstance(low, int) or not isinstance(high, int) or low > high:
        raise DomainError(f"variable {name}: the range is {value!r}; allowed: (low, high) of integers with low <= high")
    return int(low), int(high)


@dataclass(frozen=True, slots=True)
class Claim:
    """For all variables in their ranges, ``relation(left(...), right(...))`` is true.

    ``left`` and ``right`` are plain functions of integers (or :func:`functools.partial` of such, bound by position),
    called with the variables in their order. A claim without a right side says that the left side is true.
    """

    name: str
    variables: Mapping[str, Range]
    left: Callable[..., int]
    right: Callable[..., int] = always
    relation: Callable[..., bool] = equal

    def __post_init__(self) -> None:
        ranges = {name: as_range(name, value) for name, value in self.variables.items()}
        if not ranges:
            raise DomainError(f"claim {self.name!r}: no variables")
        object.__setattr__(self, "variables", ranges)

    @property
    def size(self) -> int:
        """How many inputs the domain holds."""
        return prod(high - low + 1 for low, high in self.variables.values())

    def sides(self, values: Mapping[str, int]) -> tuple[int, int]:
        """Both sides for one input, in plain Python."""
        given = [values[name] for name in self.variables]
        return self.left(*given), self.right(*given)

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether the claim is true of one input, in plain Python."""
        return bool(self.relation(*self.sides(values)))

    def counterexample(self, values: Mapping[str, int], method: str, engine: str, seconds: float) -> "Counterexample":
        """An input that refutes the claim, run again in plain Python.

        Raises:
            AssertionError: it does not refute the claim: a mistake of the search.
        """
        left, right = self.sides(values)
        found = Counterexample(self, dict(values), left, right, method, engine, seconds)
        if not found.check():
            raise AssertionError(
                f"claim {self.name!r}: {method} found {dict(values)}, which plain Python does not confirm"
            )
        return found


class Statement(Protocol):
    """Anything that can be proved or refuted: it has a name and a domain, and knows single inputs."""

    @property
    def name(self) -> str:
        """What is claimed, in words."""

    @property
    def variables(self) -> Mapping[str, Range]:
        """Inclusive ranges."""

    @property
    def size(self) -> int:
        """How many inputs the domain holds."""

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether the claim is true of one input."""


class Decided(Statement, Protocol):
    """A statement that brings its own way of deciding it."""

    def decide(self, progress: Progress | None) -> "Certificate | Counterexample":
        """The certificate, or the least counterexample."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A claim that is true of every input of its domain, and how that was found.

    ``method`` is ``enumeration``, ``solver`` or the argument that was used, ``engine`` what did it. ``facts`` holds what
    else was learned, such as the worst error and where it is reached.
    """

    claim: Statement
    method: str
    engine: str
    size: int
    seconds: float
    facts: Mapping[str, object] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """Label and text, for a table."""
        return [
            ("claim", self.claim.name),
            *domain_rows(self.claim),
            ("proved by", f"{self.method} ({self.engine}) in {self.seconds:.2f} s"),
            *((label, _text(value)) for label, value in self.facts.items()),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{label}: {text}" for label, text in self.rows())


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The least input of which a claim is false.

    Least in the order of the variables: the first variable's value comes as early as it can in 0, 1, -1, 2, -2, ...,
    then the second one's, and so on. ``left`` and ``right`` are the sides there, computed in plain Python.
    """

    claim: Statement
    values: Mapping[str, int]
    left: object
    right: object
    method: str
    engine: str
    seconds: float
    facts: Mapping[str, object] = field(default_factory=dict)

    def check(self) -> bool:
        """Whether the input lies in the domain and refutes the claim, in plain Python."""
        inside = all(low <= self.values[name] <= high for name, (low, high) in self.claim.variables.items())
        return inside and not self.claim.holds(self.values)

    def rows(self) -> list[tuple[str, str]]:
        """Label and text, for a table."""
        return [
            ("claim", self.claim.name),
            *domain_rows(self.claim),
            ("refuted by", f"{self.method} ({self.engine}) in {self.seconds:.2f} s"),
            *_few([(name, str(value)) for name, value in self.values.items()]),
            ("left", str(self.left)),
            ("right", str(self.right)),
            *((label, _text(value)) for label, value in self.facts.items()),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{label}: {text}" for label, text in self.rows())


MOST_ROWS = 8
"""variables that a table shows one by one"""


def domain_rows(claim: Statement) -> list[tuple[str, str]]:
    """The domain, one row for each variable, and its size."""
    rows = [
        (f"for {name}", str(low) if low == high else f"{low} .. {high}")
        for name, (low, high) in claim.variables.items()
    ]
    return [*_few(rows), ("inputs", _count(claim.size))]


def _few(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(rows) <= MOST_ROWS:
        return rows
    return [*rows[: MOST_ROWS - 2], ("...", f"{len(rows) - MOST_ROWS + 1} more"), rows[-1]]


def _count(size: int) -> str:
    exponent = size.bit_length() - 1
    if exponent > 80:
        return f"about 2^{exponent}"
    return f"{size:,}" + (f" (2^{exponent})" if size == 1 << exponent and exponent else "")


def _text(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:96]} ..."


class Refuted(FxsimError):
    """A claim that was to be proved is false; ``counterexample`` shows it."""

    def __init__(self, counterexample: Counterexample) -> None:
        at = ", ".join(f"{n} = {v}" for n, v in _few([(n, str(v)) for n, v in counterexample.values.items()]))
        super().__init__(
            f"refuted: {counterexample.claim.name}: at {at} the left side is {counterexample.left}, "
            f"the right side {counterexample.right}"
        )
        self.counterexample = counterexample
