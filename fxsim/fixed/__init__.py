"""The user's own fixed point: formats, casts with every rule of the field, and matmul with a chosen accumulator.

>>> import fxsim.fixed as fx
>>> fx.quantize([0.1, -1.5, 300.0], "Q8.8")
array([   26,  -384, 32767], dtype=int16)
"""

from fxsim.fixed.array import FixedArray
from fxsim.fixed.floats import quantize, to_float
from fxsim.fixed.formats import FixedFormat
from fxsim.fixed.linear import Registers, conv, conv_registers, dot, matmul, matmul_registers
from fxsim.fixed.ops import add, cast, mul

__all__ = [
    "FixedArray",
    "FixedFormat",
    "Registers",
    "add",
    "cast",
    "conv",
    "conv_registers",
    "dot",
    "matmul",
    "matmul_registers",
    "mul",
    "quantize",
    "to_float",
]
