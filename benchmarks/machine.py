"""What all reports share: the sentence on machine and versions, tables, options, and how a report is published."""

import argparse
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from fxsim.files import atomic_write


def machine(*packages: str) -> str:
    """``AMD EPYC, 2 CPUs; Python 3.11.7, numba 0.68.1, ...``."""
    lines = open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else []
    cpu = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), platform.machine())
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    return f"{cpu}, {os.cpu_count()} CPUs; Python {platform.python_version()}, {versions}"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    cells = [list(head), *([str(c) for c in row] for row in rows)]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join(f"| {' | '.join(row)} |".replace("| ---", "|---").replace("--- |", "---|") for row in cells)


def options(doc: str | None, runs: int) -> argparse.ArgumentParser:
    """``--runs`` and ``--report``, which all benchmarks have."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--report", type=Path)
    return parser


def publish(text: str, report: Path | None) -> None:
    """Prints a report, and writes it to a file if one is named."""
    print(text)
    if report:
        atomic_write(report, text.encode())
