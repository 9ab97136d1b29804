"""Pictures and pages of costs: what is drawn is what the table says."""

import re

import pytest
from cost_builders import small_graph
from matplotlib.patches import Rectangle

from fxsim import layer
from fxsim.cost.layer import memory_cycles
from fxsim.cost.memory import Buffer
from fxsim.errors import OutputError
from fxsim.report import compare_cost_figure, cost_figure, memory_figure, roofline_figure
from fxsim.report.compare_cost import compare_costs
from fxsim.report.cost import estimate
from fxsim.targets import list_targets

ALL = pytest.mark.parametrize("target", list_targets())
HOSTILE = "<script>alert('x')<script>&$\\frac{1}{0}$\""
FEW = pytest.mark.parametrize("target", ["cortex-m4", "ethos-u55-128", "ti-c7x", "systolic-16x16-os-bw4"])


def axes_of(figure):
    return {a.get_title(): a for a in figure.axes}


def starting(figure, words):
    (found,) = [a for t, a in axes_of(figure).items() if t.startswith(words)]
    return found


def widths(axes):
    return sum(p.get_width() for p in axes.patches)


@ALL
def test_the_bars_add_up_to_the_table(target):
    c = estimate(small_graph(name=HOSTILE), target)
    figure = cost_figure.layers(c)
    time, energy = starting(figure, "Time"), starting(figure, "Energy")
    assert time.get_yticklabels()[0].get_text().split()[:2] == ["0", "CONV_2D"]
    assert (
        len(time.get_yticklabels()) == (c.table["cycles"] > 0).sum()
    )  # views, and what a neighbour does, are left out
    factor = {"time (µs)": 1.0, "time (ms)": 1e-3}[time.get_xlabel()]
    assert widths(time) == pytest.approx(c.total["time_us"] * factor)
    unit = re.fullmatch(r"energy \((.*)\)", energy.get_xlabel())
    scale = {"nJ": 1e-3, "µJ": 1e-6, "mJ": 1e-9}[unit.group(1)]
    assert widths(energy) == pytest.approx((c.total["energy_pj"] + c.total.get("host_pj", 0.0)) * scale)


@ALL
def test_time_goes_to_computing_waiting_or_the_host(target):
    c = estimate(small_graph(), target)
    for x in c.layers:
        if x.estimate.cycles:
            spent = c.spent(x)
            assert sum(spent.values()) == pytest.approx(x.time_s) and min(spent.values()) >= 0
            assert set(spent) <= {"compute", "host", *c.target.profile.memory}


def test_a_microcontroller_waits_for_its_flash():
    """1 x 10 from 4096: 40,960 B of weights at 320 MB/s and 120 MHz are 15,360 cycles that nothing overlaps."""
    c = estimate(layer.gemm(1, 10, 4096), "cortex-m4")
    (x,) = c.layers
    read = sum(f.read_bytes for f in x.estimate.flows if f.memory == "flash")
    assert c.spent(x)["flash"] == pytest.approx(read / 320e6, rel=1e-4)
    assert c.spent(x)["compute"] * 120e6 == pytest.approx(x.estimate.compute_cycles)


@FEW
def test_what_binds_and_what_is_next(target):
    c = estimate(small_graph(), target)
    for row, x in zip(c.rows(), c.layers, strict=True):
        busy = {"compute": x.estimate.compute_cycles}
        busy |= memory_cycles(x.estimate.flows, c.target.profile.bytes_per_cycle)
        first, second = sorted(busy.values(), reverse=True)[:2]
        if row["cycles"]:
            assert busy[row["bound"]] == first
            assert row["slack_cycles"] == (first - second if second else 0)
            assert row["next_bound"] == "none" if not second else busy[row["next_bound"]] == second
        else:
            assert (row["next_bound"], row["slack_cycles"]) == ("none", 0)


@FEW
def test_no_point_lies_above_its_roofs(target):
    c = estimate([layer.conv2d(16, 16, 8, 24), layer.depthwise_conv2d(16, 16, 24), layer.gemm(1, 10, 6144)], target)
    found = roofline_figure.points(c)
    assert {p.layer for p in found} == {0, 1, 2}
    speeds, peak = c.target.profile.bytes_per_cycle, c.target.profile.peak_macs.value
    for p in found:
        assert p.macs_per_cycle <= min(peak, p.macs_per_byte * speeds[p.memory]) * (1 + 1e-9)
    axes = starting(roofline_figure.figure(c), "Roofline")
    assert len(axes.collections) == len(found)


def test_a_roofline_of_nothing_says_so():
    c = estimate(layer.conv2d(8, 8, 4, 4, groups=2), "ethos-u55-128")  # grouped: on the host
    axes = starting(roofline_figure.figure(c), "Roofline")
    assert "no layer with MACs" in axes.texts[0].get_text()


