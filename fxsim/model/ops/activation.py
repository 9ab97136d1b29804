"""Curved functions of single elements, most by a table: attributes, output shape, work."""

from dataclasses import dataclass, replace

from fxsim.model.ops.base import Attributes, Operands, OpSpec, lookup_work, need, same_shape
from fxsim.model.work import Work


@dataclass(frozen=True, slots=True)
class Gelu(Attributes):
    """GELU, exact or by the hyperbolic tangent."""

    approximate: bool = False


def _work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    """One table read an element; between 16-bit entries two reads and a multiply-add."""
    work = lookup_work(inputs, outputs, attrs)
    wide = need(inputs[0], "input").qtype.name == "int16"
    return replace(work, element_ops=3 * work.elements) if wide else work


_INT = ("int8", "uint8", "int16", "float32")
_SIGNED = ("int8", "int16", "float32")
SPECS = (
    OpSpec("LOGISTIC", Attributes, same_shape, _work, dtypes=(_INT,)),
    OpSpec("TANH", Attributes, same_shape, _work, dtypes=(_INT,)),
    OpSpec("ELU", Attributes, same_shape, _work, dtypes=(("int8", "float32"),)),
    OpSpec("GELU", Gelu, same_shape, _work, dtypes=(("int8", "uint8", "float32"),)),
    OpSpec("HARD_SWISH", Attributes, same_shape, _work, dtypes=(("int8", "uint8", "float32"),)),
    OpSpec("EXP", Attributes, same_shape, _work, dtypes=(_SIGNED,)),
    OpSpec("LOG", Attributes, same_shape, _work, dtypes=(_SIGNED,)),
    OpSpec("SQRT", Attributes, same_shape, _work, dtypes=(_SIGNED,)),
    OpSpec("RSQRT", Attributes, same_shape, _work, dtypes=(_SIGNED,)),
)
