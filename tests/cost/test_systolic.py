"""Systolic arrays: cycles of SCALE-Sim, traffic that honours the buffers, and laws over sizes, types and memories."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim
from fxsim.cost.profiles import Systolic
from fxsim.cost.systolic import Gemm, folds, passes
from fxsim.errors import FxsimError, ProfileError
from fxsim.targets import load_target


def layer_cost(graph, target):
    (layer,) = fxsim.estimate(graph, target).layers
    return layer.estimate


def moved(e, memory, tensor):
    flows = [f for f in e.flows if (f.memory, f.tensor) == (memory, tensor)]
    return sum(f.read_bytes for f in flows), sum(f.write_bytes for f in flows)


def rows_of_scalesim():
    with open(Path(os.environ["FXSIM_CORPUS"]) / "cost" / "scalesim.csv", newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


@pytest.mark.corpus
def test_cycles_and_buffer_traffic_equal_scalesim(corpus):
    """Total Cycles of every CALC row, Total less Stall of every USER row; operands read from the buffers."""
    rows = rows_of_scalesim()
    assert len(rows) > 100
    for r in rows:
        m, n, k = (int(r[c]) for c in "MNK")
        e = layer_cost(fxsim.layer.gemm(m, n, k), f"systolic-{r['array']}x{r['array']}-{r['dataflow']}")
        stall = int(r["Stall Cycles"]) if r["mode"] == "USER" else 0
        assert e.cycles == e.compute_cycles == int(r["Total Cycles"]) - stall, r
        assert moved(e, "ifmap", "ifm")[0] == int(r["SRAM IFMAP Reads"]), r
        assert moved(e, "filter", "weights")[0] == int(r["SRAM Filter Reads"]), r


def test_one_fold_by_hand():
    """4 x 4 outputs of windows of 5 on a 4 x 4 array: 4 + 4 + 5 - 2, less 1; loading the weights adds 4."""
    assert folds(Gemm(4, 4, 5), 4, 4, "os").cycles == 10
    assert folds(Gemm(5, 4, 4), 4, 4, "ws").cycles == 14
    assert folds(Gemm(4, 5, 4), 4, 4, "is").cycles == 14
    assert folds(Gemm(5, 4, 5), 4, 4, "os").cycles == 2 * 11 - 1


def test_a_depthwise_layer_is_a_product_a_channel_and_uses_one_column():
    e = layer_cost(fxsim.layer.depthwise_conv2d(25, 5, 64), "systolic-16x16-os")
    assert e.cycles == 64 * folds(Gemm(125, 1, 9), 16, 16, "os").cycles
    (row,) = fxsim.estimate(fxsim.layer.depthwise_conv2d(25, 5, 64), "systolic-16x16-os").layers
    assert row.utilization < 1 / 16


def test_narrow_and_wide_operands_take_a_pass_for_each_pair_of_parts():
    wide = fxsim.layer.gemm(64, 64, 64, bits=16)
    base = layer_cost(fxsim.layer.gemm(64, 64, 64), "systolic-16x16-os").cycles
    assert layer_cost(wide, "systolic-16x16-os").cycles == 2 * base, "16-bit activations, 8-bit weights"
    assert layer_cost(fxsim.layer.gemm(64, 64, 64), "systolic-16x16-os-int4").cycles == 4 * base
    assert layer_cost(fxsim.layer.gemm(64, 64, 64), "systolic-16x16-os-binary").cycles == 64 * base
    assert layer_cost(fxsim.layer.gemm(64, 64, 64, bits=1), "systolic-16x16-os-binary").cycles == base
    energies = [dict(layer_cost(fxsim.layer.gemm(64, 64, 64, bits=4), f"systolic-16x16-os{m}").energy_pj)["mac_pj"]
                for m in ("", "-int4")]  # fmt: skip
    assert energies[1] < energies[0]


def test_the_main_memory_reads_again_what_a_buffer_cannot_keep():
    """32 KiB of a buffer are usable: a filter of 32 KiB is read once, a larger one for each fold of the rows."""
    small = layer_cost(fxsim.layer.gemm(256, 64, 512), "systolic-16x16-os")
    assert moved(small, "dram", "weights")[0] == 64 * 512
    large = layer_cost(fxsim.layer.gemm(2048, 128, 512), "systolic-16x16-os")
    assert moved(large, "dram", "weights")[0] + moved(large, "dram", "ifm")[0] > 128 * 512 + 2048 * 512
    folded = layer_cost(fxsim.layer.gemm(64, 16, 64), "systolic-16x16-ws")
    assert moved(folded, "ofmap", "scratch") == (64 * 16 * 3 * 4, 64 * 16 * 3 * 4)
    assert moved(folded, "dram", "scratch") == (0, 0)
    spilled = layer_cost(fxsim.layer.gemm(8192, 16, 64), "systolic-16x16-ws")
    assert moved(spilled, "dram", "scratch") == (8192 * 16 * 3 * 4,) * 2


def test_a_slow_main_memory_binds():
    e = layer_cost(fxsim.layer.gemm(1, 4096, 4096), "systolic-64x64-os-bw10")
    assert e.bound == "dram"
    assert e.cycles == e.memory_cycles > e.compute_cycles


SIZES = st.integers(1, 3000)
ARRAYS = st.builds(
    "systolic-{}x{}-{}".format, st.integers(1, 300), st.integers(1, 300), st.sampled_from(["os", "ws", "is"])
)


@settings(max_examples=150)
@given(SIZES, SIZES, SIZES, ARRAYS, st.sampled_from("mnk"), st.integers(1, 500))
def test_more_work_never_costs_less(m, n, k, target, which, more):
    small = {"m": m, "n": n, "k": k}
    a = layer_cost(fxsim.layer.gemm(**small), target)
    b = layer_cost(fxsim.layer.gemm(**small | {which: small[which] + more}), target)
    assert b.cycles >= a.cycles
    assert dict(b.energy_pj)["mac_pj"] > dict(a.energy_pj)["mac_pj"]


@settings(max_examples=100)
@given(SIZES, SIZES, SIZES, ARRAYS, st.integers(1, 100))
def test_a_slower_memory_and_wider_types_never_cost_less(m, n, k, target, bandwidth):
    slow, fast = (layer_cost(fxsim.layer.gemm(m, n, k), f"{target}-bw{b}") for b in (bandwidth, bandwidth + 7))
    assert slow.cycles >= fast.cycles >= layer_cost(fxsim.layer.gemm(m, n, k), target).cycles
    cycles = [layer_cost(fxsim.layer.gemm(m, n, k, bits=b), f"{target}-bw{bandwidth}").cycles for b in (1, 2, 4, 8, 16)]
    assert cycles == sorted(cycles)


def test_passes():
    from fxsim.model.ops import work

    graph = fxsim.layer.gemm(2, 3, 4, bits=16, weight_bits=4)
    assert [passes(work(graph, graph.nodes[0]), b) for b in (8, 4, 1)] == [2, 4, 64]


def test_a_list_of_layers_is_a_network():
    layers = [
        fxsim.layer.conv2d(32, 32, 3, 16),
        fxsim.layer.depthwise_conv2d(32, 32, 16),
        fxsim.layer.gemm(1, 10, 32 * 32 * 16),
    ]
    cost = fxsim.estimate(layers, "systolic-16x16-ws")
    assert [c.op for c in cost.layers] == ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
    alone = [fxsim.estimate(layer, "systolic-16x16-ws").layers[0].estimate for layer in layers]
    assert [c.estimate for c in cost.layers] == alone
    assert cost.plan.arena_bytes == 2 * 32 * 32 * 16, "each layer takes what the one before makes"
    assert [fxsim.estimate(layers, t).totals()["macs"] for t in ("cortex-m4", "hexagon-680")] == [
        32 * 32 * 16 * 27 + 32 * 32 * 16 * 9 + 10 * 32 * 32 * 16
    ] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fxsim.layer.gemm(0, 1, 1), "m is 0; allowed: integers of at least 1"),
        (lambda: fxsim.layer.gemm(1, 1, 1, bits=17), "bits is 17; allowed: 1 to 16"),
        (lambda: fxsim.layer.conv2d(8, 8, 4, 4, groups=3), "groups is 3; allowed: divisors of 4 and 4"),
        (lambda: fxsim.layer.conv2d(2, 2, 4, 4, kernel=5, padding="VALID"), "does not fit"),
        (lambda: fxsim.estimate([], "cortex-m4"), "0 layers; allowed: at least 1"),
    ],
)
def test_impossible_layers_are_refused(make, message):
    with pytest.raises(FxsimError, match=message):
        make()


@pytest.mark.parametrize(
    "name",
    [
        "systolic-0x4-os",
        "systolic-4x4-xs",
        "systolic-4x4",
        "systolic-4x4-os-bw0",
        "systolic-4x4-os-int3",
        "systolic-4x4-os-acc8",
    ],
)
def test_impossible_arrays_are_refused(name):
    with pytest.raises(ProfileError, match=r"allowed: at least 1|there are: |allowed: 16 \(one product\) to 64"):
        load_target(name)


def test_the_name_sets_the_array():
    p = load_target("systolic-8x24-is-int4-bw12").profile
    assert isinstance(p, Systolic)
    assert (p.rows.value, p.columns.value, p.dataflow, p.multiplier_bits.value, p.peak_macs.value) == (
        8,
        24,
        "is",
        4,
        192,
    )
    assert p.bytes_per_cycle["dram"] == 12
