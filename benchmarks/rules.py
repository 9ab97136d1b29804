"""What each rounding rule does to numbers: its errors over a whole period, and the bias that a long dot product builds up.

    python -m benchmarks.rules [--report FILE]

Nothing is timed. The errors are those of all 16-bit values whose low 8 bits are dropped, exactly; the dot products are of
random int8 weights with inputs 0..127, as they follow a ReLU, each product rounded to drop 8 bits before it is added.
"""

import numpy as np

import fxsim.fixed as fx
from benchmarks.machine import options, publish, table
from fxsim import Accumulator
from fxsim.arith.rounding import RULES
from fxsim.fixed.names import STOCHASTIC

DROPPED = 8
LENGTHS = (64, 1024, 16384)
OUTPUTS = 256


def errors(rule: str) -> list[str]:
    """Greatest and mean size of the error, its mean, and the mean for each sign, in units of the result."""
    raw = np.arange(-(1 << 15), 1 << 15)
    error = fx.cast(raw, "sfix16_En8", "sfix9", rule, "error", seed=1) - raw / (1 << DROPPED)
    means = error.mean(), error[raw < 0].mean(), error[raw >= 0].mean()
    return [f"{np.abs(error).max():.4f}", f"{np.abs(error).mean():.4f}", *(f"{m:+.4f}" for m in means)]


def drift(rule: str) -> list[str]:
    """Mean difference of sums of rounded products to the exact sums, by length, and its spread at the longest."""
    rng = np.random.default_rng(0)
    found, spread = [], 0.0
    for length in LENGTHS:
        x, w = rng.integers(0, 128, (OUTPUTS, length)), rng.integers(-127, 128, length)
        if rule in STOCHASTIC:
            rounded = fx.cast(x * w, "sfix16_En8", "sfix16", rule, "error", seed=1).sum(axis=1, dtype=np.int64)
        else:
            a = Accumulator(bits=32, product_shift=DROPPED, product_rounding=rule)
            rounded = fx.matmul(x.astype(np.int8), w.astype(np.int8)[:, None], a)[:, 0]
        difference = rounded - x @ w / (1 << DROPPED)
        found.append(f"{difference.mean():+.1f}")
        spread = float(difference.std())
    return [*found, f"{spread:.1f}"]


def sections() -> str:
    """Both tables, in Markdown."""
    names = [*RULES, *STOCHASTIC]
    period = ("rule", "greatest error", "mean size", "mean (bias)", "bias below 0", "bias from 0 on")
    dots = ("rule", *(f"bias after {n:,}" for n in LENGTHS), f"spread after {LENGTHS[-1]:,}")
    return (
        "## The error of each rule\n\nAll 16-bit values, 8 bits dropped; in units of the last place that is kept.\n\n"
        + table(period, ([name, *errors(name)] for name in names))
        + f"\n\n## What a dot product makes of it\n\n{OUTPUTS} sums of products of int8 weights with inputs 0..127, each "
        "product rounded to drop 8 bits; difference to the exact sum in units of the last place that is kept.\n\n"
        + table(dots, ([name, *drift(name)] for name in names))
    )


def main() -> None:
    publish(sections(), options(__doc__, runs=1).parse_args().report)


if __name__ == "__main__":
    main()
