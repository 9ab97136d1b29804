"""Reads dumps: what a device or another engine computed, by tensor.

A dump is an ``.npz`` file, a dict of arrays or another trace. Keys name tensors: ``output_<n>`` (n-th output),
``tensor_<index>`` (index in the model file), or the tensor's own name. Nothing in a dump is ever executed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fxsim.errors import DumpError, listed
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array

META = "meta"


def by_tensor(graph: Graph, arrays: Mapping[str, Any], source: str) -> dict[int, Array]:
    """The arrays of a dump by tensor index.

    Raises:
        DumpError: if a key names no tensor, or if two keys name one tensor with different values.
    """
    result: dict[int, Array] = {}
    for key, value in arrays.items():
        if key == META:
            continue
        index, array = _index(graph, key, source), np.asarray(value)
        if index in result and not np.array_equal(result[index], array):
            raise DumpError(f"{source}: two entries hold tensor {index}, and differ; {key!r} is one of them")
        result[index] = array
    if not result:
        raise DumpError(f"{source}: holds no tensor of {graph.name}")
    return result


def _index(graph: Graph, key: str, source: str) -> int:
    named = [t.index for t in graph.tensors if t.name == key and not t.constant]
    if len(named) == 1:
        return named[0]
    kind, _, number = key.rpartition("_")
    if number.isdecimal():
        n = int(number)
        if kind == "tensor" and n < len(graph.tensors):
            return n
        if kind == "output" and n < len(graph.outputs):
            return graph.outputs[n]
    raise DumpError(
        f"{source}: entry {key!r} names no single tensor of {graph.name}; "
        f"allowed: 'output_0'..'output_{len(graph.outputs) - 1}', 'tensor_<index>', "
        f"or a name such as {listed([graph.tensors[i].name for i in graph.outputs])}"
    )
