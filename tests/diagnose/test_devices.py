"""Random devices, one or two quirks off a shipped profile, are identified: see :mod:`benchmarks.explain_devices`."""

import os

import numpy as np
import pytest

from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES
from fxsim.diagnose.explain import search
from fxsim.kernels.requantize import requantize
from fxsim.sim.base import Scales
from fxsim.sim.rescale import SCHEMES, parts, rounded
from tests.diagnose.devices import identified, random_device

LONG = os.environ.get("FXSIM_LONG") == "1"
QUICK = (4, 7, 9, 20, 34, 37, 49)
"""a device of each kind of layer; 500 of them with FXSIM_LONG=1"""
SHARE = 0.98


def test_devices_are_identified():
    """The true arithmetic is in the class that the data leave; separating inputs leave nothing that is not proved equal."""
    rows = [identified(seed) for seed in (range(500) if LONG else QUICK)]
    lost = [(r.seed, r.true) for r in rows if not r.held]
    left = [(r.seed, r.true, r.left) for r in rows if not r.settled]
    assert len(lost) <= (1 - SHARE) * len(rows), lost
    assert len(left) <= (1 - SHARE) * len(rows), left
    assert any(r.kinds > 1 for r in rows)  # the data alone do not tell


def test_what_is_found_reproduces_what_was_seen():
    for seed in QUICK[:3]:
        d = random_device(seed)
        found = search(d.case, d.users).fitting
        assert found
        for member in found[:20]:
            assert d.case.differing(d.case.run(member.settings)) == 0


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
