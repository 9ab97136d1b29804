"""Profiles known from source: each loads, is honest about it, and computes a layer whose outputs were worked out by hand."""

import numpy as np
import pytest

import fxsim
import fxsim.demo
from fxsim.errors import ProfileError, UnsupportedOp
from tests.build import Builder

LIBRARIES = ("esp-nn", "esp-nn-skip-nudge", "fbgemm", "generic", "qnnpack", "tosa", "tvm")
"""engines that run any quantized model"""
POWERS_OF_TWO = ("max78000", "nnom", "vitis-dpu")
CHIPS = (*POWERS_OF_TWO, "gemmini", "nvdla", "pulp-nn")
"""engines without zero points, for whose other ops no arithmetic is known"""
X = np.array([-128, -7, -6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6, 7, 127], np.int8)
"""a pixel each: one input channel by a weight of 1, so that the accumulator is this"""


def write(tmp_path, model):
    path = tmp_path / "model.tflite"
    path.write_bytes(model)
    return fxsim.read(path)


def dense(tmp_path, weight_scale, weights=(1,), zero_point=0, out_scale=1.0):
    """Rows of one value by one weight a channel: the accumulators are ``x * weights``, the rescale is ``weight_scale``."""
    b, per_channel = Builder(), not np.isscalar(weight_scale)
    x = b.tensor("x", [len(X), 1, 1, 1], "int8", 1.0, zero_point)
    n = len(weights)
    zeros = [0] * n if per_channel else 0
    w = b.tensor("w", [n, 1, 1, 1], "int8", weight_scale, zeros, 0 if per_channel else None, data=weights)
    bias = b.tensor("bias", [n], "int32", weight_scale, zeros, 0 if per_channel else None, data=np.zeros(n))
    y = b.tensor("y", [len(X), 1, 1, n], "int8", out_scale, zero_point)
    b.op("CONV_2D", [x, w, bias], [y], padding="VALID", stride_h=1, stride_w=1)
    return write(tmp_path, b.finish([x], [y]))


def result(model, x, numerics):
    (found,) = fxsim.simulate(model, x, numerics).outputs.values()
    return found


def outputs(model, numerics, x=None):
    shape = model.tensors[model.inputs[0]].shape
    return result(model, (X if x is None else np.array(x, np.int8)).reshape(shape), numerics).reshape(-1).tolist()


QUARTERS = {
    "away": [-32, -2, -2, -1, -1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 32],
    "up": [-32, -2, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2, 2, 32],
    "even": [-32, -2, -2, -1, -1, 0, 0, 0, 0, 0, 1, 1, 2, 2, 32],
    "down": [-32, -2, -2, -2, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 31],
    "twice": [-32, -2, -2, -1, -1, -1, 0, 0, 1, 1, 1, 2, 2, 2, 32],
    "down first": [-32, -2, -2, -2, -1, -1, -1, 0, 0, 1, 1, 1, 2, 2, 32],
}
"""A quarter of each value of X, by hand. ``twice``: half of it, ties up, and half of that, ties away; ``down first``:
likewise, but the first half is rounded down."""
ROUNDS = {
    "esp-nn": "twice",
    "generic": "twice",
    "esp-nn-skip-nudge": "down first",
    "fbgemm": "even",
    "gemmini": "even",
    "max78000": "up",
    "nnom": "up",
    "nvdla": "away",
    "pulp-nn": "down",
    "qnnpack": "twice",
    "tosa": "twice",
    "tvm": "away",
    "vitis-dpu": "up",
}


def test_every_profile_from_source_is_tested_here():
    shipped = {n for n in fxsim.list_numerics() if fxsim.load_numerics(n).verified == "source"}
    assert {*LIBRARIES, *CHIPS} == set(ROUNDS) == shipped - {"cmsis-nn-single-rounding"}


