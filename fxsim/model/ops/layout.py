"""Ops that order values anew: other shapes, axes and orders, joined, cut and repeated."""

import math
from dataclasses import dataclass

import numpy as np

from fxsim.errors import DomainError, ModelError, UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import (
    Activated,
    Arrays,
    Attributes,
    Moved,
    Operands,
    OpSpec,
    broadcast,
    copy_work,
    moved_shapes,
    need,
    no_work,
    normal_axis,
    same_shape,
    vector,
)
from fxsim.model.qtype import Shape


@dataclass(frozen=True, slots=True)
class Reshape(Attributes):
    """RESHAPE; ``new_shape`` serves where there is no second input."""

    new_shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Squeeze(Attributes):
    """SQUEEZE: removes ``axes`` of size 1, or all such axes if it names none."""

    axes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis(Activated):
    """CONCATENATION, PACK and UNPACK, along ``axis``."""

    axis: int = 0


@dataclass(frozen=True, slots=True)
class ReverseSequence(Attributes):
    """REVERSE_SEQUENCE: entry ``i`` along ``batch_axis`` is reversed along ``axis``, as far as its length says."""

    axis: int = 0
    batch_axis: int = 0


def filled(x: Tensor, asked: list[int]) -> Shape:
    """The shape asked for, with the size -1 as the one that takes all elements of ``x``."""
    new = list(asked)
    if new.count(-1) > 1 or any(s < -1 for s in new):
        raise ModelError(f"shape is {asked}; allowed: sizes, at most one of them -1")
    if -1 in new:
        rest = -math.prod(new)
        new[new.index(-1)] = x.elements // rest if rest else 0
    if math.prod(new) != x.elements:
        raise ModelError(f"{x.elements} elements of {list(x.shape)} do not fill shape {new}")
    return tuple(new)


def _infer_reshape(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Reshape)
    x = need(inputs[0], "input")
    new = list(vector(inputs[1], "shape") if len(inputs) > 1 and inputs[1] is not None else attrs.new_shape)
    return (filled(x, new),)


def _infer_squeeze(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Squeeze)
    shape = need(inputs[0], "input").shape
    axes = {normal_axis(a, len(shape), "squeeze_dims") for a in attrs.axes}
    if any(shape[a] != 1 for a in axes):
        raise ModelError(f"squeeze_dims are {list(attrs.axes)}; allowed: axes of {list(shape)} whose size is 1")
    return (tuple(s for i, s in enumerate(shape) if (i not in axes if axes else s != 1)),)


