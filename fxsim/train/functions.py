"""The real function of each op of the TFLite dialect, in torch: what training differentiates.

Every value carries a leading axis of inferences before the axes that the graph gives it: ``(N, *shape)``; constants have
``N = 1``. Functions whose slope is infinite at 0 (RSQRT, SQRT, LOG, DIV) are flat below :data:`LEAST`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fxsim.errors import UnsupportedOp, listed
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.ops import spec
from fxsim.model.ops.activation import Gelu
from fxsim.model.ops.base import Activated, Activation, Operands
from fxsim.model.ops.conv import Conv2D, FullyConnected, Window
from fxsim.model.ops.gather import Gather
from fxsim.model.ops.matmul import BatchMatMul
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.ops.reduce import Reduce, reduced_axes
from fxsim.model.ops.softmax import Softmax

LEAST = 1e-12
Function = Callable[..., Tensor]
"""``(site, *inputs)`` -> output; None stands for an input that is left out"""
Ready = Callable[[Sequence[Tensor | None]], list[Tensor]]
"""inputs -> outputs of one prepared layer"""


@dataclass(frozen=True, slots=True)
class Site:
    """A layer with its model tensors."""

    graph: Graph
    node: Node

    @property
    def inputs(self) -> Operands:
        """The model tensors that the layer takes."""
        return self.graph.operands(self.node.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first output, of one inference."""
        return self.graph.tensors[self.node.outputs[0]].shape


def activate(y: Tensor, activation: Activation) -> Tensor:
    """A fused activation.

    Raises:
        UnsupportedOp: if there is no real function of that name.
    """
    match activation:
        case "NONE":
            return y
        case "RELU":
            return torch.relu(y)
        case "RELU6":
            return y.clamp(0, 6)
        case "RELU_N1_TO_1":
            return y.clamp(-1, 1)
        case "TANH":
            return torch.tanh(y)
    raise UnsupportedOp(f"fused activation is {activation}; trained: NONE, RELU, RELU6, RELU_N1_TO_1, TANH")


def _images(x: Tensor) -> Tensor:
    """``(N, B, H, W, C)`` as torch lays images out: ``(N * B, C, H, W)``."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def _as_made(y: Tensor, site: Site) -> Tensor:
    """Torch's images as the layer's output ``(N, B, H, W, C)``."""
    return y.permute(0, 2, 3, 1).reshape(-1, *site.shape)


def _windowed(x: Tensor, attrs: Window, kernel: tuple[int, int], dilation: tuple[int, int], fill: float) -> Tensor:
    """Images with the border that the window walks over."""
    h, w = x.shape[-2:]
    oh, ow, top, left = attrs.output(h, w, *kernel, *dilation)
    bottom = (oh - 1) * attrs.stride_h + (kernel[0] - 1) * dilation[0] + 1 - h - top
    right = (ow - 1) * attrs.stride_w + (kernel[1] - 1) * dilation[1] + 1 - w - left
    return functional.pad(x, (left, right, top, bottom), value=fill)


def _constant(w: Tensor, site: Site) -> Tensor:
    """A weight without the axis of inferences."""
    if len(w) != 1:
        raise UnsupportedOp(f"layer {site.node.index} {site.node.op} {site.node.name!r}: trained with constant weights")
    return w[0]


def _conv(site: Site, x: Tensor, w: Tensor, b: Tensor | None, *, depthwise: bool) -> Tensor:
    attrs, w = site.node.attributes, _constant(w, site)
    assert isinstance(attrs, Conv2D)
    dilation = (attrs.dilation_h, attrs.dilation_w)
    image = _windowed(_images(x), attrs, (w.shape[1], w.shape[2]), dilation, 0.0)
    kernel = w.permute(3, 0, 1, 2) if depthwise else w.permute(0, 3, 1, 2)
    bias = None if b is None else b.reshape(-1)
    groups = x.shape[-1] // kernel.shape[1]
    return _as_made(functional.conv2d(image, kernel, bias, (attrs.stride_h, attrs.stride_w), 0, dilation, groups), site)


def conv_2d(site: Site, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """``sum(x * w) + b`` over a sliding window."""
    return _conv(site, x, w, b, depthwise=False)


def depthwise_conv_2d(site: Site, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """As CONV_2D, each output channel from one input channel."""
    return _conv(site, x, w, b, depthwise=True)


def fully_connected(site: Site, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """``x w' + b`` over the rows of the input."""
    attrs = site.node.attributes
    assert isinstance(attrs, FullyConnected)
    y = x.reshape(len(x), -1, w.shape[-1]) @ w.transpose(-1, -2)
    return (y if b is None else y + b.reshape(1, 1, -1)).reshape(-1, *site.shape)


