"""Builds small float graphs of the TFLite dialect, layer by layer."""

from typing import Any

import numpy as np

from fxsim.model.check import check
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activated, Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected
from fxsim.model.ops.layout import Axis, Reshape
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.softmax import Softmax
from fxsim.model.qtype import FLOAT32, INT32


class FloatBuilder:
    """Tensors and layers by index."""

    def __init__(self, name: str = "model.tflite") -> None:
        self.name = name
        self.tensors: list[Tensor] = []
        self.nodes: list[Node] = []
        self.inputs: list[int] = []

    def _tensor(self, name, shape, data=None, qtype=FLOAT32) -> int:
        data = None if data is None else np.ascontiguousarray(data, qtype.dtype)
        self.tensors.append(Tensor(len(self.tensors), name, tuple(shape), qtype, None, data))
        return len(self.tensors) - 1

    def input(self, name: str, shape) -> int:
        self.inputs.append(self._tensor(name, shape))
        return self.inputs[-1]

    def constant(self, data, qtype=FLOAT32) -> int:
        data = np.asarray(data)
        return self._tensor(f"c{len(self.tensors)}", data.shape, data, qtype)

    def op(self, op: str, inputs, attributes: Attributes | None = None) -> Any:
        attributes = attributes or spec(op).attributes()
        operands = [None if i == ABSENT else self.tensors[i] for i in inputs]
        shapes = spec(op).infer(operands, attributes, 1)
        outputs = tuple(self._tensor(f"{op.lower()}{len(self.tensors)}", s) for s in shapes)
        name = self.tensors[outputs[0]].name
        self.nodes.append(Node(len(self.nodes), op, tuple(inputs), outputs, attributes, name))
        return outputs[0] if len(outputs) == 1 else outputs

    def conv(self, x, w, b=None, *, stride=1, padding="VALID", activation="NONE", dilation=1) -> int:
        bias = ABSENT if b is None else self.constant(b)
        attrs = Conv2D(activation, stride, stride, padding, dilation, dilation)
        return self.op("CONV_2D", (x, self.constant(w), bias), attrs)

    def depthwise(self, x, w, b=None, *, stride=1, padding="VALID", activation="NONE") -> int:
        bias = ABSENT if b is None else self.constant(b)
        return self.op(
            "DEPTHWISE_CONV_2D", (x, self.constant(w), bias), Conv2D(activation, stride, stride, padding, 1, 1)
        )

    def dense(self, x, w, b=None, activation="NONE") -> int:
        bias = ABSENT if b is None else self.constant(b)
        return self.op("FULLY_CONNECTED", (x, self.constant(w), bias), FullyConnected(activation))

    def pool(self, x, op, size, stride=None, activation="NONE") -> int:
        return self.op(op, (x,), Pool2D(activation, stride or size, stride or size, "VALID", size, size))

    def reshape(self, x, shape) -> int:
        return self.op("RESHAPE", (x, self.constant(shape, INT32)), Reshape(tuple(shape)))

    def softmax(self, x) -> int:
        return self.op("SOFTMAX", (x,), Softmax(1.0))

    def add(self, a, b, activation="NONE") -> int:
        return self.op("ADD", (a, b), Sum(activation))

    def mul(self, a, b, activation="NONE") -> int:
        return self.op("MUL", (a, b), Activated(activation))

    def concat(self, xs, axis=-1) -> int:
        return self.op("CONCATENATION", tuple(xs), Axis("NONE", axis))

    def finish(self, *outputs: int) -> Graph:
        return check(Graph(self.name, tuple(self.tensors), tuple(self.nodes), tuple(self.inputs), outputs))
