"""BATCH_MATMUL: attributes, output shape, work.

Inputs: ``(..., M, K)`` and ``(..., K, N)``, each with its last two axes swapped where the attributes say so; leading axes
broadcast.
"""

from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.ops.base import Attributes, Operands, OpSpec, broadcast, need, total_bytes
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work

MAX_RANK = 5


@dataclass(frozen=True, slots=True)
class BatchMatMul(Attributes):
    """BATCH_MATMUL: ``adj_x`` and ``adj_y`` say which input lies with its last two axes swapped."""

    adj_x: bool = False
    adj_y: bool = False


def matmul_shape(inputs: Operands, attrs: BatchMatMul) -> tuple[Shape, int]:
    """The output shape, and the number of products that make one output."""
    x, w = need(inputs[0], "left input"), need(inputs[1], "right input")
    for t in (x, w):
        if not 2 <= len(t.shape) <= MAX_RANK or min(t.shape) < 1:
            raise ModelError(f"input {t.name!r} has shape {list(t.shape)}; allowed: 2 to {MAX_RANK} axes, none empty")
    rows, inner = x.shape[-2:][::-1] if attrs.adj_x else x.shape[-2:]
    other, columns = w.shape[-2:][::-1] if attrs.adj_y else w.shape[-2:]
    if inner != other:
        raise ModelError(f"inputs of {inner} and {other} products; allowed: equal numbers")
    return (*broadcast(x.shape[:-2], w.shape[:-2]), rows, columns), inner


def _infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, BatchMatMul)
    return (matmul_shape(inputs, attrs)[0],)


def _work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    assert isinstance(attrs, BatchMatMul)
    _, inner = matmul_shape(inputs, attrs)
    x, out = need(inputs[0], "left input"), need(outputs[0], "output")
    rows = out.elements // out.shape[-1]
    return Work(
        "dense",
        macs=out.elements * inner,
        elements=out.elements,
        requantized=out.elements if out.quant is not None else 0,
        input_bytes=total_bytes(inputs, constant=False),
        weight_bytes=total_bytes(inputs, constant=True),
        output_bytes=out.nbytes,
        activation_bits=x.qtype.bits,
        geometry=Geometry(1, 1, rows, inner, 1, rows, out.shape[-1]),
    )


_TYPES = (("int8", "int16", "float32"),) * 2
SPECS = (OpSpec("BATCH_MATMUL", BatchMatMul, _infer, _work, 2, 2, dtypes=_TYPES),)
