"""Float ONNX networks: convolutions with all kinds of padding, residuals, normalizations, an encoder block."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.build_onnx import OnnxBuilder


@dataclass(slots=True)
class Net:
    """A network in the making: names of values, and their shapes without the batch."""

    rng: Any
    b: OnnxBuilder
    shapes: dict[str, tuple[int, ...]]

    def const(self, values) -> str:
        return self.b.constant(np.asarray(values), "float32")

    def conv(self, x, channels, kernel, group=1, bias=True, **window):
        """Conv; weights keep the variance."""
        c = self.shapes[x][0]
        w = self.rng.normal(size=(channels, c // group, *kernel)) / np.sqrt(c // group * np.prod(kernel))
        inputs = [x, self.const(w), *([self.const(self.rng.normal(size=channels) / 4)] if bias else [])]
        y = self.b.op("Conv", inputs, kernel_shape=list(kernel), group=group, **window)
        return self.keep(y, (channels, *self.sizes(x, kernel, **window)))

    def sizes(self, x, kernel, strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), auto_pad="NOTSET", ceil_mode=0):
        n, out = len(kernel), []
        for i, (size, k) in enumerate(zip(self.shapes[x][1:], kernel, strict=True)):
            reach = (k - 1) * dilations[i] + 1
            if auto_pad.startswith("SAME"):
                out.append(-(-size // strides[i]))
                continue
            room = size + pads[i] + pads[n + i] - reach
            steps = -(-room // strides[i]) if ceil_mode else room // strides[i]
            steps -= ceil_mode and steps * strides[i] >= size + pads[i]
            out.append(steps + 1)
        return tuple(out)

    def keep(self, y, shape):
        self.shapes[y] = tuple(shape)
        return y

    def norm(self, x):
        """BatchNormalization with parameters that matter."""
        c = self.shapes[x][0]
        values = (
            self.rng.uniform(0.5, 1.5, c),
            self.rng.normal(size=c),
            self.rng.normal(size=c),
            self.rng.uniform(0.5, 2, c),
        )
        return self.keep(self.b.op("BatchNormalization", [x, *map(self.const, values)], epsilon=1e-3), self.shapes[x])

    def alone(self, op, x, *more, **attributes):
        return self.keep(self.b.op(op, [x, *more], **attributes), self.shapes[x])


ACTIVATIONS = ("", "Relu", "Clip6", "Clip1", "LeakyRelu", "Sigmoid", "HardSwish", "Tanh", "Elu", "Swish")


def activate(net, x, name):
    """One of :data:`ACTIVATIONS`."""
    if name == "Clip6":
        return net.alone("Clip", x, net.const(0.0), net.const(6.0))
    if name == "Clip1":
        return net.alone("Clip", x, net.const(-1.0), net.const(1.0))
    if name == "Swish":
        return net.alone("Mul", x, net.alone("Sigmoid", x))
    return net.alone(name, x) if name else x


@st.composite
def networks(draw) -> tuple[bytes, tuple[int, ...]]:
    """An ``.onnx`` file of a CNN, and the shape of its input."""
    net = Net(np.random.default_rng(draw(st.integers(0, 1 << 20))), OnnxBuilder(), {})
    size = draw(st.integers(6, 13)), draw(st.integers(6, 13))
    c = draw(st.sampled_from([1, 2, 3, 4]))
    x = net.keep(net.b.input("x", (1, c, *size), "float32"), (c, *size))
    outputs = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(
            st.sampled_from(["conv", "conv", "depthwise", "grouped", "residual", "branches", "pool", "pad", "split"])
        )
        c, h, w = net.shapes[x]
        if min(h, w) < 5:  # a kernel of 3 with dilation 2 reaches so far
            break
        kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 2), (3, 2), (1, 3)]))
        window = {"strides": list(draw(st.sampled_from([(1, 1), (2, 2), (1, 2)]))), "dilations": [1, 1]}
        if draw(st.booleans()) and kind != "pool":
            window["dilations"] = [1, draw(st.integers(1, 2))]
        padding = draw(st.sampled_from(["none", "half", "odd", "SAME_UPPER", "SAME_LOWER"]))
        if padding.startswith("SAME"):
            window |= {"auto_pad": padding, "dilations": [1, 1]}  # ONNX Runtime takes no dilation with it
        else:
            half = [k // 2 for k in kernel]
            window["pads"] = {"none": [0] * 4, "half": half * 2, "odd": [half[0], 0, half[0] // 2, half[1]]}[padding]
        if kind == "residual":
            y = net.conv(x, c, (3, 3), pads=[1] * 4, bias=draw(st.booleans()))
            x = net.alone("Add", net.norm(y), x)
        elif kind == "branches":
            a, b = net.conv(x, 3, (3, 3), pads=[1] * 4), net.norm(net.conv(x, 2, (1, 1)))
            x = net.keep(net.b.op("Concat", [a, b], axis=1), (5, h, w))
        elif kind == "pool":
            window.pop("dilations")
            if "auto_pad" in window:  # ONNX Runtime takes no stride beyond the kernel with it
                window["strides"] = [min(v, k) for v, k in zip(window["strides"], kernel, strict=True)]
            op = draw(st.sampled_from(["MaxPool", "AveragePool", "AveragePool include"]))
            more = {"count_include_pad": 1} if op.endswith("include") else {}
            window |= {"ceil_mode": draw(st.integers(0, 1))} if "pads" in window else {}
            if max(kernel) > 1:
                y = net.b.op(op.split()[0], [x], kernel_shape=list(kernel), **window, **more)
                x = net.keep(y, (c, *net.sizes(x, kernel, **window)))
        elif kind == "pad":
            fill = net.const(draw(st.sampled_from([0.0, 0.5])))
            y = net.b.op("Pad", [x, net.b.constant([0, 0, 1, 0, 0, 0, 0, 2], "int64"), fill])
            x = net.keep(y, (c, h + 1, w + 2))
        elif kind == "split" and c > 1:
            sizes = [1, c - 1]
            y = net.b.op("Split", [x, net.b.constant(sizes, "int64")], [f"{x}_a", f"{x}_b"], axis=1)
            x = net.keep(net.b.op("Concat", [f"{x}_b", y], axis=1), (c, h, w))
        elif kind != "split":
            group = {"conv": 1, "depthwise": c, "grouped": 2 if c % 2 == 0 else 1}[kind]
            x = net.conv(x, group * draw(st.integers(1, 3)), kernel, group, draw(st.booleans()), **window)
            x = net.norm(x) if draw(st.booleans()) else x
        x = activate(net, x, draw(st.sampled_from(ACTIVATIONS)))
        if draw(st.integers(0, 5)) == 0:
            outputs.append(x)
    c, h, w = net.shapes[x]
    head = draw(st.sampled_from(["image", "flatten", "pool", "mean"]))
    if head in ("flatten", "pool"):
        y = net.b.op("GlobalAveragePool", [x]) if head == "pool" else x
        k = c if head == "pool" else c * h * w
        y = net.b.op("Flatten", [y])
        weight = net.rng.normal(size=(k, 7)) / np.sqrt(k)
        x = net.b.op("Gemm", [y, net.const(weight), net.const(net.rng.normal(size=7))])
        x = net.b.op("Softmax", [x], axis=-1) if draw(st.booleans()) else x
    elif head == "mean":
        x = net.b.op("ReduceMean", [x, net.b.constant([2, 3], "int64")], keepdims=0)
    outputs = list(dict.fromkeys([*outputs, net.b.op("Identity", [x], "out")]))
    return net.b.finish([(o, "float32") for o in outputs]), (1, net.shapes["x"][0], *size)


def encoder(erf_order=0) -> bytes:
    """A block of a transformer encoder over 6 tokens of width 16; ``erf_order``: the ways to write GELU."""
    rng = np.random.default_rng(4)
    b = OnnxBuilder()
    n = Net(rng, b, {})
    x = b.input("x", (1, 6, 16), "float32")

    def dense(v, rows, columns):
        product = b.op("MatMul", [v, n.const(rng.normal(size=(rows, columns)) / np.sqrt(rows))])
        return b.op("Add", [product, n.const(rng.normal(size=columns) / 4)])

    def heads(v, perm):
        split = b.op("Reshape", [v, b.constant([1, 6, 4, 4], "int64")])
        return b.op("Transpose", [split], perm=perm)

    q, k, v = (
        heads(dense(x, 16, 16), [0, 2, 1, 3]),
        heads(dense(x, 16, 16), [0, 2, 3, 1]),
        heads(dense(x, 16, 16), [0, 2, 1, 3]),
    )
    shares = b.op("Softmax", [b.op("Div", [b.op("MatMul", [q, k]), n.const(2.0)])], axis=-1)
    mixed = b.op("Transpose", [b.op("MatMul", [shares, v])], perm=[0, 2, 1, 3])
    attended = dense(b.op("Reshape", [mixed, b.constant([1, 6, 16], "int64")]), 16, 16)

    def norm(v):
        return b.op(
            "LayerNormalization",
            [v, n.const(rng.uniform(0.5, 1.5, 16)), n.const(rng.normal(size=16))],
            axis=-1,
            epsilon=1e-5,
        )

    y = norm(b.op("Add", [x, attended]))
    h = dense(y, 16, 32)
    inner = b.op("Div", [h, n.const(np.sqrt(2))]) if erf_order != 1 else b.op("Mul", [h, n.const(np.sqrt(0.5))])
    curve = b.op("Add", [b.op("Erf", [inner]), n.const(1.0)])
    if erf_order == 0:
        g = b.op("Mul", [b.op("Mul", [h, curve]), n.const(0.5)])
    elif erf_order == 1:
        g = b.op("Mul", [b.op("Mul", [h, n.const(0.5)]), curve])
    else:
        g = b.op("Mul", [b.op("Mul", [n.const(0.5), curve]), h])
    out = norm(b.op("Add", [y, dense(g, 32, 16)]))
    b.op("ReduceMean", [out, b.constant([1], "int64")], "out", keepdims=0)
    return b.finish({"out": "float32"})
