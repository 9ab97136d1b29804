"""Logistic and tanh in 16-bit registers: near the functions, and in every bit what the engine has."""

import hashlib
import math

import numpy as np
import pytest

from fxsim.arith.gemmlowp16 import logistic, tanh

EVERY = range(-(1 << 15), 1 << 15)
# sha256 of the 65,536 outputs in int16, by the optimized kernels of ai-edge-litert 2.3.0 on x86-64
RECORDED = {
    "logistic": "44168980e98373fcf68adda21fdb4d006b79a4ca14df0269ff958e49f9fa6062",
    "tanh": "6d2c95677d4eb6e25f2c8bec6e3135082a0f64cdde758d75414b7c1de542115f",
    "tanh_doubled": "22e8b026529f39771f93c8fb7ecff865c9e75fca5923a2a8e63c21380d6be4e0",
}
FUNCTIONS = {"logistic": logistic, "tanh": lambda a: tanh(a, 0), "tanh_doubled": lambda a: tanh(a, 1)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_output_of_the_engine(name):
    outputs = np.array([FUNCTIONS[name](a) for a in EVERY], np.int16)
    assert hashlib.sha256(outputs.tobytes()).hexdigest() == RECORDED[name]


@pytest.mark.parametrize(
    ("name", "real", "most"),
    [
        ("logistic", lambda a: 1 / (1 + math.exp(-a / 4096)), 9),
        ("tanh", lambda a: math.tanh(a / 4096), 13),
        ("tanh_doubled", lambda a: math.tanh(a / 2048), 13),
    ],
)
def test_near_the_function(name, real, most):
    """Within ``most`` of 2**15 parts."""
    errors = [abs(FUNCTIONS[name](a) - real(a) * 32768) for a in EVERY]
    assert 1 < max(errors) <= most


def test_tanh_is_odd_and_logistic_adds_up_to_one():
    assert all(tanh(-a, 0) == -tanh(a, 0) for a in range(1 << 15))
    assert all(logistic(-a) + logistic(a) == (1 << 15) - 1 for a in range(1, 1 << 15))
