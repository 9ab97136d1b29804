"""Reductions along axes, and running sums: attributes, output shapes, work."""

import math
from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import (
    Attributes,
    Operands,
    OpSpec,
    WorkFn,
    need,
    normal_axis,
    same_shape,
    total_bytes,
    vector,
)
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Reduce(Attributes):
    """A reduction, whose axes stay as ones with ``keep_dims``."""

    keep_dims: bool = False


@dataclass(frozen=True, slots=True)
class CumSum(Attributes):
    """CUMSUM: whether an element's own value is left out, and whether sums run from the end."""

    exclusive: bool = False
    reverse: bool = False


def reduced_axes(inputs: Operands) -> tuple[int, ...]:
    """The axes that are reduced, sorted, without repeats."""
    n = len(need(inputs[0], "input").shape)
    return tuple(sorted({normal_axis(a, n) for a in vector(inputs[1], "axis")}))


def one_axis(inputs: Operands) -> int:
    """The single axis that ARG_MAX, ARG_MIN and CUMSUM go along."""
    axes = vector(inputs[1], "axis")
    if len(axes) != 1:
        raise ModelError(f"axis has {len(axes)} values; allowed: 1")
    return normal_axis(axes[0], len(need(inputs[0], "input").shape))


def _infer_reduce(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Reduce)
    shape, axes = need(inputs[0], "input").shape, reduced_axes(inputs)
    if attrs.keep_dims:
        return (tuple(1 if i in axes else s for i, s in enumerate(shape)),)
    return (tuple(s for i, s in enumerate(shape) if i not in axes),)


def _infer_arg(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    shape, axis = need(inputs[0], "input").shape, one_axis(inputs)
    if not shape[axis]:
        raise ModelError(f"axis {axis} of the input is empty; allowed: at least 1")
    return (shape[:axis] + shape[axis + 1 :],)


def _infer_cumsum(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    one_axis(inputs)
    return same_shape(inputs, attrs, outputs)


def _work(rescale: str) -> WorkFn:
    """One step for each input element; ``rescale``: of each output, of each step, or none."""

    def work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
        x, out = need(inputs[0], "input"), need(outputs[0], "output")
        steps = math.prod(x.shape)
        rescaled = {"output": out.elements, "step": steps, "none": 0}[rescale] if x.quant is not None else 0
        return Work(
            "reduce",
            elements=out.elements,
            element_ops=steps,
            requantized=rescaled,
            input_bytes=x.nbytes,
            output_bytes=total_bytes(outputs),
            activation_bits=x.qtype.bits,
        )

    return work


_QUANTIZED = ("int8", "uint8", "int16")
_SUMMED = ("int32", "int64", "float32")
_AXES = ("int32",)


def _spec(op: str, rescale: str, *dtypes: str) -> OpSpec:
    return OpSpec(op, Reduce, _infer_reduce, _work(rescale), 2, 2, shape_inputs=(1,), dtypes=(dtypes, _AXES))


def _arg(op: str) -> OpSpec:
    types = ("int8", "uint8", "int32", "float32", "bool")
    return OpSpec(
        op, Attributes, _infer_arg, _work("none"), 2, 2, shape_inputs=(1,), dtypes=(types, ("int32", "int64"))
    )


SPECS = (
    _spec("MEAN", "output", *_QUANTIZED, *_SUMMED),
    _spec("SUM", "output", *_QUANTIZED, *_SUMMED),
    _spec("REDUCE_PROD", "step", "int8", "int16", *_SUMMED),
    _spec("REDUCE_MAX", "none", *_QUANTIZED, *_SUMMED),
    _spec("REDUCE_MIN", "none", *_QUANTIZED, *_SUMMED),
    _spec("REDUCE_ANY", "none", "bool"),
    _spec("REDUCE_ALL", "none", "bool"),
    _arg("ARG_MAX"),
    _arg("ARG_MIN"),
    OpSpec(
        "CUMSUM",
        CumSum,
        _infer_cumsum,
        _work("step"),
        2,
        2,
        shape_inputs=(1,),
        dtypes=(("int8", "int32", "int64", "float32"), _AXES),
    ),
)
