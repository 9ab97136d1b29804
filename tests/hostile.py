"""Reads as many mutated model files as asked: ``python -m tests.hostile --count 100000``.

Each is read or refused with an FxsimError; every tenth of those that are read is also simulated and priced. A process of
its own reads each thousand, so that a crash of the interpreter would be seen and its file kept.
"""

import argparse
import multiprocessing
import os
import random
import resource
import struct
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

CHUNK = 1000
LIMIT_SECONDS, LIMIT_BYTES = 10.0, 2 << 30
WORDS = (0, 1, 2, 3, 127, 128, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000000, 0x00FFFFFF)
console = Console(stderr=True)


@dataclass(slots=True)
class Result:
    """What became of a thousand files."""

    read: int = 0
    refused: int = 0
    simulated: int = 0
    slowest: float = 0.0
    peak_bytes: int = 0
    fault: str = ""


def seeds(suffix: str) -> list[bytes]:
    """Sound files to mutate."""
    if suffix == ".onnx":
        from tests.onnx.networks import KINDS, Network

        return [
            Network(
                tuple(KINDS[(3 * i + j) % len(KINDS)] for j in range(4)), dtype, i % 2 == 0, i % 3 == 0, True, i
            ).build()[0]
            for i, dtype in enumerate(("uint8", "int8") * 6)
        ]
    found = [Path(__file__).parent.parent / "fxsim" / "data" / "digits_int8.tflite"]
    folder = os.environ.get("FXSIM_CORPUS", "")
    if folder:
        found += [p for p in sorted(Path(folder, "models").glob("**/*.tflite")) if p.stat().st_size < 64 << 10]
    return [p.read_bytes() for p in found]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """``data`` with single bytes and words changed, cut off, or with parts moved."""
    out = bytearray(data)
    kind = rng.random()
    if kind < 0.05:
        return bytes(out[: rng.randrange(len(out))])
    if kind < 0.1:
        a, b, n = rng.randrange(len(out)), rng.randrange(len(out)), rng.randrange(1, 64)
        out[a : a + n] = out[b : b + n]
        return bytes(out)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(0, len(out) - 4)
        if rng.random() < 0.5:
            out[at] = rng.randrange(256)
        else:
            struct.pack_into("<I", out, at & ~3, rng.choice((*WORDS, len(out), len(out) - 4, rng.getrandbits(16))))
    return bytes(out)


def attempt(data: bytes, suffix: str, *, run: bool) -> str:
    """``read``, ``refused`` or ``simulated``."""
    import fxsim
    from fxsim.errors import FxsimError
    from fxsim.importers import READERS, parse

    done = "refused"
    try:
        graph = parse(data, "hostile" + suffix, READERS[suffix])
        done = "read"
        if run and sum(t.nbytes for t in graph.tensors) < 64 << 20:
            x = [np.zeros(graph.tensors[i].shape, graph.tensors[i].qtype.dtype) for i in graph.inputs]
            fxsim.simulate(graph, x, "litert-reference" if suffix == ".tflite" else "onnxruntime")
            fxsim.estimate(graph, "cortex-m4").totals()
            done = "simulated"
    except FxsimError:
        pass
    return done


def thousand(job: tuple[str, int]) -> Result:
    """One chunk, in a process that may die."""
    suffix, number = job
    rng, result, originals = random.Random(f"{suffix}{number}"), Result(), seeds(suffix)
    last = Path(f"hostile-last-{os.getpid()}{suffix}")
    try:
        for n in range(CHUNK):
            data = mutate(rng.choice(originals), rng)
            last.write_bytes(data)
            start = time.perf_counter()
            try:
                done = attempt(data, suffix, run=n % 10 == 0)
            except Exception as e:  # whatever else is raised is what this run looks for
                result.fault = f"{type(e).__name__}: {e}"[:300]
                Path(f"hostile-fault-{number}{suffix}").write_bytes(data)
                return result
            result.slowest = max(result.slowest, time.perf_counter() - start)
            result.refused += done == "refused"
            result.read += done != "refused"
            result.simulated += done == "simulated"
        result.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    finally:
        last.unlink(missing_ok=True)
    return result


def main() -> int:
    """Exit code 1 if any file was neither read nor refused, in time and memory."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    jobs = [((".tflite", ".onnx")[i % 2], i) for i in range(-(-asked.count // CHUNK))]
    totals = {suffix: Result() for suffix in (".tflite", ".onnx")}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.workers, mp_context=spawn) as pool:
        done = track(pool.map(thousand, jobs), "files", len(jobs), console=console)
        for (suffix, _), r in zip(jobs, done, strict=True):
            t = totals[suffix]
            t.read, t.refused, t.simulated = t.read + r.read, t.refused + r.refused, t.simulated + r.simulated
            t.slowest, t.peak_bytes, t.fault = (
                max(t.slowest, r.slowest),
                max(t.peak_bytes, r.peak_bytes),
                t.fault or r.fault,
            )
    bad = False
    for suffix, t in totals.items():
        print(
            f"{suffix}: {t.read + t.refused:,} files: {t.refused:,} refused, {t.read:,} read, of which {t.simulated:,} "
            f"simulated and priced; slowest {t.slowest:.2f} s, peak {t.peak_bytes / 2**20:.0f} MiB"
            f"{t.fault and '; ' + t.fault}"
        )
        bad |= bool(t.fault) or t.slowest > LIMIT_SECONDS or t.peak_bytes > LIMIT_BYTES
    return bad


if __name__ == "__main__":
    sys.exit(main())
