"""Why does my device differ: from a dump to the arithmetic that reproduces it in every bit, layer by layer.

Every layer is judged alone: it is given the device's own inputs, so that an error counts where it is made and not where
it arrives. A layer that the user's simulation gets right is not looked into.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fxsim.diagnose import explain_ops, explain_sums
from fxsim.diagnose.cases import Case, layer_of, operands, settings_in, shipped
from fxsim.diagnose.differences import differs
from fxsim.diagnose.dumps import Dump, load
from fxsim.diagnose.explain_effect import Effect, effects
from fxsim.diagnose.explain_network import made_by, missed_by, network
from fxsim.diagnose.explain_profile import found_profile, write
from fxsim.diagnose.explain_rerun import Seen
from fxsim.diagnose.explain_sums import Member, Outcome
from fxsim.diagnose.explain_ways import Ways
from fxsim.diagnose.explain_words import network_words, shared, verdict
from fxsim.diagnose.quirks import tell
from fxsim.diagnose.reused import passed_over, reused
from fxsim.diagnose.separate import Separation
from fxsim.errors import DumpError, FxsimError
from fxsim.model.graph import Graph, Node
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile, OpNumerics, load_numerics, numerics_of
from fxsim.sim import simulate
from fxsim.sim.registry import STATE_OPS

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["equal", "explained", "nothing fits", "within", "not in the dump"]
"""``within``: differs, but its inputs are not in the dump, so that a whole stretch of layers is meant"""
Progress = Callable[[int], None]
Device = Callable[..., Any]
"""see :mod:`fxsim.diagnose.blackbox`"""


@dataclass(frozen=True, slots=True)
class Class:
    """Arithmetics that give the same on this data: ``misses`` of the ``elements`` that were looked at."""

    settings: tuple[OpNumerics, ...]
    profiles: tuple[str, ...]
    misses: int
    elements: int
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of :attr:`Explanation.table`."""

    layer: int
    op: str
    name: str
    status: Status
    elements: int
    mismatches: int
    """elements in which the device and the user's simulation differ"""
    settings: int
    """arithmetics in the first class"""
    profiles: tuple[str, ...]
    """shipped profiles in the first class"""
    ties: int
    separating: int
    """of the ``sampled`` elements, those that the nearest shipped arithmetic that does not fit gets wrong"""
    sampled: int
    confidence: str
    words: str


@dataclass(eq=False)
class Finding:
    """What was found of one layer."""

    layer: int
    op: str
    name: str
    status: Status
    elements: int = 0
    mismatches: int = 0
    users: OpNumerics | None = None
    case: Case | None = field(default=None, repr=False)
    outcome: Outcome | None = field(default=None, repr=False)
    profiles: tuple[str, ...] = ()
    """shipped profiles in the first class"""
    decided: bool = False
    """True if the device was asked about all that an input could tell apart: then words tell kinds, not settings"""

    @property
    def separating(self) -> int:
        """Sampled elements that the nearest shipped arithmetic (or the user's own) that does not fit gets wrong."""
        return min((m for m, _ in self.outcome.nearest if m), default=0) if self.outcome is not None else 0

    @property
    def members(self) -> tuple[Member, ...]:
        """The first class: what reproduces every bit that the device gave, the simplest first."""
        return self.outcome.fitting if self.outcome is not None else ()

    @property
    def classes(self) -> tuple[Class, ...]:
        """Arithmetics that are equal on this data, those that reproduce it first, then the nearest."""
        if self.outcome is None or self.users is None:
            return ()
        found, users = [], self.users
        if self.members:
            settings = tuple(m.settings for m in self.members)
            found.append(Class(settings, self.profiles, 0, self.elements, tell(settings[0], users)[0]))
        for misses in sorted({m for m, _ in self.outcome.nearest if m}):
            settings = tuple(s for m, s in self.outcome.nearest if m == misses)
            found.append(Class(settings, (), misses, self.outcome.tried, tell(settings[0], users)[0]))
        return tuple(found)

    @cached_property
    def separation(self) -> Separation | explain_ops.Tried | None:
        """The first class by what is proved, or was seen, to be the same for every input."""
        if self.case is None or self.users is None or not self.members:
            return None
        if layer_of(self.case.bound(self.users)) is not None:
            return Separation(self.case, self.members, Ways(self.case, self.users))
        return explain_ops.Tried(self.case, self.members)

    @property
    def kinds(self) -> tuple[tuple[OpNumerics, ...], ...]:
        """The first class cut into arithmetics that are one function of the layer's input, the simplest first."""
        s = self.separation
        return () if s is None else tuple(tuple(m.settings for m in k.members) for k in s.kinds)

    def holds(self, settings: OpNumerics) -> bool:
        """True if ``settings`` are in the first class, or the same function of the layer's input as what is."""
        s = self.separation
        return s is not None and s.holds(settings)

    @cached_property
    def separating_input(self) -> dict[str, Array]:
        """Inputs of this layer on which its kinds differ, ``(inferences, *shape)`` by tensor name; empty if none do."""
        s = self.separation
        given = s.inputs() if s is not None else []
        if self.case is None or not given:
            return {}
        tensors = [self.case.graph.tensors[i] for i in operands(self.case.graph, self.case.node)]
        return {t.name: np.stack([g[n] for g in given]) for n, t in enumerate(tensors) if t.data is None}

    def row(self) -> Row:
        """The finding as a row."""
        ties, sampled = (self.outcome.ties, self.outcome.tried) if self.outcome else (0, 0)
        confidence, words = verdict(self)
        return Row(
            self.layer, self.op, self.name, self.status, self.elements, self.mismatches, len(self.members), self.profiles,
            ties, self.separating, sampled, confidence, words,
        )  # fmt: skip


