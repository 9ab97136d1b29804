"""Whether two functions of integers are related as claimed, for every value of one variable: compiled counting loops."""

import hashlib
from collections.abc import Callable
from functools import cache, partial
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from fxsim.arith.gemmlowp import exp_on_negative_values, one_over_one_plus_x
from fxsim.arith.gemmlowp import logistic as logistic_of
from fxsim.kernels._jit import STAMP, CompileError, jitable, kernel

Kernel = Callable[..., Any]
Function = Callable[..., Any]

__all__ = ["CompileError", "compilable", "count", "exp_errors", "first", "greatest", "reciprocal_errors"]


@cache
def _bound(function: Function, value: object) -> Function:
    """``function`` with its first argument given."""

    def f(*args):  # noqa: ANN002
        return function(value, *args)

    bound: Function = jitable(f)
    return bound


@cache
def _prepared(function: Function) -> tuple[Function, str]:
    """A plain function whose plain helpers are compilable too, and a digest of all their texts."""
    digest = hashlib.sha256()
    seen: set[Function] = set()

    def code(c: CodeType) -> set[str]:
        names = set(c.co_names)
        digest.update(c.co_code + repr(c.co_names).encode())
        for constant in c.co_consts:
            if isinstance(constant, CodeType):
                names |= code(constant)
            else:
                digest.update(repr(constant).encode())
        return names

    def visit(value: object) -> None:
        if not isinstance(value, FunctionType):
            digest.update(repr(value).encode() if isinstance(value, int | tuple) else b"")
        elif value not in seen:
            seen.add(value)
            for name in sorted(code(value.__code__)):
                visit(value.__globals__.get(name))
            for cell in value.__closure__ or ():
                visit(cell.cell_contents)
            jitable(value)

    visit(function)
    return function, digest.hexdigest()


def compilable(function: Function) -> tuple[Function, str]:
    """A function, or a :func:`functools.partial` bound by position, as kernels take it, and a digest of its text.

    The digest belongs in the kernel's closure, so that the disk cache does not outlive an edit.
    """
    values: list[Any] = []
    while isinstance(function, partial):
        if function.keywords:
            raise TypeError("functools.partial with keywords; bind by position")
        values[:0] = function.args
        function = function.func
    function, digest = _prepared(function)
    for value in values:
        if isinstance(value, FunctionType):
            value, more = _prepared(value)  # noqa: PLW2901
            digest += more
        else:
            digest += repr(value)
        function = _bound(function, value)
    return function, digest


@cache
def count(left: Function, right: Function, relation: Function) -> Kernel:
    """``f(before, after, start, stop)``: for how many ``x`` of ``start .. stop - 1`` the relation fails.

    The sides are called with ``*before, x, *after``; those are tuples of int64.
    """
    (a, a_text), (b, b_text), (related, text) = map(compilable, (left, right, relation))
    stamp = (STAMP, a_text, b_text, text)

    @kernel
    def f(before, after, start, stop):
        if stamp[0] < 0:
            return 0
        failures = 0
        for x in range(start, stop):
            given = before + (np.int64(x),) + after  # noqa: RUF005
            failures += not related(a(*given), b(*given))
        return failures

    return f


@cache
def first(left: Function, right: Function, relation: Function) -> Kernel:
    """``f(before, after, start, stop, step)``: the first of ``range(start, stop, step)`` for which it fails, or ``stop``."""
    (a, a_text), (b, b_text), (related, text) = map(compilable, (left, right, relation))
    stamp = (STAMP, a_text, b_text, text)

    @kernel
    def f(before, after, start, stop, step):
        if stamp[0] < 0:
            return stop
        for x in range(start, stop, step):
            given = before + (np.int64(x),) + after  # noqa: RUF005
            if not related(a(*given), b(*given)):
                return x
        return stop

    return f


@cache
def greatest(function: Function) -> Kernel:
    """``f(before, after, start, stop)``: the greatest value of an integer function and where, nearest to zero if twice."""
    called, text = compilable(function)
    stamp = (STAMP, text)

    @kernel
    def f(before, after, start, stop):
        best, at = np.int64(-1), np.int64(start)
        if stamp[0] < 0:
            return best, at
        for x in range(start, stop):
            given = before + (np.int64(x),) + after  # noqa: RUF005
            value = called(*given)
            if value > best or (value == best and abs(x) < abs(at)):
                best, at = value, x
        return best, at

    return f


@cache
def exp_errors(logistic: bool) -> Kernel:
    """``f(start, integer_bits, fine, middle, coarse, out)``: ``|g(a) - real(a)|`` of ``a = start, start + 1, ...``.

    ``g`` is gemmlowp's exp on negative values, or its logistic. The tables hold exp of ``-k``, ``-2048 * k`` and
    ``-2**22 * k`` units of the argument; their product is the real function, but for a few units in the last place.
    """
    stamp = STAMP

    @kernel
    def f(start, integer_bits, fine, middle, coarse, out):
        if stamp < 0:
            return
        for i in range(out.shape[0]):
            a = np.int64(start + i)
            m = abs(a)
            power = coarse[m >> 22] * middle[(m >> 11) & 2047] * fine[m & 2047]
            if logistic:
                real = 1.0 / (1.0 + power) if a >= 0 else power / (1.0 + power)
                raw = logistic_of(a, integer_bits)
            else:
                real, raw = power, exp_on_negative_values(a, integer_bits)
            out[i] = abs(raw / 2147483648.0 - real)

    return f


@cache
def reciprocal_errors() -> Kernel:
    """``f(start, out)``: ``|g(a) - 1 / (1 + a)|`` of gemmlowp's one_over_one_plus_x, for ``a = start, start + 1, ...``."""
    stamp = STAMP

    @kernel
    def f(start, out):
        if stamp < 0:
            return
        for i in range(out.shape[0]):
            a = np.int64(start + i)
            out[i] = abs(one_over_one_plus_x(a) / 2147483648.0 - 2147483648.0 / (2147483648.0 + a))

    return f
