"""Which channels stand or fall together: every channel of every tensor, followed through the network.

A unit is one channel as its layer makes it. Layers that keep channels apart (pooling, depthwise convolutions,
activations) pass units on, an addition makes two units one, flattening repeats them, and a layer that mixes channels
ends them.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.conv import WEIGHT_AXES

Units = npt.NDArray[np.int64]
"""the unit of each index along a tensor's last axis"""

PASSING = frozenset(
    "AVERAGE_POOL_2D MAX_POOL_2D QUANTIZE DEQUANTIZE RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU LOGISTIC TANH ELU "
    "GELU HARD_SWISH ABS NEG EXP LOG SQRT RSQRT SQUARE CAST RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR".split()
)
"""ops whose output channel is a function of the same channel of their first input"""
JOINING = frozenset("ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE PRELU".split())
"""ops on two operands, channel by channel"""
RESHAPING = frozenset("RESHAPE SQUEEZE EXPAND_DIMS".split())


@dataclass(slots=True)
class Follower:
    """Units of the tensors of a graph, filled layer by layer."""

    graph: Graph
    of: dict[int, Units] = field(default_factory=dict)
    """tensor -> its units"""
    made: dict[int, Units] = field(default_factory=dict)
    """layer with a weight -> the units that it makes"""
    parent: list[int] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)
    """root -> True if it must stay"""

    def __post_init__(self) -> None:
        """Follows the whole network."""
        for i in self.graph.inputs:
            self.of[i] = self._fresh(self.graph.tensors[i], fixed=True)
        for node in self.graph.nodes:
            self._follow(node)
        for i in self.graph.outputs:
            self._fix(i)

    def root(self, unit: int) -> int:
        """The unit that stands for all that are one with it."""
        while self.parent[unit] != unit:
            self.parent[unit] = unit = self.parent[self.parent[unit]]
        return unit

    def roots(self, units: Units) -> Units:
        """The root of each unit."""
        return np.array([self.root(int(u)) for u in units], np.int64)

    def _fresh(self, t: Tensor, *, fixed: bool = False) -> Units:
        size = t.shape[-1] if t.shape else 1
        units = np.arange(len(self.parent), len(self.parent) + size, dtype=np.int64)
        self.parent.extend(units.tolist())
        self.fixed.extend([fixed] * size)
        return units

    def _unite(self, a: Units, b: Units) -> None:
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            rx, ry = self.root(x), self.root(y)
            self.parent[ry] = rx
            self.fixed[rx] |= self.fixed[ry]

    def _fix(self, tensor: int) -> None:
        for u in self.of.get(tensor, ()):
            self.fixed[self.root(int(u))] = True

    def _follow(self, node: Node) -> None:
        t = self.graph.tensors
        ins = [t[i] for i in node.inputs if i != ABSENT]
        outs = [t[i] for i in node.outputs]
        units = self._passed(node, ins, outs[0]) if len(outs) == 1 else None
        if units is None:  # what is not known to keep channels apart keeps them all
            for i in ins:
                self._fix(i.index)
            for o in outs:
                self.of[o.index] = self._fresh(o, fixed=True)
        else:
            self.of[outs[0].index] = units

    def _passed(self, node: Node, ins: list[Tensor], out: Tensor) -> Units | None:
        """The units of the output, or None where the layer must stay as it is."""
        x = self.of.get(ins[0].index) if ins else None
        if node.op in JOINING:
            return self._joined(ins, out)
        if x is None:
            return None
        if node.op in WEIGHT_AXES:
            return self._weighted(node, ins, out, x)
        if node.op in PASSING and ins[0].shape[-1:] == out.shape[-1:]:
            return x
        if node.op in RESHAPING:
            return _reshaped(ins[0], out, x)
        if node.op in ("PAD", "PADV2", "MIRROR_PAD") and ins[0].shape[-1:] == out.shape[-1:]:
            return x
        if node.op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN") and ins[1].data is not None:
            axes = {int(a) % len(ins[0].shape) for a in ins[1].data.reshape(-1)}
            return x if len(ins[0].shape) - 1 not in axes else None
        if node.op == "CONCATENATION":
            return self._concatenated(node, ins, out)
        return None

    def _joined(self, ins: list[Tensor], out: Tensor) -> Units | None:
        wide = [self.of.get(i.index) for i in ins if i.shape[-1:] == out.shape[-1:] and not i.constant]
        if not wide or any(u is None for u in wide):
            return None
        first = wide[0]
        assert first is not None
        for other in wide[1:]:
            assert other is not None
            self._unite(first, other)
        return first

    def _weighted(self, node: Node, ins: list[Tensor], out: Tensor, x: Units) -> Units | None:
        weight = ins[1]
        if not weight.constant or any(not i.constant for i in ins[2:]):
            return None
        out_axis, in_axis = WEIGHT_AXES[node.op]
        if in_axis is None:
            units = np.repeat(x, weight.shape[out_axis] // len(x))
        elif weight.shape[in_axis] % len(x) or (node.op != "FULLY_CONNECTED" and weight.shape[in_axis] != len(x)):
            return None
        else:
            units = self._fresh(out)
        self.made[node.index] = units
        return units

    def _concatenated(self, node: Node, ins: list[Tensor], out: Tensor) -> Units | None:
        parts = [self.of.get(i.index) for i in ins]
        if any(p is None for p in parts):
            return None
        known = [p for p in parts if p is not None]
        if sum(i.shape[-1] for i in ins) == out.shape[-1] and len(ins) > 1:
            return np.concatenate(known)
        for other in known[1:]:
            self._unite(known[0], other)
        return known[0]


def _reshaped(x: Tensor, out: Tensor, units: Units) -> Units | None:
    """The units after a change of shape that leaves the last axis, or joins the last axes to one."""
    if not out.shape or not x.shape or not x.elements:
        return None
    for axes in range(1, len(x.shape) + 1):
        if math.prod(x.shape[-axes:]) == out.shape[-1]:
            return np.tile(units, out.shape[-1] // len(units))
    return None
