"""Cycles of an NPU, DSP or systolic array brought to a user's measurements: a factor and an overhead for each layer.

``cycles = max(factor * estimated + call, floor)``

The floor is what no chip of that profile can do better: MACs at peak, bytes at each memory's bandwidth. ``factor`` and
``call`` minimize the squares of ``cycles / measured - 1``; the overhead is left out where it does not lower the error of
measurements that were kept from the fit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fxsim.cost.layer import Estimate, LayerCost, binding, memory_cycles
from fxsim.cost.profiles import Accelerator, Dsp, Fitted
from fxsim.model.qtype import Array
from fxsim.model.work import Work

ENOUGH = 3
"""measurements from which on two numbers are fitted"""
FACTOR, CALL = "cycles", "cycles per layer"
AS_IS = {FACTOR: 1.0, CALL: 0.0}
UNFITTED = Fitted()


def _own(e: Estimate, p: Accelerator | Dsp) -> bool:
    """True if the chip itself runs the layer, or its scalar core, not a host."""
    return e.runs_on.startswith(p.name)


def _floor(e: Estimate, macs: int, p: Accelerator | Dsp) -> float:
    return min(e.cycles, max(macs / p.peak_macs.value, e.memory_cycles))


def applied(e: Estimate, work: Work, p: Accelerator | Dsp) -> Estimate:
    """The estimate of a layer with the profile's factor and overhead."""
    f = p.fitted
    if f == UNFITTED or not _own(e, p):
        return e
    cycles = math.ceil(max(f.factor.value * e.cycles + f.call.value, _floor(e, work.macs, p)))
    compute = min(cycles, math.ceil(f.factor.value * e.compute_cycles + f.call.value))
    idle = p.idle_power.value * cycles / p.clock.value * 1e12
    energy = tuple((k, idle if k == "idle_pj" else v) for k, v in e.energy_pj)
    bound = binding(compute, memory_cycles(e.flows, p.bytes_per_cycle))
    return replace(e, cycles=cycles, compute_cycles=compute, bound=bound, energy_pj=energy)


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """A measurement: the cycles and floors of the layers as the profile has them now, those of the host, the truth."""

    cycles: Array
    floors: Array
    fixed: float
    measured: float


def timed(layers: Sequence[LayerCost], p: Accelerator | Dsp, seconds: float) -> Timed:
    """A measurement of these layers together."""
    own = [c for c in layers if _own(c.estimate, p)]
    away = sum(c.estimate.cycles for c in layers if not _own(c.estimate, p))
    cycles, floors = ([c.estimate.cycles for c in own], [_floor(c.estimate, c.macs, p) for c in own])
    return Timed(np.array(cycles, float), np.array(floors, float), away, seconds * p.clock.value)


def errors(rows: Sequence[Timed], factors: Mapping[str, float]) -> list[float]:
    """``estimate / measurement - 1`` of each row."""
    f, c = factors[FACTOR], factors[CALL]
    return [(r.fixed + float(np.maximum(f * r.cycles + c, r.floors).sum())) / r.measured - 1 for r in rows]


def _least_squares(rows: Sequence[Timed], *, overhead: bool) -> dict[str, float]:
    parts = np.array([(r.cycles.sum(), len(r.cycles)) for r in rows])[:, : 1 + overhead]
    truth = np.array([r.measured for r in rows])
    rest = 1 - np.array([r.fixed for r in rows]) / truth
    factor, call = (*np.linalg.lstsq(parts / truth[:, None], rest, rcond=None)[0], 0.0)[:2]
    return {FACTOR: float(factor), CALL: float(call)}


def _missed(rows: Sequence[Timed], *, overhead: bool) -> float:
    """The squares of the errors of rows that were each left out."""
    rest = [[*rows[:i], *rows[i + 1 :]] for i in range(len(rows))]
    return sum(errors([r], _least_squares(o, overhead=overhead))[0] ** 2 for r, o in zip(rows, rest, strict=True))


def fit(rows: Sequence[Timed]) -> dict[str, float]:
    """The factor and the overhead; a factor of 0 or less if the host alone takes longer than was measured."""
    if len(rows) >= ENOUGH:
        both = _least_squares(rows, overhead=True)
        if min(both.values()) > 0 and _missed(rows, overhead=True) < _missed(rows, overhead=False):
            return both
    return _least_squares(rows, overhead=False)
