"""The slow readable twin of the search: every input in the stated order, in plain Python."""

from itertools import product


def ordered(low, high):
    """0, 1, -1, 2, -2, ..., as far as they lie in the range."""
    return sorted(range(low, high + 1), key=lambda v: (abs(v), v < 0))


def failures(claim):
    """All counterexamples, the least one first."""
    for values in product(*(ordered(*r) for r in claim.variables.values())):
        if not claim.relation(claim.left(*values), claim.right(*values)):
            yield dict(zip(claim.variables, values, strict=True))


def least(claim):
    """The least counterexample, or None."""
    return next(failures(claim), None)
