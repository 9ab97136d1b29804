"""Proof by an SMT solver for bit-vectors: domains of any size, with symbolic multipliers, shifts and zero points.

The query is made by running the claim's own functions on symbolic integers. Needs bitwuzla (the extra ``prove``).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from threading import Event, Thread
from types import ModuleType

from fxsim.arith.bounds import bits_needed
from fxsim.errors import DomainError
from fxsim.prove.claims import Claim, Range
from fxsim.prove.paths import Machine, Path, Term
from fxsim.prove.symbolic import SymBool, SymInt, merge

EXTRA = "pip install fxsim[prove]"


def installed() -> bool:
    """Whether the solver is there."""
    return find_spec("bitwuzla") is not None


def _library() -> ModuleType:
    try:
        return import_module("bitwuzla")
    except ImportError as e:
        raise DomainError(f"prove: the solver needs bitwuzla, which is not installed; {EXTRA}") from e


def engine() -> str:
    """Name and version."""
    return f"bitwuzla {_library().version()}"


class Undecided(DomainError):
    """The solver gave up within its time."""


class BitVectors:
    """The algebra of bitwuzla's terms.

    With ``free_products`` the product of two terms is a new variable of which only the sign and, for two variables of
    the claim, the range is known. What is proved so is true of real products too; what is refuted may not be.
    """

    def __init__(self, library: ModuleType, free_products: bool = False) -> None:
        self.free_products = free_products
        self.lemmas: list[Term] = []
        self._products: dict[tuple[int, int], Term] = {}
        self._ranges: dict[int, Range] = {}
        self.manager = library.TermManager()
        k = library.Kind
        self._kinds = {
            "add": k.BV_ADD, "sub": k.BV_SUB, "mul": k.BV_MUL, "and": k.BV_AND, "or": k.BV_OR, "xor": k.BV_XOR,
            "shl": k.BV_SHL, "ashr": k.BV_ASHR, "sdiv": k.BV_SDIV, "srem": k.BV_SREM, "ite": k.ITE,
            "lt": k.BV_SLT, "eq": k.EQUAL, "all": k.AND, "any": k.OR, "no": k.NOT,
        }  # fmt: skip
        self._extend, self._extract = k.BV_SIGN_EXTEND, k.BV_EXTRACT

    def variable(self, name: str, width: int, limits: Range | None = None) -> Term:
        """A free bit-vector, of which others have asserted the limits."""
        term = self.manager.mk_const(self.manager.mk_bv_sort(width), name)
        if limits is not None:
            self._ranges[term.id()] = limits
        return term

    def constant(self, value: int, width: int) -> Term:
        """A number."""
        return self.manager.mk_bv_value(self.manager.mk_bv_sort(width), value % (1 << width))

    def boolean(self, value: bool) -> Term:
        """A truth value."""
        return self.manager.mk_true() if value else self.manager.mk_false()

    def resize(self, term: Term, old: int, new: int) -> Term:
        """The same number in more bits, or its low bits."""
        if new > old:
            return self.manager.mk_term(self._extend, [term], [new - old])
        return term if new == old else self.manager.mk_term(self._extract, [term], [new - 1, 0])

    def apply(self, operation: str, *terms: Term) -> Term:
        """An operation on terms of equal widths."""
        if operation in ("all", "any") and len(terms) < 2:
            return terms[0] if terms else self.boolean(operation == "all")
        return self.manager.mk_term(self._kinds[operation], list(terms))

    def multiply(self, a: Term, a_width: int, b: Term, b_width: int, width: int) -> Term:
        """The low ``width`` bits of a product."""
        if not self.free_products or a.is_value() or b.is_value():
            return self.apply("mul", self.resize(a, a_width, width), self.resize(b, b_width, width))
        full, key = a_width + b_width, (min(a.id(), b.id()), max(a.id(), b.id()))
        if key not in self._products:
            # Wide enough for all values of the terms, on whichever way through the function the product was asked for.
            product = self._products[key] = self.variable(f"product{len(self._products)}", full)
            negative = [
                self.apply("lt", t, self.constant(0, w)) for t, w in ((a, a_width), (b, b_width), (product, full))
            ]
            zero = [self.apply("eq", t, self.constant(0, w)) for t, w in ((a, a_width), (b, b_width), (product, full))]
            same_sign = self.apply("eq", negative[0], negative[1])
            self.lemmas.append(self.apply("eq", zero[2], self.apply("any", zero[0], zero[1])))
            self.lemmas.append(self.apply("any", zero[2], self.apply("eq", negative[2], self.apply("no", same_sign))))
            if a.id() in self._ranges and b.id() in self._ranges:
                corners = [x * y for x in self._ranges[a.id()] for y in self._ranges[b.id()]]
                below = self.apply("lt", product, self.constant(min(corners), full))
                above = self.apply("lt", self.constant(max(corners), full), product)
                self.lemmas.append(self.apply("no", self.apply("any", below, above)))
        return self.resize(self._products[key], full, width)

    def admit(self, low: int, high: int) -> None:
        """Any number: terms are as wide as they must be."""


def truth(machine: Machine, value: object) -> Term:
    """A bool, symbolic or not, as a term."""
    return value.term if isinstance(value, SymBool) else machine.algebra.boolean(bool(value))


class Query:
    """One claim in a solver: its variables in their ranges, and the statement that it is false."""

    def __init__(self, claim: Claim, seconds: float | None, free_products: bool = False) -> None:
        self.claim, self._seconds, self._library = claim, seconds, _library()
        self._algebra = BitVectors(self._library, free_products)
        self._machine = Machine(self._algebra)
        self.may_raise = False
        """some input, of those with free products, makes a side raise"""
        options = self._library.Options()
        options.set(self._library.Option.PRODUCE_MODELS, True)
        import os

        for o in os.environ.get("BZ", "").split():
            options.set(getattr(self._library.Option, o.split("=")[0]), eval(o.split("=")[1]))
        self._solver = self._library.Bitwuzla(self._algebra.manager, options)
        self._widths = {name: bits_needed(*limits) for name, limits in claim.variables.items()}
        self._terms = {
            name: self._algebra.variable(name, self._widths[name], limits) for name, limits in claim.variables.items()
        }
        for name, (low, high) in claim.variables.items():
            self._assert(self._not_below(name, low), self._not_above(name, high))
        left, right = self._side(claim.left), self._side(claim.right)
        paths = self._machine.explore(
            lambda: truth(self._machine, claim.relation(self._again(left), self._again(right)))
        )
        if any(p.raises for p in paths):
            raise DomainError(f"claim {claim.name!r}: the relation raises {next(p.value for p in paths if p.raises)!r}")
        false = [self._apply("all", *p.conditions, self._apply("no", p.value)) for p in paths]
        self._assert(self._apply("any", *false), *self._algebra.lemmas)

    def _apply(self, operation: str, *terms: Term) -> Term:
        return self._algebra.apply(operation, *terms)

    def _assert(self, *terms: Term) -> None:
        for term in terms:
            self._solver.assert_formula(term)

    def _number(self, name: str, value: int) -> Term:
        return self._algebra.constant(value, self._widths[name])

    def _not_above(self, name: str, high: int) -> Term:
        return self._apply("no", self._apply("lt", self._number(name, high), self._terms[name]))

    def _not_below(self, name: str, low: int) -> Term:
        return self._apply("no", self._apply("lt", self._terms[name], self._number(name, low)))

    def _again(self, number: SymInt) -> SymInt:
        """The same number, of which no run knows anything yet."""
        return SymInt(self._machine, number.term, number.width, number.low, number.high)

    def _side(self, function: Callable[..., int]) -> SymInt:
        def run() -> int:
            machine = self._machine
            return function(
                *(SymInt(machine, self._terms[n], self._widths[n], *r) for n, r in self.claim.variables.items())
            )

        return merge(self._machine, self._sound(self._machine.explore(run)))

    def _sound(self, paths: list[Path]) -> list[Path]:
        """The ways that end in a value.

        Raises:
            DomainError: for some input of the domain the function raises instead.
        """
        for path in paths:
            if path.raises and (at := self.model(*path.conditions)) is not None:
                self.may_raise = True
                if not self._algebra.free_products:
                    raise DomainError(f"claim {self.claim.name!r}: at {at} a side raises {path.value!r}")
        kept = [p for p in paths if not p.raises]
        if not kept:
            raise DomainError(f"claim {self.claim.name!r}: a side has no value anywhere")
        return kept

    def model(self, *assumptions: Term) -> dict[str, int] | None:
        """Values of the variables for which everything asserted and assumed is true, or None.

        Raises:
            Undecided: the solver ran out of its time.
        """
        answer = self._check(assumptions)
        if answer == self._library.Result.UNSAT:
            return None
        if answer != self._library.Result.SAT:
            raise Undecided(f"claim {self.claim.name!r}: the solver did not decide in its time; narrow the domain")
        return {name: self._value(term, self._widths[name]) for name, term in self._terms.items()}

    def _check(self, assumptions: tuple[Term, ...]) -> object:
        """The solver's answer. It works in a thread, since it would not hear Ctrl-C itself."""
        stop = Event()
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        self._solver.configure_terminator(
            lambda: stop.is_set() or (deadline is not None and time.monotonic() > deadline)
        )
        answers: list[object] = []
        worker = Thread(target=lambda: answers.append(self._solver.check_sat(*assumptions)), daemon=True)
        worker.start()
        try:
            while worker.is_alive():
                worker.join(0.1)
        except BaseException:
            stop.set()
            worker.join()
            raise
        if not answers:
            raise DomainError(f"claim {self.claim.name!r}: the solver failed on it")
        return answers[0]

    def _value(self, term: Term, width: int) -> int:
        raw = int(self._solver.get_value(term).value(2), 2)
        return raw - (1 << width) if raw >> (width - 1) else raw


