"""Proof by trying every input, with compiled arithmetic: up to ``2**32`` inputs, no solver needed.

Before anything is compiled, the claim's functions run on intervals: only where every intermediate value is shown to
fit 64 bits, and nothing can raise, does compiled arithmetic stand for Python's. Other claims are tried in plain
Python, if their domain is small.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, product
from random import Random

from fxsim.arith.bounds import bits_needed
from fxsim.errors import DomainError
from fxsim.prove.claims import Claim, Progress, Range, order
from fxsim.prove.paths import Intervals, Machine
from fxsim.prove.symbolic import SymInt, merge

LIMIT = 1 << 32
"""the most inputs that are tried compiled"""
TINY = 1 << 12
"""up to so many inputs are always tried in plain Python, which is sooner done than compiling"""
PLAIN_LIMIT = 1 << 20
"""the most inputs that are tried in plain Python"""
BLOCK = 1 << 23
"""inputs per call of a kernel: between two calls progress is told, and Ctrl-C heard"""
REGISTER_BITS = 64
SAMPLES = 100
"""inputs at which compiled arithmetic is held against Python's before it is trusted with the rest"""
Counter = Callable[[tuple[int, ...], tuple[int, ...], int, int], int]
Finder = Callable[[tuple[int, ...], tuple[int, ...], int, int, int], int]


def why_not_compiled(claim: Claim) -> str | None:
    """Why compiled arithmetic might differ from Python's, or None where it is shown that it does not."""
    machine = Machine(Intervals(REGISTER_BITS))

    def fresh(low: int, high: int) -> SymInt:
        return SymInt(machine, None, bits_needed(low, high), low, high)

    def side(function: Callable[..., int], *limits: Range) -> Range:
        bound: list[object] = []
        while isinstance(function, partial):
            bound, function = [*function.args, *bound], function.func
        # Bound numbers are numbers of the register too: their arithmetic must fit as well.
        paths = machine.explore(
            lambda: function(*(fresh(v, v) if isinstance(v, int) else v for v in bound), *(fresh(*r) for r in limits))
        )
        errors = [p.value for p in paths if p.raises]
        if errors:
            raise DomainError(f"a side may raise {errors[0]!r}")
        merged = merge(machine, paths)
        return merged.low, merged.high

    try:
        domain = claim.variables.values()
        left, right = side(claim.left, *domain), side(claim.right, *domain)
        side(claim.relation, left, right)
    except (DomainError, TypeError) as e:
        return str(e)
    return None


def why_not(claim: Claim) -> str | None:
    """Why a claim cannot be enumerated, or None where it can."""
    return _refusal(claim, None if claim.size <= PLAIN_LIMIT else why_not_compiled(claim))


def _refusal(claim: Claim, uncompiled: str | None) -> str | None:
    limit, where = (LIMIT, "") if uncompiled is None else (PLAIN_LIMIT, f" in plain Python ({uncompiled})")
    if claim.size <= limit:
        return None
    power = " (2**32)" if limit == LIMIT else ""
    return (
        f"claim {claim.name!r}: the domain has {claim.size:,} inputs; enumeration takes at most {limit:,}{power}{where}; "
        "narrow the domain, or let the solver decide: pip install fxsim[prove]"
    )


def by_magnitude(limits: Range) -> Iterator[int]:
    """The integers of a range as 0, 1, -1, 2, -2, ..."""
    low, high = limits
    nearest = 0 if low <= 0 <= high else min(abs(low), abs(high))
    for magnitude in range(nearest, max(abs(low), abs(high)) + 1):
        if low <= magnitude <= high:
            yield magnitude
        if magnitude and low <= -magnitude <= high:
            yield -magnitude


