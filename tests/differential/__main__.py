"""Runs the live tests round after round until enough cases are compared, and writes what they found as a report.

Each round draws other cases. A round that has ended lies in a file of its own, so that an interrupted run goes on where
it stopped; the models of mismatches, shrunk, lie beside the rounds.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

from tests.differential.corpus import compare, models
from tests.differential.report import Totals, write

TESTS = {"tflite": "tests/live", "onnx": "tests/onnx"}
console = Console(stderr=True)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="TFLite cases to compare")
    parser.add_argument("--onnx", type=int, default=0, help="ONNX cases to compare")
    parser.add_argument("--per-round", type=int, default=50, help="cases for each op and engine in a round")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--select", default="", help="only tests that match this pytest -k expression")
    parser.add_argument("--folder", type=Path, default=Path("fxsim-differential"), help="rounds and reproducers")
    parser.add_argument(
        "--report", type=Path, help="write the report to this .md file; the recorded models of FXSIM_CORPUS come first"
    )
    return parser.parse_args()


def run_round(asked: argparse.Namespace, kind: str, number: int, to: Path) -> bool:
    """One round of live tests into the file ``to``; True if any failed: the .log beside it tells which."""
    unfinished = to.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    environment = os.environ | {
        "FXSIM_LIVE_ROUND": str(number),
        "FXSIM_LIVE_EXAMPLES": str(asked.per_round),
        "FXSIM_LIVE_TALLIES": str(unfinished.resolve()),
        "FXSIM_LIVE_REPRODUCERS": str((asked.folder / f"{kind}-mismatches").resolve()),
    }
    command = [sys.executable, "-m", "pytest", TESTS[kind], "-n", str(asked.workers), "-p", "no:cacheprovider"]
    command += ["-k", asked.select] if asked.select else []
    done = subprocess.run([*command, "--tb=short"], env=environment, capture_output=True, text=True, check=False)
    if not unfinished.exists() or done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    if done.returncode:
        to.with_suffix(".log").write_text(done.stdout, encoding="utf-8")
    unfinished.rename(to)
    return done.returncode != 0


def run(asked: argparse.Namespace, kind: str, count: int) -> Totals:
    """Rounds of one kind of model until ``count`` cases are compared."""
    totals, number = Totals(), 1
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{kind} cases", total=count)
        while totals.cases < count:
            path = asked.folder / f"{kind}-{number:04}.jsonl"
            if not path.exists() and run_round(asked, kind, number, path):
                console.print(f"round {number}: failures, see {path.with_suffix('.log')}", style="red")
            totals.equal &= not path.with_suffix(".log").exists()
            before = totals.cases
            for line in path.read_text("utf-8").splitlines():
                totals.add(json.loads(line))
            if totals.cases == before:
                raise SystemExit(f"{path} holds no cases: nothing to compare")
            number += 1
            bar.update(task, completed=min(totals.cases, count))
    console.print(f"{kind}: {totals.summary()}")
    return totals


def main() -> int:
    """Exit code 1 if any test failed."""
    asked = arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    found = {kind: run(asked, kind, count) for kind, count in (("tflite", asked.count), ("onnx", asked.onnx)) if count}
    equal = all(t.equal for t in found.values())
    if asked.report:
        folder = os.environ.get("FXSIM_CORPUS", "")
        recorded = [c for name in track(models(Path(folder)), "recorded models", console=console)
                    for c in compare(Path(folder), name)] if folder else []  # fmt: skip
        equal &= not any(c.mismatches for c in recorded)
        counts = f"--count {asked.count} --onnx {asked.onnx} --per-round {asked.per_round}"
        write(asked.report, found, recorded, f"python -m tests.differential {counts} --report {asked.report.name}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
