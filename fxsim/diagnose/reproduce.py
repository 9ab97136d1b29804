"""The smallest case that fails: one output of one layer, as a model of its own with what the device and fxsim make of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fxsim.diagnose.compare import compare, single
from fxsim.diagnose.dumps import Dump, load, source_of
from fxsim.diagnose.vectors import FORMATS, save, vectors
from fxsim.errors import DumpError, FxsimError, listed
from fxsim.exporters import export
from fxsim.model.check import check
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.conv import WEIGHT_AXES, Conv2D, FullyConnected, conv_geometry, dense_geometry
from fxsim.model.qtype import Array, QuantParams
from fxsim.sim import simulate
from fxsim.sim.trace import Trace

CROPPED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""ops of which one output can be computed alone"""


@dataclass(frozen=True, slots=True, eq=False)
class Reproducer:
    """A network of one layer, its input, and the two outputs that differ."""

    graph: Graph
    inputs: dict[str, Array]
    expected: Array
    """the device's output"""
    got: Array
    """fxsim's"""
    numerics: str
    layer: int
    op: str
    index: tuple[int, ...]
    """of the first differing output in the layer, after the inference"""
    cropped: bool
    """True if only that output is computed; False if it needs the whole layer"""

    def save(self, folder: str | os.PathLike[str], formats: tuple[str, ...] = FORMATS) -> list[Path]:
        """Writes ``case.tflite`` and the vectors, with the device's output as ``expected``, to a folder.

        Raises:
            OutputError: if the folder cannot be written.
        """
        trace = simulate(self.graph, self.inputs, self.numerics, keep="all")
        (found,) = vectors(trace)
        found.outputs["expected"] = self.expected
        found.extra.update(
            found_in={"layer": self.layer, "op": self.op, "index": list(self.index)},
            cropped=self.cropped,
            model="case.tflite",
        )
        written = save([found], folder, formats)
        return [*written, export(self.graph, Path(folder) / "case.tflite")]


def reproduce(trace: Trace, dump: Dump, layer: int | None = None) -> Reproducer:
    """The smallest case of a layer that differs when it is given the device's own inputs.

    Args:
        trace: the simulation.
        dump: what the device computed: the layer's inputs and output at least.
        layer: which one; by default the first that differs so.

    Raises:
        DumpError: if no such layer differs. FxsimError: if the layer does not.
    """
    graph = trace.graph
    blamed = {r.layer: r for r in compare(trace, dump, mode="single").rows if r.mismatches}
    if not blamed:
        raise DumpError(
            f"{source_of(dump)}: no layer differs when it is given the dump's own inputs: nothing to reproduce"
        )
    if layer is None:
        layer = min(blamed)
    if layer not in blamed:
        raise FxsimError(f"{graph.name}: layer {layer} does not differ; allowed: {listed(sorted(blamed))}")
    node = next(n for n in graph.nodes if n.index == layer)
    count, theirs = trace.batch.count, load(trace, dump).arrays
    out = graph.tensors[node.outputs[0]]
    device = theirs[out.index].reshape(count, *out.shape)
    ours = single(trace, theirs)[out.index].reshape(count, *out.shape)
    n, *index = (int(i) for i in np.argwhere(device != ours)[0])
    given = {
        i: theirs[_held(trace, theirs, i)].reshape(count, *graph.tensors[i].shape)[n]
        for i in node.inputs
        if i != ABSENT and not graph.tensors[i].constant
    }
    where = (n, *index)
    if node.op in CROPPED:
        case, x = _cropped(graph, node, given[node.inputs[0]], tuple(index))
        expected, got = (a[n][tuple(index)].reshape(case.tensors[case.outputs[0]].shape) for a in (device, ours))
        made = next(iter(simulate(case, x, trace.plan.numerics).outputs.values()))
        if np.array_equal(made, got):  # what rounds by position needs its neighbours
            return Reproducer(case, x, expected, got, trace.plan.numerics.name, layer, node.op, where, cropped=True)
    case = alone(graph, node)
    x = {case.tensors[i].name: v for i, v in zip(case.inputs, given.values(), strict=True)}
    return Reproducer(case, x, device[n], ours[n], trace.plan.numerics.name, layer, node.op, where, cropped=False)


def _held(trace: Trace, theirs: Mapping[int, Array], i: int) -> int:
    """The tensor of the dump that has the values of tensor ``i``."""
    return i if i in theirs else getattr(trace.plan, "views", {}).get(i, i)


