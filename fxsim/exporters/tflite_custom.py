"""The options of custom operators as flexbuffers that name their values: what ``importers/tflite_custom.py`` reads.

TensorFlow Lite for Microcontrollers finds the options of the audio ops by position among the sorted names, so that each op
bears all of them, those too that its tensors say.
"""

from collections.abc import Callable
from typing import Any

import tflite
from flatbuffers import flexbuffers

from fxsim.importers.tflite_options import ACTIVATIONS, PADDINGS
from fxsim.model.graph import Tensor
from fxsim.model.ops.base import Attributes

Fields = dict[str, int]
_ELEMENTS = {
    "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32,
    "float32": tflite.TensorType.FLOAT32,
}


def _code(table: dict[int, Any], value: Any) -> int:
    return {v: k for k, v in table.items()}[value]


def _window(a: Any) -> Fields:
    return {"stride_height": a.stride_h, "stride_width": a.stride_w, "padding": _code(PADDINGS, a.padding)}


def _binary_conv(a: Any, y: Tensor) -> Fields:
    return {
        **_window(a),
        "fused_activation_function": _code(ACTIVATIONS, a.activation),
        "dilation_height_factor": a.dilation_h,
        "dilation_width_factor": a.dilation_w,
        "channels_in": a.channels_in,
        "pad_values": a.pad_value,
    }


def _fft(a: Any, y: Tensor) -> Fields:
    return {"fft_length": a.length, "T": _ELEMENTS[a.element]}


def _stacker(a: Any, y: Tensor) -> Fields:
    return {
        "num_channels": a.channels,
        "stacker_left_context": a.left,
        "stacker_right_context": a.right,
        "stacker_step": a.step,
    }


def _subtraction(a: Any, y: Tensor) -> Fields:
    return {
        "num_channels": y.shape[-1] if y.shape else 1,
        "smoothing": a.smoothing[0],
        "alternate_smoothing": a.smoothing[1],
        "one_minus_smoothing": a.one_minus_smoothing[0],
        "alternate_one_minus_smoothing": a.one_minus_smoothing[1],
        "min_signal_remaining": a.min_signal_remaining,
        "smoothing_bits": a.smoothing_bits,
        "spectral_subtraction_bits": a.bits,
        "clamping": a.clamping,
    }


CUSTOM: dict[str, Callable[[Any, Tensor], Fields]] = {
    "LceQuantize": lambda a, y: {},
    "LceDequantize": lambda a, y: {},
    "LceBconv2d": _binary_conv,
    "LceBMaxPool2d": lambda a, y: {**_window(a), "filter_height": a.kernel_h, "filter_width": a.kernel_w},
    "SignalWindow": lambda a, y: {"shift": a.bits},
    "SignalFftAutoScale": lambda a, y: {},
    "SignalRfft": _fft,
    "SignalIrfft": _fft,
    "SignalFramer": lambda a, y: {"frame_size": a.size, "frame_step": a.step, "prefill": a.prefill},
    "SignalOverlapAdd": lambda a, y: {"T": _ELEMENTS[y.qtype.name], "frame_step": a.n},
    "SignalDelay": lambda a, y: {"delay_length": a.n},
    "SignalStacker": _stacker,
    "SignalEnergy": lambda a, y: {"start_index": a.start, "end_index": a.end},
    "SignalFilterBank": lambda a, y: {"num_channels": a.n},
    "SignalFilterBankSquareRoot": lambda a, y: {},
    "SignalFilterBankSpectralSubtraction": _subtraction,
    "SignalFilterBankLog": lambda a, y: {"output_scale": a.scale, "input_correction_bits": a.correction_bits},
    "SignalPCAN": lambda a, y: {"snr_shift": a.bits},
}
"""custom code -> its options by name, from its attributes and its first output"""


def custom_options(op: str, attributes: Attributes, output: Tensor) -> bytes:
    """The flexbuffer of a custom op's options."""
    return bytes(flexbuffers.Dumps(CUSTOM[op](attributes, output)))
