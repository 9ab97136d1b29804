"""The values given to a model, checked and cut into inferences.

One inference has exactly the model's shape. Many inferences either carry one more leading axis, or the same rank with
a larger batch; outputs stack the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from fxsim.errors import InputError, listed
from fxsim.files import load_arrays
from fxsim.model.graph import Graph, Tensor
from fxsim.model.qtype import Array

Stacking = Literal["one", "axis", "batch"]
T = TypeVar("T")
RANDOM = "random:"
"""how a seed is told from a file"""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``count`` inferences; ``values[i]`` holds input ``i`` as ``(count, *shape)``."""

    count: int
    stacking: Stacking
    indices: tuple[int, ...]
    values: tuple[Array, ...]

    def load(self, n: int, values: list[Array]) -> None:
        """Copies inference ``n`` into the input tensors of a workspace."""
        for i, v in zip(self.indices, self.values, strict=True):
            values[i][...] = v[n]

    def stack(self, t: Tensor) -> Array:
        """Room for tensor ``t`` of all inferences."""
        room: Array = np.empty((self.count, *t.shape), t.qtype.dtype)
        return room

    def shape(self, stacked: Array) -> Array:
        """``(count, *shape)`` as the caller stacked the inputs."""
        if self.stacking == "one":
            return np.asarray(stacked[0])
        if self.stacking == "axis" or stacked.ndim < 2:
            return stacked
        return stacked.reshape(stacked.shape[0] * stacked.shape[1], *stacked.shape[2:])


def make_batch(graph: Graph, x: Any, *, real: bool = False) -> Batch:  # noqa: ANN401
    """The inferences in ``x``: an array, or a dict (by input name) or list of arrays.

    With ``real``, a tensor of numbers takes floats of any width; a quantized one takes its raw integers, too.

    Raises:
        InputError: on a missing or unknown input, a wrong shape or type, NaN, or counts that differ.
    """
    arrays = _by_input(graph, x)
    stacking, count = stacked_as(graph, [(t, a.dtype, a.shape) for t, a in arrays], real=real)
    for t, a in arrays:
        check_finite(graph, t, a)
    return Batch(count, stacking, graph.inputs, tuple(a.reshape(count, *t.shape).copy() for t, a in arrays))


def _by_input(graph: Graph, x: Any) -> list[tuple[Tensor, Array]]:  # noqa: ANN401
    tensors = [graph.tensors[i] for i in graph.inputs]
    names = [t.name for t in tensors]
    if isinstance(x, Mapping):
        values: Sequence[Any] = in_order(graph, x)
    elif isinstance(x, list | tuple):
        values = x
    else:
        values = [x]
    if len(values) != len(tensors):
        raise InputError(f"{graph.name}: got {len(values)} inputs; the model takes {len(tensors)}: {listed(names)}")
    return [(t, np.asarray(v)) for t, v in zip(tensors, values, strict=True)]


def in_order(graph: Graph, given: Mapping[str, T]) -> list[T]:
    """What is given by input name, in the order of the inputs.

    Raises:
        InputError: on a missing or unknown name.
    """
    names = [graph.tensors[i].name for i in graph.inputs]
    if set(given) != set(names):
        raise InputError(f"{graph.name}: got inputs {listed(given)}; allowed: exactly {listed(names)}")
    return [given[n] for n in names]


def stacked_as(
    graph: Graph, given: Sequence[tuple[Tensor, np.dtype[Any], tuple[int, ...]]], *, real: bool = False
) -> tuple[Stacking, int]:
    """How arrays of these types and shapes, one for each input, hold inferences, and how many.

    Raises:
        InputError: as :func:`make_batch`, but for what only the values tell.
    """
    found = [_stacking(graph, t, dtype, shape, real) for t, dtype, shape in given]
    if len(set(found)) != 1:
        told = listed(f"{t.name}: {count} ({s})" for (t, _, _), (s, count) in zip(given, found, strict=True))
        raise InputError(f"{graph.name}: the inputs hold different numbers of inferences: {told}")
    if found[0][1] == 0:
        raise InputError(f"{graph.name}: the inputs hold no inference; allowed: at least 1")
    return found[0]


