"""Where the axes of a value lie: every value is held in the order in which it was made, and moved only where that matters.

ONNX speaks of images as (N, C, H, W); TensorFlow Lite computes on (N, H, W, C). A value that a convolution made stays in
its order through everything that works element by element, so that no transpose stands between two convolutions. The
same holds on the way back.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fxsim.convert.draft import Draft, Value
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.layout import Reshape
from fxsim.model.qtype import Array, QType, Shape

Order = tuple[int, ...]
IMAGE: Order = (0, 2, 3, 1)
"""(N, C, H, W) as (N, H, W, C)"""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A value of the model and how it is stored: ``stored = value.reshape(grid).transpose(order)``, then reshaped.

    ``grid`` is the value's own ``shape``, but for an image that was flattened without being moved, and for one of a single
    spatial axis, (N, C, L), which is held as (N, C, 1, L).
    """

    value: Value
    shape: Shape
    grid: Shape
    order: Order

    @property
    def data(self) -> Array | None:
        """The values of a constant, in the model's own order; only constants that are held plainly."""
        return self.value.data

    @property
    def constant(self) -> bool:
        """True if its values are known."""
        return self.value.constant

    @property
    def plain(self) -> bool:
        """True if it is stored in the model's own order."""
        return self.order == tuple(range(len(self.order))) and self.grid == self.shape

    @property
    def other(self) -> bool:
        """True if it is held in another grid than its shape."""
        return self.grid != self.shape


