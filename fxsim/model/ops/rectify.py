"""Functions of single elements that are straight on both sides of zero: attributes, output shapes, work."""

from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.arithmetic import unscaled_work
from fxsim.model.ops.base import Attributes, Operands, OpSpec, broadcast, elementwise_work, need, same_shape
from fxsim.model.qtype import Shape


@dataclass(frozen=True, slots=True)
class LeakyRelu(Attributes):
    """LEAKY_RELU: the slope below zero, a float32."""

    alpha: float = 0.0


def _infer_prelu(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x, alpha = need(inputs[0], "input").shape, need(inputs[1], "alpha").shape
    if broadcast(x, alpha) != x:
        raise ModelError(f"alpha of shape {list(alpha)} does not fit the input of shape {list(x)}")
    return (x,)


_INT = ("int8", "uint8", "int16")
_BYTE = ("int8", "uint8", "float32")
_ANY = (*_INT, "float32")
SPECS = (
    OpSpec("RELU", Attributes, same_shape, elementwise_work, dtypes=(_ANY,)),
    OpSpec("RELU6", Attributes, same_shape, elementwise_work, dtypes=(_ANY,)),
    OpSpec("RELU_N1_TO_1", Attributes, same_shape, elementwise_work, dtypes=(_BYTE,)),
    OpSpec("RELU_0_TO_1", Attributes, same_shape, elementwise_work, dtypes=(_BYTE,)),
    OpSpec("LEAKY_RELU", LeakyRelu, same_shape, elementwise_work, dtypes=(_ANY,)),
    OpSpec("PRELU", Attributes, _infer_prelu, elementwise_work, 2, 2, dtypes=(_ANY,)),
    OpSpec("ABS", Attributes, same_shape, elementwise_work, dtypes=(("int8", "int16", "int32", "float32"),)),
    OpSpec("NEG", Attributes, same_shape, unscaled_work, dtypes=(("int8", "int16", "int32", "int64", "float32"),)),
)
