"""MEAN: attributes, output shape, work."""

import math
from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, OpSpec, need, total_bytes, vector
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Reduce(Attributes):
    """MEAN."""

    keep_dims: bool = False


def reduced_axes(inputs: Operands) -> tuple[int, ...]:
    """The axes that MEAN reduces, sorted, without repeats."""
    n = len(need(inputs[0], "input").shape)
    axes = vector(inputs[1], "axis")
    for a in axes:
        if not -n <= a < n:
            raise ModelError(f"axis is {a}; allowed: {-n}..{n - 1}")
    return tuple(sorted({a % n for a in axes}))


def _infer_reduce(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Reduce)
    shape, axes = need(inputs[0], "input").shape, reduced_axes(inputs)
    if attrs.keep_dims:
        return (tuple(1 if i in axes else s for i, s in enumerate(shape)),)
    return (tuple(s for i, s in enumerate(shape) if i not in axes),)


def _work_reduce(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    return Work(
        "reduce",
        elements=out.elements,
        element_ops=math.prod(x.shape),
        requantized=out.elements,
        input_bytes=x.nbytes,
        output_bytes=total_bytes(outputs),
        activation_bits=x.qtype.bits,
    )


SPECS = (
    OpSpec(
        "MEAN",
        Reduce,
        _infer_reduce,
        _work_reduce,
        2,
        2,
        shape_inputs=(1,),
        dtypes=(("int8", "uint8", "int16"), ("int32",)),
    ),
)
