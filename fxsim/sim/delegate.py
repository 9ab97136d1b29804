"""Which layers of a network a delegate takes from the engine that it is part of.

A profile with a delegate computes those layers with the delegate's settings, all others with its own.
"""

from collections.abc import Callable

from fxsim.arith.multiplier import float32
from fxsim.errors import UnsupportedOp
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.ops.transpose_conv import TransposeConv

_BYTES = {"int8", "uint8"}
MAX_RANK = 6
"""axes of a tensor that XNNPACK takes"""


def _inputs(graph: Graph, node: Node, count: int) -> tuple[Tensor | None, ...]:
    """The first ``count`` inputs, None where one is left out."""
    found = [None if i == ABSENT else graph.tensors[i] for i in node.inputs]
    return (*found, *[None] * count)[:count]


def _bytes(*tensors: Tensor | None) -> bool:
    """True if all are of one 8-bit type and few axes, and have one scale each, along axis 0 as far as the file says."""
    if any(t is not None and len(t.shape) > MAX_RANK for t in tensors):
        return False
    types = {t.qtype.name if t is not None else "" for t in tensors}
    scales = [t.quant for t in tensors if t is not None]
    return len(types) == 1 and types <= _BYTES and all(q is not None and q.per_tensor and not q.axis for q in scales)


def _ratio(a: Tensor, b: Tensor) -> float:
    """The float32 ratio of two scales."""
    assert a.quant is not None
    assert b.quant is not None
    return float32(a.quant.scale[0] / b.quant.scale[0])


def _constant(t: Tensor | None, *, types: tuple[str, ...]) -> bool:
    return t is not None and t.data is not None and t.quant is not None and t.qtype.name in types


def _checked(x: Tensor, w: Tensor, out: Tensor) -> bool:
    """True; a rescale of 256 or more makes the delegate fail, and with it the engine.

    Raises:
        UnsupportedOp: if the engine fails.
    """
    assert x.quant is not None
    assert w.quant is not None
    assert out.quant is not None
    worst = max(float32(float32(x.quant.scale[0] * s) / out.quant.scale[0]) for s in w.quant.scale)
    if not worst < 2.0**8:
        raise UnsupportedOp(f"a rescale by {worst:g}; the engine's delegate allows less than 256")
    return True


def _real(x: Tensor | None, w: Tensor | None, bias: Tensor | None, *, types: tuple[str, ...]) -> bool:
    """True if the input is float32, the weight a constant of one of ``types``, and any bias a constant."""
    if x is None or w is None or x.qtype.name != "float32" or (bias is not None and bias.data is None):
        return False
    if w.data is None or w.qtype.name not in types:
        return False
    return w.quant is None or not any(w.quant.zero_point)


def _convolution(graph: Graph, node: Node) -> bool:
    """With constant weights per tensor or per output channel, and a constant bias."""
    x, w, bias = _inputs(graph, node, 3)
    out = graph.tensors[node.outputs[0]]
    if _real(x, w, bias, types=("float32",) if node.op == "DEPTHWISE_CONV_2D" else ("float32", "int8")):
        return bias is not None
    if x is None or w is None or not _bytes(x, out) or not _constant(bias, types=("int32",)):
        return False
    if not _constant(w, types=(x.qtype.name,)) or (w.qtype.name == "uint8" and not _bytes(w)):
        return False
    return _checked(x, w, out)


def _dense(graph: Graph, node: Node) -> bool:
    """With constant weights of two axes, zero point 0 unless uint8, and rows of whole bytes; any bias is constant."""
    x, w, bias = _inputs(graph, node, 3)
    out = graph.tensors[node.outputs[0]]
    if _real(x, w, bias, types=("float32", "int8")):
        return True
    if x is None or w is None or not _bytes(x, out) or len(w.shape) != 2:
        return False
    if not _constant(w, types=("uint8",) if x.qtype.name == "uint8" else ("int8", "int4")):
        return False
    assert w.quant is not None
    if w.qtype.name == "int8" and any(w.quant.zero_point):
        return False
    if (w.qtype.name == "uint8" and not _bytes(w)) or (w.qtype.name == "int4" and w.shape[1] % 2):
        return False
    return (bias is None or _constant(bias, types=("int32",))) and _checked(x, w, out)