def _stacking(
    graph: Graph, t: Tensor, dtype: np.dtype[Any], shape: tuple[int, ...], real: bool
) -> tuple[Stacking, int]:
    where = f"{graph.name}: input {t.name!r}"
    number = t.qtype.kind == "float" or t.quant is not None
    if dtype != t.qtype.dtype and not (real and number and dtype.kind == "f"):
        hint = ""
        if dtype.kind == "f" and t.quant is not None:
            hint = f" (a real value r is stored as round(r / {t.quant.scale[0]:g}) + {t.quant.zero_point[0]})"
        raise InputError(f"{where} is {dtype}; allowed: {t.qtype.name}{hint}")
    if shape == t.shape:
        return "one", 1
    if shape[1:] == t.shape:
        return "axis", shape[0]
    if (
        t.shape
        and len(shape) == len(t.shape)
        and shape[1:] == t.shape[1:]
        and t.shape[0]
        and shape[0] % t.shape[0] == 0
    ):
        return "batch", shape[0] // t.shape[0]
    b, rest = (t.shape[0], list(t.shape[1:])) if t.shape else (0, [])
    many = f", [N, {', '.join(map(str, t.shape))}] or [N * {b}, {', '.join(map(str, rest))}]" if t.shape else " or [N]"
    raise InputError(f"{where} has shape {list(shape)}; allowed: {list(t.shape)}{many}")


def check_finite(graph: Graph, t: Tensor, a: Array, first: int = 0) -> None:
    """Holds the values of an input to finite ones; ``first`` of its rows came before them.

    Raises:
        InputError: on an infinity or NaN.
    """
    if a.dtype.kind == "f" and not np.all(np.isfinite(a)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(a))[0])
        at = [index[0] + first, *index[1:]] if index else []
        raise InputError(f"{graph.name}: input {t.name!r} is {a[index]} at {at}; allowed: finite values")


def load_inputs(graph: Graph, spec: str, count: int = 1) -> dict[str, Array]:
    """Inputs from a file or a seed, by input name.

    ``spec`` is an ``.npy`` file (models of one input), an ``.npz`` file (entries named as the inputs, or ``input_<n>``),
    or ``random:SEED`` for ``count`` inferences drawn over the whole range of each input, its ends and zero point included.

    Raises:
        InputError: if the entries do not match the inputs or the seed is no number; DumpError if a file cannot be read.
    """
    if spec.startswith(RANDOM):
        seed = spec.removeprefix(RANDOM)
        if not seed.isdecimal():
            raise InputError(f"input is {spec!r}; allowed: 'random:' and a whole number of at least 0")
        rng = np.random.default_rng(int(seed))
        return {graph.tensors[i].name: random_values(graph.tensors[i], rng, count) for i in graph.inputs}
    return by_name(graph, spec, load_arrays(spec))


def by_name(graph: Graph, spec: str, entries: Mapping[str, T]) -> dict[str, T]:
    """The entries of the file ``spec`` by input name; an only one of an ``.npy`` file is named ``""``.

    Raises:
        InputError: if they do not match the inputs.
    """
    names = [graph.tensors[i].name for i in graph.inputs]
    if set(entries) == {""}:
        if len(names) != 1:
            raise InputError(
                f"{spec}: holds one array; the model takes {len(names)} inputs, in an .npz: {listed(names)}"
            )
        return {names[0]: entries[""]}
    positions = {f"input_{n}": name for n, name in enumerate(names)}
    found = {positions.get(k, k) if k not in names else k: v for k, v in entries.items() if k != "meta"}
    if len(names) == 1 and len(found) == 1 and not set(found) & set(names):
        raise InputError(f"{spec}: entry {next(iter(found))!r} is no input; allowed: {names[0]!r} or 'input_0'")
    return found


def random_values(t: Tensor, rng: np.random.Generator, count: int) -> Array:
    """``(count, *shape)`` values over the range of ``t``; every inference holds both ends and the zero point."""
    shape = (count, *t.shape)
    if t.qtype.kind == "float":
        reals: Array = rng.uniform(-1, 1, shape).astype(t.qtype.dtype)
        return reals
    if t.qtype.kind != "int":
        raise InputError(f"input {t.name!r} is {t.qtype.name}; random values are made for integers and floats only")
    values = rng.integers(t.qtype.min, t.qtype.max, shape, endpoint=True).astype(t.qtype.dtype)
    flat = values.reshape(count, -1)
    ends = [t.qtype.min, t.qtype.max, *(t.quant.zero_point[:1] if t.quant else ())]
    for n in range(count):
        at = rng.permutation(flat.shape[1])[: len(ends)]
        flat[n, at] = ends[: len(at)]
    return values
