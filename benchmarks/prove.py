"""Proofs and what they cost: every accumulator of 32 bits, the solver's domains, and the worst errors of integer forms.

    python -m benchmarks.prove [--runs 5] [--numpy-inputs 16777216] [--report FILE]

One thread. Enumeration and numpy alternate, so that a machine whose speed drifts slows both; medians are printed. numpy
computes the same claim on a part of the domain, in chunks that stay in the cache; its time is per input.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.machine import options, publish, table
from fxsim.prove import (
    Claim,
    ErrorClaim,
    average_pool_error,
    count_counterexamples,
    equal_requantization,
    exp_error,
    find_counterexample,
    logistic_error,
    prove,
    reciprocal_error,
    softmax_error,
)
from fxsim.prove import requantization_differs_by_at_most as within

DOUBLE, SINGLE, TOSA = "double_rounding:ties_away", "single_rounding:ties_pos", "tosa_double_rounding"
M, SHIFT = 1518500250, -9
CHUNK = 1 << 14


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def numpy_failures(inputs: int) -> int:
    """Double against single rounding for ``acc`` in ``0 .. inputs - 1``, written for arrays as one would by hand."""
    failures, right = 0, -SHIFT
    mask = (1 << right) - 1
    for start in range(0, inputs, CHUNK):
        product = np.arange(start, start + CHUNK, dtype=np.int64) * M
        high = (product + (1 << 30)) >> 31
        double = (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))
        single = (product + (1 << (30 + right))) >> (31 + right)
        failures += int(np.count_nonzero(double != single))
    return failures


def enumeration(runs: int, numpy_inputs: int) -> str:
    """One claim over all of its 2^32 inputs, compiled and by numpy."""
    claim = equal_requantization(DOUBLE, SINGLE, q=M, shift=SHIFT)
    part = equal_requantization(DOUBLE, SINGLE, acc=(0, numpy_inputs - 1), q=M, shift=SHIFT)
    assert count_counterexamples(part) == numpy_failures(numpy_inputs), "numpy and fxsim differ"
    failures = count_counterexamples(claim)
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(seconds(lambda: count_counterexamples(claim)) / claim.size)
        theirs.append(seconds(lambda: numpy_failures(numpy_inputs)) / numpy_inputs)
    a, b = statistics.median(ours), statistics.median(theirs)
    ratio = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    rows = [
        ("fxsim", f"{a * 1e9:.2f}", f"{a * claim.size:.2f}", "1.0"),
        ("numpy, in chunks", f"{b * 1e9:.2f}", f"{b * claim.size:.1f}", f"{ratio:.1f}"),
    ]
    return (
        f"## Every accumulator of 32 bits, one thread\n\n{claim.name}, multiplier {M}, shift {SHIFT}: {failures:,} of "
        f"{claim.size:,} accumulators part the two.\n\n"
        + table(("who", "ns per input", "s for 2^32", "time / fxsim"), rows)
        + f"\n\nMedians of {runs} alternating runs; numpy's 2^32 are counted up from {numpy_inputs:,} inputs."
    )


def solver(runs: int) -> str:
    """Claims whose domains no enumeration covers."""
    byte = (-128, 127)
    questions: list[tuple[str, Claim]] = [
        ("one multiplier, one shift", equal_requantization(DOUBLE, SINGLE, q=M, shift=SHIFT)),
        ("all multipliers, no shift", equal_requantization(DOUBLE, SINGLE, shift=0)),
        ("all multipliers and shifts", equal_requantization(DOUBLE, TOSA)),
        ("all multipliers, shifts, zero points, clamped", equal_requantization(DOUBLE, TOSA, zero_point=byte, clamp=byte)),
        ("all multipliers and shifts", within(DOUBLE, SINGLE, 1)),
    ]  # fmt: skip
    rows = []
    for domain, question in questions:
        times = [seconds(lambda c=question: find_counterexample(c, "solver")) for _ in range(runs)]
        found = find_counterexample(question, "solver")
        values = {} if found is None else found.values
        verdict = "proved" if found is None else "refuted at " + ", ".join(f"{k} = {v}" for k, v in values.items())
        inputs = f"2^{question.size.bit_length() - 1}"
        rows.append((question.name, domain, inputs, verdict, f"{statistics.median(times):.2f}"))
    head = ("claim, for every accumulator of 32 bits", "and", "inputs, about", "answer", "s")
    return f"## Proofs by solver (bitwuzla)\n\n{table(head, rows)}\n\nMedians of {runs} runs."


def worst_errors() -> str:
    """The exact worst error of each integer form over its whole domain."""
    claims: list[ErrorClaim] = [
        exp_error(a=(-(1 << 31), 0)), logistic_error(), reciprocal_error(a=(0, (1 << 31) - 1)),
        *(softmax_error(scale, length=length) for scale in (1 / 256, 0.1) for length in (2, 3)),
        *(average_pool_error(rule) for rule in ("ties_away", "to_zero")),
    ]  # fmt: skip
    rows = []
    for claim in claims:
        c = prove(claim)
        worst, at = c.facts.values()
        domain = ", ".join(f"{name} = {low} .. {high}" for name, (low, high) in claim.variables.items())
        rows.append((claim.name, domain, f"{float(worst):.4f} {claim.unit}", at, f"{c.seconds:.1f}"))  # type: ignore[arg-type]
    head = ("integer form", "all of", "worst error", "reached at", "s")
    return (
        f"## Worst errors of integer forms\n\n{table(head, rows)}\n\nExact: every input in float64, then all that may be "
        "the worst with 60 digits (fxsim/prove/errors_of.py)."
    )


def sections(runs: int, numpy_inputs: int = 1 << 24) -> str:
    """What was proved and how long it took, in Markdown."""
    return "\n\n".join((enumeration(runs, numpy_inputs), solver(runs), worst_errors()))


def main() -> None:
    parser = options(__doc__, runs=5)
    parser.add_argument("--numpy-inputs", type=int, default=1 << 24)
    given = parser.parse_args()
    publish(sections(given.runs, given.numpy_inputs), given.report)


if __name__ == "__main__":
    main()
