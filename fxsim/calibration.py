"""A target fitted to a user's own measurements: read them, scale the profile's terms, say how far off it then is."""

import csv
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from fxsim.cost import calibrate as kernels
from fxsim.cost import fitted as whole
from fxsim.cost.estimate import estimate_graph
from fxsim.cost.evidence import ErrorBand, band
from fxsim.cost.mcu_library import SCALED
from fxsim.cost.profiles import Accelerator, Dsp, Fitted, Mcu, Npu, Profile, checked
from fxsim.cost.quantity import Constant
from fxsim.cost.toml import dump
from fxsim.errors import FxsimError, listed
from fxsim.files import atomic_write
from fxsim.importers import read
from fxsim.model.graph import Graph
from fxsim.model.live import works
from fxsim.targets import Target, load_target

COLUMNS = ("model", "latency_ms")
OPTIONAL = ("layer",)
MOST_ROWS = 10_000
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A target after calibration, the factors that it was scaled by, and its errors on the measurements."""

    profile: Profile
    factors: dict[str, float]
    before: tuple[float, ...]
    after: tuple[float, ...]
    left_out: ErrorBand
    """each row estimated from a calibration on the others; of one row, what the profile knew before"""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the profile: a .toml file that is a target of its own."""
        if Path(path).suffix.lower() != ".toml":
            raise FxsimError(f"{path}: got the suffix {Path(path).suffix!r}; allowed: '.toml'")
        return atomic_write(path, dump(self.profile).encode())


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            heads = list(reader.fieldnames or ())
            rows = [r for r, _ in zip(reader, range(MOST_ROWS + 1), strict=False)]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise FxsimError(f"{path}: cannot be read: {e}") from None
    missing = [c for c in COLUMNS if c not in heads]
    if missing:
        raise FxsimError(f"{path}: got the columns {listed(heads)}; allowed: {listed(COLUMNS)}, and {listed(OPTIONAL)}")
    if not rows or len(rows) > MOST_ROWS:
        raise FxsimError(f"{path}: got {len(rows)} rows; allowed: 1 to {MOST_ROWS}")
    return rows


