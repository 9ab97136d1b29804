"""Reads ``.onnx`` files: quantized with QDQ pairs, with QLinear operators, or with QONNX's quantizers.

The graph keeps what the file says, node by node and with ONNX's names; only index arithmetic is folded. Scales and zero
points stay inputs of their nodes, and are noted on the tensors too where they are constants.

The file is hostile until proven sound. protobuf itself bounds the depth of nesting; every tensor's bytes must fit its
shape, so that memory is bounded by the file's size; a value must be made before it is used, and once.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fxsim.errors import FxsimError, ModelError, UnsupportedOp, listed
from fxsim.importers.onnx_fold import folded
from fxsim.importers.onnx_options import CONVERT, HARMLESS, Options
from fxsim.importers.onnx_tensor import constant, type_of
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.onnx_annotate import annotate
from fxsim.model.ops import OPS
from fxsim.model.ops.base import Attributes, Operands
from fxsim.model.ops.onnx_base import OnnxSpec
from fxsim.model.qtype import FLOAT32, INT64, Array, QType, Shape

if TYPE_CHECKING:
    import onnx

DOMAINS = ("", "ai.onnx", "com.microsoft", "qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
MAX_RANK = 8
_LEAST_OPSET, _CHANNELS_LAST = 7, ("com.microsoft", "QLinearConv")


def parse(data: bytes, name: str) -> Graph:
    """The graph in the bytes of an ``.onnx`` file; ``name`` is what errors call it.

    Raises:
        ModelError: if the bytes are no sound model, or the ``onnx`` package is not installed; UnsupportedOp on what fxsim
            lacks.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ModelError(f"{name}: reading .onnx files needs the onnx package: pip install fxsim[onnx]") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, ValueError) as e:
        raise ModelError(f"{name}: malformed or truncated: not an ONNX model: {e or type(e).__name__}") from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError(f"{name}: malformed: not an ONNX model, or one without nodes")
    try:
        graph = _File(model, name).graph()
    except FxsimError as e:
        text = str(e)
        raise type(e)(text if text.startswith(name) else f"{name}: {text}") from None
    digest = hashlib.sha256(data).hexdigest()
    return Graph(name, graph.tensors, graph.nodes, graph.inputs, graph.outputs, (), digest, len(data))


