"""SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM: attributes, output shapes, work. Their state is in variable tensors.

SVDF inputs: input ``(N, K)``, feature weight ``(F, K)``, time weight ``(F, T)``, bias ``(F / rank,)``, state ``(N, F * T)``.

LSTM inputs: input ``(N, T, K)`` or ``(T, N, K)``; weights of the input, forget, cell and output gate ``(U, K)``; then
recurrent ``(U, U)``; at 9..11 peepholes; biases ``(U,)``; at 16 and 17 a projection; output and cell state ``(N, U)``; at
20..23 layer norms.
"""

from dataclasses import dataclass

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Activated, Attributes, Operands, OpSpec, need, rank, total_bytes
from fxsim.model.qtype import Shape
from fxsim.model.work import Geometry, Work

STATES = (18, 19)
"""positions of output and cell state"""
GATES = ("input", "forget", "cell", "output")


@dataclass(frozen=True, slots=True)
class Svdf(Activated):
    """SVDF: filters of rank ``rank``."""

    rank: int = 1


@dataclass(frozen=True, slots=True)
class SequenceLstm(Activated):
    """UNIDIRECTIONAL_SEQUENCE_LSTM; ``activation`` is that of the cell gate, clips of 0 clip nothing."""

    cell_clip: float = 0.0
    proj_clip: float = 0.0
    time_major: bool = False


def _expect(t: Tensor | None, what: str, shape: Shape) -> Tensor:
    t = need(t, what)
    if t.shape != shape:
        raise ModelError(f"{what} {t.name!r} has shape {list(t.shape)}; allowed: {list(shape)}")
    return t


def svdf_shape(inputs: Operands, attrs: Svdf) -> tuple[int, int, int, int, int]:
    """``(N, K, F, T, U)``: batch, inputs, filters, time steps, units; checks that the inputs fit each other."""
    n, k = rank(need(inputs[0], "input"), "input", 2)
    filters, _ = rank(need(inputs[1], "feature weight"), "feature weight", 2)
    _, steps = rank(need(inputs[2], "time weight"), "time weight", 2)
    if attrs.rank < 1 or filters % attrs.rank or min(n, k, filters, steps) < 1:
        raise ModelError(f"rank is {attrs.rank} with {filters} filters; allowed: a divisor of their number")
    _expect(inputs[1], "feature weight", (filters, k))
    _expect(inputs[2], "time weight", (filters, steps))
    if inputs[3] is not None:
        _expect(inputs[3], "bias", (filters // attrs.rank,))
    _expect(inputs[4], "state", (n, filters * steps))
    return n, k, filters, steps, filters // attrs.rank


def _infer_svdf(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Svdf)
    n, _, _, _, units = svdf_shape(inputs, attrs)
    return ((n, units),)


def _work_svdf(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    assert isinstance(attrs, Svdf)
    n, k, filters, steps, units = svdf_shape(inputs, attrs)
    x, out, state = need(inputs[0], "input"), need(outputs[0], "output"), need(inputs[4], "state")
    return Work(
        "dense",
        macs=n * filters * (k + steps),
        elements=n * units,
        element_ops=n * filters,
        requantized=n * (filters + units) if x.quant is not None else 0,
        input_bytes=x.nbytes + state.nbytes,
        weight_bytes=total_bytes(inputs[1:3]),
        bias_bytes=total_bytes(inputs[3:4]),
        output_bytes=out.nbytes + state.nbytes,
        activation_bits=x.qtype.bits,
        geometry=Geometry(1, 1, n, k, 1, n, filters),
    )


def lstm_shape(inputs: Operands, attrs: SequenceLstm) -> tuple[int, int, int, int]:
    """``(N, T, K, U)``: batch, time steps, inputs, units; checks that the inputs fit each other.

    Raises:
        UnsupportedOp: on peepholes, projections, layer norms, or a missing input gate.
    """
    outer, inner, k = rank(need(inputs[0], "input"), "input", 3)
    n, steps = (inner, outer) if attrs.time_major else (outer, inner)
    units, _ = rank(need(inputs[2], "forget weight"), "forget weight", 2)
    for position, what in ((9, "peephole"), (16, "projection"), (20, "layer norm")):
        for t in inputs[position : position + {9: 3, 16: 2, 20: 4}[position]]:
            if t is not None:
                raise UnsupportedOp(
                    f"{what} tensor {t.name!r}; supported: LSTMs without peephole, projection, layer norm"
                )
    if inputs[1] is None:
        raise UnsupportedOp("the input gate is coupled to the forget gate; supported: four gates")
    if min(n, steps, k, units) < 1:
        raise ModelError(f"{n} sequences of {steps} steps, {k} inputs, {units} units; allowed: at least 1 each")
    for i, gate in enumerate(GATES):
        _expect(inputs[1 + i], f"weight of the {gate} gate", (units, k))
        _expect(inputs[5 + i], f"recurrent weight of the {gate} gate", (units, units))
        _expect(inputs[12 + i], f"bias of the {gate} gate", (units,))
    for position in STATES:
        _expect(inputs[position], "state", (n, units))
    return n, steps, k, units


def _infer_lstm(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, SequenceLstm)
    n, steps, _, units = lstm_shape(inputs, attrs)
    return ((steps, n, units) if attrs.time_major else (n, steps, units),)


def _work_lstm(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    assert isinstance(attrs, SequenceLstm)
    n, steps, k, units = lstm_shape(inputs, attrs)
    x, out = need(inputs[0], "input"), need(outputs[0], "output")
    states = total_bytes([inputs[i] for i in STATES])
    cells = n * steps * units
    return Work(
        "dense",
        macs=4 * cells * (k + units),
        elements=out.elements,
        element_ops=13 * cells,  # five activations, three products, five sums
        requantized=11 * cells if x.quant is not None else 0,
        input_bytes=x.nbytes + states,
        weight_bytes=total_bytes(inputs[1:9]),
        bias_bytes=total_bytes(inputs[12:16]),
        output_bytes=out.nbytes + states,
        activation_bits=x.qtype.bits,
        geometry=Geometry(1, 1, n * steps, k + units, 1, n * steps, 4 * units),
    )


_LSTM_TYPES = (
    ("int8", "int16"),
    *((("int8",),) * 8),
    *(((),) * 3),
    *((("int32", "int64"),) * 4),
    *(((),) * 2),
    ("int8", "int16"),
    ("int16",),
    (),
)
SPECS = (
    OpSpec("SVDF", Svdf, _infer_svdf, _work_svdf, 5, 5,
           dtypes=(("int8",), ("int8",), ("int8", "int16"), ("int32",), ("int8", "int16"))),
    OpSpec("UNIDIRECTIONAL_SEQUENCE_LSTM", SequenceLstm, _infer_lstm, _work_lstm, 20, 24, dtypes=_LSTM_TYPES),
)  # fmt: skip
