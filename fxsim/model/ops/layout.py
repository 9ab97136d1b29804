"""Ops that move values without computing: RESHAPE, PAD, CONCATENATION, STRIDED_SLICE, SPLIT_V, TRANSPOSE, SHAPE, PACK."""

import math
from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Activated, Attributes, Operands, OpSpec, copy_work, need, no_work, vector
from fxsim.model.qtype import Shape


@dataclass(frozen=True, slots=True)
class Reshape(Attributes):
    """RESHAPE; ``new_shape`` serves where there is no second input."""

    new_shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis(Activated):
    """CONCATENATION and PACK, along ``axis``."""

    axis: int = 0


@dataclass(frozen=True, slots=True)
class StridedSlice(Attributes):
    """STRIDED_SLICE with numpy's meaning; bit i of a mask speaks of axis i."""

    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0
    offset: bool = False


def normal_axis(axis: int, n: int) -> int:
    """``axis`` counted from 0."""
    if not -n <= axis < n:
        raise ModelError(f"axis is {axis}; allowed: {-n}..{n - 1}")
    return axis % n


def _infer_reshape(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Reshape)
    x = need(inputs[0], "input")
    new = list(vector(inputs[1], "shape") if len(inputs) > 1 and inputs[1] is not None else attrs.new_shape)
    if new.count(-1) > 1 or any(s < -1 for s in new):
        raise ModelError(f"shape is {new}; allowed: sizes, at most one of them -1")
    if -1 in new:
        rest = -math.prod(new)
        new[new.index(-1)] = x.elements // rest if rest else 0
    if math.prod(new) != x.elements:
        raise ModelError(f"{x.elements} elements of {list(x.shape)} do not fill shape {new}")
    return (tuple(new),)


def paddings(inputs: Operands) -> tuple[tuple[int, int], ...]:
    """``((before, after), ...)`` for each axis of a PAD."""
    x = need(inputs[0], "input")
    flat = vector(inputs[1], "paddings")
    if len(flat) != 2 * len(x.shape) or any(p < 0 for p in flat):
        raise ModelError(f"paddings are {list(flat)}; allowed: {2 * len(x.shape)} values of at least 0")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _infer_pad(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    return (tuple(s + a + b for s, (a, b) in zip(x.shape, paddings(inputs), strict=True)),)


def _infer_concat(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Axis)
    shapes = [need(t, f"input {i}").shape for i, t in enumerate(inputs)]
    axis = normal_axis(attrs.axis, len(shapes[0]))
    rest = {(s[:axis], s[axis + 1 :]) for s in shapes}
    if len(rest) != 1 or len({len(s) for s in shapes}) != 1:
        raise ModelError(f"shapes {[list(s) for s in shapes]} do not join along axis {axis}")
    return ((*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :]),)


def slices(inputs: Operands, attrs: StridedSlice) -> tuple[slice | int, ...]:
    """The numpy index of a STRIDED_SLICE."""
    x = need(inputs[0], "input")
    begin, end, step = (vector(inputs[i], w) for i, w in ((1, "begin"), (2, "end"), (3, "strides")))
    if attrs.ellipsis_mask or attrs.new_axis_mask:
        raise ModelError("ellipsis_mask and new_axis_mask are not supported; allowed: 0")
    if not len(begin) == len(end) == len(step) <= len(x.shape):
        raise ModelError(
            f"begin, end, strides have {len(begin)}, {len(end)}, {len(step)} values for rank {len(x.shape)}"
        )
    result: list[slice | int] = []
    for i, (b, e, s) in enumerate(zip(begin, end, step, strict=True)):
        if s == 0:
            raise ModelError(f"strides[{i}] is 0; allowed: any other value")
        size = x.shape[i]
        if attrs.shrink_axis_mask >> i & 1:
            index = 0 if attrs.begin_mask >> i & 1 else b
            if not -size <= index < size:
                raise ModelError(f"begin[{i}] is {b}; allowed: {-size}..{size - 1}")
            result.append(index)
            continue
        stop = b + e if attrs.offset else e
        result.append(slice(None if attrs.begin_mask >> i & 1 else b, None if attrs.end_mask >> i & 1 else stop, s))
    return tuple(result)


