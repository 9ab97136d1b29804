"""The ladder: one network from 64 bits to 1, every rung run bit for bit and priced on the chip."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fxsim.choose.data import Split, split
from fxsim.choose.price import Price, price_or_none
from fxsim.errors import FxsimError, listed
from fxsim.evaluation.evaluate import Evaluation, evaluate
from fxsim.model.graph import Graph
from fxsim.model.qtype import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, QType
from fxsim.numerics import NumericsProfile
from fxsim.quant import Scheme, calibrate, prepared, quantize
from fxsim.quant.scheme import scheme_of
from fxsim.sim.support import unsupported
from fxsim.targets import Target, load_target

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FLOATS: dict[str, QType] = {"float64": FLOAT64, "float32": FLOAT32, "float16": FLOAT16, "bfloat16": BFLOAT16}
"""rungs of floats, and what their tensors are stored in"""
UNPRICED = ("float64", "float16", "bfloat16")
"""rungs whose arithmetic no target's model knows: stored, but not timed"""
INTEGERS = ("int16", "int8", "int4", "int2", "ternary", "binary")
"""rungs of integers: schemes of :data:`fxsim.quant.SCHEMES`"""
RUNGS = (*FLOATS, *INTEGERS)
CORRECTED = "+equalize+clip+adaround+bias"
"""the repairs without training"""
ANYTHING = "generic"
"""the numerics of what no engine runs"""
Train = Callable[[Graph, Scheme, Split], Graph]
"""float network, scheme, data -> the network of integers, trained as such"""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to hold the network, and what it comes to."""

    rung: str
    repair: str
    """``none``, ``corrected`` (after calibration, without training) or ``trained``"""
    weight_bits: int
    activation_bits: int
    numerics: str
    """the arithmetic that ran it"""
    accuracy: float
    agreement: float
    """share of examples with the decision of the first rung"""
    flash_bytes: int | None
    ram_bytes: int | None
    cycles: int | None
    time_us: float | None
    energy_pj: float | None
    fits: bool | None
    best: bool = False
    """True if no other rung is as accurate and as small, fast and frugal"""


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """The result of :func:`ladder`."""

    model: str
    target: str
    examples: int
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]
    graphs: dict[tuple[str, str], Graph]
    """(rung, repair) -> the network"""

    @property
    def table(self) -> "pd.DataFrame":
        """A row for each rung: see :class:`Rung`."""
        from fxsim.report.tables import frame

        return frame(Rung, self.rungs)

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Accuracy against flash, time and energy; to a file if a path is given."""
        from fxsim.report.cost import save_figure
        from fxsim.report.ladder import draw

        figure = draw(self)
        if path is not None:
            save_figure(figure, path)
        return figure