def _model(claim: Claim, seconds: float | None) -> dict[str, int] | None:
    """Some counterexample, or None where the claim is proved."""
    # What follows without knowing what a product of two variables is, follows in no time.
    query = Query(claim, seconds, free_products=True)
    try:
        if not query.may_raise and query.model() is None:
            return None
    except Undecided:
        pass
    return Query(claim, seconds).model()


def _least(claim: Claim, found: dict[str, int], seconds: float | None) -> dict[str, int]:
    """The least counterexample, given one: each variable in its turn as early as it can be in 0, 1, -1, 2, -2, ...

    Each question is a claim over a narrower domain and is run anew, for what the narrower intervals then decide.
    """
    limits = dict(claim.variables)

    def within(name: str, low: int, high: int) -> dict[str, int] | None:
        inner = max(low, limits[name][0]), min(high, limits[name][1])
        return _model(replace(claim, variables={**limits, name: inner}), seconds) if inner[0] <= inner[1] else None

    for name, (low, high) in claim.variables.items():
        near = 0 if low <= 0 <= high else min(abs(low), abs(high))
        while near < (far := abs(found[name])):
            middle = (near + far) // 2
            closer = within(name, -middle, middle)
            if closer is None:
                near = middle + 1
            else:
                found = closer
        if found[name] < 0:
            found = within(name, -found[name], -found[name]) or found
        limits[name] = (found[name], found[name])
    return found


def search(claim: Claim, seconds: float | None = None) -> Mapping[str, int] | None:
    """The least counterexample, or None where the claim is proved. ``seconds`` is what one query may take.

    Raises:
        DomainError: bitwuzla is not installed, or a side cannot be run on symbolic integers.
        Undecided: not decided in that time.
    """
    try:
        found = _model(claim, seconds)
        return None if found is None else _least(claim, found, seconds)
    except TypeError as e:
        raise DomainError(f"claim {claim.name!r}: a side cannot be run on symbolic integers: {e}") from e


__all__ = ["EXTRA", "Undecided", "engine", "installed", "search"]