def _infer_slice(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, StridedSlice)
    x, index = need(inputs[0], "input"), slices(inputs, attrs)
    sizes = [len(range(*s.indices(x.shape[i]))) for i, s in enumerate(index) if isinstance(s, slice)]
    return ((*sizes, *x.shape[len(index) :]),)


def split_sizes(inputs: Operands, outputs: int) -> tuple[int, tuple[int, ...]]:
    """The axis and the sizes of a SPLIT_V."""
    x = need(inputs[0], "input")
    sizes, (axis, *_) = list(vector(inputs[1], "size_splits")), vector(inputs[2], "axis") or (0,)
    axis = normal_axis(axis, len(x.shape))
    if len(sizes) != outputs or sizes.count(-1) > 1:
        raise ModelError(f"size_splits are {sizes} for {outputs} outputs")
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[axis] - sum(sizes) - 1
    if sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise ModelError(f"size_splits are {sizes}; allowed: sizes that sum to {x.shape[axis]}")
    return axis, tuple(sizes)


def _infer_split(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    axis, sizes = split_sizes(inputs, outputs)
    return tuple((*x.shape[:axis], s, *x.shape[axis + 1 :]) for s in sizes)


def permutation(inputs: Operands) -> tuple[int, ...]:
    """The axes of a TRANSPOSE."""
    n, perm = len(need(inputs[0], "input").shape), vector(inputs[1], "perm")
    if sorted(perm) != list(range(n)):
        raise ModelError(f"perm is {list(perm)}; allowed: an order of 0..{n - 1}")
    return perm


def _infer_transpose(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    return (tuple(x.shape[p] for p in permutation(inputs)),)


def _infer_shape(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return ((len(need(inputs[0], "input").shape),),)


def _infer_pack(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Axis)
    shapes = {need(t, f"input {i}").shape for i, t in enumerate(inputs)}
    if len(shapes) != 1:
        raise ModelError(f"inputs have shapes {sorted(map(list, shapes))}; allowed: one shape")
    (shape,) = shapes
    axis = normal_axis(attrs.axis, len(shape) + 1)
    return ((*shape[:axis], len(inputs), *shape[axis:]),)


_MANY = 1 << 12
_INDEX = ("int32", "int64")
_ANY = ("int4", "int8", "uint8", "int16", "int32", "int64", "float32", "bool")
SPECS = (
    OpSpec("RESHAPE", Reshape, _infer_reshape, no_work, 1, 2, shape_inputs=(1,), dtypes=(_ANY, _INDEX)),
    OpSpec("PAD", Attributes, _infer_pad, copy_work, 2, 2, shape_inputs=(1,), dtypes=(_ANY, _INDEX)),
    OpSpec("CONCATENATION", Axis, _infer_concat, copy_work, 1, _MANY, dtypes=(_ANY,)),
    OpSpec("STRIDED_SLICE", StridedSlice, _infer_slice, copy_work, 4, 4, shape_inputs=(1, 2, 3), dtypes=(_ANY, _INDEX)),
    OpSpec("SPLIT_V", Attributes, _infer_split, copy_work, 3, 3, 1, _MANY, shape_inputs=(1, 2), dtypes=(_ANY, _INDEX)),
    OpSpec("TRANSPOSE", Attributes, _infer_transpose, copy_work, 2, 2, shape_inputs=(1,), dtypes=(_ANY, _INDEX)),
    OpSpec("SHAPE", Attributes, _infer_shape, no_work),
    OpSpec("PACK", Axis, _infer_pack, copy_work, 1, _MANY, dtypes=(_ANY,)),
)
