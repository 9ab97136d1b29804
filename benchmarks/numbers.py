"""Fixed-point speed on one thread, side by side with apytypes, fxpmath and numpy in one run.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.numbers [--runs 9] [--report reports/numbers_speed.md]

Runs alternate; medians and the ratio to the best of the others are printed. Every result is checked against numpy first.
"""

import argparse
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
from benchmarks.machine import machine
from fxsim.files import atomic_write
from fxsim.fixed.names import overflow_rule, rounding_name
from fxsim.kernels.cast import cast_raw

N = 1_000_000
Work = dict[str, Callable[[], object]]


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
            "fxpmath (1/50 of the data)": lambda: Fxp(few, signed=True, n_word=16, n_frac=8, rounding="around"),
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
    return "\n".join(lines) + "\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    lines = ["| work | who | figure | time / fxsim |", "|---|---|---|---|"]
    for title, amount, work in (quantize(rng), multiply(rng), matmul(rng)):
        seconds = measure(work, args.runs)
        for name, s in seconds.items():
            share = 50.0 if "1/50" in name else 1.0
            figure = s * share * 1e9 / amount if amount > 0 else -amount / s / 1e9
            lines.append(f"| {title} | {name} | {figure:.3g} | {s * share / seconds['fxsim']:.1f} |")
    text = (
        "# Fixed-point numbers: exactness and speed\n\n" + vectors() + "## Speed, one thread\n\n" + "\n".join(lines)
        + f"\n\nMedians of {args.runs} alternating runs; every result equals numpy's first, apytypes' matmul excepted. "
        f"{machine('fxsim', 'numba', 'numpy', 'apytypes', 'fxpmath')}.\n\n"
        f"Made by `FXSIM_CORPUS=<folder> python -m benchmarks.numbers --runs {args.runs}`.\n"
    )  # fmt: skip
    print(text)
    if args.report:
        atomic_write(args.report, text.encode())


if __name__ == "__main__":
    main()
