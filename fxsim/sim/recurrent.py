"""Binds SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM. Their state is in variable tensors, which a run's workspace holds."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fxsim.arith.multiplier import float32, round_half_away
from fxsim.arith.tables import SIGMOIDS
from fxsim.errors import UnsupportedOp
from fxsim.kernels.lstm import shifted, tabled
from fxsim.model.graph import ABSENT, Tensor
from fxsim.model.ops.recurrent import STATES, SequenceLstm, Svdf, lstm_shape, svdf_shape
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import INT32, Arrays, Bound, Site, make_scales, power_of_two, scalar_quant
from fxsim.sim.layer import Layer, prepare

INT16 = (-(1 << 15), (1 << 15) - 1)
GATE_SCALE = 2.0**-12
HIDDEN = 4
"""which of the intermediate tensors describes the output before a projection"""


def _slot(site: Site, position: int) -> int:
    """Where an input stands among those that the layer is given at run time."""
    return sum(i != ABSENT for i in site.node.inputs[:position])


def _variable(site: Site, position: int) -> Tensor:
    t = site.input(position)
    if not t.variable:
        raise UnsupportedOp(f"state {t.name!r} is no variable tensor; supported: variables")
    return t


def _constant(t: Tensor) -> Array:
    if t.data is None:
        raise UnsupportedOp(f"{t.name!r} is computed at run time; supported: constants")
    return t.data


def svdf(site: Site) -> Bound:
    """Each unit sums ``rank`` filters: a feature of the input now, weighed with those of the steps before.

    ``feature = clamp(round(M1 * sum((x - x_zero) * w))) + state_zero`` moves into the state, and
    ``out = clamp(round(M2 * (sum((state - state_zero) * time_weight) + bias)) + out_zero)``.

    Variants: ``symmetric_state`` (16 bits) and ``any_state`` (8 or 16 bits, with a zero point; needs a bias).

    Source: tflite/kernels/internal/reference/svdf.h @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/svdf_common.cc.
    """
    attrs, x, out, state = site.node.attributes, site.input(0), site.outputs[0], _variable(site, 4)
    assert isinstance(attrs, Svdf)
    n, k, filters, steps, units = svdf_shape(list(site.inputs), attrs)
    wide = site.variant("symmetric_state", "any_state") == "any_state"
    site.types(input4="int8 int16" if wide else "int16", input2=state.qtype.name, output="int8")
    (x_scale, _), (w_scale, w_zero), (t_scale, t_zero) = (scalar_quant(site.input(i)) for i in range(3))
    (s_scale, s_zero), (out_scale, out_zero) = scalar_quant(state), scalar_quant(out)
    if w_zero or t_zero or (s_zero and not wide):
        raise UnsupportedOp(f"zero points of weights and state are {w_zero}, {t_zero}, {s_zero}; supported here: 0")
    bias = site.optional(3)
    if bias is None and wide:
        raise UnsupportedOp("the layer has no bias: the engine reads one that is not there; supported here: a bias")
    offsets = np.zeros(units, np.int32) if bias is None else np.array(_constant(bias))
    feature_weight = _constant(site.input(1)).T.reshape(1, 1, k, filters)
    time_weight = _constant(site.input(2)).reshape(units, attrs.rank, steps).transpose(2, 1, 0)
    accumulator, limits = site.numerics.accumulator, (state.qtype.min, state.qtype.max)
    feature = prepare(
        site, Geometry(1, 1, n, k, 1, n, filters), x, [np.ascontiguousarray(feature_weight)],
        np.zeros(filters, np.int32), [(x_scale, w_scale)], s_scale, 0, limits, accumulator,
    )  # fmt: skip
    time = prepare(
        site, Geometry(n, steps, 1, filters, 1, 1, units, steps, groups=units), state,
        [np.ascontiguousarray(time_weight).reshape(steps, 1, attrs.rank, units)], offsets, [(s_scale, t_scale)],
        out_scale, out_zero, (out.qtype.min, out.qtype.max), accumulator,
    )  # fmt: skip
    slot = _slot(site, 4)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        held = inputs[slot].reshape(n, filters, steps)
        held[..., :-1] = held[..., 1:].copy()
        now = np.empty((n, filters), state.qtype.dtype)
        feature.run([inputs[0]], [now])
        held[..., -1] = now + state.qtype.dtype.type(s_zero)  # wraps, as in the engine
        time.run([np.ascontiguousarray(held.transpose(0, 2, 1))], outputs)

    return Bound(run)


def _gates(site: Site, x: Tensor, start: int, biases: Sequence[Tensor], rows: int) -> Layer:
    """The four gates' sums over ``x``, side by side, in Q3.12, unclamped; ``start`` is the first weight's position."""
    weights = [site.input(start + i) for i in range(4)]
    if any(scalar_quant(w)[1] for w in weights):
        raise UnsupportedOp(f"weight {weights[0].name!r} or another has a zero point; supported: 0")
    x_scale, (units, inner) = scalar_quant(x)[0], weights[0].shape
    stacked = np.concatenate([_constant(w) for w in weights]).T.reshape(1, 1, inner, 4 * units)
    offsets = [_constant(b) for b in biases] or [np.zeros(4 * units, np.int32)]
    scales = [(scalar_quant(w)[0], x_scale) for w in weights for _ in range(units)]
    return prepare(
        site, Geometry(1, 1, rows, inner, 1, rows, 4 * units), x, [np.ascontiguousarray(stacked)],
        np.concatenate(offsets), scales, GATE_SCALE, 0, INT32, site.numerics.accumulator,
    )  # fmt: skip


def _hidden_quant(site: Site, variant: str) -> tuple[float, int]:
    """Scale and zero point that the engine gives the output: those of the fifth intermediate tensor, or of the state."""
    if variant != "shifts":
        return scalar_quant(site.input(STATES[0]))
    within = site.node.intermediates
    if len(within) <= HIDDEN:
        raise UnsupportedOp(f"the node names {len(within)} intermediate tensors; supported: {HIDDEN + 1}")
    return scalar_quant(site.graph.tensors[within[HIDDEN]])


def _cell_step(site: Site, attrs: SequenceLstm, variant: str) -> Callable[[Array, Array, Array], None]:
    """``f(gates, cell, hidden)``: the new cell state and output of one step, in place."""
    cell, out, r = site.input(STATES[1]), site.outputs[0], site.numerics.requantize
    (scale, zero), (h_scale, h_zero) = scalar_quant(cell), _hidden_quant(site, variant)
    unit, narrow = 2.0**-15, variant == "shifts"
    power = power_of_two(scale) if narrow else round_half_away(math.log2(scale))  # the others take any for the nearest
    if power is None or zero or not -15 <= power <= -9:
        raise UnsupportedOp(f"cell state has scale {scale:g}, zero point {zero}; supported: 2**-15..2**-9, 0")
    products = make_scales(site, [(unit, scale), (unit, unit)], scale), make_scales(site, [(unit, unit)], h_scale)
    q, shift = (np.concatenate([getattr(p, key) for p in products]) for key in ("q", "shift"))
    quotient = float32(attrs.cell_clip / scale) if narrow else attrs.cell_clip / scale
    clip = int(min(max(quotient, -32768.0), 32767.0)) if attrs.cell_clip > 0 else 0
    step = shifted() if narrow else tabled(r.scheme, r.rounding, variant == "tables_fused")
    sigmoids = np.array(SIGMOIDS, np.int64)
    limits = h_zero, out.qtype.min, out.qtype.max, clip
    return lambda gates, state, hidden: step(gates, state, sigmoids, power, q, shift, *limits, hidden)


def lstm(site: Site) -> Bound:
    """``c = f * c + i * g``, ``h = o * tanh(c)`` for each step; gates are functions of ``W x + R h + b`` in Q3.12.

    Variants: ``shifts`` (16-bit gemmlowp functions, products by shifts, ``h`` of the scale of the fifth intermediate
    tensor); ``tables`` (table functions, rescaled products, ``R h`` clamped before it is added); ``tables_fused`` (the
    sum alone is clamped, of gates and of the cell).

    Source: tflite/kernels/lstm_eval.cc @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/lstm_eval.h;
    arm_lstm_unidirectional_s8.c @ CMSIS-NN 7.0.
    """
    attrs, x = site.node.attributes, site.input(0)
    assert isinstance(attrs, SequenceLstm)
    n, steps, _, units = lstm_shape(list(site.inputs), attrs)
    variant = site.variant("shifts", "tables", "tables_fused")
    hidden, _ = (_variable(site, i) for i in STATES)
    site.types(input0="int8" if variant == "shifts" else "int8 int16", input18=x.qtype.name, output=x.qtype.name)
    if attrs.activation != "TANH" or attrs.proj_clip > 0:
        raise UnsupportedOp(f"activation {attrs.activation}, proj_clip {attrs.proj_clip}; supported: TANH and 0")
    biases = [site.input(12 + i) for i in range(4)]
    wanted = "int32" if x.qtype.name == "int8" else "int64"
    if any(b.qtype.name != wanted for b in biases):
        raise UnsupportedOp(f"bias {biases[0].name!r} is {biases[0].qtype.name}; supported: {wanted}")
    step = _cell_step(site, attrs, variant)
    from_input, from_hidden = _gates(site, x, 1, biases, n * steps), _gates(site, hidden, 5, [], n)
    slots = [_slot(site, i) for i in STATES]

    def sums(layer: Layer, rows: Array) -> npt.NDArray[np.int64]:
        scaled = np.empty((len(rows), 4 * units), np.int32)
        layer.run([rows], [scaled])
        return scaled.astype(np.int64)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        h, c = (inputs[s] for s in slots)
        data, result = inputs[0], outputs[0]
        if not attrs.time_major:
            data, result = data.swapaxes(0, 1), result.swapaxes(0, 1)
        rows = np.ascontiguousarray(data).reshape(steps * n, -1)
        now = np.clip(sums(from_input, rows), *INT16).reshape(steps, n, 4 * units)
        for t in range(steps):
            recurrent = sums(from_hidden, h)
            if variant == "tables":
                recurrent = np.clip(recurrent, *INT16)
            gates = np.clip(now[t] + recurrent, *INT16).reshape(n, 4, units).transpose(1, 0, 2)
            step(np.ascontiguousarray(gates).reshape(4, -1), c.reshape(-1), h.reshape(-1))
            result[t] = h

    return Bound(run)


BINDINGS = {"SVDF": svdf, "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm}
