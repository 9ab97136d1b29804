"""Binds the audio front end of TensorFlow Lite for Microcontrollers.

Ops that remember keep what they have heard in the closure that ``fresh`` makes, one for each run.

Source: signal/micro/kernels and signal/src @ tflite-micro of October 2026.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fxsim.arith.audio import WORD, compressed, gain, headroom, natural_log, peak, rounded_root
from fxsim.errors import DomainError, UnsupportedOp
from fxsim.kernels.fft import RealTransform
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.signal import Band, Count, Fft, Frame, Log, Shift, Stack, Subtraction
from fxsim.model.qtype import INT16, Array
from fxsim.sim.base import Arrays, Bound, RunFn, Site

T = TypeVar("T", bound=Attributes)
BITS = {"int16": 16, "int32": 32, "float32": 0}
"""element type -> fixed-point bits of a transform"""


def _attributes(site: Site, kind: type[T]) -> T:
    assert isinstance(site.node.attributes, kind)
    return site.node.attributes


def _remembering(fresh: Callable[[], RunFn]) -> Bound:
    return Bound(fresh(), fresh=fresh)


def _saturated(x: Array) -> Array:
    return np.clip(x, INT16.min, INT16.max)


def window(site: Site) -> Bound:
    """``out = saturate((x * weight) >> shift)``; the weights repeat along the samples."""
    shift, count = _attributes(site, Shift).bits, site.input(1).elements

    def run(inputs: Arrays, outputs: Arrays) -> None:
        products = inputs[0].reshape(-1, count).astype(np.int64) * inputs[1]
        outputs[0][...] = _saturated(products >> shift).reshape(outputs[0].shape)

    return Bound(run)


def auto_scale(site: Site) -> Bound:
    """``out = x << bits`` with the most bits that leave the peak within 15, and ``bits``."""

    def run(inputs: Arrays, outputs: Arrays) -> None:
        bits = headroom(peak(inputs[0].tolist()))
        outputs[0][...] = inputs[0].astype(np.int64) << bits
        outputs[1][...] = bits

    return Bound(run)


def rfft(site: Site) -> Bound:
    """The spectrum of real samples, zeros appended; in fixed point divided by ``fft_length``."""
    fft = _attributes(site, Fft)
    transform, samples = RealTransform.of(BITS[fft.element], fft.length, inverse=False), site.input(0).shape[-1]

    def run(inputs: Arrays, outputs: Arrays) -> None:
        rows = inputs[0].reshape(-1, samples)
        padded = np.pad(rows, ((0, 0), (0, fft.length - samples)))
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 it is infinite
            outputs[0].reshape(len(rows), -1, 2)[...] = [transform.forward(row) for row in padded]

    return Bound(run)


def irfft(site: Site) -> Bound:
    """Real samples from their spectrum; in float32 divided by ``fft_length`` at the end, in fixed point on the way."""
    fft = _attributes(site, Fft)
    transform = RealTransform.of(BITS[fft.element], fft.length, inverse=True)
    divisor = np.float32(fft.length)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 it is infinite
            rows = [transform.backward(row) for row in inputs[0].reshape(-1, fft.length // 2 + 1, 2)]
        made = np.stack([row / divisor if fft.element == "float32" else row for row in rows])
        outputs[0][...] = made.reshape(outputs[0].shape)

    return Bound(run)


def framer(site: Site) -> Bound:
    """Overlapping frames of the samples heard so far, and whether there were enough; a frame too early keeps its values."""
    attrs, x = _attributes(site, Frame), site.input(0)
    rows = math.prod(x.shape[:-1])

    def fresh() -> RunFn:
        heard = np.zeros((rows, attrs.size - attrs.step if attrs.prefill else 0), np.int16)

        def run(inputs: Arrays, outputs: Arrays) -> None:
            nonlocal heard
            valid, frames = True, outputs[0].reshape(rows, -1, attrs.size)
            parts = inputs[0].reshape(rows, -1, attrs.step)
            for i in range(parts.shape[1]):
                heard = np.concatenate([heard, parts[:, i]], 1)
                enough = heard.shape[1] >= attrs.size
                if enough:
                    frames[:, i] = heard[:, : attrs.size]
                    heard = heard[:, attrs.step :]
                valid &= enough
            outputs[1][...] = valid

        return run

    return _remembering(fresh)


def overlap_add(site: Site) -> Bound:
    """The sum of frames that each begin ``frame_step`` after the one before; int16 saturates at each addition."""
    step, x = _attributes(site, Count).n, site.input(0)
    size, whole = x.shape[-1], x.qtype.kind == "int"

    def fresh() -> RunFn:
        pending = np.zeros((math.prod(x.shape[:-2]), size), x.qtype.dtype)

        def run(inputs: Arrays, outputs: Arrays) -> None:
            nonlocal pending
            frames = inputs[0].reshape(len(pending), -1, size)
            done = outputs[0].reshape(len(pending), -1, step)
            for i in range(frames.shape[1]):
                with np.errstate(over="ignore", invalid="ignore"):
                    total = pending.astype(np.int64) + frames[:, i] if whole else pending + frames[:, i]
                pending = (_saturated(total) if whole else total).astype(x.qtype.dtype)
                done[:, i] = pending[:, :step]
                pending = np.pad(pending[:, step:], ((0, 0), (0, step)))

        return run

    return _remembering(fresh)


def delay(site: Site) -> Bound:
    """The samples of ``delay_length`` samples ago; zeros at first."""
    late, rows = _attributes(site, Count).n, math.prod(site.input(0).shape[:-1])

    def fresh() -> RunFn:
        heard = np.zeros((rows, late), np.int16)

        def run(inputs: Arrays, outputs: Arrays) -> None:
            nonlocal heard
            both = np.concatenate([heard, inputs[0].reshape(rows, -1)], 1)
            outputs[0][...] = both[:, : both.shape[1] - late].reshape(outputs[0].shape)
            heard = both[:, both.shape[1] - late :]

        return run

    return _remembering(fresh)


def stacker(site: Site) -> Bound:
    """Several frames as one, and whether they are complete; the first frame stands for those before it."""
    attrs = _attributes(site, Stack)

    def fresh() -> RunFn:
        heard: list[Array] = []
        first = True

        def run(inputs: Arrays, outputs: Arrays) -> None:
            nonlocal heard, first
            heard += [inputs[0].copy()] * (1 + attrs.left * first)
            first = False
            complete = len(heard) >= attrs.frames
            if complete:
                outputs[0][...] = np.concatenate(heard[: attrs.frames])
                heard = heard[attrs.step :]
            outputs[1][...] = complete

        return run

    return _remembering(fresh)


def energy(site: Site) -> Bound:
    """``out = re**2 + im**2`` of the bins between two indices; the other bins are never written."""
    attrs = _attributes(site, Band)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        parts = inputs[0].reshape(-1, 2)[attrs.start : attrs.end].astype(np.int64)
        outputs[0][attrs.start : attrs.end] = np.sum(parts * parts, 1)

    return Bound(run)


def filter_bank(site: Site) -> Bound:
    """Sums of energies over overlapping triangles: rising weights of one channel, falling ones of the one before.

    Sums are modulo ``2**64``; the first channel, which only begins, is left out.
    """
    tables = [site.input(i).data for i in range(1, 6)]
    if any(t is None for t in tables):
        raise UnsupportedOp("weights or channel tables are computed at run time; supported: constants")
    rising, falling, starts, offsets, widths = (np.asarray(t).astype(np.int64) for t in tables)
    bands = [
        (np.arange(max(w, 0)) + s, np.arange(max(w, 0)) + o) for s, o, w in zip(starts, offsets, widths, strict=True)
    ]
    for bins, weights in bands:
        if bins.size and not (0 <= bins[0] and bins[-1] < site.input(0).elements and 0 <= weights[0] < len(rising)):
            raise UnsupportedOp(
                f"a channel covers bins {bins[0]}..{bins[-1]}; supported: 0..{site.input(0).elements - 1}"
            )
        if weights.size and weights[-1] >= len(rising):
            raise UnsupportedOp(f"a channel has weights up to {weights[-1]}; supported: 0..{len(rising) - 1}")

    def run(inputs: Arrays, outputs: Arrays) -> None:
        power, before = inputs[0].astype(np.int64), np.int64(0)
        for i, (bins, weights) in enumerate(bands):
            with np.errstate(over="ignore"):
                total = before + np.sum(power[bins] * rising[weights])
                before = np.sum(power[bins] * falling[weights])
            if i:
                outputs[0][i - 1] = total.astype(np.uint64)

    return Bound(run)


def _each(function: Callable[..., int], like: Array, *arrays: Array) -> Array:
    """``function`` of each element, in Python's integers, which have no width."""
    return np.array([function(*v) for v in zip(*(a.tolist() for a in arrays), strict=True)], like.dtype)


