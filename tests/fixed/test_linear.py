"""Matmul and convolution with every accumulator, against slow readable twins; what the registers held; refusals."""

import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim.fixed as fx
from fxsim import Accumulator
from fxsim.errors import DomainError
from fxsim.fixed.linear import matmul_registers
from tests import naive

FITS = {"wrap": naive.wrap, "saturate": naive.saturate}


def dot(x, w, a):
    """One sum, as the accumulator's definition reads."""
    fit = FITS[a.overflow]
    p = [int(u) * int(v) for u, v in zip(x, w, strict=True)]
    if a.product_shift:
        p = [naive.round_fraction(Fraction(v, 1 << a.product_shift), a.product_rounding) for v in p]
    if a.product_bits:
        p = [naive.saturate(v, a.product_bits) for v in p]
    bits = a.bits if a.at == "step" else 63
    step = lambda v: fit(v, bits)  # noqa: E731
    total = 0
    if a.order == "tree":
        while len(p) > 1:
            p = [step(sum(p[i : i + a.lanes])) for i in range(0, len(p), a.lanes)]
        total = step(p[0])
    elif a.order == "lanes":
        for lane in range(a.lanes):
            s = 0
            for v in p[lane :: a.lanes]:
                s = step(s + v)
            total = step(total + s)
    elif a.order == "pairs16":
        for i in range(0, len(p), 2):
            total = step(total + naive.saturate(sum(p[i : i + 2]), 16))
    elif a.order == "spill16":
        every = a.lanes or len(p) + 1
        for start in range(0, len(p), every):
            chunk = p[start : start + every]
            s = 0
            for i in range(0, len(chunk), 2):
                s = naive.saturate(s + naive.saturate(sum(chunk[i : i + 2]), 16), 16)
            total = step(total + s)
    elif a.order in ("float32", "float16"):
        kind = {"float32": np.float32, "float16": np.float16}[a.order]
        every = a.lanes or len(p)
        for start in range(0, len(p), every):
            s = kind(0)
            for v in p[start : start + every]:
                with np.errstate(over="ignore"):
                    s = kind(np.float64(s) + v)
            if np.isinf(s):
                total = step(total + (naive.saturate(1 << 70, bits) if s > 0 else naive.saturate(-(1 << 70), bits)))
            else:
                total = step(total + naive.round_fraction(Fraction(float(s)), "ties_even"))
    else:
        for v in p:
            total = step(total + v)
    return fit(step(total), a.bits)


@st.composite
def accumulators(draw):
    order = draw(st.sampled_from(["sequential", "tree", "lanes", "pairs16", "spill16", "float32", "float16"]))
    lanes = {"tree": st.integers(2, 5), "lanes": st.integers(1, 5), "spill16": st.sampled_from([0, 2, 4, 8])}
    lanes |= {"float32": st.integers(0, 5), "float16": st.integers(0, 5)}
    bits = draw(st.sampled_from([4, 9, 16, 20, 32, 40]))
    shift = draw(st.sampled_from([0, 0, 3, 7]))
    return Accumulator(
        bits=bits,
        overflow=draw(st.sampled_from(["wrap", "saturate"])),
        order=order,
        lanes=draw(lanes.get(order, st.just(0))),
        at=draw(st.sampled_from(["step", "step", "end"])),
        product_shift=shift,
        product_bits=draw(st.sampled_from([0, 0, 6, 12])),
        product_rounding=draw(st.sampled_from(["to_neg", "ties_even", "ties_away", "jam"])),
    )


@settings(max_examples=1000 if os.environ.get("FXSIM_LONG") == "1" else 300)  # most of the time goes into compilation
@given(a=accumulators(), seed=st.integers(0, 1 << 32), k=st.integers(1, 19))
def test_matmul_equals_the_definition(a, seed, k):
    rng = np.random.default_rng(seed)
    ends = np.array([-128, -127, -1, 0, 1, 127], np.int8)
    x, w = rng.choice(ends, (2, k)), rng.choice(ends, (k, 3))
    x = np.where(rng.random(x.shape) < 0.5, x, rng.integers(-128, 128, x.shape)).astype(np.int8)
    expected = [[dot(x[i], w[:, j], a) for j in range(3)] for i in range(2)]
    assert fx.matmul(x, w, a).tolist() == expected
    watched, held = matmul_registers(x, w, a)
    assert watched.tolist() == expected
    assert (held.first is None) == (held.overflows.sum() == 0)


def test_the_call_that_stays():
    a, b = np.full((1, 40), 127, np.int8), np.full((40, 1), 127, np.int8)
    for overflow, expected in (("saturate", 524287), ("wrap", -403416)):
        acc = Accumulator(bits=20, overflow=overflow, order="sequential")
        assert fx.matmul(a, b, accumulator=acc).item() == expected


def test_order_matters_and_where_it_first_overflowed():
    x, w = np.array([[100, 100, -100, 1]], np.int8), np.ones((4, 1), np.int8)
    by_order = {
        "sequential": Accumulator(8, "saturate"),
        "lanes": Accumulator(8, "saturate", "lanes", lanes=2),
        "tree": Accumulator(8, "saturate", "tree", lanes=2),
        "end": Accumulator(8, "saturate", at="end"),
    }
    results = {k: fx.matmul(x, w, a).item() for k, a in by_order.items()}
    assert results == {"sequential": 28, "lanes": 101, "tree": 28, "end": 101}
    _, held = matmul_registers(np.vstack([x[:, ::-1], x]).astype(np.int8), w, by_order["sequential"])
    assert (held.first, held.overflows.tolist(), held.bits.tolist()) == ((1, 0), [1], [8])


