"""A float graph as a torch module: its constants are parameters, its layers the real functions of their ops."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fxsim.convert import to_tflite
from fxsim.errors import InputError, ModelError, listed
from fxsim.model.graph import ABSENT, Graph
from fxsim.model.ops.conv import WEIGHT_AXES
from fxsim.train.functions import prepare

Inputs = Any
"""one array or tensor, or a dict (by input name) or list of them"""
T = TypeVar("T")
Hook = Callable[[int, Tensor], Tensor]
"""tensor index, its real value -> the value that layers read"""


class Network(nn.Module):
    """The real function of a float graph of the TFLite dialect.

    Parameters are weights and biases, and other float constants of more than one element; ``constants[str(i)]`` is tensor
    ``i``. A batch ``(N, *shape)`` carries one axis more than the graph's input, or its first axis is ``N`` times as long.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        used = {i for n in graph.nodes for i in n.inputs if i != ABSENT}
        for t in (graph.tensors[i] for i in sorted(used)):
            if t.quant is not None:
                raise ModelError(
                    f"{graph.name}: tensor {t.name!r} is {t.qtype.name}; allowed: graphs that are float throughout"
                )
        self.graph = replace(graph, derived={})
        self._layers = [prepare(graph, node) for node in graph.nodes]
        self.constants = nn.ParameterDict()
        self.register_buffer("_zero", torch.zeros(()), persistent=False)
        self._weights = list(dict.fromkeys(n.inputs[1] for n in graph.nodes if n.op in WEIGHT_AXES))
        kernels = {i for n in graph.nodes if n.op in WEIGHT_AXES for i in n.inputs[1:] if i != ABSENT}
        for t in (graph.tensors[i] for i in sorted(used)):
            if t.data is None or t.qtype.kind != "float":
                continue
            learned = t.index in kernels or t.elements > 1
            data = torch.tensor(np.asarray(t.data), dtype=torch.float32)
            self.constants[str(t.index)] = nn.Parameter(data, requires_grad=learned)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.get_buffer("_zero").device

    def weights(self) -> Iterator[tuple[int, nn.Parameter]]:
        """``(tensor index, parameter)`` of every layer's weight (not its bias)."""
        for i in self._weights:
            if str(i) in self.constants:
                yield i, self.constants[str(i)]

    def values(self, x: Inputs, constant: Hook | None = None, made: Hook | None = None) -> dict[int, Tensor]:
        """Every tensor ``(N, *shape)`` by index; hooks may replace what constants and layers (and inputs) hold."""
        g = self.graph
        values: dict[int, Tensor] = {}
        for key, parameter in self.constants.items():
            values[int(key)] = (constant(int(key), parameter) if constant else parameter)[None]
        for i, given in zip(g.inputs, stacked(g, x), strict=True):
            v = given.to(self.device)
            values[i] = made(i, v) if made and v.is_floating_point() else v
        for node, layer in zip(g.nodes, self._layers, strict=True):
            results = layer([None if i == ABSENT else values.get(i) for i in node.inputs])
            for i, y in zip(node.outputs, results, strict=True):
                values[i] = made(i, y) if made else y
        return values

    def score_tensor(self) -> int:
        """The tensor that a loss reads: the first output, or what its SOFTMAX is made from."""
        (last,) = self.graph.outputs[:1]
        made = {i: n for n in self.graph.nodes for i in n.outputs}
        node = made.get(last)
        return node.inputs[0] if node is not None and node.op == "SOFTMAX" else last

    def scores(self, x: Inputs) -> Tensor:
        """The logits ``(N, classes)`` that a loss reads."""
        return flat_scores(self.values(x)[self.score_tensor()])

    def forward(self, x: Inputs) -> Tensor | list[Tensor]:
        """The output ``(N, *shape)``, or a list of several."""
        values = self.values(x)
        return as_called([values[i] for i in self.graph.outputs])

    def to_graph(self) -> Graph:
        """The float graph with the parameters as they are now."""
        tensors = list(self.graph.tensors)
        for key, parameter in self.constants.items():
            data = parameter.detach().cpu().numpy().astype(tensors[int(key)].qtype.dtype)
            data.setflags(write=False)
            tensors[int(key)] = replace(tensors[int(key)], data=data)
        return replace(self.graph, tensors=tuple(tensors), derived={})


def from_graph(graph: Graph) -> Network:
    """A module that computes what the float ``graph`` (``.tflite``, ``.onnx``) computes, its constants as parameters.

    Raises:
        ModelError: if the graph is quantized already; UnsupportedOp: if a layer has no slope that training knows.
    """
    return Network(to_tflite(graph))


def as_called(outputs: list[T]) -> T | list[T]:
    """One output as it is, several as a list."""
    return outputs[0] if len(outputs) == 1 else outputs


def flat_scores(y: Tensor) -> Tensor:
    """``(N, 1, ..., classes)`` as ``(N, classes)``.

    Raises:
        InputError: if a prediction is more than one row.
    """
    if y[0].numel() != y.shape[-1]:
        raise InputError(f"the scores of one inference have shape {list(y.shape[1:])}; allowed: one row of classes")
    return y.reshape(len(y), -1)


def stacked(graph: Graph, x: Inputs) -> list[Tensor]:
    """The inputs ``(N, *shape)``, in the graph's order.

    Raises:
        InputError: if an input is missing or unknown, or a shape does not fit.
    """
    tensors = [graph.tensors[i] for i in graph.inputs]
    names = [t.name for t in tensors]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise InputError(f"{graph.name}: got inputs {listed(x)}; allowed: exactly {listed(names)}")
        given: Sequence[Any] = [x[n] for n in names]
    else:
        given = x if isinstance(x, list | tuple) else [x]
    if len(given) != len(tensors):
        raise InputError(f"{graph.name}: got {len(given)} inputs; the model takes {len(tensors)}: {listed(names)}")
    result = []
    for t, v in zip(tensors, given, strict=True):
        value = v if isinstance(v, Tensor) else torch.as_tensor(np.asarray(v))
        value = value.float() if t.qtype.kind == "float" else value
        shape = tuple(value.shape)
        if shape == t.shape:
            value = value[None]
        elif shape[1:] != t.shape:
            whole = t.shape and len(shape) == len(t.shape) and shape[1:] == t.shape[1:] and not shape[0] % t.shape[0]
            if not whole:
                sizes = list(t.shape)
                raise InputError(
                    f"{graph.name}: input {t.name!r} has shape {list(shape)}; allowed: {sizes} or [N, {str(sizes)[1:]}"
                )
            value = value.reshape(-1, *t.shape)
        result.append(value)
    if len({len(v) for v in result}) > 1:
        raise InputError(f"{graph.name}: the inputs hold {[len(v) for v in result]} inferences; allowed: equally many")
    return result
