"""Repairs after the decisions: biases that undo the mean error of rounding, and rounding that minds the layer's output."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.base import Activated
from fxsim.model.ops.conv import Conv2D, conv_geometry
from fxsim.model.qtype import FLOAT32, Array
from fxsim.numerics import load_numerics
from fxsim.quant.calibration import batches
from fxsim.quant.decide import Choice
from fxsim.quant.quantizers import along
from fxsim.quant.rules import Weighted, bias_of, weighted
from fxsim.quant.scheme import Scheme
from fxsim.quant.weights import on_levels
from fxsim.sim.real.plan import plan_of
from fxsim.sim.real.products import padded, taps
from fxsim.sim.real.registry import bind

BATCH = 16
INFERENCES = 256
"""of the calibration data, at most, that repairs look at"""
POSITIONS = 4096
"""of a layer's windows that a batch shows to adaptive rounding"""
GRAM_BYTES = 1 << 29
"""memory for the second moments of the layers that one pass over the data serves"""
GREATEST_WINDOW = 4608
"""a layer of longer sums is rounded to nearest"""
DAMPING = 0.01
"""of the mean second moment, added to each: what holds a weight near its own value where the data says little"""
SWEEPS = 3
SHARES = np.linspace(1.0, 0.25, 26)
"""of the scale that holds all of a channel: what a search by the output's error tries"""
Reals = npt.NDArray[np.float64]


def with_biases(graph: Graph) -> Graph:
    """The graph with a bias of zeros in each layer of products that has none."""
    tensors, nodes = list(graph.tensors), []
    for node in graph.nodes:
        w = weighted(graph, node)
        if w is not None and bias_of(graph, node, w) is None:
            weight = graph.tensors[node.inputs[w.weight]]
            zeros = np.zeros(weight.shape[w.axis], np.float32)
            tensors.append(Tensor(len(tensors), f"{weight.name}_bias", zeros.shape, FLOAT32, None, zeros))
            node = replace(node, inputs=(*node.inputs[: w.bias], len(tensors) - 1))  # noqa: PLW2901
        nodes.append(node)
    return replace(graph, tensors=tuple(tensors), nodes=tuple(nodes), derived={})


def _weights(graph: Graph, choice: Choice) -> Iterator[tuple[Node, Weighted, int]]:
    """The layers whose weights are decided."""
    for node in graph.nodes:
        w = weighted(graph, node)
        if w is not None and node.inputs[w.weight] in choice.constants:
            yield node, w, node.inputs[w.weight]


def correct_biases(graph: Graph, data: Any, choice: Choice) -> Graph:  # noqa: ANN401
    """The graph whose biases take up what rounding the weights adds to each channel on average.

    A layer of products is linear: its mean error is what it makes of the mean input with ``w_rounded - w``. That is
    averaged over the positions of a channel and taken off its bias.

    Source: Nagel et al.: Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2.
    """
    layers = list(_weights(graph, choice))
    means = _means(graph, data, {n.inputs[w.data] for n, w, _ in layers})
    tensors = list(graph.tensors)
    for node, w, i in layers:
        bias, weight = bias_of(graph, node, w), graph.tensors[i]
        assert bias is not None
        assert bias.data is not None
        assert weight.data is not None
        error = choice.decisions[i].quant.dequantize(choice.constants[i]) - weight.data
        shift = _linear(graph, node, w, means[node.inputs[w.data]], error)
        new = bias.data - shift.reshape(-1, shift.shape[-1]).mean(axis=0).reshape(bias.shape)
        tensors[bias.index] = replace(tensors[bias.index], data=new.astype(np.float32))
    return replace(graph, tensors=tuple(tensors), derived={})


