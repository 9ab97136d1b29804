"""Observers against numpy on all the data at once, and the calibration methods against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsim.model.qtype import INT4, INT8, INT16
from fxsim.quant.observers import BINS, METHODS, MOMENTUM, Observer

CASES = {
    "normal": lambda r: r.normal(size=(4, 3000)),
    "relu": lambda r: np.maximum(r.normal(size=(4, 3000)), 0),
    "tail": lambda r: r.standard_t(2, size=(4, 3000)),
    "growing": lambda r: r.normal(size=(4, 3000)) * np.array([[1e-3], [1.0], [1e3], [10.0]]),
    "negative": lambda r: -np.abs(r.normal(size=(4, 3000))) - 1,
}


def batches(name):
    return CASES[name](np.random.default_rng(7)).astype(np.float32)


def seen(parts):
    observer = Observer()
    for part in parts:
        observer.update(part)
    return observer


@pytest.mark.parametrize("name", CASES)
def test_extremes_and_histogram_are_those_of_all_data(name):
    parts = batches(name)
    observer, whole = seen(parts), parts.reshape(-1).astype(np.float64)
    assert (observer.low, observer.high) == (whole.min(), whole.max())
    assert observer.elements == whole.size == observer.histogram.sum()
    assert observer.batches == 4
    assert observer.reach >= np.abs(whole).max()
    wanted = np.bincount(
        np.clip(np.floor(whole * (BINS / 2 / observer.reach)) + BINS // 2, 0, BINS - 1).astype(int), minlength=BINS
    )
    assert np.abs(observer.histogram - wanted).sum() <= 4  # the merged bins' border is rounded once more


def test_the_moving_average_is_as_defined():
    parts = batches("growing")
    low, high = float(parts[0].min()), float(parts[0].max())
    for p in parts[1:]:
        low, high = low + MOMENTUM * (p.min() - low), high + MOMENTUM * (p.max() - high)
    assert METHODS["moving_average"](seen(parts), INT8, 99.9) == pytest.approx((low, high))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("percent", [90.0, 99.9, 100.0])
def test_percentiles_are_numpys_within_a_bin(name, percent):
    observer, whole = seen(batches(name)), batches(name).reshape(-1)
    width = 2 * observer.reach / BINS
    shares = (1 - percent / 100) / 2, (1 + percent / 100) / 2
    for got, share in zip(METHODS["percentile"](observer, INT8, percent), shares, strict=True):
        assert np.mean(whole < got - width) <= share + 1 / whole.size
        assert np.mean(whole <= got + width) >= share - 1 / whole.size


def test_resuming_from_the_state_changes_nothing():
    parts = batches("tail")
    straight, first = seen(parts), seen(parts[:2])
    resumed = Observer.restored(*first.state())
    for p in parts[2:]:
        resumed.update(p)
    assert all(np.array_equal(a, b) for a, b in zip(resumed.state(), straight.state(), strict=True))


def error_of(whole, low, high, qtype):
    """The mean squared error of rounding ``whole`` to the grid of that range."""
    step = (high - low) / (qtype.max - qtype.min)
    y = np.clip(np.round((np.clip(whole, low, high) - low) / step), 0, qtype.max - qtype.min) * step + low
    return np.mean((whole - y) ** 2)


@pytest.mark.parametrize("name", ["normal", "relu", "tail"])
@pytest.mark.parametrize("qtype", [INT4, INT8], ids=lambda t: t.name)
def test_mse_is_near_the_best_clipping(name, qtype):
    observer, whole = seen(batches(name)), batches(name).reshape(-1).astype(np.float64)
    low, high = METHODS["mse"](observer, qtype, 100.0)
    most = np.abs(whole).max()
    best = min(
        error_of(whole, max(whole.min(), -t), min(whole.max(), t), qtype) for t in np.linspace(most / 60, most, 60)
    )
    assert error_of(whole, min(low, 0), max(high, 0), qtype) <= 1.1 * best + 1e-12
    assert error_of(whole, min(low, 0), max(high, 0), qtype) <= error_of(whole, whole.min(), whole.max(), qtype) * 1.05


def test_entropy_clips_a_tail_and_keeps_what_is_flat():
    r = np.random.default_rng(0)
    flat = seen([r.uniform(-1, 1, 50000).astype(np.float32)])
    tailed = np.concatenate([r.normal(size=50000), [40.0, -35.0]]).astype(np.float32)
    low, high = METHODS["entropy"](flat, INT8, 100.0)
    assert high - low > 1.9
    low, high = METHODS["entropy"](seen([tailed]), INT8, 100.0)
    assert 3 < high < 20
    assert METHODS["entropy"](seen([tailed]), INT16, 100.0) == (-35.0, 40.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_constants_have_a_range(method, value):
    observer = seen([np.full(100, value, np.float32)] * 3)
    low, high = METHODS[method](observer, INT8, 99.99)
    assert low <= value <= high or low <= high
    assert np.isfinite([low, high]).all()


@given(st.lists(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20), min_size=1, max_size=5))
@settings(max_examples=50)
def test_no_value_is_lost(parts):
    observer = seen([np.array(p, np.float32) for p in parts])
    assert observer.histogram.sum() == sum(map(len, parts))
    for method in METHODS.values():
        low, high = method(observer, INT8, 99.9)
        assert observer.low - 1e-6 * abs(observer.low) <= low or method is METHODS["moving_average"]
        assert np.isfinite([low, high]).all()