class _Search:
    """One pass over a domain: the widest variable in compiled blocks, the others one combination after the other."""

    def __init__(self, claim: Claim, progress: Progress | None) -> None:
        reason = "few inputs" if claim.size <= TINY else why_not_compiled(claim)
        if (refusal := _refusal(claim, reason)) is not None:
            raise DomainError(refusal)
        self.claim, self.progress, self.done = claim, progress, 0
        self.limits = list(claim.variables.values())
        self.position = _widest(self.limits)
        self.count, self.first, self.engine = _compiled(claim) if reason is None else _plain(claim)

    def combinations(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Values of the variables before and after the widest one, in the order of counterexamples."""
        others = self.limits[: self.position] + self.limits[self.position + 1 :]
        columns: list[Iterable[int]] = [tuple(by_magnitude(r)) for r in others]
        for values in product(*columns):
            yield values[: self.position], values[self.position :]

    def _tell(self, more: int) -> None:
        self.done += more
        if self.progress is not None:
            self.progress(self.done, self.claim.size)

    def failures(self) -> int:
        """How many inputs refute the claim."""
        low, high = self.limits[self.position]
        total = 0
        for before, after in self.combinations():
            for start in range(low, high + 1, BLOCK):
                stop = min(start + BLOCK, high + 1)
                total += self.count(before, after, start, stop)
                self._tell(stop - start)
        return total

    def least(self) -> tuple[int, ...] | None:
        """The least counterexample, or None."""
        best: tuple[int, ...] | None = None
        for before, after in self.combinations():
            if best is not None and before != best[: self.position]:
                break  # combinations come in order, and what comes before the widest variable weighs more
            reach = None if best is None else abs(best[self.position])
            found = self._least_of(before, after, reach)
            if found is not None:
                candidate = (*before, found, *after)
                if best is None or [order(v) for v in candidate] < [order(v) for v in best]:
                    best = candidate
        return best

    def _least_of(self, before: tuple[int, ...], after: tuple[int, ...], reach: int | None) -> int | None:
        """The least failing value of the widest variable, of magnitude ``reach`` at most."""
        low, high = self.limits[self.position]
        near = 0 if low <= 0 <= high else min(abs(low), abs(high))
        far = max(abs(low), abs(high)) if reach is None else min(reach, max(abs(low), abs(high)))
        for start in range(near, far + 1, BLOCK):
            stop = min(start + BLOCK, far + 1)
            up, down = (
                range(max(start, low), min(stop, high + 1)),
                range(max(1 - stop, low), min(-max(start, 1), high) + 1),
            )
            found = []
            if up and self.count(before, after, up.start, up.stop):
                found.append(self.first(before, after, up.start, up.stop, 1))
            if down and self.count(before, after, down.start, down.stop):
                found.append(self.first(before, after, down.stop - 1, down.start - 1, -1))
            self._tell(len(up) + len(down))
            if found:
                return int(min(found, key=order))
        return None


def _widest(limits: list[Range]) -> int:
    return max(range(len(limits)), key=lambda i: limits[i][1] - limits[i][0])


def _compare(claim: Claim, count: Counter) -> None:
    """Holds the compiled claim against plain Python at the corners of its domain and at some inputs inside."""
    draw = Random(0)
    limits = list(claim.variables.values())
    corners = product(*({low, high, *(v for v in (-1, 0, 1) if low <= v <= high)} for low, high in limits))
    inside = (tuple(draw.randint(*r) for r in limits) for _ in range(SAMPLES))
    at = _widest(limits)
    for given in (*islice(corners, SAMPLES), *inside):
        failures = count(given[:at], given[at + 1 :], given[at], given[at] + 1)
        if bool(failures) == claim.holds(dict(zip(claim.variables, given, strict=True))):
            raise AssertionError(f"claim {claim.name!r}: compiled arithmetic differs from Python's at {given}")


def _compiled(claim: Claim) -> tuple[Counter, Finder, str]:
    from fxsim.kernels import enumerate as kernels

    sides = claim.left, claim.right, claim.relation
    try:
        count, first = kernels.count(*sides), kernels.first(*sides)
        nothing = tuple(low for low, _ in claim.variables.values())[1:]
        count((), nothing, 0, 0)
    except (kernels.CompileError, TypeError) as e:
        if claim.size <= PLAIN_LIMIT:
            return _plain(claim)
        raise DomainError(f"claim {claim.name!r}: a side cannot be compiled: {e}") from e
    _compare(claim, count)
    return count, first, f"compiled, {REGISTER_BITS} bits suffice"


def _plain(claim: Claim) -> tuple[Counter, Finder, str]:
    def fails(before: tuple[int, ...], after: tuple[int, ...], x: int) -> bool:
        given = (*before, x, *after)
        return not claim.relation(claim.left(*given), claim.right(*given))

    def count(before: tuple[int, ...], after: tuple[int, ...], start: int, stop: int) -> int:
        return sum(map(partial(fails, before, after), range(start, stop)))

    def first(before: tuple[int, ...], after: tuple[int, ...], start: int, stop: int, step: int) -> int:
        return next(filter(partial(fails, before, after), range(start, stop, step)))

    return count, first, "plain Python"


def search(claim: Claim, progress: Progress | None = None) -> tuple[dict[str, int] | None, str]:
    """The least counterexample, or None where the claim is proved, and what tried it.

    Raises:
        DomainError: the domain holds too many inputs.
    """
    run = _Search(claim, progress)
    found = run.least()
    return (None if found is None else dict(zip(claim.variables, found, strict=True))), run.engine


def count_counterexamples(claim: Claim, progress: Progress | None = None) -> int:
    """For how many inputs of its domain a claim is false, by trying all of them.

    Raises:
        DomainError: the domain holds too many inputs.
    """
    return _Search(claim, progress).failures()


__all__ = ["LIMIT", "count_counterexamples", "search"]
