"""Prepare once, run many: a graph and a numerics profile bound into a flat list of steps.

A plan is immutable and may serve many threads: all that a run writes lies in its :class:`Workspace`.
"""

from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import msgspec
import numpy as np

from fxsim.errors import ModelError
from fxsim.kernels.packed import chain, repeat
from fxsim.model.check import check, where
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.onnx_fuse import fuse
from fxsim.model.ops.state import CallOnce
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile
from fxsim.sim.arena import arrange, lifetimes
from fxsim.sim.base import Arrays, Bound, Native, Probe, RunFn, address
from fxsim.sim.inputs import Batch
from fxsim.sim.real import plan as real
from fxsim.sim.registry import bind
from fxsim.sim.state import variable, variable_names

State = dict[str, Array]


@dataclass(slots=True)
class Workspace:
    """What one run writes: an array for each tensor, the state of resource variables, and what layers remember."""

    values: list[Array]
    state: State = field(default_factory=dict)
    memory: dict[int, RunFn] = field(default_factory=dict)
    """layer -> its run, with what it remembers"""
    program: list[Callable[[], object]] = field(default_factory=list)
    """the steps, bound to the arrays; neighbours in machine code are one call"""
    held: list[Array] = field(default_factory=list)
    """what machine code points at"""
    words: list[tuple[int, int, int]] = field(default_factory=list)
    """(tensor, where a word of a block lies that says where it lies, what that says), of inputs and of what is kept"""
    made: set[int] = field(default_factory=set)
    """tensors that machine code writes"""
    places: dict[int, int] = field(default_factory=dict)
    """tensor -> where it lies, for those that were asked for"""
    calls: Array | None = None
    """the whole program, where it is one chain of machine code"""


Places = dict[int, tuple[int, int]]
"""tensor -> where that of the first inference lies, and the bytes to the next one"""


def _places(arrays: Iterable[tuple[int, Array]]) -> Places:
    found = {}
    for i, stacked in arrays:
        assert stacked.flags.c_contiguous
        found[i] = address(stacked), stacked.nbytes // len(stacked)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """What goes into the inferences of a batch, and the tensors that are kept of them, stacked."""

    batch: Batch
    kept: Mapping[int, Array]
    given: Places = field(init=False)
    made: Places = field(init=False)

    def __post_init__(self) -> None:
        """Finds out where all lies."""
        object.__setattr__(self, "given", _places(zip(self.batch.indices, self.batch.values, strict=True)))
        object.__setattr__(self, "made", _places(self.kept.items()))


