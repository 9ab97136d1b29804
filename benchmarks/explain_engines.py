"""Each live engine plays the device for every other engine's user: is the true engine named, is an equal layer blamed.

    python -m benchmarks.explain_engines [--models NAME ...] [--rows FILE.csv] [--runs 5] [--report FILE]

``FXSIM_CORPUS`` names the folder with golden models. The engines compute every tensor of one recorded inference. A layer
differs if the user's profile, given the device's own inputs, does not make the device's outputs (``compare`` in mode
"single", which shares no search with ``explain``). Rows of ``--rows`` are not computed again. Times are the processor's.
"""

import csv
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import fxsim
from benchmarks.machine import machine, options, publish, table
from fxsim.diagnose import measures
from fxsim.files import atomic_write
from fxsim.model.qtype import Array
from tests import engines
from tests.diagnose.live_dumps import DEVICES, Dumped, dump, profile_of
from tests.golden import MODELS, Golden

USERS = ("litert-reference", "litert-optimized", "litert-xnnpack", "tflm", "onnxruntime")
REWRITING = ("onnxruntime-avx2",)
"""users' profiles that rewrite a graph as ONNX Runtime does: without that, a QDQ file has other layers"""
TIMED = ("kws_int8", "resnet8_int8", "ad01_int8", "vww_int8", "kws_mobilenetv2")
"""networks whose comparison is timed"""


@dataclass(frozen=True, slots=True)
class Row:
    """One network, of one device, explained to one user."""

    device: str
    users: str
    model: str
    layers: int = 0
    tensors: int = 0
    elements: int = 0
    differ: int = 0
    """layers that truly do; those whose inputs no dump shows count by what explain says"""
    found: int = 0
    """of these, the true engine in the first class"""
    unjudged: int = 0
    """of those that differ, the ones whose inputs are not in the dump: a stretch of layers is meant"""
    blamed: int = 0
    """layers called different that are equal"""
    missed: int = 0
    """layers called equal that differ"""
    named: int = 0
    """1 if the true engine is among the profiles that explain the whole dump"""
    seconds: float = 0.0
    note: str = ""
    """why there is nothing, or which layers went wrong"""


def users_of(device: str) -> tuple[str, ...]:
    """The profiles that a device is explained to: those of other engines that see the same layers."""
    if profile_of(device) != "onnxruntime":
        return tuple(u for u in USERS if u != device)
    return REWRITING if "QDQ" in device else (*USERS[:-1], *REWRITING)


def explained(device: str, users: str, model: str, seen: Dumped) -> Row:
    """The row of one dump."""
    try:
        trace = fxsim.simulate(seen.graph, seen.inputs, users)
        judged = _judged(trace, seen)
        start = time.process_time()
        why = fxsim.explain(seen.graph, seen.arrays, seen.inputs, users)
        took = time.process_time() - start
    except fxsim.FxsimError as e:
        return Row(device, users, model, note=f"{type(e).__name__}: {e}"[:200])
    apart = {r.layer for r in judged if r.mismatches and r.layer >= 0}
    alike = {r.layer for r in judged if r.layer >= 0} - apart
    said = {f.layer: f for f in why.differing}
    unjudged = set(said) - apart - alike
    right = {n for n in apart | unjudged if n in said and profile_of(device) in said[n].profiles}
    wrong = [f"{n} {said[n].op} {said[n].status}" for n in sorted(said) if n not in right]
    named = why.equal or profile_of(device) in why.numerics
    return Row(
        device, users, model, len(why.findings), len(seen.arrays), sum(f.elements for f in why.findings),
        len(apart | unjudged), len(right), len(unjudged), len(alike & set(said)), len(apart - set(said)), int(named),
        round(took, 2), "; ".join(wrong),
    )  # fmt: skip


def _judged(trace: fxsim.Trace, seen: Dumped) -> tuple[measures.Row, ...]:
    """The layers whose inputs and outputs are both in the dump."""
    try:
        return fxsim.compare(trace, seen.arrays, mode="single").rows
    except fxsim.DumpError:  # there is none
        return ()


def _read(path: Path | None) -> list[Row]:
    if path is None or not path.exists():
        return []
    kinds = {f.name: f.type for f in fields(Row)}
    with path.open() as lines:
        return [Row(**{k: kinds[k](v) for k, v in r.items()}) for r in csv.DictReader(lines)]  # type: ignore[operator]


def _write(path: Path, rows: list[Row]) -> None:
    text = "\n".join(",".join(f'"{v}"' for v in line) for line in ([f.name for f in fields(Row)], *map(_cells, rows)))
    atomic_write(path, text.encode())


def _cells(row: Row) -> list[str]:
    return [str(v).replace('"', "'").replace("\n", " ") for v in asdict(row).values()]


def measure(corpus: Path, models: list[str], path: Path | None) -> list[Row]:
    """All rows, those of ``path`` first."""
    rows = _read(path)
    done = {(r.device, r.users, r.model) for r in rows}
    for model in models:
        golden = Golden(corpus, model)
        for device in DEVICES:
            users = [u for u in users_of(device) if (device, u, model) not in done]
            if not users:
                continue
            try:
                seen = dump(device, golden)
            except (engines.Refused, fxsim.FxsimError) as e:
                made = [Row(device, u, model, note=f"refused: {e}"[:200]) for u in users]
            else:
                made = [explained(device, u, model, seen) for u in users]
            rows += made
            for r in made:
                print(*_cells(r), flush=True)
            if path is not None:
                _write(path, rows)
    return rows


