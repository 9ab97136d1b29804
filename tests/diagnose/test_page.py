"""The page of a diagnosis: what it says, and what a browser shows of it."""

import re
import shutil
import subprocess
from base64 import b64decode

import numpy as np
import pytest

import fxsim
from fxsim.sim.inputs import load_inputs
from tests.diagnose.test_vectors import erring
from tests.prune.networks import network
from tests.sim.test_demo_model import DATA

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    graph = network(3)
    x = np.random.default_rng(3).integers(-128, 128, (2, *graph.tensors[graph.inputs[0]].shape), np.int8)
    trace, dump = erring(graph, x, 1)
    result = fxsim.compare(trace, dump, "single")
    path = tmp_path_factory.mktemp("page") / "page.html"
    result.to_html(path, fxsim.explain(graph, dump, x))
    return result, path


def test_the_page_says_what_was_found(found):
    result, path = found
    text = path.read_text()
    wrong = [r for r in result.rows if r.mismatches]
    assert f"{result.elements:,} elements in {len(result.rows)} tensors compared" in text
    assert text.count('class="wrong"') == 2 * len(wrong)
    assert "nothing fits" in text
    for r in wrong:
        assert f"{r.mismatches:,} of {r.elements:,} elements" in text
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert len(pictures) == 1 + len(wrong)
    assert all(b64decode(p)[:4] == b"\x89PNG" for p in pictures)
    assert not re.search(r"(src|href)=\"http", text)


def test_an_explanation_names_memory_that_was_used_again(tmp_path):
    graph = fxsim.read(str(DATA / "digits_int8.tflite"))
    x = np.random.default_rng(0).integers(-128, 128, (2, 8, 8, 1), np.int8)
    kept = fxsim.simulate(graph, x, keep="all").kept
    first, second = (graph.nodes[n].outputs[0] for n in (0, 1))
    dump = {f"tensor_{i}": kept[second] if i == first else v for i, v in kept.items()}
    found = fxsim.explain(graph, dump, x)
    assert any("'conv1' holds the values of tensor" in n and "used again" in n for n in found.notes)
    assert not fxsim.explain(graph, {f"tensor_{i}": v for i, v in kept.items()}, x).notes


def test_maps_count_what_differs(found):
    result, _ = found
    for r in result.rows:
        assert (result.maps[r.tensor].sum() if r.mismatches else 0) == r.mismatches


def test_names_are_escaped(tmp_path):
    graph = fxsim.read(str(DATA / "digits_int8.tflite"))
    x = np.zeros((1, 8, 8, 1), np.int8)
    trace = fxsim.simulate(graph, x)
    result = fxsim.compare(trace, {"conv1": trace.tensor("conv1")})
    object.__setattr__(result, "notes", ("<script>alert(1)</script>",))
    result.to_html(tmp_path / "p.html")
    assert "<script>" not in (tmp_path / "p.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_it(found, tmp_path):
    """The screenshot holds the colours of a verdict, of a heat map and of a differing row."""
    from matplotlib.image import imread

    _, path = found
    shot = tmp_path / "shot.png"
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
    size = ("--window-size=1280,2200", f"--user-data-dir={tmp_path / 'profile'}")
    command = [CHROMIUM, *quiet, *size, f"--screenshot={shot}", path.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    pixels = np.rint(imread(shot)[..., :3] * 255).astype(int)
    assert pixels.shape[:2] == (2200, 1280)

    def share(colour):
        return float(np.mean(np.abs(pixels - colour).max(axis=-1) <= 4))

    assert share((0xB0, 0x30, 0x30)) > 1e-4, "the verdict's edge and the bars"
    assert share((0xFD, 0xF3, 0xF1)) > 1e-3, "rows that differ"
    assert share((0x3B, 0x6E, 0xA8)) > 1e-3, "bars by channel"
    assert 0.3 < share((255, 255, 255)) < 0.97


def test_what_the_device_did_not_go_on_with():
    """One tensor of a dump is damaged: the layer behind it has fxsim's own output."""
    graph = fxsim.read(str(DATA / "digits_int8.tflite"))
    x = load_inputs(graph, "random:5", 3)
    kept = fxsim.simulate(graph, x, keep="all").kept
    dump = {f"tensor_{i}": v.copy() for i, v in kept.items()}
    damaged = graph.tensor("conv2").index
    dump[f"tensor_{damaged}"] = np.clip(dump[f"tensor_{damaged}"].astype(int) + 3, -128, 127).astype(np.int8)
    found = fxsim.explain(graph, dump, x)
    assert any(n.startswith(f"tensor {damaged} 'conv2' is not what the device went on with") for n in found.notes)
    assert found.missed and damaged not in {i for n in graph.nodes if n.index not in found.missed for i in n.outputs}
