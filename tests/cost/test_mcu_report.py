"""Error bands, extrapolation, comparison of targets and the published schema."""

import json
import tomllib

import pytest
from cost_builders import Net, small_graph

from fxsim import hwfiles, layer
from fxsim.cost import schema
from fxsim.cost.evidence import METRICS, ErrorBand, band, quantile, unmeasured
from fxsim.cost.toml import dump
from fxsim.errors import FxsimError
from fxsim.report import terminal
from fxsim.report.compare_cost import compare_costs
from fxsim.report.cost import estimate
from fxsim.targets import load_target


def test_bands_by_hand():
    b = band([0.1, -0.3, 0.2, 0.0, -0.4], "here")
    assert (b.rows, b.median, b.p90) == (5, 0.2, 0.36)  # sorted 0 .1 .2 .3 .4: 90 % lies at 3.6
    assert b.sentence() == "median 20%, 90 % within 36%, over 5 measured rows (here)"
    assert quantile([], 0.5) == 0 and quantile([3.0], 0.9) == 3.0
    assert ErrorBand(rows=0, median=0, p90=0, source="nobody asked").sentence() == "unvalidated: nobody asked"
    far = band([0.1, 0.1, 0.1], "here", extrapolated="elsewhere")
    assert far.sentence().endswith("; extrapolated: elsewhere")


def test_every_form_shows_the_band(tmp_path):
    c = estimate(small_graph(), "cortex-m4+x-cube-ai-9")
    latency = c.target.profile.error_band["latency"]
    data = json.loads(c.text("json"))
    assert data["error_band"]["latency"]["rows"] == latency.rows > 0
    assert data["error_band"]["latency"]["p90"] == latency.p90
    assert data["evidence"] == latency.sentence()
    assert f'<td class="n">{round(latency.p90 * 100)} %</td><td class="n">{latency.rows}</td>' in c.text("html")
    text = terminal.cost_summary(c)
    assert latency.sentence() in text
    assert f"latency: 90 % of {latency.rows} rows of silicon within {latency.p90:.0%}" in text


def test_what_was_never_measured_is_flagged():
    known = estimate(layer.conv2d(8, 8, 16, 16), "cortex-m4+x-cube-ai-9")
    assert known.extrapolated == []
    for graph, why in (
        (layer.conv2d(8, 8, 16, 16, bits=16), "measured on 8-bit activations only: 100% of the cycles"),
        (layer.conv2d(8, 8, 32, 16, weight_bits=4), "measured on 8-bit weights only: 100% of the cycles"),
    ):
        c = estimate(graph, "cortex-m4+x-cube-ai-9")
        assert c.extrapolated == [why]
        assert why in terminal.cost_summary(c) and why in c.text("html")
        assert json.loads(c.text("json"))["extrapolated"] == [why]
    other_chip = estimate(layer.conv2d(8, 8, 16, 16), "cortex-m7+x-cube-ai-8")
    assert other_chip.extrapolated == [f"the {m} of x-cube-ai-8 was not measured on cortex-m7" for m in METRICS]
    assert estimate(layer.conv2d(8, 8, 16, 16), "hexagon-680").extrapolated == []  # says that nothing was measured


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (("conv", 8, 8, 10), ""),
        (("softmax", 8, 8, 0), ""),
        (("none", 32, 8, 0), ""),
        (("lookup", 8, 8, 0), "no measured network has a lookup layer"),
        (("conv", 1, 1, 10), "measured on 8-bit activations only"),
        (("dense", 8, 1, 10), "measured on 8-bit weights only"),
    ],
)
def test_reasons_for_extrapolation(work, expected):
    assert unmeasured(*work) == expected


def test_overlap_is_the_callers_choice():
    graph = layer.gemm(1, 128, 640)
    costs = [estimate(graph, "cortex-m4", o).total["cycles"] for o in ("max", "pipelined", "sum")]
    assert costs == sorted(costs) and costs[0] < costs[2]
    assert estimate(graph, "cortex-m4").total["cycles"] == costs[2]


