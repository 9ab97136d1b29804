"""What the ops of ONNX share: their spec also says the types of the outputs, since intermediate values need not be declared.

Nodes keep ONNX's own names and input positions; scales and zero points are inputs, constants in nearly every file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes, Operands, OpSpec, broadcast, need
from fxsim.model.qtype import FLOAT32, INT32, QType, Shape

TypesFn = Callable[[Operands, Attributes, int], tuple[QType, ...]]
"""inputs, attributes, number of outputs -> output types"""
INDEX = ("int32", "int64")
BYTE = ("int8", "uint8")
INTS = ("int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "int64")
REAL = ("float32",)
ANY = (*INTS, "float32", "bool")


def like_input(inputs: Operands, attributes: Attributes, outputs: int) -> tuple[QType, ...]:
    """Every output has the type of input 0."""
    return (need(inputs[0], "input").qtype,) * outputs


def always(*types: QType) -> TypesFn:
    """Outputs of fixed types."""
    return lambda inputs, attributes, outputs: types[:outputs]


def like(position: int, absent: QType = FLOAT32) -> TypesFn:
    """Outputs of the type of input ``position``, or of ``absent`` where that is left out."""

    def types(inputs: Operands, attributes: Attributes, outputs: int) -> tuple[QType, ...]:
        t = at(inputs, position)
        return (absent if t is None else t.qtype,) * outputs

    return types


@dataclass(frozen=True, slots=True)
class OnnxSpec(OpSpec):
    """An op of ONNX: an :class:`OpSpec` that also infers types, and where its scales and zero points are."""

    types: TypesFn = like_input
    params: tuple[tuple[int, int, int], ...] = ()
    """(data, scale, zero point) positions of each quantized input"""
    output_params: tuple[int, int] | None = None
    """(scale, zero point) positions that describe output 0"""


def at(inputs: Operands, position: int) -> Tensor | None:
    """The input at ``position``, or None if it is left out."""
    return inputs[position] if position < len(inputs) else None


def broadcast_all(inputs: Operands, *positions: int) -> Shape:
    """The common shape of the inputs at ``positions`` (of all, if none is named)."""
    shape: Shape = ()
    for i in positions or range(len(inputs)):
        shape = broadcast(shape, need(at(inputs, i), f"input {i}").shape)
    return shape


def params(t: Tensor | None, what: str, most: int) -> int:
    """The number of values of a scale or zero point: 1, or ``most``; 0 where it is left out.

    Raises:
        ModelError: on another number.
    """
    if t is None:
        return 0
    if t.elements not in (1, most) or len(t.shape) > 1:
        raise ModelError(f"{what} {t.name!r} has shape {list(t.shape)}; allowed: one value or [{most}]")
    return t.elements


def one(inputs: Operands, **positions: int) -> None:
    """Holds the named inputs to one value each, where present."""
    for what, i in positions.items():
        params(at(inputs, i), what, 1)


def same_type(inputs: Operands, *positions: int) -> None:
    """Holds the inputs at ``positions`` that are present to one type.

    Raises:
        ModelError: if two differ.
    """
    present = [t for i in positions if (t := at(inputs, i)) is not None]
    for t in present[1:]:
        if t.qtype != present[0].qtype:
            raise ModelError(
                f"{t.name!r} is {t.qtype.name}, {present[0].name!r} is {present[0].qtype.name}; allowed: one type"
            )


def scalar(t: Tensor | None, what: str) -> float:
    """The value of a constant of one element."""
    t = need(t, what)
    if t.data is None:
        raise UnsupportedOp(f"{what} {t.name!r} is computed at run time; supported: constants")
    if t.data.size != 1:
        raise ModelError(f"{what} {t.name!r} has shape {list(t.shape)}; allowed: one value")
    return float(np.asarray(t.data).reshape(()))


def int32_out(inputs: Operands, attributes: Attributes, outputs: int) -> tuple[QType, ...]:
    """One int32 output."""
    return (INT32,)
