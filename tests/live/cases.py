"""What the live tests share: values and scales to draw, the tally of one op on one engine, and the comparison."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fxsim.errors import DomainError, UnsupportedOp
from fxsim.importers import parse
from fxsim.model.graph import ABSENT, Graph
from fxsim.sim import simulate
from tests import engines

Array = npt.NDArray[Any]
EXAMPLES = int(os.environ.get("FXSIM_LIVE_EXAMPLES", "24"))
"""Cases for each op and engine."""
ROUND = int(os.environ.get("FXSIM_LIVE_ROUND", "0"))
"""Rounds from 1 on draw other cases: see ``python -m tests.differential``."""
TALLIES = os.environ.get("FXSIM_LIVE_TALLIES", "")
"""A file that every tally is added to, a JSON object a line."""
REPRODUCERS = os.environ.get("FXSIM_LIVE_REPRODUCERS", "")
"""A folder for the model and the inputs of each mismatch, shrunk as far as it goes."""
RANGE = {t: (int(np.iinfo(t).min), int(np.iinfo(t).max)) for t in ("int8", "uint8", "int16", "int32")}
RANGE["int4"] = (-8, 7)


def _litert(content: bytes, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
    tensors = engines.litert_reference(content, inputs)
    return [tensors[i] for i in outputs]


def _optimized(content: bytes, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
    tensors = engines.litert_optimized(content, inputs)
    return [tensors[i] for i in outputs]


def _xnnpack(content: bytes, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
    return engines.litert_xnnpack(content, inputs)


def _tflm(content: bytes, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
    return engines.tflm(content, inputs)


ENGINES: dict[str, Callable[[bytes, Sequence[Array], Sequence[int]], list[Array]]] = {
    "litert-reference": _litert,
    "litert-optimized": _optimized,
    "litert-xnnpack": _xnnpack,
    "tflm": _tflm,
}
"""numerics profile -> the engine that it is held against"""
LITERT = tuple(n for n in ENGINES if n.startswith("litert"))
"""those that read what LiteRT reads"""


@dataclass(frozen=True, slots=True)
class Model:
    """A file, one inference's inputs, and the indices of the output tensors."""

    content: bytes
    inputs: list[Array]
    outputs: list[int]


