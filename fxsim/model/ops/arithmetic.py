"""Arithmetic of two tensors, element by element: attributes, output shapes, work."""

from dataclasses import dataclass, replace

from fxsim.model.ops.base import Activated, Attributes, Operands, OpSpec, broadcast, elementwise_work, need
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Sum(Activated):
    """ADD and SUB. ``pot_scale_int16``: 16-bit tensors whose scales are powers of two are shifted, not rescaled."""

    pot_scale_int16: bool = True


def infer_broadcast(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    """Output shape = the common shape of all inputs."""
    shape: Shape = ()
    for i, t in enumerate(inputs):
        shape = broadcast(shape, need(t, f"input {i}").shape)
    return (shape,)


def unscaled_work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """One step for each output element, and no rescale: the raw integers are what the op works on."""
    return replace(elementwise_work(inputs, outputs, attrs), requantized=0)


def _squared_work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """A difference and its square for each output element."""
    work = elementwise_work(inputs, outputs, attrs)
    return replace(work, element_ops=2 * work.elements)


_QUANTIZED = ("int8", "uint8", "int16")
_PLAIN = ("float32", "int32")
_ALL = (*_QUANTIZED, *_PLAIN, "int64")
SPECS = (
    OpSpec("ADD", Sum, infer_broadcast, elementwise_work, 2, 2, dtypes=(_ALL,)),
    OpSpec("SUB", Sum, infer_broadcast, elementwise_work, 2, 2, dtypes=(_ALL,)),
    OpSpec("MUL", Activated, infer_broadcast, elementwise_work, 2, 2, dtypes=(_ALL,)),
    OpSpec("DIV", Activated, infer_broadcast, elementwise_work, 2, 2, dtypes=((*_QUANTIZED, *_PLAIN),)),
    OpSpec(
        "SQUARED_DIFFERENCE", Attributes, infer_broadcast, _squared_work, 2, 2, dtypes=(("int8", "int16", *_PLAIN),)
    ),
    OpSpec("MAXIMUM", Attributes, infer_broadcast, unscaled_work, 2, 2, dtypes=(_ALL,)),
    OpSpec("MINIMUM", Attributes, infer_broadcast, unscaled_work, 2, 2, dtypes=(_ALL,)),
    OpSpec("FLOOR_DIV", Attributes, infer_broadcast, unscaled_work, 2, 2, dtypes=(("int8", "int16", *_PLAIN),)),
    OpSpec(
        "FLOOR_MOD", Attributes, infer_broadcast, unscaled_work, 2, 2, dtypes=(("int8", "int16", *_PLAIN, "int64"),)
    ),
)
