"""Random devices, one or two quirks off a shipped profile, are identified: see :mod:`benchmarks.explain_devices`."""

import os

import numpy as np
import pytest

from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES
from fxsim.diagnose.cases import layer_of, shipped
from fxsim.diagnose.explain import search
from fxsim.diagnose.explain_fits import Sums
from fxsim.diagnose.explain_sums import Search
from fxsim.diagnose.explain_ways import Ways
from fxsim.diagnose.windows import sampled
from fxsim.kernels.requantize import requantize
from fxsim.sim.base import Scales
from fxsim.sim.rescale import SAFE, SCHEMES, part, parts, rounded
from tests.diagnose.devices import identified, random_device

LONG = os.environ.get("FXSIM_LONG") == "1"
QUICK = (4, 7, 9, 20, 34, 37, 49, 170, 287)
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
    for n, (row, channel) in enumerate(np.argwhere(acc % 37 == 0)):
        one = part(scheme, int(acc[row, channel]), scales, channel)
        assert one == tuple(p[row, channel] for p in seen)
        assert rounded(one, rule, 7, before=n % 2 == 0) == rounded(seen, rule, 7, before=n % 2 == 0)[row, channel]
    great = Scales(np.array([(1 << 31) - 1]), np.array([0]), scales.real[2:])
    assert part(scheme, (1 << 31) - 1, great, 0) is None and (1 << 31) - 2 > SAFE  # a kernel alone knows


@pytest.mark.parametrize("seed", [*QUICK, 61, 73, 88])
def test_no_arithmetic_is_refuted_that_makes_the_outputs(seed):
    """One element at a time, as the search does it, against all outputs at once."""
    d = random_device(seed)
    settings = search(d.case, d.users).fitting
    if layer_of(d.case.bound(d.users)) is None:
        pytest.skip("no sum of products")
    ways = Ways(d.case, d.users)
    usual = Search(d.case, d.users, shipped(d.case.graph, d.case.node))
    tried = 0
    for m in settings[:40]:
        layer, way = ways.layer_for(m.settings), ways.of(m.settings)
        assert layer is not None and way is not None
        acc = sampled(d.case, layer, usual.at)
        size = layer.geometry.outputs
        made = way.outputs(acc, usual.fits.flat, parts(way.scheme, acc, way.scales), layer, size)
        assert np.array_equal(made, usual.out)
        for row, channel in list(np.ndindex(made.shape))[:: max(1, made.size // 50)]:
            one = way.one(int(acc[row, channel]), channel, int(usual.fits.flat[row]), layer)
            assert one is None or one == made[row, channel]
            tried += one is not None
        sums = Sums(m.settings, layer, acc, True, 0, set(), ())
        assert usual.fits.holds(way, sums) and not usual.fits.refuted(m.settings, sums)
    assert tried
