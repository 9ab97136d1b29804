"""Functions of whole rows, the last axis: SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION."""

from dataclasses import dataclass, replace

from fxsim.model.ops.base import (
    Activated,
    Attributes,
    Operands,
    OpSpec,
    elementwise_work,
    need,
    same_shape,
    total_bytes,
)
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Softmax(Attributes):
    """SOFTMAX along the last axis of ``exp(beta * x)``."""

    beta: float = 1.0


def _work_softmax(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """An exponential, a sum and a product an element; for 16 bits the exponential is interpolated, which takes three."""
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    return Work(
        "softmax",
        elements=out.elements,
        element_ops=(5 if x.qtype.bits == 16 else 3) * out.elements,
        requantized=out.elements,
        input_bytes=x.nbytes,
        output_bytes=total_bytes(outputs),
        activation_bits=x.qtype.bits,
    )


def _work_normalize(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """A square and a sum an element, then its product with the row's factor."""
    work = elementwise_work(inputs, outputs, attrs)
    return replace(work, element_ops=3 * work.elements)


SPECS = (
    OpSpec("SOFTMAX", Softmax, same_shape, _work_softmax, dtypes=(("int8", "uint8", "int16", "float32"),)),
    OpSpec("LOG_SOFTMAX", Attributes, same_shape, _work_softmax, dtypes=(("int8", "uint8", "float32"),)),
    OpSpec("L2_NORMALIZATION", Activated, same_shape, _work_normalize, dtypes=(("int8", "uint8", "float32"),)),
)
