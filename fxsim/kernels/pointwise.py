"""Element by element: sums, differences and quotients of two tensors, functions of one, float to integer."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith import roots
from fxsim.arith.overflow import wrap
from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES, from_float
from fxsim.kernels._jit import STAMP, carray, jitable, kernel, native
from fxsim.kernels._vectors import memory, word
from fxsim.kernels.softmax import INTEGERS

Kernel = Callable[..., Any]


def _sum(x: int, y: int) -> int:
    return x + y


def _difference(x: int, y: int) -> int:
    return x - y


def _squared_difference(x: int, y: int) -> int:
    return wrap((x - y) * (x - y), 32)


JOINS = {"sum": jitable(_sum), "difference": jitable(_difference), "squared_difference": jitable(_squared_difference)}


@cache
def join(scheme: str, rounding: str, how: str) -> Kernel:
    """``f(a, b, zeros, q, shift, left, zero, low, high, out)``: both terms rescaled to one scale, joined, rescaled.

    ``t = M2 * join(M0 * ((a - zeros[0]) << left), M1 * ((b - zeros[1]) << left))``; ``M`` from ``q[i], shift[i]``.

    Source: tflite/kernels/internal/reference/add.h, sub.h; squared_difference.cc @ LiteRT 2.3.0.
    """
    apply, rule, joined, stamp = NARROW[scheme], RULES[rounding], JOINS[how], STAMP

    @kernel
    def f(a, b, zeros, q, shift, left, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            x = apply(rule, (np.int64(a[i]) - zeros[0]) << left, q[0], shift[0])
            y = apply(rule, (np.int64(b[i]) - zeros[1]) << left, q[1], shift[1])
            out[i] = min(max(apply(rule, joined(x, y), q[2], shift[2]) + zero, low), high)

    return f


@cache
def each(function: Callable[..., int]) -> Kernel:
    """``f(out, x, *settings)``: ``out = function(x, *settings)``, element by element; ``function`` is one of arith."""
    stamp = STAMP

    @kernel
    def f(out, x, *settings):  # noqa: ANN002
        if stamp < 0:
            return
        for i in range(out.size):
            out[i] = function(np.int64(x[i]), *settings)

    return f


@cache
def quotient() -> Kernel:
    """``f(a, b, a_zero, b_zero, q, shift, zero, low, high, out)``: ``clamp(a / b * q * 2**(shift - 31) + zero)``.

    Source: tflite/kernels/internal/reference/div.h @ LiteRT 2.3.0.
    """
    divided, stamp = roots.quotient, STAMP

    @kernel
    def f(a, b, a_zero, b_zero, q, shift, zero, low, high, out):
        if stamp < 0:
            return
        for i in range(out.size):
            v = divided(np.int64(a[i]) - a_zero, np.int64(b[i]) - b_zero, q, shift)
            out[i] = min(max(wrap(v + zero, 32), low), high)

    return f


@jitable
def quantize_each(rule, saturating, x, scale, zero, low, high, out):  # noqa: ANN201
    """What :func:`quantize` fills ``out`` with."""
    limit = 1 << 31
    for i in range(out.size):
        v = min(max(np.float64(x[i] / scale), -(2.0**40)), 2.0**40)
        rounded = from_float(rule, v)
        if not saturating and not -limit <= rounded < limit:
            rounded = -limit
        total = rounded + zero if saturating else wrap(rounded + zero, 32)
        out[i] = min(max(total, low), high)


@cache
def quantize(rounding: str, saturating: bool) -> Kernel:
    """``f(x, scale, zero, low, high, out)``: ``clamp(round(x / scale) + zero)``, the quotient in float32.

    A quotient beyond 32 bits saturates, or becomes ``-2**31`` (the "integer indefinite" of x86) and the sum wraps.

    Source: tflite/kernels/internal/reference/quantize.h @ LiteRT 2.3.0; Intel SDM, CVTTSS2SI.
    """
    rule, stamp, fill = RULES[rounding], STAMP, quantize_each

    @kernel
    def f(x, scale, zero, low, high, out):
        if stamp < 0:
            return
        fill(rule, saturating, x, scale, zero, low, high, out)

    return f


@cache
def native_quantize(rounding: str, saturating: bool, bits: int) -> Any:  # noqa: ANN401
    """As :func:`quantize`, a C function of the address of a block; ``bits`` are negative for signed integers.

    The block's words: input, output, room, elements, the address of ``scale``, ``zero``, ``low`` and ``high``.
    """
    rule, stamp, fill, element = RULES[rounding], STAMP, quantize_each, INTEGERS[bits]

    @native
    def f(block):
        if stamp < 0:
            return
        count = word(block, 3)
        x, y = carray(memory(word(block, 0)), count, np.float32), carray(memory(word(block, 1)), count, element)
        scale = carray(memory(word(block, 4)), 1, np.float32)[0]
        fill(rule, saturating, x, scale, word(block, 5), word(block, 6), word(block, 7), y)

    return f
