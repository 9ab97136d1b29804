"""AVERAGE_POOL_2D, MAX_POOL_2D and MEAN: attributes, output shapes, work."""

import math
from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, OpSpec, need, rank, total_bytes, vector
from fxsim.model.ops.conv import Window
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work


@dataclass(frozen=True, slots=True)
class Pool2D(Window):
    """AVERAGE_POOL_2D and MAX_POOL_2D over ``(N, H, W, C)``."""

    kernel_h: int = 1
    kernel_w: int = 1


@dataclass(frozen=True, slots=True)
class Reduce(Attributes):
    """MEAN."""

    keep_dims: bool = False


def pool_geometry(inputs: Operands, attrs: Pool2D) -> Geometry:
    """The loop bounds of a pooling layer."""
    n, h, w, c = rank(need(inputs[0], "input"), "input", 4)
    oh, ow, _, _ = attrs.output(h, w, attrs.kernel_h, attrs.kernel_w)
    return Geometry(n, h, w, c, oh, ow, c, attrs.kernel_h, attrs.kernel_w, attrs.stride_h, attrs.stride_w, groups=c)


def _infer_pool(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Pool2D)
    g = pool_geometry(inputs, attrs)
    return ((g.batch, g.out_h, g.out_w, g.out_c),)


def _work_pool(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    assert isinstance(attrs, Pool2D)
    g = pool_geometry(inputs, attrs)
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    return Work(
        "pool",
        elements=out.elements,
        element_ops=g.outputs * g.window,
        input_bytes=x.nbytes,
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
        geometry=g,
    )


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
    OpSpec("AVERAGE_POOL_2D", Pool2D, _infer_pool, _work_pool, dtypes=(("int8", "uint8", "int16"),)),
    OpSpec("MAX_POOL_2D", Pool2D, _infer_pool, _work_pool, dtypes=(("int8", "uint8", "int16"),)),
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
