"""What a layer takes in of the layers behind it: factors and addends of its channels, and an activation."""

from dataclasses import replace

import numpy as np

from fxsim.convert.draft import Draft, Op, Value
from fxsim.model.ops.base import Activated
from fxsim.model.ops.conv import WEIGHT_AXES

_ACTIVATED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL")
_ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1")
_FACTORS = ("MUL", "DIV", "ADD", "SUB")


def fuse(draft: Draft) -> None:
    """Changes the draft: no batch normalization is left behind a convolution, and no activation alone where one fuses."""
    draft.sweep()
    uses = draft.uses()
    makers = {id(v): op for op in draft.ops for v in op.outputs}
    gone: set[int] = set()
    for op in draft.ops:
        first = next((v for v in op.inputs if v is not None and not v.constant), None)
        maker = makers.get(id(first)) if first is not None else None
        if maker is None or first is None or uses[id(first)] != 1 or any(v in draft.outputs for v in maker.outputs):
            continue
        if _takes(maker, op, first) or _activates(maker, op):
            maker.outputs = op.outputs
            makers[id(op.outputs[0])] = maker
            gone.add(id(op))
    draft.ops = [op for op in draft.ops if id(op) not in gone]


def _activates(maker: Op, op: Op) -> bool:
    attributes = maker.attributes
    if op.op not in _ACTIVATIONS or maker.op not in _ACTIVATED or not isinstance(attributes, Activated):
        return False
    if attributes.activation != "NONE":
        return False
    maker.attributes = replace(attributes, activation=op.op)  # type: ignore[arg-type]
    return True


def _takes(maker: Op, op: Op, first: Value) -> bool:
    """Folds a factor or an addend of each channel into weight and bias."""
    if maker.op not in WEIGHT_AXES or op.op not in _FACTORS or getattr(maker.attributes, "activation", "") != "NONE":
        return False
    weight, bias = maker.inputs[1], maker.inputs[-1]
    other = next((v for v in op.inputs if v is not first), None)
    if (
        weight is None
        or weight.data is None
        or bias is None
        or bias.data is None
        or other is None
        or other.data is None
    ):
        return False
    channels = bias.data.size
    if other.data.size not in (1, channels) or (other.data.size > 1 and other.shape[-1] != channels):
        return False
    if len(other.shape) > len(first.shape) or (op.op == "DIV" and op.inputs[0] is not first):
        return False
    c = other.data.reshape(-1)
    if op.op in ("MUL", "DIV"):
        factor, addend = (c if op.op == "MUL" else 1 / c), np.zeros(1)
    else:
        reverse = op.op == "SUB" and op.inputs[0] is other
        factor, addend = np.full(1, -1.0 if reverse else 1.0), -c if op.op == "SUB" and not reverse else c
    axis = WEIGHT_AXES[maker.op][0]
    along = [1] * len(weight.shape)
    along[axis] = -1
    scaled = weight.data * factor.reshape(along)
    shifted = np.broadcast_to(bias.data.reshape(-1) * factor + addend, (channels,))
    maker.inputs[1] = Value(weight.name, weight.shape, weight.qtype, scaled)
    maker.inputs[-1] = Value(bias.name, (channels,), bias.qtype, shifted.copy())
    return True
