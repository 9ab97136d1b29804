"""Tables for the terminal: evaluations, pruning, ladders, allocations."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fxsim.names import short_name
from fxsim.report.sheet import Justify, table
from fxsim.report.units import ENERGIES, SIZES, TIMES, amount

if TYPE_CHECKING:
    from fxsim.choose.allocate import Allocation
    from fxsim.choose.ladder import Ladder
    from fxsim.choose.price import Price
    from fxsim.evaluation.evaluate import Evaluation


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def evaluation(e: "Evaluation", model: str) -> Table:
    """The measures of an evaluation, one a row."""
    tops = [(f"top-{k} accuracy", _share(v)) for k, v in e.top_k.items() if k > 1]
    rows = [
        ("examples", f"{e.examples:,}"),
        ("accuracy", _share(e.accuracy)),
        *tops,
        ("precision (mean of classes)", _share(e.precision)),
        ("recall", _share(e.recall)),
        ("F1", _share(e.f1)),
        ("area under the ROC", "" if e.auc is None else f"{e.auc:.4f}"),
        ("agreement with the reference", _share(e.agreement)),
    ]
    sides: dict[str, Justify] = {"measure": "left", "value": "right"}
    return table(f"{model} as {e.numerics}", sides, [r for r in rows if r[1]])


def classes(e: "Evaluation") -> Table:
    """A row for each class."""
    rows = [
        [
            c.label,
            c.support,
            _share(c.precision),
            _share(c.recall),
            _share(c.f1),
            "" if c.auc is None else f"{c.auc:.4f}",
        ]
        for c in e.classes
    ]
    return table("classes", dict.fromkeys(("class", "examples", "precision", "recall", "F1", "AUC"), "right"), rows)


def before_and_after(before: Mapping[str, Any], after: Mapping[str, Any], title: str) -> Table:
    """What pruning changed on a target."""
    lines: list[tuple[str, str, Callable[[Any], str]]] = [
        ("MACs", "macs", lambda v: f"{v:,}"),
        ("weight bytes", "constant_bytes", lambda v: amount(v, SIZES)),
        ("peak RAM", "peak_ram_bytes", lambda v: amount(v, SIZES)),
        ("cycles", "cycles", lambda v: f"{v:,}"),
        ("time", "time_us", lambda v: amount(v / 1e6, TIMES)),
        ("energy", "energy_pj", lambda v: amount(v, ENERGIES)),
    ]
    rows = [
        [what, show(before[k]), show(after[k]), f"{after[k] / before[k]:.2f}" if before[k] else ""]
        for what, k, show in lines
    ]
    sides: dict[str, Justify] = {"": "left", "before": "right", "after": "right", "ratio": "right"}
    return table(title, sides, rows)


def _priced(p: "Price") -> list[str]:
    return [amount(p.flash_bytes, SIZES), amount(p.time_us / 1e6, TIMES), amount(p.energy_pj, ENERGIES)]


def ladder(found: "Ladder", model: str) -> Table:
    """A row for each rung; a star where no other is as accurate, small, fast and frugal."""
    rows = []
    for r in found.rungs:
        size = "" if r.flash_bytes is None else amount(r.flash_bytes, SIZES)
        spent = ["", "", ""]
        if r.cycles is not None and r.time_us is not None and r.energy_pj is not None:
            spent = [f"{r.cycles:,}", amount(r.time_us / 1e6, TIMES), amount(r.energy_pj, ENERGIES)]
        bits = f"{r.weight_bits}/{r.activation_bits}"
        star = "*" if r.best else ""
        rows.append([r.rung, r.repair, bits, r.numerics, _share(r.accuracy), _share(r.agreement), size, *spent, star])
    sides: dict[str, Justify] = {
        "rung": "left", "repair": "left", "bits w/a": "right", "numerics": "left", "accuracy": "right",
        "as the first": "right", "flash": "right", "cycles": "right", "time": "right", "energy": "right", "best": "left",
    }  # fmt: skip
    return table(f"{model} on {found.target}, {found.examples:,} examples", sides, rows)


def allocation(a: "Allocation", model: str) -> Table:
    """The bits of each layer, and what uniform bits would come to."""
    rows = [
        [r.layer, r.op, short_name(r.name), f"{r.weights:,}", r.bits, f"{r.harm:.2e}" if r.harm else "0"]
        for r in a.layers
    ]
    sides: dict[str, Justify] = {"layer": "right", "op": "left", "name": "left"}
    columns = sides | dict.fromkeys(("weights", "bits", "harm alone"), "right")
    return table(f"{model} within {a.budget.text} on {a.target}", columns, rows)


def proof(a: "Allocation") -> str:
    """The budget, the estimate that proves it, and what the same bits everywhere would give."""
    flash, time, energy = _priced(a.price)
    text = f"budget {a.budget.text}: the estimate is {flash} of flash, {time}, {energy}; accuracy {a.accuracy:.2%}"
    for bits, (accuracy, p) in a.uniform.items():
        flash, time, energy = _priced(p)
        kept = "within" if a.budget.met(p) else "beyond"
        text += f"\n{bits} bits everywhere: {flash}, {time}, {energy}; accuracy {accuracy:.2%}; {kept} the budget"
    return text