@dataclass(slots=True)
class Tally:
    """What has been compared of one op on one engine, and what stood against it."""

    op: str
    engine: str
    cases: int = 0
    elements: int = 0
    ties: int = 0
    clamped: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unsupported: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    """elements compared, by op and type of its first input"""
    equal: bool = True

    def compare(self, model: Model) -> list[Array] | None:
        """Holds every bit of the simulated outputs against the engine's; None if either does not take the model."""
        self.cases += 1
        try:
            graph = parse(model.content, self.op)
            trace = simulate(graph, model.inputs, self.engine)
        except (
            UnsupportedOp,
            DomainError,
        ) as e:  # the engine may abort the process on what fxsim refuses: it is not asked
            self.unsupported[str(e).rsplit(": ", 1)[-1]] += 1
            return None
        try:
            wanted = ENGINES[self.engine](model.content, model.inputs, model.outputs)
        except engines.Refused as e:
            self.refused[str(e)] += 1
            return None
        got = [trace.tensor(i) for i in model.outputs]
        try:
            for a, b in zip(got, wanted, strict=True):
                self._hold(a, b)
        except AssertionError:
            self.equal = False
            self.save(model.content, ".tflite", model.inputs, wanted)
            raise
        self.kinds[_kind(graph)] += sum(a.size for a in got)
        return wanted

    def save(self, content: bytes, suffix: str, inputs: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Keeps a model, its inputs and what the engine made of them: hypothesis runs the least case last."""
        if REPRODUCERS:
            at = Path(REPRODUCERS) / re.sub(r"\W+", "_", f"{self.op}-{self.engine}")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.with_suffix(suffix).write_bytes(content)
            arrays = {f"in{i}": x for i, x in enumerate(inputs)} | {f"out{i}": y for i, y in enumerate(wanted)}
            np.savez(at.with_suffix(".npz"), **arrays)

    def _hold(self, got: Array, wanted: Array) -> None:
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        a, b = (v.view(np.uint32) if v.dtype == np.float32 else v for v in (got, wanted))
        wrong = np.argwhere(np.asarray(a != b))
        if wrong.size:
            first = tuple(int(i) for i in wrong[0])
            raise AssertionError(
                f"{self.op}: {len(wrong)} of {got.size} elements differ from {self.engine}; "
                f"first at {list(first)}: got {got[first]}, engine {wanted[first]}"
            )
        self.elements += got.size

    def count(self, exact: Array, scale: Array, zero: int, clamp: tuple[int, int]) -> None:
        """Counts ties and clamps of ``exact * scale + zero``.

        ``exact`` ``(..., channels)`` holds integers, ``scale`` ``(channels,)`` Fractions. A clamped tie does not count.
        """
        for c, m in enumerate(scale):
            twice = 2 * exact[..., c].astype(np.int64)
            if m.numerator % 2 and m.denominator < 1 << 40:
                whole = twice % m.denominator == 0
                odd = twice // m.denominator % 2 == 1
                value = np.floor(exact[..., c] * float(m)) + zero
                self.ties += int(np.sum(whole & odd & (value >= clamp[0]) & (value < clamp[1])))
            real = exact[..., c] * float(m) + zero
            self.clamped += int(np.sum((real < clamp[0] - 0.5) | (real > clamp[1] + 0.5)))

    def check(self, least: int, *, ties: bool = False, clamps: bool = False) -> None:
        """Fails unless ``least`` elements a case were compared, with ties and clamps among them where asked.

        Of the rounds of a differential run, which may draw few cases each, the report tells instead.
        """
        if ROUND:
            return
        refused = sum(self.refused.values())
        assert 2 * refused < self.cases, f"{self} refused: {self.refused}"
        assert 2 * sum(self.unsupported.values()) < self.cases, f"{self} unsupported: {self.unsupported}"
        assert self.elements >= least * self.cases, str(self)
        assert self.ties or not ties, f"{self}: no tie occurred"
        assert self.clamped or not clamps, f"{self}: no clamp occurred"

    def __str__(self) -> str:
        lines = [
            f"{self.op} on {self.engine}: {self.cases} cases, {self.elements} elements, {self.ties} ties, "
            f"{self.clamped} clamped, {sum(self.refused.values())} refused by the engine, "
            f"{sum(self.unsupported.values())} by fxsim"
        ]
        lines += [f"  {n} x engine refused: {reason}" for reason, n in self.refused.items()]
        lines += [f"  {n} x fxsim refused: {reason}" for reason, n in self.unsupported.items()]
        return "\n".join(lines)


def _kind(graph: Graph) -> str:
    """What a report counts a model as: its op and the type of the first input, or a network."""
    if len(graph.nodes) != 1:
        return "networks"
    first = [i for i in graph.nodes[0].inputs if i != ABSENT][:1]
    return " ".join([graph.nodes[0].op, *(graph.tensors[i].qtype.name for i in first)])


def publish(tallies: Sequence[Tally], record_property: Callable[[str, object], None]) -> None:
    """Says what the tallies of a test hold, once it has ended."""
    for tally in tallies:
        record_property("compared", str(tally))
        print(tally)
        if TALLIES:
            with open(TALLIES, "ab") as f:
                f.write(msgspec.json.encode(tally) + b"\n")


def explore(cases: st.SearchStrategy[Any], check: Callable[[Any], None], share: float = 1.0) -> None:
    """Runs ``check`` on ``share * EXAMPLES`` cases, the same ones every time.

    Each case is a run of its own: within one run hypothesis repeats and mutates what it drew, so that few examples
    would be fewer kinds. A run's first example is the simplest there is, which is checked once; the second differs from
    it in the first choice, which therefore must be one that does not matter.
    """
    simplest: list[Any] = []

    @given(st.tuples(st.integers(0, 1 << 30), cases))
    def run(drawn: tuple[int, Any]) -> None:
        case = drawn[1]
        if not simplest:
            simplest.append(case)
        elif case == simplest[0]:
            return
        check(case)

    once = settings(max_examples=2, deadline=None, database=None, suppress_health_check=list(HealthCheck))(run)
    for n in range(max(1, round(EXAMPLES * share))):
        seed(n + 1_000_000 * ROUND)(once)()


def f32(x: float) -> float:
    """The nearest float32, as files store scales."""
    return float(np.float32(x))


def fractions(numerators: Sequence[float], denominator: float) -> Array:
    """Exact real scales of channels: ``numerator / denominator`` of float values, as an array of Fractions."""
    return np.array([Fraction(n) / Fraction(denominator) for n in numerators], object)


def decades(low: float, high: float) -> st.SearchStrategy[float]:
    """float32 scales from ``10**low`` to ``10**high``."""
    return st.floats(low, high).map(lambda e: f32(10.0**e))


def powers(low: int, high: int) -> st.SearchStrategy[float]:
    """Powers of two: with them real products hit halves exactly."""
    return st.integers(low, high).map(lambda e: 2.0**e)


def zeros(dtype: str = "int8") -> st.SearchStrategy[int]:
    """Zero points: both ends, the middle and its neighbours, odd ones, any."""
    low, high = RANGE[dtype]
    if dtype == "int16":
        return st.just(0)
    middle = (low + high + 1) // 2
    return st.sampled_from([low, high, middle, middle - 1, middle + 1, low + 1, high - 1]) | st.integers(low, high)


@dataclass(frozen=True, slots=True)
class Values:
    """Integers to fill a tensor with, told by a kind and a seed so that a failing case prints short."""

    kind: str
    seed: int

    def fill(self, shape: Sequence[int], dtype: str, zero: int = 0) -> Array:
        """An array of ``dtype``. Some kinds keep near ``zero``, or a multiple of 1/16 of the range apart from it."""
        low, high = RANGE[dtype]
        held = "int8" if dtype == "int4" else dtype
        size, rng = int(np.prod(shape, dtype=np.int64)), np.random.default_rng(self.seed)
        if self.kind == "ramp":
            flat = low + (np.arange(size) + self.seed) % (high - low + 1)
        elif self.kind == "edges":
            near = [low, low + 1, zero - 1, zero, zero + 1, high - 1, high]
            flat = rng.choice(np.clip(near, low, high), size)
        elif self.kind == "low":
            flat = np.full(size, low)
        elif self.kind == "high":
            flat = np.full(size, high)
        elif self.kind == "coarse":
            step = (high - low + 1) // 16
            flat = zero + step * rng.integers(-((zero - low) // step), (high - zero) // step, size, endpoint=True)
        elif self.kind == "small":
            flat = rng.integers(max(low, zero - 3), min(high, zero + 3), size, endpoint=True)
        else:
            flat = rng.integers(low, high, size, endpoint=True)
        return flat.astype(held).reshape(tuple(shape))


VALUES = st.builds(
    Values,
    st.sampled_from(["random", "random", "random", "ramp", "edges", "small", "low", "high"]),
    st.integers(0, 1 << 30),
)
ACTIVATIONS = st.sampled_from(["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"])


def shapes(low: int = 1, high: int = 4, size: int = 6) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of ``low..high`` axes."""
    return st.lists(st.integers(1, size), min_size=low, max_size=high).map(tuple)


def limits(activation: str, scale: float, zero: int, dtype: str) -> tuple[int, int]:
    """The output range that a fused activation leaves, for counting: exact but at ties of the bound."""
    low, high = RANGE[dtype]
    least, most = {"NONE": (None, None), "RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}[activation]
    if least is not None:
        low = max(low, zero + round(max(least / scale, -1e6)))
    if most is not None:
        high = min(high, zero + round(min(most / scale, 1e6)))
    return low, high
