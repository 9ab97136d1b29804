"""Ops of ONNX that make tensors of a shape, or move values by blocks, by repeats or by positions in the values."""

import math
from dataclasses import dataclass

import numpy as np

from fxsim.errors import ModelError
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Arrays, Attributes, Moved, Operands, copy_work, need, no_work, rank, same_shape, vector
from fxsim.model.ops.onnx_base import ANY, INDEX, OnnxSpec, at, like_input, same_type, scalar
from fxsim.model.qtype import FLOAT32, QType, Shape

MAX_RANGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Fill(Attributes):
    """ConstantOfShape."""

    value: float = 0.0
    qtype: QType = FLOAT32


@dataclass(frozen=True, slots=True)
class Blocks(Attributes):
    """SpaceToDepth and DepthToSpace, by squares of ``size``; ``columns_first`` (CRD): a block's cells are the inner axis."""

    size: int = 1
    columns_first: bool = False


@dataclass(frozen=True, slots=True)
class Triangle(Attributes):
    """Trilu: the ``upper`` triangle stays, or the lower one."""

    upper: bool = True


def _infer_fill(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape = vector(inputs[0], "shape")
    if any(s < 0 for s in shape):
        raise ModelError(f"shape is {list(shape)}; allowed: sizes of at least 0")
    return (shape,)


def _type_of_fill(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[QType, ...]:
    assert isinstance(attrs, Fill)
    return (attrs.qtype,)


def _move_fill(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Fill)
    (shape,), value, dtype = _infer_fill(inputs, attrs, 1), attrs.value, attrs.qtype.dtype
    return lambda arrays: [np.full(shape, value, dtype)]


def _steps(inputs: Operands) -> tuple[float, float, int]:
    """Start, step and count of a Range."""
    start, limit, step = (scalar(t, what) for t, what in zip(inputs, ("start", "limit", "delta"), strict=True))
    if step == 0:
        raise ModelError("delta is 0; allowed: other values")
    count = max(0, math.ceil((limit - start) / step))
    if count > MAX_RANGE:
        raise ModelError(f"a range of {count} values; allowed: at most {MAX_RANGE}")
    return start, step, count


def _infer_range(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    same_type(inputs, 0, 1, 2)
    return ((_steps(inputs)[2],),)


def _move_range(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    start, step, count = _steps(inputs)
    dtype = need(inputs[0], "start").qtype.dtype
    return lambda arrays: [(start + step * np.arange(count)).astype(dtype)]


def _repeats(inputs: Operands) -> tuple[int, ...]:
    shape, repeats = need(inputs[0], "input").shape, vector(inputs[1], "repeats")
    if len(repeats) != len(shape) or any(r < 0 for r in repeats):
        raise ModelError(f"repeats are {list(repeats)}; allowed: {len(shape)} values of at least 0")
    return repeats


def _infer_tile(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return (tuple(s * r for s, r in zip(need(inputs[0], "input").shape, _repeats(inputs), strict=True)),)


def _move_tile(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    repeats = _repeats(inputs)
    return lambda arrays: [np.tile(arrays[0], repeats)]


def _image(inputs: Operands, attrs: Attributes) -> tuple[Shape, int, bool]:
    assert isinstance(attrs, Blocks)
    if attrs.size < 1:
        raise ModelError(f"blocksize is {attrs.size}; allowed: at least 1")
    return rank(need(inputs[0], "input"), "input", 4), attrs.size, attrs.columns_first


def _infer_from_depth(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    (n, c, h, w), b, _ = _image(inputs, attrs)
    if c % (b * b):
        raise ModelError(f"blocksize is {b}; allowed: one whose square divides {c}")
    return ((n, c // (b * b), h * b, w * b),)


def _move_from_depth(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    (n, c, h, w), b, columns_first = _image(inputs, attrs)
    (shape,), deep = _infer_from_depth(inputs, attrs, 1), c // (b * b)
    if columns_first:
        return lambda x: [x[0].reshape(n, deep, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(shape)]
    return lambda x: [x[0].reshape(n, b, b, deep, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(shape)]


def _infer_to_depth(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    (n, c, h, w), b, _ = _image(inputs, attrs)
    if h % b or w % b:
        raise ModelError(f"blocksize is {b}; allowed: divisors of {h} and {w}")
    return ((n, c * b * b, h // b, w // b),)


def _move_to_depth(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    (n, c, h, w), b, _ = _image(inputs, attrs)
    (shape,) = _infer_to_depth(inputs, attrs, 1)
    return lambda x: [x[0].reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(shape)]


def _infer_triangle(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    if len(x.shape) < 2:
        raise ModelError(f"input {x.name!r} has shape {list(x.shape)}; allowed: two axes or more")
    return same_shape(inputs, attrs, outputs)


def _move_triangle(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Triangle)
    diagonal: Tensor | None = at(inputs, 1)
    k = 0 if diagonal is None else int(scalar(diagonal, "k"))
    kept = np.triu if attrs.upper else np.tril

    def move(arrays: Arrays) -> Arrays:
        return [kept(arrays[0], k)]

    return move


_NEAR = (ANY, INDEX)
_NUMBERS = ("float32", "int32", "int64")
SPECS = (
    OnnxSpec(
        "ConstantOfShape", Fill, _infer_fill, no_work,
        shape_inputs=(0,), dtypes=(INDEX,), types=_type_of_fill, move=_move_fill,
    ),
    OnnxSpec("Range", Attributes, _infer_range, no_work, 3, 3, shape_inputs=(0, 1, 2), dtypes=(_NUMBERS,), move=_move_range),
    OnnxSpec("Tile", Attributes, _infer_tile, copy_work, 2, 2, shape_inputs=(1,), dtypes=_NEAR, move=_move_tile),
    OnnxSpec("DepthToSpace", Blocks, _infer_from_depth, copy_work, dtypes=(ANY,), types=like_input, move=_move_from_depth),
    OnnxSpec("SpaceToDepth", Blocks, _infer_to_depth, copy_work, dtypes=(ANY,), types=like_input, move=_move_to_depth),
    OnnxSpec("Trilu", Triangle, _infer_triangle, copy_work, 1, 2, shape_inputs=(1,), dtypes=_NEAR, move=_move_triangle),
)  # fmt: skip
