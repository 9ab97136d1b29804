"""CAST: output shape, work."""

from fxsim.model.ops.base import Attributes, OpSpec, elementwise_work, same_shape

_NUMBER = ("int2", "int4", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "bool")
SPECS = (OpSpec("CAST", Attributes, same_shape, elementwise_work, dtypes=(_NUMBER,)),)
