"""Bipolar, ternary and grouped int4 layers against naive twins, and the fast XNOR kernel against its slow one."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxsim.errors import DomainError
from fxsim.fixed.binary import (
    PADDINGS,
    group_matmul_int4,
    same_pad,
    ternary_matmul,
    xnor_conv2d,
    xnor_matmul,
    xnor_popcount_matmul,
)
from fxsim.fixed.packing import CODECS
from fxsim.kernels import binary
from fxsim.kernels._intrinsics import xor_popcount

LARQ = CODECS["larq_bits"]
DEPTHS = st.sampled_from([0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 255, 256, 257, 300])


def bipolar(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


@settings(max_examples=40)
@given(st.integers(1, 9), DEPTHS, st.integers(1, 40), st.integers(0, 2**32))
@example(1, 1, 1, 0)
@example(3, 1, 1, 0)
@example(2, 64, 1, 1)
def test_xnor_matmul_is_the_dot_product(m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = bipolar(rng, m, k), bipolar(rng, k, n)
    wanted = a.astype(np.int32) @ b.astype(np.int32)
    got = xnor_matmul(a, b)
    assert got.dtype == np.int32 and np.array_equal(got, wanted)
    words = LARQ.pack(a), LARQ.pack(b.T)
    assert np.array_equal(xnor_matmul(*words, depth=k), wanted)
    wide = [np.pad(w, [(0, 0), (0, w.shape[1] % 2)]) for w in words]
    wide = [w[:, ::2].astype(np.uint64) | w[:, 1::2].astype(np.uint64) << np.uint64(32) for w in wide]
    assert np.array_equal(xnor_matmul(*wide, depth=k), wanted)


def test_a_set_bit_may_stand_for_either_value():
    rng = np.random.default_rng(3)
    a, b = bipolar(rng, 4, 70), bipolar(rng, 70, 5)
    flipped = LARQ.pack(-a), LARQ.pack(-b.T)  # FINN's polarity: a set bit is +1
    assert np.array_equal(xnor_matmul(*flipped, depth=70), xnor_matmul(a, b))


def test_the_ends_of_the_accumulator():
    ones = np.ones((1, 1000), np.int8)
    assert xnor_matmul(ones, ones.T) == 1000 and xnor_matmul(ones, -ones.T) == -1000


@settings(max_examples=30)
@given(st.data())
def test_fast_kernel_equals_its_slow_twin(data):
    """Any words, reductions below, at and above the eight words of one visit, more outputs than one block."""
    draw = data.draw
    n, oh, ow, o = draw(st.tuples(*[st.integers(1, 2)] * 3, st.sampled_from([1, 2, 15, 16, 17, 33, 1025])))
    c, kh, kw = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if o > 1000:
        n = oh = ow = c = 1
    window = draw(st.tuples(*[st.integers(1, 2)] * 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    h, w = (oh - 1) * window[0] + (kh - 1) * window[2] + 1, (ow - 1) * window[1] + (kw - 1) * window[3] + 1
    x = rng.choice(np.array([0, 1, 1 << 31, (1 << 32) - 1, 0x12345678], np.uint32), (n, h, w, c))
    weight = rng.integers(0, 1 << 32, (kh * kw * c, o), dtype=np.uint32)
    depth = kh * kw * c * 32
    fast, slow = np.empty((n, oh, ow, o), np.int32), np.empty((n, oh, ow, o), np.int32)
    binary.conv()(x, weight, window, (kh, kw), depth, fast)
    binary.slow_conv()(x, weight, window, (kh, kw), depth, slow)
    assert np.array_equal(fast, slow)


def test_popcount_is_a_plain_function_too():
    assert xor_popcount(0b1011, 0b0001) == 2 and xor_popcount(np.uint32(0xFFFFFFFF), np.uint32(0)) == 32


def naive_conv(x, w, stride, dilation, padding, pad):
    n, h, wid, c = x.shape
    kh, kw, _, o = w.shape
    oh = (h + pad[0] + pad[1] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (wid + pad[2] + pad[3] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    acc = np.zeros((n, oh, ow, o), np.int64)
    for b, y, z, q in np.ndindex(*acc.shape):
        for i, j in np.ndindex(kh, kw):
            yy, xx = y * stride[0] + i * dilation[0] - pad[0], z * stride[1] + j * dilation[1] - pad[2]
            weights = [int(v) for v in w[i, j, :, q]]
            if 0 <= yy < h and 0 <= xx < wid:
                acc[b, y, z, q] += sum(int(x[b, yy, xx, k]) * v for k, v in enumerate(weights))
            elif padding == "one":
                acc[b, y, z, q] += sum(weights)
            elif padding == "zero_larq":
                acc[b, y, z, q] += c - 2 * (c // 2)  # as many unequal bits as half the channels, rounded down
    return acc


@settings(max_examples=40)
@given(st.data())
def test_xnor_conv2d_equals_its_naive_twin(data):
    draw = data.draw
    padding = draw(st.sampled_from(PADDINGS))
    c, o, kh, kw = draw(st.sampled_from([1, 2, 3, 31, 33])), *draw(st.tuples(*[st.integers(1, 3)] * 3))
    stride, dilation = draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.tuples(*[st.integers(1, 2)] * 2))
    h = draw(st.integers((kh - 1) * dilation[0] + 1, 6))
    w = draw(st.integers((kw - 1) * dilation[1] + 1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x, weight = bipolar(rng, 2, h, w, c), bipolar(rng, kh, kw, c, o)
    same = (*same_pad(h, kh, stride[0], dilation[0]), *same_pad(w, kw, stride[1], dilation[1]))
    pad = None if padding == "valid" else draw(st.none() | st.tuples(*[st.integers(0, 3)] * 4))
    amount = (0, 0, 0, 0) if padding == "valid" else same if pad is None else pad
    wanted = naive_conv(x, weight, stride, dilation, padding, amount)
    got = xnor_conv2d(x, weight, stride, dilation, padding, pad)
    assert got.dtype == np.int32 and np.array_equal(got, wanted)
    packed = LARQ.pack(x), LARQ.pack(np.moveaxis(weight, 3, 0))
    assert np.array_equal(xnor_conv2d(*packed, stride, dilation, padding, pad, channels=c), wanted)


def test_larq_zero_padding_is_biased_for_odd_channels():
    """Each tap outside adds 1, where zeros would add nothing; with an even number of channels it is exact."""
    for channels, bias in ((3, 1), (4, 0)):
        x, w = np.ones((1, 1, 1, channels), np.int8), np.ones((3, 3, channels, 1), np.int8)
        larq, exact = (xnor_conv2d(x, w, padding=p).item() for p in ("zero_larq", "zero"))
        assert exact == channels and larq == exact + 8 * bias
        assert xnor_conv2d(x, w, padding="one").item() == 9 * channels


def test_ternary_matmul_is_exact():
    rng = np.random.default_rng(0)
    x = rng.choice(np.array([-128, -127, 0, 127], np.int8), (3, 200_001))
    w = rng.integers(-1, 2, (200_001, 2), dtype=np.int8)
    w[:, 0], x[0] = -1, -128
    wanted = np.array([[sum(int(a) * int(b) for a, b in zip(r, c, strict=True)) for c in w.T] for r in x])
    assert wanted[0, 0] == 128 * 200_001 and np.array_equal(ternary_matmul(x, w), wanted)


def naive_groups(x, q, scales, size, zeros):
    """float32 operations one by one, groups ascending."""
    y = np.zeros((len(x), q.shape[1]), np.float32)
    for m, n in np.ndindex(*y.shape):
        total = np.float32(0)
        for g in range(len(scales)):
            acc = sum(int(x[m, k]) * (int(q[k, n]) - int(zeros[g, n])) for k in range(g * size, (g + 1) * size))
            total = total + np.float32(acc) * scales[g, n]
        y[m, n] = total
    return y


@settings(max_examples=30)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 33), st.integers(1, 5), st.booleans(), st.integers(0, 2**32)
)
def test_group_matmul_int4_equals_its_naive_twin(m, groups, size, n, zero, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([-128, -1, 0, 1, 127], np.int8), (m, groups * size))
    codec, low = ("onnx_uint4", 0) if zero else ("tflite_int4", -8)
    q = rng.integers(low, low + 16, (groups * size, n))
    scales = rng.normal(size=(groups, n)).astype(np.float32)
    zeros = rng.integers(0, 16, (groups, n)) if zero else None
    packed = CODECS[codec].pack(q.T)
    got = group_matmul_int4(x, packed, scales, size, zeros, codec)
    wanted = naive_groups(x, q, scales, size, np.zeros((groups, n)) if zeros is None else zeros)
    assert got.dtype == np.float32 and np.array_equal(got.view(np.int32), wanted.view(np.int32))
    assert np.array_equal(group_matmul_int4(x, packed.tobytes(), scales, size, zeros, codec), got)


def test_the_order_of_the_groups_changes_bits():
    rng = np.random.default_rng(1)
    x, q = rng.integers(-128, 128, (8, 256), dtype=np.int8), rng.integers(-8, 8, (256, 8), dtype=np.int8)
    scales = rng.normal(size=(8, 8)).astype(np.float32)
    codec = CODECS["tflite_int4"]
    forward = group_matmul_int4(x, codec.pack(q.T), scales, 32)
    backward = group_matmul_int4(
        np.flip(x.reshape(8, 8, 32), 1).reshape(8, 256),
        codec.pack(np.flip(q.reshape(8, 32, 8), 0).reshape(256, 8).T),
        scales[::-1],
        32,
    )
    assert np.any(forward != backward) and np.allclose(forward, backward, rtol=1e-3, atol=1e-2)


ONES = np.ones((2, 40), np.int8)
WORDS = LARQ.pack(ONES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: xnor_matmul(ONES * 0, ONES.T), r"a: larq_bits: value at \[0, 0\] is 0; allowed: -1 and 1"),
        (lambda: xnor_matmul(ONES, ONES.T * [1, -3]), r"b: larq_bits: value at \[0, 1\] is -3; allowed: -1 and 1"),
        (
            lambda: xnor_matmul(ONES, ONES.T.astype(np.int64) * (2**63 - 1)),
            r"b: larq_bits: value at \[0, 0\] is 9223372036854775807",
        ),
        (lambda: xnor_matmul(ONES, ONES), "a has 40 columns, b has 2 rows"),
        (lambda: xnor_matmul(ONES, ONES.T, depth=40), "depth is 40; allowed"),
        (lambda: xnor_matmul(WORDS, WORDS), "depth is None; allowed"),
        (lambda: xnor_matmul(WORDS, WORDS, depth=65), "a has 2 words for 65 values; allowed: 3"),
        (lambda: xnor_matmul(WORDS, WORDS | np.uint32(1 << 9), depth=40), "b has a bit set behind its 40 values"),
        (lambda: xnor_matmul(ONES.astype(float), ONES.T), "a is float64; allowed: integers"),
        (lambda: xnor_matmul(WORDS[:, :0], WORDS[:, :0], depth=-1), "depth is -1"),
        (lambda: xnor_popcount_matmul(ONES * 2, ONES.T), "a matrix of 0 and 1"),
        (lambda: xnor_conv2d(ONES, ONES), "allowed: two 4-d arrays"),
        (
            lambda: xnor_conv2d(ONES[None, None], ONES[None, None], padding="same"),
            "padding is 'same'; allowed: 'valid'",
        ),
        (lambda: xnor_conv2d(ONES[None, None], ONES[None, None]), "x has 40 channels, w has 2"),
        (lambda: xnor_conv2d(ONES[None, None], ONES.T[None, None], stride=0), r"stride is \(0, 0\)"),
        (lambda: xnor_conv2d(ONES[None, None], ONES.T[None, None], pad=(1, 1, 1, 1)), "padding 'valid'; allowed: none"),
        (
            lambda: xnor_conv2d(ONES[None, None], ONES.T[None, None], padding="one", pad=(0, -1, 0, 0)),
            "allowed: 0 and above",
        ),
        (lambda: xnor_conv2d(ONES[None, None], np.ones((3, 1, 40, 1), int)), "has no output"),
        (lambda: ternary_matmul(ONES, ONES.T * 2), "a matrix of -1, 0 and 1"),
        (lambda: ternary_matmul(ONES.astype(np.int16), ONES.T), "x is int16 .*an int8 matrix"),
        (lambda: ternary_matmul(ONES[:, :3], ONES.T), "x has 3 columns for 40 weights"),
        (lambda: group_matmul_int4(ONES, b"", np.ones((1, 1)), 40), "scales are float64"),
        (lambda: group_matmul_int4(ONES, b"", np.ones((1, 1), np.float32), 40), "data has 0 bytes; needed: 20"),
        (lambda: group_matmul_int4(ONES, b"", np.ones((1, 1), np.float32), 40, codec="awq"), "codec is 'awq'; allowed"),
        (
            lambda: group_matmul_int4(ONES, bytes(20), np.ones((1, 1), np.float32), 40, np.full((1, 1), 16)),
            "zeros are int64",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(DomainError, match=message):
        call()


@pytest.mark.live
def test_qonnx_xnor_popcount_agrees(record_property):
    """QONNX returns the count of equal bits, P = (dot + K) / 2."""
    onnx = pytest.importorskip("onnx", reason="needs onnx (the onnx extra)")
    pytest.importorskip("qonnx", reason="needs qonnx")
    from tests.fixed.qonnx_run import run

    rng = np.random.default_rng(5)
    compared = 0
    for m, k, n in [(1, 1, 1), (3, 31, 2), (4, 64, 5), (7, 100, 9), (16, 257, 33)]:
        a, b = rng.integers(0, 2, (m, k)), rng.integers(0, 2, (k, n))
        node = onnx.helper.make_node("XnorPopcountMatMul", ["a", "b"], ["y"], domain="qonnx.custom_op.general")
        wanted = run(node, {"a": a.astype(np.float32), "b": b.astype(np.float32)}, (m, n))
        got = xnor_popcount_matmul(a, b)
        assert np.array_equal(got, wanted)
        assert np.array_equal(xnor_matmul(2 * a - 1, 2 * b - 1), 2 * wanted - k)
        compared += got.size
    record_property("compared", f"XnorPopcountMatMul: {compared} elements")
