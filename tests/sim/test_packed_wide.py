"""Packed kernels on what is not int8 by int8: int16 inputs with the 64-bit rescale, and weights of 4 bits."""

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim
from fxsim.arith.requantize import WIDE
from fxsim.arith.rounding import ties_pos
from fxsim.kernels import isa
from fxsim.kernels._vectors import KINDS
from fxsim.numerics import Accumulator, load_numerics
from fxsim.sim.base import Scales
from fxsim.sim.packed import native_of
from fxsim.sim.plan import plan_of
from tests import naive
from tests.build import Builder
from tests.sim.test_packed import check, choice, drawn, run_native

ISAS = isa.available()
EXAMPLES = 200 if os.environ.get("FXSIM_LONG") == "1" else 15
pytestmark = pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")
INT16 = (-32768, 32767)


def wide(seed, apart, scheme):
    """A layer of int16 inputs and int8 weights whose sums fit 32 bits; its input."""
    layer, _, _ = drawn(seed, apart)
    g, rng = layer.geometry, np.random.default_rng(seed)
    taps = g.kernel_h * g.kernel_w * (1 if apart else g.in_c)
    most = max(1, min(128, (1 << 30) // 32768 // taps))
    weight = choice(rng, -most, most - 1, layer.weight.shape).astype(np.int8)
    top = 7 if scheme == "reduced_multiplier" else -1
    real = 2.0 ** rng.integers(-13, top, g.out_c) * (0.5 + rng.random(g.out_c) / 2)
    real[::3] = 2.0 ** -rng.integers(3, 14, len(real[::3]))  # ties
    mantissa, shift = np.frexp(real)
    q = np.minimum(np.rint(mantissa * 2.0**31).astype(np.int64), 2**31 - 1)
    ends = (1 << 30) - 1
    bias = choice(rng, -ends, ends, g.out_c).astype(np.int64)
    clamp = INT16 if rng.random() < 0.5 else tuple(sorted(int(v) for v in rng.integers(*INT16, 2)))
    made = replace(
        layer, weight=weight, bias=bias, x_zero=0, input_range=INT16, input_dtype=np.dtype(np.int16), policy="wrap",
        accumulator=Accumulator(bits=64, overflow="wrap"), scales=Scales(q, shift.astype(np.int64), real), scheme=scheme,
        rounding="ties_pos", lanes=0, saturating=False, zero=0, clamp=clamp,
    )  # fmt: skip
    return made, choice(rng, *INT16, (g.batch, g.in_h, g.in_w, g.in_c)).astype(np.int16)


def by_definition(layer, x):
    """Tap by tap and rescale by rescale, on Python's integers."""
    g, s = layer.geometry, layer.scales
    acc, _ = naive.conv(
        x, layer.weight, layer.bias, 0, layer.window[:2], layer.window[2:], layer.pad, g.groups, 64,
        "wrap",
    )  # fmt: skip
    rule, (low, high) = WIDE[layer.scheme], layer.clamp
    rows = [
        [min(max(rule(ties_pos, int(v), int(q), int(n)), low), high) for v, q, n in zip(row, s.q, s.shift, strict=True)]
        for row in acc.reshape(-1, g.out_c)
    ]
    return np.array(rows)


def cheap(g):
    return g.outputs * g.kernel_h * g.kernel_w * g.in_c // g.groups < 30_000


def packed_outputs(layer, x, name):
    made, g = native_of(layer, np.dtype(np.int16), name), layer.geometry
    assert made is not None
    got = np.full(g.outputs + 64, 77, np.int16)
    run_native(made, [np.concatenate([x.reshape(-1), np.full(16, 99, x.dtype)])], got)
    assert np.all(got[-64:] == 77), "written beyond the output"
    return got[:-64].reshape(-1, g.out_c)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("apart", [False, True])
@settings(max_examples=EXAMPLES)
@given(seed=st.integers(0, 2**32), scheme=st.sampled_from(sorted(WIDE)))
def test_int16_layers_equal_the_general_kernels(name, apart, seed, scheme):
    layer, x = wide(seed, apart, scheme)
    g = layer.geometry
    expected = np.empty((g.batch, g.out_h, g.out_w, g.out_c), np.int16)
    layer.requantize(layer.accumulate(x), layer.clamp, expected)
    assert np.array_equal(packed_outputs(layer, x, name), expected.reshape(-1, g.out_c))


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("apart", [False, True])
def test_int16_layers_equal_their_definition(name, apart):
    small = [s for s in range(60) if cheap(drawn(s, apart)[0].geometry)][:4]
    assert len(small) == 4
    for seed in small:
        for scheme in WIDE:
            layer, x = wide(seed, apart, scheme)
            assert np.array_equal(packed_outputs(layer, x, name), by_definition(layer, x))


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("scheme", sorted(WIDE))
def test_every_tie_of_the_wide_rescale(name, scheme):
    """Sums around every tie of shifts to the right, and the last sums of 32 bits, by the bias alone."""
    layer, _ = wide(11, False, scheme)
    g = replace(layer.geometry, batch=1, in_h=1, in_w=1, in_c=1, out_h=1, out_w=1, out_c=4 * 41, kernel_h=1, kernel_w=1)
    sums = np.array([*range(-18, 19), -(1 << 31), 1 - (1 << 31), (1 << 31) - 2, (1 << 31) - 1], np.int64)
    q = np.repeat([1 << 30, 0x7FFEFFFF, 3 << 29, (1 << 31) - 1], len(sums)).astype(np.int64)
    for shift in (*([0] if scheme == "reduced_multiplier" else []), -1, -2, -5, -16, -31):
        made = replace(
            layer, geometry=g, pad=(0, 0, 0, 0), window=(1, 1, 1, 1), weight=np.zeros((1, 1, 1, g.out_c), np.int8),
            bias=np.tile(sums, 4), scales=Scales(q, np.full(g.out_c, shift), q * 2.0 ** (shift - 31)), clamp=INT16,
        )  # fmt: skip
        x = np.zeros((1, 1, 1, 1), np.int16)
        assert np.array_equal(packed_outputs(made, x, name), by_definition(made, x))


def test_a_rescale_that_is_cut_early_is_left_to_the_general_kernels():
    """The halved scheme cuts a bit early: where the bound allows a result beyond 31 bits, it is another function."""
    layer, _ = wide(11, False, "reduced_multiplier_halved")
    assert native_of(layer, np.dtype(np.int16)) is not None
    most = np.full(layer.geometry.out_c, (1 << 31) - 1)
    steep = replace(layer, scales=Scales(most, np.full_like(most, 14), most * 2.0**-17))
    assert native_of(steep, np.dtype(np.int16)) is None
    assert native_of(replace(steep, scheme="reduced_multiplier"), np.dtype(np.int16)) is not None


@pytest.mark.skipif("vnni" not in ISAS, reason="needs vnni")
@pytest.mark.parametrize("apart", [False, True])
def test_byte_products_in_vectors_of_256_bits(monkeypatch, apart):
    """What machines with VNNI but without AVX-512 run."""
    monkeypatch.setattr(isa, "cpu_features", frozenset)
    assert KINDS[isa.kind("vnni", 4)].name == "bytes256"
    for seed in range(EXAMPLES):
        check(*drawn(seed, apart), "vnni")


def one_layer(op, weight_type, weight, x):
    b = Builder()
    dense, n = op == "FULLY_CONNECTED", weight.shape[0]
    shape = (1, n) if dense else (1, *x[1:3], n)
    i = b.tensor("x", x, "int8", 0.05, 127)
    scale = 0.01 if dense else [0.01 + 0.001 * k for k in range(n)]
    w = b.tensor("w", weight.shape, weight_type, scale, 0 if dense else [0] * n, None if dense else 0, data=weight)
    y = b.tensor("y", shape, "int8", 0.3, -128)
    options = {} if dense else {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    options |= {} if dense else {"dilation_h_factor": 1, "dilation_w_factor": 1}
    return b.op(op, [i, w], [y], version=7, **options).finish([i], [y])


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("numerics", ["litert-reference", "tflm"])
@pytest.mark.parametrize(("op", "shape", "x"), [
    ("CONV_2D", (20, 3, 3, 8), (1, 6, 5, 8)), ("CONV_2D", (7, 1, 1, 5), (1, 4, 4, 5)), ("FULLY_CONNECTED", (33, 50), (1, 50)),
])  # fmt: skip
def test_weights_of_4_bits_run_packed_as_those_of_8(monkeypatch, tmp_path, name, numerics, op, shape, x):
    """The same kernel, block and outputs as for the same weights stored as int8; and what the general kernels make."""
    monkeypatch.setenv(isa.VARIABLE, name)
    rng = np.random.default_rng(len(shape))
    weight, data = choice(rng, -8, 7, shape), choice(rng, -128, 127, x).astype(np.int8)
    outputs, natives = [], []
    for kind in ("int4", "int8"):
        path = tmp_path / f"{kind}.tflite"
        path.write_bytes(one_layer(op, kind, weight, x))
        graph = fxsim.read(path)
        plan = plan_of(graph, load_numerics(numerics))
        (native,) = [s.native for s in plan.steps]
        assert native is not None, kind
        natives.append(native)
        for watch in (None, lambda step, inputs: None):  # watched: layer by layer, by the general kernels
            ws = plan.workspace()
            ws.values[graph.inputs[0]][...] = data
            plan.run(ws, watch)
            outputs.append(ws.values[graph.outputs[0]].copy())
    assert natives[0].function.args == natives[1].function.args and natives[0].room == natives[1].room
    assert all(np.array_equal(outputs[0], o) for o in outputs[1:])
    assert len(np.unique(outputs[0])) > 3
