"""Layers without a model file: shapes and bits that ``fxsim.estimate`` takes as it takes a model, alone or in a list.

    fxsim.estimate(fxsim.layer.gemm(196, 256, 512), "systolic-32x32-os")
    fxsim.estimate([fxsim.layer.conv2d(32, 32, 3, 16), fxsim.layer.gemm(1, 10, 64)], "ethos-u55-128")

The weights have no values: cost models that ask for them take them as incompressible.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fxsim.errors import FxsimError
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected, Padding
from fxsim.model.qtype import INT32, INT64, Array, QType, QuantParams, Shape

WIDEST = 16
"""bits of activations and weights, at most"""
_QUANT = QuantParams((1.0,), (0,))


def _positive(what: str, **sizes: int) -> None:
    for name, v in sizes.items():
        if not isinstance(v, int) or v < 1:
            raise FxsimError(f"{what}: {name} is {v!r}; allowed: integers of at least 1")


def _layer(what: str, op: str, attributes: Attributes, x: Shape, w: Shape, out: Shape, channels: int, bits: int,
           weight_bits: int | None) -> Graph:  # fmt: skip
    weight_bits = weight_bits or min(bits, 8)
    for name, b in (("bits", bits), ("weight_bits", weight_bits)):
        if not isinstance(b, int) or not 1 <= b <= WIDEST:
            raise FxsimError(f"{what}: {name} is {b!r}; allowed: 1 to {WIDEST}")
    bias = INT64 if bits > 8 else INT32
    tensors = (
        Tensor(0, "input", x, QType(bits), _QUANT),
        Tensor(1, "weight", w, QType(weight_bits), _QUANT, _valueless(w)),
        Tensor(2, "bias", (channels,), bias, _QUANT, _valueless((channels,))),
        Tensor(3, "output", out, QType(bits), _QUANT),
    )
    return Graph(what, tensors, (Node(0, op, (0, 1, 2), (3,), attributes, what),), (0,), (3,))


def _valueless(shape: Shape) -> Array:
    """A constant of that shape that takes no memory: every element is the same zero."""
    return np.broadcast_to(np.int8(0), shape)


def gemm(m: int, n: int, k: int, bits: int = 8, weight_bits: int | None = None) -> Graph:
    """``(m, k) x (k, n)``: a dense layer of ``n`` outputs from ``k`` inputs, on ``m`` rows; ``m * n * k`` MACs."""
    _positive("gemm", m=m, n=n, k=k)
    return _layer(
        f"gemm {m}x{n}x{k}", "FULLY_CONNECTED", FullyConnected(), (m, k), (n, k), (m, n), n, bits, weight_bits
    )


def conv2d(
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    padding: Padding = "SAME",
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    batch: int = 1,
    bits: int = 8,
    weight_bits: int | None = None,
) -> Graph:
    """A convolution over an input of ``(batch, height, width, in_channels)``.

    ``batch * out_height * out_width * out_channels * kernel_h * kernel_w * in_channels / groups`` MACs.
    """
    (kh, kw), (sh, sw), (dh, dw) = map(_pair, (kernel, stride, dilation))
    _positive("conv2d", height=height, width=width, in_channels=in_channels, out_channels=out_channels)
    _positive("conv2d", kernel=min(kh, kw), stride=min(sh, sw), dilation=min(dh, dw), groups=groups, batch=batch)
    if in_channels % groups or out_channels % groups:
        raise FxsimError(f"conv2d: groups is {groups}; allowed: divisors of {in_channels} and {out_channels}")
    attributes = Conv2D("NONE", sh, sw, padding, dh, dw)
    oh, ow, _, _ = attributes.output(height, width, kh, kw, dh, dw)
    x, out = (batch, height, width, in_channels), (batch, oh, ow, out_channels)
    weight = (out_channels, kh, kw, in_channels // groups)
    name = f"conv2d {height}x{width}x{in_channels}->{out_channels} {kh}x{kw}"
    return _layer(name, "CONV_2D", attributes, x, weight, out, out_channels, bits, weight_bits)


def depthwise_conv2d(
    height: int,
    width: int,
    channels: int,
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    padding: Padding = "SAME",
    dilation: int | tuple[int, int] = 1,
    multiplier: int = 1,
    batch: int = 1,
    bits: int = 8,
    weight_bits: int | None = None,
) -> Graph:
    """A convolution of each channel alone, over ``(batch, height, width, channels)``; ``multiplier`` outputs a channel."""
    (kh, kw), (sh, sw), (dh, dw) = map(_pair, (kernel, stride, dilation))
    _positive("depthwise_conv2d", height=height, width=width, channels=channels, multiplier=multiplier, batch=batch)
    _positive("depthwise_conv2d", kernel=min(kh, kw), stride=min(sh, sw), dilation=min(dh, dw))
    attributes = Conv2D("NONE", sh, sw, padding, dh, dw)
    oh, ow, _, _ = attributes.output(height, width, kh, kw, dh, dw)
    n = channels * multiplier
    x, out = (batch, height, width, channels), (batch, oh, ow, n)
    name = f"depthwise_conv2d {height}x{width}x{channels} {kh}x{kw}"
    return _layer(name, "DEPTHWISE_CONV_2D", attributes, x, (1, kh, kw, n), out, n, bits, weight_bits)


def _pair(v: int | tuple[int, int]) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else v


def network(layers: Sequence[Graph]) -> Graph:
    """The layers one after the other. A layer that takes as many elements as the one before makes takes its output.

    Raises:
        FxsimError: if there is none.
    """
    if not layers:
        raise FxsimError("a network of 0 layers; allowed: at least 1")
    tensors: list[Tensor] = []
    nodes: list[Node] = []
    inputs: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    for graph in layers:
        place = {t.index: t.index + len(tensors) for t in graph.tensors} | {ABSENT: ABSENT}
        tensors += [replace(t, index=place[t.index]) for t in graph.tensors]
        if len(last) == len(graph.inputs) == 1 and tensors[last[0]].elements == graph.tensors[graph.inputs[0]].elements:
            place[graph.inputs[0]] = last[0]
        else:
            inputs += tuple(place[i] for i in graph.inputs)
        for n in graph.nodes:
            ins, outs = (tuple(place[i] for i in side) for side in (n.inputs, n.outputs))
            nodes.append(replace(n, index=len(nodes), inputs=ins, outputs=outs))
        last = tuple(place[i] for i in graph.outputs)
    name = layers[0].name if len(layers) == 1 else f"{len(layers)} layers"
    return Graph(name, tuple(tensors), tuple(nodes), inputs, last)
