"""AVERAGE_POOL_2D and MAX_POOL_2D: attributes, output shapes, work."""

from dataclasses import dataclass

from fxsim.model.ops.base import Attributes, Operands, OpSpec, need, rank
from fxsim.model.ops.conv import Window
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work


@dataclass(frozen=True, slots=True)
class Pool2D(Window):
    """AVERAGE_POOL_2D and MAX_POOL_2D over ``(N, H, W, C)``."""

    kernel_h: int = 1
    kernel_w: int = 1


def pool_geometry(inputs: Operands, attrs: Pool2D) -> Geometry:
    """The loop bounds of a pooling layer."""
    n, h, w, c = rank(need(inputs[0], "input"), "input", 4)
    oh, ow, _, _ = attrs.output(h, w, attrs.kernel_h, attrs.kernel_w)
    return Geometry(n, h, w, c, oh, ow, c, attrs.kernel_h, attrs.kernel_w, attrs.stride_h, attrs.stride_w, groups=c)


def infer_pool(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    """The output shape of a pooling layer."""
    assert isinstance(attrs, Pool2D)
    g = pool_geometry(inputs, attrs)
    return ((g.batch, g.out_h, g.out_w, g.out_c),)


def work_pool(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """One step for each cell of each window."""
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


SPECS = (
    OpSpec("AVERAGE_POOL_2D", Pool2D, infer_pool, work_pool, dtypes=(("int8", "uint8", "int16", "float32"),)),
    OpSpec("MAX_POOL_2D", Pool2D, infer_pool, work_pool, dtypes=(("int8", "uint8", "int16", "float32"),)),
)
