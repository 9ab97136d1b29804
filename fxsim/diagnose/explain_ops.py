"""The search on all other ops: every arithmetic of the catalogue that the op has is run on what the device was given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fxsim.diagnose import quirks
from fxsim.diagnose.cases import Case, unequal
from fxsim.diagnose.explain_sums import Member, Outcome, ordered
from fxsim.diagnose.refining import refining
from fxsim.errors import FxsimError
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics

NEAR = 3
"""nearest arithmetics from which quirks are tried"""
DRAWN = 24
"""whole inputs that are drawn to tell arithmetics apart"""
MOST_INFERENCES = 64
"""so many at most, to put all values, or pairs of values, into inputs"""
UNARY = set(
    "LOGISTIC TANH QUANTIZE DEQUANTIZE LEAKY_RELU RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 ABS HARD_SWISH ELU GELU EXP LOG SQRT "
    "RSQRT SQUARE NEG QLinearSigmoid QLinearLeakyRelu".split()
)
"""ops whose every output depends on the input at its own place"""
BINARY = set("ADD SUB MUL DIV SQUARED_DIFFERENCE QLinearAdd QLinearMul".split())


def search(case: Case, users: OpNumerics, bases: dict[OpNumerics, list[str]]) -> Outcome:
    """All arithmetics of the catalogue that reproduce the layer."""
    missed = {s: m for s in dict.fromkeys((users, *bases)) if (m := _misses(case, s)) is not None}
    nearest = sorted(((m, s) for s, m in missed.items()), key=lambda row: row[0])
    axes = quirks.other_axes(case.node.op)
    found = {s: Member(s, 0, tuple(bases.get(s, ()))) for m, s in nearest if m == 0}
    for count in (1, 2):
        for settings in dict.fromkeys(_off([s for _, s in nearest[:NEAR]], axes, count)):
            if settings not in missed:
                some = _misses(case, settings, whole=False)
                missed[settings] = some if some is not None else case.elements
                if some == 0:
                    found[settings] = Member(settings, count)
        if found:
            break
    return Outcome(tuple(ordered(list(found.values()), users)), tuple(nearest), case.elements)


def _off(bases: list[OpNumerics], axes: dict[str, list[quirks.Quirk]], count: int) -> Iterator[OpNumerics]:
    for base in bases:
        if count == 1:
            yield from (q.apply(base) for several in axes.values() for q in several)
        else:
            yield from (b.apply(a.apply(base)) for a, b in quirks.pairs(axes))


def _misses(case: Case, settings: OpNumerics, *, whole: bool = True) -> int | None:
    """Elements that ``settings`` miss (not ``whole``: at least so many); None where the op has no such arithmetic."""
    missed = 0
    try:
        for given, theirs in zip(case.inputs, case.outputs, strict=True):
            made = case.run(settings, [given])[0]
            missed += sum(unequal(a, b) for a, b in zip(made, theirs, strict=True))
            if missed and not whole:
                break
    except (FxsimError, ZeroDivisionError, OverflowError):
        return None
    return missed


@dataclass(slots=True, eq=False)
class Kind:
    """Arithmetics that gave the same on every input that was tried: on all there are, where ``proved``."""

    members: list[Member]


@dataclass(slots=True, eq=False)
class Tried:
    """The kinds of a layer's fitting members, by what they make of drawn or enumerated inputs."""

    case: Case
    members: Sequence[Member]
    kinds: list[Kind] = field(init=False)
    proved: bool = field(init=False)
    _given: list[tuple[Array, ...]] = field(init=False)
    _outs: list[list[bytes]] = field(init=False)

    def __post_init__(self) -> None:
        """Runs every member."""
        drawn, self.proved = _drawn(self.case)
        self._given = [*self.case.inputs, *drawn]
        by: dict[tuple[bytes, ...], Kind] = {}
        for member in self.members:
            by.setdefault(self._made(member.settings), Kind([])).members.append(member)
        self.kinds, self._outs = list(by.values()), [list(k) for k in by]

    def _made(self, settings: OpNumerics) -> tuple[bytes, ...]:
        made = self.case.run(settings, self._given)
        return tuple(b"".join(np.ascontiguousarray(y).tobytes() for y in out) for out in made)

    def holds(self, settings: OpNumerics) -> bool:
        """True if ``settings`` give what a member gives, on every input tried."""
        return list(self._made(settings)) in self._outs

    def inputs(self, most: int = 8) -> list[tuple[Array, ...]]:
        """Inputs of the layer, an entry an inference, on which its kinds differ."""
        return [self._given[i] for i in refining(self._outs, most)] if len(self.kinds) > 1 else []


def _drawn(case: Case) -> tuple[list[tuple[Array, ...]], bool]:
    """Inputs for the layer's data; and whether they hold every value that could matter."""
    graph, node = case.graph, case.node
    tensors = [graph.tensors[i] for i in node.inputs if i >= 0]
    data = [n for n, t in enumerate(tensors) if t.data is None]
    rng, found = np.random.default_rng(0), []
    whole = _enumerated([tensors[n] for n in data], node.op)
    for values in whole or []:
        found.append(_with(case, dict(zip(data, values, strict=True))))
    for n in range(DRAWN):
        share = 2.0 ** (-(n // 2))
        found.append(_with(case, {i: _noise(tensors[i], share, rng, ends=n % 2 == 0) for i in data}))
    return found, whole is not None


def _with(case: Case, values: dict[int, Array]) -> tuple[Array, ...]:
    return tuple(values.get(n, v) for n, v in enumerate(case.inputs[0]))


def _noise(t: Tensor, share: float, rng: np.random.Generator, *, ends: bool) -> Array:
    if t.qtype.kind != "int":
        return (rng.normal(size=t.shape) * 8 * share).astype(t.qtype.dtype)
    zero = t.quant.zero_point[0] if t.quant is not None else 0
    low, high = (zero + (v - zero) * share for v in (t.qtype.min, t.qtype.max))
    values = rng.choice([low, high], t.shape) if ends and share < 1 else rng.uniform(low, high, t.shape)
    return np.clip(np.rint(values), t.qtype.min, t.qtype.max).astype(t.qtype.dtype)


def _enumerated(tensors: list[Tensor], op: str) -> list[list[Array]] | None:
    """Every value of one input, or every pair of two of one shape; None where there are too many, or that is not all."""
    if any(t.qtype.kind != "int" for t in tensors) or len({t.shape for t in tensors}) != 1:
        return None
    if not (len(tensors) == 1 and op in UNARY) and not (len(tensors) == 2 and op in BINARY):
        return None
    ranges = [np.arange(t.qtype.min, t.qtype.max + 1) for t in tensors]
    count = int(np.prod([len(r) for r in ranges]))
    size = tensors[0].elements
    if -(-count // size) > MOST_INFERENCES or count > 1 << 20:
        return None
    flat = [v.reshape(-1) for v in np.meshgrid(*ranges, indexing="ij")]
    padded = [np.resize(v, -(-count // size) * size) for v in flat]
    cut = [v.reshape(-1, *t.shape).astype(t.qtype.dtype) for v, t in zip(padded, tensors, strict=True)]
    return [list(row) for row in zip(*cut, strict=True)]
