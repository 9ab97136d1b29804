"""Synthetic devices: is the arithmetic found that a device is one or two quirks off with, and is nothing else left.

    python -m benchmarks.explain_devices [--devices 500] [--rows FILE.jsonl] [--processes 2] [--report FILE]

Each device is a random layer that the simulator runs with a random shipped arithmetic and one or two quirks; it differs
from its user's simulation on the four inferences of its dump. ``explain`` is first given that dump, then the device to
ask. Devices in ``--rows`` are not asked again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.machine import machine, options, publish, table
from tests.diagnose.devices import Row, identified


def rows(count: int, kept: Path | None, processes: int) -> list[Row]:
    """Every device's row; new ones are added to ``kept`` as they come."""
    known = {row.seed: row for row in _read(kept)}
    wanted = [seed for seed in range(count) if seed not in known]
    with ProcessPoolExecutor(processes) as pool:
        made = as_completed([pool.submit(identified, seed) for seed in wanted])
        for done in track(made, "devices", len(wanted), console=Console(stderr=True), disable=not os.isatty(2)):
            row = done.result()
            known[row.seed] = row
            if kept is not None:
                with kept.open("a") as f:
                    f.write(json.dumps(asdict(row)) + "\n")
    return [known[seed] for seed in range(count)]


def _read(path: Path | None) -> Iterator[Row]:
    if path is not None and path.exists():
        yield from (Row(**json.loads(line)) for line in path.read_text().splitlines())


def share(part: int, whole: int) -> str:
    """``490 of 500 (98.0 %)``."""
    return f"{part} of {whole} ({100 * part / whole:.1f} %)"


def report(found: list[Row]) -> str:
    """The figures, the table by kind of quirk, and what is left."""
    seconds, queries = np.array([r.seconds for r in found]), np.array([r.queries for r in found])
    axes = sorted({axis for r in found for axis in r.quirks})
    by_axis = []
    for axis in axes:
        of = [r for r in found if axis in r.quirks]
        held, settled = sum(r.held for r in of), sum(r.settled for r in of)
        kinds = int(np.median([r.kinds for r in of]))
        by_axis.append((axis, len(of), held, settled, kinds, int(np.median([r.queries for r in of]))))
    open_ = [r for r in found if not r.settled]
    left = [(r.seed, r.layer, r.true, r.kinds_after, "; ".join(r.left[:2]) or "nothing fits") for r in open_]
    others = Counter(words.split(",")[0] for r in open_ for words in r.left[:1])
    return "\n".join([
        "# Synthetic devices\n",
        f"{machine('numpy', 'numba')}. CPU time of one thread.\n",
        f"- true arithmetic in the class that the dump leaves: {share(sum(r.held for r in found), len(found))}",
        "- alone, or proved equal to all that remain, after the device was asked: "
        f"{share(sum(r.settled for r in found), len(found))}",
        f"- runs of the device, its dump's four among them: median {np.median(queries):.0f}, most {queries.max()}",
        f"- seconds a device: median {np.median(seconds):.1f}, most {seconds.max():.1f}\n",
        "## By quirk\n\nA device with two quirks counts for both. Functions left by the dump and runs: medians.\n",
        table(("quirk", "devices", "held", "settled", "functions left by the dump", "runs"), by_axis),
        "\n## What is left\n",
        table(("device", "layer", "true", "functions left", "for example"), left) if left else "Nothing.",
        "" if not others else "\n" + ", ".join(f"{n} times {words}" for words, n in others.most_common()),
        f"\nMade by `python -m benchmarks.explain_devices --devices {len(found)}`.",
    ])  # fmt: skip


def main() -> None:
    parser = options(__doc__, 1)
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--rows", type=Path, help="JSON lines: read first, added to")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    publish(report(rows(asked.devices, asked.rows, asked.processes)), asked.report)


if __name__ == "__main__":
    main()
