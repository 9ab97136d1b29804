"""Ops that add a border or move blocks between space and other axes."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Moved, Operands, OpSpec, copy_work, moved_shapes, need, rank, vector
from fxsim.model.qtype import Array, Shape

Widths = tuple[tuple[int, int], ...]
"""``(before, after)`` of each axis"""


@dataclass(frozen=True, slots=True)
class MirrorPad(Attributes):
    """MIRROR_PAD: the border repeats the edge (``SYMMETRIC``) or not (``REFLECT``)."""

    mode: Literal["REFLECT", "SYMMETRIC"] = "REFLECT"


@dataclass(frozen=True, slots=True)
class Block(Attributes):
    """SPACE_TO_DEPTH and DEPTH_TO_SPACE, by squares of ``size``."""

    size: int = 1


def paddings(inputs: Operands) -> Widths:
    """``((before, after), ...)`` for each axis of a PAD."""
    x = need(inputs[0], "input")
    flat = vector(inputs[1], "paddings")
    if len(flat) != 2 * len(x.shape) or any(p < 0 for p in flat):
        raise ModelError(f"paddings are {list(flat)}; allowed: {2 * len(x.shape)} values of at least 0")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _wider(shape: Shape, widths: Widths) -> Shape:
    return tuple(s + a + b for s, (a, b) in zip(shape, widths, strict=True))


def bordered(x: Array, widths: Widths, value: int | float) -> Array:
    """``x`` with a border of ``value``."""
    out = np.full(_wider(x.shape, widths), value, x.dtype)
    out[tuple(slice(before, before + s) for (before, _), s in zip(widths, x.shape, strict=True))] = x
    return out


def _infer_pad(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    if len(inputs) == 3 and need(inputs[2], "constant_values").elements != 1:
        raise ModelError(f"constant_values hold {need(inputs[2], 'constant_values').elements} values; allowed: 1")
    return (_wider(need(inputs[0], "input").shape, paddings(inputs)),)


def _move_pad(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    widths, quant = paddings(inputs), need(inputs[0], "input").quant
    zero = quant.zero_point[0] if quant is not None else 0
    return lambda x: [bordered(x[0], widths, x[2].reshape(-1)[0] if len(x) == 3 else zero)]


def _infer_mirror(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, MirrorPad)
    shape, widths = need(inputs[0], "input").shape, paddings(inputs)
    edge = int(attrs.mode == "REFLECT")
    if any(max(w) > s - edge for s, w in zip(shape, widths, strict=True) if max(w)):
        raise ModelError(f"paddings are {list(widths)}; allowed: at most the sizes {list(shape)} less {edge}")
    return (_wider(shape, widths),)


def _move_mirror(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    assert isinstance(attrs, MirrorPad)
    widths = paddings(inputs)
    if attrs.mode == "REFLECT":
        return lambda x: [np.pad(x[0], widths, "reflect")]
    return lambda x: [np.pad(x[0], widths, "symmetric")]


def _squares(inputs: Operands, attrs: Attributes) -> tuple[Shape, int]:
    assert isinstance(attrs, Block)
    if attrs.size < 1:
        raise ModelError(f"block_size is {attrs.size}; allowed: at least 1")
    return rank(need(inputs[0], "input"), "input", 4), attrs.size


def _infer_to_depth(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    (n, h, w, c), b = _squares(inputs, attrs)
    if h % b or w % b:
        raise ModelError(f"block_size is {b}; allowed: divisors of {h} and {w}")
    return ((n, h // b, w // b, c * b * b),)


def _move_to_depth(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    (n, h, w, c), b = _squares(inputs, attrs)
    (shape,) = _infer_to_depth(inputs, attrs, outputs)
    return lambda x: [x[0].reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5).reshape(shape)]


def _infer_from_depth(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    (n, h, w, c), b = _squares(inputs, attrs)
    if c % (b * b):
        raise ModelError(f"block_size is {b}; allowed: one whose square divides {c}")
    return ((n, h * b, w * b, c // (b * b)),)


def _move_from_depth(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    (n, h, w, c), b = _squares(inputs, attrs)
    (shape,) = _infer_from_depth(inputs, attrs, outputs)
    return lambda x: [x[0].reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5).reshape(shape)]


def _blocks(inputs: Operands, what: str) -> tuple[Shape, Shape, Widths]:
    """Input shape, block sizes and ``(before, after)`` of each blocked axis."""
    shape, block = rank(need(inputs[0], "input"), "input", 3, 4), vector(inputs[1], "block_shape")
    flat = vector(inputs[2], what)
    if len(block) != len(shape) - 2 or len(flat) != 2 * len(block) or min((*block, *(p + 1 for p in flat))) < 1:
        raise ModelError(f"block_shape {list(block)} and {what} {list(flat)} do not fit {list(shape)}")
    return shape, block, tuple(zip(flat[::2], flat[1::2], strict=True))


def batch_paddings(inputs: Operands) -> Widths:
    """``((before, after), ...)`` for each axis of a SPACE_TO_BATCH_ND."""
    return ((0, 0), *_blocks(inputs, "paddings")[2], (0, 0))


def _infer_to_batch(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape, block, _ = _blocks(inputs, "paddings")
    n, *space, c = _wider(shape, batch_paddings(inputs))
    if any(s % b for s, b in zip(space, block, strict=True)):
        raise ModelError(f"block_shape is {list(block)}; allowed: divisors of the padded sizes {space}")
    return ((n * math.prod(block), *(s // b for s, b in zip(space, block, strict=True)), c),)


def to_batch(inputs: Operands, x: Array) -> Array:
    """The padded input of a SPACE_TO_BATCH_ND with its blocks along the first axis."""
    _, block, _ = _blocks(inputs, "paddings")
    (shape,) = _infer_to_batch(inputs, Attributes(), 1)
    split = [v for s, b in zip(x.shape[1:-1], block, strict=True) for v in (s // b, b)]
    k = len(block)
    inner, outer = range(2, 2 * k + 1, 2), range(1, 2 * k, 2)
    order = (*inner, 0, *outer, 2 * k + 1)
    return x.reshape(x.shape[0], *split, x.shape[-1]).transpose(order).reshape(shape)


def _move_from_batch(inputs: Operands, attrs: Attributes, outputs: int) -> Moved:
    shape, block, crops = _blocks(inputs, "crops")
    n, space, k = shape[0] // math.prod(block), shape[1:-1], len(block)
    if shape[0] % math.prod(block) or any(sum(c) > s * b for c, s, b in zip(crops, space, block, strict=True)):
        raise ModelError(f"block_shape {list(block)} and crops {list(crops)} do not fit {list(shape)}")
    order = (k, *(v for i in range(k) for v in (k + 1 + i, i)), 2 * k + 1)
    whole = tuple(s * b for s, b in zip(space, block, strict=True))
    kept = (slice(None), *(slice(a, s - b) for s, (a, b) in zip(whole, crops, strict=True)))
    return lambda x: [x[0].reshape(*block, n, *space, shape[-1]).transpose(order).reshape(n, *whole, shape[-1])[kept]]


_ANY: tuple[str, ...] = ()
_INDEX = ("int32", "int64")
_BLOCKED = ("int8", "uint8", "int32", "int64", "float32")
SPECS = (
    OpSpec("PAD", Attributes, _infer_pad, copy_work, 2, 2, dtypes=(_ANY, _INDEX), move=_move_pad),
    OpSpec("PADV2", Attributes, _infer_pad, copy_work, 3, 3, dtypes=(_ANY, _INDEX, _ANY), move=_move_pad),
    OpSpec("MIRROR_PAD", MirrorPad, _infer_mirror, copy_work, 2, 2, dtypes=(_ANY, _INDEX), move=_move_mirror),
    OpSpec("SPACE_TO_DEPTH", Block, _infer_to_depth, copy_work, dtypes=(_BLOCKED,), move=_move_to_depth),
    OpSpec("DEPTH_TO_SPACE", Block, _infer_from_depth, copy_work, dtypes=(_BLOCKED,), move=_move_from_depth),
    OpSpec("SPACE_TO_BATCH_ND", Attributes, _infer_to_batch, copy_work, 3, 3, dtypes=(_ANY, ("int32",))),
    OpSpec(
        "BATCH_TO_SPACE_ND",
        Attributes,
        moved_shapes(_move_from_batch),
        copy_work,
        3,
        3,
        dtypes=(_ANY, ("int32",)),
        move=_move_from_batch,
    ),
)
