"""The audio front end of TensorFlow Lite for Microcontrollers: custom ops from samples to the features of a network.

A spectrum is stored as pairs, real and imaginary, along the last axis. Ops marked as such remember earlier inferences.
"""

import math
from dataclasses import dataclass
from typing import Literal

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.model.ops.base import Attributes, Operands, OpSpec, WorkFn, need, rank, same_shape, total_bytes
from fxsim.model.qtype import Shape
from fxsim.model.work import Work

Element = Literal["int16", "int32", "float32"]


@dataclass(frozen=True, slots=True)
class Fft(Attributes):
    """SignalRfft and SignalIrfft of ``length`` real samples of type ``element``."""

    length: int = 0
    element: Element = "int16"

    def __post_init__(self) -> None:
        """Raises UnsupportedOp on a length that the engine cannot transform."""
        rest = self.length
        for factor in (2, 3, 5):
            while rest and rest % factor == 0:
                rest //= factor
        if rest != 1 or self.length % 2 or not 4 <= self.length <= 1 << 16:
            raise UnsupportedOp(f"fft_length is {self.length}; supported: even products of 2, 3 and 5 in 4..65536")


@dataclass(frozen=True, slots=True)
class Shift(Attributes):
    """SignalWindow (right shift of the product) and SignalPCAN (right shift of the signal-to-noise ratio)."""

    bits: int = 0

    def __post_init__(self) -> None:
        """Raises UnsupportedOp on a shift that C leaves undefined."""
        if not 0 <= self.bits <= 31:
            raise UnsupportedOp(f"shift is {self.bits}; supported: 0..31")


@dataclass(frozen=True, slots=True)
class Frame(Attributes):
    """SignalFramer: ``size`` samples every ``step``; ``prefill`` puts zeros before the first."""

    size: int = 1
    step: int = 1
    prefill: bool = False


@dataclass(frozen=True, slots=True)
class Count(Attributes):
    """SignalOverlapAdd (``n`` samples a step), SignalDelay (``n`` samples late), SignalFilterBank (``n`` channels)."""

    n: int = 1


@dataclass(frozen=True, slots=True)
class Stack(Attributes):
    """SignalStacker: frames of ``channels`` values, ``left`` before and ``right`` after one, every ``step`` frames."""

    channels: int = 1
    left: int = 0
    right: int = 0
    step: int = 1

    @property
    def frames(self) -> int:
        """Frames in one output."""
        return self.left + self.right + 1


@dataclass(frozen=True, slots=True)
class Band(Attributes):
    """SignalEnergy: the bins ``start..end-1``."""

    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Subtraction(Attributes):
    """SignalFilterBankSpectralSubtraction; weights have ``bits`` fraction bits, pairs are of even and odd channels."""

    smoothing: tuple[int, int] = (0, 0)
    one_minus_smoothing: tuple[int, int] = (0, 0)
    min_signal_remaining: int = 0
    smoothing_bits: int = 0
    bits: int = 0
    clamping: bool = False

    def __post_init__(self) -> None:
        """Raises UnsupportedOp on a shift that C leaves undefined."""
        if not (0 <= self.smoothing_bits <= 31 and 0 <= self.bits <= 63):
            raise UnsupportedOp(
                f"smoothing_bits is {self.smoothing_bits}, spectral_subtraction_bits {self.bits}; supported: 0..31, 0..63"
            )


@dataclass(frozen=True, slots=True)
class Log(Attributes):
    """SignalFilterBankLog: ``scale * ln(x << correction_bits)``."""

    scale: int = 1
    correction_bits: int = 0

    def __post_init__(self) -> None:
        """Raises UnsupportedOp on a shift that C leaves undefined."""
        if not 0 <= self.correction_bits <= 31:
            raise UnsupportedOp(f"input_correction_bits is {self.correction_bits}; supported: 0..31")