def batch_matmul(site: Site, x: Tensor, y: Tensor) -> Tensor:
    """``x y`` over the last two axes."""
    attrs = site.node.attributes
    assert isinstance(attrs, BatchMatMul)
    x, y = (v.transpose(-1, -2) if swapped else v for v, swapped in ((x, attrs.adj_x), (y, attrs.adj_y)))
    return torch.matmul(*_aligned(x, y))


def average_pool_2d(site: Site, x: Tensor) -> Tensor:
    """The mean of each window, of what lies within the image."""
    attrs = site.node.attributes
    assert isinstance(attrs, Pool2D)
    kernel, stride = (attrs.kernel_h, attrs.kernel_w), (attrs.stride_h, attrs.stride_w)
    image = _images(x)
    inside = _windowed(torch.ones_like(image[:1, :1]), attrs, kernel, (1, 1), 0.0)
    share = functional.avg_pool2d(inside, kernel, stride)
    return _as_made(functional.avg_pool2d(_windowed(image, attrs, kernel, (1, 1), 0.0), kernel, stride) / share, site)


def max_pool_2d(site: Site, x: Tensor) -> Tensor:
    """The greatest value of each window."""
    attrs = site.node.attributes
    assert isinstance(attrs, Pool2D)
    kernel, stride = (attrs.kernel_h, attrs.kernel_w), (attrs.stride_h, attrs.stride_w)
    return _as_made(
        functional.max_pool2d(_windowed(_images(x), attrs, kernel, (1, 1), -math.inf), kernel, stride), site
    )


def _reduced(function: Callable[..., Tensor]) -> Function:
    def reduce(site: Site, x: Tensor, _: Tensor | None) -> Tensor:
        attrs = site.node.attributes
        assert isinstance(attrs, Reduce)
        axes = [a + 1 for a in reduced_axes(site.inputs)]
        return function(x, axes, keepdim=attrs.keep_dims) if axes else x

    return reduce


def softmax(site: Site, x: Tensor) -> Tensor:
    """``exp(beta * x)`` over its sum along the last axis."""
    attrs = site.node.attributes
    assert isinstance(attrs, Softmax)
    return torch.softmax(attrs.beta * x, -1)


def gelu(site: Site, x: Tensor) -> Tensor:
    """``x * Phi(x)``, exact or by the hyperbolic tangent."""
    attrs = site.node.attributes
    assert isinstance(attrs, Gelu)
    return functional.gelu(x, approximate="tanh" if attrs.approximate else "none")


def leaky_relu(site: Site, x: Tensor) -> Tensor:
    """``x``, times alpha below 0."""
    attrs = site.node.attributes
    assert isinstance(attrs, LeakyRelu)
    return functional.leaky_relu(x, attrs.alpha)


def looked_up(site: Site, table: Tensor, positions: Tensor) -> Tensor:
    """Rows of a table by position: GATHER along the first axis.

    Raises:
        UnsupportedOp: along another axis.
    """
    attrs = site.node.attributes
    if isinstance(attrs, Gather) and (attrs.axis or attrs.batch_dims):
        raise UnsupportedOp(f"axis is {attrs.axis}, batch_dims is {attrs.batch_dims}; trained: 0 and 0")
    return _constant(table, site)[positions.long()]


def _aligned(*values: Tensor) -> list[Tensor]:
    """Values of equal rank: ones come between the axis of inferences and the rest."""
    rank = max(v.dim() for v in values)
    return [v.reshape(len(v), *[1] * (rank - v.dim()), *v.shape[1:]) for v in values]


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda site, x, y: function(*_aligned(x, y))