@pytest.mark.parametrize("name", fxsim.list_numerics())
def test_every_profile_loads_and_says_against_what(name):
    profile = fxsim.load_numerics(name)
    assert profile.name == name
    assert profile.description
    assert profile.against
    if name in ROUNDS:
        assert "not modelled" in profile.against


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_demo_runs_as_a_library(name):
    graph, recorded = fxsim.demo.load()
    theirs, tflm = (result(graph, recorded.inputs[:64], n) for n in (name, "tflm"))
    assert np.mean(theirs.argmax(-1) == tflm.argmax(-1)) > 0.9, "they differ in roundings, not in what the model does"
    assert (name in ("esp-nn", "tosa")) <= np.array_equal(theirs, tflm), "both are TFLM's arithmetic in other words"


@pytest.mark.parametrize("name", CHIPS)
def test_the_demo_is_refused_by_a_chip_without_zero_points(name):
    graph, recorded = fxsim.demo.load()
    with pytest.raises(UnsupportedOp, match=f"tensor 'image' has zero point -128; allowed by numerics '{name}': 0"):
        fxsim.simulate(graph, recorded.inputs[:1], name)
    reasons = [g.reason for g in fxsim.unsupported(graph, name)]
    assert len(reasons) == len(graph.nodes)
    assert any(r.startswith(f"numerics '{name}' has no arithmetic for ADD; it has 'CONV_2D'") for r in reasons)


@pytest.mark.parametrize(("name", "way"), ROUNDS.items())
def test_quarters(tmp_path, name, way):
    assert outputs(dense(tmp_path, 0.25), name) == QUARTERS[way]


@pytest.mark.parametrize("name", ROUNDS)
def test_saturation_and_channels(tmp_path, name):
    """127 * 100 / 4 and its negative are cut; a second channel has a scale of its own."""
    found = np.array(outputs(dense(tmp_path, [0.25, 0.5], (100, 1)), name)).reshape(-1, 2)
    assert found[0].tolist() == [-128, -64]
    assert found[-1, 0] == 127
    assert found[-1, 1] == (63 if ROUNDS[name].startswith("down") else 64), "63.5"


def test_only_the_nudge_parts_esp_nn_from_its_fast_build(tmp_path):
    """Scale 3/4 times 1, 2, 3: 0.75 is down to 0 without the nudge; TFLM gives 1."""
    model = dense(tmp_path, 0.75)
    exact, fast = (outputs(model, n, [-3, -2, -1, 0, 1, 2, 3, *[0] * 8])[:7] for n in ("esp-nn", "esp-nn-skip-nudge"))
    assert exact == [-2, -1, -1, 0, 1, 2, 2]
    assert fast == [-3, -2, -1, 0, 0, 1, 2]


def test_double_and_single_rounding_part_off_the_ties(tmp_path):
    """Scale 0.3 times 121 is 36.3; twice that, 72.6, is 73 after the first of two roundings, and half of 73 goes to 37."""
    model, x = dense(tmp_path, float(np.float32(0.3))), [121, -121, 100, -100, *[0] * 11]
    for name in ("esp-nn", "qnnpack", "tosa"):
        assert outputs(model, name, x)[:4] == [37, -37, 30, -30]
    for name in ("tvm", "fbgemm", "gemmini", "nvdla"):
        assert outputs(model, name, x)[:4] == [36, -36, 30, -30]


@pytest.mark.parametrize("name", POWERS_OF_TWO)
def test_other_scales_than_powers_of_two_are_refused(tmp_path, name):
    with pytest.raises(
        UnsupportedOp, match=r"CONV_2D.*a rescale by 0.3\d* is none of the engine's.*powers of two only"
    ):
        outputs(dense(tmp_path, 0.3), name)
    with pytest.raises(UnsupportedOp, match=r"powers of two only"):
        outputs(dense(tmp_path, [0.25, 0.75], (1, 1)), name)


