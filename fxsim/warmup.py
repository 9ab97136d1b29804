"""Compiles now what a model needs, so that no later call waits for it: kernels are kept on disk."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from fxsim import layer
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.reduce import Reduce
from fxsim.model.ops.softmax import Softmax
from fxsim.model.qtype import INT8, INT32, QuantParams, Shape
from fxsim.numerics import numerics_of
from fxsim.sim import simulate
from fxsim.sim.inputs import random_values
from fxsim.sim.plan import Plan, plan_of

PROFILES = ("litert-reference", "litert-xnnpack", "tflm")
"""the arithmetic of most users"""
SCALE, PROBABILITY = QuantParams((0.125,), (-3,)), QuantParams((1 / 256,), (-128,))
RESCALED = QuantParams((50.0,), (-4,)), QuantParams((64.0,), (-3,))
"""of outputs, as they often are: sums are divided by some tens; with ties at every level, and without"""

Need = Callable[[], object]


def needs(graph: Graph, numerics: str | None = None) -> list[Need]:
    """What ``graph`` needs as ``numerics`` computes: each call makes one kernel or some ready; the last runs the model."""
    profile = numerics_of(graph.name, numerics)
    plan = plan_of(graph, profile)
    rng = np.random.default_rng(0)
    x = [random_values(t, rng, 1)[0] for t in (graph.tensors[i] for i in graph.inputs)]
    steps = plan.executed(frozenset(graph.outputs)) if isinstance(plan, Plan) else []
    native = [s.native.function for s in steps if s.native]
    return [*native, lambda: simulate(graph, x, profile)]


def common() -> list[Graph]:
    """The layers of common int8 networks: each in the sizes that have kernels of their own."""
    dense = [(1, 1), (1, 10), (1, 128), (64, 8), (64, 24), (64, 64), (64, 96), (64, 128), (9, 64), (9, 256)]
    products = [
        *(layer.gemm(rows, channels, 40) for rows, channels in dense),
        *(layer.conv2d(8, 8, 16, channels, kernel=1) for channels in (8, 24, 64, 96)),
        *(layer.depthwise_conv2d(8, 8, 16, kernel=k) for k in (1, 2, 3, 4)),
        layer.depthwise_conv2d(49, 10, 1, kernel=(10, 4)),
        layer.depthwise_conv2d(32, 112, 64, kernel=3),  # so large that it is computed in strips
    ]
    images = [(1, k, k, 16) for k in (2, 3, 4)]
    return [
        *(_rescaled(graph, quant) for graph in products for quant in RESCALED),
        *(_alone("AVERAGE_POOL_2D", Pool2D(kernel_h=x[1], kernel_w=x[2]), [x], (1, 1, 1, 16)) for x in images),
        *(_alone("MEAN", Reduce(), [x], (1, 16), constant=np.array([1, 2], np.int32)) for x in images),
        _alone("MAX_POOL_2D", Pool2D(kernel_h=2, kernel_w=2, stride_h=2, stride_w=2), images[2:], (1, 2, 2, 16)),
        *(_alone("ADD", Sum(), images[2:] * 2, images[2], quant) for quant in (SCALE, QuantParams((0.3,), (-3,)))),
        _alone(
            "PAD",
            Attributes(),
            images[2:],
            (1, 5, 5, 16),
            constant=np.array([(0, 0), (0, 1), (0, 1), (0, 0)], np.int32),
        ),
        _alone("TRANSPOSE", Attributes(), [(1, 3, 8, 8)], (1, 8, 8, 3), constant=np.array([0, 2, 3, 1], np.int32)),
        _alone("SOFTMAX", Softmax(), [(1, 12)], (1, 12), PROBABILITY),
    ]


def _rescaled(graph: Graph, quant: QuantParams) -> Graph:
    """The layer with another scale of its output, and weights whose sums reach all of its levels."""

    def changed(t: Tensor) -> Tensor:
        if t.index in graph.outputs:
            return replace(t, quant=quant)
        return replace(t, data=np.full_like(t.data, 127)) if t.data is not None and t.qtype == INT8 else t

    return replace(graph, tensors=tuple(map(changed, graph.tensors)), derived={})


def _alone(
    op: str,
    attributes: Attributes,
    inputs: Iterable[Shape],
    output: Shape,
    quant: QuantParams = SCALE,
    constant: np.ndarray | None = None,
) -> Graph:
    """A layer without weights."""
    tensors = [Tensor(i, f"input{i}", shape, INT8, SCALE) for i, shape in enumerate(inputs)]
    given = tuple(range(len(tensors)))
    if constant is not None:
        tensors.append(Tensor(len(tensors), "axes", constant.shape, INT32, data=constant))
    tensors.append(Tensor(len(tensors), "output", output, INT8, quant))
    node = Node(0, op, tuple(range(len(tensors) - 1)), (len(tensors) - 1,), attributes, op)
    return Graph(op, tuple(tensors), (node,), given, (len(tensors) - 1,))