@dataclass(frozen=True, slots=True)
class Step:
    """One layer of a plan."""

    node: Node
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    run: Callable[[Workspace, Arrays, Arrays], None]
    probe: Callable[[Arrays], Probe] | None = None
    native: Native | None = None
    remembers: bool = False
    """True if its outputs depend on earlier inferences"""
    direct: "Step | None" = None
    """the same from the input of the PAD before it, for runs that have no other use for that PAD's output"""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A prepared network. ``once`` holds what runs before the first inference only."""

    graph: Graph
    numerics: NumericsProfile
    steps: tuple[Step, ...]
    views: dict[int, int]
    """tensor -> the tensor whose memory it is"""
    once: tuple["Plan", ...] = ()
    idle: dict[frozenset[int], deque[Workspace]] = field(default_factory=dict, repr=False)
    """tensors that must stay -> workspaces that wait for another run"""
    pace: dict[frozenset[int], float] = field(default_factory=dict, repr=False)
    """tensors that must stay -> seconds that an inference took"""
    stateless: bool = field(init=False)
    """True if no inference depends on an earlier one, so that any order, and several at once, give the same"""

    def __post_init__(self) -> None:
        """Looks for what remembers."""
        remembers = any(s.remembers for s in self.steps) or any(t.variable for t in self.graph.tensors)
        object.__setattr__(self, "stateless", not remembers)

    @contextmanager
    def workspaces(self, count: int, keep: frozenset[int]) -> Iterator[list[Workspace]]:
        """Room for ``count`` inferences at once: what an earlier run has left, if no inference can tell the difference.

        After an inference only the tensors of ``keep`` hold their values.
        """
        idle, taken = self.idle.setdefault(keep, deque()), list[Workspace]()
        while self.stateless and len(taken) < count:
            try:
                taken.append(idle.popleft())
            except IndexError:
                break
        taken += [self.workspace(keep=keep) for _ in range(count - len(taken))]
        yield taken
        if self.stateless:
            idle.extend(taken)

    def executed(self, keep: frozenset[int] | None = None) -> list[Step]:
        """The steps of a run after which all tensors, or those of ``keep``, hold their values."""
        unused = set() if keep is None else {s.inputs[0] for s in self.steps if s.direct} - keep
        return [
            s.direct if s.direct and s.inputs[0] in unused else s for s in self.steps if unused.isdisjoint(s.outputs)
        ]

    def _shared(self, keep: frozenset[int]) -> dict[int, Array]:
        """Tensor -> its memory, for all but those of ``keep`` and what is there before the first step."""
        tensors, roots = self.graph.tensors, {self.views.get(i, i) for i in (*keep, *self.graph.inputs)}
        steps = self.executed(keep)
        lives = lifetimes([(s.inputs, s.outputs) for s in steps], self.views)
        made = {i for s in steps for i in s.outputs} - roots
        sizes = {i: int(np.prod(tensors[i].shape)) * tensors[i].qtype.dtype.itemsize for i in made if _free(tensors[i])}
        places, total = arrange(sizes, lives)
        memory = np.zeros(total, np.uint8)
        return {
            i: memory[at : at + sizes[i]].view(tensors[i].qtype.dtype).reshape(tensors[i].shape)
            for i, at in places.items()
        }

    def workspace(
        self, state: State | None = None, keep: frozenset[int] | None = None, *, program: bool = True
    ) -> Workspace:
        """Fresh memory for a run, with the state as the model's start leaves it.

        All tensors hold their values after a run, or those of ``keep`` alone. Without ``program``, which takes machine code
        to be made, it serves runs step by step.
        """
        shared = {} if keep is None else self._shared(keep)
        values = [shared[t.index] if t.index in shared else _buffer(t) for t in self.graph.tensors]
        for alias, source in self.views.items():
            values[alias] = values[source].reshape(self.graph.tensors[alias].shape)
        ws = Workspace(values, {} if state is None else state)
        for plan in self.once:
            plan.run(plan.workspace(ws.state))
        if program:
            stay = range(len(values)) if keep is None else {self.views.get(i, i) for i in (*keep, *self.graph.inputs)}
            ws.program.extend(self._program(ws, self.executed(keep), stay))
        return ws

    def _program(self, ws: Workspace, steps: list[Step], stay: Container[int]) -> Iterator[Callable[[], object]]:
        room = np.empty(max((s.native.room for s in steps if s.native), default=0), np.uint8)
        ws.held.append(room)
        for is_native, group in groupby(steps, lambda s: s.native is not None):
            calls = []
            for step in group:
                ins, outs = [ws.values[i] for i in step.inputs], [ws.values[i] for i in step.outputs]
                if step.native is None:
                    yield partial(step.run, ws, ins, outs)
                    continue
                block = step.native.block(ins, outs, room)
                ws.held.append(block)
                named = (*(step.inputs[i] for i in step.native.positions), *step.outputs)
                roots = enumerate(self.views.get(t, t) for t in named)
                ws.words += [(t, address(block) + 8 * n, int(block[n])) for n, t in roots if t in stay]
                ws.made.update(step.outputs)
                calls.append((step.native.function().address, address(block)))
            if is_native:
                ws.calls = np.array(calls, np.int64) if len(calls) == len(steps) else None
                yield partial(chain(), np.array(calls, np.int64))

    def run_all(self, ws: Workspace, ends: Ends, first: int, last: int) -> None:
        """Inferences ``first..last - 1`` of a batch."""
        if ws.calls is None:
            for n in range(first, last):
                ends.batch.load(n, ws.values)
                self.run(ws)
                for i, stacked in ends.kept.items():
                    stacked[n] = ws.values[i]
            return
        # Inputs are read and kept tensors written where they lie; of a tensor and its views all but one are copied.
        lies = {root: place for i, place in ends.made.items() if (root := self.views.get(i, i)) in ws.made} | ends.given
        places = [(at, *lies[t], own) for t, at, own in ws.words if t in lies]
        copies = [(*place, *source) for i, place in ends.made.items() if (source := self._source(ws, lies, i)) != place]
        repeat()(ws.calls, _rows(places), _rows(copies), first, last)

    def _source(self, ws: Workspace, lies: Places, tensor: int) -> tuple[int, int]:
        """Where a tensor lies after the first inference of a batch, and the bytes to where it lies after the next."""
        root = self.views.get(tensor, tensor)
        if root in lies:
            return lies[root]
        if root not in ws.places:
            ws.places[root] = address(ws.values[root])
        return ws.places[root], 0

    def run(self, ws: Workspace, watch: Callable[[Step, Arrays], None] | None = None) -> None:
        """One inference on the workspace's input tensors. ``watch`` sees each step's inputs before it runs."""
        if watch is None:
            for call in ws.program:
                call()
            return
        values = ws.values
        for step in self.steps:
            ins = [values[i] for i in step.inputs]
            watch(step, ins)
            step.run(ws, ins, [values[i] for i in step.outputs])


def _rows(of: Sequence[tuple[int, ...]]) -> Array:
    return np.array(of, np.int64).reshape(-1, 4)


def _free(t: Tensor) -> bool:
    """True if the tensor's memory may serve others before and after its life."""
    return t.data is None and not t.variable and t.qtype.dtype.kind in "iufb"


