"""The float32 exponential, against the C library that it repeats."""

import ctypes
import math
import sys

import numpy as np
import pytest

from fxsim.arith.exp import exp32
from fxsim.arith.multiplier import float32

SEED = 20264


def inputs():
    """float32 values from -100 to 80, small ones among them, and both ends of what an exponential can be."""
    rng = np.random.default_rng(SEED)
    small = -(10.0 ** rng.uniform(-9, 2, 20_000))
    ends = np.array([0.0, -0.0, -87.4, -88.0, -103.2, -103.9, -104.0, -104.5, -1e9, -math.log(2) * 3])
    return np.concatenate([rng.uniform(-100, 80, 20_000), small, ends]).astype(np.float32)


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_equals_glibc():
    libm = ctypes.CDLL("libm.so.6")
    libm.expf.restype, libm.expf.argtypes = ctypes.c_float, [ctypes.c_float]
    wrong = [float(x) for x in inputs() if exp32(float(x)) != libm.expf(float(x))]
    assert wrong == []


def test_is_within_an_ulp_but_not_the_nearest_everywhere():
    apart = 0
    for x in inputs():
        nearest, got = np.float32(math.exp(x)), np.float32(exp32(float(x)))
        assert abs(got - nearest) <= np.spacing(max(got, nearest))
        apart += got != nearest
    assert 0 < apart < 100


def test_limits():
    assert exp32(0.0) == 1.0
    assert exp32(-104.5) == 0.0
    assert exp32(-103.9) == float32(math.exp(-103.9)) > 0
