"""Floats to raw integers and back: exactly, whatever the size of the float."""

import numpy as np
import numpy.typing as npt

from fxsim.arith.cast import cast as cast_int
from fxsim.arith.overflow import of_misfit
from fxsim.arith.rounding import RULES
from fxsim.errors import DomainError
from fxsim.fixed import stochastic
from fxsim.fixed.formats import COMPILED_BITS, as_format
from fxsim.fixed.names import STOCHASTIC
from fxsim.fixed.ops import Format, Into, Raw, check_raw, into
from fxsim.kernels import cast as kernels

ORDINARY = 900
"""powers of two by which any 64-bit value can be scaled in float64 and stay a normal number"""
PLAIN_SCALE = 1000
"""powers of two that float64 scales by without loss"""
EXACT_FLOAT = 1 << 53
ACT_ON_INTEGERS = ("jam", "trn_mag")
"""rules that move even exact values, for which an integer needs room for a fraction"""


def quantize(
    x: npt.ArrayLike,
    target: Format,
    rounding: str = "ties_even",
    overflow: str = "saturate",
    wrap_bits: int = 0,
    seed: int = 0,
    generator: str = "counter",
) -> Raw:
    """``x * 2**target.frac_bits`` as raw integers of ``target``, rounded exactly: no intermediate float rounds.

    ``seed`` and ``generator`` as of :func:`cast`.

    Raises:
        DomainError: on NaN and infinities, which no format holds, on other types, and as :func:`cast`.
    """
    to = into(target, rounding, overflow, wrap_bits, seed, generator)
    target, rule, policy = to.target, to.rule, to.policy
    array = _floats(x)
    flat = np.ascontiguousarray(array).reshape(-1)
    scale = 2.0**target.frac_bits if abs(target.frac_bits) < PLAIN_SCALE else 0.0
    plain = scale != 0 and policy.quirk == 0 and kernels.count_odd()(flat, scale) == 0
    if not to.compiled or policy.raises or (rule in ACT_ON_INTEGERS and not plain):
        return _quantize_ints(array, to)
    out = np.empty(flat.size, target.dtype)
    view = out.view(np.int64) if out.dtype == np.uint64 else out
    if plain:
        kernels.quantize_plain(rule, policy.name)(flat, scale, target.bits, target.signed, wrap_bits, view)
        return out.reshape(array.shape)
    f = kernels.quantize_any(rule, policy.name)
    bad = f(flat, target.frac_bits, target.bits, target.signed, wrap_bits, policy.quirk, view)
    _refuse_float(bad, array)
    return out.reshape(array.shape)


def _floats(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """``x`` in float64, exactly.

    Raises:
        DomainError: if it is no array of floats, or of integers that float64 holds.
    """
    try:
        array = np.asarray(x)
    except ValueError as e:
        raise DomainError(f"x is no array: {e}") from None
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > np.dtype(np.float64).itemsize:
        raise DomainError(f"x is {array.dtype}; allowed: floats of up to 64 bits, or integers")
    if array.dtype.kind in "iu" and array.size and max(-int(array.min()), int(array.max())) > EXACT_FLOAT:
        raise DomainError("x holds integers beyond 2**53; allowed: those that float64 holds; cast takes larger ones")
    return array.astype(np.float64, copy=False)


def _refuse_float(index: int, array: Raw) -> None:
    if index >= 0:
        at = [int(i) for i in np.unravel_index(index, array.shape)]
        raise DomainError(f"x is {array.reshape(-1)[index]} at {at}; allowed: finite values")


def _quantize_ints(array: Raw, to: Into) -> Raw:
    """The same on Python ints: every float is an integer over a power of two."""
    target, rule, policy, flat = to.target, to.rule, to.policy, array.reshape(-1)
    _refuse_float(int(np.argmax(~np.isfinite(flat))) if not np.all(np.isfinite(flat)) else -1, array)
    values, shifts = [], []
    for v in flat.tolist():
        numerator, denominator = v.as_integer_ratio()
        spare = 2  # two spare bits below, so that a rule sees a fraction even of an integer
        shift = denominator.bit_length() - 1 - target.frac_bits + spare
        whole = numerator << spare
        values.append(whole << (1 - shift) if shift <= 0 else whole)
        shifts.append(max(shift, 1))
    if rule in STOCHASTIC:
        values, shifts, rule = stochastic.shift_right(values, shifts, rule, to.random), [0] * len(values), "to_neg"
    f, fits = RULES[rule], (target.bits, target.signed)
    if policy.raises:
        for i, (whole, shift) in enumerate(zip(values, shifts, strict=True)):
            if cast_int(f, of_misfit, whole, shift, *fits, 0, 0):
                at = [int(j) for j in np.unravel_index(i, array.shape)]
                limits = f"({target.min}..{target.max}) * 2**{-target.frac_bits}"
                raise DomainError(f"x is {flat[i]} at {at}, which does not fit {target}; allowed: {limits}")
    result = [
        cast_int(f, policy.function, whole, shift, *fits, to.wrap_bits, policy.quirk)
        for whole, shift in zip(values, shifts, strict=True)
    ]
    return np.array(result, dtype=target.dtype).reshape(array.shape)


def to_float(raw: npt.ArrayLike, format: Format) -> npt.NDArray[np.float64]:
    """``raw * 2**-frac_bits`` in float64: exact for values of at most 53 bits, else rounded to nearest even."""
    format = as_format(format)
    values = check_raw(raw, format)
    if format.bits <= COMPILED_BITS and abs(format.frac_bits) <= ORDINARY:
        return np.ldexp(values.astype(np.float64), -format.frac_bits)
    up, down = 1 << max(0, -format.frac_bits), 1 << max(0, format.frac_bits)
    try:
        exact = [int(v) * up / down for v in values.reshape(-1)]  # Python divides integers with one rounding
    except OverflowError:
        raise DomainError(f"a value of {format} is beyond what float64 holds; allowed: up to 1.8e308") from None
    return np.array(exact, np.float64).reshape(values.shape)
