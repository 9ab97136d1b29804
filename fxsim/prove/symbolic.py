"""Integers that stand for every value of a range, so that the arithmetic itself is the subject of a proof.

A :class:`SymInt` is a term of an algebra with an interval that holds every value it can take. Each operation widens the
term to the bits that its interval needs, so nothing ever overflows and the integers are those of Python. The functions
of :mod:`fxsim.arith` run on them unchanged; there is no second text of the arithmetic.

A comparison that the intervals decide is an ordinary bool. Any other is a :class:`SymBool`, and ``bool()`` of it splits
the run (:mod:`fxsim.prove.paths`); each half knows from then on the narrower interval.
"""

from collections.abc import Callable, Sequence
from typing import Union

from fxsim.arith.bounds import bits_needed
from fxsim.errors import DomainError
from fxsim.prove.paths import Machine, Path, Term

Bits = Union[bool, "SymBool", "SymInt"]
MAX_BITS = 1024
"""the widest term: a guard against shifts by unbounded amounts"""


class _Number:
    """The operators that symbolic integers and bools share: a bool counts as 0 or 1, as in Python."""

    __slots__ = ("machine", "term")
    __hash__ = None  # type: ignore[assignment]
    machine: Machine
    term: Term

    @property
    def number(self) -> "SymInt":
        return lift(self.machine, self)

    def __add__(self, other: object) -> "SymInt":
        return self.number.plus(lift(self.machine, other))

    __radd__ = __add__

    def __sub__(self, other: object) -> "SymInt":
        return self.number.minus(lift(self.machine, other))

    def __rsub__(self, other: object) -> "SymInt":
        return lift(self.machine, other).minus(self.number)

    def __mul__(self, other: object) -> "SymInt":
        return self.number.times(lift(self.machine, other))

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> "SymInt":
        return self.number.over(lift(self.machine, other))

    def __rfloordiv__(self, other: object) -> "SymInt":
        return lift(self.machine, other).over(self.number)

    def __mod__(self, other: object) -> "SymInt":
        a, b = self.number, lift(self.machine, other)
        return a.minus(a.over(b).times(b))

    def __rmod__(self, other: object) -> "SymInt":
        return lift(self.machine, other) % self.number

    def __lshift__(self, other: object) -> "SymInt":
        return self.number.up(lift(self.machine, other))

    def __rlshift__(self, other: object) -> "SymInt":
        return lift(self.machine, other).up(self.number)

    def __rshift__(self, other: object) -> "SymInt":
        return self.number.down(lift(self.machine, other))

    def __rrshift__(self, other: object) -> "SymInt":
        return lift(self.machine, other).down(self.number)

    def __and__(self, other: object) -> "Bits":
        return self.number.bits("and", lift(self.machine, other))

    def __or__(self, other: object) -> "Bits":
        return self.number.bits("or", lift(self.machine, other))

    def __xor__(self, other: object) -> "Bits":
        return self.number.bits("xor", lift(self.machine, other))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __neg__(self) -> "SymInt":
        return lift(self.machine, 0).minus(self.number)

    def __invert__(self) -> "SymInt":
        return lift(self.machine, -1).minus(self.number)

    def __abs__(self) -> "SymInt":
        return self.number.magnitude()

    def __lt__(self, other: object) -> "bool | SymBool":
        return self.number.less(lift(self.machine, other))

    def __gt__(self, other: object) -> "bool | SymBool":
        return lift(self.machine, other).less(self.number)

    def __le__(self, other: object) -> "bool | SymBool":
        return negation(self > other)

    def __ge__(self, other: object) -> "bool | SymBool":
        return negation(self < other)

    def __eq__(self, other: object) -> "bool | SymBool":  # type: ignore[override]
        return self.number.same(lift(self.machine, other))

    def __ne__(self, other: object) -> "bool | SymBool":  # type: ignore[override]
        return negation(self == other)

    def __index__(self) -> int:
        """The number itself: one run for each value of the interval."""
        number = self.number
        for value in range(number.low, number.high):
            if number == value:
                return value
        return number.high

    __int__ = __index__


