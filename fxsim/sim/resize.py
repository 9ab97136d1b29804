"""Binds RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.errors import UnsupportedOp
from fxsim.kernels.resize import fixed
from fxsim.model.ops.resize import Resize
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Site

Pixels = npt.NDArray[np.int64]
HALF, ONE = np.float32(0.5), np.float32(1)


@dataclass(frozen=True, slots=True)
class Axis:
    """Where output pixels lie along one axis: between ``before`` and ``after``, ``weight`` of the way."""

    before: Pixels
    after: Pixels
    weight: npt.NDArray[Any]

    def table(self) -> Pixels:
        """The three as rows, for a kernel."""
        return np.stack([self.before, self.after, self.weight.astype(np.int64)])


def _step(size: int, count: int, attrs: Resize) -> tuple[int, int]:
    """Numerator and denominator of the input pixels that one output pixel spans."""
    corners = attrs.align_corners and count > 1
    return size - corners, count - corners


def _ten_bits(size: int, count: int, attrs: Resize) -> Axis:
    """Positions and their step have 10 fraction bits; divisions round toward zero.

    Source: tflite/kernels/internal/reference/resize_bilinear.h, ComputeInterpolationValuesInteger @ LiteRT 2.3.0.
    """
    span, per = _step(size, count, attrs)
    step = (1024 * span + per // 2) // per
    at = np.arange(count, dtype=np.int64) * step
    if attrs.half_pixel_centers:
        at += step // 2 - 512
    before = np.maximum(np.trunc(at / 1024).astype(np.int64), 0)
    after = np.minimum(np.trunc((at + 1023) / 1024).astype(np.int64), size - 1)
    return Axis(before, after, at - 1024 * before)


def _reals(size: int, count: int, attrs: Resize) -> Axis:
    """Positions in float32; those before the first pixel stay there.

    Source: tflite/kernels/internal/reference/resize_bilinear.h, ComputeInterpolationValues @ LiteRT 2.3.0.
    """
    span, per = _step(size, count, attrs)
    step, at = np.float32(span) / np.float32(per), np.arange(count, dtype=np.float32)
    at = (at + HALF) * step - HALF if attrs.half_pixel_centers else at * step
    before = np.maximum(np.floor(at).astype(np.int64), 0)
    after = np.minimum(np.ceil(at).astype(np.int64), size - 1)
    return Axis(before, after, at - before.astype(np.float32))


def _inside(size: int, count: int, attrs: Resize) -> Axis:
    """Positions in float32, kept within the input.

    Source: XNNPACK src/indirection.c, xnn_indirection_init_resize_bilinear2d_hwc_f32; bits asked of LiteRT 2.3.0.
    """
    span, per = _step(size, count, attrs)
    step = np.float32(span) / np.float32(per)
    at = np.arange(count, dtype=np.float32) * step
    if attrs.half_pixel_centers:
        at = at + (HALF * step - HALF)
    at = np.clip(at, np.float32(0), np.float32(size - 1))
    before = np.floor(at).astype(np.int64)
    return Axis(before, np.minimum(before + 1, size - 1), at - before.astype(np.float32))


def bilinear(site: Site) -> Bound:
    """The mean of the four input pixels around an output pixel's position, weighted by nearness.

    Variants: ``ten_bits`` (integers with weights of 10 bits, the sum rounded once; default of int8 and int16),
    ``float_factors`` (each pixel times two float32 factors; default of uint8 and float32), ``float_weights`` (each pixel
    times one float32 weight) and ``two_steps`` (across, then down; integers with weights of 11 bits, the sum rounded
    once). An integer made from float32 is truncated after 0.5 is added.

    Source: tflite/kernels/resize_bilinear.cc, reference/ and optimized/resize_bilinear.h @ LiteRT 2.3.0; XNNPACK
    src/qs8-ibilinear and f32-ibilinear.
    """
    attrs, x = _resize(site), site.input(0)
    site.types(output=x.qtype.name)
    if attrs.align_corners and attrs.half_pixel_centers:
        raise UnsupportedOp("align_corners and half_pixel_centers are both true; supported: at most one")
    whole = x.qtype.kind == "int"
    names = ("float_factors", "float_weights", "two_steps", *(("ten_bits",) if whole else ()))
    variant = site.variant("ten_bits" if x.qtype.name in ("int8", "int16") else "float_factors", *names)
    if variant == "ten_bits":
        return _whole(site, [_ten_bits(*a, attrs) for a in _axes(site)], 10, site.numerics.requantize.rounding)
    if variant == "two_steps":
        axes = [_inside(*a, attrs) for a in _axes(site)]
        if whole:
            bits = [Axis(a.before, a.after, np.rint(a.weight * np.float32(2048))) for a in axes]
            return _whole(site, bits, 11, "ties_pos")
        return _real(site, axes, variant)
    return _real(site, [_reals(*a, attrs) for a in _axes(site)], variant)


def _resize(site: Site) -> Resize:
    attrs = site.node.attributes
    assert isinstance(attrs, Resize)
    return attrs


def _axes(site: Site) -> list[tuple[int, int]]:
    """``(input size, output size)`` of height and width."""
    return list(zip(site.input(0).shape[1:3], site.outputs[0].shape[1:3], strict=True))


def _whole(site: Site, axes: list[Axis], bits: int, rounding: str) -> Bound:
    kernel, (rows, columns) = fixed(rounding), (a.table() for a in axes)
    return Bound(lambda inputs, outputs: kernel(inputs[0], rows, columns, bits, outputs[0]))


def _real(site: Site, axes: list[Axis], variant: str) -> Bound:
    rows, columns = axes
    down, across = rows.weight[:, None, None], columns.weight[:, None]
    half = np.float32(0) if site.input(0).qtype.kind == "float" else HALF
    # Twice as high and wide: the optimized kernel halves sums of neighbours.
    doubled = variant == "float_weights" and not half and all(2 * size == count for size, count in _axes(site))
    doubled = doubled and _resize(site) == Resize()

    def run(inputs: Arrays, outputs: Arrays) -> None:
        def pixels(i: Pixels, j: Pixels) -> Array:
            values: Array = inputs[0][:, i[:, None], j].astype(np.float32)
            return values

        nw, ne = pixels(rows.before, columns.before), pixels(rows.before, columns.after)
        sw, se = pixels(rows.after, columns.before), pixels(rows.after, columns.after)
        if variant == "two_steps":
            top, bottom = nw + (ne - nw) * across, sw + (se - sw) * across
            total = top + (bottom - top) * down
        elif doubled:
            left, right = np.where(down > 0, (nw + sw) / 2, nw), np.where(down > 0, (ne + se) / 2, ne)
            total = np.where(across > 0, (left + right) / 2, left)
        elif variant == "float_weights":
            total = nw * ((ONE - down) * (ONE - across)) + ne * ((ONE - down) * across)
            total = total + sw * (down * (ONE - across)) + se * (down * across)
        else:
            total = nw * (ONE - down) * (ONE - across) + sw * down * (ONE - across)
            total = total + ne * (ONE - down) * across + se * down * across
        outputs[0][...] = total + half

    def quiet(inputs: Arrays, outputs: Arrays) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 it is infinite, as in the engines
            run(inputs, outputs)

    return Bound(quiet)


def nearest(site: Site) -> Bound:
    """The input pixel at an output pixel's position, rounded down; with ``align_corners`` the nearest, ties away.

    Source: tflite/kernels/internal/reference/resize_nearest_neighbor.h @ LiteRT 2.3.0.
    """
    attrs = _resize(site)
    site.types(output=site.input(0).qtype.name)

    def pixels(size: int, count: int) -> Pixels:
        span, per = _step(size, count, attrs)
        at = np.arange(count, dtype=np.float32)
        at = (at + HALF if attrs.half_pixel_centers else at) * (np.float32(span) / np.float32(per))
        found = np.floor(at)
        if attrs.align_corners:
            found += at - found >= HALF
        return np.clip(found.astype(np.int64), 0, size - 1)

    rows, columns = (pixels(*a) for a in _axes(site))

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = inputs[0][:, rows[:, None], columns]

    return Bound(run)


BINDINGS = {"RESIZE_BILINEAR": bilinear, "RESIZE_NEAREST_NEIGHBOR": nearest}