def _buffer(t: Tensor) -> Array:
    if t.data is not None:
        return np.asarray(t.data, order="C")
    # The engines start a state of 8 bits at its zero point, any other at 0.
    start = t.quant.zero_point[0] if t.variable and t.quant is not None and t.qtype.name == "int8" else 0
    return np.full(t.shape, start, t.qtype.dtype) if start else np.zeros(t.shape, t.qtype.dtype)


def _stateless(run: RunFn) -> Callable[[Workspace, Arrays, Arrays], None]:
    return lambda ws, inputs, outputs: run(inputs, outputs)


def _remembering(layer: int, fresh: Callable[[], RunFn]) -> Callable[[Workspace, Arrays, Arrays], None]:
    def run(ws: Workspace, inputs: Arrays, outputs: Arrays) -> None:
        if layer not in ws.memory:
            ws.memory[layer] = fresh()
        ws.memory[layer](inputs, outputs)

    return run


def _read(name: str) -> Callable[[Workspace, Arrays, Arrays], None]:
    def run(ws: Workspace, inputs: Arrays, outputs: Arrays) -> None:
        if name not in ws.state:
            raise ModelError(f"variable {name!r} is read before anything is assigned to it")
        if ws.state[name].shape != outputs[0].shape or ws.state[name].dtype != outputs[0].dtype:
            raise ModelError(f"variable {name!r} holds {list(ws.state[name].shape)}, read as {list(outputs[0].shape)}")
        outputs[0][...] = ws.state[name]

    return run


def _assign(name: str) -> Callable[[Workspace, Arrays, Arrays], None]:
    def run(ws: Workspace, inputs: Arrays, outputs: Arrays) -> None:
        ws.state[name] = inputs[1].copy()

    return run


def _state_step(node: Node, names: dict[int, str]) -> Step | None:
    """READ_VARIABLE and ASSIGN_VARIABLE as steps; VAR_HANDLE and CALL_ONCE need none."""
    if node.op == "READ_VARIABLE":
        return Step(node, (), node.outputs, _read(variable(names, node)), remembers=True)
    if node.op == "ASSIGN_VARIABLE":
        return Step(node, node.inputs, (), _assign(variable(names, node)), remembers=True)
    return None


