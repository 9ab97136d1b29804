"""Work and graphs for the cost tests, built by hand."""

import numpy as np

from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.base import Activated, Attributes
from fxsim.model.ops.conv import Conv2D
from fxsim.model.ops.layout import Reshape
from fxsim.model.qtype import FLOAT32, INT8, INT32, QType, QuantParams, Shape
from fxsim.model.work import Geometry, Work

SCALE = QuantParams((0.5,), (0,))


def conv_work(out_h=8, out_w=8, in_c=16, out_c=16, kernel=3, bits=8, kind="conv", weight_bits=8, batch=1):
    """A stride-1 SAME convolution, depthwise convolution or dense layer (kernel 1, rows along out_w)."""
    if kind == "depthwise":
        in_c = out_c
    if kind == "dense":
        kernel = out_h = batch = 1
    groups = in_c if kind == "depthwise" else 1
    g = Geometry(batch, out_h, out_w, in_c, out_h, out_w, out_c, kernel, kernel, groups=groups)
    weights = out_c * g.window
    return Work(
        kind,
        macs=g.outputs * g.window,
        elements=g.outputs,
        requantized=g.outputs,
        input_bytes=batch * out_h * out_w * in_c * bits // 8,
        weight_bytes=(weights * weight_bits + 7) // 8,
        bias_bytes=4 * out_c,
        output_bytes=g.outputs * bits // 8,
        activation_bits=bits,
        weight_bits=weight_bits,
        per_channel=True,
        geometry=g,
    )


def pool_work(out_h=4, out_w=4, channels=16, kernel=2, bits=8):
    """A pooling whose stride is its kernel."""
    h, w = out_h * kernel, out_w * kernel
    g = Geometry(1, h, w, channels, out_h, out_w, channels, kernel, kernel, kernel, kernel, groups=channels)
    return Work(
        "pool",
        elements=g.outputs,
        element_ops=g.outputs * g.window,
        input_bytes=h * w * channels * bits // 8,
        output_bytes=g.outputs * bits // 8,
        activation_bits=bits,
        geometry=g,
    )


def plain_work(kind="elementwise", elements=100, per_element=1, inputs=2, bits=8, requantized=True, constants=0):
    """A layer without a window."""
    return Work(
        kind,
        elements=elements,
        element_ops=0 if kind == "copy" else elements * per_element,
        requantized=elements if requantized else 0,
        input_bytes=inputs * elements * bits // 8,
        weight_bytes=constants,
        output_bytes=elements * bits // 8,
        activation_bits=bits,
    )


class Net:
    """Adds layers one after the other; each returns the index of the tensor it makes."""

    def __init__(self, shape: Shape = (1, 8, 8, 4), qtype: QType = INT8):
        self.tensors: list[Tensor] = []
        self.nodes: list[Node] = []
        self.input = self.tensor("input", shape, qtype)

    def tensor(self, name, shape, qtype=INT8, data=None):
        quant = None if qtype == FLOAT32 else SCALE
        self.tensors.append(Tensor(len(self.tensors), name, tuple(shape), qtype, quant, data))
        return len(self.tensors) - 1

    def node(self, op, inputs, shape, attributes=None, qtype=INT8, name=None):
        out = self.tensor(f"out{len(self.nodes)}", shape, qtype)
        label = name if name is not None else f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(Node(len(self.nodes), op, tuple(inputs), (out,), attributes or Attributes(), label))
        return out

    def conv(self, x, out_c, kernel=3, name=None):
        _, h, w, c = self.tensors[x].shape
        weight = self.tensor("weight", (out_c, kernel, kernel, c), data=np.zeros((out_c, kernel, kernel, c), np.int8))
        bias = self.tensor("bias", (out_c,), INT32, data=np.zeros(out_c, np.int32))
        return self.node("CONV_2D", (x, weight, bias), (1, h, w, out_c), Conv2D(padding="SAME"), name=name)

    def add(self, a, b):
        return self.node("ADD", (a, b), self.tensors[a].shape, Activated())

    def reshape(self, x, shape):
        return self.node("RESHAPE", (x,), shape, Reshape(new_shape=tuple(shape)))

    def dequantize(self, x):
        return self.node("DEQUANTIZE", (x,), self.tensors[x].shape, qtype=FLOAT32)

    def graph(self, *outputs, name="hand.tflite", file_bytes=0):
        return Graph(name, tuple(self.tensors), tuple(self.nodes), (self.input,), outputs, file_bytes=file_bytes)


def small_graph(name="hand.tflite", layer="first"):
    """Two convolutions, an addition, a view and a conversion to float."""
    net = Net()
    a = net.conv(net.input, 8, name=layer)
    b = net.conv(a, 8)
    c = net.add(a, b)
    d = net.reshape(c, (1, 512))
    return net.graph(net.dequantize(d), name=name)
