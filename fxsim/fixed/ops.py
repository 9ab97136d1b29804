"""Arithmetic on raw integers of fixed-point formats: exact first, then rounded, then fitted into the target.

Everything up to 64 bits runs in compiled kernels wherever the exact intermediate fits them; the rest runs on Python
ints, by the same arith functions, with the same results.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.cast import cast as cast_int
from fxsim.arith.overflow import of_misfit
from fxsim.arith.rounding import RULES
from fxsim.errors import DomainError
from fxsim.fixed import stochastic
from fxsim.fixed.formats import FixedFormat, as_format
from fxsim.fixed.names import STOCHASTIC, OverflowRule, overflow_rule, rounding_name
from fxsim.kernels import cast as kernels
from fxsim.kernels.multiply import multiply

Raw = npt.NDArray[Any]
Format = FixedFormat | str
WORD, COMPILED = 63, 64
"""bits of a signed intermediate, and of a target, that the compiled kernels take"""
PLAIN_SCALE = 1000
"""powers of two that float64 scales by without loss"""
ACT_ON_INTEGERS = ("jam", "trn_mag")
"""rules that move even exact values, for which an integer needs room for a fraction"""


def check_raw(raw: npt.ArrayLike, format: FixedFormat, what: str = "raw") -> Raw:
    """``raw`` as an array whose every value lies in ``format``.

    Raises:
        DomainError: on values that are not integers, or out of range; names the first.
    """
    array = np.asarray(raw)
    if array.dtype != object and array.dtype.kind not in "iub":
        raise DomainError(f"{what} is {array.dtype}; allowed: integers")
    if array.dtype == object and not all(isinstance(v, int) for v in array.reshape(-1)):
        raise DomainError(f"{what} holds objects that are no Python ints")
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        if format.min <= limits.min and limits.max <= format.max:
            return array  # every value of the type is one of the format
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < format.min or high > format.max:
            worst = low if low < format.min else high
            at = tuple(int(i) for i in np.argwhere(array == worst)[0])
            raise DomainError(f"{what} is {worst} at {list(at)}; allowed in {format}: {format.min}..{format.max}")
    return array


def _run(
    raw: Raw, source_bits: int, shift: int, target: FixedFormat, rounding: str, policy: OverflowRule, wrap_bits: int
) -> Raw:
    """``raw * 2**-shift`` in ``target``; ``raw`` holds signed integers of at most ``source_bits`` bits."""
    rule = RULES[rounding]
    if rounding == "jam" and shift <= 0:  # it sets the last bit even where nothing is dropped
        source_bits += 1 - shift
        raw, shift = raw.astype(object if source_bits > WORD else np.int64) << (1 - shift), 1
    compiled = source_bits <= WORD and target.bits <= WORD + 1 and raw.dtype != object
    if compiled:
        flat = raw.reshape(-1)
        out = np.empty(flat.size, np.int64 if target.signed or target.bits < WORD + 1 else np.uint64)
        view = out.view(np.int64)
        if policy.raises:
            _refuse(kernels.misfit(rounding)(flat, shift, target.bits, target.signed), raw, shift, target)
        f = kernels.cast_raw(rounding, policy.name if not policy.raises else "wrap")
        f(flat, shift, target.bits, target.signed, wrap_bits, policy.quirk, view)
        return out.astype(target.dtype).reshape(raw.shape)
    values = [int(v) for v in raw.reshape(-1)]
    if policy.raises:
        bad = (i for i, v in enumerate(values) if cast_int(rule, of_misfit, v, shift, target.bits, target.signed, 0, 0))
        _refuse(next(bad, -1), raw, shift, target)
    result = [
        cast_int(rule, policy.function, v, shift, target.bits, target.signed, wrap_bits, policy.quirk) for v in values
    ]
    return np.array(result, dtype=target.dtype).reshape(raw.shape)


def _refuse(index: int, raw: Raw, shift: int, target: FixedFormat) -> None:
    if index >= 0:
        at = [int(i) for i in np.unravel_index(index, raw.shape)]
        value = int(raw.reshape(-1)[index])
        raise DomainError(f"{value} * 2**{-shift} at {at} does not fit {target}; allowed: {target.min}..{target.max}")


def _settings(rounding: str, overflow: str, wrap_bits: int, target: FixedFormat) -> tuple[str, OverflowRule]:
    policy = overflow_rule(overflow)
    if wrap_bits < 0 or (wrap_bits > 0 and "wrap" not in policy.name):
        raise DomainError(
            f"wrap_bits is {wrap_bits} with overflow {overflow!r}; allowed: 0, or more with a wrapping policy"
        )
    if policy.name.startswith("wrap_sign_magnitude") and not target.signed:
        raise DomainError(f"overflow {overflow!r} needs a signed target; got {target}")
    return rounding_name(rounding), policy


def _word(raw: Raw, format: FixedFormat) -> tuple[Raw, int]:
    """``raw`` as signed integers, and how many bits they take."""
    bits = format.bits + (not format.signed)
    return (raw if bits <= WORD or raw.dtype == object else raw.astype(object)), bits


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
    source, target = as_format(source), as_format(target)
    values = check_raw(raw, source)
    rule, policy = _settings(rounding, overflow, wrap_bits, target)
    shift = source.frac_bits - target.frac_bits
    signed, bits = _word(values, source)
    if rule in STOCHASTIC:
        signed, rule = stochastic.shift_right(signed, shift, rule, seed, generator), "to_neg"
        shift, bits = min(shift, 0), bits + 1
    return _run(signed, bits, shift, target, rule, policy, wrap_bits)


def quantize(
    x: npt.ArrayLike,
    target: Format,
    rounding: str = "ties_even",
    overflow: str = "saturate",
    wrap_bits: int = 0,
) -> Raw:
    """``x * 2**target.frac_bits`` as raw integers of ``target``, rounded exactly: no intermediate float rounds.

    Raises:
        DomainError: on NaN and infinities, which no format holds, and as :func:`cast`.
    """
    target = as_format(target)
    rule, policy = _settings(rounding, overflow, wrap_bits, target)
    if rule in STOCHASTIC:
        raise DomainError(f"rounding is {rounding!r}; allowed for floats: rules without random bits")
    array = np.asarray(x, dtype=np.float64)
    flat = np.ascontiguousarray(array).reshape(-1)
    scale = 2.0**target.frac_bits if abs(target.frac_bits) < PLAIN_SCALE else 0.0
    plain = scale != 0 and policy.quirk == 0 and kernels.count_odd()(flat, scale) == 0
    if target.bits > COMPILED or policy.raises or (rule in ACT_ON_INTEGERS and not plain):
        return _quantize_ints(array, target, rule, policy, wrap_bits)
    out = np.empty(flat.size, target.dtype)
    view = out.view(np.int64) if out.dtype == np.uint64 else out
    if plain:
        kernels.quantize_plain(rule, policy.name)(flat, scale, target.bits, target.signed, wrap_bits, view)
        return out.reshape(array.shape)
    f = kernels.quantize_any(rule, policy.name)
    bad = f(flat, target.frac_bits, target.bits, target.signed, wrap_bits, policy.quirk, view)
    _refuse_float(bad, array)
    return out.reshape(array.shape)


def _refuse_float(index: int, array: Raw) -> None:
    if index >= 0:
        at = [int(i) for i in np.unravel_index(index, array.shape)]
        raise DomainError(f"x is {array.reshape(-1)[index]} at {at}; allowed: finite values")


def _quantize_ints(array: Raw, target: FixedFormat, rule: str, policy: OverflowRule, wrap_bits: int) -> Raw:
    """The same on Python ints: every float is an integer over a power of two."""
    flat = array.reshape(-1)
    _refuse_float(int(np.argmax(~np.isfinite(flat))) if not np.all(np.isfinite(flat)) else -1, array)
    result = []
    for i, v in enumerate(flat.tolist()):
        numerator, denominator = v.as_integer_ratio()
        spare = 2  # two spare bits below, so that a rule sees a fraction even of an integer
        shift = denominator.bit_length() - 1 - target.frac_bits + spare
        whole = numerator << spare
        if shift <= 0:
            whole, shift = whole << (1 - shift), 1
        if policy.raises and cast_int(RULES[rule], of_misfit, whole, shift, target.bits, target.signed, 0, 0):
            raise DomainError(f"x is {v} at {i}, which does not fit {target}")
        result.append(
            cast_int(RULES[rule], policy.function, whole, shift, target.bits, target.signed, wrap_bits, policy.quirk)
        )
    return np.array(result, dtype=target.dtype).reshape(array.shape)


def to_float(raw: npt.ArrayLike, format: Format) -> npt.NDArray[np.float64]:
    """``raw * 2**-frac_bits`` in float64: exact for values of at most 53 bits, else rounded to nearest even."""
    format = as_format(format)
    values = check_raw(raw, format)
    return np.ldexp(values.astype(np.float64), -format.frac_bits)


def _binary(
    a: Raw,
    fa: FixedFormat,
    b: Raw,
    fb: FixedFormat,
    exact: FixedFormat,
    combine: Callable[[Raw, Raw], Raw],
    target: FixedFormat,
    rounding: str,
    overflow: str,
    wrap_bits: int,
) -> Raw:
    rule, policy = _settings(rounding, overflow, wrap_bits, target)
    wide = exact.bits > WORD
    x, y = (v.astype(object if wide else np.int64) for v in (a, b))
    return _run(combine(x, y), exact.bits, exact.frac_bits - target.frac_bits, target, rule, policy, wrap_bits)


def add(
    a: npt.ArrayLike,
    a_format: Format,
    b: npt.ArrayLike,
    b_format: Format,
    target: Format,
    rounding: str = "systemc:SC_TRN",
    overflow: str = "systemc:SC_WRAP",
    wrap_bits: int = 0,
) -> Raw:
    """The exact sum of two fixed-point arrays, cast to ``target``; shapes broadcast. Errors as :func:`cast`."""
    fa, fb, target = as_format(a_format), as_format(b_format), as_format(target)
    x, y = check_raw(a, fa, "a"), check_raw(b, fb, "b")
    frac = max(fa.frac_bits, fb.frac_bits)
    bits = max(fa.int_bits + (not fa.signed), fb.int_bits + (not fb.signed)) + frac + 1
    exact = FixedFormat(max(bits, 1), frac)

    def combine(p: Raw, q: Raw) -> Raw:
        total: Raw = (p << (frac - fa.frac_bits)) + (q << (frac - fb.frac_bits))
        return total

    return _binary(x, fa, y, fb, exact, combine, target, rounding, overflow, wrap_bits)


def mul(
    a: npt.ArrayLike,
    a_format: Format,
    b: npt.ArrayLike,
    b_format: Format,
    target: Format,
    rounding: str = "systemc:SC_TRN",
    overflow: str = "systemc:SC_WRAP",
    wrap_bits: int = 0,
) -> Raw:
    """The exact product of two fixed-point arrays, cast to ``target``; shapes broadcast. Errors as :func:`cast`."""
    fa, fb, target = as_format(a_format), as_format(b_format), as_format(target)
    x, y = check_raw(a, fa, "a"), check_raw(b, fb, "b")
    exact = FixedFormat(fa.bits + fb.bits + (not fa.signed) + (not fb.signed), fa.frac_bits + fb.frac_bits)
    rule, policy = _settings(rounding, overflow, wrap_bits, target)
    shift = exact.frac_bits - target.frac_bits
    fused = (
        (rule != "jam" or shift > 0)
        and 0 <= shift <= WORD - 1
        and exact.bits <= WORD
        and target.bits < WORD
        and not policy.raises
    )
    if fused and policy.quirk == 0 and rule not in STOCHASTIC:
        x, y = (np.ascontiguousarray(v) for v in np.broadcast_arrays(x, y))
        out = np.empty(x.size, target.dtype)
        f = multiply(rule, policy.name)
        f(x.reshape(-1), y.reshape(-1), shift, target.bits, target.signed, wrap_bits, out)
        return out.reshape(x.shape)
    return _binary(x, fa, y, fb, exact, lambda p, q: p * q, target, rounding, overflow, wrap_bits)
