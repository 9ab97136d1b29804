"""Ethos-U estimates against Arm Vela 5.2.0: recorded networks, and networks that Vela compiles now.

    FXSIM_CORPUS=<folder> python -m benchmarks.cost_validation_ethos [--vela FILE] [--report FILE]

``--vela`` names the ``vela`` program of another environment (``pip install ethos-u-vela==5.2.0``); it then compiles all
models of the corpus and networks drawn by chance. The cycle model, the blocks and the weight encoding were fitted on none
of them but the three that are recorded. Layers that fxsim leaves to the host are left out on our side; Vela prices what it
leaves to the host at one cycle, and runs some (LSTM) on the NPU.
"""

import csv
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fxsim
from benchmarks.ethos_generated import network
from benchmarks.machine import options, publish, table
from fxsim.errors import FxsimError
from fxsim.importers import read
from fxsim.model.graph import Graph

BYTES = {"sram": "sram_total_bytes", "dram": "dram_total_bytes", "flash": "off_chip_flash_total_bytes"}
LIVE = {
    "ethos-u55-32": "Ethos_U55_High_End_Embedded",
    "ethos-u55-128": "Ethos_U55_High_End_Embedded",
    "ethos-u55-256": "Ethos_U55_High_End_Embedded",
    "ethos-u65-256": "Ethos_U65_Embedded",
    "ethos-u65-512": "Ethos_U65_Embedded",
    "ethos-u85-256": "Ethos_U85_SYS_Flash_High",
    "ethos-u85-1024": "Ethos_U85_SYS_Flash_High",
}
MODE = "Shared_Sram"
BOUNDS = {"ethos-u55": 0.05, "ethos-u65": 0.05, "ethos-u85": 0.12}
BYTE_BOUND = 0.05
SEEDS = range(200, 240)
"""of the networks drawn by chance"""


@dataclass(frozen=True)
class Compared:
    """One network on one target."""

    accelerator: str
    within: str
    model: str
    cycles: int
    vela_cycles: int
    byte_ratios: dict[str, float]
    on_host: str
    """operators that the host runs, whose cycles are left out"""

    @property
    def ratio(self) -> float:
        """Ours to Vela's."""
        return self.cycles / self.vela_cycles


def compared(graph: Graph, model: str, row: dict[str, str], accelerator: str, system: str, mode: str) -> Compared:
    """An estimate beside a row of Vela's summary."""
    cost = fxsim.estimate(graph, f"{accelerator}@{system},{mode}")
    own = [c for c in cost.layers if c.estimate.runs_on == cost.target.profile.name]
    away = {c.op for c in cost.layers if c.estimate.runs_on not in ("-", cost.target.profile.name)}
    moved: dict[str, int] = defaultdict(int)
    for c in own:
        for f in c.estimate.flows:
            moved[f.memory] += f.read_bytes + f.write_bytes
    ratios = {
        m: moved[m] / float(row[k]) for m, k in BYTES.items() if m in cost.target.profile.memories and float(row[k])
    }
    cycles = sum(c.estimate.cycles for c in own)
    within = f"{system.removeprefix(accelerator[:9].title().replace('-', '_') + '_')}, {mode}"
    return Compared(accelerator, within, model, cycles, int(float(row["cycles_total"])), ratios, " ".join(sorted(away)))