@dataclass(eq=False)
class Explanation:
    """The result of :func:`explain`."""

    graph: Graph
    users: NumericsProfile
    findings: tuple[Finding, ...]
    numerics: tuple[str, ...]
    """the shipped profiles that reproduce everything in the dump; where there are none, those of the differing layers"""
    whole: bool
    """True if these reproduce everything in the dump"""
    seen: Seen = field(repr=False)
    notes: tuple[str, ...] = ()
    """how the dump was read"""
    queries: int = 0
    """runs of the device that were asked for"""

    @property
    def differing(self) -> tuple[Finding, ...]:
        """The layers that compute otherwise than the user's simulation."""
        return tuple(f for f in self.findings if f.status in ("explained", "nothing fits", "within"))

    @property
    def equal(self) -> bool:
        """True if the user's simulation reproduces the dump."""
        return not self.differing

    @property
    def table(self) -> "pd.DataFrame":
        """A row per layer: see :class:`Row`."""
        from fxsim.report.tables import frame

        return frame(Row, self.rows)

    @property
    def rows(self) -> list[Row]:
        """What :attr:`table` holds: each layer in the words of the arithmetic that the whole network's explanation has."""
        return [replace(f.row(), words=shared(self, f)) for f in self.findings]

    @cached_property
    def profile(self) -> NumericsProfile:
        """The found arithmetic, to simulate with: a shipped profile where one has it all, else the user's changed."""
        if self.equal:
            return self.users
        if self.whole:
            return load_numerics(self.numerics[0])
        return found_profile(self.graph, self.users, self.differing)

    @cached_property
    def missed(self) -> dict[int, int]:
        """Layer -> elements that :attr:`profile`, given the device's own inputs, does not make; empty if it explains all.

        A profile has one arithmetic for all layers of an op and a type, and none for what nothing fits.
        """
        made = made_by(self.graph, self.profile, self.seen) or {}
        wrong = missed_by(made, self.seen)
        by_layer = {n.index: sum(wrong.get(i, 0) for i in n.outputs) for n in self.graph.nodes}
        return {layer: n for layer, n in by_layer.items() if n}

    @property
    def words(self) -> str:
        """What was found, layers of one finding together."""
        return network_words(self)

    @property
    def ambiguous(self) -> tuple[Finding, ...]:
        """The layers whose first class holds arithmetics that some input would tell apart."""
        return tuple(f for f in self.differing if f.members and len(f.kinds) > 1)

    @cached_property
    def told_by(self) -> "Finding | None":
        """The first layer that stays ambiguous and has inputs that tell; None if there is none."""
        return next((f for f in self.differing if len(f.members) > 1 and f.separating_input), None)

    @property
    def separating_input(self) -> dict[str, Array]:
        """For the first layer that stays ambiguous: inputs of it that tell, by tensor name; empty if none does."""
        return self.told_by.separating_input if self.told_by is not None else {}

    def effects(self, inputs: Any) -> tuple[Effect, ...]:  # noqa: ANN401
        """What each differing layer, and all of them, come to at the outputs for a data set: see :class:`Effect`."""
        return effects(self.graph, self.users, self.profile, [f.layer for f in self.differing], inputs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes :attr:`profile` as a ``.toml`` file that :func:`fxsim.simulate` takes as its numerics.

        Raises:
            OutputError: if the file cannot be written; FxsimError on another suffix.
        """
        write(self.profile, path)

    def __str__(self) -> str:
        """:attr:`words`."""
        return self.words


def explain(
    model: Graph,
    dump: Dump | Device,
    inputs: Any = None,  # noqa: ANN401
    numerics: "str | os.PathLike[str] | NumericsProfile | None" = None,
    progress: Progress | None = None,
    queries: int = 200,
) -> Explanation:
    """The arithmetic under which fxsim reproduces a device's dump in every bit, for each layer that differs.

    Args:
        model: a network from :func:`fxsim.read`.
        dump: what the device computed (see :mod:`fxsim.diagnose.dumps`); or the device itself, a function of a model's
            inputs or a :class:`fxsim.diagnose.blackbox.Command`, which is then asked.
        inputs: what the device was given, as for :func:`fxsim.simulate`; a device that is asked needs none.
        numerics: the user's own simulation, which the device is held against.
        progress: called with the number of layers done after each.
        queries: how often a device may be asked.

    Raises:
        DumpError: if the dump cannot be read or does not fit the model; InputError: if ``inputs`` does not.
    """
    users = numerics_of(model.name, numerics)
    if callable(dump):
        from fxsim.diagnose.blackbox import ask

        return ask(model, dump, users, inputs, queries, progress)
    if inputs is None:
        raise DumpError(f"{model.name}: explain needs the inputs that the device was given")
    trace = simulate(model, inputs, users)
    matched = load(trace, dump)
    count, tensors = trace.batch.count, trace.graph.tensors
    seen = Seen(trace.batch, {i: v.reshape(count, *tensors[i].shape) for i, v in matched.arrays.items()})
    found = conclude(trace.graph, users, seen, progress, matched.notes)
    lost = [_node(found.graph, f) for f in found.differing if f.status == "nothing fits"]
    if lost:
        outputs = {i for n in lost for i in n.outputs}
        strange = {i: matched.arrays[i] for i in sorted(outputs & matched.arrays.keys())}
        found.notes += reused(trace, strange, matched.arrays) + passed_over(trace, lost, matched.arrays)
    return found


def _node(graph: Graph, f: Finding) -> Node:
    return next(n for n in graph.nodes if n.index == f.layer)


def conclude(
    graph: Graph,
    users: NumericsProfile,
    seen: Seen,
    progress: Progress | None = None,
    notes: tuple[str, ...] = (),
    *,
    judge_all: bool = False,
) -> Explanation:
    """The explanation of what was seen; ``judge_all`` looks into layers too that the user's simulation gets right."""
    made = made_by(graph, users, seen)
    if made is None:
        raise FxsimError(f"{graph.name}: numerics {users.name!r} is no engine's arithmetic, which explain needs")
    findings = []
    for n in range(len(graph.nodes)):
        findings.append(_finding(graph, users, seen, made, n, judge_all=judge_all))
        if progress is not None:
            progress(n + 1)
    names, whole = network(graph, users, seen, findings)
    return Explanation(graph, users, tuple(findings), names, whole, seen, notes)


def _finding(
    graph: Graph, users: NumericsProfile, seen: Seen, made: dict[int, Array], n: int, *, judge_all: bool
) -> Finding:
    node = graph.nodes[n]
    known = [i for i in node.outputs if i in seen.tensors and i in made]
    found = Finding(node.index, node.op, node.name, "not in the dump")
    if not known:
        return found
    found.elements = sum(seen.tensors[i].size for i in known)
    found.mismatches = sum(int(np.count_nonzero(differs(made[i], seen.tensors[i]))) for i in known)
    found.users = settings_in(graph, node, users)
    if not found.mismatches:
        found.status = "equal"
        if not judge_all:
            return found
    ins = operands(graph, node)
    stateful = any(graph.tensors[i].variable for i in ins) or node.op in STATE_OPS
    if stateful or len(known) < len(node.outputs) or not all(seen.has(graph, i) for i in ins) or found.users is None:
        found.status = found.status if found.status == "equal" else "within"
        return found
    count = seen.batch.count
    given = tuple(tuple(seen.value(graph, i, k) for i in ins) for k in range(count))
    outs = tuple(tuple(seen.tensors[i][k] for i in node.outputs) for k in range(count))
    found.case = Case(graph, node, given, outs)
    found.outcome = search(found.case, found.users)
    if found.mismatches:
        found.status = "explained" if found.members else "nothing fits"
    found.profiles = tuple(dict.fromkeys(p for m in found.members for p in m.profiles))
    return found


def search(case: Case, users: OpNumerics) -> Outcome:
    """What the catalogue has for one layer."""
    bases = shipped(case.graph, case.node)
    if layer_of(case.bound(users)) is not None and case.graph.tensors[case.node.outputs[0]].qtype.kind == "int":
        return explain_sums.Search(case, users, bases).run()
    return explain_ops.search(case, users, bases)
