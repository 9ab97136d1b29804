"""ADD, MUL, SOFTMAX, LOGISTIC, QUANTIZE and DEQUANTIZE: attributes, output shapes, work."""

from dataclasses import dataclass

from fxsim.model.ops.base import (
    Activated,
    Attributes,
    Operands,
    OpSpec,
    broadcast,
    elementwise_work,
    lookup_work,
    need,
    same_shape,
    total_bytes,
)
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Softmax(Attributes):
    """SOFTMAX along the last axis of ``exp(beta * x)``."""

    beta: float = 1.0


def _infer_binary(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return (broadcast(need(inputs[0], "input 0").shape, need(inputs[1], "input 1").shape),)


def _work_softmax(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    return Work(
        "softmax",
        elements=out.elements,
        element_ops=3 * out.elements,
        requantized=out.elements,
        input_bytes=x.nbytes,
        output_bytes=total_bytes(outputs),
        activation_bits=x.qtype.bits,
    )


_INT = ("int8", "uint8", "int16")
SPECS = (
    OpSpec("ADD", Activated, _infer_binary, elementwise_work, 2, 2, dtypes=(_INT,)),
    OpSpec("MUL", Activated, _infer_binary, elementwise_work, 2, 2, dtypes=(_INT,)),
    OpSpec("SOFTMAX", Softmax, same_shape, _work_softmax, dtypes=(_INT,)),
    OpSpec("LOGISTIC", Attributes, same_shape, lookup_work, dtypes=(_INT,)),
    OpSpec("QUANTIZE", Attributes, same_shape, elementwise_work, dtypes=((*_INT, "int32", "float32"),)),
    OpSpec("DEQUANTIZE", Attributes, same_shape, elementwise_work, dtypes=((*_INT, "int32"),)),
)
