"""Ops that pick values by position: slices, gathers, lookups, and their inverses."""

from dataclasses import dataclass

import numpy as np

from fxsim.errors import DomainError, ModelError
from fxsim.model.ops.base import (
    Arrays,
    Attributes,
    Moved,
    Operands,
    OpSpec,
    WorkFn,
    copy_work,
    lookup_work,
    moved_shapes,
    need,
    normal_axis,
    rank,
    rescales,
    vector,
)
from fxsim.model.qtype import Array, Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class StridedSlice(Attributes):
    """STRIDED_SLICE with numpy's meaning; bit i of a mask speaks of entry i of begin, end and strides."""

    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0
    offset: bool = False


@dataclass(frozen=True, slots=True)
class Gather(Attributes):
    """GATHER along ``axis``; the first ``batch_dims`` axes of positions and input run in step."""

    axis: int = 0
    batch_dims: int = 0


@dataclass(frozen=True, slots=True)
class OneHot(Attributes):
    """ONE_HOT: the new axis, counted in the output; -1 is the last."""

    axis: int = -1


def within(indices: Array, size: int, what: str, least: int = 0) -> None:
    """Holds positions to ``least..size - 1``.

    Raises:
        DomainError: if one lies outside.
    """
    if indices.size and not (least <= indices.min() and indices.max() < size):
        raise DomainError(f"{what} hold {indices.min()}..{indices.max()}; allowed: {least}..{size - 1}")


