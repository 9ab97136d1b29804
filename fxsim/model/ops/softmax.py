"""SOFTMAX: attributes, output shape, work."""

from dataclasses import dataclass

from fxsim.model.ops.base import Attributes, Operands, OpSpec, need, same_shape, total_bytes
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Softmax(Attributes):
    """SOFTMAX along the last axis of ``exp(beta * x)``."""

    beta: float = 1.0


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


SPECS = (OpSpec("SOFTMAX", Softmax, same_shape, _work_softmax, dtypes=(("int8", "uint8", "int16"),)),)
