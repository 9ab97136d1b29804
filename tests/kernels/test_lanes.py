"""Vector blocks and XNNPACK's rescales, against slow readable twins: ties, both ends, wrapped 16-bit sums."""

from fractions import Fraction

import numpy as np
import pytest

from fxsim.arith.multiplier import float32, quantize_multiplier
from fxsim.arith.xnnpack import activation_bound, convert_multiplier, mean_parameters, sum_multipliers
from fxsim.kernels import lanes, xnnpack
from fxsim.kernels.requantize import requantize
from fxsim.kernels.softmax_table import softmax_table
from tests.naive import round_fraction

A, B = (g.reshape(-1).astype(np.int8) for g in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij"))
"""every pair of int8 values"""


APART = (0.4091106057167053, 1.0, 0.012374980375170708)
"""scales with which rare pairs tell the three ways of a sum apart"""


def high(x, q):
    return (x * q + (1 << 30)) >> 31


def away(x, shift):
    return round_fraction(Fraction(x, 1 << shift), "ties_away")


def cut(x):
    return (x + 32768) % 65536 - 32768


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scales", [(0.5, 0.25, 0.5), (1.0, 0.001, 2.0**-8), APART])
def test_sums_in_blocks(bits, scales):
    """Pairs by all three ways; with some scales one pair of all comes out three ways."""
    a_scale, b_scale, out_scale = scales
    left, zeros, zero, twice = 20, (3, -7), 5, 2 * max(a_scale, b_scale)
    pairs = [quantize_multiplier(m) for m in (a_scale / twice, b_scale / twice, twice / ((1 << left) * out_scale))]
    q, shift = (np.array(v) for v in zip(*pairs, strict=True))
    some, outputs = np.random.default_rng(1).permutation(A.size)[:2000].tolist(), []
    for way in (lanes.SCALAR, lanes.SHIFT_FIRST, lanes.SHIFT_LAST):
        out = np.zeros(A.size, np.int8)
        arguments = (np.array(zeros), q, shift, left, zero, -128, 127, out)
        lanes.add(bits)(A, B, np.full(A.size, way, np.int8), *arguments)
        apart = [] if not outputs else np.flatnonzero(out != outputs[0]).tolist()
        for i in some + apart[:100]:
            terms = []
            for x, z, m, s in ((int(A[i]), zeros[0], *pairs[0]), (int(B[i]), zeros[1], *pairs[1])):
                v = x - z
                if way == lanes.SCALAR:
                    terms.append(away(high(v << left, m), -s))
                elif way == lanes.SHIFT_FIRST:
                    terms.append(high(v << (left + s) if left + s >= 0 else v >> -(left + s), m))
                else:
                    terms.append(high(v << left, m) >> -s)
            v = away(high(sum(terms), pairs[2][0]), -pairs[2][1])
            v = v + zero if way == lanes.SCALAR or bits > 8 else cut(cut(v) + zero)
            assert out[i] == min(max(v, -128), 127)
        outputs.append(out)
    if scales == APART:
        assert all(np.sum(outputs[i] != outputs[j]) in (1, 2) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_products_in_blocks():
    """A block saturates before it adds the zero point, in 16 bits, where the sum wraps; ``CUT`` cuts first."""
    product, zero = np.array([40000, 32700, -40000, 300, 100, 65536 + 5]), 100
    q, shift = quantize_multiplier(1.0)
    got = {}
    for way in (lanes.SCALAR, lanes.BLOCK, lanes.CUT):
        out = np.zeros(product.size, np.int8)
        lanes.multiply()(product, np.full(product.size, way, np.int8), q, shift, zero, -128, 127, out)
        got[way] = out.tolist()
    assert got[lanes.SCALAR] == [127, 127, -128, 127, 127, 127]
    assert got[lanes.BLOCK] == [-128, -128, -128, 127, 127, -128]
    assert got[lanes.CUT] == [-128, -128, 127, 127, 127, 105]


def test_rescale_rounds_ties_up_in_blocks_only():
    acc = np.array([-6, -2, 2, 6, -6, -2, 2, 6])
    way = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.int8)
    out = np.zeros(8, np.int8)
    lanes.rescale()(acc, way, *quantize_multiplier(0.25), 0, -128, 127, out)
    assert out.tolist() == [-1, 0, 1, 2, -2, -1, 1, 2]


def test_quantize_in_blocks():
    """By the reciprocal, ties to even, in a block; else by the scale, ties away. Beyond 32 bits both wrap."""
    x = np.array([0.5, 1.5, -0.5, -2.5, 3e10, -3e10], np.float32)
    for way, wanted in ((lanes.BLOCK, [10, 12, 10, 8]), (lanes.SCALAR, [11, 12, 9, 7])):
        out = np.zeros(6, np.int8)
        lanes.quantize()(x, np.full(6, way, np.int8), np.float32(1), 1.0, 10, -128, 127, out)
        assert out.tolist() == [*wanted, -128, -128]
    inverse = np.float32(1 / np.float64(np.float32(0.1)))
    near = np.float32(0.35)
    out = np.zeros(2, np.int8)
    lanes.quantize()(
        np.array([near, near]), np.array([1, 0], np.int8), inverse, float(np.float32(0.1)), 0, -128, 127, out
    )
    assert out.tolist() == [round(float(near * inverse)), int(float(near) / float(np.float32(0.1)) + 0.5)]


@pytest.mark.parametrize("scales", [(0.5, 0.25, 0.5), (0.1, 0.07, 0.2), (1.0, 0.01, 2.0**-7)])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_with_one_shift(scales, sign):
    """All pairs against exact fractions of the 21-bit multipliers; ties occur."""
    a_scale, b_scale, out_scale = map(float32, scales)
    first, second, shift = sum_multipliers(a_scale, b_scale, out_scale)
    assert 1 << 20 <= max(first, second) <= 1 << 21
    ratio = Fraction(float32(a_scale / out_scale))
    assert abs(Fraction(first, 1 << shift) - ratio) <= Fraction(1, 1 << (shift + 1))
    zeros, zero, out = (3, -7), 5, np.zeros(A.size, np.int8)
    xnnpack.add()(A, B, np.array(zeros), np.array([first, sign * second]), shift, zero, -128, 127, out)
    exact = (A.astype(np.int64) - zeros[0]) * first + sign * (B.astype(np.int64) - zeros[1]) * second
    half = 1 << (shift - 1)
    assert np.array_equal(out, np.clip(((exact + half) >> shift) + zero, -128, 127))
    assert scales[0] != 0.5 or np.any(exact % (1 << shift) == half)


def test_conversions_have_eight_fraction_bits():
    x = np.arange(-128, 128).astype(np.int8)
    for ratio in (0.5, 1.0, 1 / 3, 1.0 / 256, 128.0, 0.7):
        multiplier = convert_multiplier(float32(ratio))
        out = np.zeros(256, np.int8)
        xnnpack.leaky()(x, 3, multiplier, -multiplier, 7, -128, 127, out)
        v = x.astype(np.int64) - 3
        exact = v * np.where(v >= 0, multiplier, -multiplier)
        assert np.array_equal(out, np.clip(((exact + 128) >> 8) + 7, -128, 127))


def test_affine_rounds_to_float32_twice():
    rng = np.random.default_rng(2)
    acc = rng.integers(-(1 << 20), 1 << 20, 5000).astype(np.int32)
    scale, offset = (np.float32(v) for v in mean_parameters(0.1, 5, 0.07, -3, 49))
    out = np.zeros(acc.size, np.int32)
    xnnpack.affine32()(acc, scale, offset, -(1 << 31), (1 << 31) - 1, out)
    assert np.array_equal(out, np.rint(acc.astype(np.float32) * scale + offset))
    assert offset != np.rint(offset)


def test_quantize_by_the_reciprocal():
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30], np.float32)
    out = np.zeros(x.size, np.int8)
    xnnpack.quantize()(x, np.float32(1), 1, -128, 127, out)
    assert out.tolist() == [1, 3, 3, 1, -1, 127, -128]


