"""What a device's kernel needs of each layer, as integers: constants packed, multipliers and shifts, offsets and clamps.

Offsets and the order of the fields are those of CMSIS-NN: ``input_offset`` is added to an input, ``output_offset`` to an
output; ``real = multiplier * 2**(shift - 31)``, a positive shift going left. How they are computed is the numerics profile
``cmsis-nn``. Bit order of packed constants: :data:`fxsim.fixed.packing.CODECS`, by the name that each constant bears.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fxsim.arith.multiplier import CHAINS, quantize_multiplier
from fxsim.errors import FxsimError, UnsupportedOp
from fxsim.fixed.packing import CODECS
from fxsim.model.check import where
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.base import Activated, Operands, need
from fxsim.model.ops.conv import Conv2D, Window
from fxsim.model.ops.pool import Pool2D
from fxsim.model.qtype import Array, Shape
from fxsim.numerics import Requantize, load_numerics
from fxsim.sim.base import clamp_range

NUMERICS = "cmsis-nn"
_PACKING = {4: "cmsis_s4", 2: "tflite_int2", 1: "larq_bits"}
"""bits of a signed constant -> how several lie in a byte or word"""
_LEFT = {"int8": 20, "uint8": 20, "int16": 15}
"""how far ADD and SUB shift their inputs left"""
_NAMES = {"CONV_2D": ("input", "weight", "bias"), "DEPTHWISE_CONV_2D": ("input", "weight", "bias"),
          "FULLY_CONNECTED": ("input", "weight", "bias"), "TRANSPOSE_CONV": ("shape", "weight", "input", "bias")}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A constant as it lies in memory."""

    data: Array
    """in its packed form"""
    shape: Shape
    """of the values"""
    type: str
    """of one value"""
    packing: str = ""
    """the name of the codec, where several values share a byte or word"""
    source: str = ""
    """the tensor's name"""


@dataclass(slots=True)
class Record:
    """One layer."""

    index: int
    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    numbers: dict[str, int | float] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)


def records(graph: Graph) -> list[Record]:
    """The layers of a graph of TensorFlow Lite's ops.

    Raises:
        UnsupportedOp: on a graph of several subgraphs.
    """
    if graph.called:
        raise UnsupportedOp(f"{graph.name}: calls {len(graph.called)} other graphs; supported: one graph")
    result = []
    for position, node in enumerate(graph.nodes):
        try:
            result.append(record(graph, node, position))
        except FxsimError as e:
            raise type(e)(f"{where(graph, node)}: {e}") from None
    return result


def _named(operands: Operands) -> list[str]:
    return [t.name for t in operands if t is not None]


def record(graph: Graph, node: Node, position: int) -> Record:
    """The layer at a position."""
    inputs, outputs = graph.operands(node.inputs), graph.operands(node.outputs)
    found = Record(position, node.op, node.name, _named(inputs), _named(outputs))
    labels = _NAMES.get(node.op, ())
    for i, t in enumerate(inputs):
        if t is not None and t.data is not None:
            found.blocks[labels[i] if i < len(labels) else f"input{i}"] = block(t)
    for what, group in (("input", inputs), ("output", outputs)):
        for i, t in enumerate(group):
            if t is not None and t.data is None:
                label = labels[i] if what == "input" and i < len(labels) else f"{what}{i}" if len(group) > 1 else what
                found.blocks[f"{label}_shape"] = Block(np.asarray(t.shape, np.int32), (len(t.shape),), "int32")
    _window(found, node, inputs[0])
    if node.op in _SCALES and outputs and outputs[0] is not None and _integer(outputs[0]):
        _SCALES[node.op](found, node, [need(t, "input") for t in inputs if t is not None], outputs[0])
    return found


def block(t: Tensor) -> Block:
    """A constant tensor, packed where its values have fewer than 8 bits."""
    assert t.data is not None
    packing = _PACKING.get(t.qtype.bits, "") if t.qtype.kind == "int" and t.qtype.signed else ""
    data = CODECS[packing].pack(t.data if packing == "larq_bits" else t.data.reshape(-1)) if packing else t.data
    kind = f"int{t.qtype.bits}" if packing else t.qtype.name
    return Block(np.asarray(data), t.shape, kind, packing, t.name)


def _integer(t: Tensor) -> bool:
    return t.quant is not None and t.quant.per_tensor and t.qtype.kind == "int"


def _requantize(op: str) -> Requantize:
    return load_numerics(NUMERICS).of(op).requantize


