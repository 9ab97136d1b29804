"""The step of an LSTM cell behind its sums of products: activations, products of gates, the new cell and output."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fxsim.arith import gemmlowp16
from fxsim.arith.overflow import saturate, wrap
from fxsim.arith.rounding import RULES, shift_right, ties_away
from fxsim.arith.tables import logistic16, tanh16
from fxsim.kernels._jit import STAMP, kernel
from fxsim.kernels.requantize import INTEGER

Kernel = Callable[..., Any]


@cache
def shifted() -> Kernel:
    """``f(gates, cell, sigmoids, power, q, shift, zero, low, high, clip, out)``: 16-bit gemmlowp functions, shifts.

    ``gates`` ``(4, N)`` holds input, forget, cell and output gate in Q3.12 before their activations; ``cell`` ``(N,)`` has
    the scale ``2**power`` and is updated; ``out`` is ``clamp(M * output_gate * tanh(cell) + zero)``, ``M`` from ``q[2],
    shift[2]``. ``clip`` of 0 clips nothing.

    Source: tflite/kernels/lstm_eval.cc, LstmStepInteger8x8_16 @ LiteRT 2.3.0.
    """
    sigmoid, tanh, scaled = gemmlowp16.logistic, gemmlowp16.tanh_of, INTEGER["double_rounding"]
    stamp = STAMP

    @kernel
    def f(gates, cell, sigmoids, power, q, shift, zero, low, high, clip, out):
        if stamp < 0:
            return
        for i in range(out.size):
            kept = sigmoid(np.int64(gates[1, i])) * np.int64(cell[i])
            new = sigmoid(np.int64(gates[0, i])) * tanh(np.int64(gates[2, i]), 3)
            c = wrap(shift_right(ties_away, kept, 15), 16) + wrap(shift_right(ties_away, new, 30 + power), 16)
            c = saturate(c, 16)
            if clip > 0:
                c = max(min(c, clip), -clip)
            cell[i] = c
            product = sigmoid(np.int64(gates[3, i])) * tanh(c, 15 + power)
            out[i] = min(max(wrap(scaled(ties_away, product, q[2], shift[2]) + zero, 32), low), high)

    return f


@cache
def tabled(scheme: str, rounding: str, fused: bool) -> Kernel:
    """As :func:`shifted`, with table functions and rescaled products; ``M`` of forget, input and output in ``q, shift``.

    ``fused``: the new term of the cell is added unclamped, and the clip clamps that sum; else each term is clamped to 16
    bits, and their sum before the clip.

    Source: tensorflow/lite/micro/kernels/lstm_eval.h @ tflite-micro of October 2026; arm_nn_lstm_step_s8.c @ CMSIS-NN 7.0.
    """
    scaled, rule, stamp = INTEGER[scheme], RULES[rounding], STAMP

    @kernel
    def f(gates, cell, sigmoids, power, q, shift, zero, low, high, clip, out):
        if stamp < 0:
            return
        factor, right = (np.int64(3) << (power + 12), 0) if power >= -12 else (np.int64(3), -12 - power)
        for i in range(out.size):
            kept = logistic16(np.int64(gates[1, i]), sigmoids, 3, 0) * np.int64(cell[i])
            new = logistic16(np.int64(gates[0, i]), sigmoids, 3, 0) * tanh16(np.int64(gates[2, i]), sigmoids, 3, 0)
            kept = saturate(scaled(rule, kept, q[0], shift[0]), 16)
            new = scaled(rule, new, q[1], shift[1])
            c = saturate(kept + (new if fused else saturate(new, 16)), 16)
            if clip > 0:
                c = max(min(c, clip), -clip)
            cell[i] = c
            product = logistic16(np.int64(gates[3, i]), sigmoids, 3, 0) * tanh16(c, sigmoids, factor, right)
            out[i] = min(max(wrap(scaled(rule, product, q[2], shift[2]) + zero, 32), low), high)

    return f