@pytest.mark.parametrize(("name", "least"), [("qnnpack", 1), ("nnom", 2), ("vitis-dpu", 2), ("max78000", 512)])
def test_scales_beyond_the_engine_are_refused(tmp_path, name, least):
    assert outputs(dense(tmp_path, float(least) / 2), name)[7:9] == [0, min(max(least // 2, 1), 127)]
    with pytest.raises(
        UnsupportedOp, match=rf"a rescale by {least} is too great for the engine; allowed: below {least}"
    ):
        outputs(dense(tmp_path, float(least)), name)


def test_a_multiplier_of_fifteen_bits(tmp_path):
    """Scale 0.3 is 19661 / 2**16 to the nearest and 19660 / 2**16 rounded down; 10 * 0.3 is 3 or what is just below."""
    model = dense(tmp_path, float(np.float32(0.3)))
    x = [10, -10, 5, -5, 100, -100, *[0] * 9]
    assert outputs(model, "nvdla", x)[:6] == [3, -3, 2, -2, 30, -30]
    assert 5 * 19661 / 2**16 > 1.5, "the tie is none with 15 bits"
    assert outputs(model, "pulp-nn", x)[:6] == [2, -3, 1, -2, 29, -30]
    assert [v * 19660 >> 16 for v in (10, -10, 5, -5, 100, -100)] == [2, -3, 1, -2, 29, -30]


def pool(tmp_path, zero_point=0, cells=4):
    b = Builder()
    x = b.tensor("x", [len(X), 1, cells, 1], "int8", 1.0, zero_point)
    y = b.tensor("y", [len(X), 1, 1, 1], "int8", 1.0, zero_point)
    b.op("AVERAGE_POOL_2D", [x], [y], padding="VALID", stride_h=1, stride_w=1, filter_height=1, filter_width=cells)
    return write(tmp_path, b.finish([x], [y]))


QUARTER_SUMS = {
    "max78000": [-32, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 31],
    "nnom": [-32, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 31],
    "tosa": QUARTERS["away"],
    "tvm": QUARTERS["away"],
    "cmsis-nn": QUARTERS["away"],
}


@pytest.mark.parametrize(("name", "expected"), QUARTER_SUMS.items())
def test_averages(tmp_path, name, expected):
    cells = np.stack([X, 0 * X, 0 * X, 0 * X], axis=-1)
    assert outputs(pool(tmp_path), name, cells) == expected


def test_tosa_takes_the_zero_point_off_before_it_divides(tmp_path):
    """Values -3, -4 with zero point -5 are 2 and 1, whose mean 1.5 goes up to 2: -3; the stored mean -3.5 goes away: -4."""
    cells = np.zeros((len(X), 2), np.int8)
    cells[0] = -3, -4
    cells[1] = -6, -7
    model = pool(tmp_path, zero_point=-5, cells=2)
    assert outputs(model, "tosa", cells)[:2] == [-3, -7]
    assert outputs(model, "tflm", cells)[:2] == [-4, -7]


def test_tosa_clamps_averages_at_the_ends_of_the_type(tmp_path):
    cells = np.full((len(X), 4), 127, np.int8)
    cells[0] = -128
    for zero_point in (-128, 0, 127):
        assert outputs(pool(tmp_path, zero_point), "tosa", cells)[:2] == [-128, 127]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[requantize]\nmultiplier_bits = 0\n", r"multiplier_bits is 0; allowed: 1..31"),
        ("[requantize]\nmultiplier_bits = 32\n", r"multiplier_bits is 32; allowed: 1..31"),
        ("[requantize]\nmax_exponent = 31\n", r"max_exponent is 31; allowed: -31..30"),
        ('[requantize]\nmultiplier_rounding = "up"\n', r"multiplier_rounding is 'up'; allowed: .*'exact'"),
        ('only = ["CONV2D"]\n', r"only is 'CONV2D'; allowed: .*did you mean 'CONV_2D'"),
    ],
)
def test_refusals_of_a_users_file(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message):
        fxsim.load_numerics(str(path))


def test_a_users_file_builds_on_a_chip(tmp_path):
    """NNoM with NNOM_TRUNCATE: the profile's data alone."""
    path = tmp_path / "mine.toml"
    path.write_text('base = "nnom"\n[requantize]\nrounding = "to_neg"\n')
    assert outputs(dense(tmp_path, 0.25), str(path)) == QUARTERS["down"]
