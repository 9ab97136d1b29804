"""Proofs about the arithmetic: a certificate, or the least counterexample.

The subject is the text of :mod:`fxsim.arith` itself. It is compiled and tried on every input (up to ``2**32`` of them),
or run on symbolic integers and given to a solver (any domain; the extra ``prove``).
"""

import time
from typing import Literal

from fxsim.errors import DomainError, listed
from fxsim.prove import enumerate as trying
from fxsim.prove import solver
from fxsim.prove.accumulator import AccumulatorClaim, accumulator_cannot_overflow
from fxsim.prove.claims import Certificate, Claim, Counterexample, Progress, Range, Refuted
from fxsim.prove.enumerate import count_counterexamples
from fxsim.prove.errors_of import (
    ErrorClaim,
    average_pool_error,
    exp_error,
    logistic_error,
    reciprocal_error,
    softmax_error,
)
from fxsim.prove.ready import (
    LAWS,
    SCHEMES,
    average_pool_within,
    equal_requantization,
    error_bound,
    exact_on_representables,
    idempotent,
    monotone,
    odd,
    requantization_differs_by_at_most,
    unbiased,
)

Method = Literal["auto", "enumeration", "solver"]
METHODS = ("auto", "enumeration", "solver")
AnyClaim = Claim | AccumulatorClaim | ErrorClaim
QUICK = 1 << 28
"""up to so many inputs ``auto`` tries them all rather than ask the solver"""
PATIENCE_S = 10.0
"""how long ``auto`` leaves one query to the solver where enumeration can do it too"""

__all__ = [
    "LAWS",
    "METHODS",
    "SCHEMES",
    "AccumulatorClaim",
    "Certificate",
    "Claim",
    "Counterexample",
    "ErrorClaim",
    "Method",
    "Progress",
    "Range",
    "Refuted",
    "accumulator_cannot_overflow",
    "average_pool_error",
    "average_pool_within",
    "count_counterexamples",
    "equal_requantization",
    "error_bound",
    "exact_on_representables",
    "exp_error",
    "find_counterexample",
    "idempotent",
    "logistic_error",
    "monotone",
    "odd",
    "prove",
    "reciprocal_error",
    "requantization_differs_by_at_most",
    "softmax_error",
    "unbiased",
]


def prove(claim: AnyClaim, method: Method = "auto", progress: Progress | None = None) -> Certificate:
    """The certificate of a claim that is true of every input of its domain.

    ``method`` ``auto`` tries all inputs where that is quick, else asks the solver if there is one, else tries up to
    ``2**32`` inputs. ``progress(done, of)`` is called while inputs are tried.

    Raises:
        Refuted: the claim is false; the least counterexample comes with it.
        DomainError: the domain is too large for the method, or a side cannot be run by it.
    """
    answer = _decide(claim, method, progress)
    if isinstance(answer, Counterexample):
        raise Refuted(answer)
    return answer


def find_counterexample(
    claim: AnyClaim, method: Method = "auto", progress: Progress | None = None
) -> Counterexample | None:
    """The least input of which a claim is false, or None if it is true of all; arguments as of :func:`prove`.

    Raises:
        DomainError: the domain is too large for the method, or a side cannot be run by it.
    """
    answer = _decide(claim, method, progress)
    return answer if isinstance(answer, Counterexample) else None


def _decide(claim: AnyClaim, method: Method, progress: Progress | None) -> Certificate | Counterexample:
    if method not in METHODS:
        raise DomainError(f"method {method!r}; allowed: {listed(METHODS)}")
    if not isinstance(claim, AnyClaim):
        raise DomainError(f"claim is {claim!r}; allowed: a Claim, such as monotone('ties_even')")
    if not isinstance(claim, Claim):
        if method == "solver":
            raise DomainError(f"claim {claim.name!r}: the solver has no part in it; allowed: 'auto'")
        return claim.decide(progress)
    if method == "solver":
        return _by_solver(claim, None)
    if method == "auto" and solver.installed():
        within_reach = trying.why_not(claim) is None
        if not within_reach:
            return _by_solver(claim, None)
        if claim.size > QUICK:
            try:
                return _by_solver(claim, PATIENCE_S)
            except DomainError:  # undecided in that time, or a side that the solver cannot run
                pass
    return _by_enumeration(claim, progress)


def _by_solver(claim: Claim, seconds: float | None) -> Certificate | Counterexample:
    start = time.perf_counter()
    found = solver.search(claim, seconds)
    elapsed, engine = time.perf_counter() - start, solver.engine()
    if found is not None:
        return claim.counterexample(found, "solver", engine, elapsed)
    return Certificate(claim, "solver", engine, claim.size, elapsed)


def _by_enumeration(claim: Claim, progress: Progress | None) -> Certificate | Counterexample:
    start = time.perf_counter()
    found, engine = trying.search(claim, progress)
    elapsed = time.perf_counter() - start
    if found is not None:
        return claim.counterexample(found, "enumeration", engine, elapsed)
    return Certificate(claim, "enumeration", engine, claim.size, elapsed)