def engine_rows(rows: list[Row]) -> list[list[object]]:
    """A row per device and user."""
    by: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for r in rows:
        if r.tensors:
            by[r.device, r.users].append(r)
    return [_line(device, users, of) for (device, users), of in sorted(by.items())]


def refusals(rows: list[Row]) -> list[tuple[str, str, int]]:
    """How many networks were not compared, per device and user."""
    by: dict[tuple[str, str], int] = defaultdict(int)
    for r in rows:
        by[r.device, r.users] += not r.tensors
    return [(device, users, n) for (device, users), n in sorted(by.items()) if n]


def unfinished(rows: list[Row]) -> list[str]:
    """The networks of the corpus that lack rows."""
    done = Counter(r.model for r in rows)
    return [m for m in MODELS if done[m] < sum(len(users_of(d)) for d in DEVICES)]


def _line(device: str, users: str, of: list[Row]) -> list[object]:
    differ, found = sum(r.differ for r in of), sum(r.found for r in of)
    counts = (sum(getattr(r, name) for r in of) for name in ("tensors", "elements"))
    share = f"{found / differ:.1%}" if differ else "-"
    rest = (sum(getattr(r, name) for r in of) for name in ("unjudged", "blamed", "missed"))
    return [device, users, len(of), *counts, differ, found, share, *rest]


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, for one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def speeds(corpus: Path, runs: int) -> str:
    """Comparison beside simulation, in alternation: full dumps of two arithmetics against the reference's."""
    rows = []
    for model in TIMED:
        golden = Golden(corpus, model)
        x = [v[:4] for v in golden.inputs]
        simulate = partial(fxsim.simulate, golden.graph, x, keep="all")
        kept = simulate("litert-reference")
        dumps = [
            {f"tensor_{i}": v for i, v in simulate(numerics).kept.items()}
            for numerics in ("litert-xnnpack", "litert-reference")
        ]
        works = [partial(simulate, "litert-reference"), partial(_looked_at, kept, dumps[0])]
        works += [partial(fxsim.compare, kept, d) for d in dumps]
        least = [math.inf] * len(works)
        for _ in range(runs + 1):
            least = [min(a, seconds(work)) for a, work in zip(least, works, strict=True)]
        took = seconds(partial(fxsim.explain, golden.graph, dumps[0], x, "litert-reference"))
        one, looked, other, equal = least
        ratios = (f"{v / one:.2f}" for v in (other, looked, equal))
        rows.append((model, len(golden.graph.nodes), f"{1e3 * one:.2f}", f"{1e3 * other:.2f}", *ratios, f"{took:.1f}"))
    head = ("network", "layers", "simulate, ms", "compare, ms", "ratio", "with rows", "equal dumps", "explain, s")
    return table(head, rows)


def _looked_at(kept: fxsim.Trace, arrays: dict[str, Array]) -> object:
    """A comparison with its rows and notes, which are made when asked for."""
    result = fxsim.compare(kept, arrays)
    return result.rows, result.notes


def main() -> None:
    """Measures, and writes the report."""
    parser = options(__doc__, runs=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="networks of the corpus")
    parser.add_argument("--rows", type=Path, help="a .csv file to go on from")
    asked = parser.parse_args()
    corpus = Path(os.environ["FXSIM_CORPUS"])
    rows = measure(corpus, asked.models, asked.rows)
    compared = [r for r in rows if r.tensors]
    differ, found = sum(r.differ for r in compared), sum(r.found for r in compared)
    wrong = Counter((r.model, r.note) for r in compared if r.found < r.differ or r.blamed or r.missed)
    unjudged = sum(r.unjudged for r in compared)
    lost = sum(min(r.unjudged, r.differ - r.found) for r in compared)
    head = ("device", "user's profile", "networks", "tensors", "elements", "differ", "engine named", "share",
            "unjudged", "blamed", "missed")  # fmt: skip
    parts = [
        "# The engine behind a dump",
        machine("numpy", "numba", "ai-edge-litert", "tflite-micro", "onnxruntime"),
        "Each live engine plays the device: every tensor of one inference of each network. *differ*: layers whose outputs "
        "the user's profile does not make of the device's inputs; *engine named*: of these, the true engine is in the first "
        "class; *unjudged*: of those that differ, the ones whose inputs the dump lacks (sums in float32, state), so that a "
        "stretch of layers is meant; *blamed*: equal layers that are called different; *missed*: differing layers that are "
        "called equal.",
        f"**{found} of {differ} layers that differ name the true engine; {sum(r.blamed for r in compared)} equal layers "
        f"blamed**, in {len(compared)} dumps of {len({r.model for r in compared})} networks. Of "
        f"those whose inputs the dump holds: {found - unjudged + lost} of {differ - unjudged}; of the others, "
        f"{unjudged - lost} of {unjudged}.",
        table(head, engine_rows(rows)),
        "## Layers that do not name the engine",
        table(("network", "layers", "devices x users"), [(*k, n) for k, n in wrong.items()]),
        "## Not compared",
        "Networks that the engine, the exporter or the user's profile does not take.",
        table(("device", "user's profile", "networks"), refusals(rows)),
        f"Not run, or not with every device: {', '.join(unfinished(rows)) or 'none'}.",
        "## Time",
        "Four inferences with full dumps; XNNPACK's arithmetic, which differs in every layer, held against the "
        "reference's, and (*equal dumps*) the reference's own; *with rows*: with all that is told of each tensor and the "
        "search for reused memory, which are made when asked for; least times, in alternation; explain once.",
        speeds(corpus, asked.runs),
        "Made by `python -m benchmarks.explain_engines`.",
    ]
    publish("\n\n".join(parts) + "\n", asked.report)


if __name__ == "__main__":
    main()
