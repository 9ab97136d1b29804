"""What the tests of real arithmetic share."""

import numpy as np
import pytest

from fxsim.importers import onnx, parse


def error(got, wanted):
    """The greatest difference, relative to the greatest number wanted."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def read_onnx(data):
    """The network in the bytes of an ``.onnx`` file."""
    return parse(data, "made.onnx", onnx.parse)


@pytest.fixture
def rng():
    """Numbers that are the same in every run."""
    return np.random.default_rng(20261)
