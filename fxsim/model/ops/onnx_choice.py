"""Comparisons, logic and choices of ONNX."""

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, elementwise_work, need, same_shape
from fxsim.model.ops.onnx_base import ANY, OnnxSpec, always, broadcast_all, like, same_type
from fxsim.model.qtype import BOOL, Shape


def _infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    same_type(inputs, 0, 1)
    return (broadcast_all(inputs),)


def _infer_where(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    same_type(inputs, 1, 2)
    if need(inputs[0], "condition").qtype != BOOL:
        raise ModelError(f"condition is {need(inputs[0], 'condition').qtype.name}; allowed: bool")
    return (broadcast_all(inputs),)


_BOOL = ("bool",)
SPECS = (
    *(
        OnnxSpec(op, Attributes, _infer, elementwise_work, 2, 2, dtypes=(ANY,), types=always(BOOL))
        for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
    ),
    *(
        OnnxSpec(op, Attributes, _infer, elementwise_work, 2, 2, dtypes=(_BOOL,), types=always(BOOL))
        for op in ("And", "Or", "Xor")
    ),
    OnnxSpec("Not", Attributes, same_shape, elementwise_work, dtypes=(_BOOL,), types=always(BOOL)),
    OnnxSpec("Where", Attributes, _infer_where, elementwise_work, 3, 3, dtypes=(_BOOL, ANY), types=like(1)),
)
