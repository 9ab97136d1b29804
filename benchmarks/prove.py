"""Every accumulator of 32 bits through two requantizations: compiled enumeration, numpy in chunks, and the solver.

    python -m benchmarks.prove [--runs 5] [--numpy-inputs 16777216]

One thread. Enumeration and numpy alternate, so that a machine whose speed drifts slows both; medians are printed. numpy
computes the same claim on a part of the domain, in chunks that stay in the cache; its time is per input.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from fxsim.prove import Claim, count_counterexamples, equal_requantization, find_counterexample
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--numpy-inputs", type=int, default=1 << 24)
    options = parser.parse_args()

    claim = equal_requantization(DOUBLE, SINGLE, q=M, shift=SHIFT)
    part = equal_requantization(DOUBLE, SINGLE, acc=(0, options.numpy_inputs - 1), q=M, shift=SHIFT)
    assert count_counterexamples(part) == numpy_failures(options.numpy_inputs), "numpy and fxsim differ"
    assert count_counterexamples(claim) == 4_194_306

    ours, theirs = [], []
    for _ in range(options.runs):
        ours.append(seconds(lambda: count_counterexamples(claim)) / claim.size)
        theirs.append(seconds(lambda: numpy_failures(options.numpy_inputs)) / options.numpy_inputs)
    a, b = statistics.median(ours) * 1e9, statistics.median(theirs) * 1e9
    ratio = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    print(f"enumeration of 2^32: {a:.2f} ns an input, {a * (1 << 32) / 1e9:.2f} s; numpy {b:.2f} ns; ratio {ratio:.1f}")

    byte = (-128, 127)
    questions: list[tuple[str, Claim]] = [
        ("2^32", claim),
        ("all multipliers, no shift", equal_requantization(DOUBLE, SINGLE, shift=0)),
        ("all multipliers and shifts", equal_requantization(DOUBLE, TOSA)),
        ("all multipliers, shifts, zero points, clamped", equal_requantization(DOUBLE, TOSA, zero_point=byte, clamp=byte)),
        ("all multipliers and shifts", within(DOUBLE, SINGLE, 1)),
    ]  # fmt: skip
    for domain, question in questions:
        times = [seconds(lambda c=question: find_counterexample(c, "solver")) for _ in range(options.runs)]
        found = find_counterexample(question, "solver")
        verdict = "proved" if found is None else f"refuted at {dict(found.values)}"
        print(f"solver: {question.name}, {domain}: {verdict}, {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
