"""One layer of each family by hand, and what each model must distinguish."""

from pathlib import Path

import pytest
from cost_builders import Net, conv_work, plain_work, small_graph

from fxsim.cost.estimate import estimate_graph, estimate_work
from fxsim.cost.layer import input_footprint_bytes
from fxsim.errors import FxsimError
from fxsim.model.ops.conv import Conv2D
from fxsim.model.qtype import INT32
from fxsim.model.work import Geometry, Work
from fxsim.targets import load_target

M4 = load_target(Path(__file__).parent / "plain-mcu.toml")
U55, HVX = (load_target(n) for n in ("ethos-u55-128", "hexagon-680"))


def cost(work, target, **options):
    return estimate_work(work, target.profile, target.host, **options)


def traffic(e):
    return {(f.memory, f.tensor): (f.read_bytes, f.write_bytes) for f in e.flows}


def test_mcu_convolution_by_hand():
    e = cost(conv_work(8, 8, 4, 8, 3), M4)
    # 64 pixels, window 3*3*4 = 36 (a multiple of unroll 4), 64*8*36 = 18432 MACs, 64*36 = 2304 gathered inputs.
    # 1500 + 2*2304 + 1.62*18432 + 25*512 = 1500 + 4608 + 29859.84 + 12800 = 48767.84 -> 48768
    assert e.compute_cycles == 48768
    # weights: 8*36 = 288 B, once for each 2 pixels: 32*288 = 9216; bias 32: 9248 / 2.667 = 3467.6 -> 3468 cycles
    # RAM: 2304 in + 512 out + scratch 2304*2 B written, read for each 2 of 8 channels: 4608 + 18432 = 25856 / 4 = 6464
    assert traffic(e) == {
        ("sram", "ifm"): (2304, 0),
        ("flash", "weights"): (9216, 0),
        ("flash", "bias"): (32, 0),
        ("sram", "ofm"): (0, 512),
        ("sram", "scratch"): (18432, 4608),
    }
    assert e.memory_cycles == 6464
    assert e.cycles == 48768 + 3468  # the core waits for its flash
    assert e.bound == "compute"
    assert dict(e.energy_pj) == {"core_pj": pytest.approx(52236 * 330)}
    assert e.scratch_bytes == 2 * 36 * 2  # two columns of 16-bit inputs


def test_dsp_convolution_by_hand():
    e = cost(conv_work(8, 8, 16, 48, 3), HVX)
    # 32 lanes: ceil(48/32) = 2 vectors; 16/4 = 4 deep; 64 pixels * 9 taps * 2 * 4 = 4608 multiplies;
    # requantization 64 * 2 * 8 = 1024; two contexts: 5632 / 2 = 2816; + 2000
    assert e.compute_cycles == e.cycles == 4816
    # DDR: 6912 weights + 192 bias = 7104 B / 20 B per cycle = 355.2; L2: 1024 + 3072 + 2*7104 = 18304 B / 256 = 71.5
    assert e.memory_cycles == 356
    assert traffic(e)["ddr", "weights"] == (6912, 0)
    assert traffic(e)["l2", "weights"] == (6912, 6912)


def test_dsp_pays_for_vector_tails():
    full, tail = conv_work(in_c=32, out_c=32), conv_work(in_c=32, out_c=33)
    extra = cost(tail, HVX).compute_cycles - cost(full, HVX).compute_cycles
    assert extra == pytest.approx(cost(full, HVX).compute_cycles - 2000, abs=2)  # one channel costs a whole vector more
    assert cost(conv_work(in_c=29, out_c=32), HVX).cycles == cost(conv_work(in_c=32, out_c=32), HVX).cycles


