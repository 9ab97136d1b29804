"""What speed is measured of: one inference on each engine, and how several are timed side by side."""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro import runtime as tflm

import fxsim
from fxsim.numerics import load_numerics
from fxsim.sim.inputs import make_batch
from fxsim.sim.plan import prepare

SAMPLE_SECONDS = 0.004
"""a time is taken of as many calls as last that long"""
Clock = Callable[[], float]
Works = Mapping[str, Callable[[], object]]
held = ExitStack()
"""what must live as long as the process"""


@dataclass(frozen=True)
class Times:
    """Seconds of each side in each round."""

    rounds: dict[str, list[float]]

    def ms(self, side: str) -> float:
        """The median, in milliseconds."""
        return 1e3 * statistics.median(self.rounds[side])

    def ratio(self, a: str, b: str) -> float:
        """The median over the rounds of what ``a`` takes against ``b``."""
        return statistics.median(x / y for x, y in zip(self.rounds[a], self.rounds[b], strict=True))

    def least(self, a: str, b: str) -> float:
        """The ratio of the least times."""
        return min(self.rounds[a]) / min(self.rounds[b])


def seconds(work: Callable[[], object], repeats: int = 1, clock: Clock = time.perf_counter) -> float:
    start = clock()
    for _ in range(repeats):
        work()
    return (clock() - start) / repeats


def race(works: Works, runs: int, clock: Clock = time.process_time) -> Times:
    """Each in turn, ``runs`` times over.

    What runs on one thread is timed by the CPU time of the process, all its threads included: the same as the time on the
    wall on a quiet machine, and as much on a busy one.
    """
    repeats = {}
    for name, work in works.items():
        work()
        repeats[name] = max(1, int(SAMPLE_SECONDS / max(seconds(work, 1, clock), 1e-7)))
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            rounds[name].append(seconds(work, repeats[name], clock))
    return Times(rounds)


def litert(path: Path, x: list[np.ndarray], *, reference: bool, threads: int = 1) -> Callable[[], np.ndarray]:
    more = {"experimental_op_resolver_type": OpResolverType.BUILTIN_REF} if reference else {}
    engine = Interpreter(str(path), num_threads=threads, **more)
    engine.allocate_tensors()
    inputs, outputs = engine.get_input_details(), engine.get_output_details()

    def run() -> np.ndarray:
        for detail, value in zip(inputs, x, strict=True):
            engine.set_tensor(detail["index"], value)
        engine.invoke()
        return engine.get_tensor(outputs[0]["index"])

    return run


def micro(path: Path, x: list[np.ndarray]) -> Callable[[], np.ndarray]:
    engine = tflm.Interpreter.from_file(str(path), arena_size=1 << 25)

    def run() -> np.ndarray:
        for i, value in enumerate(x):
            engine.set_input(value, i)
        engine.invoke()
        return engine.get_output(0)

    return run


def planned(graph: fxsim.Graph, x: Any, numerics: str | fxsim.NumericsProfile) -> Callable[[], np.ndarray]:
    """An inference of a prepared plan, inputs copied in and output out, as the engines do."""
    plan, batch = prepare(graph, load_numerics(numerics)), make_batch(graph, x)
    (ws,) = held.enter_context(plan.workspaces(1, frozenset(graph.outputs)))
    place = graph.outputs[0]

    def run() -> np.ndarray:
        batch.load(0, ws.values)
        plan.run(ws)
        return ws.values[place].copy()

    return run
