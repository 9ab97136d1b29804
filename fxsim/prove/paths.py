"""Every way through a function, one run each: how a truth value that depends on the variables is answered.

A run asks questions (``if``, ``min``, ``max``, ``and``, ``while``). The machine answers each of them once with yes and once
with no, in runs of their own, and keeps the conditions under which a run is the right one. What terms are made of is
an :class:`Algebra`: bit-vectors of a solver, or nothing at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fxsim.arith.bounds import bits_needed
from fxsim.errors import DomainError

MAX_PATHS = 4096
Term = Any
"""of the algebra's own kind; the interval algebra has none"""


class Algebra(Protocol):
    """What terms are made of. Widths are in bits, two's complement."""

    def constant(self, value: int, width: int) -> Term:
        """A number."""

    def boolean(self, value: bool) -> Term:
        """A truth value."""

    def resize(self, term: Term, old: int, new: int) -> Term:
        """The same number in more bits (sign-extended), or its low bits."""

    def apply(self, operation: str, *terms: Term) -> Term:
        """``add sub and or xor shl ashr sdiv srem neg not ite`` of equal widths; ``lt eq`` and ``all any no`` to bools."""

    def multiply(self, a: Term, a_width: int, b: Term, b_width: int, width: int) -> Term:
        """The low ``width`` bits of a product."""

    def admit(self, low: int, high: int) -> None:
        """Raises where a number of this interval must not occur."""


class Intervals:
    """The algebra without terms, for arithmetic in a register: raises where a value might not fit ``bits`` bits."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def constant(self, value: int, width: int) -> Term:
        """No term."""

    def boolean(self, value: bool) -> Term:
        """No term."""

    def resize(self, term: Term, old: int, new: int) -> Term:
        """No term."""

    def apply(self, operation: str, *terms: Term) -> Term:
        """No term."""

    def multiply(self, a: Term, a_width: int, b: Term, b_width: int, width: int) -> Term:
        """No term."""

    def admit(self, low: int, high: int) -> None:
        """Raises :class:`TooWide` where the interval does not fit."""
        if bits_needed(low, high) > self.bits:
            raise TooWide(
                f"an intermediate value in {low}..{high} needs {bits_needed(low, high)} bits, not {self.bits}"
            )


class TooWide(DomainError):
    """An intermediate value may need more bits than a register has."""


@dataclass(frozen=True, slots=True)
class Path:
    """One run through a function: under all ``conditions`` it returns ``value``, or raises it."""

    conditions: tuple[Term, ...]
    value: Any

    @property
    def raises(self) -> bool:
        """Whether the function ends in an error."""
        return isinstance(self.value, Exception)


class Machine:
    """Runs functions on symbolic integers, once for each way through them."""

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self._script: list[bool] = []
        self._taken: list[bool] = []
        self._conditions: list[Term] = []
        self._pending: list[list[bool]] = []

    def decide(self, condition: Term) -> bool:
        """The answer of this run to a question that the intervals leave open."""
        position = len(self._taken)
        if position < len(self._script):
            answer = self._script[position]
        else:
            answer = True
            self._pending.append([*self._taken, False])
        self._taken.append(answer)
        self._conditions.append(condition if answer else self.algebra.apply("no", condition))
        return answer

    def explore(self, function: Callable[[], object]) -> list[Path]:
        """Every way through ``function``, which makes its variables anew in each run.

        Raises:
            DomainError: the function has more than ``MAX_PATHS`` ways.
        """
        self._pending = [[]]
        paths: list[Path] = []
        while self._pending:
            if len(paths) == MAX_PATHS:
                raise DomainError(f"symbolic run: more than {MAX_PATHS} ways through the function; narrow the domain")
            self._script, self._taken, self._conditions = self._pending.pop(), [], []
            try:
                value: object = function()
            except (ValueError, ArithmeticError) as e:
                value = e
            paths.append(Path(tuple(self._conditions), value))
        return paths
