"""Two targets on one network, layer by layer: what differs and why."""

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from fxsim.cost.energy import HOST
from fxsim.errors import FxsimError, OutputError, listed
from fxsim.report.cost import TEXTS, Cost, save_figure
from fxsim.report.tables import frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEAR = 0.02
"""shares of time that differ by less are taken as the same"""


@dataclass(frozen=True, slots=True)
class LayerRatio:
    """One layer on target a and on target b; ratios are b / a, and 0 where a takes nothing or the two do not compare."""

    layer: int
    name: str
    op: str
    macs_a: int
    macs_b: int
    cycles_a: int
    cycles_b: int
    time_us_a: float
    time_us_b: float
    time_ratio: float
    bound_a: str
    bound_b: str
    energy_pj_a: float
    energy_pj_b: float
    energy_ratio: float
    why: str


@dataclass(frozen=True)
class CostComparison:
    """The costs of one network on two targets."""

    a: Cost
    b: Cost

    @property
    def same_world(self) -> bool:
        """True if both energies are of whole chips, or both of operations and accesses."""
        return self.a.energy_is == self.b.energy_is

    @property
    def rows(self) -> tuple[LayerRatio, ...]:
        """One row a layer."""
        pairs = zip(self.a.rows(), self.b.rows(), strict=True)
        return tuple(_row(x, y, same_world=self.same_world) for x, y in pairs)

    @property
    def table(self) -> "pd.DataFrame":
        """:attr:`rows` as a table."""
        return frame(LayerRatio, self.rows)

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Time of each layer, and both totals by what they go to. Written to ``path`` if given.

        Raises:
            OutputError: if the suffix is not png, svg or pdf, or the file cannot be written.
        """
        from fxsim.report.compare_cost_figure import draw

        figure = draw(self)
        if path is not None:
            save_figure(figure, path)
        return figure

    def text(self, kind: str) -> str:
        """Both, side by side, as ``csv``, ``json`` or a page that needs no other file, ``html``.

        Raises:
            OutputError: if there is no such kind.
        """
        if kind not in TEXTS:
            raise OutputError(f"format is {kind!r}; allowed: {listed(TEXTS)}")
        if kind == "csv":
            return str(self.table.to_csv(index=False))
        if kind == "json":
            sides = {"a": self.a.as_dict(), "b": self.b.as_dict(), "layers": [asdict(r) for r in self.rows]}
            return json.dumps(sides, indent=1, allow_nan=False) + "\n"
        from fxsim.report.cost_page import comparison_page

        return comparison_page(self)

    def summary(self) -> str:
        """The totals of both, and the layers that make most of the difference."""
        a, b = self.a.totals(), self.b.totals()
        names = self.a.target.name, self.b.target.name
        lines = []
        for name, t, side in zip(names, (a, b), (self.a, self.b), strict=True):
            host = f" and {t[HOST] / 1e6:.4g} uJ of the host" if t.get(HOST) else ""
            energy = f"{t['energy_pj'] / 1e6:.4g} uJ ({side.energy_is}){host}"
            lines.append(f"{name}: {t['time_us'] / 1e3:.4g} ms, {energy}, {t['cycles']:,} cycles, mostly {t['bound']}")
        spent = "energy is not compared: its two numbers are of different worlds"
        if self.same_world:
            spent = f"energy x {_ratio(a['energy_pj'], b['energy_pj']):.3g}"
            spent += f", of the host x {_ratio(a[HOST], b[HOST]):.3g}" if a.get(HOST) and b.get(HOST) else ""
        lines.append(f"{names[1]} / {names[0]}: time x {_ratio(a['time_us'], b['time_us']):.3g}, {spent}")
        most = sorted(self.rows, key=lambda r: -abs(r.time_us_b - r.time_us_a))[:3]
        gap = sum(abs(r.time_us_b - r.time_us_a) for r in self.rows)
        for r in most if gap else ():
            share = abs(r.time_us_b - r.time_us_a) / gap
            lines.append(f"layer {r.layer} {r.op}: {share:.0%} of the difference, x {r.time_ratio:.3g}; {r.why}")
        return "\n".join(lines)


def _ratio(a: float, b: float) -> float:
    return b / a if a else 0.0


def _row(x: dict[str, object], y: dict[str, object], *, same_world: bool) -> LayerRatio:
    def both(key: str) -> tuple[float, float]:
        return float(x[key]), float(y[key])  # type: ignore[arg-type]

    (macs_a, macs_b), (cycles_a, cycles_b), (time_a, time_b), (energy_a, energy_b) = map(
        both, ("macs", "cycles", "time_us", "energy_pj")
    )
    return LayerRatio(
        layer=int(both("layer")[0]),
        name=str(x["name"]),
        op=str(x["op"]),
        macs_a=int(macs_a),
        macs_b=int(macs_b),
        cycles_a=int(cycles_a),
        cycles_b=int(cycles_b),
        time_us_a=time_a,
        time_us_b=time_b,
        time_ratio=_ratio(time_a, time_b),
        bound_a=str(x["bound"]),
        bound_b=str(y["bound"]),
        energy_pj_a=energy_a,
        energy_pj_b=energy_b,
        energy_ratio=_ratio(energy_a, energy_b) if same_world else 0.0,
        why=_why(x, y),
    )


def _why(x: dict[str, object], y: dict[str, object]) -> str:
    """What sets the layer's two costs apart, in words."""

    def value(row: dict[str, object], key: str) -> float:
        return float(row[key])  # type: ignore[arg-type]

    parts = []
    if x["bound"] != y["bound"]:
        parts.append(f"bound by {x['bound']} there, by {y['bound']} here")
    if value(x, "macs") != value(y, "macs"):
        parts.append(f"{value(x, 'macs'):,.0f} MACs there, {value(y, 'macs'):,.0f} here: dead channels are dropped")
    waits = [1 - _ratio(value(r, "cycles"), value(r, "compute_cycles")) for r in (x, y)]
    if abs(waits[0] - waits[1]) > NEAR:
        parts.append(f"waits for memory {max(waits[0], 0):.0%} of the time there, {max(waits[1], 0):.0%} here")
    if value(x, "macs") and value(y, "macs"):
        rates = [_ratio(value(r, "compute_cycles"), value(r, "macs")) for r in (x, y)]
        if abs(_ratio(*rates) - 1) > NEAR:
            parts.append(f"{rates[0]:.2f} MAC a busy cycle there, {rates[1]:.2f} here")
    clocks = [_ratio(value(r, "time_us"), value(r, "cycles")) for r in (x, y)]
    if all(clocks) and abs(_ratio(*clocks) - 1) > NEAR:
        parts.append(f"{clocks[0]:.4g} MHz there, {clocks[1]:.4g} here")
    return "; ".join(parts) or "the same"


def compare_costs(a: Cost, b: Cost) -> CostComparison:
    """The costs of one network on two targets, side by side.

    Raises:
        FxsimError: if they are not of the same network.
    """
    layers = [[(c.layer, c.op) for c in cost.layers] for cost in (a, b)]
    if layers[0] != layers[1]:
        raise FxsimError(f"compare: got the costs of {a.model!r} and {b.model!r}; allowed: of one network")
    return CostComparison(a, b)
