"""Arithmetic on raw integers of fixed-point formats: exact first, then rounded, then fitted into the target.

Formats of up to 64 bits run in compiled kernels, in one word where the exact result fits it, else in two. Python ints
do the rest, by the same rules: wider formats, random bits, and sums whose points lie so far apart that two words are
not enough.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fxsim.arith.bounds import bits_needed
from fxsim.arith.cast import cast as cast_int
from fxsim.arith.overflow import of_misfit
from fxsim.arith.rounding import RULES
from fxsim.errors import DomainError
from fxsim.fixed import stochastic
from fxsim.fixed.formats import COMPILED_BITS, FixedFormat, as_format, whole
from fxsim.fixed.names import STOCHASTIC, OverflowRule, overflow_rule, rounding_name
from fxsim.kernels import cast as kernels
from fxsim.kernels import wide as words
from fxsim.kernels.multiply import multiply

Raw = npt.NDArray[Any]
Format = FixedFormat | str
WORD, WIDE = 63, 129
"""bits of a signed exact result that the kernels of one word and of two take"""
ACT_ALWAYS = words.MARKING
"""rules that act even where nothing is dropped"""


class Into(NamedTuple):
    """How an exact result becomes raw integers of its target."""

    target: FixedFormat
    rule: str
    policy: OverflowRule
    wrap_bits: int
    random: stochastic.Source

    @property
    def compiled(self) -> bool:
        """Whether kernels can make it."""
        return self.target.bits <= COMPILED_BITS and self.rule not in STOCHASTIC


def into(
    target: Format, rounding: str, overflow: str, wrap_bits: int, seed: int = 0, generator: str = "counter"
) -> Into:
    """The settings of a cast, checked: see :func:`cast`."""
    for what, name in (("rounding", rounding), ("overflow", overflow), ("generator", generator)):
        if not isinstance(name, str):
            raise DomainError(f"{what} is {name!r}; allowed: a name")
    return _into(as_format(target), rounding, overflow, whole("wrap_bits", wrap_bits), whole("seed", seed), generator)


@lru_cache(maxsize=256)
def _into(target: FixedFormat, rounding: str, overflow: str, wrap_bits: int, seed: int, generator: str) -> Into:
    policy, rule = overflow_rule(overflow), rounding_name(rounding)
    if wrap_bits < 0 or (wrap_bits > 0 and "wrap" not in policy.name):
        raise DomainError(
            f"wrap_bits is {wrap_bits} with overflow {overflow!r}; allowed: 0, or more with a wrapping policy"
        )
    if policy.name.startswith("wrap_sign_magnitude") and not target.signed:
        raise DomainError(f"overflow {overflow!r} needs a signed target; got {target}")
    return Into(target, rule, policy, wrap_bits, stochastic.Source(seed, generator))


def check_raw(raw: npt.ArrayLike, format: FixedFormat, what: str = "raw") -> Raw:
    """``raw`` as an array whose every value lies in ``format``.

    Raises:
        DomainError: on values that are not integers, or out of range; names the first.
    """
    try:
        array = np.asarray(raw)
        if array.dtype.kind == "f" and not isinstance(raw, np.ndarray | np.generic):
            objects = np.asarray(raw, dtype=object)  # an empty list, or integers that no integer type of numpy holds
            array = objects if all(isinstance(v, int) for v in objects.reshape(-1)) else array
    except ValueError as e:
        raise DomainError(f"{what} is no array: {e}") from None
    if array.dtype != object and array.dtype.kind not in "iub":
        raise DomainError(f"{what} is {array.dtype}; allowed: integers")
    if array.dtype == object and not all(isinstance(v, int) for v in array.reshape(-1)):
        raise DomainError(f"{what} holds objects that are no Python ints; allowed: integers")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == ("i" if format.signed else "u") and 8 * array.dtype.itemsize <= format.bits:
        return array  # every value of the type is one of the format
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < format.min or high > format.max:
            worst = low if low < format.min else high
            at = tuple(int(i) for i in np.argwhere(array == worst)[0])
            raise DomainError(f"{what} is {worst} at {list(at)}; allowed in {format}: {format.min}..{format.max}")
    return array.astype(format.dtype) if array.dtype.kind in "Ob" else array


def _on_ints(raw: Raw, shift: int, to: Into) -> Raw:
    """``raw * 2**-shift`` in the target, on Python ints."""
    target, (rule, policy) = to.target, (to.rule, to.policy)
    values = [int(v) for v in raw.reshape(-1)]
    if rule in STOCHASTIC:
        values = stochastic.shift_right(values, [shift] * len(values), rule, to.random)
        shift, rule = min(shift, 0), "to_neg"
    elif rule in ACT_ALWAYS and shift <= 0:
        values, shift = [v << (1 - shift) for v in values], 1
    if policy.raises:
        bad = (
            i for i, v in enumerate(values)
            if cast_int(RULES[rule], of_misfit, v, shift, target.bits, target.signed, 0, 0)
        )  # fmt: skip
        _refuse(next(bad, -1), values, shift, raw.shape, target)
    result = [
        cast_int(RULES[rule], policy.function, v, shift, target.bits, target.signed, to.wrap_bits, policy.quirk)
        for v in values
    ]
    return np.array(result, dtype=target.dtype).reshape(raw.shape)


def _on_words(raw: Raw, shift: int, to: Into) -> Raw:
    """The same, of integers of at most ``WORD`` signed bits, compiled."""
    target, policy, flat = to.target, to.policy, raw.reshape(-1)
    if policy.raises:
        bad = kernels.misfit(to.rule)(flat, shift, target.bits, target.signed)
        _refuse(bad, flat, shift, raw.shape, target)
    out = np.empty(flat.size, np.int64)
    f = kernels.cast_raw(to.rule, "wrap" if policy.raises else policy.name)
    f(flat, shift, target.bits, target.signed, to.wrap_bits, policy.quirk, out)
    return _narrow(out, target).reshape(raw.shape)


def _on_two_words(rows: Raw, shape: tuple[int, ...], shift: int, to: Into) -> Raw:
    """The same, of integers as :mod:`fxsim.kernels.wide` has them."""
    target, policy = to.target, to.policy
    words.round_by(to.rule)(rows, shift)
    out = np.empty(rows.shape[1], np.int64)
    if policy.raises:
        words.fit("misfit")(rows, target.bits, target.signed, 0, 0, out)
        if np.any(out):
            at = [int(i) for i in np.unravel_index(int(np.flatnonzero(out)[0]), shape)]
            raise DomainError(f"the result at {at} does not fit {target}; allowed: {target.min}..{target.max}")
    name = "wrap" if policy.raises else policy.name
    words.fit(name)(rows, target.bits, target.signed, to.wrap_bits, policy.quirk, out)
    return _narrow(out, target).reshape(shape)


def _narrow(out: Raw, target: FixedFormat) -> Raw:
    """Words in the type of the target; a word of 64 unsigned bits is the same bits."""
    return out.view(np.uint64) if target.dtype == np.uint64 else out.astype(target.dtype)


def _refuse(index: int, values: Sequence[int] | Raw, shift: int, shape: tuple[int, ...], target: FixedFormat) -> None:
    if index >= 0:
        at = [int(i) for i in np.unravel_index(index, shape)]
        allowed = f"allowed: {target.min}..{target.max}"
        raise DomainError(f"{int(values[index])} * 2**{-shift} at {at} does not fit {target}; {allowed}")


def _exactly(
    bits: int, frac_bits: int, operands: tuple[FixedFormat, ...], to: Into,
    shape: tuple[int, ...], exact: Callable[[Any], Raw], fill: Callable[[], Raw],
) -> Raw:  # fmt: skip
    """An exact result of ``bits`` signed bits in the target; ``exact(dtype)`` has it in integers, ``fill()`` in two words."""
    shift = frac_bits - to.target.frac_bits
    if not to.compiled or max(f.bits for f in operands) > COMPILED_BITS or bits > WIDE:
        return _on_ints(exact(object), shift, to)
    if bits <= WORD and (to.rule not in ACT_ALWAYS or shift > 0):
        return _on_words(exact(np.int64), shift, to)
    return _on_two_words(fill(), shape, shift, to)


def _flat(*arrays: Raw) -> tuple[list[Raw], Raw]:
    """Operands of one shape as kernels of two words take them, and rows for the result."""
    flat = [np.ascontiguousarray(v).reshape(-1) for v in arrays]
    rows = np.zeros((words.ROWS, flat[0].size), np.int64)
    return [v.view(np.int64) if v.dtype == np.uint64 else v for v in flat], rows


def cast(
    raw: npt.ArrayLike,
    source: Format,
    target: Format,
    rounding: str = "systemc:SC_TRN",
    overflow: str = "systemc:SC_WRAP",
    wrap_bits: int = 0,
    seed: int = 0,
    generator: str = "counter",
) -> Raw:
    """``raw * 2**-source.frac_bits`` as raw integers of ``target``: rounded first, then fitted (IEEE 1666, 7.10.9).

    Args:
        raw: integers of ``source``.
        source: the format of ``raw``, or its notation.
        target: the format of the result.
        rounding: an own name (``ties_even``) or ``dialect:NAME``; the default is that of SystemC and ap_fixed.
        overflow: likewise; ``error`` raises on the first value that does not fit.
        wrap_bits: how many top bits saturate when a wrapping policy overflows.
        seed: of the stochastic rules; the same seed gives the same bits on any number of threads.
        generator: of their random bits, ``counter`` or ``lfsr`` (see :mod:`fxsim.fixed.stochastic`).

    Raises:
        DomainError: on values outside ``source``, on impossible settings, and on overflow under ``error``.
        ProfileError: on an unknown or ambiguous name.
    """
    source, to = as_format(source), into(target, rounding, overflow, wrap_bits, seed, generator)
    values = check_raw(raw, source)

    def exact(dtype: Any) -> Raw:  # noqa: ANN401
        return values.astype(dtype, copy=False) if dtype is object else values

    def fill() -> Raw:
        (x, zero), rows = _flat(values, np.zeros(values.shape, np.int8))
        words.add()(x, source.signed, 0, zero, True, 0, rows)
        return rows

    return _exactly(source.bits + (not source.signed), source.frac_bits, (source,), to, values.shape, exact, fill)


def _operands(
    a: npt.ArrayLike, a_format: Format, b: npt.ArrayLike, b_format: Format
) -> tuple[Raw, FixedFormat, Raw, FixedFormat]:
    """Both arrays and formats, checked."""
    fa, fb = as_format(a_format), as_format(b_format)
    x, y = check_raw(a, fa, "a"), check_raw(b, fb, "b")
    if x.shape != y.shape:
        try:
            x, y = (np.array(v) for v in np.broadcast_arrays(x, y))
        except ValueError:
            raise DomainError(
                f"a has shape {list(x.shape)}, b {list(y.shape)}; allowed: shapes that broadcast against each other"
            ) from None
    return x, fa, y, fb


def add(
    a: npt.ArrayLike,
    a_format: Format,
    b: npt.ArrayLike,
    b_format: Format,
    target: Format,
    rounding: str = "systemc:SC_TRN",
    overflow: str = "systemc:SC_WRAP",
    wrap_bits: int = 0,
    seed: int = 0,
    generator: str = "counter",
) -> Raw:
    """The exact sum of two fixed-point arrays, cast to ``target``; shapes broadcast. Arguments and errors as :func:`cast`."""
    x, fa, y, fb = _operands(a, a_format, b, b_format)
    to = into(target, rounding, overflow, wrap_bits, seed, generator)
    frac = max(fa.frac_bits, fb.frac_bits)
    left, right = frac - fa.frac_bits, frac - fb.frac_bits
    bits = bits_needed((fa.min << left) + (fb.min << right), (fa.max << left) + (fb.max << right))

    def exact(dtype: Any) -> Raw:  # noqa: ANN401
        total: Raw = (x.astype(dtype) << left) + (y.astype(dtype) << right)
        return total

    def fill() -> Raw:
        (p, q), rows = _flat(x, y)
        words.add()(p, fa.signed, left, q, fb.signed, right, rows)
        return rows

    return _exactly(bits, frac, (fa, fb), to, x.shape, exact, fill)


def mul(
    a: npt.ArrayLike,
    a_format: Format,
    b: npt.ArrayLike,
    b_format: Format,
    target: Format,
    rounding: str = "systemc:SC_TRN",
    overflow: str = "systemc:SC_WRAP",
    wrap_bits: int = 0,
    seed: int = 0,
    generator: str = "counter",
) -> Raw:
    """The exact product of two fixed-point arrays, cast to ``target``; otherwise as :func:`add`."""
    x, fa, y, fb = _operands(a, a_format, b, b_format)
    to = into(target, rounding, overflow, wrap_bits, seed, generator)
    bits, frac = fa.bits + fb.bits + (not (fa.signed or fb.signed)), fa.frac_bits + fb.frac_bits
    shift = frac - to.target.frac_bits
    one_loop = bits <= WORD and to.target.bits < WORD and 0 <= shift < WORD and (shift > 0 or to.rule not in ACT_ALWAYS)
    if one_loop and to.compiled and not to.policy.raises and to.policy.quirk == 0:
        return _fused(x, y, shift, to)

    def exact(dtype: Any) -> Raw:  # noqa: ANN401
        product: Raw = x.astype(dtype) * y.astype(dtype)
        return product

    def fill() -> Raw:
        (p, q), rows = _flat(x, y)
        words.multiply()(p, fa.signed, q, fb.signed, rows)
        return rows

    return _exactly(bits, frac, (fa, fb), to, x.shape, exact, fill)


def _fused(x: Raw, y: Raw, shift: int, to: Into) -> Raw:
    """Products rounded and fitted in the loop that makes them."""
    p, q = (np.ascontiguousarray(v).reshape(-1) for v in (x, y))
    out = np.empty(p.size, to.target.dtype)
    f = multiply(to.rule, to.policy.name)
    f(p, q, shift, to.target.bits, to.target.signed, to.wrap_bits, out)
    return out.reshape(x.shape)
