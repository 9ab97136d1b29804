"""Fixed-point speed on one thread, side by side with apytypes, fxpmath and numpy in one run.

    OPENBLAS_NUM_THREADS=1 FXSIM_CORPUS=<folder> python -m benchmarks.numbers [--runs 9] [--report reports/numbers.md]

The same command makes the whole report: casts against reference libraries, speed, :mod:`benchmarks.prove` and
:mod:`benchmarks.rules`. Runs alternate; medians and ratios to fxsim are printed. Every result is checked first.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import apytypes
import numpy as np
from apytypes import APyFixedArray, OverflowMode, QuantizationMode
from fxpmath import Fxp

import fxsim
import fxsim.fixed as fx
from benchmarks import prove, rules
from benchmarks.machine import machine, options, publish, table
from fxsim.fixed.names import overflow_rule, rounding_name
from fxsim.kernels.cast import cast_raw

N = 1_000_000
Work = dict[str, Callable[[], object]]
FXPMATH, PYTHON = "fxpmath (1/50 of the data)", "Python ints (1/50 of the data)"
SHARES = {FXPMATH: 50.0, PYTHON: 50.0}
"""who is so slow that it gets a part of the data -> by how much its time is multiplied"""


def quantize(rng: np.random.Generator) -> tuple[str, int, Work]:
    """float64 -> Q8.8, ties to even, saturating: ns per element."""
    x = rng.normal(0, 60, N)
    x[:1000] = np.arange(1000) / 512  # ties
    few = x[: N // 50]

    def numpy() -> object:
        return np.clip(np.rint(x * 256), -32768, 32767).astype(np.int16)

    assert np.array_equal(fx.quantize(x, "Q8.8"), numpy())
    wide = lambda: APyFixedArray.from_float(x, int_bits=24, frac_bits=24)  # noqa: E731
    cast = lambda a: a.cast(8, 8, QuantizationMode.TIES_EVEN, OverflowMode.SAT)  # noqa: E731
    return (
        "float64 to Q8.8, ties even, saturate; ns per element",
        N,
        {
            "fxsim": lambda: fx.quantize(x, "Q8.8"),
            "numpy": numpy,
            "apytypes": lambda: cast(wide()),
            FXPMATH: lambda: Fxp(few, signed=True, n_word=16, n_frac=8, rounding="around"),
        },
    )


def multiply(rng: np.random.Generator) -> tuple[str, int, Work]:
    """Q4.4 * Q4.4 -> Q4.4, ties to even, saturating: ns per element."""
    a, b = (rng.integers(-128, 128, N).astype(np.int8) for _ in range(2))

    def numpy() -> object:
        return np.clip(np.rint(a.astype(np.int32) * b / 16), -128, 127).astype(np.int8)

    assert np.array_equal(fx.mul(a, "Q4.4", b, "Q4.4", "Q4.4", "ties_even", "saturate"), numpy())
    x, y = (APyFixedArray(v.astype(int).tolist(), int_bits=4, frac_bits=4) for v in (a, b))
    return (
        "Q4.4 times Q4.4 to Q4.4, ties even, saturate; ns per element",
        N,
        {
            "fxsim": lambda: fx.mul(a, "Q4.4", b, "Q4.4", "Q4.4", "ties_even", "saturate"),
            "numpy": numpy,
            "apytypes": lambda: (x * y).cast(4, 4, QuantizationMode.TIES_EVEN, OverflowMode.SAT),
        },
    )


def wide(rng: np.random.Generator) -> tuple[str, int, Work]:
    """Q20.20 * Q20.20 -> Q32.32, products of 80 bits, ties to even, saturating: ns per element."""
    a, b = (rng.integers(-(1 << 39), 1 << 39, N) for _ in range(2))
    few = slice(0, N // 50)
    python = [[int(v) for v in x[few]] for x in (a, b)]

    def ours() -> np.ndarray:
        return fx.mul(a, "Q20.20", b, "Q20.20", "Q32.32", "ties_even", "saturate")

    def ints() -> object:
        # 8 bits are dropped: none of 40 + 40 fraction bits is lost in Python's own integers
        low, high = -(1 << 63), (1 << 63) - 1
        tie, half = (1 << 8) - 1, 1 << 7
        result = []
        for x, y in zip(*python, strict=True):
            p = x * y
            k = (p + half) >> 8
            k -= (p & tie) == half and k & 1
            result.append(min(max(k, low), high))
        return result

    assert ours()[few].tolist() == ints()
    return (
        "Q20.20 times Q20.20 to Q32.32 (80-bit products), ties even, saturate; ns per element",
        N,
        {"fxsim": ours, PYTHON: ints},
    )


def matmul(rng: np.random.Generator) -> tuple[str, int, Work]:
    """256 x 256 x 256 int8 with a 20-bit accumulator that saturates at every step: GMAC/s."""
    size = 256
    a, b = (rng.integers(-128, 128, (size, size)).astype(np.int8) for _ in range(2))
    a[:8], b[:, :8] = 127, 127  # sums that leave 20 bits
    accumulator = fxsim.Accumulator(bits=20, overflow="saturate", order="sequential")

    def numpy() -> object:
        acc, x, y = np.zeros((size, size), np.int64), a.astype(np.int64), b.astype(np.int64)
        for k in range(size):
            acc = np.clip(acc + x[:, k : k + 1] * y[k], -(1 << 19), (1 << 19) - 1)
        return acc

    assert np.array_equal(fx.matmul(a, b, accumulator), numpy())
    assert np.any(numpy() != a.astype(np.int64) @ b.astype(np.int64)), "the data must saturate"
    x, y = (APyFixedArray(v.astype(int).tolist(), int_bits=8, frac_bits=0) for v in (a, b))

    def peer() -> object:
        with apytypes.APyFixedAccumulatorContext(
            int_bits=20, frac_bits=0, quantization=QuantizationMode.TRN, overflow=OverflowMode.SAT
        ):
            return x @ y

    return (
        "256x256x256 int8, 20-bit accumulator saturating at every step; GMAC/s",
        -(size**3),
        {
            "fxsim": lambda: fx.matmul(a, b, accumulator),
            "numpy": numpy,
            "apytypes (does not saturate)": peer,
        },
    )


def measure(work: Work, runs: int) -> dict[str, float]:
    """Median seconds of each, run in turn."""
    times: dict[str, list[float]] = {k: [] for k in work}
    for f in work.values():
        f()
    for _ in range(runs):
        for name, f in work.items():
            start = time.perf_counter()
            f()
            times[name].append(time.perf_counter() - start)
    return {k: statistics.median(v) for k, v in times.items()}


def vectors() -> str:
    """All vectors of three reference libraries through the compiled casts; empty where there is no corpus."""
    corpus = os.environ.get("FXSIM_CORPUS", "")
    if not corpus:
        return ""
    from tests.fixed.test_vectors import TOTALS, read_cases

    lines = ["## Casts against reference libraries\n", "| library | cases | vectors | differ |", "|---|---|---|---|"]
    for dialect in TOTALS:
        cases = compared = wrong = 0
        for c in read_cases(Path(corpus), dialect):
            policy, out = overflow_rule(c.overflow), np.empty(c.raw.size, np.int64)
            f = cast_raw(rounding_name(c.rounding), policy.name)
            f(c.raw.astype(np.int64), c.shift, c.bits, c.signed, c.wrap_bits, policy.quirk, out)
            cases, compared, wrong = cases + 1, compared + out.size, wrong + int(np.sum(out != c.expected))
        lines.append(f"| {dialect} | {cases:,} | {compared:,} | {wrong} |")
    return "\n".join(lines)


def speed(runs: int) -> str:
    """Every work of this page, side by side."""
    rng = np.random.default_rng(0)
    rows = []
    for title, amount, work in (quantize(rng), multiply(rng), wide(rng), matmul(rng)):
        seconds = measure(work, runs)
        for name, s in seconds.items():
            share = SHARES.get(name, 1.0)
            figure = s * share * 1e9 / amount if amount > 0 else -amount / s / 1e9
            rows.append((title, name, f"{figure:.3g}", f"{s * share / seconds['fxsim']:.1f}"))
    return (
        f"## Speed, one thread\n\n{table(('work', 'who', 'figure', 'time / fxsim'), rows)}\n\n"
        f"Medians of {runs} alternating runs; every result equals the others' first, apytypes' matmul excepted."
    )


def main() -> None:
    args = options(__doc__, runs=9).parse_args()
    parts = [vectors(), speed(args.runs), prove.sections(max(1, args.runs // 2)), rules.sections()]
    versions = machine("fxsim", "numba", "numpy", "apytypes", "fxpmath", "bitwuzla")
    end = f"{versions}.\n\nMade by `FXSIM_CORPUS=<folder> python -m benchmarks.numbers --runs {args.runs}`."
    publish(
        "\n\n".join(("# Fixed-point numbers: exactness, speed, proofs", *filter(None, parts), end)) + "\n", args.report
    )


if __name__ == "__main__":
    main()
