"""QUANTIZE and DEQUANTIZE: attributes, output shapes, work."""

from fxsim.model.ops.base import Attributes, OpSpec, elementwise_work, same_shape

_INT = ("int8", "uint8", "int16", "int32")
SPECS = (
    OpSpec("QUANTIZE", Attributes, same_shape, elementwise_work, dtypes=((*_INT, "float32"),)),
    OpSpec("DEQUANTIZE", Attributes, same_shape, elementwise_work, dtypes=((*_INT, "int4", "int2", "float32"),)),
)
