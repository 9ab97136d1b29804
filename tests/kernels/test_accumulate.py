"""Accumulation kernels against the naive twin: every policy, narrow registers, limits, padding, groups, dilation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsim.arith.overflow import highest, lowest
from fxsim.kernels import accumulate
from fxsim.kernels.ordered import HIGH, LOW, OVERFLOWED, ordered, watch
from tests import naive

INT32 = 32


@st.composite
def layers(draw):
    """A small convolution whose values love the ends of their range."""
    groups, cg, og = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride, dilation = (
        (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
    )
    pad = tuple(draw(st.integers(0, 2)) for _ in range(4))
    h = draw(st.integers(max(1, (kh - 1) * dilation[0] + 1 - pad[0] - pad[1]), 6))
    w = draw(st.integers(max(1, (kw - 1) * dilation[1] + 1 - pad[2] - pad[3]), 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ends = np.array([-128, -127, -1, 0, 1, 126, 127], np.int8)
    x = np.where(rng.random((1, h, w, groups * cg)) < 0.5, rng.choice(ends, (1, h, w, groups * cg)),
                 rng.integers(-128, 128, (1, h, w, groups * cg))).astype(np.int8)  # fmt: skip
    weight = rng.choice(ends, (kh, kw, cg, groups * og)).astype(np.int8)
    bias = rng.integers(-(2**15), 2**15, groups * og).astype(np.int32)
    return x, weight, bias, draw(st.sampled_from([-128, -1, 0, 5, 127])), stride, dilation, pad, groups


def padded(x, x_zero, pad):
    full = np.full((1, x.shape[1] + pad[0] + pad[1], x.shape[2] + pad[2] + pad[3], x.shape[3]), x_zero, x.dtype)
    full[:, pad[0] : pad[0] + x.shape[1], pad[2] : pad[2] + x.shape[2]] = x
    return full


@pytest.mark.parametrize("policy", ["wrap", "saturate"])
@settings(max_examples=40)
@given(layer=layers(), bits=st.sampled_from([8, 12, 16, 20, 32]))
def test_kernels_equal_naive_twin(policy, layer, bits):
    x, w, bias, x_zero, stride, dilation, pad, groups = layer
    expected, (low, high, overflows) = naive.conv(x, w, bias, x_zero, stride, dilation, pad, groups, bits, policy)
    full, window = padded(x, x_zero, pad), (*stride, *dilation)
    acc = np.empty(expected.shape, np.int32)
    slow, seen = np.empty(expected.shape, np.int64), watch(expected.shape[-1])
    f = ordered("sequential", policy, "to_neg", "saturate")
    f(full, w, bias, x_zero, 0, window, groups, bits, 0, False, 0, 0, slow, seen)
    assert np.array_equal(slow, expected)
    assert (seen[:, LOW].min(), seen[:, HIGH].max(), seen[:, OVERFLOWED].sum()) == (low, high, overflows)
    acc[:] = 77
    accumulate.conv(policy)(full, w, bias, x_zero, window, groups, lowest(bits), highest(bits), acc)
    if policy == "wrap":
        acc = (acc << (INT32 - bits)) >> (INT32 - bits)
    assert np.array_equal(acc, expected)
    if w.shape[2] == 1 and w.shape[3] == groups:
        acc[:] = 77
        accumulate.depthwise(policy)(full, w[:, :, 0].copy(), bias, x_zero, window, lowest(bits), highest(bits), acc)
        if policy == "wrap":
            acc = (acc << (INT32 - bits)) >> (INT32 - bits)
        assert np.array_equal(acc, expected)


def test_saturation_at_every_step_is_not_saturation_at_the_end():
    """Order matters: 100 + 100 - 100 in 8 bits ends at 27, not at 100."""
    x = np.array([[[[100, 100, -100]]]], np.int8)
    w, bias, acc = np.ones((1, 1, 3, 1), np.int8), np.zeros(1, np.int32), np.empty((1, 1, 1, 1), np.int32)
    accumulate.conv("saturate")(x, w, bias, 0, (1, 1, 1, 1), 1, -128, 127, acc)
    assert acc.item() == 27


@settings(max_examples=30)
@given(layer=layers(), bits=st.sampled_from([33, 40, 48, 63]), policy=st.sampled_from(["wrap", "saturate"]))
def test_wide_kernels_equal_naive_twin(policy, layer, bits):
    """int16 inputs and biases of 40 bits, in registers beyond 32 bits."""
    x, w, _, x_zero, stride, dilation, pad, groups = layer
    rng = np.random.default_rng(int(x.sum()) % 1000)
    x = (x.astype(np.int16) * 257 + rng.integers(0, 2, x.shape).astype(np.int16)).astype(np.int16)
    bias = rng.integers(-(2**40), 2**40, w.shape[3])
    expected, _ = naive.conv(x, w, bias, x_zero, stride, dilation, pad, groups, bits, policy)
    full, window, acc = padded(x, x_zero, pad), (*stride, *dilation), np.empty(expected.shape, np.int64)
    limits = lowest(bits), highest(bits)
    accumulate.conv(policy, 64)(full, w, bias, x_zero, window, groups, *limits, acc)
    unused = 64 - bits if policy == "wrap" else 0
    assert np.array_equal((acc << unused) >> unused, expected)
    if w.shape[2] == 1 and w.shape[3] == groups:
        accumulate.depthwise(policy, 64)(full, w[:, :, 0].copy(), bias, x_zero, window, *limits, acc)
        assert np.array_equal((acc << unused) >> unused, expected)


def test_int32_sum_wraps():
    """2**31 - 1 + 1 wraps to the least value, as the adder does."""
    x, w = np.ones((1, 1, 1, 1), np.int8), np.ones((1, 1, 1, 1), np.int8)
    acc = np.empty((1, 1, 1, 1), np.int32)
    accumulate.conv("wrap")(x, w, np.array([2**31 - 1], np.int32), 0, (1, 1, 1, 1), 1, 0, 0, acc)
    assert acc.item() == -(2**31)
