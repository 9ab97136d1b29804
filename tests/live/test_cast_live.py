"""CAST: every pair of element types, every value at an edge, as the live engines have it."""

import numpy as np
import pytest

from fxsim.importers import parse
from fxsim.sim import simulate
from tests import engines
from tests.build import Builder
from tests.live.cases import Array, Model

pytestmark = pytest.mark.live

EDGES = (
    0.4,
    0.99,
    1.5,
    127.5,
    128,
    255.5,
    256,
    32768,
    40000,
    65535.5,
    2.0**31,
    3e9,
    2.0**32,
    5e9,
    2.0**63,
    1e19,
    1e30,
    1e-40,
)
"""floats on both sides of what integers hold"""


def numbers(dtype: str) -> Array:
    """Both ends of a type, of all narrower types, and of what float32 holds exactly, with their neighbours."""
    if dtype == "bool":
        return np.array([False, True, True])
    if dtype == "float32":
        return np.array([s * v for v in EDGES for s in (1, -1)] + [0.0, -0.0], np.float32)
    info = np.iinfo(dtype)
    near = [
        s * (1 << b) + d for b in (0, 7, 8, 15, 16, 24, 25, 31, 32, 53, 60, 63) for s in (1, -1) for d in (-1, 0, 1, 3)
    ]
    return np.array([v for v in near if info.min <= v <= info.max] + [info.min, info.max], dtype)


EVERY = ("int8", "uint8", "int16", "uint16", "int32", "int64", "uint32", "float32", "bool")
MICRO = ("int8", "int16", "int32", "uint32", "float32", "bool")


@pytest.mark.parametrize("target", EVERY)
@pytest.mark.parametrize("source", EVERY)
def test_cast(engine, tallies, source, target):
    """Every pair of types, every value at an edge."""
    if engine == "tflm" and not {source, target} <= set(MICRO):
        pytest.skip(f"{engine} does not cast {source} to {target}")
    b, x = Builder(), numbers(source)
    i, o = b.tensor("x", x.shape, source), b.tensor("y", x.shape, target)
    tally = tallies(f"CAST {source} to {target}", engine)
    tally.compare(Model(b.op("CAST", [i], [o], in_data_type=0, out_data_type=0).finish([i], [o]), [x], [o]))
    assert tally.elements == x.size


def test_cast_of_what_is_no_number(engine):
    """Infinite values and NaN, which a layer before the cast makes."""
    b, x = Builder(), np.array([127, -128, 0, 5], np.int8)
    i = b.tensor("x", x.shape, "int8", 3e38, 0)
    real, large, whole = (
        b.tensor("real", x.shape, "float32"),
        b.tensor("large", (2, 4), "float32"),
        b.tensor("y", (2, 4), "int32"),
    )
    b.op("DEQUANTIZE", [i], [real])
    nan = b.constant("nan", [np.nan] * 4, "float32")
    b.op("PACK", [real, nan], [large], values_count=2, axis=0)
    b.op("CAST", [large], [whole], in_data_type=0, out_data_type=0)
    content = b.finish([i], [whole])
    ask = getattr(engines, engine.replace("-", "_"))
    wanted = ask(content, [x])
    got = simulate(parse(content, "nan"), x, engine).tensor(whole)
    assert np.array_equal(got, wanted[whole] if isinstance(wanted, dict) else wanted[0])
    assert set(got[0]) == {2**31 - 1, -(2**31), 0}
    assert set(got[1]) == ({2**31 - 1} if engine != "tflm" else {0})