def _one(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda site, x: function(x)


def _away_from_zero(y: Tensor) -> Tensor:
    return torch.where(y.abs() < LEAST, torch.where(y < 0, -LEAST, LEAST), y)


FUNCTIONS: dict[str, Function] = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
    "AVERAGE_POOL_2D": average_pool_2d,
    "MAX_POOL_2D": max_pool_2d,
    "MEAN": _reduced(torch.mean),
    "SUM": _reduced(torch.sum),
    "REDUCE_MAX": _reduced(torch.amax),
    "REDUCE_MIN": _reduced(torch.amin),
    "ADD": _two(torch.add),
    "SUB": _two(torch.sub),
    "MUL": _two(torch.mul),
    "DIV": _two(lambda x, y: x / _away_from_zero(y)),
    "SQUARED_DIFFERENCE": _two(lambda x, y: (x - y).square()),
    "MAXIMUM": _two(torch.maximum),
    "MINIMUM": _two(torch.minimum),
    "PRELU": _two(lambda x, alpha: torch.relu(x) - alpha * torch.relu(-x)),
    "RELU": _one(torch.relu),
    "RELU6": _one(lambda x: x.clamp(0, 6)),
    "RELU_N1_TO_1": _one(lambda x: x.clamp(-1, 1)),
    "RELU_0_TO_1": _one(lambda x: x.clamp(0, 1)),
    "LEAKY_RELU": leaky_relu,
    "ABS": _one(torch.abs),
    "NEG": _one(torch.neg),
    "SQUARE": _one(torch.square),
    "LOGISTIC": _one(torch.sigmoid),
    "TANH": _one(torch.tanh),
    "ELU": _one(functional.elu),
    "GELU": gelu,
    "HARD_SWISH": _one(functional.hardswish),
    "EXP": _one(torch.exp),
    "LOG": _one(lambda x: x.clamp(min=LEAST).log()),
    "SQRT": _one(lambda x: x.clamp(min=LEAST).sqrt()),
    "RSQRT": _one(lambda x: x.clamp(min=LEAST).rsqrt()),
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": _one(lambda x: torch.log_softmax(x, -1)),
    "L2_NORMALIZATION": _one(lambda x: functional.normalize(x, dim=-1)),
    "GATHER": looked_up,
    "EMBEDDING_LOOKUP": lambda site, positions, table: looked_up(site, table, positions),
}
"""op -> its real function; ops that only move values (``OpSpec.move``) need none"""


def _moved(site: Site) -> Ready:
    """An op that brings values to other places: where each output lies among the inputs is found once, by moving numbers."""
    ins, move = site.inputs, spec(site.node.op).move
    assert move is not None
    arrays, first = [], 1  # 0 is what a border holds
    for t in ins:
        if t is None or t.qtype.kind != "float":
            arrays.append(np.empty(0) if t is None else np.asarray(t.data))
        else:
            arrays.append(np.arange(first, first + t.elements).reshape(t.shape))
            first += t.elements
    places = move(ins, site.node.attributes, len(site.node.outputs))(arrays)
    index = [torch.from_numpy(np.ascontiguousarray(p).reshape(-1)) for p in places]

    def run(values: Sequence[Tensor | None]) -> list[Tensor]:
        real = [
            v for v, t in zip(values, ins, strict=True) if v is not None and t is not None and t.qtype.kind == "float"
        ]
        n = max(len(v) for v in real)
        flat = torch.cat([real[0].new_zeros(n, 1), *(v.reshape(len(v), -1).expand(n, -1) for v in real)], 1)
        return [flat[:, i.to(flat.device)].reshape(n, *p.shape) for i, p in zip(index, places, strict=True)]

    return run


def prepare(graph: Graph, node: Node) -> Ready:
    """The real function of one layer.

    Raises:
        UnsupportedOp: if the layer has none, or takes what is computed where training needs a constant.
    """
    site = Site(graph, node)
    function = FUNCTIONS.get(node.op)
    where = f"{graph.name}: layer {node.index} {node.op} {node.name!r}"
    if function is None or (node.op == "GATHER" and graph.tensors[node.inputs[1]].constant):
        computed = [t for t in site.inputs if t is not None and t.qtype.kind != "float" and not t.constant]
        if spec(node.op).move is None or computed:
            raise UnsupportedOp(f"{where}: training knows no slope of it; it knows {listed(sorted(FUNCTIONS))}")
        return _moved(site)

    def run(values: Sequence[Tensor | None]) -> list[Tensor]:
        y = function(site, *values)
        attrs = node.attributes
        return [activate(y, attrs.activation) if isinstance(attrs, Activated) else y]

    return run


def operands(node: Node, values: dict[int, Tensor]) -> list[Tensor | None]:
    """The values of a node's inputs; None where one is absent or holds no real numbers."""
    return [None if i == ABSENT else values.get(i) for i in node.inputs]
