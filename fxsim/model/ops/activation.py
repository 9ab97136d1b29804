"""LOGISTIC: attributes, output shape, work."""

from fxsim.model.ops.base import Attributes, OpSpec, lookup_work, same_shape

_INT = ("int8", "uint8", "int16")
SPECS = (OpSpec("LOGISTIC", Attributes, same_shape, lookup_work, dtypes=(_INT,)),)
