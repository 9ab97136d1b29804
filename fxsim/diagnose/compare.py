"""Holds a simulation against a dump, tensor by tensor and bit by bit."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fxsim.diagnose.dumps import META, by_tensor
from fxsim.errors import DumpError
from fxsim.files import load_arrays
from fxsim.model.graph import Graph, Tensor
from fxsim.model.qtype import Array
from fxsim.sim.trace import Trace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of a comparison. Differences are dump minus fxsim, in LSB (for float32: in units in the last place)."""

    layer: int
    """index of the layer that makes the tensor; -1 for an input"""
    op: str
    tensor: int
    name: str
    elements: int
    mismatches: int
    exact: float
    """share of equal elements, 0..1"""
    max_lsb: int
    """greatest absolute difference"""
    bias_lsb: float
    """mean signed difference"""
    histogram: dict[int, int]
    """difference -> elements, zero left out"""
    first_index: tuple[int, ...] | None
    """index of the first differing element in C order"""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place, in execution order, where dump and simulation part."""

    layer: int
    op: str
    tensor: int
    name: str
    index: tuple[int, ...]
    got: float | int
    """fxsim's value"""
    expected: float | int
    """the dump's value"""
    mismatches: int
    elements: int

    def __str__(self) -> str:
        """One line for people."""
        where = "model input" if self.layer < 0 else f"layer {self.layer} {self.op}"
        return (
            f"{where} (tensor {self.tensor} {self.name!r}) at {list(self.index)}: fxsim {self.got}, dump {self.expected}; "
            f"{self.mismatches} of {self.elements} elements differ"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of :func:`compare`."""

    rows: tuple[Row, ...]
    first_divergence: Divergence | None
    numerics: str
    not_in_dump: tuple[int, ...] = field(default=(), repr=False)
    """computed tensors of which the dump says nothing"""

    @property
    def table(self) -> "pd.DataFrame":
        """A row per tensor in execution order: see :class:`Row`."""
        from fxsim.report.tables import frame

        return frame(Row, self.rows)

    @property
    def equal(self) -> bool:
        """True if every element of every tensor in the dump is equal."""
        return self.first_divergence is None

    @property
    def elements(self) -> int:
        """Elements compared."""
        return sum(r.elements for r in self.rows)

    @property
    def mismatches(self) -> int:
        """Elements that differ."""
        return sum(r.mismatches for r in self.rows)


def compare(trace: Trace, dump: "str | os.PathLike[str] | Mapping[str, Any] | Trace") -> Comparison:
    """How a device's values differ from the simulation's, for every tensor that the dump holds.

    Args:
        trace: the simulation; tensors that it did not keep are recomputed.
        dump: an ``.npz`` file, a dict of arrays, or another trace (see :mod:`fxsim.diagnose.dumps` for the keys).

    Raises:
        DumpError: if the dump cannot be read, names no tensor of the model, or has another shape or type.
    """
    graph = trace.graph
    if isinstance(dump, Trace):
        source, theirs = "trace", dict(dump.kept)
        _same_model(graph, dump.graph.sha256, source)
    else:
        source = "dump" if isinstance(dump, Mapping) else os.fspath(dump)
        arrays = dump if isinstance(dump, Mapping) else load_arrays(dump)
        _same_model(graph, _digest(arrays.get(META)), source)
        theirs = by_tensor(graph, arrays, source)
    order = _order(graph)
    keys = sorted(theirs, key=lambda i: (order.get(i, (-1, ""))[0], i))
    ours = trace.tensors(keys)
    rows, first = [], None
    for i in keys:
        t, (layer, op) = graph.tensors[i], order.get(i, (-1, ""))
        if i not in ours:
            raise DumpError(f"{source}: tensor {i} {t.name!r} holds no values")
        mine, other = _aligned(ours[i], theirs[i], t, source)
        difference = _lsb(mine, other)
        rows.append(_row(t, layer, op, difference))
        if first is None and rows[-1].first_index is not None:
            at = rows[-1].first_index
            first = Divergence(
                layer, op, i, t.name, at, mine[at].item(), other[at].item(), rows[-1].mismatches, rows[-1].elements
            )
    missing = tuple(i for i in order if i not in theirs)
    return Comparison(tuple(rows), first, trace.plan.numerics.name, missing)


def _digest(meta: Any) -> str:  # noqa: ANN401
    """The model digest in a saved trace's provenance; empty for dumps of other makers."""
    try:
        return str(json.loads(str(meta))["model_sha256"])
    except (ValueError, KeyError, TypeError):
        return ""


def _same_model(graph: Graph, sha256: str, source: str) -> None:
    if sha256 and graph.sha256 and sha256 != graph.sha256:
        raise DumpError(
            f"{source}: was made from another model (sha256 {sha256[:12]}..., {graph.name} has {graph.sha256[:12]}...)"
        )


def _order(graph: Graph) -> dict[int, tuple[int, str]]:
    return {i: (n.index, n.op) for n in graph.nodes for i in n.outputs if graph.tensors[i].qtype.kind != "resource"}


def _aligned(mine: Array, other: Array, t: Tensor, source: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The dump's array in the simulation's shape: axes of size 1 may be missing or extra, nothing else."""
    if other.dtype != mine.dtype:
        raise DumpError(f"{source}: tensor {t.index} {t.name!r} is {other.dtype}; allowed: {mine.dtype}")
    if [s for s in other.shape if s != 1] != [s for s in mine.shape if s != 1]:
        raise DumpError(
            f"{source}: tensor {t.index} {t.name!r} has shape {list(other.shape)}; allowed: {list(mine.shape)}"
        )
    return np.asarray(mine), np.asarray(other).reshape(mine.shape)


def _lsb(mine: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """``other - mine`` in LSB: integers as they are, float32 by their place among all floats. NaN equals NaN."""
    if mine.dtype.kind != "f":
        return other.astype(np.int64) - mine.astype(np.int64)
    return np.where(np.isnan(mine) & np.isnan(other), 0, _place(other) - _place(mine))


def _place(x: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _row(t: Tensor, layer: int, op: str, difference: npt.NDArray[np.int64]) -> Row:
    flat = difference.reshape(-1)
    wrong = np.flatnonzero(flat)
    values, counts = np.unique(flat[wrong], return_counts=True)
    histogram = {int(v): int(c) for v, c in zip(values, counts, strict=True)}
    first = tuple(int(i) for i in np.unravel_index(wrong[0], difference.shape)) if wrong.size else None
    n = flat.size
    return Row(
        layer,
        op,
        t.index,
        t.name,
        n,
        int(wrong.size),
        1.0 - wrong.size / n if n else 1.0,
        int(np.abs(values).max()) if wrong.size else 0,
        float(flat.mean()) if n else 0.0,
        histogram,
        first,
    )