def _window(record: Record, node: Node, x: Tensor | None) -> None:
    """Strides, dilations and padding of a sliding window."""
    attrs = node.attributes
    if not isinstance(attrs, Window) or x is None or len(x.shape) != 4:
        return
    kernel = (attrs.kernel_h, attrs.kernel_w) if isinstance(attrs, Pool2D) else record.blocks["weight"].shape[1:3]
    dilation = (attrs.dilation_h, attrs.dilation_w) if isinstance(attrs, Conv2D) else (1, 1)
    _, _, top, left = attrs.output(x.shape[1], x.shape[2], kernel[0], kernel[1], *dilation)
    record.numbers |= {
        "kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": attrs.stride_h, "stride_w": attrs.stride_w,
        "dilation_h": dilation[0], "dilation_w": dilation[1], "pad_h": top, "pad_w": left,
    }  # fmt: skip


def _clamp(record: Record, node: Node, y: Tensor) -> None:
    activation = node.attributes.activation if isinstance(node.attributes, Activated) else "NONE"
    low, high = clamp_range(y, activation, _requantize(node.op).bound)
    record.numbers |= {"activation_min": low, "activation_max": high}


def _offsets(record: Record, inputs: list[Tensor], y: Tensor) -> None:
    activations = [t for t in inputs if t.quant is not None]
    for i, t in enumerate(activations):
        assert t.quant is not None
        label = f"input{i + 1}" if len(activations) > 1 else "input"
        record.numbers |= {f"{label}_scale": t.quant.scale[0], f"{label}_offset": -t.quant.zero_point[0]}
    assert y.quant is not None
    record.numbers |= {"output_scale": y.quant.scale[0], "output_offset": y.quant.zero_point[0]}


def _layer(record: Record, node: Node, inputs: list[Tensor], y: Tensor) -> None:
    """A layer with weights: a multiplier and a shift for each output channel, or one."""
    x, w = inputs[0], inputs[1]
    if x.quant is None or w.quant is None or y.quant is None:
        return
    _offsets(record, [x], y)
    if w.quant.per_tensor:
        record.numbers["weight_offset"] = -w.quant.zero_point[0]
    rule = _requantize(node.op)
    chain = CHAINS[rule.chain if w.quant.per_tensor else rule.chain_per_channel]
    pairs = [quantize_multiplier(chain((x.quant.scale[0], s), y.quant.scale[0])) for s in w.quant.scale]
    if node.op != "FULLY_CONNECTED" and len(pairs) == 1:
        pairs *= y.shape[-1]
    for i, what in enumerate(("multiplier", "shift")):
        record.blocks[what] = Block(np.asarray([p[i] for p in pairs], np.int32), (len(pairs),), "int32")
    _clamp(record, node, y)


def _sum(record: Record, node: Node, inputs: list[Tensor], y: Tensor) -> None:
    """ADD and SUB: both inputs shifted left and brought to twice the greater scale."""
    a, b = inputs[:2]
    if a.quant is None or b.quant is None or y.quant is None or y.qtype.name not in _LEFT:
        return
    _offsets(record, [a, b], y)
    left, chain = _LEFT[y.qtype.name], CHAINS[_requantize(node.op).chain]
    twice = 2 * max(a.quant.scale[0], b.quant.scale[0])
    record.numbers["left_shift"] = left
    scales = (a.quant.scale[0], twice), (b.quant.scale[0], twice), (twice, y.quant.scale[0] * (1 << left))
    for label, (numerator, denominator) in zip(("input1", "input2", "output"), scales, strict=True):
        _pair(record, label, quantize_multiplier(chain((numerator,), denominator)))
    _clamp(record, node, y)


def _product(record: Record, node: Node, inputs: list[Tensor], y: Tensor) -> None:
    a, b = inputs[:2]
    if a.quant is None or b.quant is None or y.quant is None:
        return
    _offsets(record, [a, b], y)
    chain = CHAINS[_requantize(node.op).chain]
    _pair(record, "output", quantize_multiplier(chain((a.quant.scale[0], b.quant.scale[0]), y.quant.scale[0])))
    _clamp(record, node, y)


def _pair(record: Record, label: str, pair: tuple[int, int]) -> None:
    record.numbers |= {f"{label}_multiplier": pair[0], f"{label}_shift": pair[1]}


def _plain(record: Record, node: Node, inputs: list[Tensor], y: Tensor) -> None:
    _offsets(record, inputs[:1], y)
    _clamp(record, node, y)


_SCALES: dict[str, Callable[[Record, Node, list[Tensor], Tensor], None]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), _layer),
    **dict.fromkeys(("ADD", "SUB"), _sum),
    "MUL": _product,
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D"), _plain),
}
"""op -> what is added to its record where it computes on integers"""
