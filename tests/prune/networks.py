"""Random quantized networks with residuals, depthwise layers, joins and flattening."""

import numpy as np

from fxsim.model.check import check
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.ops.conv import Conv2D, FullyConnected, Window
from fxsim.model.ops.layout import Axis, Reshape
from fxsim.model.qtype import INT8, INT32, QuantParams


class Draft:
    """A graph in the making; layers return the index of their output."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.tensors, self.nodes = [], []

    def tensor(self, shape, qtype=INT8, quant=None, data=None):
        self.tensors.append(Tensor(len(self.tensors), f"t{len(self.tensors)}", tuple(shape), qtype, quant, data))
        return len(self.tensors) - 1

    def activation(self, shape):
        return self.tensor(shape, INT8, QuantParams((0.05,), (int(self.rng.integers(-128, 128)),)))

    def node(self, op, inputs, outputs, attributes=None):
        self.nodes.append(
            Node(len(self.nodes), op, inputs, outputs, attributes or spec(op).attributes(), f"l{len(self.nodes)}")
        )
        return outputs[0]

    def weighted(self, op, x, shape, axis, out_shape, attributes):
        channels = shape[axis]
        scales = tuple(np.float32(v).item() for v in self.rng.uniform(0.01, 0.05, channels))
        w = self.tensor(
            shape, INT8, QuantParams(scales, (0,) * channels, axis), self.rng.integers(-127, 128, shape, np.int8)
        )
        quant = QuantParams(tuple(np.float32(0.05 * s).item() for s in scales), (0,) * channels, 0)
        b = self.tensor((channels,), INT32, quant, self.rng.integers(-900, 900, channels, np.int32))
        return self.node(op, (x, w, b), (self.activation(out_shape),), attributes)

    def conv(self, x, channels, kernel=3):
        n, h, w, c = self.tensors[x].shape
        attributes = Conv2D("RELU", 1, 1, "SAME")
        return self.weighted("CONV_2D", x, (channels, kernel, kernel, c), 0, (n, h, w, channels), attributes)

    def depthwise(self, x, multiplier=1):
        n, h, w, c = self.tensors[x].shape
        attributes = Conv2D("NONE", 1, 1, "SAME")
        return self.weighted(
            "DEPTHWISE_CONV_2D", x, (1, 3, 3, c * multiplier), 3, (n, h, w, c * multiplier), attributes
        )

    def dense(self, x, units):
        k = int(np.prod(self.tensors[x].shape[1:]))
        return self.weighted("FULLY_CONNECTED", x, (units, k), 0, (1, units), FullyConnected("NONE"))

    def add(self, a, b):
        return self.node("ADD", (a, b), (self.activation(self.tensors[a].shape),))

    def join(self, a, b):
        n, h, w, c = self.tensors[a].shape
        shape = n, h, w, c + self.tensors[b].shape[3]
        quant = self.tensors[a].quant
        self.tensors[b] = Tensor(b, f"t{b}", self.tensors[b].shape, INT8, quant)
        return self.node("CONCATENATION", (a, b), (self.tensor(shape, INT8, quant),), Axis(axis=3))

    def pool(self, x):
        n, h, w, c = self.tensors[x].shape
        # fxsim's AVERAGE_POOL_2D has its window among its attributes.
        attributes = spec("AVERAGE_POOL_2D").attributes(stride_h=2, stride_w=2, kernel_h=2, kernel_w=2)
        assert isinstance(attributes, Window)
        return self.node(
            "AVERAGE_POOL_2D", (x,), (self.tensor((n, h // 2, w // 2, c), INT8, self.tensors[x].quant),), attributes
        )

    def flatten(self, x):
        size = self.tensors[x].elements
        shape = self.tensor((2,), INT32, None, np.array([1, size], np.int32))
        return self.node("RESHAPE", (x, shape), (self.tensor((1, size), INT8, self.tensors[x].quant),), Reshape())


def network(seed):
    """A network of 4x4 images in which every way of following channels occurs."""
    d = Draft(seed)
    rng = d.rng
    x = first = d.activation((1, 4, 4, int(rng.integers(1, 4))))
    a = d.conv(x, int(rng.integers(4, 12)))
    b = d.conv(a, d.tensors[a].shape[3])
    c = d.add(a, b)
    e = d.depthwise(c, int(rng.integers(1, 3)))
    f = d.conv(c, int(rng.integers(4, 12)), kernel=1)
    x = d.pool(d.join(e, f))
    if rng.random() < 0.5:
        x = d.flatten(x)
    x = d.dense(x, int(rng.integers(4, 12)))
    x = d.dense(x, 5)
    return check(Graph(f"net{seed}", tuple(d.tensors), tuple(d.nodes), (first,), (x,)))
