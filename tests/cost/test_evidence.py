"""Error bands of every family: what they rest on, and when a target lies outside of it."""

import json

import pytest
from cost_builders import small_graph

from benchmarks.networks import mobilenet_v1, mobilenet_v2
from fxsim import layer
from fxsim.cost.evidence import METRICS, UNKNOWN, ErrorBand, band, shipped
from fxsim.model.live import works
from fxsim.report import terminal
from fxsim.report.cost import estimate
from fxsim.targets import list_targets, load_target


@pytest.mark.parametrize("target", list_targets())
def test_every_estimate_has_a_band_or_says_that_it_is_unvalidated(target):
    c = estimate(small_graph(), target)
    data = json.loads(c.text("json"))["error_band"]
    assert list(data) == list(METRICS)
    for metric, b in c.bands.items():
        assert data[metric]["rows"] == b.rows and data[metric]["against"] == b.against
        assert b.rows or b.sentence().startswith("unvalidated")
        assert b.source and 0 <= b.median <= b.p90
    assert c.band == c.bands["latency"]
    assert "latency" in terminal.cost_summary(c)


def test_what_each_family_was_held_against():
    against = {t: load_target(t).profile.band("latency") for t in ("cortex-m4+x-cube-ai-9", "systolic-3x5-is", "hifi5")}
    assert [b.against for b in against.values()] == ["silicon", "SCALE-Sim 3.0.0", "silicon"]
    assert against["systolic-3x5-is"].p90 == 0 and against["systolic-3x5-is"].rows > 100
    assert against["hifi5"] == UNKNOWN
    vela = load_target("ethos-u55-128").profile.band("latency")
    assert vela.against == "Vela 5.2.0" and vela.known and 0 < vela.p90 < 0.05
    assert load_target("ethos-u55-128").profile.band("energy") == UNKNOWN
    other = load_target("ethos-u85-128").profile.band("latency")
    assert other.extrapolated == "ethos-u85-128 was not compared, others of its family were"


def test_a_band_by_hand_at_other_clocks():
    b = band([0.1, 0.2, -0.3], "here", clocks=(80e6, 120e6))
    assert b.at(80e6) is b and b.at(100e6) is b and b.at(120e6) is b
    assert b.at(40e6).extrapolated == "40 MHz, measured at 80 to 120 MHz"
    assert b.beyond("too cold").at(200e6).extrapolated == "too cold; 200 MHz, measured at 80 to 120 MHz"
    assert band([0.1], "x", clocks=(64e6,)).at(1e6).extrapolated == "1 MHz, measured at 64 MHz"
    assert ErrorBand(rows=1, median=0.07, p90=0.07, source="x").sentence() == "7% off in 1 measured row (x)"
    assert band([0.0] * 4, "x", against="Vela").sentence() == "median 0%, 90 % within 0%, over 4 Vela rows (x)"


def test_clock_and_supply_outside_of_the_rows_are_flagged():
    graph = layer.conv2d(8, 8, 16, 16)
    assert estimate(graph, "cortex-m4+x-cube-ai-9").extrapolated == []
    slow = estimate(graph, "cortex-m4+x-cube-ai-9@80MHz@1.8V")
    assert slow.band.extrapolated == "80 MHz, measured at 120 MHz"
    assert slow.bands["energy"].extrapolated == "1.8 V, measured at the usual 3 V; 80 MHz, measured at 120 MHz"
    assert slow.target.profile.evidence == load_target("cortex-m4+x-cube-ai-9").profile.evidence


def test_what_runs_on_a_host_is_flagged():
    c = estimate(small_graph(), "systolic-16x16-ws")
    away = [x.layer for x in c.layers if x.estimate.runs_on == "cortex-m4"]
    assert sorted(c.unmeasured) == away != []
    assert any("on the host cortex-m4, not compared" in why for why in c.extrapolated)


def test_few_rows_make_no_quantiles():
    c = estimate(layer.conv2d(8, 8, 16, 16), "esp32-s3")
    assert c.band.rows == 1 and not c.band.known
    assert "1 network only" in c.extrapolated
    text = terminal.cost_summary(c)
    assert "latency: 7% off in 1 measured row" in text and "90 % of 1" not in text


def test_evidence_names_networks_that_no_fit_saw():
    m7 = shipped("mcu")["cortex-m7+x-cube-ai-9"]["latency"]
    assert m7.rows == 10 and m7.clocks == (400e6,) and "seen by no fit" in m7.source
    gap8 = load_target("gap8").profile
    assert gap8.band("energy").rows == 1 and gap8.band("latency").rows == 0
    assert gap8.evidence.startswith("unvalidated")


def test_published_networks_have_their_published_macs():
    for layers, macs in ((mobilenet_v1(224, 1, 1000), 568_740_352), (mobilenet_v2(224, 1, 1000), 300_774_272)):
        assert sum(w.macs for w in works(layer.network(layers))) == macs
