"""Prepare once, run many: a graph bound to real functions, run for many inferences at once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from fxsim.errors import ProfileError, UnsupportedOp, listed
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.qtype import Array
from fxsim.numerics import REAL, NumericsProfile, RealNumerics, load_numerics
from fxsim.sim.inputs import Batch, make_batch
from fxsim.sim.real.base import RealFn, is_real
from fxsim.sim.real.formats import round_to
from fxsim.sim.real.registry import bind

CHUNK_BYTES = 1 << 25
"""room for the largest tensor of the inferences that run at once"""
Progress = Callable[[int], None]
"""called with the number of inferences done"""
Observe = Callable[[int, Array], None]
"""tensor index, its values ``(n, *shape)`` for the next ``n`` inferences"""


@dataclass(frozen=True, slots=True)
class Step:
    """One layer; ``last``: the tensors that nobody needs after it."""

    node: Node
    run: RealFn
    last: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RealPlan:
    """A prepared network. ``constants`` are what does not depend on the input: ``(1, *shape)`` each."""

    graph: Graph
    numerics: NumericsProfile
    real: RealNumerics
    steps: tuple[Step, ...]
    constants: dict[int, Array]

    def value(self, t: Tensor, x: Array) -> Array:
        """``x``, what tensor ``t`` holds, as it is held here: reals rounded to the format, others in their own type.

        A quantized activation keeps within the range of its integers, which may stand for a ReLU that the file lacks.
        """
        if not is_real(t):
            return x.astype(t.qtype.dtype, copy=False)
        if x.dtype not in (np.float32, np.float64):
            x = x.astype(np.float64)
        if t.quant is not None and t.quant.per_tensor and not t.constant:
            low, high = (t.quant.scale[0] * (end - t.quant.zero_point[0]) for end in (t.qtype.min, t.qtype.max))
            x = np.clip(x, x.dtype.type(low), x.dtype.type(high))
        rounded = round_to(x, self.real.format, saturate=self.real.overflow == "saturate")
        return rounded.astype(self.real.accumulate, copy=False)

    def feed(self, t: Tensor, x: Array) -> Array:
        """Input values ``(n, *shape)`` as they are held here; raw integers of a quantized tensor as their real values."""
        if t.quant is not None and x.dtype.kind in "iu":
            x = t.quant.dequantize(x) if t.quant.per_tensor else np.stack([t.quant.dequantize(v) for v in x])
        return self.value(t, x)

    def chunk(self) -> int:
        """How many inferences to run at once."""
        largest = max(t.elements for t in self.graph.tensors if not t.constant)
        return max(1, CHUNK_BYTES // max(1, largest * np.dtype(self.real.accumulate).itemsize))

    def run(
        self, batch: Batch, keep: Iterable[int] = (), observe: Observe | None = None, progress: Progress | None = None
    ) -> dict[int, Array]:
        """Runs every inference of ``batch``, some at once; the tensors of ``keep`` as ``(count, *shape)``.

        ``observe`` sees every activation, the inputs too, and may keep the arrays only if it copies them.
        """
        kept: dict[int, Array] = {}
        step = self.chunk()
        for first in range(0, batch.count, step):
            part = slice(first, min(first + step, batch.count))
            inputs = {i: v[part] for i, v in zip(batch.indices, batch.values, strict=True)}
            for i, x in self._run(inputs, set(keep), observe, part.stop - first).items():
                if i not in kept:
                    kept[i] = np.empty((batch.count, *x.shape[1:]), x.dtype)
                kept[i][part] = x
            if progress is not None:
                progress(part.stop)
        return kept

    def _run(self, inputs: dict[int, Array], wanted: set[int], observe: Observe | None, count: int) -> dict[int, Array]:
        tensors = self.graph.tensors
        values = {i: self.feed(tensors[i], x) for i, x in inputs.items()}
        kept: dict[int, Array] = {}

        def made(i: int, x: Array) -> None:
            if i in wanted or observe is not None:
                whole = x if len(x) == count else np.broadcast_to(x, (count, *x.shape[1:]))
                if i in wanted:
                    kept[i] = whole
                if observe is not None:
                    observe(i, whole)

        for i in inputs:
            made(i, values[i])
        with np.errstate(all="ignore"):  # what leaves a format's range is infinite or not a number, as it says
            for step in self.steps:
                known = (values, self.constants)
                ins = [None if i == ABSENT else next(v[i] for v in known if i in v) for i in step.node.inputs]
                for i, y in zip(step.node.outputs, step.run(ins), strict=False):
                    values[i] = self.value(tensors[i], y)
                    made(i, values[i])
                del ins
                for i in step.last:
                    values.pop(i, None)
        for i in wanted - kept.keys():
            if i in self.constants:
                made(i, self.constants[i])
        return kept


def prepare(graph: Graph, numerics: NumericsProfile) -> RealPlan:
    """Binds every layer, and computes those that do not depend on the input.

    Raises:
        UnsupportedOp: on an op that has no real function, or a network that keeps state.
    """
    assert numerics.real is not None
    if graph.variables:
        raise UnsupportedOp(
            f"{graph.name}: keeps state from one inference to the next; numerics {numerics.name!r} has none"
        )
    plan = RealPlan(graph, numerics, numerics.real, (), {})
    constants = {
        t.index: plan.feed(t, t.data[np.newaxis]) if t.data.dtype != np.bool_ else t.data[np.newaxis]
        for t in graph.tensors
        if t.data is not None
    }
    steps: list[tuple[Node, RealFn]] = []
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            run = bind(graph, node, numerics)
            if all(i in constants or i == ABSENT for i in node.inputs):
                made = run([None if i == ABSENT else constants[i] for i in node.inputs])
                constants |= {i: plan.value(graph.tensors[i], y) for i, y in zip(node.outputs, made, strict=False)}
            else:
                steps.append((node, run))
    return RealPlan(graph, numerics, numerics.real, tuple(_steps(steps)), constants)


def _steps(bound: Sequence[tuple[Node, RealFn]]) -> list[Step]:
    used: set[int] = set()
    steps = []
    for node, run in reversed(bound):
        touched = {*node.inputs, *node.outputs} - {ABSENT}
        steps.append(Step(node, run, tuple(touched - used)))
        used |= touched
    return steps[::-1]


def run(
    graph: Graph,
    x: Any,  # noqa: ANN401
    numerics: str | NumericsProfile = "float32",
    keep: Iterable[int] = (),
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> dict[int, Array]:
    """Runs ``graph`` on the inferences in ``x`` (as :func:`fxsim.simulate` takes them), in memory that they do not grow.

    ``observe(tensor, values)`` sees each activation of some inferences at once, ``(n, *shape)``, as soon as it is made, the
    network's inputs first; what is not copied is lost. The result holds the tensors of ``keep`` as ``(count, *shape)``.

    Raises:
        InputError: if ``x`` does not fit the model; UnsupportedOp: on an op without a real function.
    """
    return plan_of(graph, load_numerics(numerics)).run(make_batch(graph, x, real=True), keep, observe, progress)


def plan_of(graph: Graph, numerics: NumericsProfile) -> RealPlan:
    """The plan of ``graph``: made once, then kept with the graph.

    Raises:
        ProfileError: if the profile has no real arithmetic; else as :func:`prepare`.
    """
    if numerics.real is None:
        raise ProfileError(f"numerics {numerics.name!r} has no real arithmetic; allowed: {listed(REAL)}")
    key = "real", msgspec.msgpack.encode(numerics)
    found = graph.derived.get(key)
    if not isinstance(found, RealPlan):
        graph.derived[key] = found = prepare(graph, numerics)
    return found