def recorded(corpus: Path) -> Iterator[Compared]:
    """The networks of ``cost/vela_networks.csv``."""
    graphs: dict[str, Graph] = {}
    with open(corpus / "cost" / "vela_networks.csv", newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            if row["core"] == "regor":
                name = row["model"]
                graphs[name] = graphs.get(name) or read(corpus / "models" / f"{name}.tflite")
                yield compared(graphs[name], name, row, row["accelerator"], row["system_config"], row["memory_mode"])


def _summary(vela: str, model: Path, accelerator: str, folder: Path) -> dict[str, str] | None:
    """Vela's summary of a model; None if it refuses it, or gives it to the host as a whole."""
    place = ["--accelerator-config", accelerator, "--system-config", LIVE[accelerator], "--memory-mode", MODE]
    command = [vela, str(model), *place, "--config", "Arm/vela.ini", "--output-dir", str(folder)]
    subprocess.run(command, capture_output=True, check=False)
    for file in folder.glob("*_summary_*.csv"):
        with file.open(newline="", encoding="utf-8") as f:
            row = next(csv.DictReader(f))
        file.unlink()
        return row if float(row["cycles_total"]) > 0 else None
    return None


def live(models: Iterable[Path], vela: str) -> Iterator[Compared]:
    """All models that both can read."""
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            try:
                graph = read(model)
            except FxsimError:
                continue
            for accelerator, system in LIVE.items():
                row = _summary(vela, model, accelerator, Path(folder))
                if row:
                    yield compared(graph, model.stem, row, accelerator, system, MODE)


def generated(vela: str) -> Iterator[Compared]:
    """Networks drawn by chance."""
    with tempfile.TemporaryDirectory() as folder:
        models = [Path(folder) / f"seed_{seed}.tflite" for seed in SEEDS]
        for seed, model in zip(SEEDS, models, strict=True):
            model.write_bytes(network(seed))
        yield from live(models, vela)


def _within(values: Iterable[float], bound: float) -> str:
    found = [abs(v - 1) for v in values]
    return f"{sum(e <= bound for e in found)} of {len(found)}" if found else "-"


def section(title: str, rows: list[Compared]) -> str:
    """A summary by family, and a table of all networks."""
    families = []
    for family, bound in BOUNDS.items():
        own = [r for r in rows if r.accelerator.startswith(family)]
        if own:
            data = [_within([r.byte_ratios[m] for r in own if m in r.byte_ratios], BYTE_BOUND) for m in BYTES]
            worst = max(abs(r.ratio - 1) for r in own)
            families.append([family, f"{bound:.0%}", _within([r.ratio for r in own], bound), f"{worst:.1%}", *data])
    head = ["family", "bound", "cycles within", "worst", *(f"{m} bytes within {BYTE_BOUND:.0%}" for m in BYTES)]
    columns = ["accelerator", "system, mode", "model", "cycles", "Vela", "ratio", "bytes, ratio", "left out (host)"]
    lines = [
        [r.accelerator, r.within, r.model, f"{r.cycles:,}", f"{r.vela_cycles:,}", f"{r.ratio:.3f}",
         ", ".join(f"{m} {v:.3f}" for m, v in r.byte_ratios.items()), r.on_host]
        for r in rows
    ]  # fmt: skip
    return f"## {title}\n\n{table(head, families)}\n\n{table(columns, lines)}\n"


def sections(corpus: Path, vela: str | None) -> str:
    """All tables: the recorded networks and, if a ``vela`` program is named, those that it compiles now."""
    text = section("Ethos-U against Vela 5.2.0 (regor): recorded networks", list(recorded(corpus)))
    if vela:
        rows = list(live(sorted((corpus / "models").rglob("*.tflite")), vela))
        whole = [r for r in rows if not r.on_host]
        text += "\n" + section("Ethos-U: networks that the NPU runs as a whole, compiled by Vela now", whole)
        text += "\n" + section(
            "Ethos-U: networks of which fxsim leaves layers to the host", [r for r in rows if r.on_host]
        )
        text += "\n" + section("Ethos-U: networks drawn by chance, compiled by Vela now", list(generated(vela)))
    return text


def main() -> None:
    """Writes the report."""
    parser = options(__doc__, 1)
    parser.add_argument("--vela", help="the vela program of another environment")
    args = parser.parse_args()
    text = "# Ethos-U estimates and Vela 5.2.0\n\n" + sections(Path(os.environ["FXSIM_CORPUS"]), args.vela)
    publish(text, args.report)


if __name__ == "__main__":
    main()