def ladder(
    model: Graph,
    data: Any,  # noqa: ANN401
    target: str | os.PathLike[str] | Target = "cortex-m4",
    rungs: Sequence[str] = RUNGS,
    numerics: str | os.PathLike[str] | NumericsProfile = "litert-reference",
    *,
    corrected: bool = True,
    train: Train | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ladder:
    """Accuracy, size, cycles and energy of a float network at every width, plain and repaired.

    Args:
        model: a float network.
        data: an ``.npz`` file or dict with x_test, y_test, x_train, y_train, or just x and y (see :mod:`fxsim.choose.data`).
        target: where it is priced. Widths that a target cannot store or run are priced as it would run them, or not at all.
        rungs: of :data:`RUNGS`, or other names of :data:`fxsim.quant.SCHEMES`.
        numerics: the engine; widths that it lacks are run by ``generic``.
        corrected: also each integer rung with the repairs that need no training.
        train: also each integer rung trained by this (:func:`fxsim.train.trainer` makes one).
        progress: called with the number of steps done, of :func:`steps`.

    Raises:
        FxsimError: on an unknown rung, or if scikit-learn is missing. InputError: if the data does not fit.
    """
    parts, chip = split(data), target if isinstance(target, Target) else load_target(os.fspath(target))
    for r in rungs:
        if r not in FLOATS:
            scheme_of(r)
    if not rungs:
        raise FxsimError(f"ladder: no rung; allowed: {listed(RUNGS)}")
    graph = prepared(model)
    plan = list(_plan(rungs, corrected=corrected, train=train))
    seen = calibrate(graph, parts.calibration) if any(r not in FLOATS for r in rungs) else None
    first: Evaluation | None = None
    rows, graphs = [], dict[tuple[str, str], Graph]()
    for done, (rung, repair) in enumerate(plan, 1):
        if rung in FLOATS:
            made, arithmetic = stored(graph, FLOATS[rung]), rung
            e = evaluate(graph, (parts.test.x, parts.test.y), rung, first)
            weight_bits = activation_bits = FLOATS[rung].bits
        else:
            scheme = scheme_of(rung + (CORRECTED if repair == "corrected" else ""))
            if repair == "trained" and train is not None:
                made = train(graph, scheme, parts)
            else:
                calibrated = seen if repair == "none" else None
                made = quantize(graph, parts.calibration, scheme, io="integer", calibrated=calibrated)
            arithmetic = runner(made, numerics)
            e = evaluate(made, (parts.test.x, parts.test.y), arithmetic, first)
            weight_bits, activation_bits = scheme.weight_bits, scheme.activation_bits
        first = first or e
        graphs[rung, repair] = made
        p = price_or_none(made, chip)
        rows.append(_rung(rung, repair, weight_bits, activation_bits, e, p))
        if progress is not None:
            progress(done)
    notes = [] if parts.honest else ["calibrated with examples that also judge: give x_train and y_train as well"]
    return Ladder(model.name, chip.name, len(parts.test), tuple(_with_best(rows)), tuple(notes), graphs)


def steps(rungs: Sequence[str] = RUNGS, *, corrected: bool = True, train: bool = False) -> int:
    """How many networks a ladder runs."""
    return len(list(_plan(rungs, corrected=corrected, train=(lambda g, s, d: g) if train else None)))


def _plan(rungs: Sequence[str], *, corrected: bool, train: Train | None) -> Any:  # noqa: ANN401
    for r in rungs:
        yield r, "none"
        if r not in FLOATS:
            if corrected:
                yield r, "corrected"
            if train is not None:
                yield r, "trained"


def runner(graph: Graph, numerics: str | os.PathLike[str] | NumericsProfile) -> str | NumericsProfile:
    """The numerics asked for if it runs the network, else the one that runs anything."""
    asked = numerics if isinstance(numerics, NumericsProfile) else os.fspath(numerics)
    return ANYTHING if unsupported(graph, asked) else asked


def stored(graph: Graph, kind: QType) -> Graph:
    """The float network with its tensors stored in another float type: for its price; what it computes is its numerics'."""
    tensors = tuple(replace(t, qtype=kind) if t.qtype.kind == "float" else t for t in graph.tensors)
    return replace(graph, tensors=tensors, sha256="", file_bytes=0, derived={})


def _rung(rung: str, repair: str, weight_bits: int, activation_bits: int, e: Evaluation, p: Price | None) -> Rung:
    timed = p if rung not in UNPRICED else None
    assert e.accuracy is not None
    return Rung(
        rung=rung,
        repair=repair,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        numerics=e.numerics,
        accuracy=e.accuracy,
        agreement=1.0 if e.agreement is None else e.agreement,
        flash_bytes=p.flash_bytes if p else None,
        ram_bytes=p.ram_bytes if p else None,
        cycles=timed.cycles if timed else None,
        time_us=timed.time_us if timed else None,
        energy_pj=timed.energy_pj if timed else None,
        fits=p.fits if p else None,
    )


def _with_best(rows: list[Rung]) -> list[Rung]:
    """Marks the rungs that no other dominates."""

    def point(r: Rung) -> tuple[float, ...]:
        return (-r.accuracy, *(float("inf") if v is None else v for v in (r.flash_bytes, r.time_us, r.energy_pj)))

    def beaten(r: Rung) -> bool:
        mine = point(r)
        return any(all(a <= b for a, b in zip(point(o), mine, strict=True)) and point(o) != mine for o in rows)

    return [replace(r, best=r.time_us is not None and not beaten(r)) for r in rows]