class SymBool(_Number):
    """A truth value that depends on the variables. ``bool()`` of it splits the run."""

    __slots__ = ("_learn",)

    def __init__(self, machine: Machine, term: Term, learn: Callable[[bool], None] | None = None) -> None:
        self.machine, self.term, self._learn = machine, term, learn

    def negated(self) -> "SymBool":
        """``not self``, without a decision."""
        learn = self._learn
        flipped = None if learn is None else lambda answer: learn(not answer)
        return SymBool(self.machine, self.machine.algebra.apply("no", self.term), flipped)

    def __bool__(self) -> bool:
        answer = self.machine.decide(self.term)
        if self._learn is not None:
            self._learn(answer)
        return answer

    def __and__(self, other: object) -> "Bits":
        if isinstance(other, bool):
            return self if other else False
        if isinstance(other, SymBool):
            return SymBool(self.machine, self.machine.algebra.apply("all", self.term, other.term))
        return super().__and__(other)

    def __or__(self, other: object) -> "Bits":
        if isinstance(other, bool):
            return True if other else self
        if isinstance(other, SymBool):
            return SymBool(self.machine, self.machine.algebra.apply("any", self.term, other.term))
        return super().__or__(other)

    def __xor__(self, other: object) -> "Bits":
        return self != other if isinstance(other, bool | SymBool) else super().__xor__(other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__


def negation(value: bool | SymBool) -> bool | SymBool:
    """``not value``, without a decision."""
    return value.negated() if isinstance(value, SymBool) else not value


def lift(machine: Machine, value: object) -> "SymInt":
    """Any number as a symbolic one."""
    if isinstance(value, SymInt):
        return value
    if isinstance(value, SymBool):
        one, zero = machine.algebra.constant(1, 2), machine.algebra.constant(0, 2)
        return SymInt(machine, machine.algebra.apply("ite", value.term, one, zero), 2, 0, 1)
    if isinstance(value, int):
        width = bits_needed(value, value)
        return SymInt(machine, machine.algebra.constant(int(value), width), width, int(value), int(value))
    raise TypeError(f"arithmetic of symbolic integers with {type(value).__name__}")


def merge(machine: Machine, paths: Sequence[Path]) -> "SymInt":
    """One number that is each path's value under that path's conditions. All paths must return numbers."""
    values = [lift(machine, p.value) for p in paths]
    low, high = min(v.low for v in values), max(v.high for v in values)
    width = bits_needed(low, high)
    result = values[-1].at(width)
    for path, value in zip(paths[-2::-1], values[-2::-1], strict=True):
        result = machine.algebra.apply("ite", machine.algebra.apply("all", *path.conditions), value.at(width), result)
    return SymInt(machine, result, width, low, high)


class SymInt(_Number):
    """Every integer of ``low..high`` that the term can be; ``width`` bits of two's complement."""

    __slots__ = ("floor_of", "high", "low", "sum_of", "top_of", "width")

    def __init__(self, machine: Machine, term: Term, width: int, low: int, high: int) -> None:
        machine.algebra.admit(low, high)
        if width > MAX_BITS:
            raise DomainError(f"symbolic run: a value of {width} bits; allowed: {MAX_BITS}")
        self.machine, self.term, self.width, self.low, self.high = machine, term, width, low, high
        self.floor_of: tuple[str, SymInt, SymInt] | None = None
        """(how, v, n) of the quotient ``v >> n`` or ``v // n``"""
        self.sum_of: tuple[SymInt, int] | None = None
        """(v, c) of the sum ``v + c`` with a constant"""
        self.top_of: tuple[SymInt, int, SymInt | None] | None = None
        """(v, r, n) where ``v`` less this number lies in ``0..r``: a quotient multiplied back, by ``2**n`` if n is given"""

    def at(self, width: int) -> Term:
        """The term in ``width`` bits: sign-extended, or its low bits."""
        return self.machine.algebra.resize(self.term, self.width, width)

    def _modular(self, operation: str, other: "SymInt", low: int, high: int) -> "SymInt":
        """An operation whose low bits depend on the low bits of its operands alone."""
        width = bits_needed(low, high)
        term = self.machine.algebra.apply(operation, self.at(width), other.at(width))
        return SymInt(self.machine, term, width, low, high)

    def _fitted(self, term: Term, width: int, low: int, high: int) -> "SymInt":
        fit = bits_needed(low, high)
        return SymInt(self.machine, self.machine.algebra.resize(term, width, fit), fit, low, high)

    def plus(self, other: "SymInt") -> "SymInt":
        """``self + other``; constants added one after the other are one constant, and none where they cancel."""
        if other.low != other.high:
            return self._modular("add", other, self.low + other.low, self.high + other.high)
        base, offset = self.sum_of or (self, 0)
        offset += other.low
        if offset == 0:
            return base
        constant = lift(self.machine, offset)
        result = base._modular("add", constant, base.low + offset, base.high + offset)
        result.sum_of = base, offset
        return result

    def minus(self, other: "SymInt") -> "SymInt":
        """``self - other``; a value less its own quotient multiplied back is the remainder, and as narrow."""
        if other.low == other.high:
            return self.plus(lift(self.machine, -other.low))
        low, high = self.low - other.high, self.high - other.low
        back = other.top_of
        if back is None or back[0] is not self:
            return self._modular("sub", other, low, high)
        low, high = max(low, 0), min(high, back[1])
        if back[2] is None:
            return self._modular("sub", other, low, high)
        mask = lift(self.machine, 1).up(back[2]).minus(lift(self.machine, 1))
        width = max(self.width, mask.width)  # the low bits, which is easier on a solver than the difference
        term = self.machine.algebra.apply("and", self.at(width), mask.at(width))
        return self._fitted(term, width, low, high)

    def times(self, other: "SymInt") -> "SymInt":
        """``self * other``."""

        def product(width: int) -> Term:
            return self.machine.algebra.multiply(self.term, self.width, other.term, other.width, width)

        return self._multiplied(product, other, other.low, other.high, "divide")

    def up(self, amount: "SymInt") -> "SymInt":
        """``self << amount``."""
        amount = amount.counted()
        if amount.high == 0 and self.floor_of is None:
            return self

        def product(width: int) -> Term:
            width_of_both = max(width, amount.width)
            term = self.machine.algebra.apply("shl", self.at(width_of_both), amount.at(width_of_both))
            return self.machine.algebra.resize(term, width_of_both, width)

        return self._multiplied(product, amount, 1 << amount.low, 1 << amount.high, "shift")

    def _multiplied(self, product: Callable[[int], Term], by: "SymInt", least: int, most: int, how: str) -> "SymInt":
        """The product with a factor in ``least..most``, which ``by`` is or is the exponent of."""
        corners = [a * b for a in (self.low, self.high) for b in (least, most)]
        low, high = min(corners), max(corners)
        back = self.floor_of
        whole = back[1] if back is not None and back[0] == how and back[2].is_surely(by) and least > 0 else None
        if whole is not None:
            low, high = max(low, whole.low - most + 1), min(high, whole.high)
        width = bits_needed(low, high)
        result = SymInt(self.machine, product(width), width, low, high)
        if whole is not None:
            result.top_of = whole, most - 1, by if how == "shift" else None
        return result

    def down(self, amount: "SymInt") -> "SymInt":
        """``self >> amount``: the floor of the quotient."""
        amount = amount.counted()
        if amount.high == 0:
            return self
        corners = [a >> b for a in (self.low, self.high) for b in (amount.low, amount.high)]
        width = max(self.width, amount.width)
        term = self.machine.algebra.apply("ashr", self.at(width), amount.at(width))
        result = self._fitted(term, width, min(corners), max(corners))
        result.floor_of = "shift", self, amount
        return result

    def counted(self) -> "SymInt":
        """This number as a count of bits to shift by.

        Raises:
            ValueError: it is negative, as in Python.
        """
        if self < 0:
            raise ValueError("negative shift count")
        if self.high > MAX_BITS:
            raise DomainError(f"symbolic run: a shift by up to {self.high} bits; allowed: {MAX_BITS}")
        self.machine.algebra.admit(0, 1 << self.high)
        return self

    def over(self, divisor: "SymInt") -> "SymInt":
        """``self // divisor``: the floor of the quotient.

        Raises:
            ZeroDivisionError: the divisor is 0, as in Python.
        """
        if divisor == 0:
            raise ZeroDivisionError("integer division or modulo by zero")
        if divisor < 0:
            return (-self).over(-divisor)
        divisor.low = max(divisor.low, 1)
        corners = [a // b for a in (self.low, self.high) for b in (divisor.low, divisor.high)]
        width, apply = max(self.width, divisor.width) + 1, self.machine.algebra.apply
        a, b, zero = self.at(width), divisor.at(width), self.machine.algebra.constant(0, width)
        below = apply("lt", apply("srem", a, b), zero)
        down = apply("ite", below, self.machine.algebra.constant(-1, width), zero)
        result = self._fitted(apply("add", apply("sdiv", a, b), down), width, min(corners), max(corners))
        result.floor_of = "divide", self, divisor
        return result

    def bits(self, operation: str, other: "SymInt") -> "SymInt":
        """``self & other``, ``self | other`` or ``self ^ other``."""
        width = max(self.width, other.width)
        least, most = min(self.low, other.low), max(self.high, other.high)
        reach = 1 << (bits_needed(least, most) - 1)
        low, high = (0 if least >= 0 else -reach), reach - 1
        if operation == "and":
            for a, b in ((self, other), (other, self)):
                if b.low == b.high and b.high & (b.high + 1) == 0 and 0 <= a.low and a.high <= b.high:
                    return a  # a mask that masks nothing
            ceilings = [n.high for n in (self, other) if n.low >= 0]
            if ceilings:
                low, high = 0, min(ceilings)
        elif operation == "or" and least >= 0:
            low = max(self.low, other.low)
        term = self.machine.algebra.apply(operation, self.at(width), other.at(width))
        return self._fitted(term, width, low, high)

    def magnitude(self) -> "SymInt":
        """``abs(self)``."""
        if self.low >= 0:
            return self
        minus = -self
        if self.high <= 0:
            return minus
        high, apply = max(self.high, minus.high), self.machine.algebra.apply
        width = max(bits_needed(0, high), self.width)
        below = apply("lt", self.at(width), self.machine.algebra.constant(0, width))
        return self._fitted(apply("ite", below, minus.at(width), self.at(width)), width, 0, high)

    def is_surely(self, other: "SymInt") -> bool:
        """Whether both are the same number without any question."""
        return self is other or self.low == self.high == other.low == other.high

    def less(self, other: "SymInt") -> bool | SymBool:
        """``self < other``."""
        if self is other or self.low >= other.high or self.high < other.low:
            return self.high < other.low

        def learn(answer: bool) -> None:
            if answer:
                self.high, other.low = min(self.high, other.high - 1), max(other.low, self.low + 1)
            else:
                self.low, other.high = max(self.low, other.low), min(other.high, self.high)

        width = max(self.width, other.width)
        return SymBool(self.machine, self.machine.algebra.apply("lt", self.at(width), other.at(width)), learn)

    def same(self, other: "SymInt") -> bool | SymBool:
        """``self == other``."""
        if self.is_surely(other):
            return True
        if self.high < other.low or other.high < self.low:
            return False

        def learn(answer: bool) -> None:
            if answer:
                self.low = other.low = max(self.low, other.low)
                self.high = other.high = min(self.high, other.high)
                return
            for a, b in ((self, other), (other, self)):
                if b.low == b.high:
                    a.low += a.low == b.low
                    a.high -= a.high == b.high

        width = max(self.width, other.width)
        return SymBool(self.machine, self.machine.algebra.apply("eq", self.at(width), other.at(width)), learn)
