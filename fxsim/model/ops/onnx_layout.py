"""Ops of ONNX that move values without computing, and QLinearConcat."""

import math
from dataclasses import dataclass

import numpy as np

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.ops.base import (
    Arrays,
    Attributes,
    InferFn,
    Moved,
    MoveFn,
    Operands,
    broadcast,
    copy_work,
    need,
    no_work,
    normal_axis,
    same_shape,
    total_bytes,
    vector,
)
from fxsim.model.ops.gather import picked_work, within
from fxsim.model.ops.layout import Axis, filled
from fxsim.model.ops.onnx_base import ANY, BYTE, INDEX, REAL, OnnxSpec, always, at, one, same_type
from fxsim.model.qtype import INT64, QType, Shape
from fxsim.model.work import Work

PadMode = str
MODES = ("constant", "edge", "reflect", "wrap")


@dataclass(frozen=True, slots=True)
class OnnxReshape(Attributes):
    """Reshape; a 0 copies the input's size unless ``allow_zero``."""

    allow_zero: bool = False


@dataclass(frozen=True, slots=True)
class Permutation(Attributes):
    """Transpose; an empty ``perm`` reverses the axes."""

    perm: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pad(Attributes):
    """Pad."""

    mode: PadMode = "constant"


def _infer_reshape(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, OnnxReshape)
    x, asked = need(inputs[0], "input"), vector(inputs[1], "shape")
    new = list(asked)
    for i, s in enumerate(asked):
        if s == 0 and not attrs.allow_zero:
            if i >= len(x.shape):
                raise ModelError(f"shape is {list(asked)}: axis {i} copies an axis that {list(x.shape)} lacks")
            new[i] = x.shape[i]
    return (filled(x, new),)


def _infer_flatten(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Axis)
    shape, n = need(inputs[0], "input").shape, len(need(inputs[0], "input").shape)
    if not -n <= attrs.axis <= n:
        raise ModelError(f"axis is {attrs.axis}; allowed: {-n}..{n}")
    axis = attrs.axis + n if attrs.axis < 0 else attrs.axis
    return ((math.prod(shape[:axis]), math.prod(shape[axis:])),)


def permutation(inputs: Operands, attrs: Permutation) -> tuple[int, ...]:
    """The axes of a Transpose."""
    n = len(need(inputs[0], "input").shape)
    perm = attrs.perm or tuple(reversed(range(n)))
    if sorted(perm) != list(range(n)):
        raise ModelError(f"perm is {list(perm)}; allowed: an order of 0..{n - 1}")
    return perm


def _infer_transpose(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Permutation)
    x = need(inputs[0], "input")
    return (tuple(x.shape[p] for p in permutation(inputs, attrs)),)


def joined(shapes: list[Shape], attrs: Attributes) -> Shape:
    """The shape of tensors one after the other along an axis."""
    assert isinstance(attrs, Axis)
    axis = normal_axis(attrs.axis, len(shapes[0]))
    rest = {(s[:axis], s[axis + 1 :], len(s)) for s in shapes}
    if len(rest) != 1:
        raise ModelError(f"shapes {[list(s) for s in shapes]} do not join along axis {axis}")
    return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])


