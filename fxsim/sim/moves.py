"""Layers as compiled moves: raw values at other places, and one of 256 entries for each byte; None where there are none."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from fxsim.errors import FxsimError
from fxsim.kernels import isa, moves, pointwise, pool
from fxsim.kernels.softmax import INTEGERS
from fxsim.kernels.softmax_table import native_softmax_table
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Native, RunFn, address

MOST_INDEXED = 1 << 20
"""elements that a layer may have for its moves to be looked for"""
WORTH_BYTES, FEW_RUNS = 32, 64
"""the runs that pay: of so many bytes on average, or so few"""
BORDER = -1
"""the index of an element that comes from no input"""
Move = Callable[[Arrays], Arrays]
Runs = npt.NDArray[np.int64]
"""rows of (source, offset, target, offset, bytes), as :func:`fxsim.kernels.moves.moved` takes them"""


def moved(inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], move: Move) -> Native | None:
    """What ``move`` does to the values of ``inputs``, whatever they are; constants may only say where they go."""
    dtype = outputs[0].qtype.dtype
    there = [t for t in inputs if t is not None]
    given = tuple(i for i, t in enumerate(inputs) if t is not None and t.data is None)
    if not _plain(dtype) or not given or len(there) < len(inputs):
        return None
    if any((t.qtype.dtype == dtype) != (t.data is None) for t in there):
        return None
    if sum(t.elements for t in (*outputs, *there)) > MOST_INDEXED:
        return None
    # no run goes from one input into the next
    starts = np.cumsum([0, *(there[i].elements + 1 for i in given)])[:-1]

    def places(first: int) -> list[Array]:
        """The output's elements, where those of the inputs are counted from ``first`` on."""
        counted = [t.data for t in there]
        for i, start in zip(given, starts, strict=True):
            counted[i] = np.arange(first + start, first + start + there[i].elements).reshape(there[i].shape)
        return [np.array(made).reshape(-1) for made in move([v for v in counted if v is not None])]

    try:
        indices, others = places(0), places(1)
    except FxsimError:  # which the run tells
        return None
    if any(np.any(a + 1 != b) for a, b in zip(indices, others, strict=True)):
        return None  # some come from no input
    return _native(indices, starts, dtype, 1, given, 0)


def bordered(x: Tensor, out: Tensor, inner: tuple[slice, ...], value: int) -> Native | None:
    """``x`` as the part ``inner`` of an output that is ``value`` elsewhere."""
    depth = len(x.shape)
    while depth and x.shape[depth - 1] == out.shape[depth - 1]:
        depth -= 1
    unit = int(np.prod(x.shape[depth:]))
    index = np.full(out.shape[:depth], BORDER)
    if not _plain(x.qtype.dtype) or not x.elements or index.size > MOST_INDEXED:
        return None
    index[inner[:depth]] = np.arange(x.elements // unit).reshape(x.shape[:depth])
    return _native([index.reshape(-1)], np.zeros(1, np.int64), x.qtype.dtype, unit, (0,), value)


def _plain(dtype: np.dtype[np.generic]) -> bool:
    return isa.compiled() and dtype.kind in "iu" and dtype.itemsize <= 2


def _native(
    indices: Sequence[Array],
    starts: npt.NDArray[np.int64],
    dtype: np.dtype[np.generic],
    unit: int,
    positions: tuple[int, ...],
    border: int,
) -> Native | None:
    """Outputs whose element ``n``, of ``unit`` values, is element ``index[n]`` of the inputs, the first at ``starts``."""
    each, arrays = unit * dtype.itemsize, len(starts) + len(indices) + 1
    rows = []
    for n, index in enumerate(indices):
        if not index.size:
            continue
        outside = index == BORDER
        goes_on = np.where(outside[1:], outside[:-1], (index[1:] == index[:-1] + 1) & ~outside[:-1])
        begin = np.flatnonzero(np.concatenate([[True], ~goes_on]))
        length = np.diff(np.concatenate([begin, [len(index)]]))
        source = np.searchsorted(starts, index[begin], side="right") - 1
        off = np.where(outside[begin], 0, (index[begin] - starts[source]) * each)
        source = np.where(outside[begin], arrays, source)
        target = np.full(len(begin), len(starts) + n)
        rows.append(np.stack([source, off, target, begin * each, length * each], axis=1))
    table: Runs = np.ascontiguousarray(np.concatenate(rows or [np.empty((0, 5))]), np.int64)
    if len(table) > FEW_RUNS and table[:, 4].sum() < WORTH_BYTES * len(table):
        return None
    longest = int(table[table[:, 0] == arrays, 4].max(initial=0))
    line = np.full(longest // dtype.itemsize, border, dtype)
    constants = np.array([address(line), address(table), len(table)], np.int64)
    return Native(partial(moves.moved, arrays), constants, (line, table), positions=positions)


def looked_up(x: Tensor, out: Tensor, run: RunFn) -> Native | None:
    """A layer of single elements, as the table of what ``run`` makes of each of the 256 values of a byte."""
    size = out.qtype.dtype.itemsize
    if not isa.compiled() or x.qtype.kind != "int" or x.qtype.bits != 8 or size not in moves.ENTRIES:
        return None
    if out.shape != x.shape:
        return None
    entries = np.empty(256, out.qtype.dtype)
    run([np.arange(256).astype(np.uint8).view(x.qtype.dtype)], [entries])
    constants = np.array([out.elements, address(entries)], np.int64)
    return Native(partial(moves.looked_up, size), constants, (entries,))


def quantized(x: Tensor, out: Tensor, rounding: str, saturating: bool, scale: np.float32, zero: int) -> Native | None:
    """Integers of floats: see :func:`fxsim.kernels.pointwise.quantize`."""
    bits = _bits(out)
    if not isa.compiled() or bits not in INTEGERS or x.qtype.dtype != np.float32:
        return None
    held = np.array([scale], np.float32)
    constants = np.array([out.elements, address(held), zero, out.qtype.min, out.qtype.max], np.int64)
    return Native(partial(pointwise.native_quantize, rounding, saturating, bits), constants, (held,))


def greatest(x: Tensor, out: Tensor, window: Sequence[int], clamp: tuple[int, int]) -> Native | None:
    """The greatest value of each window: see :func:`fxsim.kernels.pool.maximum`."""
    bits = _bits(x)
    if not isa.compiled() or bits not in INTEGERS:
        return None
    constants = np.array([*x.shape, *out.shape[1:3], *window[:6], *clamp], np.int64)
    return Native(partial(pool.native_maximum, bits), constants, ())


def softmax_by_table(x: Tensor, out: Tensor, table: Array, scale: np.float32) -> Native | None:
    """Softmax of rows: see :func:`fxsim.kernels.softmax_table.softmax_table`."""
    bits = _bits(x), _bits(out)
    if not isa.compiled() or any(b not in INTEGERS for b in bits):
        return None
    held, depth = np.append(table, scale).astype(np.float32), x.shape[-1]
    shape = x.elements // depth, depth
    constants = np.array([*shape, out.qtype.min, out.qtype.min, out.qtype.max, address(held)], np.int64)
    return Native(partial(native_softmax_table, *bits), constants, (held,))


def _bits(t: Tensor) -> int:
    """Of an integer in memory; negative if it has a sign."""
    return t.qtype.dtype.itemsize * 8 * (-1 if t.qtype.dtype.kind == "i" else 1)
