"""The cost of a network as a table, totals, a figure and files: one row a layer, every unit in the column's name."""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from fxsim.cost.estimate import energy_columns, estimate_graph
from fxsim.cost.layer import CLASSES, LayerCost
from fxsim.cost.memory import MemoryPlan, plan
from fxsim.cost.profiles import Overlap
from fxsim.cost.quantity import constants
from fxsim.errors import OutputError, listed
from fxsim.files import atomic_write
from fxsim.layer import network
from fxsim.model.graph import Graph
from fxsim.targets import Target, load_target, overlapped

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
) -> "Cost":
    """Cycles, traffic, energy and memory of one inference of ``model`` on ``target``, layer by layer.

    Args:
        model: a graph, the path of a model file, or a list of layers from :mod:`fxsim.layer`.
        target: the name of a shipped target, the path of a profile (.toml), or a loaded target.
        overlap: how computing and fetching go together on a microcontroller or DSP, other than the profile says: ``sum``,
            ``max`` or ``pipelined``.

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
    layers = estimate_graph(model, chosen.profile, chosen.host)
    return Cost(Path(model.name).name, chosen, layers, plan(model, layers))


@dataclass(frozen=True)
class Cost:
    """The cost of one inference of a network on a target.

    Columns of :attr:`table`: layer, name, op, runs_on; macs; cycles (of the target's clock), compute_cycles (with
    perfect memories), memory_cycles (slowest memory alone); bound, the resource that takes longest; utilization, macs
    / (cycles * peak MACs per cycle); read_bytes and write_bytes over all memories, weight_bytes as stored; energy_pj;
    time_us; bytes that each memory delivers and takes; the parts of the energy; traffic by class of tensor over all
    memories; live_ram_bytes, activations and scratch in use while the layer runs.
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
            "utilization": c.utilization,
            "read_bytes": sum(f.read_bytes for f in e.flows),
            "write_bytes": sum(f.write_bytes for f in e.flows),
            "weight_bytes": c.weight_bytes,
            "energy_pj": sum(v for _, v in e.energy_pj),
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

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row a layer."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def totals(self) -> dict[str, Any]:
        """Sums over the layers, and what only the whole network has; plain Python values."""
        profile, rows = self.target.profile, self.rows()
        skip = ("layer", "name", "op", "runs_on", "bound", "utilization", "live_ram_bytes")
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
    def unmeasured(self) -> dict[int, str]:
        """Layers that no measurement backs, and why; for targets whose error band is known."""
        known = any(b.rows for b in self.target.profile.error_band.values())
        return {c.layer: c.unmeasured for c in self.layers if known and c.unmeasured and c.estimate.cycles}

    @property
    def extrapolated(self) -> list[str]:
        """What lies outside of the measurements that the error band rests on."""
        bands = self.target.profile.error_band
        found = list(dict.fromkeys(b.extrapolated for b in bands.values() if b.extrapolated))
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
        """Bars for each layer: time by what binds it, energy by part, RAM in use. Written to ``path`` if given.

        Raises:
            OutputError: if the suffix is not png, svg or pdf, or the file cannot be written.
        """
        from fxsim.report.cost_figure import draw, image

        figure = draw(self)
        if path is not None:
            suffix = Path(path).suffix.lower().lstrip(".")
            if suffix not in FORMATS:
                raise OutputError(f"{path}: suffix is {suffix!r}; allowed: {listed(FORMATS)}")
            atomic_write(path, image(figure, suffix))
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
            "error_band": {k: to_builtins(b) for k, b in profile.error_band.items()},
            "extrapolated": self.extrapolated,
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
        return self._page()

    def _page(self) -> str:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        from fxsim.report.cost_figure import draw, image

        loader = PackageLoader("fxsim", "report/templates")
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        environment.filters["number"] = show
        profiles = [self.target.profile] + ([self.target.host] if self.target.host else [])
        return environment.get_template("cost.html.j2").render(
            cost=self.as_dict(),
            unit_of=unit_of,
            picture=base64.b64encode(image(draw(self), "png")).decode(),
            profiles=[(p.name, constants(p)) for p in profiles],
        )


def show(value: object) -> str:
    """A table cell: thin spaces between thousands, four digits of a fraction."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1e4):
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
