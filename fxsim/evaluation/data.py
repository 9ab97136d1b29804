"""Labelled data: arrays, or an ``.npz`` file, checked before anything runs."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fxsim.errors import InputError, listed
from fxsim.files import load_arrays
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array

INPUTS = ("x", "inputs", "input_0", "x_test", "images")
LABELS = ("y", "labels", "y_test", "targets")


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """``x[i]`` is one inference of a model with one input, ``y[i]`` its class."""

    x: Array
    y: Array
    name: str = "data"

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.x)

    def batches(self, size: int) -> Iterator[tuple[Array, Array]]:
        """The examples in order, at most ``size`` at a time."""
        for start in range(0, len(self.x), size):
            yield self.x[start : start + size], self.y[start : start + size]

    def take(self, count: int) -> "DataSet":
        """The first ``count`` examples."""
        return DataSet(self.x[:count], self.y[:count], self.name)


def load(data: Any) -> DataSet:  # noqa: ANN401
    """The examples of an ``.npz`` file with ``x`` and ``y``, or of a pair ``(x, y)``.

    Raises:
        InputError: if there are none, their numbers differ, values are not finite, or labels are no whole numbers from 0.
        DumpError: if the file cannot be read.
    """
    if isinstance(data, DataSet):
        return data
    if isinstance(data, str | os.PathLike):
        arrays = load_arrays(data)
        where = os.fspath(data)
        x, y = _entry(arrays, INPUTS, where), _entry(arrays, LABELS, where)
    elif isinstance(data, tuple | list) and len(data) == 2:
        where, x, y = "data", np.asarray(data[0]), np.asarray(data[1])
    else:
        raise InputError(f"data is {type(data).__name__}; allowed: a pair (x, y), or the name of an .npz file")
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y) or not len(x):
        raise InputError(
            f"{where}: x has shape {list(x.shape)}, y {list(y.shape)}; allowed: [N, ...] and [N], N at least 1"
        )
    if y.dtype.kind == "b":
        y = y.astype(np.int64)
    if y.dtype.kind not in "iu" or int(y.min()) < 0:
        raise InputError(f"{where}: labels are {y.dtype}, from {y.min()}; allowed: whole numbers from 0")
    if x.dtype.kind == "f" and not np.all(np.isfinite(x)):
        at = np.argwhere(~np.isfinite(x))[0].tolist()
        raise InputError(f"{where}: x is {x[tuple(at)]} at {at}; allowed: finite values")
    return DataSet(x, y.astype(np.int64), where)


def _entry(arrays: dict[str, Any], names: tuple[str, ...], where: str) -> Array:
    found = [n for n in names if n in arrays]
    if len(found) != 1:
        raise InputError(f"{where}: holds {listed(arrays)}; allowed: exactly one entry of {listed(names)}")
    result: Array = np.asarray(arrays[found[0]])
    return result


def prepared(graph: Graph, x: Array) -> Array:
    """``x`` as the model's only input takes it: reals are quantized with the input's own scale, ties away from zero.

    Raises:
        InputError: if the model has several inputs, or takes integers that ``x`` does not hold.
    """
    if len(graph.inputs) != 1:
        raise InputError(f"{graph.name}: has {len(graph.inputs)} inputs; data sets are for models of one")
    t = graph.tensors[graph.inputs[0]]
    if x.dtype == t.qtype.dtype:
        return x
    if t.qtype.kind == "float" and x.dtype.kind in "fiu":
        return x.astype(t.qtype.dtype)
    if x.dtype.kind == "f" and t.quant is not None:
        return t.quant.quantize(x, t.qtype)
    if x.dtype.kind in "iu" and t.qtype.kind == "int" and t.qtype.min <= int(x.min()) <= int(x.max()) <= t.qtype.max:
        return x.astype(t.qtype.dtype)
    raise InputError(f"{graph.name}: x is {x.dtype}; allowed: reals, or {t.qtype.name} as input {t.name!r} holds them")
