"""Notes constant scales and zero points on the tensors that they describe."""

from dataclasses import replace

import numpy as np

from fxsim.errors import ModelError
from fxsim.model.check import where
from fxsim.model.graph import ABSENT, Graph, Tensor
from fxsim.model.ops import OPS
from fxsim.model.ops.onnx_base import OnnxSpec
from fxsim.model.ops.onnx_quantize import Linear
from fxsim.model.qtype import QuantParams


def annotate(graph: Graph) -> Graph:
    """The graph with ``quant`` set where a node says it: by the layer that makes a tensor, else by the first that uses it.

    Raises:
        ModelError: on a scale that is not finite and above 0.
    """
    tensors = list(graph.tensors)

    def note(data: int, scale: int, zero: int, axis: int | None) -> None:
        t = tensors[data]
        if t.quant is None and t.qtype.kind == "int" and scale != ABSENT:
            tensors[data] = replace(t, quant=_quant(t, tensors[scale], None if zero == ABSENT else tensors[zero], axis))

    for node in graph.nodes:
        spec = OPS[node.op]
        assert isinstance(spec, OnnxSpec)

        def at(i: int, ins: tuple[int, ...] = node.inputs) -> int:
            return ins[i] if i < len(ins) else ABSENT

        linear = node.attributes if isinstance(node.attributes, Linear) else None
        try:
            for n, (data, scale, zero) in enumerate(spec.params):
                axis = 0 if node.op == "QLinearConv" else -1
                if linear is None or not linear.block:
                    note(at(data), at(scale), at(zero), linear.axis if linear else axis if n else None)
            if spec.output_params is not None and (linear is None or not linear.block):
                scale, zero = spec.output_params
                note(node.outputs[0], at(scale), at(zero), linear.axis if linear else None)
        except ModelError as e:
            raise ModelError(f"{where(graph, node)}: {e}") from None
    return replace(graph, tensors=tuple(tensors))


def _quant(t: Tensor, scale: Tensor, zero: Tensor | None, axis: int | None) -> QuantParams | None:
    if scale.data is None or (zero is not None and zero.data is None):
        return None
    scales = np.asarray(scale.data, np.float32).reshape(-1)
    zeros = np.zeros(1, np.int64) if zero is None else np.asarray(zero.data).reshape(-1).astype(np.int64)
    if not scales.size or np.any(scales <= 0):
        raise ModelError(f"scale {scale.name!r} of {t.name!r} is {scales.min(initial=0)}; allowed: above 0")
    if zeros.size != scales.size:
        zeros = np.repeat(zeros, scales.size) if zeros.size == 1 else zeros
    n = len(t.shape)
    if scales.size == 1:
        axis = None
    elif axis is not None and n:
        axis %= n
    if zeros.size != scales.size or (scales.size > 1 and (axis is None or t.shape[axis] != scales.size)):
        return None
    return QuantParams(tuple(float(s) for s in scales), tuple(int(z) for z in zeros), axis)
