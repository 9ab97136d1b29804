"""What the model floor knows of an op: its attributes, its output shapes and the work it does.

An op is one :class:`OpSpec` in a file of this package and a binding of the same file name under ``fxsim/sim``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fxsim.errors import ModelError
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array, Shape
from fxsim.model.work import Work

Activation = Literal["NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT"]


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of an op that has none; base of all others."""


@dataclass(frozen=True, slots=True)
class Unread(Attributes):
    """The attributes of a layer whose options say something that fxsim does not know."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Activated(Attributes):
    """An op with a fused activation."""

    activation: Activation = "NONE"


Operands = list[Tensor | None]
InferFn = Callable[[Operands, Attributes, int], tuple[Shape, ...]]
"""inputs, attributes, number of outputs -> output shapes"""
WorkFn = Callable[[Operands, Operands, Attributes], Work]
Arrays = Sequence[Array]
Moved = Callable[[Arrays], Arrays]
MoveFn = Callable[[Operands, Attributes, int], Moved]
"""inputs, attributes, number of outputs -> a function on the inputs' values that brings them to their places"""


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One op: how many inputs it takes, and two functions on shapes."""

    name: str
    attributes: type[Attributes]
    infer: InferFn
    work: WorkFn
    min_inputs: int = 1
    max_inputs: int = 1
    min_outputs: int = 1
    max_outputs: int = 1
    shape_inputs: tuple[int, ...] = ()
    """positions of inputs whose values set the output shape: they must be constants or folded"""
    dtypes: tuple[tuple[str, ...], ...] = ()
    """what each input may hold, by position (the last entry serves the rest); empty: anything"""
    move: MoveFn | None = None
    """for an op that brings values to other places and computes none: how, for the simulator and for constants"""
    data_input: int = 0
    """position of the input by whose type a numerics profile tells layers apart"""


def need(operand: Tensor | None, what: str) -> Tensor:
    """The operand, or a ModelError that says which is missing."""
    if operand is None:
        raise ModelError(f"{what} is missing")
    return operand


def rank(t: Tensor, what: str, *allowed: int) -> Shape:
    """The shape of ``t``, whose rank must be one of ``allowed``."""
    if len(t.shape) not in allowed:
        raise ModelError(
            f"{what} {t.name!r} has shape {list(t.shape)}; allowed rank: {' or '.join(str(a) for a in allowed)}"
        )
    return t.shape


def vector(t: Tensor | None, what: str, limit: int = 64) -> tuple[int, ...]:
    """The values of a small constant integer tensor."""
    t = need(t, what)
    if t.data is None:
        raise ModelError(f"{what} {t.name!r} is computed at run time; fxsim needs a constant there")
    if t.qtype.kind != "int" or t.data.size > limit:
        raise ModelError(f"{what} {t.name!r} is {t.qtype.name} {list(t.shape)}; allowed: at most {limit} integers")
    return tuple(int(v) for v in np.asarray(t.data).reshape(-1))


def broadcast(a: Shape, b: Shape) -> Shape:
    """The common shape of two operands by the usual rule: sizes are equal or 1, aligned at the last axis."""
    n = max(len(a), len(b))
    result = []
    for x, y in zip((1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b, strict=True):
        if len({x, y} - {1}) > 1:
            raise ModelError(f"shapes {list(a)} and {list(b)} do not broadcast")
        result.append(y if x == 1 else x)
    return tuple(result)


def same_shape(inputs: Operands, attributes: Attributes, outputs: int) -> tuple[Shape, ...]:
    """Output shape = shape of input 0."""
    return (need(inputs[0], "input").shape,)


def moved_shapes(move: MoveFn) -> InferFn:
    """Output shapes = what ``move`` makes of arrays that take no memory; for moves that only take views."""

    def infer(inputs: Operands, attributes: Attributes, outputs: int) -> tuple[Shape, ...]:
        blanks = [np.broadcast_to(np.int8(0), need(t, f"input {i}").shape) for i, t in enumerate(inputs)]
        return tuple(a.shape for a in move(inputs, attributes, outputs)(blanks))

    return infer


def normal_axis(axis: int, n: int, what: str = "axis") -> int:
    """``axis`` counted from 0."""
    if not -n <= axis < n:
        raise ModelError(f"{what} is {axis}; allowed: {-n}..{n - 1}")
    return axis % n


def total_bytes(operands: Operands, *, constant: bool | None = None) -> int:
    """Bytes of all operands that are present; of constants or non-constants only, if asked."""
    return sum(t.nbytes for t in operands if t is not None and (constant is None or t.constant == constant))


def rescales(source: Tensor, target: Tensor) -> bool:
    """True if values must be rescaled on their way from ``source`` to ``target``."""
    return source.quant != target.quant or source.qtype != target.qtype


def elementwise_work(inputs: Operands, outputs: Operands, attributes: Attributes) -> Work:
    """One arithmetic step and one rescale for each output element."""
    out = need(outputs[0], "output")
    return Work(
        "elementwise",
        elements=out.elements,
        element_ops=out.elements * max(1, len(inputs) - 1),
        requantized=out.elements if out.quant is not None else 0,
        input_bytes=total_bytes(inputs, constant=False),
        weight_bytes=total_bytes(inputs, constant=True),
        output_bytes=total_bytes(outputs),
        activation_bits=out.qtype.bits,
    )


def lookup_work(inputs: Operands, outputs: Operands, attributes: Attributes) -> Work:
    """One table read or transcendental for each output element."""
    out = need(outputs[0], "output")
    return Work(
        "lookup",
        elements=out.elements,
        element_ops=out.elements,
        input_bytes=total_bytes(inputs),
        output_bytes=total_bytes(outputs),
        activation_bits=out.qtype.bits,
    )


def copy_work(inputs: Operands, outputs: Operands, attributes: Attributes) -> Work:
    """Bytes in, bytes out; a rescale where an input has another quantization than the output."""
    out = need(outputs[0], "output")
    data = [t for t in inputs if t is not None and t.qtype == out.qtype]
    return Work(
        "copy",
        elements=sum(t.elements for t in outputs if t is not None),
        requantized=sum(t.elements for t in data if rescales(t, out)),
        input_bytes=total_bytes(list(data)),
        output_bytes=total_bytes(outputs),
        activation_bits=out.qtype.bits,
    )


def no_work(inputs: Operands, outputs: Operands, attributes: Attributes) -> Work:
    """Nothing at run time: a view, a handle, or bookkeeping."""
    return Work("none")