@dataclass(slots=True)
class Layouts:
    """A draft, and the moves that values need in it. No value is moved the same way twice."""

    draft: Draft
    _moved: dict[tuple[int, str, Shape], Value] = field(default_factory=dict)
    _source: dict[int, Value] = field(default_factory=dict)
    """what a RESHAPE was made from"""

    def constant(self, name: str, data: Array) -> Held:
        """A constant of the model."""
        with self.draft.naming(name):
            return self.hold(self.draft.constant(np.asarray(data), ""))

    def hold(self, value: Value, order: Order | None = None) -> Held:
        """A value that was just made, in the model's own order or in ``order``."""
        order = order or tuple(range(len(value.shape)))
        shape = [0] * len(order)
        for axis, size in zip(order, value.shape, strict=True):
            shape[axis] = size
        return Held(value, tuple(shape), tuple(shape), order)

    def reshape(self, value: Value, shape: Shape) -> Value:
        """``value`` in another shape."""
        value = self._source.get(id(value), value)
        if value.shape == shape:
            return value
        if value.data is not None:
            return Value(value.name, shape, value.qtype, value.data.reshape(shape))
        key = (id(value), "reshape", shape)
        if key not in self._moved:
            made = self.emit_reshape(value, shape)
            self._moved[key], self._source[id(made)] = made, value
        return self._moved[key]

    def transpose(self, value: Value, perm: Order) -> Value:
        """``value`` with its axes in another order; only reshaped if none but axes of size 1 change places."""
        if perm == tuple(range(len(perm))):
            return value
        shape = tuple(value.shape[p] for p in perm)
        if value.data is not None:
            return Value(value.name, shape, value.qtype, value.data.transpose(perm))
        real = [p for p in perm if value.shape[p] != 1]
        if real == sorted(real):
            return self.reshape(value, shape)
        key = (id(value), "transpose", perm)
        if key not in self._moved:
            self._moved[key] = self.emit_transpose(value, perm)
        return self._moved[key]

    def emit_reshape(self, value: Value, shape: Shape) -> Value:
        """A layer that reshapes."""
        inputs = [value, self.draft.constant(shape, "shape")]
        return self.draft.emit("RESHAPE", inputs, Reshape(shape), what="reshaped")[0]

    def emit_transpose(self, value: Value, perm: Order) -> Value:
        """A layer that transposes."""
        return self.draft.emit("TRANSPOSE", [value, self.draft.constant(perm, "perm")], what="transposed")[0]

    def finish(self, name: str, value: Value) -> None:
        """Makes ``value`` an output of the model; a layer of its own makes it where no other does, or not for it alone."""
        if value.constant or value in self.draft.inputs or value in self.draft.outputs:
            value = self.emit_reshape(value, value.shape)
        self.draft.output(name, value)

    def ordered(self, h: Held, order: Order) -> Value:
        """``h`` with its axes in ``order``."""
        if h.order == order and not h.other:
            return h.value
        value = self.reshape(h.value, tuple(h.grid[a] for a in h.order))
        if not h.other:
            return self.transpose(value, tuple(h.order.index(a) for a in order))
        value = self.transpose(value, tuple(h.order.index(a) for a in range(len(h.order))))
        return self.transpose(self.reshape(value, h.shape), order)

    def plain(self, h: Held) -> Value:
        """``h`` in the model's own order."""
        return self.ordered(h, tuple(range(len(h.shape))))

    def reshaped(self, h: Held, shape: Shape) -> Held:
        """``h`` in another shape; rows that are flattened stay as they lie."""
        flat = len(shape) == 2 and not h.constant and h.order[0] == 0 and shape[0] == h.grid[0]
        if flat and not h.plain and not self._still(h):
            return Held(self.reshape(h.value, shape), shape, h.grid, h.order)
        return self.hold(self.reshape(self.plain(h), shape))

    @staticmethod
    def _still(h: Held) -> bool:
        """True if the order moves none but axes of size 1."""
        real = [a for a in h.order if h.grid[a] != 1]
        return real == sorted(real)

    def common(self, operands: Sequence[Held], rank: int) -> Order:
        """The order in which operands that are worked on element by element need the fewest moves."""
        orders = [h.order for h in operands if not h.constant and len(h.shape) == rank and not h.other]
        return Counter(orders).most_common(1)[0][0] if orders else tuple(range(rank))

    def aligned(self, h: Held, order: Order) -> Value:
        """An operand of an op that works element by element, in ``order``, of its rank but for constants."""
        rank = len(order)
        if len(h.shape) < rank:
            h = self.hold(self.reshape(self.plain(h), (1,) * (rank - len(h.shape)) + h.shape))
        value = self.ordered(h, order)
        if value.constant:  # without the ones in front, as engines like a bias
            lead = next((i for i, s in enumerate(value.shape[:-1]) if s != 1), max(rank - 1, 0))
            value = self.reshape(value, value.shape[lead:])
        return value

    def _gridded(self, operands: Sequence[Held]) -> list[Held] | None:
        """The operands in their common grid, if they have one other than their shape."""
        first = next((h for h in operands if h.other), None)
        if first is None:
            return None
        result = []
        for h in operands:
            if (h.shape, h.grid, h.order) == (first.shape, first.grid, first.order):
                result.append(Held(h.value, h.grid, h.grid, h.order))
            elif not h.constant or not ((h.value.data is not None and h.value.data.size == 1) or len(first.shape) == 3):
                return None
            else:
                shape = (1,) * (len(first.shape) - len(h.shape)) + h.shape
                result.append(
                    self.hold(self.reshape(self.plain(h), (*shape[:2], 1, *shape[2:]) if len(shape) == 3 else ()))
                )
        return result

    def elementwise(
        self,
        op: str,
        operands: Sequence[Held],
        shape: Shape,
        attributes: Attributes | None = None,
        qtype: QType | None = None,
    ) -> Held:
        """An op of TensorFlow Lite that works element by element on operands that broadcast to ``shape``."""
        if len(operands) == 1:
            h = operands[0]
            (made,) = self.draft.emit(op, [h.value], attributes, qtype)
            return replace(h, value=made)
        gridded = self._gridded(operands)
        if gridded is not None:
            first = next(h for h in operands if h.other)
            return replace(first, value=self.elementwise(op, gridded, first.grid, attributes, qtype).value)
        order = self.common(operands, len(shape))
        (made,) = self.draft.emit(op, [self.aligned(h, order) for h in operands], attributes, qtype)
        return self.hold(made, order)