def _move_slice(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    shape, begin, size = need(inputs[0], "input").shape, vector(inputs[1], "begin"), vector(inputs[2], "size")
    if not len(begin) == len(size) == len(shape):
        raise ModelError(f"begin and size have {len(begin)} and {len(size)} values for rank {len(shape)}")
    stops = [s if n == -1 else b + n for b, n, s in zip(begin, size, shape, strict=True)]
    if any(not 0 <= b <= e <= s for b, e, s in zip(begin, stops, shape, strict=True)):
        raise ModelError(f"begin {list(begin)} and size {list(size)} lie outside of {list(shape)}")
    index = tuple(slice(b, e) for b, e in zip(begin, stops, strict=True))
    return lambda x: [x[0][index]]


def _axis_index(attrs: StridedSlice, i: int, begin: int, end: int, step: int, size: int) -> slice | int:
    """The index of one axis; ``begin``, ``end`` and ``step`` are entry ``i``."""
    from_start, to_end = attrs.begin_mask >> i & 1, attrs.end_mask >> i & 1
    if step == 0:
        raise ModelError(f"strides[{i}] is 0; allowed: any other value")
    if attrs.shrink_axis_mask >> i & 1:
        index = 0 if from_start else begin
        if not -size <= index < size or step < 0:
            raise ModelError(
                f"begin[{i}] is {begin} and strides[{i}] is {step} of one entry; allowed: {-size}..{size - 1}, above 0"
            )
        return index
    if attrs.offset:
        end += slice(None if from_start else begin, None, step).indices(size)[0]
    return slice(None if from_start else begin, None if to_end else end, step)


def slices(inputs: Operands, attrs: StridedSlice) -> tuple[slice | int | None, ...]:
    """The numpy index of a STRIDED_SLICE."""
    shape = need(inputs[0], "input").shape
    begin, end, step = (vector(inputs[i], w) for i, w in ((1, "begin"), (2, "end"), (3, "strides")))
    n, left = len(begin), len(shape)
    if not n == len(end) == len(step):
        raise ModelError(f"begin, end, strides have {n}, {len(end)}, {len(step)} values; allowed: equally many")
    ellipses = [i for i in range(n) if attrs.ellipsis_mask >> i & 1]
    added = [i for i in range(n) if attrs.new_axis_mask >> i & 1 and i not in ellipses]
    spread = left - (n - len(added) - len(ellipses))
    if len(ellipses) > 1 or spread < len(ellipses):
        raise ModelError(
            f"begin has {n} values, ellipsis_mask is {attrs.ellipsis_mask} and new_axis_mask {attrs.new_axis_mask}: "
            f"they do not fit rank {left}"
        )
    result: list[slice | int | None] = []
    axis = 0
    for i, entry in enumerate(zip(begin, end, step, strict=True)):
        if i in ellipses:
            result += [slice(None)] * spread
            axis += spread
        elif i in added:
            result.append(None)
        else:
            result.append(_axis_index(attrs, i, *entry, shape[axis]))
            axis += 1
    return tuple(result)


def _move_strided(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, StridedSlice)
    index = slices(inputs, attrs)
    return lambda x: [np.asarray(x[0][index])]


def _gathered(inputs: Operands, attrs: Gather) -> tuple[int, int]:
    """``(axis, batch_dims)`` counted from 0."""
    x, positions = (need(t, w).shape for t, w in zip(inputs, ("input", "positions"), strict=True))
    axis = normal_axis(attrs.axis, len(x))
    batch = attrs.batch_dims + (len(positions) if attrs.batch_dims < 0 else 0)
    if not 0 <= batch <= min(axis, len(positions)) or x[:batch] != positions[:batch]:
        raise ModelError(f"batch_dims is {attrs.batch_dims} for input {list(x)}, positions {list(positions)}")
    return axis, batch


def _infer_gather(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Gather)
    axis, batch = _gathered(inputs, attrs)
    x, positions = need(inputs[0], "input").shape, need(inputs[1], "positions").shape
    return ((*x[:axis], *positions[batch:], *x[axis + 1 :]),)


def _move_gather(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Gather)
    axis, batch = _gathered(inputs, attrs)
    size, (shape,) = need(inputs[0], "input").shape[axis], _infer_gather(inputs, attrs, outputs)

    def move(x: Arrays) -> Arrays:
        within(x[1], size, "positions")
        if not batch:
            return [np.take(x[0], x[1], axis)]
        rows = x[0].reshape(-1, *x[0].shape[batch:])
        picks = x[1].reshape(len(rows), -1)
        return [np.stack([np.take(r, p, axis - batch) for r, p in zip(rows, picks, strict=True)]).reshape(shape)]

    return move


def _infer_gather_nd(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x, indices = need(inputs[0], "params").shape, need(inputs[1], "indices").shape
    if not indices or not 0 < indices[-1] <= len(x):
        raise ModelError(f"indices have shape {list(indices)}; allowed: a last size of 1..{len(x)}")
    return ((*indices[:-1], *x[indices[-1] :]),)


def _move_gather_nd(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    shape = need(inputs[0], "params").shape

    def move(x: Arrays) -> Arrays:
        columns = np.moveaxis(x[1], -1, 0)
        for column, size in zip(columns, shape, strict=False):
            within(column, size, "indices")
        return [x[0][tuple(columns)]]

    return move


def _infer_embedding(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    (count,), table = rank(need(inputs[0], "lookup"), "lookup", 1), need(inputs[1], "value").shape
    if len(table) < 2:
        raise ModelError(f"value has shape {list(table)}; allowed rank: 2 or more")
    return ((count, *table[1:]),)


def _move_embedding(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    rows = need(inputs[1], "value").shape[0]

    def move(x: Arrays) -> Arrays:
        within(x[0], rows, "lookups")
        return [x[1][x[0]]]

    return move


def _infer_one_hot(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, OneHot)
    shape, depth = need(inputs[0], "indices").shape, vector(inputs[1], "depth", 1)
    axis = normal_axis(attrs.axis, len(shape) + 1)
    if len(depth) != 1 or depth[0] < 0 or any(need(t, "value").elements != 1 for t in inputs[2:]):
        raise ModelError(f"depth is {list(depth)}; allowed: one value of at least 0, and one on_value and off_value")
    return ((*shape[:axis], depth[0], *shape[axis:]),)


def _move_one_hot(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, OneHot)
    (shape,) = _infer_one_hot(inputs, attrs, outputs)
    axis = normal_axis(attrs.axis, len(shape))
    count = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])

    def move(x: Arrays) -> Arrays:
        on, off = (v.reshape(-1)[0] for v in x[2:4])
        return [np.where(np.expand_dims(x[0], axis) == count, on, off)]

    return move


def _infer_scatter(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    indices, updates = need(inputs[0], "indices").shape, need(inputs[1], "updates").shape
    shape = vector(inputs[2], "shape")
    if not indices or not 0 < indices[-1] <= len(shape) or updates != (*indices[:-1], *shape[indices[-1] :]):
        raise ModelError(f"indices {list(indices)} and updates {list(updates)} do not fit shape {list(shape)}")
    return (shape,)


def _infer_top(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape, k = need(inputs[0], "input").shape, vector(inputs[1], "k", 1)
    if not shape or len(k) != 1 or not 0 <= k[0] <= shape[-1]:
        raise ModelError(f"k is {list(k)} for input {list(shape)}; allowed: one value, at most the last size")
    return ((*shape[:-1], k[0]),) * 2


def picked_work(position: int) -> WorkFn:
    """Work of a look-up: bytes of what is picked, not of the whole table, and of the positions at input ``position``."""

    def work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
        out, table, positions = (
            need(outputs[0], "output"),
            need(inputs[1 - position], "table"),
            need(inputs[position], ""),
        )
        return Work(
            "copy",
            elements=out.elements,
            requantized=out.elements if rescales(table, out) else 0,
            input_bytes=table.qtype.bytes(out.elements) + positions.nbytes,
            output_bytes=out.nbytes,
            activation_bits=out.qtype.bits,
        )

    return work


_ANY: tuple[str, ...] = ()
_INDEX = ("int32", "int64")
_POSITION = ("int16", "int32", "int64")
_TABLE = ("int4", "int8", "uint8", "int16", "int32", "int64", "float32", "bool")
_WHOLE = ("int8", "uint8", "int32", "int64", "float32", "bool")
_RANKED = ("int8", "uint8", "int16", "int32", "int64", "float32")
SPECS = (
    OpSpec("SLICE", Attributes, moved_shapes(_move_slice), copy_work, 3, 3, dtypes=(_ANY, _INDEX), move=_move_slice),
    OpSpec(
        "STRIDED_SLICE",
        StridedSlice,
        moved_shapes(_move_strided),
        copy_work,
        4,
        4,
        dtypes=(_ANY, _INDEX),
        move=_move_strided,
    ),
    OpSpec("GATHER", Gather, _infer_gather, picked_work(1), 2, 2, dtypes=(_ANY, _POSITION), move=_move_gather),
    OpSpec(
        "GATHER_ND", Attributes, _infer_gather_nd, picked_work(1), 2, 2, dtypes=(_ANY, _POSITION), move=_move_gather_nd
    ),
    OpSpec(
        "EMBEDDING_LOOKUP",
        Attributes,
        _infer_embedding,
        picked_work(0),
        2,
        2,
        dtypes=(("int32",), _TABLE),
        data_input=1,
        move=_move_embedding,
    ),
    OpSpec("ONE_HOT", OneHot, _infer_one_hot, copy_work, 4, 4, dtypes=(_INDEX, ("int32",), _WHOLE), move=_move_one_hot),
    OpSpec("SCATTER_ND", Attributes, _infer_scatter, copy_work, 3, 3, dtypes=(("int32",), _WHOLE, ("int32",))),
    OpSpec("TOPK_V2", Attributes, _infer_top, lookup_work, 2, 2, 2, 2, dtypes=(_RANKED, ("int16", "int32"))),
)
