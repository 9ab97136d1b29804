"""Where the time of an inference goes, layer by layer, and the pictures of :mod:`benchmarks.performance`."""

import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

import fxsim
from benchmarks.machine import table
from fxsim.files import atomic_write
from fxsim.kernels.packed import chain
from fxsim.model.ops import work
from fxsim.numerics import load_numerics
from fxsim.sim.base import address
from fxsim.sim.inputs import load_inputs, make_batch
from fxsim.sim.plan import Plan, Step, Workspace, prepare

if TYPE_CHECKING:
    from benchmarks.sides import Times

SHOWN = 12
"""layers in a table: the slowest"""


@dataclass(frozen=True)
class LayerTime:
    """One layer alone."""

    label: str
    microseconds: float
    macs: int
    compiled: bool


@dataclass(frozen=True)
class Profile:
    """All layers of a model, and a whole inference."""

    model: str
    numerics: str
    layers: tuple[LayerTime, ...]
    whole: float
    """microseconds"""

    def markdown(self) -> str:
        """The slowest layers."""
        total = sum(r.microseconds for r in self.layers)
        rows = [
            [r.label, f"{r.microseconds:.1f}", f"{r.microseconds / total:.1%}", f"{r.macs / 1e6:.2f}",
             f"{r.macs / r.microseconds / 1e3:.0f}" if r.macs else "", "" if r.compiled else "Python"]
            for r in sorted(self.layers, key=lambda r: -r.microseconds)[:SHOWN]
        ]  # fmt: skip
        rest = len(self.layers) - len(rows)
        others = total - sum(r.microseconds for r in sorted(self.layers, key=lambda r: -r.microseconds)[:SHOWN])
        if rest > 0:
            rows.append([f"{rest} others", f"{others:.1f}", f"{others / total:.1%}", "", "", ""])
        rate = sum(r.macs for r in self.layers) / self.whole / 1e3
        head = f"**{self.model}, {self.numerics}**: {self.whole:.1f} µs, {rate:.0f} GMAC/s; its layers alone {total:.1f} µs."
        return f"{head}\n\n{table(['layer', 'µs', 'share', 'million MACs', 'GMAC/s', ''], rows)}"


def _microseconds(run: Callable[[], object]) -> float:
    """The median of nine samples of some calls each."""
    run()
    start = time.perf_counter()
    run()
    repeats = max(1, int(1e-3 / max(time.perf_counter() - start, 1e-7)))
    samples = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        samples.append((time.perf_counter() - start) / repeats)
    return 1e6 * statistics.median(samples)


def _alone(plan: Plan, ws: Workspace, step: Step) -> Callable[[], object]:
    ins, outs = [ws.values[i] for i in step.inputs], [ws.values[i] for i in step.outputs]
    if step.native is None:
        return partial(step.run, ws, ins, outs)
    room = np.empty(step.native.room, np.uint8)
    block = step.native.block(ins, outs, room)
    ws.held.extend((room, block))
    return partial(chain(), np.array([(step.native.function().address, address(block))], np.int64))


def layers(path: Path, numerics: str) -> Profile:
    """Times each layer of a model."""
    graph = fxsim.read(path)
    plan, batch = prepare(graph, load_numerics(numerics)), make_batch(graph, load_inputs(graph, "random:1"))
    ws = plan.workspace()
    batch.load(0, ws.values)
    plan.run(ws)
    found = []
    for s in plan.executed(frozenset(graph.outputs)):
        shape = "x".join(map(str, graph.tensors[s.outputs[0]].shape[1:])) if s.outputs else ""
        took = _microseconds(_alone(plan, ws, s))
        found.append(
            LayerTime(f"{s.node.index} {s.node.op} {shape}", took, work(graph, s.node).macs, s.native is not None)
        )
    whole = plan.workspace(keep=frozenset(graph.outputs))  # as in a simulation: tensors share memory
    batch.load(0, whole.values)
    return Profile(path.stem, numerics, tuple(found), _microseconds(lambda: plan.run(whole)))


def _save(figure: Figure, path: Path) -> None:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight")
    atomic_write(path, data.getvalue())


def plot_ratios(path: Path, times: Mapping[str, "Times"]) -> None:
    """Milliseconds of one inference, every model and engine."""
    figure = Figure(figsize=(9, 3.8))
    axes = figure.subplots()
    sides = list(next(iter(times.values())).rounds)
    width = 0.8 / len(sides)
    for n, side in enumerate(sides):
        at = np.arange(len(times)) + (n - len(sides) / 2 + 0.5) * width
        axes.bar(at, [t.ms(side) for t in times.values()], width, label=side)
    axes.set_yscale("log")
    axes.set_xticks(range(len(times)), list(times))
    axes.set_ylabel("ms for one inference")
    axes.legend(fontsize=7, ncols=2)
    axes.grid(axis="y", alpha=0.3)
    _save(figure, path)


def plot_layers(path: Path, profiles: Sequence[Profile]) -> None:
    """Microseconds of each layer, and how fast it multiplies."""
    figure = Figure(figsize=(11, 2.3 * len(profiles)))
    for axes, p in zip(figure.subplots(len(profiles), 1), profiles, strict=True):
        spots = np.arange(len(p.layers))
        axes.bar(spots, [r.microseconds for r in p.layers], color=["C0" if r.compiled else "C1" for r in p.layers])
        axes.set_ylabel("µs", color="C0")
        axes.set_title(f"{p.model}, {p.numerics}: {p.whole:.0f} µs", fontsize=9)
        speed = axes.twinx()
        speed.plot(spots, [r.macs / r.microseconds / 1e3 or np.nan for r in p.layers], "k.", markersize=4)
        speed.set_ylabel("GMAC/s (dots)")
    axes.set_xlabel("layer")
    figure.tight_layout()
    _save(figure, path)
