"""The transform in fixed point and float32, against the definition in float64 and against itself."""

import numpy as np
import pytest

from fxsim.kernels.fft import Numbers, RealTransform, radices

LENGTHS = [4, 6, 8, 10, 12, 16, 20, 24, 30, 36, 50, 60, 64, 90, 128, 240, 256]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 20, 25, 27, 30, 60, 64, 125, 128, 256, 480])
def test_radices_multiply_to_the_length(n):
    found = radices(n)
    assert int(np.prod(found, dtype=int)) == n
    assert set(found) <= {2, 3, 4, 5}


def spectrum(x):
    found = np.fft.rfft(x.astype(np.float64))
    return np.stack([found.real, found.imag], 1)


@pytest.mark.parametrize("n", LENGTHS)
def test_float_is_near_the_definition(n):
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    made = RealTransform.of(0, n, inverse=False).forward(x)
    assert made.dtype == np.float32
    assert np.allclose(made, spectrum(x), atol=1e-5 * n)
    back = RealTransform.of(0, n, inverse=True).backward(made)
    assert np.allclose(back / n, x, atol=1e-5)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("n", LENGTHS)
def test_fixed_point_is_the_definition_divided_by_the_length(n, bits):
    """Each stage divides, rounds, and takes the greatest number for 1; a signal of half the range stays in it."""
    most = (1 << (bits - 2)) - 1
    x = np.random.default_rng(n).integers(-most, most, n)
    made = RealTransform.of(bits, n, inverse=False).forward(x)
    stages = len(radices(n // 2)) + 1
    assert np.max(np.abs(made - spectrum(x) / n)) < 3 * stages * (1 if bits == 16 else 2)


@pytest.mark.parametrize("bits", [16, 32])
def test_fixed_point_wraps(bits):
    """Extremes of both signs: every result is a number of the format."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    x = np.where(np.arange(64) % 3, low, high)
    with np.errstate(over="ignore"):
        made = RealTransform.of(bits, 64, inverse=False).forward(x)
        back = RealTransform.of(bits, 64, inverse=True).backward(np.full((33, 2), low))
    for v in (made, back):
        assert low <= v.min() <= v.max() <= high


def test_the_circle_rounds_up_at_one_half():
    re, im = Numbers(16).circle([0.0, np.pi])
    assert re.tolist() == [32767, -32767]
    assert im.tolist() == [0, 0]
