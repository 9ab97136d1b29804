"""Factors that bring estimates to measurements: one for each type of layer, held near a prior, never negative.

``cycles = fixed + sum of factor[k] * part[k]``; the factors minimize

``sum (log(cycles / measured) / NOISE)^2 + sum ((log(factor[k]) - prior[k] - common) / spread[k])^2 + (common / COMMON)^2``

so that a single measurement moves all factors together (``common``), and more of them tell the types apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from fxsim.cost import mcu as model
from fxsim.cost.mcu_library import SCALED
from fxsim.cost.profiles import MacKernel, Mcu
from fxsim.cost.quantity import Constant
from fxsim.model.work import Work

NOISE = 0.06
"""relative error of a measured row that is taken for chance"""
SPREAD = {"conv": 0.25, "pointwise": 0.25, "depthwise": 0.4, "dense": 0.3, "other": 0.1}
"""how far the factor of one type of layer may stray from the others' (standard deviation of its logarithm)"""
COMMON = 1.0
"""how far all factors together may stray from the prior"""
STEPS = 60


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: cycles by type of layer as the profile has them now, those that no factor scales, the truth."""

    parts: Mapping[str, float]
    fixed: float
    cycles: float


def predicted(row: Measured, factors: Mapping[str, float]) -> float:
    """Cycles with these factors; a type that has none is taken as it is."""
    return row.fixed + sum(factors.get(k, 1.0) * v for k, v in row.parts.items())


def errors(rows: Sequence[Measured], factors: Mapping[str, float]) -> list[float]:
    """``estimate / measurement - 1`` of each row."""
    return [predicted(r, factors) / r.cycles - 1 for r in rows]


def fit(rows: Sequence[Measured], prior: Mapping[str, float]) -> dict[str, float]:
    """The factor of each type of layer in ``prior``, whose values are the factors that are expected.

    Gauss-Newton on the logarithms, with the penalties above; the types that no row has stay at ``prior * common``.
    """
    kinds = list(prior)
    start = np.log([prior[k] for k in kinds])
    spread = np.array([SPREAD[k] for k in kinds])
    parts = np.array([[r.parts.get(k, 0.0) for k in kinds] for r in rows]).reshape(len(rows), len(kinds))
    fixed, truth = (np.array([getattr(r, n) for r in rows]) for n in ("fixed", "cycles"))
    x = np.append(start, 0.0)  # logarithms of the factors; common
    pull = np.zeros((len(kinds) + 1, len(kinds) + 1))
    pull[: len(kinds), : len(kinds)] = np.diag(1 / spread)
    pull[: len(kinds), -1] = -1 / spread
    pull[-1, -1] = 1 / COMMON
    for _ in range(STEPS):
        scaled = parts * np.exp(x[:-1])
        total = fixed + scaled.sum(axis=1)
        miss = np.log(total / truth) / NOISE
        slope = np.hstack([scaled / total[:, None] / NOISE, np.zeros((len(rows), 1))])
        held = pull @ (x - np.append(start, 0.0))
        step = np.linalg.lstsq(np.vstack([slope, pull]), -np.concatenate([miss, held]), rcond=None)[0]
        x = x + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-9:
            break
    return {k: float(np.exp(v)) for k, v in zip(kinds, x[:-1], strict=True)}


def kind_of(work: Work, mcu: Mcu) -> str:
    """The type of layer, of :data:`fxsim.cost.mcu_library.SCALED`, whose factor scales the work."""
    kernel = model.kernel_of(work, mcu)
    return next((k for k in SCALED[:-1] if getattr(mcu.kernel, k) is kernel), "other")


def measured(works: Iterable[Work], mcu: Mcu, seconds: float) -> Measured:
    """A measurement of these layers together on ``mcu``; waiting for the flash is not scaled."""
    parts: dict[str, float] = {}
    fixed = 0.0
    for w in works:
        if w.kind != "none":
            e = model.cost(w, mcu)
            kind = kind_of(w, mcu)
            parts[kind] = parts.get(kind, 0.0) + e.compute_cycles
            fixed += e.cycles - e.compute_cycles
    return Measured(parts, fixed, seconds * mcu.clock.value)


def scaled(mcu: Mcu, factors: Mapping[str, float], why: str) -> Mcu:
    """The microcontroller with all cycles of each type of layer times its factor.

    A MAC never gets faster than the core's peak: what a factor takes from it beyond that is left.
    """

    def times(c: Constant, factor: float, least: float = 0.0) -> Constant:
        if factor == 1.0 or not c.value:
            return c
        return Constant(max(c.value * factor, least), c.unit, f"{c.source}; x {factor:.4g} ({why})")

    least = 1 / mcu.peak_macs.value / min(1.0, mcu.kernel.wide_factor.value)
    changed: dict[str, Any] = {}
    for f in msgspec.structs.fields(mcu.kernel):
        kernel = getattr(mcu.kernel, f.name)
        if isinstance(kernel, Constant):
            continue
        factor = factors.get(f.name if isinstance(kernel, MacKernel) else "other", 1.0)
        terms = [n for n in ("call", "im2col", "op", "output", "byte", "rescale") if hasattr(kernel, n)]
        new = {n: times(getattr(kernel, n), factor) for n in terms}
        if isinstance(kernel, MacKernel):
            new["mac"] = times(kernel.mac, factor, least)
        changed[f.name] = msgspec.structs.replace(kernel, **new)
    changed["binary_word"] = times(mcu.kernel.binary_word, factors.get("conv", 1.0))
    return msgspec.structs.replace(mcu, kernel=msgspec.structs.replace(mcu.kernel, **changed))
