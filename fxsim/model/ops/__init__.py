"""All ops that the model floor knows, by name."""

from fxsim.errors import UnsupportedOp, listed
from fxsim.model.graph import Graph, Node
from fxsim.model.ops import (
    activation,
    arithmetic,
    binary,
    cast,
    compare,
    conv,
    gather,
    layout,
    matmul,
    onnx_choice,
    onnx_conv,
    onnx_dense,
    onnx_layout,
    onnx_make,
    onnx_pointwise,
    onnx_pool,
    onnx_quantize,
    onnx_reduce,
    onnx_resize,
    plain,
    pool,
    quantize,
    rectify,
    recurrent,
    reduce,
    resize,
    shape,
    signal,
    softmax,
    space,
    state,
    transpose_conv,
)
from fxsim.model.ops.base import OpSpec
from fxsim.model.work import Work

MODULES = (
    conv,
    transpose_conv,
    matmul,
    recurrent,
    binary,
    pool,
    reduce,
    arithmetic,
    activation,
    rectify,
    plain,
    compare,
    softmax,
    quantize,
    layout,
    gather,
    space,
    shape,
    cast,
    resize,
    signal,
    state,
    onnx_conv,
    onnx_dense,
    onnx_pool,
    onnx_pointwise,
    onnx_reduce,
    onnx_quantize,
    onnx_layout,
    onnx_choice,
    onnx_make,
    onnx_resize,
)
OPS: dict[str, OpSpec] = {s.name: s for m in MODULES for s in m.SPECS}


def spec(op: str) -> OpSpec:
    """The spec of an op, or an UnsupportedOp that lists what there is."""
    try:
        return OPS[op]
    except KeyError:
        raise UnsupportedOp(f"op {op} is not supported; supported: {listed(sorted(OPS))}") from None


def work(graph: Graph, node: Node) -> Work:
    """What ``node`` has to do, from the shapes of its tensors."""
    return spec(node.op).work(graph.operands(node.inputs), graph.operands(node.outputs), node.attributes)
