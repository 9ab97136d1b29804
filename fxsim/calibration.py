"""A target fitted to a user's own measurements: read them, scale the profile's terms, say how far off it then is."""

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from fxsim.cost.calibrate import Measured, errors, fit, measured, scaled
from fxsim.cost.evidence import ErrorBand, band
from fxsim.cost.mcu_library import SCALED
from fxsim.cost.profiles import Mcu, checked
from fxsim.cost.toml import dump
from fxsim.errors import FxsimError, ProfileError, listed
from fxsim.files import atomic_write
from fxsim.importers import read
from fxsim.model.graph import Graph
from fxsim.model.live import works
from fxsim.targets import load_target

COLUMNS = ("model", "latency_ms")
OPTIONAL = ("layer",)
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Calibration:
    """A microcontroller after calibration, the factor of each type of layer, and its errors on the measurements."""

    mcu: Mcu
    factors: dict[str, float]
    before: tuple[float, ...]
    after: tuple[float, ...]
    left_out: ErrorBand
    """each row estimated from a calibration on the others; of one row, what the profile knew before"""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the profile: a .toml file that is a target of its own."""
        if Path(path).suffix.lower() != ".toml":
            raise FxsimError(f"{path}: got the suffix {Path(path).suffix!r}; allowed: '.toml'")
        return atomic_write(path, dump(self.mcu).encode())


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


def measurements(path: Path, mcu: Mcu) -> list[Measured]:
    """The rows of a CSV file: of a model, or of one of its layers, in milliseconds.

    Columns: model, a path from the CSV file's folder; latency_ms; layer, a number as ``fxsim estimate`` shows it, or
    nothing for the whole model.

    Raises:
        FxsimError: saying the file, the row, what was got and what is allowed.
    """
    graphs: dict[str, Graph] = {}
    found = []
    for line, row in enumerate(_rows(path), start=2):
        where = f"{path}: line {line}"
        name = (row["model"] or "").strip()
        if not name:
            raise FxsimError(f"{where}: model is {row['model']!r}; allowed: the path of a model")
        if name not in graphs:
            graphs[name] = read(path.parent / name)
        jobs = works(graphs[name], live=mcu.live_channels)
        layer = (row.get("layer") or "").strip()
        chosen = jobs[(n := _layer(layer, graphs[name], where)) : n + 1] if layer else jobs
        if all(w.kind == "none" for w in chosen):
            raise FxsimError(f"{where}: layer {layer} does nothing at run time; allowed: a layer that does")
        found.append(measured(chosen, mcu, _seconds(row["latency_ms"], where)))
    return found


def calibrate(target: str | os.PathLike[str], csv_file: str | os.PathLike[str], name: str = "") -> Calibration:
    """The microcontroller ``target`` with its terms scaled so that estimates come near the measurements in a CSV file.

    One factor for each type of layer (conv, pointwise, depthwise, dense, other), held near each other: a single
    measurement scales all alike. Waiting for memory is not scaled.

    Raises:
        ProfileError: if the target is not a microcontroller. FxsimError: if the file is not as :func:`measurements` needs.
    """
    mcu = load_target(os.fspath(target)).profile
    if not isinstance(mcu, Mcu):
        raise ProfileError(f"calibrate: target {mcu.name} is a {mcu.kind}; allowed: an mcu")
    path = Path(csv_file)
    rows = measurements(path, mcu)
    factors = fit(rows, dict.fromkeys(SCALED, 1.0))
    why = f"calibrated on {len(rows)} measurements in {path.name}"
    before, after = errors(rows, {}), errors(rows, factors)
    left_out = _left_out(rows, mcu, path.name)
    new = replace(
        scaled(mcu, factors, why),
        name=name or f"{mcu.name}-calibrated",
        description=f"{mcu.description}; {why}",
        evidence=left_out.sentence(),
        error_band={k: b for k, b in mcu.error_band.items() if k != "latency"} | {"latency": left_out},
    )
    return Calibration(checked(new, path), factors, tuple(before), tuple(after), left_out)


def _left_out(rows: Sequence[Measured], mcu: Mcu, source: str) -> ErrorBand:
    if len(rows) == 1:
        alone = f"one measurement in {source}, which leaves none to test on"
        return mcu.error_band.get("latency", ErrorBand(rows=0, median=0.0, p90=0.0, source=alone))
    wrong = []
    for i, row in enumerate(rows):
        others = [r for j, r in enumerate(rows) if j != i]
        wrong += errors([row], fit(others, dict.fromkeys(SCALED, 1.0)))
    return band(wrong, f"{source}, each row estimated from a calibration on the others", clocks=(mcu.clock.value,))
