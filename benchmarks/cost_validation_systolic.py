"""Cycles of systolic arrays against SCALE-Sim: its recorded runs, and layers that it simulates now.

The live part needs a Python of another environment with ``scalesim==3.0.0`` (and ``numpy<2``, which it asks for). It runs
SCALE-Sim in CALC mode, where no memory stalls the array, on layers that are in no recording; the drawn ones are other
layers for another seed.
"""

import csv
import random
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fxsim
from benchmarks.machine import table
from fxsim.cost.evidence import ErrorBand, band
from fxsim.model.graph import Graph

TOOL = "SCALE-Sim 3.0.0"
CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight : {rows}
ArrayWidth : {columns}
IfmapSramSzkB : 64
FilterSramSzkB : 64
OfmapSramSzkB : 64
IfmapOffset : 0
FilterOffset : 10000000
OfmapOffset : 20000000
Dataflow : {dataflow}
Bandwidth : 10
ReadRequestBuffer : 512
WriteRequestBuffer : 512
[layout]
IfmapCustomLayout : False
IfmapSRAMBankBandwidth : 10
IfmapSRAMBankNum : 10
IfmapSRAMBankPort : 2
FilterCustomLayout : False
FilterSRAMBankBandwidth : 10
FilterSRAMBankNum : 10
FilterSRAMBankPort : 2
[sparsity]
SparsitySupport : false
SparseRep : ellpack_block
OptimizedMapping : false
BlockSize : 8
RandomNumberGeneratorSeed : 40
[run_presets]
InterfaceBandwidth : CALC
UseRamulatorTrace : False
"""
PROGRAM = """
import sys
from scalesim.scale_sim import scalesim
config, topology, layout, gemm, out = sys.argv[1:]
s = scalesim(save_disk_space=True, verbose=False, config=config, topology=topology, layout=layout,
             input_type_gemm=gemm == "gemm")
s.run_scale(top_path=out)
"""
ARRAYS = ((4, 4), (12, 20), (16, 16), (32, 8), (48, 48))
DATAFLOWS = ("os", "ws", "is")
SEED = 7


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer in SCALE-Sim's words and in ours."""

    name: str
    kind: str
    line: str
    graph: Graph


@dataclass(frozen=True, slots=True)
class Compared:
    """One layer on one array."""

    array: str
    layer: str
    cycles: int
    scalesim: int


def _gemm(m: int, n: int, k: int) -> Layer:
    return Layer(f"gemm {m}x{n}x{k}", "gemm", f"{m}, {n}, {k},", fxsim.layer.gemm(m, n, k))


def _conv(size: int, in_c: int, out_c: int, kernel: int, stride: int) -> Layer:
    """A convolution without padding: SCALE-Sim has none."""
    name = f"conv {size}x{size}x{in_c}->{out_c} {kernel}x{kernel}/{stride}"
    line = f"{size}, {size}, {kernel}, {kernel}, {in_c}, {out_c}, {stride}, 1:1,"
    return Layer(name, "conv", line, fxsim.layer.conv2d(size, size, in_c, out_c, kernel, stride, "VALID"))


def layers(seed: int = SEED) -> list[Layer]:
    """Layers of odd sizes, and some drawn by chance."""
    draw = random.Random(seed)
    fixed = [_gemm(1, 10, 64), _gemm(37, 19, 71), _conv(11, 5, 7, 3, 2), _conv(9, 1, 33, 5, 1), _conv(14, 24, 16, 1, 1)]
    drawn = [_gemm(*(draw.randint(1, 90) for _ in range(3))) for _ in range(2)]
    for _ in range(2):
        kernel, stride = draw.randint(1, 4), draw.randint(1, 2)
        size = kernel + stride * draw.randint(0, 5)  # where the stride leaves a rest, SCALE-Sim has an output more
        drawn.append(_conv(size, draw.randint(1, 12), draw.randint(1, 40), kernel, stride))
    return fixed + drawn