def square_root(site: Site) -> Bound:
    """``out = round(sqrt(x)) >> scale_bits``."""

    def run(inputs: Arrays, outputs: Arrays) -> None:
        bits = int(inputs[1])
        if not 0 <= bits <= 31:
            raise DomainError(f"scale_bits is {bits}; allowed: 0..31")
        outputs[0][...] = _each(lambda x: rounded_root(x) >> bits, outputs[0], inputs[0])

    return Bound(run)


def subtraction(site: Site) -> Bound:
    """The signal less a running estimate of its noise, at least a fraction of itself; and the estimate.

    ``noise = (x * 2**smoothing_bits * smoothing + noise * one_minus_smoothing) >> bits``, modulo ``2**32``.
    """
    attrs, n = _attributes(site, Subtraction), site.input(0).elements
    odd = np.arange(n) % 2
    new, old = (np.array(w, np.uint64)[odd] & np.uint64(WORD) for w in (attrs.smoothing, attrs.one_minus_smoothing))
    least, word = np.uint64(attrs.min_signal_remaining & WORD), np.uint64(WORD)
    up, down = np.uint64(attrs.smoothing_bits), np.uint64(attrs.bits)

    def fresh() -> RunFn:
        noise = np.zeros(n, np.uint64)

        def run(inputs: Arrays, outputs: Arrays) -> None:
            nonlocal noise
            x: Any = inputs[0].astype(np.uint64)
            signal = x << up & word
            noise = (signal * new + noise * old) >> down & word
            estimate = np.minimum(noise, signal)
            if attrs.clamping:
                noise = estimate
            outputs[0][...] = np.maximum((signal - estimate) >> up, x * least >> down & word)
            outputs[1][...] = noise

        return run

    return _remembering(fresh)