def test_bounds_are_summed_before_they_are_rounded():
    """6 / 4 = 1.5 with an odd zero point goes to 2.5, and so to 2; apart from it to 2, and so to 3."""
    assert activation_bound(6.0, 4.0, 1, -128, 127) == 2
    assert activation_bound(6.0, 4.0, 0, -128, 127) == 2
    assert activation_bound(6.0, 1e-3, 0, -128, 127) == 127


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -128), ("uint8", 0), ("int16", -32768)])
def test_softmax_by_a_table(dtype, zero):
    info = np.iinfo(dtype)
    table = np.exp(-np.arange(256) / 7).astype(np.float32)
    x = np.random.default_rng(3).integers(-128, 128, (40, 9)).astype(np.int8)
    out, scale = np.zeros(x.shape, dtype), np.float32(2.0**-info.bits)
    softmax_table()(x, table, scale, zero, info.min, info.max, out)
    for row, got in zip(x, out, strict=True):
        e = table[row.max() - row.astype(int)]
        total = np.float32(0)
        for v in e:
            total = np.float32(total + v)
        part = e * (np.float32(1) / (total * scale))
        wanted = np.floor(part + np.float32(0.5)) + (zero if dtype != "uint8" else 0)
        assert np.array_equal(got, np.clip(wanted, info.min, info.max))


@pytest.mark.parametrize(
    ("zero", "clamp", "wanted"),
    [
        (-1, (-128, 127), [127, 127, -128, -128, -1, 127, 127, 4]),
        (-1, (-2, 0), [127, 127, -2, -2, -1, 0, 0, 0]),
        (1, (-128, 127), [-128, -128, -128, -128, 1, 127, 127, 6]),
        (-128, (-128, -127), [127, 127, -128, -128, -128, -127, -127, -127]),
    ],
)
def test_products_that_saturate_above_only(zero, clamp, wanted):
    """Recorded of XNNPACK's int8 convolution with AVX512-VNNI, LiteRT 2.3.0: accumulators are the biases, the scale is 1."""
    ends = [-(1 << 31), -(1 << 31) + 64, -(1 << 31) + 65, -(1 << 30), 0, 1 << 30, (1 << 31) - 1, 5]
    acc, out, no = np.array(ends).reshape(-1, 1), np.zeros((8, 1), np.int8), np.zeros(1, np.int64)
    requantize("float32", "ties_even", "above")(acc, no, no, np.ones(1, np.float32), zero, *clamp, out)
    assert out[:, 0].tolist() == wanted
