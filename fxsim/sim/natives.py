"""Sums of two tensors, and means over windows, as compiled functions; None where only the general kernels serve."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from fxsim.kernels import _finish as schemes
from fxsim.kernels import isa, packed
from fxsim.kernels._finish import JOIN_WORDS
from fxsim.kernels._vectors import LANES
from fxsim.model.graph import Tensor
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim import affine
from fxsim.sim.base import Native, address
from fxsim.sim.packed import Rescale, Sums, double_parameters, native


def _joins(tensors: Sequence[Tensor]) -> bool:
    """True if there is a compiled sum of the first two tensors: of bytes, without broadcasting."""
    a, b, out = tensors
    return isa.compiled() and a.shape == b.shape and out.qtype.bits == 8 and out.elements >= LANES


def _joined(
    tensors: Sequence[Tensor], zeros: Sequence[int], clamp: tuple[int, int], rest: Sequence[int], *, shifted: bool
) -> Native | None:
    """The sum of the first two tensors; ``rest`` are the parameters of :func:`fxsim.kernels._finish.join`."""
    if not _joins(tensors):
        return None
    out = tensors[2]
    words = np.zeros(JOIN_WORDS, np.int32)
    words[: 5 + len(rest)] = *zeros, *clamp, *rest
    constants = np.array([out.elements, address(words)], np.int64)
    bits = -8 if out.qtype.signed else 8
    return Native(partial(packed.joined, bits, int(shifted)), constants, (words,), positions=(0, 1))


def doubly_rounded(
    tensors: Sequence[Tensor],
    zeros: Sequence[int],
    q: Array,
    shift: Array,
    left: int,
    rounding: str,
    clamp: tuple[int, int],
    sign: int = 1,
) -> Native | None:
    """Both terms, shifted ``left``, and their sum (difference) rescaled by double rounding; no scale may be 1 or more.

    By one rounding, where that was proved to be the same; else a difference is left to the general kernel.
    """
    if rounding not in ("ties_away", "ties_pos") or np.any(shift > 0) or not _joins(tensors):
        return None
    pairs = affine.pairs_of_bytes(tensors[2].qtype.signed, zeros)
    outputs = affine.doubly_rounded(*pairs, sign, q, shift, left, rounding, zeros[2], clamp)
    m = q * 2.0 ** (shift - 31)
    factors = float(m[0] * m[2]) * 2.0**left, sign * float(m[1] * m[2]) * 2.0**left
    formula = affine.affine(*pairs, outputs, factors, zeros[2], clamp)
    if formula is not None:
        rest = [*formula.multipliers, formula.offset, formula.shift]
        return _joined(tensors, zeros, clamp, rest, shifted=True)
    if sign < 0:
        return None
    away = -(rounding == "ties_away")
    rest = []
    for i, by in enumerate((left, left, 0)):
        rest += [*(int(v) for v in double_parameters(q[i], shift[i], by)), away]
    return _joined(tensors, zeros, clamp, rest, shifted=False)


def once_rounded(
    tensors: Sequence[Tensor], zeros: Sequence[int], multipliers: Sequence[int], shift: int, clamp: tuple[int, int]
) -> Native | None:
    """``(ma * (a - a_zero) + mb * (b - b_zero)) / 2**shift``, ties up, where the sum fits 32 bits."""
    most = 255 * sum(abs(int(m)) for m in multipliers) + (1 << max(shift, 1) - 1)
    if not 1 <= shift < 32 or most >= 1 << 31:
        return None
    return _joined(tensors, zeros, clamp, [*map(int, multipliers), 1 << (shift - 1), shift], shifted=True)


def channels_last(x: Tensor, order: Sequence[int]) -> Native | None:
    """An image of bytes of 2 to 4 channels, transposed to channels last."""
    if not isa.compiled() or tuple(order) != (0, 2, 3, 1) or x.qtype.dtype.itemsize != 1:
        return None
    n, c, h, w = x.shape
    if n != 1 or not 2 <= c <= 4 or h * w < LANES:
        return None
    return Native(partial(packed.woven, c), np.array([h * w], np.int64), ())


def _window(x: Tensor, geometry: Geometry, x_zero: int) -> Sums:
    """Sums of the inputs under a window of each channel by itself."""
    g = geometry
    ones = np.ones((g.kernel_h, g.kernel_w, 1, g.in_c), np.int8)
    return Sums(g, (0, 0, 0, 0), ones, np.zeros(g.in_c, np.int32), x_zero, np.dtype(x.qtype.dtype))


def _fits(x: Tensor, g: Geometry) -> bool:
    inside = (g.out_h - 1) * g.stride_h + g.kernel_h <= g.in_h and (g.out_w - 1) * g.stride_w + g.kernel_w <= g.in_w
    return inside and g.in_c > 1 and g.kernel_h * g.kernel_w < 1 << 14 and x.qtype.bits <= 16


def averaged(x: Tensor, geometry: Geometry, rounding: str, clamp: tuple[int, int]) -> Native | None:
    """The mean under each window, ties away from zero; every window lies in the image."""
    if not _fits(x, geometry) or rounding != "ties_away":
        return None
    counts = np.full(geometry.in_c, float(geometry.kernel_h * geometry.kernel_w))
    rescale = Rescale(schemes.QUOTIENT, (counts,), 0, *clamp, (-(2.0**31), 2.0**31 - 1))
    return native(_window(x, geometry, 0), rescale, np.dtype(x.qtype.dtype))


def image(x: Tensor, axes: tuple[int, ...], out: Tensor) -> Geometry | None:
    """The geometry of a reduction over height and width of a whole image; None for other axes."""
    if len(x.shape) != 4 or axes != (1, 2) or x.qtype != out.qtype:
        return None
    n, h, w, c = x.shape
    return Geometry(n, h, w, c, 1, 1, c, h, w, groups=c)


def doubly_rounded_mean(
    x: Tensor,
    geometry: Geometry | None,
    x_zero: int,
    q: int,
    shift: int,
    rounding: str,
    zero: int,
    clamp: tuple[int, int],
) -> Native | None:
    """The sum less its zero points, rescaled by double rounding."""
    if geometry is None or not _fits(x, geometry) or rounding not in ("ties_away", "ties_pos"):
        return None
    c = geometry.in_c
    away = np.full(c, -(rounding == "ties_away"), np.int32)
    parameters = *double_parameters(np.full(c, q), np.full(c, shift)), away
    rescale = Rescale(schemes.DOUBLE, parameters, zero, *clamp, (0.0, 0.0))
    return native(_window(x, geometry, x_zero), rescale, np.dtype(x.qtype.dtype))


def affine_mean(
    x: Tensor, geometry: Geometry | None, scale: np.float32, offset: np.float32, clamp: tuple[int, int]
) -> Native | None:
    """``rint(sum * scale + offset)``, product and sum in float32."""
    if geometry is None or not _fits(x, geometry):
        return None
    parameters = np.full(geometry.in_c, scale), np.full(geometry.in_c, offset)
    rescale = Rescale(schemes.AFFINE32, parameters, 0, *clamp, (float(clamp[0]), float(clamp[1])))
    return native(_window(x, geometry, 0), rescale, np.dtype(x.qtype.dtype))