def log(site: Site) -> Bound:
    """``out = min(scale * ln(x << correction_bits), 32767)``; 0 for 0 and 1."""
    attrs = _attributes(site, Log)

    def value(x: int) -> int:
        shifted = x << attrs.correction_bits & WORD
        return min(natural_log(shifted, attrs.scale & WORD), INT16.max) if shifted > 1 else 0

    return Bound(lambda inputs, outputs: outputs[0].__setitem__(..., _each(value, outputs[0], inputs[0])))


def pcan(site: Site) -> Bound:
    """Per-channel amplitude normalization: ``out = compressed((x * gain(noise)) >> snr_shift)``."""
    shift = _attributes(site, Shift).bits

    def run(inputs: Arrays, outputs: Arrays) -> None:
        table = inputs[2].tolist()

        def value(x: int, noise: int) -> int:
            product = x * (gain(noise, table) & WORD)
            return compressed(product >> shift & WORD) & WORD

        outputs[0][...] = _each(value, outputs[0], inputs[0], inputs[1])

    return Bound(run)


BINDINGS = {
    "SignalWindow": window,
    "SignalFftAutoScale": auto_scale,
    "SignalRfft": rfft,
    "SignalIrfft": irfft,
    "SignalFramer": framer,
    "SignalOverlapAdd": overlap_add,
    "SignalDelay": delay,
    "SignalStacker": stacker,
    "SignalEnergy": energy,
    "SignalFilterBank": filter_bank,
    "SignalFilterBankSquareRoot": square_root,
    "SignalFilterBankSpectralSubtraction": subtraction,
    "SignalFilterBankLog": log,
    "SignalPCAN": pcan,
}