def plan_of(graph: Graph, numerics: NumericsProfile) -> Plan | real.RealPlan:
    """The plan of ``graph`` under ``numerics``: made once, then kept with the graph."""
    if numerics.real is not None:
        return real.plan_of(graph, numerics)
    last = graph.derived.get("last plan")
    if isinstance(last, Plan) and last.numerics is numerics:
        return last
    key = "plan", msgspec.msgpack.encode(numerics)
    found = graph.derived.get(key)
    if not isinstance(found, Plan):
        found = prepare(as_executed(graph, numerics), numerics)
    graph.derived[key] = graph.derived["last plan"] = found
    return found


def as_executed(graph: Graph, numerics: NumericsProfile) -> Graph:
    """The graph as the engine rewrites it before it runs; tensors that are still there keep their indices.

    Raises:
        UnsupportedOp: on what the engine gives to a kernel that fxsim does not simulate.
    """
    if not numerics.rewrite:
        return graph
    found = graph.derived.get(("rewrite", numerics.rewrite))
    if not isinstance(found, Graph):
        graph.derived["rewrite", numerics.rewrite] = found = check(fuse(graph)[0])
    return found


def prepare(graph: Graph, numerics: NumericsProfile, depth: int = 0) -> Plan:
    """A new plan of ``graph`` under ``numerics``: weights packed, multipliers computed, shapes and memory settled.

    Raises:
        UnsupportedOp: on what fxsim does not simulate; ProfileError on arithmetic that an op lacks.
    """
    names = variable_names(graph)
    steps: list[Step] = []
    views: dict[int, int] = {}
    once: list[Plan] = []
    bounds: dict[int, Bound] = {}
    for node in graph.nodes:
        if node.op == "CALL_ONCE":
            once.append(_called(graph, node, numerics, depth))
            continue
        if node.op in ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"):
            step = _state_step(node, names)
            if step is not None:
                steps.append(step)
            continue
        bound = bind(graph, node, numerics)
        if bound.view:
            views[node.outputs[0]] = views.get(node.inputs[0], node.inputs[0])
            continue
        bounds[node.index] = bound
        inputs = tuple(i for i in node.inputs if i != ABSENT)
        run = _remembering(node.index, bound.fresh) if bound.fresh else _stateless(bound.run)
        steps.append(Step(node, inputs, node.outputs, run, bound.probe, bound.native, bound.fresh is not None))
    return Plan(graph, numerics, _joined(graph, steps, views, bounds), views, tuple(once))


def _joined(graph: Graph, steps: list[Step], views: dict[int, int], bounds: dict[int, Bound]) -> tuple[Step, ...]:
    """The steps, with the direct way of those that alone read the output of a PAD."""
    pads = {s.outputs[0]: s for s in steps if s.node.index in bounds and bounds[s.node.index].border}
    if not pads:
        return tuple(steps)
    readers = Counter([*(i for s in steps for i in s.inputs), *views.values(), *graph.outputs])

    def joined(step: Step) -> Step:
        bound, pad = bounds.get(step.node.index), pads.get(step.inputs[0]) if step.inputs else None
        if bound is None or bound.within is None or pad is None or readers[step.inputs[0]] > 1:
            return step
        border = bounds[pad.node.index].border
        native = bound.within(border) if border else None
        if native is None:
            return step
        direct = replace(step, inputs=(pad.inputs[0], *step.inputs[1:]), native=native)
        return replace(step, direct=direct)

    return tuple(map(joined, steps))


def _called(graph: Graph, node: Node, numerics: NumericsProfile, depth: int) -> Plan:
    attrs = node.attributes
    assert isinstance(attrs, CallOnce)
    if depth or not 1 <= attrs.subgraph <= len(graph.called):
        raise ModelError(
            f"{where(graph, node)}: calls subgraph {attrs.subgraph}; "
            f"allowed: 1..{len(graph.called)}, from the main graph"
        )
    return prepare(graph.called[attrs.subgraph - 1], numerics, depth + 1)
