"""Targets with libraries, comparison of two, overlap and calibration on the command line."""

import json

import pytest

from tests.cli.test_cli import MODEL, fx


def test_a_target_with_library_and_clock_says_how_far_off_it_may_be(tmp_path):
    text = fx("estimate", MODEL, "-t", "cortex-m4+x-cube-ai-9@80MHz", "--format", "json")
    data = json.loads(text)
    assert data["clock_hz"] == 80e6
    assert data["error_band"]["latency"]["rows"] > 0
    text = fx("estimate", MODEL, "-t", "cortex-m4+x-cube-ai-9")
    assert "rows of silicon within" in text and "evidence: median" in text


def test_compare_two_targets():
    text = fx("estimate", MODEL, "--compare", "cortex-m4", "cortex-m7")
    assert "cortex-m7 / cortex-m4: time x" in text
    assert "a = cortex-m4, b = cortex-m7" in text


def test_a_comparison_has_a_picture_and_a_page(tmp_path):
    both = ["--compare", "cortex-m4", "ethos-u55-128"]
    page = fx("estimate", MODEL, *both, "-f", "html", "--plot", "both.png", cwd=tmp_path)
    assert "data:image/png;base64," in page and "different worlds" in page
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads(fx("estimate", MODEL, *both, "-f", "json"))
    assert [data[s]["target"] for s in "ab"] == ["cortex-m4", "ethos-u55-128"] and data["layers"]


def test_technology():
    energy = [
        json.loads(fx("estimate", MODEL, "-t", "systolic-16x16-ws", "--technology", t, "-f", "json"))["total"][
            "energy_pj"
        ]
        for t in ("45nm", "7nm")
    ]
    assert energy[1] < energy[0]


def test_overlap():
    cycles = [
        json.loads(fx("estimate", MODEL, "-t", "cortex-m4", "--overlap", o, "-f", "json"))["total"]["cycles"]
        for o in ("max", "sum")
    ]
    assert cycles[0] < cycles[1]


def test_calibrate_writes_a_target(tmp_path):
    (tmp_path / "m.csv").write_text(f"model,latency_ms\n{MODEL},25\n")
    text = fx("calibrate", "cortex-m4", "m.csv", "--save", "mine.toml", cwd=tmp_path)
    assert "saved mine.toml" in text
    total = json.loads(fx("estimate", MODEL, "-t", "mine.toml", "-f", "json", cwd=tmp_path))["total"]
    assert total["time_us"] == pytest.approx(25e3, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["estimate", MODEL], "got both or neither of --target and --compare"),
        (["estimate", MODEL, "-t", "cortex-m4", "--compare", "a", "b"], "got both or neither"),
        (
            ["estimate", MODEL, "--compare", "cortex-m4", "cortex-m7", "--plot", "a.xyz"],
            "suffix is 'xyz'; allowed: 'png'",
        ),
        (["estimate", MODEL, "-t", "ethos-u55-128", "--overlap", "max"], "allowed: mcu, dsp and systolic"),
        (["estimate", MODEL, "-t", "systolic-8x8-os", "--technology", "3nm"], "allowed: '45nm', '7nm'"),
        (["estimate", MODEL, "-t", "cortex-m4", "--technology", "7nm"], "the current of the whole chip"),
        (["estimate", MODEL, "-t", "cortex-m4+nothing"], "no library 'nothing'"),
        (["calibrate", "cortex-m4", "absent.csv"], "absent.csv: cannot be read"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path):
    assert message in fx(*arguments, cwd=tmp_path, code=2)
    assert not list(tmp_path.iterdir())