def test_vpmaddubsw_saturates_pairs():
    """255 * 127 + 255 * 127 = 64,770 does not fit 16 bits: the pair gives 32,767."""
    x, w = np.array([[255, 255, 1, 0]], np.uint8), np.array([[127], [127], [1], [1]], np.int8)
    assert fx.matmul(x, w, Accumulator(order="pairs16")).item() == 32768
    assert fx.matmul(x, w).item() == 64771


def test_conv_equals_matmul_and_naive():
    rng = np.random.default_rng(3)
    x, w = rng.integers(-128, 128, (2, 5, 6, 4)).astype(np.int8), rng.integers(-128, 128, (3, 2, 2, 6)).astype(np.int8)
    bias = rng.integers(-1000, 1000, 6)
    for bits, overflow in ((12, "saturate"), (18, "wrap"), (32, "wrap")):
        got = fx.conv(x, w, bias, (2, 1), (1, 2), (1, 0, 2, 1), 2, Accumulator(bits, overflow))
        for n in range(2):
            want, _ = naive.conv(x[n : n + 1], w, bias, 0, (2, 1), (1, 2), (1, 0, 2, 1), 2, bits, overflow)
            assert np.array_equal(got[n : n + 1], want)
    assert fx.dot([1, 2, 3], [4, 5, 6]) == 32


def test_wide_operands():
    big = np.array([[1 << 30, -(1 << 30)]], np.int64)
    assert fx.matmul(big, np.array([[1 << 30], [7]]), Accumulator(63)).item() == (1 << 60) - 7 * (1 << 30)
    assert fx.matmul(big, np.array([[1 << 30], [7]]), Accumulator(40, "saturate")).item() == (1 << 39) - 1 - 7 * (
        1 << 30
    )
    with pytest.raises(DomainError, match="below 2\\*\\*62"):
        fx.matmul(np.array([[1 << 40]]), np.array([[1 << 40]]))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), np.int8), "a is float64; allowed: signed or unsigned integers"),
        (np.zeros((2, 3), np.int8), np.zeros((2, 2), np.int8), r"a has shape \[2, 3\] and b \[2, 2\]"),
        (np.zeros(3, np.int8), np.zeros((3, 2), np.int8), "2 axes"),
        (np.zeros((2, 3), np.uint64), np.zeros((3, 2), np.int8), "uint64"),
    ],
)
def test_refusals(a, b, message):
    with pytest.raises(DomainError, match=message):
        fx.matmul(a, b)


@pytest.mark.parametrize(
    "bad", [{"bits": 0}, {"bits": 65}, {"order": "tree", "lanes": 1}, {"lanes": -1}, {"overflow": "clip"}]
)
def test_impossible_accumulators(bad):
    with pytest.raises(fxsim_error(), match="allowed"):
        Accumulator(**bad)


def fxsim_error():
    from fxsim import ProfileError

    return ProfileError


def test_registers_of_a_convolution_are_those_of_its_products_as_a_matrix():
    """Overflows, the first place, and the greatest values: a 1x1 convolution is a matrix product, pixel by pixel."""
    rng = np.random.default_rng(3)
    x, w = rng.integers(-128, 128, (2, 3, 4, 24)).astype(np.int8), rng.integers(-128, 128, (24, 5)).astype(np.int8)
    w[:, 3] = 0
    a = Accumulator(bits=15, overflow="saturate")
    flat, held = fx.matmul_registers(x.reshape(24, 24), w, a)
    got, seen = fx.conv_registers(x, w[None, None], accumulator=a)
    assert np.array_equal(got.reshape(24, 5), flat)
    assert np.array_equal(got, fx.conv(x, w[None, None], accumulator=a))
    for name in ("low", "high", "overflows", "bits"):
        assert np.array_equal(getattr(seen, name), getattr(held, name)), name
    assert seen.overflows[3] == 0 < seen.overflows[0]
    assert seen.bits.tolist() == [15, 15, 15, 1, 15]
    assert seen.first is not None and held.first is not None
    assert np.ravel_multi_index(seen.first, got.shape) == np.ravel_multi_index(held.first, flat.shape)
    assert fx.conv_registers(x, w[None, None, :, 3:4], accumulator=a)[1].first is None


@pytest.mark.parametrize("bits", [62, 63, 64])
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_registers_as_wide_as_a_word(bits, overflow):
    """Sums near 2**62 in each order; where no step overflows, all exact orders give the exact sum."""
    a, b = np.array([[1 << 29, -(1 << 29), 3], [1 << 29, 1 << 29, -1]]), np.array([[1 << 30, 5], [1 << 30, -7], [1, 1]])
    exact = [[sum(int(p) * int(q) for p, q in zip(r, c, strict=True)) for c in b.T] for r in a]
    for order, lanes in (("sequential", 0), ("tree", 2), ("tree", 3), ("lanes", 2)):
        for at in ("step", "end"):
            register = Accumulator(bits=bits, overflow=overflow, order=order, lanes=lanes, at=at)
            watched, held = fx.matmul_registers(a, b, register)
            assert watched.tolist() == fx.matmul(a, b, register).tolist() == exact
            assert not held.overflows.any() and held.first is None