def _line(inputs: Operands, i: int = 0) -> int:
    """The size of an input that has one axis."""
    return rank(need(inputs[i], f"input {i}"), f"input {i}", 1)[0]


def _last(inputs: Operands) -> tuple[Shape, int]:
    """The outer axes and the last of an input that has at least one."""
    shape = need(inputs[0], "input").shape
    if not shape or shape[-1] < 1:
        raise ModelError(f"input has shape {list(shape)}; allowed: a last axis of at least 1")
    return shape[:-1], shape[-1]


def _transformed(inputs: Operands, attrs: Attributes) -> Fft:
    assert isinstance(attrs, Fft)
    if need(inputs[0], "input").qtype.name != attrs.element:
        raise ModelError(f"T is {attrs.element}, but the input {need(inputs[0], 'input').qtype.name}")
    return attrs


def _infer_rfft(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    fft, (outer, n) = _transformed(inputs, attrs), _last(inputs)
    if n > fft.length:
        raise ModelError(f"fft_length is {fft.length} for {n} samples; allowed: at least as many")
    return ((*outer, fft.length + 2),)


def _infer_irfft(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    fft, (outer, n) = _transformed(inputs, attrs), _last(inputs)
    if n != fft.length + 2:
        raise ModelError(f"fft_length is {fft.length} for a spectrum of {n}; allowed: {n - 2}")
    return ((*outer, fft.length),)


def _infer_scaled(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return ((_line(inputs),), ())


def _infer_window(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    x, weights = need(inputs[0], "input"), _line(inputs, 1)
    if weights < 1 or x.elements % weights:
        raise ModelError(f"{weights} weights for {x.elements} samples; allowed: a divisor")
    return (x.shape,)


def _infer_framer(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Frame)
    outer, n = _last(inputs)
    if not 1 <= attrs.step <= attrs.size or n % attrs.step:
        raise ModelError(
            f"frame_size is {attrs.size}, frame_step {attrs.step} for {n} samples; allowed: divisors of {n}"
        )
    return ((*outer, n // attrs.step, attrs.size), ())


def _infer_overlap(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Count)
    shape = need(inputs[0], "input").shape
    if len(shape) < 2 or not 1 <= attrs.n <= shape[-1]:
        raise ModelError(f"frame_step is {attrs.n} for input {list(shape)}; allowed: 1 to the last of two axes or more")
    return ((*shape[:-2], shape[-2] * attrs.n),)


def _infer_delay(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Count)
    outer, n = _last(inputs)
    if not 0 <= attrs.n <= 1 << 20:
        raise ModelError(f"delay_length is {attrs.n}; allowed: 0..{1 << 20}")
    return ((*outer, n),)


def _infer_stacker(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Stack)
    if _line(inputs) != attrs.channels or min(attrs.left, attrs.right) < 0 or not 1 <= attrs.step <= attrs.frames:
        raise ModelError(
            f"num_channels, contexts and step are {attrs}; allowed: those of the input, a step of 1 or more"
        )
    return ((attrs.channels * attrs.frames,), ())


def _infer_energy(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Band)
    bins = _line(inputs) // 2
    if not 0 <= attrs.start <= attrs.end <= bins:
        raise ModelError(f"start_index is {attrs.start}, end_index {attrs.end}; allowed: 0..{bins}")
    return ((bins,),)


def _infer_bank(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    assert isinstance(attrs, Count)
    sizes = [_line(inputs, i) for i in range(3, 6)]
    if attrs.n < 1 or sizes != [attrs.n + 1] * 3 or _line(inputs, 1) != _line(inputs, 2):
        raise ModelError(f"num_channels is {attrs.n} for tables of {sizes}; allowed: one more entry than channels")
    return ((attrs.n,),)


def _infer_root(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    if need(inputs[1], "scale_bits").shape != ():
        raise ModelError("scale_bits is no scalar")
    return ((_line(inputs),),)


def _infer_two(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    return ((_line(inputs),),) * 2


PCAN_TABLE = 4 * 32 - 3
"""entries of a gain table that serves every 32-bit number"""


def _infer_pcan(inputs: Operands, attrs: Attributes, outputs: int) -> tuple[Shape, ...]:
    if _line(inputs) != _line(inputs, 1) or _line(inputs, 2) < PCAN_TABLE:
        raise ModelError(
            f"{_line(inputs, 1)} noise estimates, a gain table of {_line(inputs, 2)}; allowed: {PCAN_TABLE}"
        )
    return ((_line(inputs),),)


def _work(steps: float = 1, transform: bool = False) -> WorkFn:
    """Work of ``steps`` operations for each element of the greater of input and output, times log2 of a transform."""

    def work(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
        x, out = need(inputs[0], "input"), need(outputs[0], "output")
        stages = math.log2(attrs.length) if transform and isinstance(attrs, Fft) else 1
        return Work(
            "elementwise" if steps else "copy",
            elements=out.elements,
            element_ops=round(steps * stages * max(x.elements, out.elements)),
            input_bytes=total_bytes(inputs, constant=False),
            weight_bytes=total_bytes(inputs, constant=True),
            output_bytes=total_bytes(outputs),
            activation_bits=out.qtype.bits,
        )

    return work


def _work_bank(inputs: Operands, outputs: Operands, attrs: Attributes) -> Work:
    weights, out = need(inputs[1], "weights"), need(outputs[0], "output")
    return Work(
        "reduce",
        macs=2 * weights.elements,
        elements=out.elements,
        input_bytes=total_bytes(inputs, constant=False),
        weight_bytes=total_bytes(inputs, constant=True),
        output_bytes=out.nbytes,
        activation_bits=32,
        weight_bits=16,
    )


_FFT = (("int16", "int32", "float32"),)
_INT16, _UINT32 = (("int16",),), (("uint32",),)
REMEMBERING = (
    "SignalFramer",
    "SignalOverlapAdd",
    "SignalDelay",
    "SignalStacker",
    "SignalFilterBankSpectralSubtraction",
)
"""ops whose outputs depend on earlier inferences"""
SPECS = (
    OpSpec("SignalWindow", Shift, _infer_window, _work(2), 2, 2, dtypes=_INT16),
    OpSpec("SignalFftAutoScale", Attributes, _infer_scaled, _work(2), 1, 1, 2, 2, dtypes=_INT16),
    OpSpec("SignalRfft", Fft, _infer_rfft, _work(2, transform=True), dtypes=_FFT),
    OpSpec("SignalIrfft", Fft, _infer_irfft, _work(2, transform=True), dtypes=_FFT),
    OpSpec("SignalFramer", Frame, _infer_framer, _work(0), 1, 1, 2, 2, dtypes=_INT16),
    OpSpec("SignalOverlapAdd", Count, _infer_overlap, _work(), dtypes=(("int16", "float32"),)),
    OpSpec("SignalDelay", Count, _infer_delay, _work(0), dtypes=_INT16),
    OpSpec("SignalStacker", Stack, _infer_stacker, _work(0), 1, 1, 2, 2, dtypes=_INT16),
    OpSpec("SignalEnergy", Band, _infer_energy, _work(3), dtypes=_INT16),
    OpSpec("SignalFilterBank", Count, _infer_bank, _work_bank, 6, 6, dtypes=(("uint32",), ("int16",))),
    OpSpec("SignalFilterBankSquareRoot", Attributes, _infer_root, _work(32), 2, 2, dtypes=(("uint64",), ("int32",))),
    OpSpec("SignalFilterBankSpectralSubtraction", Subtraction, _infer_two, _work(8), 1, 1, 2, 2, dtypes=_UINT32),
    OpSpec("SignalFilterBankLog", Log, same_shape, _work(8), dtypes=_UINT32),
    OpSpec("SignalPCAN", Shift, _infer_pcan, _work(8), 3, 3, dtypes=(("uint32",), ("uint32",), ("int16",))),
)
