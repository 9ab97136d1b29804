"""Rounding to every format, against ml_dtypes: every short float, every tie between two, the ends, and random numbers."""

import ml_dtypes
import numpy as np
import pytest

from fxsim.importers.floats import decode
from fxsim.model.qtype import BFLOAT16, FLOAT8_E4M3FN, FLOAT8_E5M2, FLOAT16
from fxsim.sim.real.formats import FORMATS, round_to

TWINS = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def every(format):
    """Every value of the format, in float64."""
    twin = np.dtype(TWINS[format])
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.arange(1 << 8 * twin.itemsize, dtype=f"u{twin.itemsize}").view(twin).astype(np.float64)


def numbers(format, rng):
    """Values, the ties between neighbours, numbers just beside these, ends, and noise over all exponents."""
    values = np.unique(every(format)[np.isfinite(every(format))])
    ties = (values[1:] + values[:-1]) / 2
    beyond = values[-1] + (values[-1] - values[-2]) * np.array([0.49, 0.5, 0.51, 1, 1.5, 100])
    exact = np.concatenate([values, ties, beyond, -beyond, [np.inf, -np.inf, np.nan, 0.0, -0.0]])
    full = np.array([-1], np.int64).view(np.float64)  # a NaN of all ones
    noise = rng.normal(size=20000) * 2.0 ** rng.integers(-150, 120, 20000)
    return np.concatenate([exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf), noise, full])


@pytest.mark.parametrize("format", TWINS)
@pytest.mark.parametrize("carrier", [np.float32, np.float64])
def test_rounding_is_that_of_ml_dtypes(format, carrier, rng):
    with np.errstate(all="ignore"):
        x = numbers(format, rng).astype(carrier)
        wanted = x.astype(TWINS[format]).astype(carrier)
        if carrier is np.float64 and format != "float16":  # ml_dtypes goes by way of float32 there and rounds twice
            x = x.astype(np.float32).astype(np.float64)
            wanted = x.astype(np.float32).astype(TWINS[format]).astype(carrier)
        np.testing.assert_array_equal(round_to(x, format), wanted)
    np.testing.assert_array_equal(np.signbit(round_to(x, format))[wanted == 0], np.signbit(wanted)[wanted == 0])


@pytest.mark.parametrize("format", TWINS)
def test_saturation_keeps_every_number_finite(format, rng):
    with np.errstate(all="ignore"):
        x = numbers(format, rng).astype(np.float32)
        free, held = round_to(x, format), round_to(x, format, saturate=True)
    inside = np.isfinite(free)
    np.testing.assert_array_equal(held[inside], free[inside])
    lost = ~inside & ~np.isnan(x)
    assert lost.sum() > 10
    np.testing.assert_array_equal(held[lost], np.copysign(np.float32(FORMATS[format].greatest), x[lost]))
    assert np.isnan(held[np.isnan(x)]).all()


@pytest.mark.parametrize("format", TWINS)
def test_rounding_from_float64_rounds_once(format):
    """Just above a tie by less than float32 can say: by way of float32 it would go to the even neighbour."""
    values = np.unique(every(format)[np.isfinite(every(format))])
    values = values[(values > 0) & (values > FORMATS[format].greatest / 64)]
    ties = (values[1:] + values[:-1]) / 2
    np.testing.assert_array_equal(round_to(ties * (1 + 2.0**-50), format), values[1:])
    np.testing.assert_array_equal(round_to(ties * (1 - 2.0**-50), format), values[:-1])


@pytest.mark.parametrize("qtype", [FLOAT16, BFLOAT16, FLOAT8_E4M3FN, FLOAT8_E5M2], ids=lambda q: q.name)
def test_files_hold_the_same_values(qtype):
    twin = np.dtype(TWINS[qtype.name])
    raw = np.arange(1 << qtype.bits, dtype=f"<u{twin.itemsize}")
    got = decode(raw.view(np.uint8), qtype)
    assert got.dtype == qtype.dtype
    with np.errstate(invalid="ignore"):  # signalling NaNs
        np.testing.assert_array_equal(got.astype(np.float64), every(qtype.name))
