"""Whole channels taken out: the network really shrinks, and stays a network through residuals, joins and flattening."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fxsim.errors import FxsimError
from fxsim.model.check import check
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.conv import WEIGHT_AXES
from fxsim.model.ops.layout import Reshape
from fxsim.model.qtype import QuantParams
from fxsim.prune.scores import Method, chosen, score, weighted
from fxsim.prune.units import JOINING, RESHAPING, Follower, Units

Mask = npt.NDArray[np.bool_]


def channels(
    graph: Graph,
    ratio: float,
    method: Method = "magnitude",
    layers: list[int | str] | None = None,
    multiple: int = 1,
    seed: int = 0,
) -> Graph:
    """The graph without the least important output channels: smaller weights, fewer MACs, less memory on every target.

    A channel's importance is the sum of its weights' scores, relative to the mean channel of its layer; channels that an
    addition or a depthwise convolution ties together are judged by their sum and go together. Channels of the model's
    inputs and outputs stay, and those that a layer mixes in a way that is not followed (attention, slices, groups).

    Args:
        graph: a float or quantized network.
        ratio: share of the channels of each set of tied layers that goes, in [0, 1); each keeps at least one.
        method: ``"magnitude"`` (L1 norm), ``"random"``, or a score for each weight by tensor index.
        layers: only sets of layers that hold one of these; all by default.
        multiple: what is left is rounded up to a multiple of this, as far as there are channels: lanes of a target.
        seed: of ``"random"``.

    Raises:
        FxsimError: on arguments out of range.
    """
    if not 0 <= ratio < 1:
        raise FxsimError(f"prune: ratio is {ratio!r}; allowed: at least 0, below 1")
    if multiple < 1:
        raise FxsimError(f"prune: multiple is {multiple!r}; allowed: at least 1")
    units = Follower(graph)
    importance = _importance(graph, units, method, np.random.default_rng(seed))
    take = chosen(graph, layers)
    alive = np.ones(len(units.parent), np.bool_)
    for tied in _tied(units):
        if take.isdisjoint(tied):
            continue
        roots = np.unique(np.concatenate([units.roots(units.made[n]) for n in tied]))
        free = np.array([r for r in roots if not units.fixed[r]], np.int64)
        stay = max(1, len(roots) - int(ratio * len(roots)))
        stay = min(len(roots), -(-stay // multiple) * multiple)
        order = free[np.argsort(importance[free], kind="stable")]
        alive[order[: len(roots) - stay]] = False
    return without(graph, units, alive)


def _importance(graph: Graph, units: Follower, method: Method, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Root -> the sum of the scores of its channels."""
    total = np.zeros(len(units.parent))
    for node, t in weighted(graph):
        made = units.made.get(node.index)
        if made is None:
            continue
        axis = WEIGHT_AXES[node.op][0]
        norms = score(graph, t, method, rng).sum(axis=tuple(a for a in range(len(t.shape)) if a != axis))
        mean = norms.mean() if isinstance(method, str) else 1.0
        np.add.at(total, units.roots(made), norms / mean if mean else norms)
    return total


def _tied(units: Follower) -> list[list[int]]:
    """The sets of layers that share a unit."""
    sets: list[tuple[set[int], set[int]]] = []
    for node, made in units.made.items():
        roots, nodes = set(units.roots(made).tolist()), {node}
        for other in [s for s in sets if s[0] & roots]:
            sets.remove(other)
            roots |= other[0]
            nodes |= other[1]
        sets.append((roots, nodes))
    return [sorted(nodes) for _, nodes in sets]


def without(graph: Graph, units: Follower, alive: Mask) -> Graph:
    """The graph with only the channels whose root is alive."""
    keep = {i: alive[units.roots(u)] for i, u in units.of.items()}
    builder = _Builder(graph, keep)
    nodes = [builder.node(n, units.made.get(n.index)) for n in graph.nodes]
    return check(
        replace(graph, tensors=tuple(builder.tensors), nodes=tuple(nodes), sha256="", file_bytes=0, derived={})
    )


class _Builder:
    """Cuts activations and constants; a constant that layers share is cut for each of them apart."""

    def __init__(self, graph: Graph, keep: dict[int, Mask]) -> None:
        self.graph, self.keep = graph, keep
        self.tensors: list[Tensor] = [
            replace(t, shape=(*t.shape[:-1], int(keep[t.index].sum()))) if t.index in keep and t.shape else t
            for t in graph.tensors
        ]

    def node(self, node: Node, made: Units | None) -> Node:
        """The layer on what is left of its tensors."""
        whole = [i for i in (*node.inputs, *node.outputs) if i != ABSENT and i in self.keep and not self.keep[i].all()]
        if not whole:
            return node
        inputs = list(node.inputs)
        out = self.keep[node.outputs[0]]
        if node.op in WEIGHT_AXES:
            out_axis, in_axis = WEIGHT_AXES[node.op]
            x = self.keep[inputs[0]]
            cut = {out_axis: out}
            if in_axis is not None:
                cut[in_axis] = np.tile(x, self.graph.tensors[inputs[1]].shape[in_axis] // len(x))
            inputs[1] = self._cut(inputs[1], cut)
            if len(inputs) > 2 and inputs[2] != ABSENT:
                inputs[2] = self._cut(inputs[2], {0: out})
        elif node.op in JOINING:
            inputs = [self._operand(i, out) for i in inputs]
        elif node.op in RESHAPING:
            return self._reshape(node)
        return replace(node, inputs=tuple(inputs))

    def _operand(self, index: int, keep: Mask) -> int:
        t = self.graph.tensors[index]
        if not t.constant or not t.shape or t.shape[-1] != len(keep):
            return index
        return self._cut(index, {len(t.shape) - 1: keep})

    def _reshape(self, node: Node) -> Node:
        """A RESHAPE to the shape that is left; SQUEEZE and EXPAND_DIMS name axes and stay."""
        if not isinstance(node.attributes, Reshape):
            return node
        shape = self.tensors[node.outputs[0]].shape
        inputs = list(node.inputs)
        if len(inputs) > 1 and inputs[1] != ABSENT:
            old = self.graph.tensors[inputs[1]]
            assert old.data is not None
            inputs[1] = self._add(old, lambda t: np.array(shape, t.qtype.dtype).reshape(t.shape), old.quant)
        return replace(node, inputs=tuple(inputs), attributes=replace(node.attributes, new_shape=shape))

    def _cut(self, index: int, cut: dict[int, Mask]) -> int:
        t = self.graph.tensors[index]
        quant = t.quant
        if quant is not None and not quant.per_tensor:
            mask = cut.get(quant.axis or 0)
            if mask is not None:
                keep = np.flatnonzero(mask).tolist()
                quant = QuantParams(
                    tuple(quant.scale[i] for i in keep), tuple(quant.zero_point[i] for i in keep), quant.axis
                )

        def values(t: Tensor) -> npt.NDArray[np.generic]:
            data = np.asarray(t.data)
            for axis, mask in cut.items():
                data = np.compress(mask, data, axis=axis)
            return data

        return self._add(t, values, quant)

    def _add(self, t: Tensor, values: Callable[[Tensor], npt.NDArray[np.generic]], quant: QuantParams | None) -> int:
        data = np.ascontiguousarray(values(t))
        data.setflags(write=False)
        shared = sum(list(n.inputs).count(t.index) for n in self.graph.nodes) > 1
        index = len(self.tensors) if shared else t.index
        new = replace(t, index=index, shape=data.shape, data=data, quant=quant)
        if shared:
            self.tensors.append(new)
        else:
            self.tensors[index] = new
        return index