def _transposed(graph: Graph, node: Node) -> bool:
    """To a constant size, with constant weights per tensor or per output channel; any bias is constant.

    VALID: the output holds the kernel; SAME: the kernel is not below the stride, and the input not too large.
    """
    size, w, x, bias = _inputs(graph, node, 4)
    out = graph.tensors[node.outputs[0]]
    if size is not None and size.data is not None and _real(x, w, bias, types=("float32",)):
        return True
    if size is None or size.data is None or x is None or w is None or not _bytes(x, out):
        return False
    attrs, valid = node.attributes, True
    assert isinstance(attrs, TransposeConv)
    for axis, stride in ((1, attrs.stride_h), (2, attrs.stride_w)):
        kernel, made = w.shape[axis], out.shape[axis]
        same = kernel >= stride and -(-made // stride) == x.shape[axis]
        valid = valid and (kernel <= made if attrs.padding == "VALID" else same)
    if not valid:
        return False
    if not _constant(w, types=(x.qtype.name,)) or (w.qtype.name == "uint8" and not _bytes(w)):
        return False
    return (bias is None or _constant(bias, types=("int32",))) and _checked(x, w, out)


def _matrices(graph: Graph, node: Node) -> bool:
    """Of float32; or of int8, the second with zero point 0."""
    a, b, out = (graph.tensors[i] for i in (*node.inputs, *node.outputs))
    if a.qtype.name == b.qtype.name == out.qtype.name == "float32":
        return True
    if a.qtype.name != "int8" or b.quant is None or not (_bytes(a, out) and b.quant.per_tensor):
        return False
    return b.qtype.name == "int8" and not any(b.quant.zero_point) and _checked(a, b, out)


def _sum(graph: Graph, node: Node) -> bool:
    """Of 8 bits, each input's scale from 2**-10 to below 2**8 of the output's."""
    a, b, out = (graph.tensors[i] for i in (*node.inputs, *node.outputs))
    return _bytes(a, b, out) and all(2.0**-10 <= _ratio(t, out) < 2.0**8 for t in (a, b))


def _product(graph: Graph, node: Node) -> bool:
    """Of 8 bits, the float32 rescale from 2**-16 to below 2**8."""
    a, b, out = (graph.tensors[i] for i in (*node.inputs, *node.outputs))
    if not _bytes(a, b, out):
        return False
    scales = [t.quant.scale[0] for t in (a, b, out) if t.quant is not None]
    return 2.0**-16 <= float32(float32(scales[0] * scales[1]) / scales[2]) < 2.0**8


def _conversion(graph: Graph, node: Node) -> bool:
    """From float; or of 8-bit integers of one type, rescaled by 2**-8 to 2**7."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if x.qtype.name == "float32":
        return _bytes(out)
    return _bytes(x, out) and 2.0**-8 <= _ratio(x, out) <= 2.0**7


def _leaky(graph: Graph, node: Node) -> bool:
    """Of floats; or rescaled by 2**-8 to 2**7, below zero by as much, or by the negative of nearly as much."""
    attrs, (x, out) = node.attributes, (graph.tensors[i] for i in (node.inputs[0], node.outputs[0]))
    assert isinstance(attrs, LeakyRelu)
    if x.qtype.name == "float32":
        return True
    if not _bytes(x, out) or not abs(attrs.alpha) >= 2.0**-126:
        return False
    positive = _ratio(x, out)
    negative = float32(positive * attrs.alpha)
    return 2.0**-8 <= positive <= 2.0**7 and -127.99609375 <= negative <= 2.0**7 and abs(negative) >= 2.0**-8


def _unary(graph: Graph, node: Node) -> bool:
    """Of 8 bits."""
    return _bytes(graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]])


def _pool(graph: Graph, node: Node) -> bool:
    """Of 8 bits, with strides of at most the window."""
    attrs = node.attributes
    assert isinstance(attrs, Pool2D)
    return _unary(graph, node) and attrs.stride_h <= attrs.kernel_h and attrs.stride_w <= attrs.kernel_w


def _signed(graph: Graph, node: Node) -> bool:
    """Of int8 alone."""
    return all(graph.tensors[i].qtype.name == "int8" for i in (node.inputs[0], node.outputs[0]))


def _from_bytes(graph: Graph, node: Node) -> bool:
    """Of 8 bits to float."""
    return _bytes(graph.tensors[node.inputs[0]]) and graph.tensors[node.outputs[0]].qtype.name == "float32"


def _reduction(graph: Graph, node: Node) -> bool:
    """Of 8 bits, along constant axes."""
    axes = graph.tensors[node.inputs[1]].data
    return _unary(graph, node) and axes is not None and axes.size > 0


def _equal_scales(graph: Graph, node: Node) -> bool:
    """Of 8 bits, with the scale and zero point of the input; others make the delegate fail, and with it the engine.

    Raises:
        UnsupportedOp: if the engine fails.
    """
    x = graph.tensors[node.inputs[spec(node.op).data_input]]
    for out in (graph.tensors[i] for i in node.outputs):
        if _bytes(x, out) and x.quant != out.quant:
            raise UnsupportedOp(
                f"input {x.name!r} and output {out.name!r} have different scales or zero points; "
                "supported by the engine's delegate: the same"
            )
    return _bytes(x)


def _resize(graph: Graph, node: Node) -> bool:
    """Of 8 bits or float, to a constant size."""
    x, size, out = (graph.tensors[i] for i in (*node.inputs, *node.outputs))
    real = x.qtype.name == out.qtype.name == "float32"
    return size.data is not None and (real or (_bytes(x, out) and _equal_scales(graph, node)))


_XNNPACK: dict[str, Callable[[Graph, Node], bool]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transposed,
    "BATCH_MATMUL": _matrices,
    "ADD": _sum,
    "SUB": _sum,
    "MUL": _product,
    "MEAN": _reduction,
    "SUM": _reduction,
    "QUANTIZE": _conversion,
    "DEQUANTIZE": _from_bytes,
    "LEAKY_RELU": _leaky,
    "LOGISTIC": _unary,
    "TANH": _unary,
    "ELU": _signed,
    "MAX_POOL_2D": _pool,
    "RESIZE_BILINEAR": _resize,
    **dict.fromkeys(("TRANSPOSE", "PAD", "SPLIT", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"), _equal_scales),
}


def _xnnpack(graph: Graph, node: Node) -> bool:
    """True if the XNNPACK delegate takes the layer; False too for layers that come out alike either way.

    Source: tflite/delegates/xnnpack/xnnpack_delegate.cc @ LiteRT 2.3.0.
    """
    rule = _XNNPACK.get(node.op)
    return rule is not None and rule(graph, node)


DELEGATES: dict[str, Callable[[Graph, Node], bool]] = {"xnnpack": _xnnpack}


def takes(delegate: str, graph: Graph, node: Node) -> bool:
    """True if ``delegate`` computes ``node``."""
    return DELEGATES[delegate](graph, node)