def _infer_expand(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape, axes = need(inputs[0], "input").shape, vector(inputs[1], "axis", 1)
    if len(axes) != 1:
        raise ModelError(f"axis has {len(axes)} values; allowed: 1")
    axis = normal_axis(axes[0], len(shape) + 1)
    return ((*shape[:axis], 1, *shape[axis:]),)


def _move_reshape(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    infer = {Reshape: _infer_reshape, Squeeze: _infer_squeeze}.get(type(attrs), _infer_expand)
    (shape,) = infer(inputs, attrs, outputs)
    return lambda x: [x[0].reshape(shape)]


def _infer_concat(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Axis)
    shapes = [need(t, f"input {i}").shape for i, t in enumerate(inputs)]
    axis = normal_axis(attrs.axis, len(shapes[0]))
    rest = {(s[:axis], s[axis + 1 :]) for s in shapes}
    if len(rest) != 1 or len({len(s) for s in shapes}) != 1:
        raise ModelError(f"shapes {[list(s) for s in shapes]} do not join along axis {axis}")
    return ((*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :]),)


def _move_concat(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Axis)
    axis = attrs.axis
    return lambda x: [np.concatenate(x, axis)]


def _infer_pack(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Axis)
    shapes = {need(t, f"input {i}").shape for i, t in enumerate(inputs)}
    if len(shapes) != 1:
        raise ModelError(f"inputs have shapes {sorted(map(list, shapes))}; allowed: one shape")
    (shape,) = shapes
    axis = normal_axis(attrs.axis, len(shape) + 1)
    return ((*shape[:axis], len(inputs), *shape[axis:]),)


def _move_pack(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Axis)
    axis = attrs.axis
    return lambda x: [np.stack(x, axis)]


def _move_unpack(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Axis)
    shape = need(inputs[0], "input").shape
    axis = normal_axis(attrs.axis, len(shape))
    if shape[axis] != outputs:
        raise ModelError(f"axis {axis} of {list(shape)} makes {shape[axis]} outputs; the layer has {outputs}")
    return lambda x: list(np.moveaxis(x[0], axis, 0))


def _cut(x: Shape, axis: int, sizes: list[int], position: int) -> Moved:
    axis = normal_axis(axis, len(x))
    if sizes.count(-1) > 1:
        raise ModelError(f"size_splits are {sizes}; allowed: at most one -1")
    if -1 in sizes:
        sizes[sizes.index(-1)] = x[axis] - sum(sizes) - 1
    if sum(sizes) != x[axis] or min(sizes) < 0:
        raise ModelError(f"size_splits are {sizes}; allowed: sizes that sum to {x[axis]}")
    cuts = np.cumsum(sizes)[:-1]
    return lambda arrays: np.split(arrays[position], cuts, axis)


def _move_split(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    shape, (axis, *_) = need(inputs[1], "input").shape, vector(inputs[0], "axis") or (0,)
    size = shape[normal_axis(axis, len(shape))]
    if size % outputs:
        raise ModelError(f"axis {axis} of {list(shape)} does not split into {outputs} equal parts")
    return _cut(shape, axis, [size // outputs] * outputs, 1)


def _move_split_v(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    sizes, (axis, *_) = list(vector(inputs[1], "size_splits")), vector(inputs[2], "axis") or (0,)
    if len(sizes) != outputs:
        raise ModelError(f"size_splits are {sizes} for {outputs} outputs")
    return _cut(need(inputs[0], "input").shape, axis, sizes, 0)


def _move_transpose(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    n, perm = len(need(inputs[0], "input").shape), vector(inputs[1], "perm")
    order = [p % n if -n <= p < n else p for p in perm]
    if sorted(order) != list(range(n)):
        raise ModelError(f"perm is {list(perm)}; allowed: an order of 0..{n - 1}")
    return lambda x: [x[0].transpose(order)]


def _move_reverse(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    n = len(need(inputs[0], "input").shape)
    axes = sorted(normal_axis(a, n) for a in vector(inputs[1], "axis"))
    if axes != list(range(axes[0], axes[0] + len(axes)) if axes else []):
        raise UnsupportedOp(f"axis is {axes}; supported: neighbours, each once")
    return lambda x: [np.flip(x[0], tuple(axes))]


def _move_reverse_sequence(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, ReverseSequence)
    shape, lengths = need(inputs[0], "input").shape, need(inputs[1], "seq_lengths").shape
    axis, batch = (normal_axis(a, len(shape)) for a in (attrs.axis, attrs.batch_axis))
    if axis == batch or lengths != (shape[batch],):
        raise ModelError(f"seq_dim {axis}, batch_dim {batch} and {list(lengths)} lengths do not fit {list(shape)}")

    def move(x: Arrays) -> Arrays:
        if np.any((x[1] < 0) | (x[1] > shape[axis])):
            raise DomainError(f"seq_lengths hold {x[1].min()}..{x[1].max()}; allowed: 0..{shape[axis]}")
        out = x[0].copy()
        rows, moved = np.moveaxis(x[0], batch, 0), np.moveaxis(out, batch, 0)
        for row, target, n in zip(rows, moved, x[1], strict=True):
            along = axis - (axis > batch)
            np.moveaxis(target, along, 0)[:n] = np.moveaxis(row, along, 0)[:n][::-1]
        return [out]

    return move


def _infer_tile(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape, times = need(inputs[0], "input").shape, vector(inputs[1], "multiples")
    if len(times) != len(shape) or any(t < 0 for t in times):
        raise ModelError(f"multiples are {list(times)}; allowed: {len(shape)} values of at least 0")
    return (tuple(s * t for s, t in zip(shape, times, strict=True)),)


def _move_tile(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    times = vector(inputs[1], "multiples")
    return lambda x: [np.tile(x[0], times)]


def _infer_broadcast(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape, new = need(inputs[0], "input").shape, vector(inputs[1], "shape")
    if broadcast(shape, new) != new:
        raise ModelError(f"shape is {list(new)}; allowed: one that {list(shape)} broadcasts to")
    return (new,)


def _move_broadcast(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    (shape,) = _infer_broadcast(inputs, attrs, outputs)
    return lambda x: [np.broadcast_to(x[0], shape)]


_MANY = 1 << 12
_INDEX = ("int32", "int64")
_ANY: tuple[str, ...] = ()
_CUT = ("int4", "int8", "uint8", "int16", "int32", "int64", "float32")
_REVERSED = ("uint8", "int16", "int32", "int64", "float32")
SPECS = (
    OpSpec(
        "RESHAPE", Reshape, _infer_reshape, no_work, 1, 2, shape_inputs=(1,), dtypes=(_ANY, _INDEX), move=_move_reshape
    ),
    OpSpec("SQUEEZE", Squeeze, _infer_squeeze, no_work, move=_move_reshape),
    OpSpec("EXPAND_DIMS", Attributes, _infer_expand, no_work, 2, 2, dtypes=(_ANY, _INDEX), move=_move_reshape),
    OpSpec("CONCATENATION", Axis, _infer_concat, copy_work, 1, _MANY, move=_move_concat),
    OpSpec("PACK", Axis, _infer_pack, copy_work, 1, _MANY, dtypes=((*_CUT, "uint32"),), move=_move_pack),
    OpSpec(
        "UNPACK",
        Axis,
        moved_shapes(_move_unpack),
        copy_work,
        1,
        1,
        1,
        _MANY,
        dtypes=((*_CUT, "bool"),),
        move=_move_unpack,
    ),
    OpSpec(
        "SPLIT",
        Attributes,
        moved_shapes(_move_split),
        copy_work,
        2,
        2,
        1,
        _MANY,
        dtypes=(_INDEX, _CUT),
        data_input=1,
        move=_move_split,
    ),
    OpSpec(
        "SPLIT_V",
        Attributes,
        moved_shapes(_move_split_v),
        copy_work,
        3,
        3,
        1,
        _MANY,
        dtypes=(_CUT, _INDEX),
        move=_move_split_v,
    ),
    OpSpec("TRANSPOSE", Attributes, moved_shapes(_move_transpose), copy_work, 2, 2, move=_move_transpose),
    OpSpec("REVERSE_V2", Attributes, same_shape, copy_work, 2, 2, move=_move_reverse),
    OpSpec(
        "REVERSE_SEQUENCE",
        ReverseSequence,
        same_shape,
        copy_work,
        2,
        2,
        dtypes=(_REVERSED, _INDEX),
        move=_move_reverse_sequence,
    ),
    OpSpec("TILE", Attributes, _infer_tile, copy_work, 2, 2, move=_move_tile),
    OpSpec("BROADCAST_TO", Attributes, _infer_broadcast, copy_work, 2, 2, move=_move_broadcast),
)
