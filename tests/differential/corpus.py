"""The recorded models: every tensor and every output that an engine showed, against fxsim."""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fxsim
from fxsim.errors import FxsimError
from tests.golden import Golden, differing

PREFIXES = {"litert-reference": "ref", "litert-xnnpack": "xnn", "litert-optimized": "opt", "tflm": "tflm"}
"""numerics profile -> the recordings of its engine"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One model on one engine. ``note`` says why nothing was compared."""

    model: str
    engine: str
    elements: int = 0
    mismatches: int = 0
    seconds: float = 0.0
    note: str = ""


def models(corpus: Path) -> list[str]:
    """The names of all recorded models."""
    with open(corpus / "models" / "index.csv", newline="", encoding="utf-8") as f:
        return [row["golden"].removeprefix("golden/").removesuffix(".npz") for row in csv.DictReader(f)]


def compare(corpus: Path, name: str) -> Iterator[Compared]:
    """One model on every engine; all tensors of the reference kernels, the outputs of the others."""
    try:
        golden = Golden(corpus, name)
    except FxsimError as e:
        yield from (Compared(name, engine, note=f"fxsim: {e}") for engine in PREFIXES)
        return
    for engine, prefix in PREFIXES.items():
        if f"{prefix}0_out0" not in golden.arrays:
            yield Compared(name, engine, note="the engine refuses the model")
            continue
        start = time.perf_counter()
        try:
            elements, mismatches = _count(golden, engine, prefix)
        except FxsimError as e:
            yield Compared(name, engine, note=f"fxsim: {e}")
            continue
        yield Compared(name, engine, elements, mismatches, time.perf_counter() - start)


def _count(golden: Golden, engine: str, prefix: str) -> tuple[int, int]:
    everything = engine == "litert-reference"
    trace = fxsim.simulate(golden.graph, golden.inputs, engine, keep="all" if everything else "outputs")
    elements = mismatches = 0
    for i in range(golden.count):
        pairs = [(index, golden.arrays[f"{prefix}{i}_out{j}"]) for j, index in enumerate(golden.graph.outputs)]
        for index, recorded in (*pairs, *(golden.tensors(i) if everything else ())):
            ours = np.asarray(trace.tensor(index)[i] if index in trace.kept else trace.tensor(index))
            elements, mismatches = elements + ours.size, mismatches + differing(ours, recorded)
    return elements, mismatches
