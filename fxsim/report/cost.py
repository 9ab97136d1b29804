"""The cost of a network as a table, totals, a figure and files: one row a layer, every unit in the column's name."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from fxsim.cost.energy import HOST
from fxsim.cost.estimate import energy_columns, estimate_graph
from fxsim.cost.evidence import METRICS, ErrorBand
from fxsim.cost.layer import CLASSES, Estimate, LayerCost, memory_cycles
from fxsim.cost.memory import MemoryPlan, plan
from fxsim.cost.profiles import Mcu, Overlap
from fxsim.errors import OutputError, listed
from fxsim.files import atomic_write
from fxsim.layer import network
from fxsim.model.graph import Graph
from fxsim.targets import Target, load_target, overlapped, priced

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
TEXTS = ("csv", "json", "html")
UNITS = {"cycles": "cycles", "bytes": "B", "pj": "pJ", "us": "µs", "macs": "MAC", "utilization": "1", "share": "1"}
"""unit of a column, by the last part of its name"""


def unit_of(column: str) -> str:
    """The unit of a column, or nothing where it has none."""
    return UNITS.get(column.rsplit("_", 1)[-1], "")


def estimate(
    model: Graph | Sequence[Graph] | str | os.PathLike[str],
    target: str | os.PathLike[str] | Target = "cortex-m4",
    overlap: Overlap | None = None,
    technology: str | None = None,
) -> "Cost":
    """Cycles, traffic, energy and memory of one inference of ``model`` on ``target``, layer by layer.

    Args:
        model: a graph, the path of a model file, or a list of layers from :mod:`fxsim.layer`.
        target: the name of a shipped target, the path of a profile (.toml), or a loaded target.
        overlap: how computing and fetching go together on a microcontroller, DSP or systolic array, other than the
            profile says: ``sum``, ``max`` or ``pipelined``.
        technology: the table of energies of an accelerator or DSP, other than its profile's: ``45nm`` or ``7nm``.

    Raises:
        ModelError: if the model cannot be read. ProfileError: if the target is unknown or its profile is not sound.
    """
    if isinstance(model, str | os.PathLike):
        from fxsim.importers import read

        model = read(model)
    elif not isinstance(model, Graph):
        model = network(model)
    chosen = target if isinstance(target, Target) else load_target(os.fspath(target))
    chosen = overlapped(chosen, overlap) if overlap else chosen
    chosen = priced(chosen, technology) if technology else chosen
    layers = estimate_graph(model, chosen.profile, chosen.host)
    return Cost(Path(model.name).name, chosen, layers, plan(model, layers))


@dataclass(frozen=True)
class Cost:
    """The cost of one inference of a network on a target.

    Columns of :attr:`table`: layer, name, op, runs_on; macs, one product and its addition each, those with padding
    included; cycles (of the target's clock), compute_cycles (with perfect memories), memory_cycles (slowest memory
    alone); bound, the resource that takes longest, next_bound, the one after it, and slack_cycles, by how much less;
    utilization, macs / (cycles * peak MACs per cycle); read_bytes and write_bytes over all memories, weight_bytes as
    stored; energy_pj; time_us; bytes that each memory delivers and takes; the parts of the energy; on an accelerator
    host_pj, whole-chip energy of the host, which is not part of energy_pj; traffic by class of tensor over all memories;
    live_ram_bytes, activations and scratch in use while the layer runs.
    """

    model: str
    target: Target
    layers: tuple[LayerCost, ...]
    plan: MemoryPlan

    def rows(self) -> list[dict[str, Any]]:
        """One dict a layer, with the columns of :attr:`table`."""
        return [self._row(c, live) for c, live in zip(self.layers, self.plan.live_bytes, strict=True)]

    def _row(self, c: LayerCost, live_bytes: int) -> dict[str, Any]:
        e = c.estimate
        row: dict[str, Any] = {
            "layer": c.layer,
            "name": c.name,
            "op": c.op,
            "runs_on": e.runs_on,
            "macs": c.macs,
            "cycles": e.cycles,
            "compute_cycles": e.compute_cycles,
            "memory_cycles": e.memory_cycles,
            "bound": e.bound,
            **self._slack(e),
            "utilization": c.utilization,
            "read_bytes": sum(f.read_bytes for f in e.flows),
            "write_bytes": sum(f.write_bytes for f in e.flows),
            "weight_bytes": c.weight_bytes,
            "energy_pj": sum(v for k, v in e.energy_pj if k != HOST),
            "time_us": c.time_s * 1e6,
        }
        for m in self.target.profile.memories:
            row[f"{m}_read_bytes"] = sum(f.read_bytes for f in e.flows if f.memory == m)
            row[f"{m}_write_bytes"] = sum(f.write_bytes for f in e.flows if f.memory == m)
        row.update(e.energy_pj)
        for t in CLASSES:
            row[f"{t}_traffic_bytes"] = sum(f.read_bytes + f.write_bytes for f in e.flows if f.tensor == t)
        row["live_ram_bytes"] = live_bytes
        return row

    def _slack(self, e: Estimate) -> dict[str, Any]:
        """The resource that would bind if the first were much faster, and how many cycles less it takes."""
        busy = {"compute": e.compute_cycles} | memory_cycles(e.flows, self.target.profile.bytes_per_cycle)
        first = busy.pop(e.bound, 0)
        second = max(busy, key=lambda k: busy[k])
        found = e.cycles > 0 and busy[second] > 0
        return {"next_bound": second if found else "none", "slack_cycles": first - busy[second] if found else 0}

    def spent(self, c: LayerCost) -> dict[str, float]:
        """Seconds of a layer by what they go to: computing, and waiting for the slowest memory; or all to the host."""
        e, profile = c.estimate, self.target.profile
        if e.runs_on not in (profile.name, f"{profile.name}-scalar"):
            return {"host": c.time_s}
        busy = memory_cycles(e.flows, profile.bytes_per_cycle)
        slowest = max(busy, key=lambda m: busy[m])
        cycles = {"compute": min(e.compute_cycles, e.cycles), slowest: max(0, e.cycles - e.compute_cycles)}
        if isinstance(profile, Mcu):  # the kernel's own loads run beside it, the flash makes it wait
            ram, rom = profile.memory_of("activations"), profile.memory_of("constants")
            late = max(0, min(busy[ram], e.cycles) - e.compute_cycles)
            cycles = {"compute": min(e.compute_cycles, e.cycles), ram: late}
            cycles[rom] = cycles.get(rom, 0) + e.cycles - cycles["compute"] - late
        return {k: v * c.time_s / e.cycles for k, v in cycles.items()}

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row a layer."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def totals(self) -> dict[str, Any]:
        """Sums over the layers, and what only the whole network has; plain Python values."""
        profile, rows = self.target.profile, self.rows()
        skip = (
            "layer",
            "name",
            "op",
            "runs_on",
            "bound",
            "next_bound",
            "slack_cycles",
            "utilization",
            "live_ram_bytes",
        )
        total: dict[str, Any] = {"layers": len(rows)}
        columns = rows[0] if rows else {}
        total |= {k: sum(r[k] for r in rows) for k in columns if k not in skip}
        cycles, macs = total.get("cycles", 0), total.get("macs", 0)
        by_bound: dict[str, int] = {}
        for r in rows:
            by_bound[r["bound"]] = by_bound.get(r["bound"], 0) + r["cycles"]
        elsewhere = sum(r["cycles"] for r in rows if r["runs_on"] not in (profile.name, "-"))
        memories = profile.memories
        ram, rom = profile.memory_of("activations"), profile.memory_of("constants")
        if "cache" in memories[ram].holds:
            ram = rom
        ram_size, rom_size = int(memories[ram].size.value), int(memories[rom].size.value)
        p = self.plan
        both = p.peak_ram_bytes + p.flash_bytes <= ram_size if ram == rom else True
        return total | {
            "utilization": macs / (cycles * profile.peak_macs.value) if cycles else 0.0,
            "bound": max(by_bound, key=lambda b: by_bound[b]) if by_bound else "none",
            "fallback_share": elsewhere / cycles if cycles else 0.0,
            "pj_per_mac": total["energy_pj"] / macs if macs else 0.0,
            "peak_ram_bytes": p.peak_ram_bytes,
            "arena_bytes": p.arena_bytes,
            "variable_bytes": p.variable_bytes,
            "constant_bytes": p.constant_bytes,
            "flash_bytes": p.flash_bytes,
            "ram_size_bytes": ram_size,
            "flash_size_bytes": rom_size,
            "fits": bool(p.peak_ram_bytes <= ram_size and p.flash_bytes <= rom_size and both),
        }

    @cached_property
    def total(self) -> "pd.Series":
        """Sums over the layers; peak RAM, flash, and whether they fit; the share of cycles off the accelerator."""
        import pandas as pd

        return pd.Series(self.totals(), dtype=object)

    @property
    def bands(self) -> Mapping[str, ErrorBand]:
        """``latency`` and ``energy`` -> how far off estimates were: median, p90, rows, against, source, extrapolated."""
        return {m: self.target.profile.band(m) for m in METRICS}

    @property
    def band(self) -> ErrorBand:
        """The band of the latency."""
        return self.bands["latency"]

    @property
    def energy_is(self) -> str:
        """The world of ``energy_pj``: of the whole chip, or of operations and accesses; the two do not compare."""
        return "whole chip" if self.target.kind == "mcu" else "operations and accesses"

    @property
    def unmeasured(self) -> dict[int, str]:
        """Layers that no measurement backs, and why; for targets whose error band is known."""
        if not any(b.rows for b in self.bands.values()):
            return {}
        own = (self.target.profile.name, "-")
        found = {}
        for c in self.layers:
            why = c.unmeasured if c.estimate.runs_on in own else f"on the host {c.estimate.runs_on}, not compared"
            if why and c.estimate.cycles:
                found[c.layer] = why
        return found

    @property
    def extrapolated(self) -> list[str]:
        """What lies outside of the measurements that the error band rests on."""
        found = list(dict.fromkeys(b.extrapolated for b in self.bands.values() if b.extrapolated))
        cycles = sum(c.estimate.cycles for c in self.layers)
        for why in dict.fromkeys(self.unmeasured.values()):
            share = sum(c.estimate.cycles for c in self.layers if self.unmeasured.get(c.layer) == why) / cycles
            found.append(f"{why}: {share:.0%} of the cycles")
        return found

    @property
    def energy_parts(self) -> tuple[str, ...]:
        """The columns that add up to ``energy_pj``."""
        return energy_columns(self.target.profile)

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Time and energy of each layer, roofline, RAM over time. Written to ``path`` if given.

        Raises:
            OutputError: if the suffix is not png, svg or pdf, or the file cannot be written.
        """
        from fxsim.report.cost_figure import draw

        figure = draw(self)
        if path is not None:
            save_figure(figure, path)
        return figure

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes :attr:`table`, with exact integers and shortest round-trip floats."""
        return atomic_write(path, self.text("csv").encode())

    def as_dict(self) -> Mapping[str, Any]:
        """Everything, as plain Python values."""
        rows, profile = self.rows(), self.target.profile
        return {
            "model": self.model,
            "target": profile.name,
            "kind": profile.kind,
            "description": profile.description,
            "evidence": profile.evidence,
            "error_band": {k: to_builtins(b) for k, b in self.bands.items()},
            "extrapolated": self.extrapolated,
            "energy_is": self.energy_is,
            "technology": profile.technology,
            "clock_hz": profile.clock.value,
            "units": {c: unit_of(c) for c in (rows[0] if rows else {}) if unit_of(c)},
            "total": self.totals(),
            "layers": rows,
        }

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Writes :meth:`as_dict`."""
        return atomic_write(path, self.text("json").encode())

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes a page that needs no other file: totals, figure, table, and the constants it all rests on."""
        return atomic_write(path, self.text("html").encode())

    def text(self, kind: str) -> str:
        """What :meth:`to_csv`, :meth:`to_json` and :meth:`to_html` write.

        Raises:
            OutputError: if there is no such kind.
        """
        if kind not in TEXTS:
            raise OutputError(f"format is {kind!r}; allowed: {listed(TEXTS)}")
        if kind == "csv":
            return str(self.table.to_csv(index=False))
        if kind == "json":
            return json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n"
        from fxsim.report.cost_page import page

        return page(self)


def save_figure(figure: "Figure", path: str | os.PathLike[str]) -> Path:
    """Writes a figure in the format that the path's suffix names.

    Raises:
        OutputError: if that is not png, svg or pdf, or the file cannot be written.
    """
    from fxsim.report.figures import image

    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise OutputError(f"{path}: suffix is {suffix!r}; allowed: {listed(FORMATS)}")
    return atomic_write(path, image(figure, suffix))
