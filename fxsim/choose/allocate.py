"""Bits for each layer within a budget: what suffers least goes first, and the estimate of the result proves the budget."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fxsim.choose.data import Split, split
from fxsim.choose.ladder import runner
from fxsim.choose.price import Price, price
from fxsim.errors import FxsimError, listed
from fxsim.evaluation.data import DataSet
from fxsim.evaluation.evaluate import evaluate, score
from fxsim.model.graph import Graph
from fxsim.numerics import NumericsProfile
from fxsim.quant import Calibration, Scheme, calibrate, prepared, quantize
from fxsim.quant.rules import weighted
from fxsim.quant.scheme import scheme_of
from fxsim.targets import Target, load_target

if TYPE_CHECKING:
    import pandas as pd

UNITS = {
    "B": ("bytes", 1.0), "KIB": ("bytes", 1024.0), "MIB": ("bytes", 1024.0**2), "KB": ("bytes", 1e3), "MB": ("bytes", 1e6),
    "US": ("time", 1.0), "MS": ("time", 1e3), "S": ("time", 1e6),
    "NJ": ("energy", 1e3), "UJ": ("energy", 1e6), "MJ": ("energy", 1e9), "J": ("energy", 1e12),
}  # fmt: skip
"""unit of a budget, in capitals -> resource, and what one is in the unit of :class:`Price`; ``MJ`` is a millijoule"""
JUDGED = 128
"""examples on which the sensitivity of layers is measured"""


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of one resource that one inference may take (flash: that the network may)."""

    resource: str
    amount: float
    text: str

    def met(self, p: Price) -> bool:
        """True if the price lies within it."""
        return p.of(self.resource) <= self.amount


def budget_of(text: str) -> Budget:
    """``"40 KiB"``, ``"2.5ms"``, ``"80 uJ"`` as a budget.

    Raises:
        FxsimError: on anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Zµ]+)\s*", text)
    unit = found[2].replace("µ", "u").upper() if found else ""
    if not found or unit not in UNITS or not float(found[1]):
        allowed = "a number above 0 and B, KiB, MiB, KB, MB (flash), us, ms, s, or nJ, uJ, mJ, J"
        raise FxsimError(f"budget is {text!r}; allowed: {allowed}")
    resource, factor = UNITS[unit]
    return Budget(resource, float(found[1]) * factor, text.strip())


@dataclass(frozen=True, slots=True)
class LayerBits:
    """What one layer got, and why."""

    layer: int
    name: str
    op: str
    weights: int
    bits: int
    harm: float
    """mean squared change of the scores when this layer alone has these bits, over their mean square"""
    saved: float
    """of the budget's resource, against the most bits, in its unit"""


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """The result of :func:`allocate_bits`."""

    graph: Graph
    """the network of integers"""
    layers: tuple[LayerBits, ...]
    budget: Budget
    price: Price
    """the estimate of the whole network: within the budget"""
    target: str
    numerics: str
    accuracy: float
    uniform: dict[int, tuple[float, Price]]
    """the same bits everywhere -> accuracy and price, for comparison"""
    path: tuple[tuple[float, float], ...]
    """(amount of the resource, predicted harm) of each step on the way down"""

    @property
    def table(self) -> "pd.DataFrame":
        """A row for each layer with weights: see :class:`LayerBits`."""
        from fxsim.report.tables import frame

        return frame(LayerBits, self.layers)


def allocate_bits(
    model: Graph,
    data: Any,  # noqa: ANN401
    budget: str | Budget,
    target: str | os.PathLike[str] | Target = "cortex-m4",
    bits: Sequence[int] = (8, 4, 2),
    scheme: str | Scheme = "int8",
    numerics: str | os.PathLike[str] | NumericsProfile = "litert-reference",
    progress: Callable[[int], None] | None = None,
) -> Allocation:
    """A network whose layers have as many weight bits each as the budget allows and accuracy needs.

    Each layer is tried at each width alone, run bit for bit, and priced; then widths are lowered where the harm for what
    is saved is least, until the estimate of the whole network meets the budget, and raised again where there is room.

    Args:
        model: a float network.
        data: as for :func:`fxsim.ladder`.
        budget: such as ``"40 KiB"`` of flash, ``"2.5 ms"`` or ``"80 uJ"`` for one inference.
        target: what it is estimated on.
        bits: the widths to choose from.
        scheme: everything else about the quantization.
        numerics: the engine; ``generic`` where it lacks a width.
        progress: called with the number of networks tried, of :func:`trials`.

    Raises:
        FxsimError: if no choice meets the budget (the nearest is said), or on widths that are none.
    """
    goal = budget if isinstance(budget, Budget) else budget_of(budget)
    widths = sorted(set(bits), reverse=True)
    if not widths or any(b not in range(1, 17) for b in widths):
        raise FxsimError(f"allocate: bits are {list(bits)}; allowed: some of 1..16")
    chip = target if isinstance(target, Target) else load_target(os.fspath(target))
    return _Search(model, split(data), goal, chip, widths, scheme_of(scheme), numerics, progress).result()


def trials(model: Graph, bits: Sequence[int] = (8, 4, 2)) -> int:
    """How many networks :func:`allocate_bits` tries before it chooses."""
    graph = prepared(model)
    return sum(weighted(graph, n) is not None for n in graph.nodes) * (len(set(bits)) - 1) + 1


