"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: attributes, output shape, work."""

from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, OpSpec, WorkFn, need, rank, vector
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Resize(Attributes):
    """How output pixels lie on input pixels: corner on corner, centre on centre, or (neither) first on first."""

    align_corners: bool = False
    half_pixel_centers: bool = False


def _infer_resize(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    n, h, w, c = rank(need(inputs[0], "input"), "input", 4)
    size = vector(inputs[1], "size", 2)
    if len(size) != 2 or min(size) < 1 or min(h, w) < 1:
        raise ModelError(f"size is {list(size)} for an input of {h}x{w}; allowed: two values of at least 1")
    return ((n, *size, c),)


def _work(steps: int) -> WorkFn:
    """Work of ``steps`` multiplications and additions for each output element."""

    def work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
        x, out = need(inputs[0], "input"), need(outputs[0], "output")
        return Work(
            "elementwise" if steps else "copy",
            elements=out.elements,
            element_ops=steps * out.elements,
            input_bytes=x.nbytes,
            output_bytes=out.nbytes,
            activation_bits=out.qtype.bits,
        )

    return work


_INT = ("int8", "uint8", "int16")
_BILINEAR = 11
"""eight products and three sums"""
SPECS = (
    OpSpec("RESIZE_BILINEAR", Resize, _infer_resize, _work(_BILINEAR), 2, 2, dtypes=((*_INT, "float32"), ("int32",))),
    OpSpec(
        "RESIZE_NEAREST_NEIGHBOR",
        Resize,
        _infer_resize,
        _work(0),
        2,
        2,
        dtypes=((*_INT, "int32", "float32"), ("int32",)),
    ),
)