def _means(graph: Graph, data: Any, wanted: set[int]) -> dict[int, Reals]:  # noqa: ANN401
    """The mean of each tensor of ``wanted`` over the data."""
    plan, count = plan_of(graph, load_numerics("float32")), 0
    sums: dict[int, Reals] = {}

    def observe(i: int, x: Array) -> None:
        if i in wanted:
            sums[i] = sums.get(i, np.float64(0)) + x.sum(axis=0, dtype=np.float64)

    for batch in islice(batches(graph, data, BATCH), INFERENCES // BATCH):
        count += batch.count
        plan.run(batch, observe=observe)
    return {i: total / count for i, total in sums.items()}


def _linear(graph: Graph, node: Node, w: Weighted, x: Reals, weight: Reals) -> Reals:
    """What the layer makes of one input by another weight, without bias and activation."""
    inputs = tuple(ABSENT if p == w.bias else i for p, i in enumerate(node.inputs))
    attrs = node.attributes
    assert isinstance(attrs, Activated)
    bare = replace(node, inputs=inputs, attributes=replace(attrs, activation="NONE"))
    values: list[Array | None] = [None if i == ABSENT else graph.tensors[i].data for i in inputs]
    values = [None if v is None else v[np.newaxis] for v in values]
    values[w.data], values[w.weight] = x[np.newaxis], weight[np.newaxis]
    result: Reals = bind(graph, bare, load_numerics("float64"))(values)[0]
    return result


def round_adaptively(graph: Graph, data: Any, choice: Choice, scheme: Scheme) -> None:  # noqa: ANN401
    """Rounds each weight up or down so that the layer's output, not the weight, has the least squared error.

    With ``d = w_rounded - w`` and the second moments ``G = E[x x^T]`` of a layer's windows, the output's squared error is
    ``d^T G d``. Where the scheme clips, scales are chosen by it first. Then, weight by weight, each takes the integer that
    is best with all others as they are (:func:`descend`). Each layer sees the float network's data.

    Source: Nagel et al.: Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020 (the objective); Behdin
    et al.: QuantEase, 2023 (coordinate descent).
    """
    layers = [
        (n, w, i) for n, w, i in _weights(graph, choice) if choice.levels[i].size and _window(graph, n) and scheme.of(n)
    ]
    while layers:
        room, now = GRAM_BYTES, layers[:0]
        while layers and (not now or _gram_bytes(graph, layers[0][0]) <= room):
            room -= _gram_bytes(graph, layers[0][0])
            now.append(layers.pop(0))
        moments = _moments(graph, data, [n for n, _, _ in now])
        for node, w, _ in now:
            kind = scheme.of(node)
            search = kind is not None and not kind.power_of_two and ("clip" in kind.corrections or kind.weight_bits < 3)
            _round_layer(graph, node, w, choice, moments[node.index], search=search)


def _round_layer(graph: Graph, node: Node, w: Weighted, choice: Choice, moments: Reals, *, search: bool) -> None:
    """One layer's weight."""
    i = node.inputs[w.weight]
    decision, weight, levels = choice.decisions[i], graph.tensors[i].data, choice.levels[i]
    assert weight is not None
    quant = decision.quant
    zero = quant.zero_point[0]
    spread = np.broadcast_to(along(quant.scale, quant.axis, weight.ndim), weight.shape)
    real, scale, q = (_as_rows(np.asarray(a, np.float64), node, w) for a in (weight, spread, choice.constants[i]))
    levels, q, scale = levels - zero, q - zero, scale[:, :, :1]
    k = real.shape[-1]
    damping = DAMPING * np.trace(moments, axis1=1, axis2=2) / k + 1e-30
    g = moments + damping[:, None, None] * np.eye(k)
    q = descend(real, scale, q, g, levels)
    if search and not quant.per_tensor:
        scale, q = _other_scales(real, scale, q, levels, g)
    if not quant.per_tensor:
        kept = tuple(float(s) for s in scale.reshape(-1).astype(np.float32))
        choice.decisions[i] = replace(decision, quant=replace(quant, scale=kept))
    choice.constants[i] = _from_rows(q + zero, node, w, weight.shape).astype(decision.qtype.dtype)


def _cost(d: Reals, g: Reals) -> Reals:
    """``d^T G d`` of each row."""
    cost: Reals = np.sum((d @ g) * d, axis=-1, keepdims=True)
    return cost


def _other_scales(weight: Reals, scale: Reals, q: Array, levels: Array, g: Reals) -> tuple[Reals, Array]:
    """Scale and integers of each row with less error, if shares of the scale that holds all of it have some.

    The share that is best with nearest rounding is rounded adaptively, and so are the full scale and their middle.
    """
    full = np.abs(weight).max(axis=-1, keepdims=True) / levels[-1]
    full = np.where(full > 0, full, scale)
    costs = [_cost(share * full * on_levels(levels, weight / (share * full)) - weight, g) for share in SHARES]
    nearest = SHARES[np.argmin(np.stack(costs), axis=0)] * full
    least = _cost(scale * q - weight, g)
    for wanted in (full, np.sqrt(full * nearest), nearest):
        tried = wanted.astype(np.float32).astype(np.float64)
        found = descend(weight, tried, on_levels(levels, weight / tried), g, levels)
        cost = _cost(tried * found - weight, g)
        better = cost < least
        scale, q, least = np.where(better, tried, scale), np.where(better, found, q), np.minimum(cost, least)
    return scale, q


def descend(weight: Reals, scale: Reals, q: Array, g: Reals, levels: Array) -> Array:
    """Integers of ``levels`` with a small ``d^T G d`` of each row, ``d = scale * q - weight``, found from ``q`` on.

    Each weight in turn takes the level nearest to ``q - (G d)_k / (scale * G_kk)``, where the error as a function of it
    alone is least, so that the error never rises. ``weight`` and ``q`` ``(groups, O, K)``; ``scale`` ``(groups, O, 1)``;
    ``g`` ``(groups, K, K)``.
    """
    q = q.astype(np.float64)
    slope = (scale * q - weight) @ g
    for _ in range(SWEEPS):
        moved = False
        for j in range(weight.shape[-1]):
            diagonal = g[:, j, j, None]
            new = on_levels(levels, q[:, :, j] - slope[:, :, j] / (scale[:, :, 0] * diagonal))
            change = new - q[:, :, j]
            if np.any(change):
                slope += (change * scale[:, :, 0])[..., None] * g[:, None, j]
                q[:, :, j] = new
                moved = True
        if not moved:
            break
    return q.astype(np.int64)


def _window(graph: Graph, node: Node) -> int:
    """The products of one output; 0 for a layer that is rounded to nearest."""
    shape = graph.tensors[node.inputs[1]].shape
    x = graph.tensors[node.inputs[0]].shape
    if node.op == "FULLY_CONNECTED":
        k = shape[1]
    elif node.op == "CONV_2D" and shape[3] == x[3]:
        k = shape[1] * shape[2] * shape[3]
    elif node.op == "DEPTHWISE_CONV_2D" and shape[3] == x[3]:
        k = shape[1] * shape[2]
    else:
        return 0
    return k if k <= GREATEST_WINDOW else 0


def _gram_bytes(graph: Graph, node: Node) -> int:
    many = graph.tensors[node.inputs[1]].shape[3] if node.op == "DEPTHWISE_CONV_2D" else 1
    return 8 * many * _window(graph, node) ** 2


def _as_rows(a: Array, node: Node, w: Weighted) -> Array:
    """``(groups, O, K)``: depthwise layers have a group for each channel."""
    rows = np.moveaxis(a, w.axis, 0).reshape(a.shape[w.axis], -1)
    return rows[:, None] if node.op == "DEPTHWISE_CONV_2D" else rows[None]


def _from_rows(rows: Array, node: Node, w: Weighted, shape: tuple[int, ...]) -> Array:
    channels = shape[w.axis]
    rest = tuple(s for i, s in enumerate(shape) if i != w.axis)
    return np.moveaxis(rows.reshape(channels, *rest), 0, w.axis)


def _moments(graph: Graph, data: Any, nodes: list[Node]) -> dict[int, Reals]:  # noqa: ANN401
    """Layer -> ``E[x x^T]`` of its windows, ``(groups, K, K)``."""
    plan, rng = plan_of(graph, load_numerics("float32")), np.random.default_rng(0)
    sums: dict[int, Reals] = {}
    readers: dict[int, list[Node]] = {}
    for n in nodes:
        readers.setdefault(n.inputs[0], []).append(n)

    def observe(i: int, x: Array) -> None:
        for n in readers.get(i, ()):
            windows = _windows(graph, n, x, rng)
            seen = np.matmul(windows.transpose(0, 2, 1), windows).astype(np.float64)
            sums[n.index] = sums.get(n.index, np.float64(0)) + seen / windows.shape[1]

    for batch in islice(batches(graph, data, BATCH), INFERENCES // BATCH):
        plan.run(batch, observe=observe)
    return sums


def _windows(graph: Graph, node: Node, x: Array, rng: np.random.Generator) -> Array:
    """``(groups, rows, K)``: windows of the layer's inputs, a random choice where there are many."""
    if node.op == "FULLY_CONNECTED":
        k = graph.tensors[node.inputs[1]].shape[1]
        return _some(x.reshape(-1, k), rng)[None]
    attrs, depthwise = node.attributes, node.op == "DEPTHWISE_CONV_2D"
    assert isinstance(attrs, Conv2D)
    g = conv_geometry(graph.operands(node.inputs), attrs, depthwise=depthwise)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w, g.dilation_h, g.dilation_w)
    cells = [t.reshape(-1, g.in_c) for t in taps(padded(x.reshape(-1, *x.shape[2:]), g, (top, 0, left, 0)), g)]
    chosen = _chosen(len(cells[0]), rng)
    columns = np.stack([c[chosen] for c in cells], axis=1)  # rows, taps, channels
    if depthwise:
        return np.ascontiguousarray(columns.transpose(2, 0, 1))
    return columns.reshape(1, len(columns), -1)


def _chosen(rows: int, rng: np.random.Generator) -> Array:
    return np.arange(rows) if rows <= POSITIONS else np.sort(rng.choice(rows, POSITIONS, replace=False))


def _some(rows: Array, rng: np.random.Generator) -> Array:
    return rows[_chosen(len(rows), rng)]
