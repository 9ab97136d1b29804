"""Values of nodes that depend on constants and shapes alone: the index arithmetic that exporters leave behind."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from fxsim.model.ops.base import Attributes, Operands
from fxsim.model.ops.onnx_base import OnnxSpec
from fxsim.model.ops.onnx_quantize import Cast
from fxsim.model.qtype import Array

MAX_ELEMENTS = 1 << 20
"""A larger constant is left to the simulator: folding must not make a small file large."""


def _divide(a: Array, b: Array) -> Array:
    return np.trunc(np.divide(a, np.where(b == 0, 1, b))).astype(a.dtype)


_WHOLE: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Min": lambda *xs: reduce(np.minimum, xs),
    "Max": lambda *xs: reduce(np.maximum, xs),
    "Mod": lambda a, b: np.mod(a, np.where(b == 0, 1, b)),
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "Where": np.where,
}
"""functions of whole numbers and of flags"""


def folded(spec: OnnxSpec, inputs: Operands, attributes: Attributes, options: dict[str, Any]) -> Array | None:
    """What the node computes, or None if it depends on the network's input, is no index arithmetic, or is large."""
    x = inputs[0] if inputs else None
    if x is None:
        return None
    if spec.name == "Shape":
        sizes = x.shape[options.get("start", 0) : options.get("end", len(x.shape))]
        return _fixed(np.array(sizes, np.int64))
    data = [t.data for t in inputs if t is not None and t.data is not None]
    if len(data) != sum(t is not None for t in inputs):
        return None
    shapes = spec.infer(inputs, attributes, 1)
    if math.prod(shapes[0]) > MAX_ELEMENTS:
        return None
    if spec.move is not None and len(data) == len(inputs):
        return _fixed(np.array(spec.move(inputs, attributes, 1)(data)[0]))
    if any(t is not None and t.qtype.kind not in ("int", "bool") for t in inputs):
        return None
    if isinstance(attributes, Cast) and attributes.to.kind in ("int", "bool"):
        return _fixed(data[0].astype(attributes.to.dtype))
    if spec.name in _WHOLE:
        with np.errstate(over="ignore"):
            return _fixed(np.asarray(_WHOLE[spec.name](*data)))
    return None


def _fixed(data: Array) -> Array:
    data.setflags(write=False)
    return data
