"""The quantizers of textbooks: plain functions of arrays, each with its formula and its error bound.

    uniform_floor(x, delta)                       0 <= x - y < delta
    power_of_two_step(x, bits)                    |x - y| <= 2**bits / 2
    min_max_affine(x, bits)                       |x - y| <= scale, scale = (max - min) / (2**bits - 1)
    symmetric(x, bits)                            |x - y| <= scale / 2, scale = max|x| / (2**(bits - 1) - 1)
    power_of_two_scale(x, bits)                   |x - y| <= scale / 2, scale less than twice that of symmetric
    log2(x, bits)                                 |x - y| <= |x| / 3 above the least level
    additive_powers_of_two(x, bits)               |x - y| <= half the widest gap of the levels
    kmeans(x, entries)                            sum (x - y)**2 is least for the codebook that it ends at
    quantile(x, entries)                          equally many elements in every cell

All but the first two return the integers or indices too, so that nothing has to be quantized twice.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError
from fxsim.model.qtype import Array, QType, QuantParams
from fxsim.quant.rules import affine

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quantized:
    """What a quantizer makes: ``real`` values, and the integers and scale behind them."""

    raw: Array
    qtype: QType
    quant: QuantParams

    @property
    def real(self) -> Reals:
        """``scale * (raw - zero_point)``."""
        return self.quant.dequantize(self.raw)


@dataclass(frozen=True, slots=True)
class Coded:
    """What a codebook makes: for each element the index of its entry."""

    index: Array
    codebook: Reals
    """entries in rising order"""

    @property
    def real(self) -> Reals:
        """``codebook[index]``."""
        return self.codebook[self.index]


def ties_away(x: npt.ArrayLike) -> Reals:
    """The integer nearest to ``x``, ties away from zero, exactly (``floor(x + 1/2)`` is not)."""
    value = np.asarray(x, np.float64)
    whole = np.trunc(value)
    return whole + np.where(np.abs(value - whole) >= 0.5, np.sign(value), 0.0)


def along(values: tuple[float, ...], axis: int | None, ndim: int) -> Reals:
    """One value for all, or one for each index along ``axis``, in a shape that broadcasts to ``ndim`` axes."""
    if len(values) == 1:
        return np.float64(values[0]) * np.ones((1,) * ndim)
    shape = [1] * ndim
    shape[axis or 0] = -1
    return np.reshape(np.asarray(values, np.float64), shape)


def to_integers(real: npt.ArrayLike, qtype: QType, quant: QuantParams) -> Array:
    """``clip(round(real / scale) + zero_point, min, max)`` in float64, ties away from zero; 1 bit: -1 below 0, else 1."""
    x = np.asarray(real, np.float64)
    scale = along(quant.scale, quant.axis, x.ndim)
    if qtype.bits == 1 and qtype.signed:
        return np.where(x < 0, -1, 1).astype(qtype.dtype)
    zero = along(tuple(map(float, quant.zero_point)), quant.axis, x.ndim)
    raw: Array = np.clip(ties_away(x / scale) + zero, float(qtype.min), _top(qtype)).astype(qtype.dtype)
    return raw


def _top(qtype: QType) -> float:
    """The greatest float64 that fits the type."""
    return float(qtype.max) if qtype.bits < 54 else float(np.nextafter(float(qtype.max), 0))


def _finite(who: str, x: npt.ArrayLike) -> Reals:
    value = np.asarray(x, np.float64)
    if not value.size or not np.all(np.isfinite(value)):
        raise DomainError(
            f"{who}: x has {value.size} elements, {np.sum(~np.isfinite(value))} not finite; allowed: finite numbers"
        )
    return value


def _bits(who: str, bits: int, least: int, most: int) -> int:
    if not isinstance(bits, int) or not least <= bits <= most:
        raise DomainError(f"{who}: bits is {bits!r}; allowed: {least}..{most}")
    return bits


def uniform_floor(x: npt.ArrayLike, delta: float) -> Reals:
    """``delta * floor(x / delta)``; ``0 <= x - y < delta``.

    Raises:
        DomainError: if ``delta`` is not positive, or ``x`` not finite.
    """
    if not delta > 0:
        raise DomainError(f"uniform_floor: delta is {delta!r}; allowed: above 0")
    return delta * np.floor(_finite("uniform_floor", x) / delta)


def power_of_two_step(x: npt.ArrayLike, bits: int) -> Reals:
    """``2**bits * round(x / 2**bits)``, ties away from zero; ``|x - y| <= 2**bits / 2``. ``bits`` may be negative.

    Raises:
        DomainError: if ``bits`` is beyond -1000..1000, or ``x`` not finite.
    """
    step = 2.0 ** _bits("power_of_two_step", bits, -1000, 1000)
    return step * ties_away(_finite("power_of_two_step", x) / step)


def min_max_affine(x: npt.ArrayLike, bits: int = 8, *, signed: bool = False) -> Quantized:
    """``scale * (clip(round(x / scale) + zero_point) - zero_point)``, ``scale = (max - min) / (2**bits - 1)``.

    The range always holds 0, which is exact. The zero point is rounded, so that ``|x - y| <= scale``: half a step of the
    integer and half a step of the zero point.

    Raises:
        DomainError: if ``bits`` is beyond 2..16, or ``x`` not finite.
    """
    value = _finite("min_max_affine", x)
    qtype = QType(_bits("min_max_affine", bits, 2, 16), signed)
    quant = affine(float(value.min()), float(value.max()), qtype)
    return Quantized(to_integers(value, qtype, quant), qtype, quant)


def symmetric(x: npt.ArrayLike, bits: int = 8) -> Quantized:
    """``scale * clip(round(x / scale))``, ``scale = max|x| / (2**(bits - 1) - 1)``; ``|x - y| <= scale / 2``.

    Raises:
        DomainError: if ``bits`` is beyond 2..16, or ``x`` not finite.
    """
    return _symmetric("symmetric", x, bits, power_of_two=False)


def power_of_two_scale(x: npt.ArrayLike, bits: int = 8) -> Quantized:
    """As :func:`symmetric`, with the next power of two as scale: a rescale is a shift. ``|x - y| <= scale / 2``.

    Raises:
        DomainError: if ``bits`` is beyond 2..16, or ``x`` not finite.
    """
    return _symmetric("power_of_two_scale", x, bits, power_of_two=True)


def _symmetric(who: str, x: npt.ArrayLike, bits: int, *, power_of_two: bool) -> Quantized:
    value = _finite(who, x)
    qtype = QType(_bits(who, bits, 2, 16), narrow_range=True)
    quant = affine(float(value.min()), float(value.max()), qtype, symmetric=True, power_of_two=power_of_two)
    return Quantized(to_integers(value, qtype, quant), qtype, quant)


def log2_levels(bits: int) -> Array:
    """The integers ``0, 1, 2, 4, ..., 2**n`` that ``bits`` bits with a sign can name, ``n = 2**(bits - 1) - 2``.

    Zero is one of the codes, and so is its negative, which is not used.
    """
    top = (1 << (_bits("log2", bits, 2, 4) - 1)) - 2
    positive = [1 << k for k in range(top + 1)]
    return np.array([-v for v in reversed(positive)] + [0] + positive, np.int64)


def apot_levels(bits: int) -> Array:
    """The integers that are sums of two powers of two, of disjoint sets, with a sign.

    ``bits - 1`` bits are shared out to the terms; a term of ``k`` bits is 0 or one of ``2**k - 1`` powers, which
    alternate between the terms.

    Source: Li, Dong, Wang: Additive Powers-of-Two Quantization, ICLR 2020, equation 5.
    """
    rest = _bits("additive_powers_of_two", bits, 2, 5) - 1
    shares = (rest + 1) // 2, rest // 2
    exponents: list[list[int]] = [[], []]
    turn = 0
    while any(len(e) < (1 << k) - 1 for e, k in zip(exponents, shares, strict=True)):
        term = turn % 2
        if len(exponents[term]) < (1 << shares[term]) - 1:
            exponents[term].append(sum(map(len, exponents)))
        turn += 1
    top = sum(map(len, exponents)) - 1
    terms = [[0] + [1 << (top - e) for e in es] for es in exponents]
    positive = sorted({a + b for a in terms[0] for b in terms[1]})
    return np.array([-v for v in reversed(positive) if v] + positive, np.int64)


def nearest(x: Reals, levels: npt.ArrayLike) -> Array:
    """The index of the level nearest to each element; of two as near, the lower. ``levels`` rise."""
    rising = np.asarray(levels, np.float64)
    result: Array = np.searchsorted((rising[1:] + rising[:-1]) / 2, x, side="left")
    return result


def to_levels(real: npt.ArrayLike, levels: npt.ArrayLike, quant: QuantParams) -> Array:
    """The integer of ``levels`` nearest to ``real / scale``."""
    x, entries = np.asarray(real, np.float64), np.asarray(levels)
    raw: Array = entries[nearest(x / along(quant.scale, quant.axis, x.ndim), entries)]
    return raw


def _levelled(who: str, x: npt.ArrayLike, levels: Array) -> Quantized:
    value = _finite(who, x)
    most = float(np.abs(value).max())
    quant = QuantParams((most / float(levels[-1]) if most else 1.0,), (0,))
    bits = max(2, int(levels[-1]).bit_length() + 1)
    return Quantized(to_levels(value, levels, quant), QType(bits, narrow_range=True), quant)


def log2(x: npt.ArrayLike, bits: int = 4) -> Quantized:
    """``sign(x) * s * 2**k`` with the nearest of the levels ``0, s, 2s, 4s, ..., max|x|``.

    Between levels the error is at most half their distance: ``|x - y| <= |x| / 3`` for ``|x| >= s``, ``s / 2`` below.

    Raises:
        DomainError: if ``bits`` is beyond 2..4, or ``x`` not finite.
    """
    return _levelled("log2", x, log2_levels(bits))


def additive_powers_of_two(x: npt.ArrayLike, bits: int = 4) -> Quantized:
    """``sign(x) * s * (2**i + 2**j)``, a term may be 0: nearest of :func:`apot_levels`, scaled to ``max|x|``.

    ``|x - y|`` is at most half the widest gap of the levels: a product is two shifts and an addition.

    Raises:
        DomainError: if ``bits`` is beyond 2..5, or ``x`` not finite.
    """
    return _levelled("additive_powers_of_two", x, apot_levels(bits))


def kmeans(x: npt.ArrayLike, entries: int = 16, rounds: int = 50, weight: npt.ArrayLike | None = None) -> Coded:
    """Each element becomes the mean of its cluster: Lloyd's iteration from ``entries`` evenly spaced values.

    ``sum(weight * (x - y)**2)`` never rises from round to round; it ends where no element changes its cluster. Entries
    that nobody uses stay.

    Raises:
        DomainError: if there is no entry, or ``x`` is not finite.
    """
    value = _finite("kmeans", x)
    if not 1 <= entries <= 1 << 16:
        raise DomainError(f"kmeans: entries is {entries}; allowed: 1..65536")
    flat = value.reshape(-1)
    w = np.ones(flat.size) if weight is None else np.asarray(weight, np.float64).reshape(-1)
    book = np.linspace(flat.min(), flat.max(), entries)
    index = nearest(flat, book)
    for _ in range(rounds):
        mass = np.bincount(index, w, entries)
        sums = np.bincount(index, w * flat, entries)
        book = np.sort(np.where(mass > 0, sums / np.where(mass > 0, mass, 1), book))
        new = nearest(flat, book)
        if np.array_equal(new, index):
            break
        index = new
    return Coded(index.reshape(value.shape), book)


def quantile(x: npt.ArrayLike, entries: int = 16) -> Coded:
    """Each element becomes the mean of its cell; cells hold equally many elements (histogram equalization).

    Between neighbours that are equal no cell ends, so that cells of repeated values are larger.

    Raises:
        DomainError: if there is no entry, or ``x`` is not finite.
    """
    value = _finite("quantile", x)
    if not 1 <= entries <= 1 << 16:
        raise DomainError(f"quantile: entries is {entries}; allowed: 1..65536")
    flat = np.sort(value.reshape(-1))
    cuts = flat[np.minimum(np.arange(1, entries) * flat.size // entries, flat.size - 1)]
    cell = np.searchsorted(cuts, value.reshape(-1), side="right")
    count, sums = np.bincount(cell, minlength=entries), np.bincount(cell, value.reshape(-1), entries)
    used = count > 0
    rank = np.cumsum(used) - 1
    return Coded(rank[cell].reshape(value.shape), sums[used] / count[used])