def test_dsp_spills_what_the_cache_does_not_hold():
    fits, spills = cost(conv_work(64, 64, 16, 16), HVX), cost(conv_work(256, 256, 16, 16), HVX)
    assert ("ddr", "ifm") not in traffic(fits)
    held = 2 * 256 * 256 * 16 + 16 * 144 + 64
    rounds = -(-held // (512 * 1024))
    assert rounds == 5
    assert traffic(spills)["ddr", "weights"] == (16 * 144 * rounds, 0)
    assert any(f.memory == "ddr" and f.tensor == "ofm" and f.write_bytes == 256 * 256 * 16 for f in spills.flows)


def test_host_layers_are_never_free_and_say_where_they_run():
    work = plain_work("elementwise", 1000)
    e, own = cost(work, U55, accelerated=False), estimate_work(work, U55.host)
    # 120 MHz host, 500 MHz NPU clock, and 5000 cycles for the switch
    assert e.runs_on == "cortex-m4"
    assert e.cycles == pytest.approx(own.cycles * 500 / 120 + 5000, abs=1)
    assert e.compute_cycles == pytest.approx(own.compute_cycles * 500 / 120 + 5000, abs=1)
    energy = dict(e.energy_pj)
    assert energy["host_pj"] == pytest.approx(e.cycles * 120 / 500 * U55.host.cycle_pj)
    assert energy["mac_pj"] == energy["sram_pj"] == 0  # the host's energy per cycle covers them
    assert e.cycles > cost(work, U55).cycles


def test_sending_convolutions_to_the_host_makes_a_network_slower():
    graph = small_graph()
    u55 = U55.profile
    import msgspec

    without = msgspec.structs.replace(u55, ops=tuple(o for o in u55.ops if o != "CONV_2D"))
    with_npu, with_host = (sum(c.time_s for c in estimate_graph(graph, p, U55.host)) for p in (u55, without))
    assert with_host > 5 * with_npu


def test_npu_without_host_refuses_what_it_cannot_run():
    with pytest.raises(FxsimError, match="ethos-u55-128: no host core"):
        estimate_work(plain_work(), U55.profile, None, accelerated=False)


def test_floats_and_wide_integers_leave_the_accelerator():
    graph = small_graph()
    assert [c.estimate.runs_on for c in estimate_graph(graph, U55.profile, U55.host)] == [
        "ethos-u55-128", "ethos-u55-128", "ethos-u55-128", "-", "cortex-m4",
    ]  # fmt: skip
    assert [c.estimate.runs_on for c in estimate_graph(graph, HVX.profile)][-1] == "hexagon-680-scalar"
    net = Net(qtype=INT32)
    wide = net.graph(net.node("QUANTIZE", (net.input,), (1, 8, 8, 4)))
    assert estimate_graph(wide, U55.profile, U55.host)[0].estimate.runs_on == "cortex-m4"


def test_grouped_convolution_leaves_the_npu():
    import numpy as np

    net = Net((1, 8, 8, 8))
    weight = net.tensor("w", (8, 3, 3, 4), data=np.zeros((8, 3, 3, 4), np.int8))
    graph = net.graph(net.node("CONV_2D", (net.input, weight), (1, 8, 8, 8), Conv2D(padding="SAME")))
    assert estimate_graph(graph, U55.profile, U55.host)[0].estimate.runs_on == "cortex-m4"


def test_views_cost_nothing():
    view = estimate_graph(small_graph(), M4.profile)[3]
    assert view.op == "RESHAPE"
    assert (view.estimate.cycles, view.estimate.bound, view.estimate.flows) == (0, "none", ())


def test_utilization_and_time():
    layer = estimate_graph(small_graph(), M4.profile)[0]
    assert layer.macs == 8 * 8 * 8 * 36
    assert layer.utilization == pytest.approx(layer.macs / (layer.estimate.cycles * 2))
    assert layer.time_s == pytest.approx(layer.estimate.cycles / 120e6)


@pytest.mark.parametrize(
    ("size", "out", "kernel", "stride", "expected"),
    [(32, 32, 3, 1, 32), (32, 16, 1, 2, 16), (32, 16, 3, 2, 32), (10, 2, 3, 4, 6), (5, 5, 7, 1, 5)],
)
def test_input_footprint_counts_only_rows_that_a_tap_can_read(size, out, kernel, stride, expected):
    g = Geometry(1, size, 1, 2, out, 1, 2, kernel, 1, stride, 1)
    assert input_footprint_bytes(Work("conv", geometry=g)) == expected * 2


def test_a_model_that_cheats_is_caught():
    from fxsim.cost.layer import Estimate, Flow, verify

    work = plain_work("elementwise", 100)
    honest = (Flow("sram", "ifm", 200), Flow("sram", "ofm", 0, 100))

    def check(work=work, cycles=100, compute=10, memory=75, flows=honest, pj=1.0):
        e = Estimate("test", cycles, compute, memory, "sram", flows, (("core_pj", pj),))
        return verify(work, e, peak_macs=2, bytes_per_cycle={"sram": 4.0})

    assert check().cycles == 100
    for change, law in (
        ({"cycles": 74}, "cycles >= memory_cycles"),
        ({"compute": 101}, "cycles >= compute_cycles"),
        ({"memory": 74}, "bytes / bandwidth"),
        ({"flows": honest[:1]}, "writes >= outputs"),
        ({"flows": honest[1:]}, "reads >= inputs"),
        ({"pj": -1.0}, "negative"),
        ({"cycles": 0, "compute": 0, "memory": 0, "flows": (), "work": Work("softmax")}, "never free"),
        ({"work": conv_work(out_h=4, out_w=4, in_c=4, out_c=1, kernel=1), "cycles": 31, "memory": 20}, "macs / peak"),
    ):
        with pytest.raises(FxsimError, match=law):
            check(**change)
