"""Comparisons, logic, and choices by them: output shapes, work."""

from dataclasses import replace

from fxsim.errors import ModelError
from fxsim.model.ops.arithmetic import infer_broadcast, unscaled_work
from fxsim.model.ops.base import Attributes, Operands, OpSpec, elementwise_work, need, same_shape
from fxsim.model.qtype import Shape
from fxsim.model.work import Work


def _work_compare(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """One comparison for each output element; quantized inputs are brought to one scale first."""
    work = elementwise_work(inputs, outputs, attrs)
    x = need(inputs[0], "input 0")
    return replace(work, requantized=work.elements if x.quant is not None else 0, activation_bits=x.qtype.bits)


def _infer_select(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    condition, x, y = (need(t, f"input {i}").shape for i, t in enumerate(inputs))
    if x != y:
        raise ModelError(f"the choices have shapes {list(x)} and {list(y)}; allowed: equal ones")
    if condition not in ((), x, x[:1]):
        raise ModelError(f"the condition has shape {list(condition)}; allowed: [], {list(x[:1])} or {list(x)}")
    return (x,)


_NUMBERS = ("int8", "uint8", "int16", "int32", "int64", "float32")
_CHOICES = (("bool",), (*_NUMBERS, "bool"))
SPECS = (
    *(
        OpSpec(op, Attributes, infer_broadcast, _work_compare, 2, 2, dtypes=((*_NUMBERS, "bool"),))
        for op in ("EQUAL", "NOT_EQUAL")
    ),
    *(
        OpSpec(op, Attributes, infer_broadcast, _work_compare, 2, 2, dtypes=(_NUMBERS,))
        for op in ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
    ),
    OpSpec("LOGICAL_AND", Attributes, infer_broadcast, unscaled_work, 2, 2, dtypes=(("bool",),)),
    OpSpec("LOGICAL_OR", Attributes, infer_broadcast, unscaled_work, 2, 2, dtypes=(("bool",),)),
    OpSpec("LOGICAL_NOT", Attributes, same_shape, unscaled_work, dtypes=(("bool",),)),
    OpSpec("SELECT", Attributes, _infer_select, unscaled_work, 3, 3, dtypes=_CHOICES, data_input=1),
    OpSpec("SELECT_V2", Attributes, infer_broadcast, unscaled_work, 3, 3, dtypes=_CHOICES, data_input=1),
)
