"""Random devices, one or two quirks off a shipped profile: the true arithmetic is in the class that is found."""

import os

import numpy as np
import pytest

from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES
from fxsim.diagnose.explain import Finding, search
from fxsim.kernels.requantize import requantize
from fxsim.sim.base import Scales
from fxsim.sim.rescale import SCHEMES, parts, rounded
from tests.diagnose.devices import Device, random_device

LONG = os.environ.get("FXSIM_LONG") == "1"
QUICK = (1, 5, 7, 11, 45, 49)
"""a device of each kind; 500 of them with FXSIM_LONG=1"""
SEEDS = [
    pytest.param(n, marks=pytest.mark.skipif(not LONG and n not in QUICK, reason="slow: FXSIM_LONG=1 runs it"))
    for n in (range(500) if LONG else (*QUICK, 0))
]


def found(d: Device, case) -> Finding:
    return Finding(0, d.case.node.op, "", "explained", case.elements, 1, d.users, case, search(case, d.users))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_true_arithmetic_is_in_the_class(seed):
    d = random_device(seed)
    first = found(d, d.case)
    assert first.members, d.chosen
    assert first.holds(d.true), d.chosen
    for member in first.members[:20]:
        assert d.case.differing(d.case.run(member.settings)) == 0
    given = first.separation.inputs() if len(first.kinds) > 1 else []
    if given:
        second = found(d, d.case.more(given, d.case.run(d.true, given)))
        assert second.holds(d.true), d.chosen
        assert len(second.kinds) < len(first.kinds)


@pytest.mark.parametrize("scheme", [*SCHEMES, "float64", "float32"])
@pytest.mark.parametrize("rule", ["ties_away", "ties_even", "to_neg", "ties_dpu", "jam"])
def test_rescaling_arrays_is_the_kernel(scheme, rule):
    rng = np.random.default_rng(0)
    acc = np.concatenate(
        [rng.integers(-(1 << 20), 1 << 20, (400, 3)), np.arange(-600, 600)[:, np.newaxis].repeat(3, 1)]
    )
    scales = Scales(np.array([1 << 30, 1518500250, 1 << 30]), np.array([-4, -9, 1]), np.array([2.0**-5, 0.00138, 1.0]))
    if scheme == "float32":
        scales = Scales(scales.q, scales.shift, scales.real.astype(np.float32))
    seen = parts(scheme, acc, scales)
    assert seen is not None
    assert np.count_nonzero(seen[2]) > 20
    kernel, out = requantize(scheme, rule, True), np.empty(acc.shape, np.int32)
    kernel(acc, scales.q, scales.shift, scales.real, 7, -(1 << 31), (1 << 31) - 1, out)
    assert np.array_equal(rounded(seen, rule, 7), out)
    assert scheme in NARROW or scheme.startswith("float")
    before = rounded(seen, "ties_even", 7, before=True)
    assert np.any(before != rounded(seen, "ties_even", 7))  # an odd zero point turns every tie
    assert rule in RULES
