"""A matrix product of +1 and -1 by XNOR and population count against numpy's in float32, side by side, one thread each.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.binary [--runs 15] [--report reports/binary.md]

``packed`` is the kernel on packed words, ``values`` a whole call of ``xnor_matmul`` on int8 arrays, checks and packing and
all. Runs alternate, so that a machine whose speed drifts slows all; medians and the median ratio are printed.
"""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.machine import machine, options, publish, table
from fxsim.fixed.binary import xnor_matmul
from fxsim.fixed.packing import CODECS

SHAPES = ((1024, 1024, 1024), (1, 1024, 1024), (256, 4096, 4096), (784, 576, 64), (128, 100, 10))
"""rows, products a sum, columns"""


def seconds(work: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def measure(shape: tuple[int, int, int], runs: int) -> list[float]:
    """Median milliseconds of the three ways, and the median ratio of numpy to the kernel."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = (rng.choice(np.array([-1, 1], np.int8), s) for s in ((m, k), (k, n)))
    fa, fb = a.astype(np.float32), b.astype(np.float32)
    pa, pb = CODECS["larq_bits"].pack(a), CODECS["larq_bits"].pack(b.T)

    def packed() -> np.ndarray:
        return xnor_matmul(pa, pb, depth=k)

    def values() -> np.ndarray:
        return xnor_matmul(a, b)

    def numpy() -> np.ndarray:
        return fa @ fb

    assert np.array_equal(packed(), numpy()) and np.array_equal(values(), numpy()), f"{shape}: products differ"
    repeats = max(1, 10**8 // (m * k * n))
    times = [[seconds(f, repeats) for f in (packed, values, numpy)] for _ in range(runs)]
    return [1e3 * statistics.median(t) for t in zip(*times, strict=True)] + [
        statistics.median(t[2] / t[0] for t in times)
    ]


def main() -> None:
    args = options(__doc__, runs=15).parse_args()
    rows = []
    for shape in SHAPES:
        packed, values, numpy, ratio = measure(shape, args.runs)
        size = "x".join(map(str, shape))
        rate = np.prod(shape) / packed / 1e6
        rows.append((size, f"{packed:.4f}", f"{rate:.0f}", f"{values:.4f}", f"{numpy:.4f}", f"{ratio:.1f}"))
    head = (
        "rows x products x columns",
        "packed, ms",
        "G products/s",
        "values, ms",
        "numpy float32, ms",
        "numpy / packed",
    )
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    notes = (
        f"Medians of {args.runs} alternating runs; products equal in every element. OPENBLAS_NUM_THREADS: {threads}. "
        f"{machine('numba', 'llvmlite', 'numpy')}.\n\nMade by "
        f"`python -m benchmarks.binary --runs {args.runs}`."
    )
    publish(f"# Binary matrix products\n\n{table(head, rows)}\n\n{notes}\n", args.report)


if __name__ == "__main__":
    main()
