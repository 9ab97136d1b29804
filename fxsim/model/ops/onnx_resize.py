"""Resize of ONNX: attributes, output shape, work."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.ops.base import Attributes, Operands, need, normal_axis, vector
from fxsim.model.ops.onnx_base import ANY, REAL, OnnxSpec, at
from fxsim.model.qtype import Shape
from fxsim.model.work import Work

Mode = Literal["nearest", "linear", "cubic"]
Place = Literal["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
Nearest = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@dataclass(frozen=True, slots=True)
class OnnxResize(Attributes):
    """Resize. ``place`` says where output pixels lie on input pixels, ``nearest`` how a position becomes a pixel.

    ``cubic`` is the coefficient of the cubic kernel, whose weights outside of the image are dropped with ``exclude``.
    """

    mode: Mode = "nearest"
    place: Place = "half_pixel"
    nearest: Nearest = "round_prefer_floor"
    axes: tuple[int, ...] = ()
    cubic: float = -0.75
    exclude: bool = False


def scales(inputs: Operands, attrs: OnnxResize) -> tuple[Shape, tuple[float, ...]]:
    """The output shape, and the output pixels for an input pixel along each axis.

    Raises:
        ModelError: if the sizes do not fit the input.
    """
    x = need(inputs[0], "input")
    n = len(x.shape)
    axes = [normal_axis(a, n) for a in attrs.axes] or list(range(n))
    factors, sizes = at(inputs, 2), at(inputs, 3)
    given = [t for t in (factors, sizes) if t is not None and t.elements]
    if len(given) != 1 or given[0].elements != len(axes) or len(set(axes)) != len(axes) or not x.elements:
        raise ModelError(
            f"scales and sizes are for {len(axes)} axes of {list(x.shape)}; allowed: one of the two, one value an axis"
        )
    if given[0].data is None:
        raise UnsupportedOp(f"input {given[0].name!r} is computed at run time; supported: constants")
    shape, ratio = list(x.shape), [1.0] * n
    values = (
        [int(v) for v in vector(sizes, "sizes")]
        if given[0] is sizes
        else np.asarray(given[0].data, np.float32).tolist()
    )
    for axis, value in zip(axes, values, strict=True):
        if not value > 0 or value * (shape[axis] if given[0] is factors else 1) > 1 << 24:
            raise ModelError(f"scales or sizes are {values}; allowed: above 0")
        ratio[axis] = value / shape[axis] if given[0] is sizes else value
        shape[axis] = int(value) if given[0] is sizes else math.floor(shape[axis] * value)
    if min(shape) < 1:
        raise ModelError(f"the output has shape {shape}; allowed: sizes of at least 1")
    return tuple(shape), tuple(ratio)


def _infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, OnnxResize)
    return (scales(inputs, attrs)[0],)


def _work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """Along each axis that changes, two products and a sum an output element; four products in cubic mode."""
    assert isinstance(attrs, OnnxResize)
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    steps = {"nearest": 0, "linear": 3, "cubic": 7}[attrs.mode] * sum(
        a != b for a, b in zip(x.shape, out.shape, strict=True)
    )
    return Work(
        "elementwise" if steps else "copy",
        elements=out.elements,
        element_ops=steps * out.elements,
        input_bytes=x.nbytes,
        output_bytes=out.nbytes,
        activation_bits=out.qtype.bits,
    )


SPECS = (
    OnnxSpec(
        "Resize", OnnxResize, _infer, _work, 1, 4,
        shape_inputs=(1, 2, 3), dtypes=((*ANY,), REAL, REAL, ("int64",)),
    ),
)  # fmt: skip