def rectangles(axes):
    return {
        (round(r.get_x() + 0.5), r.get_width(), r.get_y(), r.get_height())
        for r in axes.patches
        if isinstance(r, Rectangle)
    }


def test_the_memory_picture_is_the_plan():
    c = estimate([layer.conv2d(8, 8, 4, 8), layer.conv2d(8, 8, 8, 2), layer.gemm(1, 5, 128)], "ethos-u55-128")
    assert c.plan.arena_bytes == 768
    axes = starting(memory_figure.figure(c), "RAM over time")
    assert axes.get_ylabel() == "offset in the arena (B)"
    plan = {(b.first, b.last - b.first + 1, o, b.size_bytes) for b, o in c.plan.placements}
    assert plan == rectangles(axes)
    assert {(0, 2, 0, 512), (0, 1, 512, 256)} <= plan  # output of layer 0 until layer 1, input beside it
    assert "arena: 768 B" in axes.texts[-1].get_text()
    assert axes.get_title().endswith("most in use at layer 0")
    marked = [line for line in axes.lines if line.get_marker() == "v"]
    assert [list(marked[0].get_xdata()), list(marked[0].get_ydata())] == [[0], [768]]


def test_no_two_rectangles_overlap():
    c = estimate(small_graph(), "cortex-m4")
    placed = [(b, o) for b, o in c.plan.placements]
    for i, (a, x) in enumerate(placed):
        for b, y in placed[i + 1 :]:
            assert not a.meets(b) or x + a.size_bytes <= y or y + b.size_bytes <= x
    assert isinstance(placed[0][0], Buffer)


@ALL
def test_plot_writes_all_panels(target, tmp_path):
    c = estimate(small_graph(name=HOSTILE), target)
    figure = c.plot(tmp_path / "cost.png")
    assert [t.split(",")[0].split(":")[0] for t in axes_of(figure)] == ["Time", "Energy", "Roofline", "RAM over time"]
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("suffix", "magic"), [(".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_other_formats(suffix, magic, tmp_path):
    c = estimate(small_graph(name=HOSTILE))
    c.plot(tmp_path / f"cost{suffix}")
    assert (tmp_path / f"cost{suffix}").read_bytes().startswith(magic)
    with pytest.raises(OutputError, match="suffix is 'jpeg'; allowed: 'png', 'svg', 'pdf'"):
        c.plot(tmp_path / "cost.jpeg")


def test_the_page_stands_alone_and_escapes(tmp_path):
    c = estimate(small_graph(name=HOSTILE, layer=HOSTILE), "ethos-u55-128")
    page = c.to_html(tmp_path / "cost.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page) and page.count("data:image/png;base64,") == 3
    assert re.search(r"<th[^>]*>energy_pj<small>pJ</small>", page) and "5 mW" not in page
    for key in ("memory.sram.bandwidth", "kernel.conv.mac", "array.pixel_pass"):  # the host's constants as well
        assert key in page
    assert c.target.profile.evidence in page.replace("&#34;", '"')
    assert "of the host, whole chip: not added" in page


def test_a_comparison_is_drawn_and_paged(tmp_path):
    graph = small_graph(name=HOSTILE, layer=HOSTILE)
    c = compare_costs(estimate(graph, "cortex-m4"), estimate(graph, "cortex-m7+x-cube-ai-7"))
    figure = c.plot(tmp_path / "both.png")
    assert list(axes_of(figure)) == ["Time of each layer", "Time", "Energy"]
    bars = starting(figure, "Time of each layer")
    both = c.a.total["time_us"] + c.b.total["time_us"]
    assert widths(bars) == pytest.approx(both * {"time (µs)": 1.0, "time (ms)": 1e-3}[bars.get_xlabel()])
    page = c.text("html")
    assert "<script" not in page and not re.search(r'(src|href)="(?!data:)', page)
    assert "energy is not compared" not in page
    with pytest.raises(OutputError, match="format is 'xml'"):
        c.text("xml")


def test_energies_of_two_worlds_are_not_compared():
    graph = small_graph()
    c = compare_costs(estimate(graph, "cortex-m4"), estimate(graph, "ethos-u55-128"))
    assert not c.same_world and all(r.energy_ratio == 0 for r in c.rows)
    assert "energy is not compared" in c.summary() and "of the host" in c.summary()
    titles = axes_of(compare_cost_figure.draw(c))
    assert any("do not compare" in t for t in titles)
    same = compare_costs(estimate(graph, "hexagon-680"), estimate(graph, "ethos-u55-128"))
    assert same.same_world and "energy x" in same.summary()
