"""Sums of bytes by one rounding: equal to the engine's rule on all 65,536 pairs, or not used."""

from dataclasses import replace

import numpy as np
import pytest

from fxsim.arith.multiplier import quantize_multiplier
from fxsim.arith.requantize import double_rounding
from fxsim.arith.rounding import RULES
from fxsim.kernels import isa
from fxsim.kernels.pointwise import join
from fxsim.model.graph import Tensor
from fxsim.model.qtype import QType
from fxsim.sim import affine, natives
from tests.sim.test_packed import run_native

GENERIC, EQUAL, HALVES, QUARTERS, TINY, ZERO, STEEP = (
    (0.0312718, 0.0470931, 0.0593127), (1.0, 1.0, 1.0), (0.5, 0.5, 1.0), (0.25, 0.25, 1.0), (0.5, 2.0**-9, 1.0),
    (2.0**-10, 2.0**-10, 1.0), (1.0, 0.75, 2.0**-7),
)  # fmt: skip
SCALES = GENERIC, EQUAL, HALVES, QUARTERS, TINY, ZERO, STEEP
"""of the inputs and the output: ``HALVES`` and ``QUARTERS`` meet ties on either side of zero"""
ZEROS = (0, 0, 0), (-128, 127, -128), (127, 127, 127), (-128, -128, -128), (3, -7, 127)
CLAMPS = (-128, 127), (-128, 0), (127, 127), (-1, 6)


def constants(scales, left=20):
    twice = 2 * max(scales[:2])
    pairs = [quantize_multiplier(v) for v in (scales[0] / twice, scales[1] / twice, twice / (scales[2] * 2**left))]
    q, shift = (np.array(v, np.int64) for v in zip(*pairs, strict=True))
    return q, shift


def formula_of(scales, zeros, clamp, sign, rounding, signed=True):
    q, shift = constants(scales)
    a, b = affine.pairs_of_bytes(signed, zeros)
    outputs = affine.doubly_rounded(a, b, sign, q, shift, 20, rounding, zeros[2], clamp)
    factors = scales[0] / scales[2], sign * scales[1] / scales[2]
    return affine.affine(a, b, outputs, factors, zeros[2], clamp), a, b, outputs


@pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")
@pytest.mark.parametrize("rounding", ["ties_away", "ties_pos"])
@pytest.mark.parametrize("how", ["sum", "difference"])
@pytest.mark.parametrize("scales", SCALES)
def test_machine_code_equals_the_general_kernel_on_every_pair(scales, how, rounding):
    q, shift = constants(scales)
    for dtype in (np.int8, np.uint8):
        ends, lift = np.iinfo(dtype), 0 if dtype == np.int8 else 128
        values = np.arange(ends.min, ends.max + 1).astype(dtype)
        x, y = (np.ascontiguousarray(v).reshape(-1) for v in np.meshgrid(values, values))
        tensors = [Tensor(i, str(i), x.shape, QType(8, dtype == np.int8), None) for i in range(3)]
        for zeros, clamp in zip(ZEROS, (*CLAMPS, CLAMPS[0]), strict=True):
            zeros, clamp = [z + lift for z in zeros], (clamp[0] + lift, clamp[1] + lift)
            expected, got = np.empty_like(x), np.full_like(x, 77)
            join("double_rounding", rounding, how)(x, y, np.array(zeros[:2]), q, shift, 20, zeros[2], *clamp, expected)
            sign = 1 if how == "sum" else -1
            made = natives.doubly_rounded(tensors, zeros, q, shift, 20, rounding, clamp, sign)
            if made is None:
                assert how == "difference"
                continue
            run_native(made, [x, y], got)
            assert np.array_equal(got, expected), (zeros, clamp)


def test_usual_scales_have_a_formula_whatever_their_ties():
    for scales in (GENERIC, EQUAL, HALVES, QUARTERS):
        for rounding in ("ties_away", "ties_pos"):
            for sign in (1, -1):
                assert formula_of(scales, (4, -3, 5), (-128, 127), sign, rounding)[0] is not None, (scales, rounding)


@pytest.mark.parametrize("rounding", ["ties_away", "ties_pos"])
def test_the_table_is_the_rule_of_arith_value_by_value(rounding):
    rule, (q, shift) = RULES[rounding], constants(HALVES)
    a, b = affine.pairs_of_bytes(True, (-128, 5))
    table = affine.doubly_rounded(a, b, -1, q, shift, 20, rounding, 9, (-100, 90))
    m = [(int(v), int(n)) for v, n in zip(q, shift, strict=True)]
    for i in range(0, 256, 17):
        for j in range(256):
            x, y = (double_rounding(rule, int(v) << 20, *m[k]) for k, v in enumerate((a[i, 0], b[0, j])))
            assert table[i, j] == min(max(double_rounding(rule, x - y, *m[2]) + 9, -100), 90)


def test_one_pair_that_differs_is_no_proof():
    formula, a, b, outputs = formula_of(GENERIC, (-128, 127, 3), (-128, 127), 1, "ties_away")
    assert formula is not None and affine.proved(formula, a, b, outputs, 3, (-128, 127))
    for i, j in ((0, 0), (255, 255), (0, 255), (128, 127)):
        other = outputs.copy()
        other[i, j] += 1 if other[i, j] < 127 else -1
        assert not affine.proved(formula, a, b, other, 3, (-128, 127))
    assert not affine.proved(formula, a, b, outputs, 3, (-128, 126))
    assert not affine.proved(formula, a, b, outputs, 4, (-128, 127))


def test_sums_that_leave_32_bits_are_no_proof():
    """Saturated outputs would be right in wider registers."""
    a, b = affine.pairs_of_bytes(True, (0, 0))
    for by, holds in ((1 << 23, True), ((1 << 24) + 1, False)):
        formula = affine.Affine((by, 0), 0, 20)
        outputs = np.clip((formula.sums(a, b) >> 20) + 0 * b, -128, 127)
        assert affine.proved(formula, a, b, outputs, 0, (-128, 127)) is holds
    low = affine.Affine((0, 0), -(1 << 31), 20)
    outputs = np.full((256, 256), -128)
    assert affine.proved(low, a, b, outputs, 0, (-128, 127))
    assert not affine.proved(replace(low, offset=low.offset - 1), a, b, outputs, 0, (-128, 127))
    for shift in (0, 7, 31, 40):
        assert not affine.proved(replace(low, shift=shift), a, b, outputs, 0, (-128, 127))


def test_a_wrong_guess_is_never_used(monkeypatch):
    """An offset beyond its interval gives another output to some pair."""
    formula, a, b, outputs = formula_of(GENERIC, (0, 0, 0), (-128, 127), 1, "ties_away")
    offsets = [formula.offset + d for d in range(-(1 << 16), 1 << 16, 1 << 10)]
    good = [o for o in offsets if affine.proved(replace(formula, offset=o), a, b, outputs, 0, (-128, 127))]
    assert 0 < len(good) < len(offsets)
    for bad in (set(offsets) - set(good)).pop(), 0, -(1 << 30):
        monkeypatch.setattr(affine, "_guess", lambda *_, bad=bad: replace(formula, offset=bad))
        assert formula_of(GENERIC, (0, 0, 0), (-128, 127), 1, "ties_away")[0] is None
