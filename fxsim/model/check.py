"""Holds a graph against the rules of its ops before anything runs: types, shapes, order, sizes.

An importer calls :func:`check` last, so that every later room may trust a :class:`Graph`.
"""

import math
from collections.abc import Iterable, Iterator

from fxsim.errors import FxsimError, ModelError, UnsupportedOp, listed
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.ops.base import Operands, Unread
from fxsim.model.qtype import TYPES, Shape

MAX_TENSOR_BYTES = 1 << 30
"""A larger tensor is refused: no network of fxsim's world has one, and a hostile file must not exhaust memory."""


def where(graph: Graph, node: Node) -> str:
    """``file, layer 3 CONV_2D 'name'``: where an error is."""
    return f"{graph.name}: layer {node.index} {node.op} {node.name!r}"


def check(graph: Graph, *, any_bits: bool = False) -> Graph:
    """The graph, if it is sound. ``any_bits`` as in :func:`check_operands`.

    Raises:
        ModelError: on a tensor of impossible size, a value used before it is made, or shapes that do not fit.
        UnsupportedOp: on an op or element type that fxsim does not know.
    """
    for t in graph.tensors:
        if any(s < 0 for s in t.shape) or t.qtype.bytes(math.prod(t.shape)) > MAX_TENSOR_BYTES:
            raise ModelError(
                f"{graph.name}: tensor {t.index} {t.name!r} has shape {list(t.shape)}; "
                f"allowed: static sizes, at most {MAX_TENSOR_BYTES} bytes"
            )
    for node, fault in faults(graph, any_bits=any_bits):
        raise type(fault)(f"{where(graph, node)}: {fault}")
    made = {i for n in graph.nodes for i in n.outputs} | {t.index for t in graph.tensors if t.constant}
    missing = [i for i in graph.outputs if i not in made and i not in graph.inputs]
    if missing:
        raise ModelError(f"{graph.name}: output tensors {missing} are made by no layer")
    for called in graph.called:
        check(called, any_bits=any_bits)
    return graph


def faults(graph: Graph, *, any_bits: bool = False) -> Iterator[tuple[Node, FxsimError]]:
    """What is wrong with each layer of the main graph, or what of it fxsim does not know; layers in order.

    ``any_bits`` as in :func:`check_operands`.
    """
    ready = {t.index for t in graph.tensors if t.constant or t.variable} | set(graph.inputs)
    for node in graph.nodes:
        try:
            _check_node(graph, node, ready, any_bits=any_bits)
        except FxsimError as e:
            yield node, e
        ready.update(node.outputs)


def _check_count(what: str, got: int, least: int, most: int) -> None:
    if not least <= got <= most:
        allowed = str(least) if least == most else f"{least} to {most}"
        raise ModelError(f"has {got} {what}; allowed: {allowed}")


def check_operands(node: Node, inputs: Operands, outputs: Operands, *, any_bits: bool = False) -> None:
    """Holds the numbers of a layer's inputs and outputs and their types against its op.

    ``any_bits``: where an op takes integers of 8 bits, it takes those of 1 to 16.

    Raises:
        ModelError: if there are too many or too few; UnsupportedOp: on another type, or on what a reader could not read.
    """
    if isinstance(node.attributes, Unread):
        raise UnsupportedOp(node.attributes.reason)
    op = spec(node.op)
    if not isinstance(node.attributes, op.attributes):
        raise ModelError(f"has attributes {node.attributes}; allowed: {op.attributes.__name__}")
    _check_count("inputs", len(inputs), op.min_inputs, op.max_inputs)
    _check_count("outputs", len(outputs), op.min_outputs, op.max_outputs)
    for i, t in enumerate(inputs):
        allowed = (op.dtypes[min(i, len(op.dtypes) - 1)] if op.dtypes else ()) or TYPES
        if t is not None and not _allows(allowed, t, any_bits):
            raise UnsupportedOp(f"input {i} {t.name!r} is {t.qtype.name}; supported: {listed(allowed)}")
    for i, t in enumerate(outputs):
        if t is not None and not _allows(TYPES, t, any_bits):
            raise UnsupportedOp(f"output {i} {t.name!r} is {t.qtype.name}; supported: {listed(TYPES)}")


def _allows(names: Iterable[str], t: Tensor, any_bits: bool) -> bool:
    narrow = any_bits and t.qtype.kind == "int" and t.qtype.bits <= 16
    # What an op does to float32 it does to every float; a numerics profile says which of them it computes.
    name = "float32" if t.qtype.kind == "float" else t.qtype.name
    return name in names or (narrow and not {"int8", "uint8"}.isdisjoint(names))


def _check_node(graph: Graph, node: Node, ready: Iterable[int], *, any_bits: bool) -> None:
    inputs, outputs = graph.operands(node.inputs), graph.operands(node.outputs)
    check_operands(node, inputs, outputs, any_bits=any_bits)
    for i in node.inputs:
        if i != ABSENT and i not in ready:
            raise ModelError(f"input tensor {i} is used before any layer makes it")
    if any(t is None or t.constant or t.index in graph.inputs for t in outputs):
        raise ModelError("writes to a constant, to a model input, or to no tensor")
    expected: tuple[Shape, ...] = spec(node.op).infer(inputs, node.attributes, len(outputs))
    for t, shape in zip(outputs, expected, strict=False):
        if t is not None and t.shape != shape:
            raise ModelError(f"output {t.name!r} is declared {list(t.shape)}, but the op makes {list(shape)}")