def test_comparison_by_hand():
    graph = small_graph()
    a, b = estimate(graph, "cortex-m4+x-cube-ai-7"), estimate(graph, "cortex-m7+x-cube-ai-7")
    c = compare_costs(a, b)
    for row, x, y in zip(c.rows, a.rows(), b.rows(), strict=True):
        assert (row.cycles_a, row.cycles_b, row.op) == (x["cycles"], y["cycles"], x["op"])
        if x["cycles"]:
            assert row.time_ratio == pytest.approx(y["time_us"] / x["time_us"])
            assert row.energy_ratio == pytest.approx(y["energy_pj"] / x["energy_pj"])
            assert "120 MHz there, 280 here" in row.why
    assert list(c.table["layer"]) == [0, 1, 2, 3, 4]
    total = b.totals()["time_us"] / a.totals()["time_us"]
    assert f"time x {total:.3g}" in c.summary()
    assert "MAC a busy cycle" in c.rows[0].why
    same = compare_costs(a, a)
    assert all(r.why == "the same" and r.time_ratio in (0, 1) for r in same.rows)
    assert "of the difference" not in same.summary()


def test_comparison_says_what_binds():
    graph = layer.gemm(1, 256, 640)
    row = compare_costs(estimate(graph, "cortex-m4"), estimate(graph, "esp32-s3")).rows[0]
    assert (row.bound_a, row.bound_b) == ("compute", "flash")
    assert "bound by compute there, by flash here" in row.why and "waits for memory" in row.why


def test_comparison_is_of_one_network():
    net = Net()
    other = net.graph(net.conv(net.input, 8))
    with pytest.raises(FxsimError, match=r"compare: got the costs of .*; allowed: of one network"):
        compare_costs(estimate(small_graph(), "cortex-m4"), estimate(other, "cortex-m4"))


def test_the_published_schema_is_current():
    assert (hwfiles.profile_dir() / "schema.json").read_text(encoding="utf-8") == schema.text()


def resolve(s, defs):
    return defs[s["$ref"].rsplit("/", 1)[1]] if "$ref" in s else s


def accepts(s, value, defs):
    """True if ``value`` fits a schema of the kind that ours is: objects, arrays, numbers, enums."""
    s = resolve(s, defs)
    if not all(accepts(part, value, defs) for part in s.get("allOf", ())):
        return False
    if "anyOf" in s and not any(accepts(part, value, defs) for part in s["anyOf"]):
        return False
    if "const" in s and value != s["const"]:
        return False
    if "enum" in s and value not in s["enum"]:
        return False
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "integer": int}
    if "type" in s and not isinstance(value, types[s["type"]]):
        return False
    if isinstance(value, dict):
        known = s.get("properties", {})
        extra = s.get("additionalProperties", True)
        for k, v in value.items():
            inner = known.get(k, extra)
            if inner is False or (isinstance(inner, dict) and not accepts(inner, v, defs)):
                return False
        if not set(s.get("required", ())) <= set(value):
            return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < s.get("minimum", value) or ("exclusiveMinimum" in s and value <= s["exclusiveMinimum"]):
            return False
    return True


FILES = [hwfiles.find(kind, n) for kind in ("mcu", "library", "dsp") for n in hwfiles.names(kind)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_schema_accepts_what_is_shipped_and_nothing_else(path):
    s = schema.schema()
    raw = tomllib.loads(path.read_text(encoding="utf-8"))

    def fits(data):
        return [r for r in s["oneOf"] if accepts(r, data, s["$defs"])]

    assert len(fits(raw)) == 1
    assert not fits(raw | {"surprise": 1})
    assert not fits({k: v for k, v in raw.items() if k != "name"})
    if "clock" in raw:
        assert not fits(raw | {"clock": raw["clock"] | {"unit": "V"}})
        assert not fits(raw | {"clock": raw["clock"] | {"value": 0}})


def test_the_schema_accepts_a_calibrated_profile():
    s = schema.schema()
    raw = tomllib.loads(dump(load_target("cortex-m4+x-cube-ai-9").profile))
    assert [r["$ref"] for r in s["oneOf"] if accepts(r, raw, s["$defs"])] == ["#/$defs/Mcu"]
