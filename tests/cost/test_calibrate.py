"""Fitting a microcontroller to one's own measurements."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim
from fxsim.calibration import calibrate
from fxsim.cost.calibrate import Measured, errors, fit, predicted, scaled
from fxsim.cost.fitted import Timed
from fxsim.cost.fitted import fit as fit_whole
from fxsim.cost.mcu_library import SCALED
from fxsim.cost.toml import dump
from fxsim.errors import FxsimError, ProfileError
from fxsim.model.live import works
from fxsim.targets import load_target

ONE = dict.fromkeys(SCALED, 1.0)


@pytest.fixture
def demo():
    return Path(fxsim.__file__).parent / "data" / "digits_int8.tflite"


def rows(factors, count=40, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        parts = dict(zip(SCALED, rng.uniform(1e4, 1e6, len(SCALED)), strict=True))
        r = Measured(parts, 5e4, 1.0)
        found.append(Measured(parts, 5e4, predicted(r, factors) * float(np.exp(noise * rng.normal()))))
    return found


def test_factors_are_found_again():
    truth = {"conv": 1.4, "pointwise": 0.9, "depthwise": 2.0, "dense": 1.2, "other": 1.1}
    found = fit(rows(truth, 200), ONE)
    assert found == pytest.approx(truth, rel=0.03)
    assert max(abs(e) for e in errors(rows(truth), found)) < 0.02


def test_one_measurement_scales_all_types_alike():
    r = Measured({"conv": 1e6}, 0.0, 2e6)
    found = fit([r], ONE)
    assert found["conv"] == pytest.approx(2.0, rel=0.05)
    assert all(1.5 < v < 2.1 for v in found.values())  # those that were not measured follow


def test_nothing_to_fit_leaves_everything_as_it_is():
    assert fit([], ONE) == pytest.approx(ONE)
    assert fit(rows(ONE), ONE) == pytest.approx(ONE, rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(1, 1e9), st.floats(1, 1e9), st.floats(1, 1e9)), min_size=1, max_size=6))
def test_factors_stay_positive_and_finite(data):
    found = fit([Measured({"conv": a, "dense": b}, 0.0, c) for a, b, c in data], ONE)
    assert all(np.isfinite(v) and v > 0 for v in found.values())


def test_scaling_scales_the_layers_of_a_type_and_no_others():
    from cost_builders import conv_work, plain_work

    from fxsim.cost.mcu import cost

    m4 = load_target("cortex-m4").profile
    twice = scaled(m4, {"depthwise": 2.0}, "test")
    for work in (conv_work(), conv_work(kernel=1), conv_work(kind="dense"), plain_work()):
        assert cost(work, twice).compute_cycles == cost(work, m4).compute_cycles
    depthwise = conv_work(kind="depthwise")
    assert cost(depthwise, twice).compute_cycles == pytest.approx(2 * cost(depthwise, m4).compute_cycles, abs=2)
    assert twice.kernel.depthwise.mac.source.endswith("x 2 (test)")


def test_a_factor_never_lifts_a_core_above_its_peak():
    m4 = load_target("cortex-m4").profile
    fast = scaled(m4, dict.fromkeys(SCALED, 0.01), "test")
    assert fast.kernel.conv.mac.value == 1 / m4.peak_macs.value
    assert fast.kernel.conv.output.value == pytest.approx(m4.kernel.conv.output.value * 0.01)


def write(tmp_path, demo, lines):
    (tmp_path / "model.tflite").write_bytes(demo.read_bytes())
    path = tmp_path / "measured.csv"
    path.write_text("model,latency_ms,layer\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_chip_that_is_slower_throughout_is_met(tmp_path, demo):
    base = fxsim.estimate(demo, "cortex-m4")
    slow = [r["time_us"] / 1e3 * 1.5 for r in base.rows()]
    lines = [f"model.tflite,{sum(slow)},"] + [f"model.tflite,{t},{i}" for i, t in enumerate(slow) if t]
    result = calibrate("cortex-m4", write(tmp_path, demo, lines))
    assert max(map(abs, result.before)) == pytest.approx(1 / 3, abs=0.01)
    assert max(map(abs, result.after)) < 0.02
    band = result.profile.error_band["latency"]
    assert (band.rows, band.extrapolated) == (len(lines), "") and band.p90 < 0.03
    assert "measured.csv" in result.profile.evidence
    path = result.save(tmp_path / "mine.toml")
    mine = fxsim.estimate(demo, path)
    assert mine.total["time_us"] / 1e3 == pytest.approx(sum(slow), rel=0.02)
    assert mine.target.profile == result.profile
    assert "calibrated on" in mine.target.profile.kernel.conv.mac.source


def test_one_row_does_not_claim_to_have_been_tested(tmp_path, demo):
    result = calibrate("cortex-m3", write(tmp_path, demo, ["model.tflite,100,"]), "mine")
    assert result.profile.name == "mine"
    assert result.profile.evidence.startswith("unvalidated")
    assert abs(result.after[0]) < 0.05


def test_libraries_that_drop_channels_are_calibrated_on_what_they_compute(tmp_path, demo):
    graph = fxsim.read(demo)
    target = load_target("cortex-m4+x-cube-ai-9").profile
    result = calibrate("cortex-m4+x-cube-ai-9", write(tmp_path, demo, ["model.tflite,50,"]))
    assert result.profile.live_channels == target.live_channels
    assert len(works(graph, live=True)) == len(graph.nodes)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["model.tflite,fast,"], "line 2: latency_ms is 'fast'; allowed: a finite number above 0"),
        (["model.tflite,0,"], "latency_ms is '0'"),
        (["model.tflite,nan,"], "latency_ms is 'nan'"),
        (["model.tflite,1,", "model.tflite,1,999"], "line 3: layer is '999'; allowed: empty, or 0 to"),
        (["model.tflite,1,-1"], "layer is '-1'"),
        ([",1,"], "model is ''; allowed: the path of a model"),
        ([], "got 0 rows; allowed: 1 to"),
    ],
)
def test_bad_rows_say_where_and_what_is_allowed(lines, message, tmp_path, demo):
    with pytest.raises(FxsimError, match=message):
        calibrate("cortex-m4", write(tmp_path, demo, lines))


def test_bad_files_and_targets(tmp_path, demo):
    good = write(tmp_path, demo, ["model.tflite,1,"])
    with pytest.raises(ProfileError, match="no target 'hexagon-1'"):
        calibrate("hexagon-1", good)
    with pytest.raises(FxsimError, match="cannot be read"):
        calibrate("cortex-m4", tmp_path / "absent.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FxsimError, match=r"got the columns 'a', 'b'; allowed: 'model', 'latency_ms'"):
        calibrate("cortex-m4", tmp_path / "other.csv")
    with pytest.raises(FxsimError, match=r"got the suffix '.txt'; allowed: '.toml'"):
        calibrate("cortex-m4", good).save(tmp_path / "mine.txt")


# NPU, DSP, systolic array: a factor, and an overhead for each layer

OTHERS = ("ethos-u55-128", "ethos-u85-256@sram-only", "hexagon-680", "systolic-16x16-ws")


def own_layers(cost):
    """Milliseconds of each layer that the target itself runs, as it is; and those that the host takes."""
    own = {i: c.time_s * 1e3 for i, c in enumerate(cost.layers) if c.estimate.runs_on.startswith(cost.target.name)}
    return own, sum(c.time_s for c in cost.layers) * 1e3 - sum(own.values())


@pytest.mark.parametrize("target", OTHERS)
def test_a_factor_and_an_overhead_are_found_again(target, tmp_path, demo):
    cost = fxsim.estimate(demo, target)
    own, host = own_layers(cost)
    call = 2000 / cost.target.profile.clock.value * 1e3
    slow = {i: 1.5 * t + call for i, t in own.items()}
    lines = [f"model.tflite,{sum(slow.values()) + host},"] + [f"model.tflite,{t},{i}" for i, t in slow.items()]
    result = calibrate(target, write(tmp_path, demo, lines), "mine")
    fitted = result.profile.fitted
    assert (fitted.factor.value, fitted.call.value) == (pytest.approx(1.5), pytest.approx(2000))
    assert max(map(abs, result.after)) < 1e-9 < max(map(abs, result.before))
    assert result.left_out.rows == len(lines) and result.left_out.p90 < 0.01
    assert "measured.csv" in result.profile.evidence
    mine = fxsim.estimate(demo, result.save(tmp_path / "mine.toml"))
    assert mine.target.profile == result.profile
    assert mine.total["time_us"] / 1e3 == pytest.approx(sum(slow.values()) + host, rel=1e-3)
    assert own_layers(mine)[1] == pytest.approx(host)  # the host is not scaled
    idle = sum(dict(c.estimate.energy_pj)["idle_pj"] for c in mine.layers)
    assert idle == pytest.approx(mine.target.profile.idle_power.value * mine.total["time_us"] * 1e6, rel=1e-3)


def test_one_measurement_of_an_accelerator_gives_a_factor_and_no_evidence(tmp_path, demo):
    cost = fxsim.estimate(demo, "ethos-u55-128")
    twice = 2 * cost.total["time_us"] / 1e3
    result = calibrate("ethos-u55-128", write(tmp_path, demo, [f"model.tflite,{twice},"]))
    assert result.factors["cycles"] == pytest.approx(2) and result.factors["cycles per layer"] == 0
    assert result.profile.evidence.startswith("unvalidated: one measurement")
    again = calibrate(result.save(tmp_path / "once.toml"), write(tmp_path, demo, [f"model.tflite,{twice},"]))
    assert again.factors == pytest.approx(result.factors)  # of the profile as it was before


def test_nothing_gets_faster_than_its_peak_and_its_memories(tmp_path, demo):
    cost = fxsim.estimate(demo, "systolic-16x16-os-bw1")
    own, host = own_layers(cost)
    result = calibrate(
        "systolic-16x16-os-bw1", write(tmp_path, demo, [f"model.tflite,{sum(own.values()) / 50 + host},"])
    )
    mine = fxsim.estimate(demo, result.save(tmp_path / "mine.toml"))
    for c in mine.layers:
        if c.estimate.runs_on == "systolic-16x16-os-bw1-calibrated":
            assert c.estimate.cycles >= max(c.estimate.memory_cycles, c.macs / 256)


def test_measurements_shorter_than_the_host_takes(tmp_path, demo):
    _, host = own_layers(fxsim.estimate(demo, "systolic-16x16-ws"))
    with pytest.raises(FxsimError, match=r"line 2: latency_ms is .* ms of it on the host; allowed: layers of systolic"):
        calibrate("systolic-16x16-ws", write(tmp_path, demo, [f"model.tflite,{host / 2},"]))
    with pytest.raises(FxsimError, match="layer is '999'"):
        calibrate("systolic-16x16-ws", write(tmp_path, demo, ["model.tflite,1,999"]))


def test_an_overhead_that_does_not_help_is_left_out():
    rng = np.random.default_rng(3)
    cycles = [rng.uniform(1e3, 1e6, 5) for _ in range(8)]
    made = [Timed(c, np.zeros(5), 0.0, float(1.3 * c.sum() * np.exp(0.05 * rng.normal()))) for c in cycles]
    found = fit_whole(made)
    assert found["cycles"] == pytest.approx(1.3, rel=0.05) and found["cycles per layer"] < 1e3


def test_a_host_beside_the_target_is_found_from_elsewhere(tmp_path, demo):
    from fxsim import hwfiles

    folder = tmp_path / "mine"
    folder.mkdir()
    text = hwfiles.find("npu", "systolic-32x32-os").read_text()
    host = load_target("cortex-m4").profile
    (folder / "core.toml").write_text(dump(host))
    (folder / "array.toml").write_text(text.replace('host = "cortex-m4"', 'host = "core.toml"'))
    result = calibrate(folder / "array.toml", write(tmp_path, demo, ["model.tflite,100,"]))
    assert load_target(result.save(tmp_path / "elsewhere.toml")).host == host