def _infer_concat(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    same_type(inputs, *range(len(inputs)))
    return (joined([need(t, f"input {i}").shape for i, t in enumerate(inputs)], attrs),)


def _infer_qlinear_concat(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    if len(inputs) % 3 != 2 or any(t is None for t in inputs):
        raise ModelError(
            f"has {len(inputs)} inputs; allowed: scale and zero point of the output, then three for each input"
        )
    one(inputs, **{f"parameter_{i}": i for i in range(len(inputs)) if i < 2 or i % 3 != 2})
    same_type(inputs, 1, *(i for i in range(2, len(inputs)) if i % 3 != 0))
    for i in (0, *range(3, len(inputs), 3)):
        if need(inputs[i], "scale").qtype.name != "float32":
            raise ModelError(f"scale {i} is {need(inputs[i], '').qtype.name}; allowed: float32")
    return (joined([need(t, "input").shape for t in inputs[2::3]], attrs),)


def _type_of_zero(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[QType, ...]:
    return (need(inputs[1], "zero point").qtype,)


def paddings(inputs: Operands) -> tuple[tuple[int, int], ...]:
    """``((before, after), ...)`` for each axis of a Pad."""
    x = need(inputs[0], "input")
    flat, n = vector(inputs[1], "pads"), len(x.shape)
    given = at(inputs, 3)
    axes = [normal_axis(a, n) for a in vector(given, "axes")] if given is not None else list(range(n))
    if len(flat) != 2 * len(axes) or len(set(axes)) != len(axes) or any(p < 0 for p in flat):
        raise ModelError(f"pads are {list(flat)} for axes {axes}; allowed: two values of at least 0 for each axis")
    result = [(0, 0)] * n
    for i, a in enumerate(axes):
        result[a] = flat[i], flat[len(axes) + i]
    return tuple(result)


def _infer_pad(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Pad)
    if attrs.mode not in MODES:
        raise UnsupportedOp(f"mode is {attrs.mode!r}; supported: {', '.join(MODES)}")
    x, widths = need(inputs[0], "input"), paddings(inputs)
    one(inputs, constant_value=2)
    same_type(inputs, 0, 2)
    for s, (a, b) in zip(x.shape, widths, strict=True):
        if attrs.mode != "constant" and (a or b) and max(a, b) > s - (attrs.mode == "reflect"):
            raise ModelError(
                f"pads are {widths}; allowed for mode {attrs.mode!r}: what the input {list(x.shape)} can fill"
            )
    return (tuple(s + a + b for s, (a, b) in zip(x.shape, widths, strict=True)),)


def slices(inputs: Operands) -> tuple[slice, ...]:
    """The numpy index of a Slice."""
    x = need(inputs[0], "input")
    starts, ends, n = vector(inputs[1], "starts"), vector(inputs[2], "ends"), len(x.shape)
    given, steps_at = at(inputs, 3), at(inputs, 4)
    axes = [normal_axis(a, n) for a in vector(given, "axes")] if given is not None else list(range(len(starts)))
    steps = vector(steps_at, "steps") if steps_at is not None else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes) or len(axes) > n:
        raise ModelError(f"starts, ends, axes, steps are {starts}, {ends}, {axes}, {steps}; allowed: one value an axis")
    index = [slice(None)] * n
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ModelError(f"steps are {list(steps)}; allowed: other values than 0")
        size = x.shape[axis]
        low, high = (0, size) if step > 0 else (0, size - 1)
        first = min(max(start + size if start < 0 else start, low), high)
        floor = 0 if step > 0 else -1
        last = min(max(end + size if end < 0 else end, floor), size)
        index[axis] = slice(first, None if last < 0 else last, step)
    return tuple(index)


def _infer_slice(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    return (tuple(len(range(*s.indices(n))) for s, n in zip(slices(inputs), x.shape, strict=True)),)


def split_sizes(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[int, tuple[int, ...]]:
    """The axis and the sizes of a Split."""
    assert isinstance(attrs, Axis)
    x, given = need(inputs[0], "input"), at(inputs, 1)
    axis = normal_axis(attrs.axis, len(x.shape))
    size = x.shape[axis]
    piece = -(-size // outputs)
    sizes = vector(given, "split") if given is not None else (*((piece,) * (outputs - 1)), size - piece * (outputs - 1))
    if len(sizes) != outputs or sum(sizes) != size or min(sizes) < 0:
        raise ModelError(f"split is {list(sizes)} for {outputs} outputs; allowed: sizes that sum to {size}")
    return axis, sizes


def _infer_split(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x = need(inputs[0], "input")
    axis, sizes = split_sizes(inputs, attrs, outputs)
    return tuple((*x.shape[:axis], s, *x.shape[axis + 1 :]) for s in sizes)


def _infer_squeeze(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x, given = need(inputs[0], "input"), at(inputs, 1)
    n = len(x.shape)
    asked = vector(given, "axes") if given is not None else ()
    axes = {normal_axis(a, n) for a in asked} if given is not None else {i for i, s in enumerate(x.shape) if s == 1}
    if any(x.shape[a] != 1 for a in axes):
        raise ModelError(f"axes are {list(asked)}; allowed: axes of size 1 of {list(x.shape)}")
    return (tuple(s for i, s in enumerate(x.shape) if i not in axes),)


def _infer_unsqueeze(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x, asked = need(inputs[0], "input"), vector(inputs[1], "axes")
    n = len(x.shape) + len(asked)
    axes = {normal_axis(a, n) for a in asked}
    if len(axes) != len(asked) or n > 8:
        raise ModelError(f"axes are {list(asked)}; allowed: each axis once, at most 8 in all")
    rest = iter(x.shape)
    return (tuple(1 if i in axes else next(rest) for i in range(n)),)


def _infer_gather(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Axis)
    x, index = need(inputs[0], "input"), need(inputs[1], "indices")
    axis = normal_axis(attrs.axis, len(x.shape))
    if index.data is not None:
        within(index.data, x.shape[axis], "indices", -x.shape[axis])
    return ((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]),)


def _infer_expand(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape = vector(inputs[1], "shape")
    if any(s < 0 for s in shape):
        raise ModelError(f"shape is {list(shape)}; allowed: sizes of at least 0")
    return (broadcast(need(inputs[0], "input").shape, shape),)


def _work_qlinear_concat(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    out, data = need(outputs[0], "output"), inputs[2::3]
    same = [need(s, "scale") for s in (inputs[0], *inputs[3::3])]
    changed = sum(
        need(t, "input").elements
        for t, s in zip(data, same[1:], strict=True)
        if s.data is None or same[0].data is None or not np.array_equal(s.data, same[0].data)
    )
    return Work(
        "copy",
        elements=out.elements,
        requantized=changed,
        input_bytes=total_bytes(data),
        output_bytes=out.nbytes,
        activation_bits=out.qtype.bits,
    )


def _reshaped(infer: InferFn) -> MoveFn:
    """A move that keeps the order: the values in the shape that ``infer`` says."""

    def move(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
        (shape, *_) = infer(inputs, attrs, 1)
        return lambda arrays: [arrays[0].reshape(shape)]

    return move


def _move_transpose(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Permutation)
    perm = permutation(inputs, attrs)
    return lambda arrays: [arrays[0].transpose(perm)]


def _move_concat(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Axis)
    axis = attrs.axis
    return lambda arrays: [np.concatenate(arrays, axis=axis)]


def _move_pad(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Pad)
    widths, mode, filled = paddings(inputs), attrs.mode, at(inputs, 2) is not None

    def move(arrays: Arrays) -> Arrays:
        x = arrays[0]
        if mode != "constant":
            return [np.pad(x, widths, mode)]  # type: ignore[call-overload]
        value = arrays[2].reshape(()) if filled else 0
        return [np.pad(x, widths, constant_values=value)]

    return move


def _move_slice(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    index = slices(inputs)
    return lambda arrays: [arrays[0][index]]


def _move_split(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    axis, sizes = split_sizes(inputs, attrs, outputs)
    cuts = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return lambda arrays: np.split(arrays[0], cuts, axis=axis)


def _move_gather(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, Axis)
    axis = attrs.axis
    size = need(inputs[0], "input").shape[axis]

    def move(arrays: Arrays) -> Arrays:
        within(arrays[1], size, "indices", -size)
        return [np.take(arrays[0], arrays[1], axis=axis)]

    return move


def _move_expand(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    (shape,) = _infer_expand(inputs, attrs, 1)
    return lambda arrays: [np.broadcast_to(arrays[0], shape)]


_MANY = 1 << 12
_NEAR = (ANY, INDEX)
SPECS = (
    OnnxSpec("Identity", Attributes, same_shape, no_work, dtypes=(ANY,), move=_reshaped(same_shape)),
    OnnxSpec("Dropout", Attributes, same_shape, no_work, 1, 3, dtypes=(ANY, REAL, ("bool",)), move=_reshaped(same_shape)),
    OnnxSpec(
        "Reshape", OnnxReshape, _infer_reshape, no_work, 2, 2,
        shape_inputs=(1,), dtypes=_NEAR, move=_reshaped(_infer_reshape),
    ),
    OnnxSpec("Flatten", Axis, _infer_flatten, no_work, dtypes=(ANY,), move=_reshaped(_infer_flatten)),
    OnnxSpec(
        "Squeeze", Attributes, _infer_squeeze, no_work, 1, 2,
        shape_inputs=(1,), dtypes=_NEAR, move=_reshaped(_infer_squeeze),
    ),
    OnnxSpec(
        "Unsqueeze", Attributes, _infer_unsqueeze, no_work, 2, 2,
        shape_inputs=(1,), dtypes=_NEAR, move=_reshaped(_infer_unsqueeze),
    ),
    OnnxSpec("Shape", Attributes, lambda i, a, o: ((len(need(i[0], "input").shape),),), no_work, types=always(INT64)),
    OnnxSpec("Transpose", Permutation, _infer_transpose, copy_work, dtypes=(ANY,), move=_move_transpose),
    OnnxSpec("Concat", Axis, _infer_concat, copy_work, 1, _MANY, dtypes=(ANY,), move=_move_concat),
    OnnxSpec(
        "QLinearConcat", Axis, _infer_qlinear_concat, _work_qlinear_concat, 5, _MANY,
        dtypes=(REAL, BYTE, (*BYTE, "float32")), types=_type_of_zero, output_params=(0, 1),
    ),
    OnnxSpec("Pad", Pad, _infer_pad, copy_work, 2, 4, shape_inputs=(1, 3), dtypes=(ANY, INDEX, ANY, INDEX), move=_move_pad),
    OnnxSpec("Slice", Attributes, _infer_slice, copy_work, 3, 5, shape_inputs=(1, 2, 3, 4), dtypes=_NEAR, move=_move_slice),
    OnnxSpec("Split", Axis, _infer_split, copy_work, 1, 2, 1, _MANY, shape_inputs=(1,), dtypes=_NEAR, move=_move_split),
    OnnxSpec("Gather", Axis, _infer_gather, picked_work(1), 2, 2, dtypes=_NEAR, move=_move_gather),
    OnnxSpec("Expand", Attributes, _infer_expand, copy_work, 2, 2, shape_inputs=(1,), dtypes=_NEAR, move=_move_expand),
)  # fmt: skip
