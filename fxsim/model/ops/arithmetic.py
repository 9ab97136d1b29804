"""ADD and MUL: attributes, output shapes, work."""

from fxsim.model.ops.base import Activated, Attributes, Operands, OpSpec, broadcast, elementwise_work, need
from fxsim.model.qtype import Shape


def _infer_binary(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return (broadcast(need(inputs[0], "input 0").shape, need(inputs[1], "input 1").shape),)


_INT = ("int8", "uint8", "int16")
SPECS = (
    OpSpec("ADD", Activated, _infer_binary, elementwise_work, 2, 2, dtypes=(_INT,)),
    OpSpec("MUL", Activated, _infer_binary, elementwise_work, 2, 2, dtypes=(_INT,)),
)