def _seconds(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise FxsimError(f"{where}: latency_ms is {text!r}; allowed: a finite number above 0")
    return value / 1e3


def _layer(text: str, graph: Graph, where: str) -> int:
    if not text.isdecimal() or int(text) >= len(graph.nodes):
        raise FxsimError(f"{where}: layer is {text!r}; allowed: empty, or 0 to {len(graph.nodes) - 1}")
    return int(text)


class Row(NamedTuple):
    """A measurement: of a layer of a model or, without one, of all of it. ``where`` names its line."""

    where: str
    graph: Graph
    layer: int | None
    seconds: float

    def chosen(self, each: Sequence[R]) -> Sequence[R]:
        """What was measured, of something that each node has."""
        return each if self.layer is None else each[self.layer : self.layer + 1]


def measurements(path: Path) -> Iterator[Row]:
    """The rows of a CSV file: of a model, or of one of its layers, in milliseconds.

    Columns: model, a path from the CSV file's folder; latency_ms; layer, a number as ``fxsim estimate`` shows it, or
    nothing for the whole model.

    Raises:
        FxsimError: saying the file, the row, what was got and what is allowed.
    """
    graphs: dict[str, Graph] = {}
    for line, row in enumerate(_rows(path), start=2):
        where = f"{path}: line {line}"
        name = (row["model"] or "").strip()
        if not name:
            raise FxsimError(f"{where}: model is {row['model']!r}; allowed: the path of a model")
        if name not in graphs:
            graphs[name] = read(path.parent / name)
        layer = (row.get("layer") or "").strip()
        chosen = _layer(layer, graphs[name], where) if layer else None
        yield Row(where, graphs[name], chosen, _seconds(row["latency_ms"], where))


@dataclasses.dataclass(frozen=True)
class _Method(Generic[R]):
    """How a family is fitted: its measurements, and what is done with them."""

    rows: list[R]
    fit: Callable[[Sequence[R]], dict[str, float]]
    errors: Callable[[Sequence[R], dict[str, float]], list[float]]
    as_is: dict[str, float]
    scaled: Callable[[dict[str, float], str], Profile]
    untested: ErrorBand | None
    """what is known of the target if one measurement leaves none to test on; None: nothing"""

    def left_out(self, source: str, hertz: float) -> ErrorBand:
        """The errors of each row, estimated from a calibration on the others."""
        if len(self.rows) == 1:
            alone = f"one measurement in {source}, which leaves none to test on"
            return self.untested or ErrorBand(rows=0, median=0.0, p90=0.0, source=alone)
        wrong = []
        for i, row in enumerate(self.rows):
            wrong += self.errors([row], self.fit([*self.rows[:i], *self.rows[i + 1 :]]))
        return band(wrong, f"{source}, each row estimated from a calibration on the others", clocks=(hertz,))


def _nothing_to_do(row: Row) -> FxsimError:
    return FxsimError(f"{row.where}: layer {row.layer} does nothing at run time; allowed: a layer that does")


def _by_kernel(mcu: Mcu, path: Path) -> _Method[kernels.Measured]:
    """Microcontrollers: a factor for each type of layer."""
    found = []
    for row in measurements(path):
        jobs = row.chosen(works(row.graph, live=mcu.live_channels))
        if all(w.kind == "none" for w in jobs):
            raise _nothing_to_do(row)
        found.append(kernels.measured(jobs, mcu, row.seconds))
    as_is = dict.fromkeys(SCALED, 1.0)
    known = mcu.error_band.get("latency")
    return _Method(found, lambda rows: kernels.fit(rows, as_is), kernels.errors, as_is,
                   lambda factors, why: kernels.scaled(mcu, factors, why), known)  # fmt: skip


def _as_a_whole(target: Target, profile: Accelerator | Dsp, path: Path) -> _Method[whole.Timed]:
    """All others: a factor, and an overhead for each layer."""
    found = []
    for row in measurements(path):
        layers = row.chosen(estimate_graph(row.graph, profile, target.host))
        if all(c.estimate.runs_on == "-" for c in layers):
            raise _nothing_to_do(row)
        one = whole.timed(layers, profile, row.seconds)
        if not len(one.cycles) or one.fixed >= one.measured:
            host = f"{one.fixed / profile.clock.value * 1e3:g} ms of it on the host"
            allowed = f"layers of {profile.name}, and more time than the host takes"
            raise FxsimError(f"{row.where}: latency_ms is {row.seconds * 1e3:g}, {host}; allowed: {allowed}")
        found.append(one)

    def scaled(factors: dict[str, float], why: str) -> Profile:
        numbers = Constant(factors[whole.FACTOR], "1", why), Constant(factors[whole.CALL], "cycle/call", why)
        new = replace(profile, fitted=Fitted(*numbers))
        return replace(new, system="", mode="") if isinstance(new, Npu) else new  # it has memories of its own

    return _Method(found, whole.fit, whole.errors, whole.AS_IS, scaled, None)


def _method(target: Target, path: Path) -> _Method[kernels.Measured] | _Method[whole.Timed]:
    p = target.profile
    if isinstance(p, Mcu):
        return _by_kernel(p, path)
    assert isinstance(p, Accelerator | Dsp)
    return _as_a_whole(target, replace(p, fitted=Fitted()), path)


def calibrate(target: str | os.PathLike[str], csv_file: str | os.PathLike[str], name: str = "") -> Calibration:
    """The target scaled so that estimates come near the measurements in a CSV file.

    A microcontroller has a factor for each type of layer (conv, pointwise, depthwise, dense, other), held near each
    other: a single measurement scales all alike. Waiting for memory is not scaled. All others have one factor and, from
    three measurements on and where that is better, an overhead for each layer; what runs on a host is not scaled.

    Raises:
        ProfileError: if there is no such target. FxsimError: if the file is not as :func:`measurements` needs.
    """
    loaded, path = load_target(os.fspath(target)), Path(csv_file)
    old = loaded.profile
    new = _scaled(_method(loaded, path), old, path, name)
    if isinstance(new.profile, Accelerator) and new.profile.host.endswith(".toml"):
        host = str((Path(target).parent / new.profile.host).resolve())
        return dataclasses.replace(new, profile=replace(new.profile, host=host))
    return new


def _scaled(method: _Method[R], old: Profile, path: Path, name: str) -> Calibration:
    factors = method.fit(method.rows)
    why = f"calibrated on {len(method.rows)} measurements in {path.name}"
    before, after = (tuple(method.errors(method.rows, f)) for f in (method.as_is, factors))
    left_out = method.left_out(path.name, old.clock.value)
    new = replace(
        method.scaled(factors, why),
        name=name or f"{old.name}-calibrated",
        description=f"{old.description}; {why}",
        evidence=left_out.sentence(),
        error_band={k: b for k, b in old.error_band.items() if k != "latency"} | {"latency": left_out},
    )
    return Calibration(checked(new, path), factors, before, after, left_out)
