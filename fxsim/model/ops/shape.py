"""Ops that make values from shapes and counts: SHAPE, RANK, FILL, ZEROS_LIKE, RANGE, BROADCAST_ARGS."""

import math

import numpy as np

from fxsim.errors import DomainError, ModelError
from fxsim.model.ops.base import (
    Arrays,
    Attributes,
    Moved,
    Operands,
    OpSpec,
    broadcast,
    copy_work,
    need,
    no_work,
    rank,
    same_shape,
    vector,
)
from fxsim.model.qtype import Shape


def _infer_shape(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return ((len(need(inputs[0], "input").shape),),)


def _move_shape(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    shape = np.array(need(inputs[0], "input").shape, np.int64)
    return lambda x: [shape]


def _infer_scalar(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return ((),)


def _move_rank(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    n = np.array(len(need(inputs[0], "input").shape))
    return lambda x: [n]


def _move_zeros(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    t = need(inputs[0], "input")
    return lambda x: [np.zeros(t.shape, t.qtype.dtype)]


def _infer_fill(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape = vector(inputs[0], "dims")
    if any(s < 0 for s in shape) or need(inputs[1], "value").elements != 1:
        raise ModelError(f"dims are {list(shape)}; allowed: sizes of at least 0, and one value")
    return (shape,)


def _move_fill(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    (shape,) = _infer_fill(inputs, attrs, outputs)
    return lambda x: [np.full(shape, x[1].reshape(-1)[0])]


def _range(inputs: Operands) -> tuple[float, float, float]:
    values = []
    for t, what in zip(inputs, ("start", "limit", "delta"), strict=True):
        data = need(t, what).data
        if data is None or data.size != 1:
            raise ModelError(f"{what} is computed at run time or not one value; fxsim needs a constant there")
        values.append(data.reshape(-1)[0].item())
    start, limit, delta = values
    if delta == 0 or not all(map(math.isfinite, values)) or (limit - start) * delta < 0:
        raise ModelError(f"start, limit and delta are {start}, {limit} and {delta}; allowed: a way from start to limit")
    return start, limit, delta


def _infer_range(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    start, limit, delta = _range(inputs)
    if all(isinstance(v, int) for v in (start, limit, delta)):
        return ((int(-(-abs(limit - start) // abs(delta))),),)
    return ((math.ceil(abs((np.float32(limit) - np.float32(start)) / np.float32(delta))),),)


def _move_range(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    """Each value is the one before plus ``delta``, in the type of ``start``."""
    ((count,),) = _infer_range(inputs, attrs, outputs)

    def move(x: Arrays) -> Arrays:
        steps = np.full(count, x[2].reshape(-1)[0])
        steps[:1] = x[0]
        return [np.add.accumulate(steps, dtype=steps.dtype)]

    return move


def _infer_args(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    ranks = [rank(need(t, f"shape {i}"), f"shape {i}", 1)[0] for i, t in enumerate(inputs)]
    return ((max(ranks),),)


def _move_args(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    def move(x: Arrays) -> Arrays:
        try:
            return [np.array(broadcast(*(tuple(map(int, v)) for v in x)), np.int64)]
        except ModelError as e:
            raise DomainError(str(e)) from None

    return move


_ANY: tuple[str, ...] = ()
_INDEX = ("int32", "int64")
_NUMBER = ("int32", "int64", "float32")
SPECS = (
    OpSpec("SHAPE", Attributes, _infer_shape, no_work, move=_move_shape),
    OpSpec("RANK", Attributes, _infer_scalar, no_work, move=_move_rank),
    OpSpec("ZEROS_LIKE", Attributes, same_shape, copy_work, dtypes=(("int8", *_NUMBER),), move=_move_zeros),
    OpSpec("FILL", Attributes, _infer_fill, copy_work, 2, 2, dtypes=(_INDEX, _ANY), move=_move_fill),
    OpSpec("RANGE", Attributes, _infer_range, copy_work, 3, 3, dtypes=(_NUMBER,), move=_move_range),
    OpSpec("BROADCAST_ARGS", Attributes, _infer_args, no_work, 2, 2, dtypes=(_INDEX,), move=_move_args),
)
