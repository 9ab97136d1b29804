"""MatMul, Gemm and their integer forms in ONNX: attributes, output shapes, work.

``MatMul``: ``(..., M, K) x (..., K, N)`` with numpy's rules; ``Gemm``: ``alpha * A' @ B' + beta * C`` on matrices.
"""

from dataclasses import dataclass

from fxsim.errors import ModelError
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes, InferFn, Operands, WorkFn, broadcast, need, rank, total_bytes
from fxsim.model.ops.onnx_base import BYTE, REAL, OnnxSpec, always, at, int32_out, like, one, params, same_type
from fxsim.model.qtype import FLOAT32, Shape
from fxsim.model.work import Geometry, Work


@dataclass(frozen=True, slots=True)
class Gemm(Attributes):
    """Gemm and QGemm."""

    alpha: float = 1.0
    beta: float = 1.0
    transpose_a: bool = False
    transpose_b: bool = False


@dataclass(frozen=True, slots=True)
class Operand:
    """Where an op holds its two factors, its bias and what describes the weight."""

    weight: int
    bias: int = 99
    weight_scale: int = 99
    weight_zero: int = 99
    input_zero: int = 99
    single: tuple[int, ...] = ()
    """positions of one value each"""


PLACES = {
    "MatMul": Operand(1),
    "Gemm": Operand(1, 2),
    "MatMulInteger": Operand(1, weight_zero=3, input_zero=2, single=(2,)),
    "QLinearMatMul": Operand(3, weight_scale=4, weight_zero=5, input_zero=2, single=(1, 2, 6, 7)),
    "QGemm": Operand(3, 6, 4, 5, 2, single=(1, 2, 7, 8)),
    "MatMulIntegerToFloat": Operand(1, 6, 3, 5, 4, single=(2, 4)),
}


def factors(op: str, inputs: Operands, attrs: Attributes) -> tuple[Tensor, Tensor, Shape, Shape]:
    """The two factors, and their shapes as matrices ``(..., M, K)`` and ``(..., K, N)``."""
    x, w = need(inputs[0], "input"), need(at(inputs, PLACES[op].weight), "weight")
    if isinstance(attrs, Gemm):
        rank(x, "input", 2)
        rank(w, "weight", 2)
        return x, w, x.shape[::-1] if attrs.transpose_a else x.shape, w.shape[::-1] if attrs.transpose_b else w.shape
    if not x.shape or not w.shape:
        raise ModelError(
            f"{x.name!r} and {w.name!r} have shapes {list(x.shape)}, {list(w.shape)}; allowed: rank 1 or more"
        )
    a = x.shape if len(x.shape) > 1 else (1, *x.shape)
    b = w.shape if len(w.shape) > 1 else (*w.shape, 1)
    return x, w, a, b


def product_shape(op: str, inputs: Operands, attrs: Attributes) -> Shape:
    """``(..., M, N)``, before a rank-1 operand's axis is dropped.

    Raises:
        ModelError: if the factors do not fit each other.
    """
    x, w, a, b = factors(op, inputs, attrs)
    if a[-1] != b[-2]:
        raise ModelError(
            f"{x.name!r} {list(x.shape)} and {w.name!r} {list(w.shape)} do not multiply: {a[-1]} against {b[-2]}"
        )
    return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])


def _infer(op: str) -> InferFn:
    place = PLACES[op]

    def infer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
        shape = product_shape(op, inputs, attrs)
        for i in (place.weight_scale, place.weight_zero):
            params(at(inputs, i), "weight scale or zero point", shape[-1])
        one(inputs, **{f"input_{i}": i for i in place.single})
        same_type(inputs, 0, place.input_zero)
        same_type(inputs, place.weight, place.weight_zero)
        bias = at(inputs, place.bias)
        if bias is not None and broadcast(bias.shape, shape) != shape:
            raise ModelError(
                f"bias {bias.name!r} has shape {list(bias.shape)}; allowed: what broadcasts to {list(shape)}"
            )
        x, w, _, _ = factors(op, inputs, attrs)
        drop = {len(shape) - 2} if len(x.shape) == 1 else set()
        drop |= {len(shape) - 1} if len(w.shape) == 1 else set()
        return (tuple(s for i, s in enumerate(shape) if i not in drop),)

    return infer


def _work(op: str) -> WorkFn:
    place = PLACES[op]

    def work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
        x, w, a, b = factors(op, inputs, attrs)
        *batch, m, n = product_shape(op, inputs, attrs)
        out = need(outputs[0], "output")
        rows = 1
        for s in batch:
            rows *= s
        shared = len(b) == 2
        g = Geometry(1, 1, rows * m, a[-1], 1, rows * m, n) if shared else Geometry(rows, 1, m, a[-1], 1, m, n)
        scale = at(inputs, place.weight_scale)
        return Work(
            "dense",
            macs=g.outputs * g.window,
            elements=out.elements,
            requantized=out.elements if out.qtype.kind == "int" and out.qtype.bits < 32 else 0,
            input_bytes=x.nbytes,
            weight_bytes=w.nbytes,
            bias_bytes=total_bytes([at(inputs, place.bias)]),
            output_bytes=out.nbytes,
            activation_bits=x.qtype.bits,
            weight_bits=w.qtype.bits,
            per_channel=scale is not None and scale.elements > 1,
            geometry=g,
        )

    return work


_INT32 = ("int32",)
SPECS = (
    OnnxSpec("MatMul", Attributes, _infer("MatMul"), _work("MatMul"), 2, 2, dtypes=(REAL,)),
    OnnxSpec("Gemm", Gemm, _infer("Gemm"), _work("Gemm"), 2, 3, dtypes=(REAL,)),
    OnnxSpec(
        "MatMulInteger", Attributes, _infer("MatMulInteger"), _work("MatMulInteger"), 2, 4, dtypes=(BYTE,), types=int32_out
    ),
    OnnxSpec(
        "QLinearMatMul", Attributes, _infer("QLinearMatMul"), _work("QLinearMatMul"), 8, 8,
        dtypes=(BYTE, REAL, BYTE, BYTE, REAL, BYTE, REAL, BYTE),
        types=like(7), params=((0, 1, 2), (3, 4, 5)), output_params=(6, 7),
    ),
    OnnxSpec(
        "QGemm", Gemm, _infer("QGemm"), _work("QGemm"), 6, 9,
        dtypes=(BYTE, REAL, BYTE, BYTE, REAL, BYTE, _INT32, REAL, BYTE),
        types=like(8), params=((0, 1, 2), (3, 4, 5)), output_params=(7, 8),
    ),
    OnnxSpec(
        "MatMulIntegerToFloat", Attributes, _infer("MatMulIntegerToFloat"), _work("MatMulIntegerToFloat"), 4, 7,
        dtypes=(BYTE, BYTE, REAL, REAL, BYTE, BYTE, REAL),
        types=always(FLOAT32), params=((0, 2, 4), (1, 3, 5)),
    ),
)  # fmt: skip
