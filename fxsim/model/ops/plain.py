"""Ops of single float32 numbers that need no scale: output shape, work."""

from fxsim.model.ops.arithmetic import unscaled_work
from fxsim.model.ops.base import Attributes, OpSpec, same_shape

SPECS = tuple(
    OpSpec(op, Attributes, same_shape, unscaled_work, dtypes=(("float32",),))
    for op in ("FLOOR", "CEIL", "ROUND", "SQUARE")
)
