"""Builds small ``.onnx`` files, node by node, for the tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

CODES: dict[str, int] = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "uint16": TensorProto.UINT16,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "uint4": TensorProto.UINT4,
    "int4": TensorProto.INT4,
}
DOMAINS = {"": 21, "com.microsoft": 1, "qonnx.custom_op.general": 1}


def domain_of(op: str) -> str:
    """The domain of an op that the tests use."""
    if op in ("Quant", "BipolarQuant", "Trunc", "MultiThreshold"):
        return "qonnx.custom_op.general"
    contrib = ("QGemm", "MatMulIntegerToFloat")
    plain = ("QLinearConv", "QLinearMatMul")
    return "com.microsoft" if op in contrib or (op.startswith("QLinear") and op not in plain) else ""


class OnnxBuilder:
    """A model in the making: inputs, constants and nodes, then :meth:`finish`. Values are known by their names."""

    def __init__(self, opset: int = 21) -> None:
        self.opset = opset
        self._inputs: list[Any] = []
        self._constants: list[Any] = []
        self._nodes: list[Any] = []

    def input(self, name: str, shape: Sequence[int | str | None], dtype: str) -> str:
        """Adds an input of the model."""
        self._inputs.append(helper.make_tensor_value_info(name, CODES[dtype], shape))
        return name

    def constant(self, values: npt.ArrayLike, dtype: str, name: str = "") -> str:
        """Adds an initializer; 4-bit values come one to an element."""
        name = name or f"c{len(self._constants)}"
        array = np.asarray(values, "int8" if dtype == "int4" else "uint8" if dtype == "uint4" else dtype)
        raw = array.tobytes()
        if dtype in ("int4", "uint4"):
            flat = np.append(array.reshape(-1), np.zeros(array.size % 2, array.dtype)).astype(np.uint8) & 15
            raw = (flat[::2] | flat[1::2] << 4).tobytes()
        self._constants.append(helper.make_tensor(name, CODES[dtype], array.shape, raw, raw=True))
        return name

    def scalars(self, scale: float, zero: int, dtype: str) -> tuple[str, str]:
        """A scale and a zero point."""
        return self.constant(np.float32(scale), "float32"), self.constant(zero, dtype)

    def op(self, op: str, inputs: Sequence[str], output: str | Sequence[str] = "", **attributes: Any) -> str:
        """Adds a node; returns the name of its (first) output."""
        outputs = [output or f"v{len(self._nodes)}"] if isinstance(output, str) else list(output)
        self._nodes.append(helper.make_node(op, list(inputs), outputs, domain=domain_of(op), **attributes))
        return outputs[0]

    def quantize(self, x: str, scale: float, zero: int, dtype: str, output: str = "") -> str:
        """A QuantizeLinear with one scale."""
        return self.op("QuantizeLinear", [x, *self.scalars(scale, zero, dtype)], output)

    def dequantize(self, x: str, scale: float, zero: int, dtype: str, output: str = "") -> str:
        """A DequantizeLinear with one scale."""
        return self.op("DequantizeLinear", [x, *self.scalars(scale, zero, dtype)], output)

    def finish(self, outputs: Mapping[str, str] | Sequence[tuple[str, str]]) -> bytes:
        """The file; ``outputs`` maps the names of the model's outputs to their types."""
        pairs = outputs.items() if isinstance(outputs, Mapping) else outputs
        infos = [helper.make_tensor_value_info(n, CODES[t], None) for n, t in pairs]
        graph = helper.make_graph(self._nodes, "test", self._inputs, infos, self._constants)
        opsets = [helper.make_opsetid(d, self.opset if not d else v) for d, v in DOMAINS.items()]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 10
        return bytes(model.SerializeToString())