def _ask(python: str, some: list[Layer], rows: int, columns: int, dataflow: str) -> list[int]:
    """SCALE-Sim's total cycles of layers of one kind."""
    gemm = some[0].kind == "gemm"
    head = (
        "Layer, M, N, K,"
        if gemm
        else "Layer, IfmapH, IfmapW, FilterH, FilterW, Channels, Num Filter, Strides, Sparsity,"
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "run.cfg").write_text(CONFIG.format(rows=rows, columns=columns, dataflow=dataflow), encoding="utf-8")
        lines = [head, *(f"layer{i}, {layer.line}" for i, layer in enumerate(some))]
        (place / "topology.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        layout = ["Layer," + " x," * 24, *(f"layer{i}," + " 1," * 24 for i in range(len(some)))]
        (place / "layout.csv").write_text("\n".join(layout) + "\n", encoding="utf-8")
        files = [str(place / n) for n in ("run.cfg", "topology.csv", "layout.csv")]
        done = subprocess.run(
            [python, "-c", PROGRAM, *files, "gemm" if gemm else "conv", folder],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        report = place / "run" / "COMPUTE_REPORT.csv"
        if not report.exists():
            raise SystemExit(f"{python}: SCALE-Sim made no report: {done.stderr.strip()[-400:]}")
        with report.open(newline="", encoding="utf-8") as f:
            found = [{k.strip(): v for k, v in row.items() if k} for row in csv.DictReader(f)]
    return [int(float(row["Total Cycles"])) for row in found]


def live(python: str, seed: int = SEED) -> Iterator[Compared]:
    """Every layer on every array and dataflow, by SCALE-Sim now and by fxsim."""
    for rows, columns in ARRAYS:
        for dataflow in DATAFLOWS:
            array = f"systolic-{rows}x{columns}-{dataflow}"
            for kind in ("gemm", "conv"):
                some = [layer for layer in layers(seed) if layer.kind == kind]
                for layer, theirs in zip(some, _ask(python, some, rows, columns, dataflow), strict=True):
                    (cost,) = fxsim.estimate(layer.graph, array).layers
                    yield Compared(array, layer.name, cost.estimate.cycles, theirs)


def recorded(corpus: Path) -> Iterator[Compared]:
    """The runs of ``cost/scalesim.csv``: total cycles, in USER mode less the stalls."""
    with (corpus / "cost" / "scalesim.csv").open(newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            array = f"systolic-{row['array']}x{row['array']}-{row['dataflow']}"
            m, n, k = (int(row[c]) for c in "MNK")
            (cost,) = fxsim.estimate(fxsim.layer.gemm(m, n, k), array).layers
            stall = int(row["Stall Cycles"]) if row["mode"] == "USER" else 0
            name = f"{row['layer']} {row['mode']}"
            yield Compared(array, name, cost.estimate.cycles, int(row["Total Cycles"]) - stall)


def bands(corpus: Path) -> dict[str, dict[str, ErrorBand]]:
    """The error band of all arrays."""
    errors = [c.cycles / c.scalesim - 1 for c in recorded(corpus)]
    source = "CALC runs, and USER runs less their stalls; nine layers, three dataflows, arrays of 8 x 8 to 256 x 256"
    return {"systolic": {"latency": band(errors, source, against=TOOL)}}


def _equal(rows: Iterable[Compared]) -> str:
    found = list(rows)
    return f"{sum(r.cycles == r.scalesim for r in found)} of {len(found)} runs have equal cycles"


def section(corpus: Path, python: str | None) -> str:
    """The report's part on systolic arrays, in Markdown."""
    text = [
        f"## Systolic arrays against {TOOL}",
        "",
        f"Recorded (total cycles in CALC mode, total less stalls in USER mode): {_equal(recorded(corpus))}.",
        "",
    ]
    if python is None:
        return "\n".join((*text, "Live runs: left out, since this report was made without `--scalesim PYTHON`.", ""))
    now = list(live(python))
    arrays = list(dict.fromkeys(r.array for r in now))
    lines = [
        [layer, *(f"{r.cycles:,}" + ("" if r.cycles == r.scalesim else f" ({r.scalesim:,})") for r in now
                  if r.layer == layer)]
        for layer in dict.fromkeys(r.layer for r in now)
    ]  # fmt: skip
    said = (
        f"Live, on layers that are in no recording: {_equal(now)}. Cycles (SCALE-Sim's in brackets where they differ):"
    )
    return "\n".join((*text, said, "", table(["layer", *(a.removeprefix("systolic-") for a in arrays)], lines), ""))