class _Search:
    """One choice: what is tried once and looked up later."""

    def __init__(
        self,
        model: Graph,
        parts: Split,
        goal: Budget,
        chip: Target,
        widths: list[int],
        scheme: Scheme,
        numerics: str | os.PathLike[str] | NumericsProfile,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.model, self.graph = model, prepared(model, scheme)
        self.goal, self.widths, self.scheme, self.numerics = goal, widths, scheme, numerics
        self.chip, self.parts = chip, parts
        self.seen: Calibration = calibrate(self.graph, self.parts.calibration)
        judged = self.parts.train or self.parts.test
        self.judged = DataSet(judged.x[:JUDGED], judged.y[:JUDGED])
        self.layers = [n.index for n in self.graph.nodes if weighted(self.graph, n) is not None]
        if not self.layers:
            raise FxsimError(f"{self.graph.name}: has no layer with weights; allowed: networks with some")
        self.progress, self.done = progress, 0
        self.most = dict.fromkeys(self.layers, widths[0])
        self.harm, self.cost = self._tried()

    def built(self, chosen: dict[int, int]) -> Graph:
        """The network of integers with these bits."""
        return quantize(
            self.model,
            self.parts.calibration,
            self.scheme,
            overrides={i: b for i, b in chosen.items()},
            io="integer",
            calibrated=self.seen,
        )

    def _tried(self) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
        """(layer, bits) -> harm, and what it saves, each layer alone."""
        base = self.built(self.most)
        whole = price(base, self.chip).of(self.goal.resource)
        scores = score(base, self.judged, runner(base, self.numerics))
        power = float(np.mean(scores**2)) or 1.0
        harm, saved = {}, {}
        self._tick()
        for layer in self.layers:
            harm[layer, self.widths[0]], saved[layer, self.widths[0]] = 0.0, 0.0
            for b in self.widths[1:]:
                made = self.built(self.most | {layer: b})
                changed = score(made, self.judged, runner(made, self.numerics))
                harm[layer, b] = float(np.mean((changed - scores) ** 2)) / power
                saved[layer, b] = whole - price(made, self.chip).of(self.goal.resource)
                self._tick()
        return harm, saved

    def _tick(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done)

    def _lower(self, chosen: dict[int, int]) -> dict[int, int] | None:
        """The next step down: the least harm for what it saves; None at the end."""
        options = []
        for layer, b in chosen.items():
            for lower in (w for w in self.widths if w < b):
                saves = self.cost[layer, lower] - self.cost[layer, b]
                hurts = self.harm[layer, lower] - self.harm[layer, b]
                if saves > 0:
                    options.append((max(hurts, 0.0) / saves, -saves, layer, lower))
        if not options:
            return None
        _, _, layer, lower = min(options)
        return chosen | {layer: lower}

    def _raise(self, chosen: dict[int, int]) -> dict[int, int]:
        """With what room is left, layers go up again, the one that gains most first; each step is priced as a whole."""
        refused: set[tuple[int, int]] = set()
        while True:
            options = [
                (self.harm[layer, b] - self.harm[layer, higher], layer, higher)
                for layer, b in chosen.items()
                for higher in self.widths
                if higher > b and (layer, higher) not in refused and self.harm[layer, higher] < self.harm[layer, b]
            ]
            if not options:
                return chosen
            _, layer, higher = max(options)
            trial = chosen | {layer: higher}
            if self.goal.met(price(self.built(trial), self.chip)):
                chosen = trial
            else:
                refused.add((layer, higher))

    def result(self) -> Allocation:
        """Down until the budget is met, up where there is room."""
        chosen = dict(self.most)
        path = []
        while True:
            p = price(self.built(chosen), self.chip)
            path.append((p.of(self.goal.resource), sum(self.harm[i, b] for i, b in chosen.items())))
            if self.goal.met(p):
                break
            step = self._lower(chosen)
            if step is None:
                raise FxsimError(
                    f"{self.graph.name}: nothing within {self.goal.text} on {self.chip.name}; the nearest takes "
                    f"{_said(self.goal, p)} (bits {listed(sorted(set(chosen.values())))} of {listed(self.widths)})"
                )
            chosen = step
        chosen = self._raise(chosen)
        made = self.built(chosen)
        arithmetic = runner(made, self.numerics)
        e = evaluate(made, (self.parts.test.x, self.parts.test.y), arithmetic)
        assert e.accuracy is not None
        return Allocation(
            made, tuple(self._rows(chosen)), self.goal, price(made, self.chip), self.chip.name, e.numerics, e.accuracy,
            {b: self._uniform(b) for b in self.widths}, tuple(path),
        )  # fmt: skip

    def _uniform(self, bits: int) -> tuple[float, Price]:
        made = self.built(dict.fromkeys(self.layers, bits))
        e = evaluate(made, (self.parts.test.x, self.parts.test.y), runner(made, self.numerics))
        assert e.accuracy is not None
        return e.accuracy, price(made, self.chip)

    def _rows(self, chosen: dict[int, int]) -> list[LayerBits]:
        nodes = {n.index: n for n in self.graph.nodes}
        rows = []
        for layer, b in chosen.items():
            n, found = nodes[layer], weighted(self.graph, nodes[layer])
            assert found is not None
            elements = self.graph.tensors[n.inputs[found.weight]].elements
            rows.append(LayerBits(layer, n.name, n.op, elements, b, self.harm[layer, b], self.cost[layer, b]))
        return rows


def _said(goal: Budget, p: Price) -> str:
    """An amount in the unit in which the budget was given."""
    unit = re.sub(r"[\d.\s]", "", goal.text)
    factor = UNITS[unit.replace("µ", "u").upper()][1]
    return f"{p.of(goal.resource) / factor:.4g} {unit}"
