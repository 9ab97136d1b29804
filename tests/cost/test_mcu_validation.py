"""Microcontrollers against MLPerf Tiny: as shipped, and with what is estimated left out of the fit."""

import os
import sys
from pathlib import Path

import pytest

import fxsim
from fxsim.cost import mcu_targets
from fxsim.cost.evidence import quantile, shipped
from fxsim.cost.mcu_library import load_library
from fxsim.targets import load_target

CORPUS = os.environ.get("FXSIM_CORPUS")
pytestmark = [pytest.mark.corpus, pytest.mark.skipif(not CORPUS, reason="FXSIM_CORPUS is not set")]
if CORPUS:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from benchmarks import cost_validation_mcu as validation
    from benchmarks.mcu_rows import graph, rows

L4R5_MS = {"AD": 7.579, "IC": 224.4, "KWS": 73.71, "VWW": 200.8}
"""median latency of 10 int8 stacks: MLPerf Tiny v0.7, v1.0, v1.1, v1.2, closed division, STM32L4R5 at 120 MHz"""
L4R5_UJ = {"AD": 382.9, "IC": 12491, "KWS": 4045, "VWW": 11180}
"""median energy of the 8 of them that measured it"""
MOST = {"shipped": (0.15, 0.45, 0.08, 0.30), "submission": (0.15, 0.45, 0.08, 0.30), "device": (0.15, 0.45, 0.10, 0.30)}
"""most that half and nine of ten rows may be off: absolute, and from the same submission's IC"""


def within(errors, median, p90):
    sizes = [abs(e) for e in errors]
    return quantile(sizes, 0.5) <= median and quantile(sizes, 0.9) <= p90


@pytest.fixture(scope="module")
def kept():
    return {
        "shipped": validation.as_shipped(),
        "submission": validation.left_out(lambda r: r.stack),
        "device": validation.left_out(lambda r: r.device),
    }


def test_rows_are_what_the_report_speaks_of():
    assert len(rows()) == 110
    assert len({r.stack for r in rows()}) == 28
    assert {r.network for r in rows()} == {"AD", "IC", "KWS", "VWW"}


@pytest.mark.parametrize("case", MOST)
def test_latency_is_near_the_measurements(case, kept):
    median, p90, relative_median, relative_p90 = MOST[case]
    assert within(kept[case].absolute, median, p90)
    assert within(kept[case].relative(), relative_median, relative_p90)


def test_estimates_beat_macs_and_typical_ratios(kept):
    own, macs, ratios = (
        [abs(e) for e in found]
        for found in (kept["submission"].relative(), validation.by_macs(), validation.by_ratio(lambda r: r.seconds))
    )
    for share in (0.5, 0.9):
        assert quantile(own, share) < quantile(ratios, share) < quantile(macs, share) or share == 0.9
    assert quantile(own, 0.9) < min(quantile(macs, 0.9), quantile(ratios, 0.9)) / 2


def test_energy_from_ic_beats_typical_ratios(kept):
    assert within(validation.energy(kept["submission"])[1], 0.13, 0.39)


def test_left_out_rows_are_estimated_without_themselves():
    everything, others = validation.fitted(rows()), validation.fitted(r for r in rows() if r.library != "onnc")
    assert "onnc" in everything and "onnc" not in others
    assert everything["microtvm"] == others["microtvm"]  # libraries do not see each other


def test_shipped_factors_are_those_of_the_fit():
    for name, factors in validation.fitted(rows()).items():
        scale = load_library(mcu_targets.libraries()[name]).scale
        for kind, value in factors.items():
            assert getattr(scale, kind).value == pytest.approx(value, rel=0.01), (name, kind)


def test_shipped_error_bands_are_those_of_the_validation():
    bands, known = validation.bands(), shipped("mcu")
    assert set(bands) == set(known)
    for target, metrics in bands.items():
        for metric, band in metrics.items():
            found = known[target][metric]
            assert (found.rows, found.source) == (band.rows, band.source)
            assert (found.median, found.p90) == pytest.approx((band.median, band.p90), abs=0.003)


@pytest.mark.parametrize("network", L4R5_MS)
def test_a_usual_library_on_cortex_m4_is_near_the_median_of_published_results(network):
    total = fxsim.estimate(graph(network), "cortex-m4+x-cube-ai-7").totals()
    assert total["time_us"] / 1e3 == pytest.approx(L4R5_MS[network], rel=0.08)
    assert total["energy_pj"] / 1e6 == pytest.approx(L4R5_UJ[network], rel=0.3)
    assert total["fits"]


def test_dead_channels_explain_why_new_libraries_are_fast_on_vww():
    """Fitted by shapes alone, these libraries' KWS and VWW cannot both be met."""
    seeing, blind = (quantile([abs(e) for e in validation.of_dropping(live)], 0.5) for live in (True, False))
    assert seeing < 0.08 and blind > 0.12
    old, new = (load_target(f"cortex-m4+x-cube-ai-{v}") for v in (7, 9))
    macs = [fxsim.estimate(graph("VWW"), t).totals()["macs"] for t in (old, new)]
    assert macs == [7_489_664, 3_733_531]
    for network in ("AD", "IC", "KWS"):
        assert len({fxsim.estimate(graph(network), t).totals()["macs"] for t in (old, new)}) == 1
