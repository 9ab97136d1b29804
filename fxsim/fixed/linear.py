"""Sums of products on raw integers, with an accumulator as hardware has it: dot, matmul and convolution."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.bounds import bits_needed, dot_range
from fxsim.arith.overflow import highest, lowest
from fxsim.errors import DomainError
from fxsim.kernels import accumulate
from fxsim.kernels.ordered import FIRST, HIGH, LOW, OVERFLOWED, ordered, watch
from fxsim.numerics import Accumulator

Raw = npt.NDArray[Any]
PLAIN = Accumulator()
MAX_PRODUCT = 1 << 62


@dataclass(frozen=True, slots=True)
class Registers:
    """What the accumulators of each channel held."""

    low: npt.NDArray[np.int64]
    """least value at any step"""
    high: npt.NDArray[np.int64]
    overflows: npt.NDArray[np.int64]
    """steps that wrapped or saturated"""
    first: tuple[int, ...] | None
    """index of the first output in which a step overflowed"""

    @property
    def bits(self) -> npt.NDArray[np.int64]:
        """The register that each channel needed."""
        return np.array([bits_needed(int(a), int(b)) for a, b in zip(self.low, self.high, strict=True)])


def _integers(a: npt.ArrayLike, what: str, rank: int) -> Raw:
    try:
        array = np.asarray(a)
    except ValueError as e:
        raise DomainError(f"{what} is no array: {e}") from None
    if array.dtype.kind not in "iu" or array.dtype == np.uint64:
        raise DomainError(f"{what} is {array.dtype}; allowed: signed or unsigned integers of at most 63 bits")
    if array.ndim != rank:
        raise DomainError(f"{what} has shape {list(array.shape)}; allowed: {rank} axes")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _limits(array: Raw) -> tuple[int, int]:
    return (int(array.min()), int(array.max())) if array.size else (0, 0)


def _span(x: Raw, w: Raw, bias: Raw) -> tuple[int, int]:
    """Bounds of every running sum, for inputs within the range that ``x`` really has."""
    low, high = _limits(x)
    flat = w.reshape(-1, w.shape[-1]).astype(object if w.dtype == np.int64 else np.int64)
    positive, negative = np.maximum(flat, 0).sum(axis=0), np.minimum(flat, 0).sum(axis=0)
    ranges = [dot_range(int(p), int(n), low, high, int(b)) for p, n, b in zip(positive, negative, bias, strict=True)]
    return min((r[0] for r in ranges), default=0), max((r[1] for r in ranges), default=0)


def _checked(x: Raw, w: Raw, bias: Raw, a: Accumulator) -> tuple[int, int]:
    """Bounds of every running sum, if the kernels can hold them."""
    if not isinstance(a, Accumulator):
        raise DomainError(f"accumulator is {a!r}; allowed: an Accumulator, such as Accumulator(bits=20)")
    low, high = _span(x, w, bias)
    if max(-low, high) >= MAX_PRODUCT:
        raise DomainError(f"sums reach {max(-low, high)}; allowed: below 2**62")
    return low, high


def _run(x: Raw, w: Raw, bias: Raw, window: tuple[int, ...], groups: int, acc: Raw, a: Accumulator) -> None:
    """Fills ``acc``: by the fast kernels where they do the same, by the watched one elsewhere."""
    low, high = _checked(x, w, bias, a)
    fits = lowest(a.bits) <= low and high <= highest(a.bits)
    free = fits and a.order in ("sequential", "tree", "lanes") and not (a.product_shift or a.product_bits)
    if free or a.plain:  # no step can overflow, so that no order matters; or the fast kernel is the very thing
        policy = "wrap" if free or a.overflow == "wrap" else "saturate"
        narrow = max(-low, high) < 1 << 31 or (policy == "saturate" and a.bits <= 32) or a.bits <= 32
        sums = np.empty(acc.shape, np.int32) if narrow else acc
        accumulate.conv(policy, 8 * sums.itemsize)(x, w, bias, 0, window, groups, lowest(a.bits), highest(a.bits), sums)
        acc[...] = sums
        if policy == "wrap" and not fits:
            unused = 64 - a.bits
            acc[...] = (acc << unused) >> unused
        return
    _watched(x, w, bias, window, groups, acc, a)


def _watched(x: Raw, w: Raw, bias: Raw, window: tuple[int, ...], groups: int, acc: Raw, a: Accumulator) -> Registers:
    """Fills ``acc`` by the watched kernel, and says what the registers held."""
    seen = watch(acc.shape[-1])
    f = ordered(a.order, a.overflow, a.product_rounding, a.product_overflow)
    at_end = a.at == "end"
    f(x, w, bias, 0, 0, window, groups, a.bits, a.lanes, at_end, a.product_shift, a.product_bits, acc, seen)
    places = seen[:, FIRST][seen[:, FIRST] >= 0]
    first = tuple(int(i) for i in np.unravel_index(int(places.min()), acc.shape)) if places.size else None
    return Registers(seen[:, LOW], seen[:, HIGH], seen[:, OVERFLOWED], first)


def matmul(a: npt.ArrayLike, b: npt.ArrayLike, accumulator: Accumulator = PLAIN) -> npt.NDArray[np.int64]:
    """``a @ b`` on raw integers ``(M, K)`` and ``(K, N)``, each sum held in ``accumulator``. Returns int64 ``(M, N)``.

    Raises:
        DomainError: on other shapes or types, and where a sum could reach ``2**62``.
    """
    x, w, acc = _operands(a, b)
    _run(x, w, np.zeros(w.shape[-1], np.int64), (1, 1, 1, 1), 1, acc, accumulator)
    return acc.reshape(x.shape[2], w.shape[3])


def _operands(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Raw, Raw, Raw]:
    x, w = _integers(a, "a", 2), _integers(b, "b", 2)
    if x.shape[1] != w.shape[0]:
        raise DomainError(f"a has shape {list(x.shape)} and b {list(w.shape)}; allowed: (M, K) and (K, N)")
    acc = np.zeros((1, 1, x.shape[0], w.shape[1]), np.int64)
    return x.reshape(1, 1, *x.shape), w.reshape(1, 1, *w.shape), acc


def matmul_registers(
    a: npt.ArrayLike, b: npt.ArrayLike, accumulator: Accumulator = PLAIN
) -> tuple[npt.NDArray[np.int64], Registers]:
    """:func:`matmul`, and what the registers of each column held; ``first`` is ``(row, column)``."""
    x, w, acc = _operands(a, b)
    bias = np.zeros(w.shape[-1], np.int64)
    _checked(x, w, bias, accumulator)
    held = _watched(x, w, bias, (1, 1, 1, 1), 1, acc, accumulator)
    first = held.first[2:] if held.first else None
    return acc.reshape(x.shape[2], w.shape[3]), Registers(held.low, held.high, held.overflows, first)


def dot(a: npt.ArrayLike, b: npt.ArrayLike, accumulator: Accumulator = PLAIN) -> int:
    """``sum(a * b)`` of two raw vectors, held in ``accumulator``. Errors as :func:`matmul`."""
    x, w = _integers(a, "a", 1), _integers(b, "b", 1)
    return int(matmul(x.reshape(1, -1), w.reshape(-1, 1), accumulator)[0, 0])


def conv(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
    accumulator: Accumulator = PLAIN,
) -> npt.NDArray[np.int64]:
    """The convolution of ``(N, H, W, C)`` with ``(KH, KW, C / groups, O)``, each sum held in ``accumulator``.

    ``padding`` is (top, bottom, left, right), with zeros; the bias ``(O,)`` is added last. Returns int64
    ``(N, OH, OW, O)``.

    Raises:
        DomainError: on shapes that do not fit each other, and as :func:`matmul`.
    """
    image, weight, offset, acc = _window(x, w, bias, stride, dilation, padding, groups)
    _run(image, weight, offset, (*stride, *dilation), groups, acc, accumulator)
    return acc


def conv_registers(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
    accumulator: Accumulator = PLAIN,
) -> tuple[npt.NDArray[np.int64], Registers]:
    """:func:`conv`, and what the registers of each output channel held; ``first`` is ``(n, y, x, channel)``."""
    image, weight, offset, acc = _window(x, w, bias, stride, dilation, padding, groups)
    _checked(image, weight, offset, accumulator)
    return acc, _watched(image, weight, offset, (*stride, *dilation), groups, acc, accumulator)


def _window(
    x: npt.ArrayLike, w: npt.ArrayLike, bias: npt.ArrayLike | None, stride: tuple[int, int],
    dilation: tuple[int, int], padding: tuple[int, int, int, int], groups: int,
) -> tuple[Raw, Raw, Raw, Raw]:  # fmt: skip
    """The operands of a convolution, checked; the image padded; and room for the sums."""
    image, weight = _integers(x, "x", 4), _integers(w, "w", 4)
    n, _, _, c = image.shape
    kh, kw, cg, o = weight.shape
    if groups < 1 or cg * groups != c or o % groups:
        raise DomainError(f"x has {c} channels, w shape {list(weight.shape)}, groups {groups}: they do not fit")
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise DomainError(f"stride {stride}, dilation {dilation}, padding {padding}; allowed: at least 1, 1 and 0")
    top, bottom, left, right = padding
    image = np.pad(image, ((0, 0), (top, bottom), (left, right), (0, 0)))
    oh = (image.shape[1] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (image.shape[2] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    if oh < 1 or ow < 1:
        raise DomainError(f"a {kh}x{kw} window does not fit {list(image.shape)}")
    offset = np.zeros(o, np.int64) if bias is None else _integers(bias, "bias", 1).astype(np.int64)
    if offset.size != o:
        raise DomainError(f"bias has {offset.size} elements; allowed: {o}")
    return image, weight, offset, np.zeros((n, oh, ow, o), np.int64)
