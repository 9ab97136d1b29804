"""The options of custom operators, flexbuffers that name their values, turned into the attributes of the model floor.

A flexbuffer is hostile as the file around it is: :func:`_fields` reads integers and booleans only, and bounds the work.
"""

import struct
from collections.abc import Callable
from typing import Any

import tflite
from flatbuffers import flexbuffers

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.importers.tflite_options import ACTIVATIONS, PADDINGS, Spend, choice
from fxsim.model.graph import Tensor
from fxsim.model.ops import signal
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.binary import BinaryConv2D, Dequantize
from fxsim.model.ops.pool import Pool2D

MAX_BYTES, MAX_FIELDS = 1 << 16, 64
"""Larger options are refused: no op has them, and a key may be as long as the options."""
_BROKEN = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, KeyError, ZeroDivisionError)
"""What the flexbuffer accessors raise on offsets that lead nowhere"""
_INT32 = range(-(1 << 31), 1 << 31)


class Options:
    """The named integers of one op's options: ``o["stride_height"]``."""

    def __init__(self, fields: dict[str, int]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> int:
        value = self._fields.get(name)
        if value is None or value not in _INT32:
            raise ModelError(f"option {name!r} is {'missing' if value is None else value}; allowed: a 32-bit integer")
        return value


Outputs = tuple[Tensor, ...]
Convert = Callable[[Options, Outputs], Attributes]
"""options and declared outputs, which alone say what some ops make -> attributes"""


def _fields(raw: bytes, spend: Spend) -> dict[str, int]:
    """The integers and booleans of a flexbuffer that holds a map; no bytes at all are an empty map."""
    if not raw:
        return {}
    if len(raw) > MAX_BYTES:
        raise ModelError(f"has {len(raw)} bytes of options; allowed: {MAX_BYTES}")
    root = flexbuffers.GetRoot(raw)
    if not root.IsMap:
        raise ModelError("has options that are no map")
    table = root.AsMap
    count = spend(len(table))
    if count > MAX_FIELDS:
        raise ModelError(f"has {count} options; allowed: {MAX_FIELDS}")
    fields = {}
    for key, value in zip(table.Keys, table.Values, strict=True):
        if value.IsInt or value.IsBool:
            fields[key.AsKey] = int(value.AsInt)
    return fields


def custom_attributes(name: str, op: Any, outputs: Outputs, spend: Spend, where: str) -> Attributes:
    """The attributes of a custom op that :data:`CUSTOM` lists.

    Raises:
        ModelError: on options that are malformed, too large or lack a value; UnsupportedOp on a value that fxsim lacks.
    """
    try:
        if op.LargeCustomOptionsOffset() > 1:
            raise UnsupportedOp("has its options behind the flatbuffer; supported: inside")
        if op.CustomOptionsFormat() != 0:
            raise UnsupportedOp(f"has options of format {op.CustomOptionsFormat()}; supported: 0 (flexbuffers)")
        raw = b"" if op.CustomOptionsIsNone() else op.CustomOptionsAsNumpy().tobytes()
        return CUSTOM[name](Options(_fields(raw, spend)), outputs)
    except (ModelError, UnsupportedOp) as e:
        raise type(e)(f"{where}: {e}") from None
    except _BROKEN as e:
        raise ModelError(f"{where} has malformed options: {type(e).__name__}: {e}") from None


def _output(outputs: Outputs) -> Tensor:
    if len(outputs) != 1:
        raise ModelError(f"has {len(outputs)} outputs; allowed: 1")
    return outputs[0]


def _window(o: Options) -> dict[str, Any]:
    return {
        "stride_h": o["stride_height"],
        "stride_w": o["stride_width"],
        "padding": choice(PADDINGS, o["padding"], "padding"),
    }


def _binary_conv(o: Options, outputs: Outputs) -> BinaryConv2D:
    return BinaryConv2D(
        activation=choice(ACTIVATIONS, o["fused_activation_function"], "fused activation"),
        **_window(o),
        dilation_h=o["dilation_height_factor"],
        dilation_w=o["dilation_width_factor"],
        channels_in=o["channels_in"],
        pad_value=o["pad_values"],
        packed=_output(outputs).qtype.name == "int32",
    )


def _dequantize(o: Options, outputs: Outputs) -> Dequantize:
    shape = _output(outputs).shape
    if not shape:
        raise ModelError("has a scalar output; allowed: at least one axis")
    return Dequantize(shape[-1])


_ELEMENTS: dict[int, signal.Element] = {
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.FLOAT32: "float32",
}


def _fft(o: Options, outputs: Outputs) -> signal.Fft:
    return signal.Fft(o["fft_length"], choice(_ELEMENTS, o["T"], "T"))


def _stack(o: Options, outputs: Outputs) -> signal.Stack:
    return signal.Stack(o["num_channels"], o["stacker_left_context"], o["stacker_right_context"], o["stacker_step"])


def _subtraction(o: Options, outputs: Outputs) -> signal.Subtraction:
    return signal.Subtraction(
        (o["smoothing"], o["alternate_smoothing"]),
        (o["one_minus_smoothing"], o["alternate_one_minus_smoothing"]),
        o["min_signal_remaining"],
        o["smoothing_bits"],
        o["spectral_subtraction_bits"],
        bool(o["clamping"]),
    )


SIGNAL: dict[str, Convert] = {
    "SignalWindow": lambda o, outputs: signal.Shift(o["shift"]),
    "SignalFftAutoScale": lambda o, outputs: Attributes(),
    "SignalRfft": _fft,
    "SignalIrfft": _fft,
    "SignalFramer": lambda o, outputs: signal.Frame(o["frame_size"], o["frame_step"], bool(o["prefill"])),
    "SignalOverlapAdd": lambda o, outputs: signal.Count(o["frame_step"]),
    "SignalDelay": lambda o, outputs: signal.Count(o["delay_length"]),
    "SignalStacker": _stack,
    "SignalEnergy": lambda o, outputs: signal.Band(o["start_index"], o["end_index"]),
    "SignalFilterBank": lambda o, outputs: signal.Count(o["num_channels"]),
    "SignalFilterBankSquareRoot": lambda o, outputs: Attributes(),
    "SignalFilterBankSpectralSubtraction": _subtraction,
    "SignalFilterBankLog": lambda o, outputs: signal.Log(o["output_scale"], o["input_correction_bits"]),
    "SignalPCAN": lambda o, outputs: signal.Shift(o["snr_shift"]),
}
"""the audio front end of TensorFlow Lite for Microcontrollers"""
CUSTOM: dict[str, Convert] = {
    **SIGNAL,
    "LceQuantize": lambda o, outputs: Attributes(),
    "LceDequantize": _dequantize,
    "LceBconv2d": _binary_conv,
    "LceBMaxPool2d": lambda o, outputs: Pool2D(**_window(o), kernel_h=o["filter_height"], kernel_w=o["filter_width"]),
}
"""custom code -> the conversion of its options"""
