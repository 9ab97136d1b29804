"""A device that can be asked: which inputs to give it, so that few runs identify its arithmetic.

A device is a function of the model's inputs, one array each in the model's shapes and order, that returns its output (or
the list of its outputs). A serial board, a Verilated model or firmware under QEMU fits behind one; a program does behind a
:class:`Command`.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fxsim.diagnose.explain_rerun import Seen
from fxsim.diagnose.refining import refining
from fxsim.errors import DumpError, FxsimError
from fxsim.files import load_arrays
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile
from fxsim.sim import simulate
from fxsim.sim.inputs import make_batch, random_values
from fxsim.sim.plan import as_executed

if TYPE_CHECKING:
    from fxsim.diagnose.explain import Device, Explanation, Progress

FIRST_QUERIES = 6
ROUND = 8
"""queries between two searches"""
DRAWN = 32
"""inputs of a whole network that are drawn to tell profiles apart"""
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Command:
    """A program as a device: ``./run_board.sh {input} {output}``, run without a shell, once for each inference.

    ``{input}`` and ``{output}`` become paths of .npy files (.npz of ``input_0``, ... for several inputs); ``{input:raw}`` and
    ``{output:raw}`` of the bare bytes in C order, one tensor after the other.
    """

    text: str
    model: Graph = field(repr=False)
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        """Raises FxsimError where the command names no input or no output file, or cannot be split into words."""
        try:
            shlex.split(self.text)
        except ValueError as e:
            raise FxsimError(f"device: got {self.text!r}, whose quotes do not close: {e}") from None
        for what in ("input", "output"):
            if not any(f"{{{what}{how}}}" in self.text for how in ("", ":raw")):
                raise FxsimError(f"device: got {self.text!r}; allowed: a command with {{input}} and {{output}}")

    def __call__(self, *inputs: Array) -> list[Array]:
        """Runs the program once.

        Raises:
            FxsimError: if it cannot be run, fails or takes too long; DumpError if its output cannot be read.
        """
        with tempfile.TemporaryDirectory(prefix="fxsim-device-") as folder:
            paths = self._write(Path(folder), inputs)
            words = [_filled(word, paths) for word in shlex.split(self.text)]
            try:
                done = subprocess.run(words, capture_output=True, timeout=self.timeout_s, check=False)
            except subprocess.TimeoutExpired:
                raise FxsimError(f"device: {words[0]} took more than {self.timeout_s:g} s") from None
            except OSError as e:
                raise FxsimError(f"device: {words[0]} cannot be run: {e.strerror or e}") from None
            if done.returncode:
                said = done.stderr.decode("utf-8", "replace").strip().splitlines()
                raise FxsimError(
                    f"device: {words[0]} left with {done.returncode}: {said[-1] if said else 'no message'}"
                )
            return self._read(paths)

    def _write(self, folder: Path, inputs: Sequence[Array]) -> dict[str, str]:
        several = len(inputs) > 1
        paths = {
            "{input}": folder / ("input.npz" if several else "input.npy"),
            "{input:raw}": folder / "input.bin",
            "{output}": folder / ("output.npz" if len(self.model.outputs) > 1 else "output.npy"),
            "{output:raw}": folder / "output.bin",
        }
        if "{input}" in self.text and several:
            np.savez(paths["{input}"], **{f"input_{n}": x for n, x in enumerate(inputs)})  # type: ignore[arg-type]
        elif "{input}" in self.text:
            np.save(paths["{input}"], inputs[0])
        paths["{input:raw}"].write_bytes(b"".join(np.ascontiguousarray(x).tobytes() for x in inputs))
        return {k: os.fspath(p) for k, p in paths.items()}

    def _read(self, paths: dict[str, str]) -> list[Array]:
        tensors = [self.model.tensors[i] for i in self.model.outputs]
        path = Path(paths["{output}" if "{output}" in self.text else "{output:raw}"])
        if not path.is_file():
            raise DumpError(
                f"device: wrote no output; allowed: a file at the path that {{output}} stands for, here {path.name}"
            )
        if "{output}" in self.text:
            return list(load_arrays(path).values())
        data = path.read_bytes()
        sizes = [t.elements * t.qtype.dtype.itemsize for t in tensors]
        if len(data) != sum(sizes):
            raise DumpError(f"device: wrote {len(data)} bytes; allowed: {sum(sizes)}")
        cuts = np.cumsum([0, *sizes])
        return [np.frombuffer(data[a:b], t.qtype.dtype) for t, a, b in zip(tensors, cuts, cuts[1:], strict=False)]


def _filled(word: str, paths: dict[str, str]) -> str:
    for mark, path in paths.items():
        word = word.replace(mark, path)
    return word


@dataclass(slots=True, eq=False)
class Asked:
    """A device, and all that it has answered. ``inputs[n]`` and ``outputs[n]`` belong to query ``n``."""

    graph: Graph
    device: "Device"
    most: int
    inputs: list[tuple[Array, ...]] = field(default_factory=list)
    outputs: list[tuple[Array, ...]] = field(default_factory=list)

    def ask(self, several: Sequence[tuple[Array, ...]]) -> bool:
        """Asks, as long as queries are left; false if none was.

        Raises:
            DumpError: if an answer does not have the output's type and size.
        """
        for given in several[: self.most - len(self.inputs)]:
            answer: Any = self.device(*(x.copy() for x in given))
            arrays = list(answer.values()) if isinstance(answer, dict) else answer
            arrays = list(arrays) if isinstance(arrays, list | tuple) else [arrays]
            tensors = [self.graph.tensors[i] for i in self.graph.outputs]
            if len(arrays) != len(tensors):
                raise DumpError(f"device: gave {len(arrays)} outputs; the model has {len(tensors)}")
            made = []
            for t, a in zip(tensors, map(np.asarray, arrays), strict=True):
                if a.dtype != t.qtype.dtype or a.size != t.elements:
                    raise DumpError(
                        f"device: output {t.name!r} is {a.dtype} {list(a.shape)}; allowed: {t.qtype.dtype} {list(t.shape)}"
                    )
                made.append(a.reshape(t.shape))
            self.inputs.append(given)
            self.outputs.append(tuple(made))
        return len(self.inputs) < self.most

    def ask_again(self) -> None:
        """Asks the first query once more.

        Raises:
            DumpError: if the device now gives another answer, so that nothing can be learned from it.
        """
        again = Asked(self.graph, self.device, 1)
        again.ask(self.inputs[:1])
        for i, one, two in zip(self.graph.outputs, self.outputs[0], again.outputs[0], strict=True):
            if one.tobytes() != two.tobytes():
                wrong = int(np.count_nonzero(one != two))
                raise DumpError(
                    f"device: gives other answers when the same input is given again: {wrong} of {one.size} elements of "
                    f"output {self.graph.tensors[i].name!r} differ; allowed: answers that depend on the inputs alone"
                )

    @property
    def seen(self) -> Seen:
        """The answers as a dump."""
        given = [np.stack([g[n] for g in self.inputs]) for n in range(len(self.graph.inputs))]
        batch = make_batch(self.graph, given)
        return Seen(batch, {i: np.stack([o[n] for o in self.outputs]) for n, i in enumerate(self.graph.outputs)})


def ask(
    model: Graph,
    device: "Device",
    users: NumericsProfile,
    inputs: Any = None,  # noqa: ANN401
    queries: int = 200,
    progress: "Progress | None" = None,
) -> "Explanation":
    """Identifies a device by asking it: a first round, then inputs that tell apart what is left.

    Raises:
        DumpError: if an answer does not fit the model; FxsimError if no query is allowed.
    """
    from fxsim.diagnose.explain import conclude

    if queries < 1:
        raise FxsimError(f"queries is {queries}; allowed: at least 1")
    graph = as_executed(model, users)
    asked = Asked(graph, device, queries)
    if inputs is not None:
        batch = make_batch(graph, inputs)
        more = asked.ask([tuple(v[n] for v in batch.values) for n in range(batch.count)])
    else:
        more = asked.ask(_first(graph))
    while True:
        found = conclude(graph, users, asked.seen, progress, judge_all=True)
        found.queries = len(asked.inputs)
        following = _telling(graph, found) if more else []
        if not following:
            if any(f.status == "nothing fits" for f in found.findings):
                asked.ask_again()
            for f in found.findings:
                f.decided = f.separation is not None
            return found
        more = asked.ask(following)


def _first(graph: Graph) -> list[tuple[Array, ...]]:
    rng = np.random.default_rng(0)
    drawn = [random_values(graph.tensors[i], rng, FIRST_QUERIES) for i in graph.inputs]
    return [tuple(_quieter(v[n], n) for v in drawn) for n in range(FIRST_QUERIES)]


def _quieter(x: Array, n: int) -> Array:
    """Noise of a smaller amplitude with each query, so that not all outputs are clamped."""
    if x.dtype.kind == "f":
        return x
    middle = int(np.median(x)) if n else 0
    return (middle + (x.astype(np.int64) - middle) // (1 << n)).astype(x.dtype)


def _telling(graph: Graph, found: "Explanation") -> list[tuple[Array, ...]]:
    """Inputs of the network on which what is left differs; empty if nothing does, or none is found."""
    names = [graph.tensors[i].name for i in graph.inputs]
    alone = [f for f in found.findings if f.case is not None]
    if alone:
        given = next((f.separating_input for f in alone if set(f.separating_input) == set(names)), {})
        return [tuple(row) for row in zip(*(given[n] for n in names), strict=True)] if given else []
    return _between(graph, found.numerics) if len(found.numerics) > 1 else []


def _between(graph: Graph, profiles: Sequence[str]) -> list[tuple[Array, ...]]:
    """Drawn inputs of a whole network on which shipped profiles differ."""
    rng = np.random.default_rng(len(profiles))
    drawn = [random_values(graph.tensors[i], rng, DRAWN) for i in graph.inputs]
    outs = []
    for name in profiles:
        trace = simulate(graph, drawn, name)
        outs.append([b"".join(trace.kept[i][n].tobytes() for i in graph.outputs) for n in range(DRAWN)])
    return [tuple(v[n] for v in drawn) for n in refining(outs, ROUND)]