def alone(graph: Graph, node: Node) -> Graph:
    """The layer as a network of its own."""
    order = [i for i in dict.fromkeys((*node.inputs, *node.outputs)) if i != ABSENT]
    at = {old: new for new, old in enumerate(order)} | {ABSENT: ABSENT}
    tensors = tuple(replace(graph.tensors[old], index=new) for new, old in enumerate(order))
    alone = replace(
        node,
        index=0,
        inputs=tuple(at[i] for i in node.inputs),
        outputs=tuple(at[i] for i in node.outputs),
        intermediates=(),
    )
    inputs = tuple(dict.fromkeys(i for i in alone.inputs if i != ABSENT and not tensors[i].constant))
    return check(Graph(f"layer {node.index} of {Path(graph.name).name}", tensors, (alone,), inputs, alone.outputs))


def _cropped(graph: Graph, node: Node, x: Array, index: tuple[int, ...]) -> tuple[Graph, dict[str, Array]]:
    """One output of a layer with weights: its window of the input, its channel's weights and bias."""
    ins = graph.operands(node.inputs)
    t, w, b = ins[0], ins[1], ins[2] if len(ins) > 2 else None
    assert t is not None and w is not None and w.data is not None
    channel = index[-1]
    if node.op == "FULLY_CONNECTED":
        g = dense_geometry(ins)
        row = int(np.ravel_multi_index(index, graph.tensors[node.outputs[0]].shape)) // g.out_c
        patch, weight = x.reshape(g.out_w, g.in_c)[row][np.newaxis], w.data[channel : channel + 1]
        shape: tuple[int, ...] = (1, 1)
        assert isinstance(node.attributes, FullyConnected)
        attributes: Attributes = replace(node.attributes, keep_dims=False)
    else:
        assert isinstance(node.attributes, Conv2D)
        patch, weight, attributes = _window(node, ins, x, index)
        shape = (1, 1, 1, 1)
    axis = WEIGHT_AXES[node.op][0]
    made = [
        Tensor(0, t.name, patch.shape, t.qtype, t.quant),
        Tensor(1, w.name, weight.shape, w.qtype, _one(w.quant, channel, axis), weight),
    ]
    if b is not None:
        assert b.data is not None
        bias = np.asarray(b.data).reshape(-1)[channel : channel + 1]
        made.append(Tensor(2, b.name, (1,), b.qtype, _one(b.quant, channel, 0), bias))
    out = graph.tensors[node.outputs[0]]
    made.append(Tensor(len(made), out.name, shape, out.qtype, out.quant))
    last = len(made) - 1
    nodes = (Node(0, node.op, tuple(range(last)), (last,), attributes, node.name),)
    return check(Graph(f"one output of layer {node.index}", tuple(made), nodes, (0,), (last,))), {t.name: patch}


def _one(quant: QuantParams | None, channel: int, axis: int) -> QuantParams | None:
    if quant is None or quant.per_tensor:
        return quant
    return QuantParams((quant.scale[channel],), (quant.zero_point[channel],), axis)


def _window(node: Node, ins: list[Tensor | None], x: Array, index: tuple[int, ...]) -> tuple[Array, Array, Conv2D]:
    """The input under one output's window, its padding filled in; the channel's weight; a convolution without padding."""
    attrs, t, w = node.attributes, ins[0], ins[1]
    assert isinstance(attrs, Conv2D) and t is not None and w is not None and w.data is not None
    depthwise = node.op == "DEPTHWISE_CONV_2D"
    g = conv_geometry(ins, attrs, depthwise=depthwise)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w, attrs.dilation_h, attrs.dilation_w)
    image, y, xx, channel = index
    rows = y * attrs.stride_h - top + np.arange((g.kernel_h - 1) * attrs.dilation_h + 1)
    columns = xx * attrs.stride_w - left + np.arange((g.kernel_w - 1) * attrs.dilation_w + 1)
    if depthwise:
        first, width = channel // (g.out_c // g.in_c), 1
        weight = w.data[..., channel : channel + 1]
    else:
        width = g.in_c // g.groups
        first = channel // (g.out_c // g.groups) * width
        weight = w.data[channel : channel + 1]
    zero = t.quant.zero_point[0] if t.quant is not None else 0
    patch = np.full((1, len(rows), len(columns), width), zero, x.dtype)
    inside = np.ix_((rows >= 0) & (rows < g.in_h), (columns >= 0) & (columns < g.in_w))
    source = x[image][np.ix_(rows[(rows >= 0) & (rows < g.in_h)], columns[(columns >= 0) & (columns < g.in_w)])]
    patch[0][inside] = source[..., first : first + width]
    return patch, np.ascontiguousarray(weight), replace(attrs, stride_h=1, stride_w=1, padding="VALID")
