"""Resource variables and the one-time call that fills them: what streaming models keep between inferences."""

from dataclasses import dataclass

from fxsim.model.ops.base import Attributes, Operands, OpSpec, copy_work, need, no_work, total_bytes
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class VarHandle(Attributes):
    """VAR_HANDLE: names a variable."""

    container: str = ""
    shared_name: str = ""


@dataclass(frozen=True, slots=True)
class CallOnce(Attributes):
    """CALL_ONCE: runs subgraph ``subgraph`` before the first inference only."""

    subgraph: int = 0


def _infer_handle(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return ((),)


def _infer_nothing(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return ()


def _infer_declared(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    # The variable's shape is what was assigned; the file's declared output shape is checked against it when bound.
    return ()


def _work_assign(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    value = need(inputs[1], "value")
    moved = total_bytes([value])
    return Work(
        "copy", elements=value.elements, input_bytes=moved, output_bytes=moved, activation_bits=value.qtype.bits
    )


def _work_read(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    return copy_work(outputs, outputs, attrs)


SPECS = (
    OpSpec("VAR_HANDLE", VarHandle, _infer_handle, no_work, 0, 0),
    OpSpec("READ_VARIABLE", Attributes, _infer_declared, _work_read, 1, 1, dtypes=(("resource",),)),
    OpSpec("ASSIGN_VARIABLE", Attributes, _infer_nothing, _work_assign, 2, 2, 0, 0, dtypes=(("resource",), ())),
    OpSpec("CALL_ONCE", CallOnce, _infer_nothing, no_work, 0, 0, 0, 0),
)