class _File:
    """One model on its way to a graph."""

    def __init__(self, model: "onnx.ModelProto", name: str) -> None:
        self.proto, self.name = model.graph, name
        self.tensors: list[Tensor] = []
        self.index: dict[str, int] = {}
        self.nodes: list[Node] = []
        self.opsets = {o.domain: int(o.version) for o in model.opset_import}
        self.declared: dict[str, Any] = {}
        self.used = {i for n in model.graph.node for i in n.input} | {o.name for o in model.graph.output}

    def graph(self) -> Graph:
        g = self.proto
        if g.sparse_initializer:
            raise UnsupportedOp(
                f"initializer {g.sparse_initializer[0].values.name!r} is stored sparse; supported: dense"
            )
        for proto in g.initializer:
            self._add(proto.name, *constant(proto, f"initializer {proto.name!r}"))
        inputs = [self._input(i) for i in g.input if i.name not in self.index]
        for info in (*g.value_info, *g.output):
            self.declared.setdefault(info.name, info)
        for position, node in enumerate(g.node):
            where = f"{self.name}: layer {position} {node.op_type} {node.name!r}"
            try:
                self._node(node, position)
            except FxsimError as e:
                raise type(e)(f"{where}: {e}") from None
            except (TypeError, ValueError, IndexError, OverflowError) as e:  # shapes that no rule foresaw
                raise ModelError(f"{where}: malformed: {type(e).__name__}: {e}") from None
        outputs = []
        for o in g.output:
            if o.name not in self.index:
                raise ModelError(f"output {o.name!r} is made by no layer")
            outputs.append(self.index[o.name])
        if not outputs:
            raise ModelError("malformed: the graph has no outputs")
        graph = Graph(self.name, tuple(self.tensors), tuple(self.nodes), tuple(inputs), tuple(outputs))
        return annotate(graph)

    def _add(self, name: str, qtype: QType, shape: Shape, data: Array | None = None) -> int:
        if name in self.index:
            raise ModelError(f"value {name!r} is made twice; allowed: once")
        self.index[name] = len(self.tensors)
        self.tensors.append(Tensor(len(self.tensors), name, shape, qtype, None, data))
        return self.index[name]

    def _input(self, info: "onnx.ValueInfoProto") -> int:
        where = f"input {info.name!r}"
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type" or not info.type.tensor_type.HasField("shape"):
            raise ModelError(f"{where} is a {kind or 'value of no type'} without a shape; allowed: tensors with one")
        shape = []
        for i, d in enumerate(info.type.tensor_type.shape.dim):
            if d.WhichOneof("value") == "dim_value" and d.dim_value >= 1:
                shape.append(int(d.dim_value))
            elif d.WhichOneof("value") != "dim_value" and i == 0:
                shape.append(1)  # one inference at a time
            else:
                got = d.dim_param or d.dim_value
                raise ModelError(
                    f"{where}: size {i} is {got!r}; allowed: a number of at least 1 (only the first may be open)"
                )
        if len(shape) > MAX_RANK:
            raise ModelError(f"{where} has {len(shape)} axes; allowed: at most {MAX_RANK}")
        return self._add(info.name, type_of(info.type.tensor_type.elem_type), tuple(shape))

    def _op(self, node: "onnx.NodeProto") -> OnnxSpec:
        found = OPS.get(node.op_type)
        if (
            node.domain not in DOMAINS
            or not isinstance(found, OnnxSpec)
            or (node.domain, node.op_type) == _CHANNELS_LAST
        ):
            known = listed(sorted(name for name, s in OPS.items() if isinstance(s, OnnxSpec)))
            where = f" of domain {node.domain!r}" if node.domain else ""
            raise UnsupportedOp(f"op {node.op_type}{where} is not supported; supported: {known}")
        return found

    def _opset(self, domain: str) -> int:
        domain = "" if domain == "ai.onnx" else domain
        version = self.opsets.get(domain, self.opsets.get("ai.onnx", 0) if not domain else 1)
        if not domain and version < _LEAST_OPSET:
            raise UnsupportedOp(f"opset is {version}; supported: {_LEAST_OPSET} and later")
        return version

    def _node(self, proto: "onnx.NodeProto", position: int) -> None:
        opset, values = self._opset(proto.domain), _attributes(proto)
        if proto.op_type == "Constant" and proto.domain in DOMAINS[:2]:
            self._constant(proto, values)
            return
        spec = self._op(proto)
        options = Options(values, opset, type_of)
        attributes = CONVERT[spec.name](options) if spec.name in CONVERT else Attributes()
        options.finish(HARMLESS.get(spec.name, ()))
        inputs = [self._value(i) for i in proto.input]
        for at, (numbers, dtype) in sorted(options.extra.items()):
            inputs += [ABSENT] * (at + 1 - len(inputs))
            inputs[at] = self._stand_in(proto, at, numbers, dtype)
        while inputs and inputs[-1] == ABSENT:
            inputs.pop()
        outputs = list(proto.output)
        while outputs and (not outputs[-1] or (len(outputs) > spec.max_outputs and outputs[-1] not in self.used)):
            outputs.pop()
        for what, got, least, most in (
            ("inputs", len(inputs), spec.min_inputs, spec.max_inputs),
            ("outputs", len(outputs), spec.min_outputs, spec.max_outputs),
        ):
            if not least <= got <= most:
                raise ModelError(f"has {got} {what}; allowed: {least}" + (f" to {most}" if most != least else ""))
        operands: Operands = [None if i == ABSENT else self.tensors[i] for i in inputs]
        shapes = spec.infer(operands, attributes, len(outputs))
        types = spec.types(operands, attributes, len(outputs))
        value = folded(spec, operands, attributes, options.values) if len(outputs) == 1 else None
        made: list[int] = []
        for name, qtype, shape in zip(outputs, types, shapes, strict=True):
            self._hold(name, qtype, shape)
            made.append(self._add(name or f"{proto.output[0]}:{len(made)}", qtype, shape, value))
        if value is None:
            label = proto.name or proto.output[0]
            self.nodes.append(Node(position, spec.name, tuple(inputs), tuple(made), attributes, label))

    def _constant(self, proto: "onnx.NodeProto", values: dict[str, Any]) -> None:
        if len(proto.output) != 1 or len(values) != 1:
            raise ModelError(
                f"a Constant of {len(proto.output)} outputs and attributes {listed(values)}; allowed: one of each"
            )
        ((key, value),) = values.items()
        if key == "value" and hasattr(value, "data_type"):
            self._add(proto.output[0], *constant(value, "its value"))
        elif key in ("value_int", "value_ints", "value_float", "value_floats"):
            qtype = INT64 if "int" in key else FLOAT32
            data = np.asarray(value, qtype.dtype)
            self._add(proto.output[0], qtype, data.shape, _fixed(data))
        else:
            raise UnsupportedOp(f"attribute {key} is not supported; supported: value, value_int(s), value_float(s)")

    def _value(self, name: str) -> int:
        if not name:
            return ABSENT
        if name not in self.index:
            raise ModelError(f"uses value {name!r} before any layer makes it")
        return self.index[name]

    def _stand_in(self, proto: "onnx.NodeProto", at: int, numbers: Sequence[Any], dtype: str) -> int:
        qtype = FLOAT32 if dtype == "float32" else INT64
        data = np.asarray(numbers, qtype.dtype)
        data = data.reshape(()) if dtype == "float32" else data
        return self._add(f"{proto.output[0]}:input{at}", qtype, data.shape, _fixed(data))

    def _hold(self, name: str, qtype: QType, shape: Shape) -> None:
        """Holds an inferred type and shape against what the file declares of the value.

        Raises:
            ModelError: if they differ.
        """
        if len(shape) > MAX_RANK:
            raise ModelError(f"output {name!r} has {len(shape)} axes; allowed: at most {MAX_RANK}")
        info = self.declared.get(name)
        if info is None or info.type.WhichOneof("value") != "tensor_type":
            return
        t = info.type.tensor_type
        if t.elem_type and type_of(t.elem_type) != qtype:
            raise ModelError(f"output {name!r} is declared {type_of(t.elem_type).name}, but the op makes {qtype.name}")
        dims = [int(d.dim_value) if d.WhichOneof("value") == "dim_value" else None for d in t.shape.dim]
        if t.HasField("shape") and (
            len(dims) != len(shape) or any(d not in (None, s) for d, s in zip(dims, shape, strict=True))
        ):
            raise ModelError(f"output {name!r} is declared {dims}, but the op makes {list(shape)}")


def _fixed(data: Array) -> Array:
    data.setflags(write=False)
    return data


def _attributes(proto: "onnx.NodeProto") -> dict[str, Any]:
    """The attributes of a node: numbers, strings, tuples of them, and tensors.

    Raises:
        UnsupportedOp: on graphs as attributes; ModelError on an attribute that is there twice.
    """
    values: dict[str, Any] = {}
    for a in proto.attribute:
        kinds: dict[int, Any] = {1: a.f, 2: a.i, 3: a.s.decode("utf-8", "replace"), 4: a.t}
        lists: dict[int, Iterable[Any]] = {6: a.floats, 7: a.ints}
        if a.name in values:
            raise ModelError(f"attribute {a.name} is there twice")
        if a.type in kinds:
            values[a.name] = kinds[a.type]
        elif a.type in lists:
            values[a.name] = tuple(lists[a.type])
        else:
            raise UnsupportedOp(f"attribute {a.name} is of type {a.type}; supported: numbers, strings and tensors")
        if a.type == 1 and not math.isfinite(values[a.name]):
            raise ModelError(f"attribute {a.name} is {values[a.name]}; allowed: finite numbers")
    return values
