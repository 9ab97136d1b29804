"""Quantized values in an ONNX graph: what stands for a real value, and how it becomes one and is stored again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fxsim.convert.draft import Value
from fxsim.convert.layout import Held, Layouts, Order
from fxsim.errors import UnsupportedOp
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes, Operands
from fxsim.model.ops.onnx_layout import OnnxReshape, Permutation
from fxsim.model.ops.onnx_quantize import Linear
from fxsim.model.qtype import FLOAT32, INT4, INT8, INT16, UINT8, Array, QType, QuantParams, Shape

_SHIFT = 128
"""from int8 to uint8"""


def is_quantized(t: Tensor) -> bool:
    """True if the tensor's integers stand for reals."""
    return t.quant is not None and t.qtype.kind == "int"


def unsigned(t: Tensor) -> Tensor:
    """An int8 activation as uint8: the same reals."""
    if not is_quantized(t) or t.quant is None or t.qtype.name != "int8":
        return t
    return replace(
        t,
        qtype=UINT8,
        quant=QuantParams(t.quant.scale, tuple(z + _SHIFT for z in t.quant.zero_point)),
        data=None if t.data is None else (t.data.astype(np.int16) + _SHIFT).astype(np.uint8),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """A value of the model: reals or indices, or integers with what they stand for."""

    held: Held
    quant: QuantParams | None


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer of TensorFlow Lite: its operands as they are in the ONNX graph, and as they were."""

    lay: "Real"
    operand: Callable[[int], Operand]
    """index of a tensor -> what it is in the ONNX graph"""
    tensors: Operands
    attributes: Attributes
    outputs: Sequence[Tensor]

    def at(self, position: int) -> Operand:
        """An input that is there."""
        found = self.tensors[position]
        assert found is not None
        return self.operand(found.index)

    @property
    def all(self) -> list[Operand]:
        """All inputs that are there."""
        return [self.operand(t.index) for t in self.tensors if t is not None]

    def real(self, position: int = 0) -> Held:
        """An input as reals."""
        return self.lay.real(self.at(position))

    def ordered(self, position: int, order: Order) -> Value:
        """An input as reals, with its axes in ``order``."""
        o = self.at(position)
        return self.lay.dequantized(self.lay.ordered(o.held, order), o.quant)

    def data(self, position: int, what: str) -> Array:
        """The values of a constant input.

        Raises:
            UnsupportedOp: if it is computed at run time.
        """
        t = self.tensors[position]
        if t is None or t.data is None:
            raise UnsupportedOp(f"{what} is computed at run time; supported: constants")
        return t.data

    def weight(self, position: int, order: Order) -> Value:
        """A constant weight as reals, with its axes in ``order``."""
        t = self.tensors[position]
        assert t is not None
        data = self.data(position, "weight").transpose(order)
        if not is_quantized(t) or t.quant is None:
            return self.lay.draft.constant(data, "weight")
        narrow = t.qtype.bits == 4 and t.qtype.signed and self.lay.packed
        qtype = INT4 if narrow else INT8 if t.qtype.signed else UINT8
        value = Value(t.name, data.shape, qtype, data)
        axis = None if t.quant.per_tensor or t.quant.axis is None else order.index(t.quant.axis)
        return self.lay.dequantized(value, replace(t.quant, axis=axis))

    def bias(self, position: int, data: int = 0) -> Value | None:
        """A constant bias of the layer on input ``data`` as reals; None where there is none."""
        t = self.tensors[position] if position < len(self.tensors) else None
        if t is None:
            return None
        raw = self.data(position, "bias").reshape(-1)
        x, w = self.tensors[data], self.tensors[1]
        if t.qtype.kind == "float" or x is None or w is None or x.quant is None or w.quant is None:
            return self.lay.draft.constant(raw, "bias")
        scales = np.float32(x.quant.scale[0]) * np.asarray(w.quant.scale, np.float32)
        if t.qtype.bits == 64:
            return self.lay.draft.constant(raw * scales.astype(np.float64), "bias")
        quant = QuantParams(tuple(float(s) for s in scales), (0,) * scales.size, None if scales.size == 1 else 0)
        return self.lay.dequantized(Value(t.name, raw.shape, t.qtype, raw), quant)


@dataclass(slots=True)
class Real(Layouts):
    """An ONNX graph in the making."""

    packed: bool = True
    """4-bit weights stay so"""
    _reals: dict[int, Value] = field(default_factory=dict)

    def emit_reshape(self, value: Value, shape: Shape) -> Value:
        """A Reshape."""
        inputs = [value, self.draft.constant(np.asarray(shape, np.int64), "shape")]
        return self.draft.emit("Reshape", inputs, OnnxReshape(), what="reshaped")[0]

    def emit_transpose(self, value: Value, perm: Order) -> Value:
        """A Transpose."""
        return self.draft.emit("Transpose", [value], Permutation(perm), what="transposed")[0]

    def constant_operand(self, t: Tensor) -> Operand:
        """A constant that is used as activations are."""
        t = unsigned(t)
        if is_quantized(t) and t.quant is not None and not t.quant.per_tensor:
            raise UnsupportedOp(f"constant {t.name!r} has a scale for each channel; supported: one scale")
        assert t.data is not None
        value = Value(t.name, t.shape, t.qtype, t.data)
        if t.qtype.kind == "float":
            value = Value(t.name, t.shape, FLOAT32, t.data.astype(np.float64))
        return Operand(self.hold(value), t.quant if is_quantized(t) else None)

    def dequantized(self, value: Value, quant: QuantParams | None) -> Value:
        """The reals that a value's integers stand for."""
        if quant is None:
            return value
        if id(value) not in self._reals:
            inputs = [value, *self._params(quant, value.qtype)]
            axis = 0 if quant.per_tensor or quant.axis is None else quant.axis
            (self._reals[id(value)],) = self.draft.emit("DequantizeLinear", inputs, Linear(axis), what="dequantized")
        return self._reals[id(value)]

    def real(self, o: Operand) -> Held:
        """An operand as reals, as it lies."""
        return o.held if o.quant is None else replace(o.held, value=self.dequantized(o.held.value, o.quant))

    def quantize(self, h: Held, t: Tensor) -> Operand:
        """A real value as the tensor's integers, int8 as uint8."""
        t = unsigned(t)
        assert t.quant is not None
        if not t.quant.per_tensor or t.qtype.bits not in (8, 16) or t.qtype.register:
            raise UnsupportedOp(
                f"{t.name!r} is {t.qtype.bits}-bit; ONNX holds activations of uint8, int8, int16 with one scale"
            )
        return self._quantized(h, t.quant, t.qtype)

    def _quantized(self, h: Held, quant: QuantParams, qtype: QType) -> Operand:
        quant = replace(quant, axis=None)
        inputs = [h.value, *self._params(quant, qtype)]
        return Operand(replace(h, value=self.draft.emit("QuantizeLinear", inputs, Linear(0))[0]), quant)

    def _params(self, quant: QuantParams, qtype: QType) -> list[Value]:
        scale = np.asarray(quant.scale, np.float64)
        zero = np.asarray(quant.zero_point)
        if quant.per_tensor:
            scale, zero = scale.reshape(()), zero.reshape(())
        return [self.draft.constant(scale, "scale"), Value(f"{self.draft.label}:zero", zero.shape, qtype, zero)]

    def as_unsigned(self, o: Operand) -> Operand:
        """An int8 operand as uint8."""
        if o.quant is None or o.held.value.qtype.name != "int8":
            return o
        quant = QuantParams(o.quant.scale, (o.quant.zero_point[0] + _SHIFT,))
        return self._quantized(self.real(o), quant, UINT8)

    def as_declared(self, o: Operand, t: Tensor) -> Operand:
        """An operand in the type of the model's own tensor."""
        if o.quant is None or t.quant is None or t.qtype.name == o.held.value.qtype.name:
            return o
        return self._quantized(self.real(o), t.quant, {"int8": INT8, "int16": INT16, "uint8": UINT8}[t.qtype.name])

    def clamp(self, h: Held, limits: tuple[float, float]) -> Held:
        """Relu or Clip."""
        if limits == (0.0, float("inf")):
            return replace(h, value=self.draft.emit("Relu", [h.value])[0])
        bounds = [
            self.draft.constant(np.asarray(v, np.float64), what) for v, what in zip(limits, ("min", "max"), strict=True)
        ]
        return replace(h, value=self.draft.emit("Clip", [h.value, *bounds])[0])
