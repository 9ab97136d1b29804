"""Requantization by two operations in float32: the engine's own function of every sum, or not used."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from fxsim.kernels import _finish as schemes
from fxsim.kernels import fused, isa
from fxsim.kernels.requantize import requantize
from fxsim.sim import packed
from fxsim.sim.base import Scales
from fxsim.sim.fused import constants
from fxsim.sim.layer import reach
from tests.sim.test_packed import check, drawn

SCHEMES = (
    ("double_rounding", "ties_away"), ("double_rounding", "ties_pos"), ("single_rounding", "ties_pos"),
    ("single_rounding", "ties_away"), ("float64", "ties_away"), ("float32", "ties_even"),
)  # fmt: skip
REACH = 40_000
REALS = (0.0123456789, 2.0**-7, 2.0**-7 * (1 + 2.0**-22), 0.75 * 2.0**-4, 0.0009765, 0.31415, 1.0)
"""powers of two, and what is near them, meet ties at every level"""
ENDS = (0, -128, 127), (-128, -128, 127), (127, -128, 127), (-1, -1, 6), (3, -100, -99)
"""zero point and clamp"""
pytestmark = pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")


def scales_of(reals, single):
    mantissa, shift = np.frexp(np.array(reals, np.float64))
    q = np.minimum(np.rint(mantissa * 2.0**31), 2.0**31 - 1).astype(np.int64)
    return Scales(q, shift.astype(np.int64), np.array(reals, np.float32 if single else np.float64))


def proved(scheme, rounding, real, zero, clamp, least=-REACH, most=REACH):
    """The constants for one channel, or None."""
    s = scales_of([real], scheme == "float32")
    scale, offset = np.zeros(1, np.float32), np.zeros(1, np.float32)
    ends = np.array([least]), np.array([most]), clamp[0] - zero, clamp[1] - zero
    found = fused.proof(scheme, rounding)(s.q, s.shift, s.real, *ends, zero & 1, scale, offset)
    return (scale, offset) if found else None


def two_operations(acc, scale, offset, zero, clamp, *, single):
    """The formula on whole arrays. A product of float32 numbers is exact in float64; its nearest integer has ties to even."""
    x, odd = acc.astype(np.float32), zero & 1
    if single:
        p = (x * scale).astype(np.float64)
    else:
        p = np.where(acc >= 0, x + offset, x - offset).astype(np.float64) * scale.astype(np.float64)
    return np.clip(np.rint(p + odd) - odd + zero, *clamp)


def engines(acc, scheme, rounding, real, zero, clamp):
    s, out = scales_of([real], scheme == "float32"), np.empty((len(acc), 1), np.int8)
    requantize(scheme, rounding, scheme == "float32")(acc[:, np.newaxis], s.q, s.shift, s.real, zero, *clamp, out)
    return out[:, 0]


@pytest.mark.parametrize(("scheme", "rounding"), SCHEMES)
def test_what_is_proved_is_true_of_every_sum(scheme, rounding):
    acc, count = np.arange(-REACH, REACH + 1, dtype=np.int32), 0
    for real, (zero, *clamp) in product(REALS, ENDS):
        found = proved(scheme, rounding, real, zero, clamp)
        if found is None:
            continue
        count += 1
        made = two_operations(acc, *found, zero, clamp, single=scheme == "float32")
        assert np.array_equal(made, engines(acc, scheme, rounding, real, zero, clamp)), (real, zero, clamp)
    assert count >= 10


@pytest.mark.parametrize(("scheme", "rounding"), SCHEMES[:3])
def test_what_was_refused_has_no_nearby_constants(scheme, rounding):
    """Powers of two tie at every level, which one addition cannot send the same way: brute force finds nothing either."""
    acc, (real, zero, clamp) = np.arange(-200, 201, dtype=np.int32), (2.0**-3, 0, (-20, 20))
    found = proved(scheme, rounding, real, zero, clamp, -200, 200)
    true = engines(acc, scheme, rounding, real, zero, clamp)
    offsets = np.linspace(0, 2, 257, dtype=np.float32)
    scales = np.float32(real) + np.arange(-6, 7) * np.spacing(np.float32(real))
    fits = [
        (s, d)
        for s, d in product(scales.astype(np.float32), offsets)
        if np.array_equal(two_operations(acc, s, d, zero, clamp, single=False), true)
    ]
    assert bool(fits) == (found is not None)


def test_a_step_that_is_off_by_one_is_not_proved():
    """An engine that steps elsewhere than any multiplication does is refused, whichever level it is."""
    rule = ("double_rounding", "ties_away")
    assert proved(*rule, 0.0123456789, 0, (-128, 127)) is not None
    s = scales_of([0.0123456789], single=False)
    found = np.zeros(1, np.float32), np.zeros(1, np.float32)
    # the multiplier of another layer: the quotient no longer tells where levels begin
    arguments = s.q + (1 << 20), s.shift, s.real, np.array([-REACH]), np.array([REACH]), -128, 127, 0, *found
    assert fused.proof(*rule)(*arguments) == 0


@pytest.mark.parametrize("name", isa.available())
@pytest.mark.parametrize(("scheme", "rounding"), SCHEMES)
def test_machine_code_at_every_step_of_a_level(scheme, rounding, name):
    """Layers of one product: every pair of an input and a weight, with biases that set the sums on either side of steps."""
    layer, x, _ = drawn(0, apart=False)
    n, single = 256, scheme == "float32"
    g = replace(
        layer.geometry, batch=1, in_h=16, in_w=16, in_c=1, out_h=16, out_w=16, out_c=n, kernel_h=1, kernel_w=1,
        stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, groups=1,
    )  # fmt: skip
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
    used = set()
    for real, (zero, *clamp) in product(REALS, ENDS):
        level = np.rint((np.arange(n) % 255 - 127 + 0.5) / real).astype(np.int32)
        layer = replace(
            layer, geometry=g, window=(1, 1, 1, 1), pad=(0, 0, 0, 0), weight=np.ones((1, 1, 1, n), np.int8),
            bias=level, x_zero=0, input_range=(-128, 127), input_dtype=np.dtype(np.int8), policy="wrap", width=32,
            accumulator=type(layer.accumulator)(bits=32, overflow="wrap"), scales=scales_of([real] * n, single),
            scheme=scheme, rounding=rounding, lanes=0, saturating=single, zero=zero, clamp=tuple(clamp),
        )  # fmt: skip
        used.add(packed._rescale(layer, np.dtype(np.int8)).scheme)
        check(layer, x, np.dtype(np.int8), name)
    assert (schemes.FOLDED if single else schemes.FUSED) in used


def test_reach_is_what_inputs_reach():
    for seed in range(40):
        layer, _, _ = drawn(seed, apart=False)
        layer = replace(layer, policy="wrap", accumulator=type(layer.accumulator)(bits=32, overflow="wrap"))
        least, most = reach(layer)
        weight = layer.weight.reshape(-1, layer.geometry.out_c).astype(np.int64)
        ends = np.array([*layer.input_range, layer.x_zero], np.int64) - layer.x_zero
        products = weight[:, np.newaxis] * ends[:, np.newaxis]
        assert np.array_equal(most, products.max(axis=1).sum(axis=0) + layer.bias)
        assert np.array_equal(least, products.min(axis=1).sum(axis=0) + layer.bias)


def test_wide_sums_and_many_levels_are_left_to_the_engines_rule():
    layer, _, _ = drawn(0, apart=False)
    layer = replace(
        layer, policy="saturate", accumulator=type(layer.accumulator)(bits=20), scheme="double_rounding", lanes=0,
        rounding="ties_away", zero=0, clamp=(-128, 127), scales=scales_of([0.0123456789] * layer.geometry.out_c, False),
    )  # fmt: skip
    assert constants(layer) is not None
    assert constants(replace(layer, clamp=(-32768, 32767))) is None
    assert constants(replace(layer, clamp=(5, 5))) is None
    assert constants(replace(layer, accumulator=type(layer.accumulator)(bits=32))) is None
    assert constants(replace(layer, zero=1)) is not None
