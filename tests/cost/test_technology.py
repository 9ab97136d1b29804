"""Energy: tables of technologies, widths of operands and accumulators, and the two worlds that never meet."""

import pytest
from cost_builders import conv_work, small_graph
from hypothesis import given
from hypothesis import strategies as st

from fxsim import layer
from fxsim.cost.energy import HOST, product_pj
from fxsim.cost.estimate import estimate_work
from fxsim.cost.technology import priced, technologies
from fxsim.errors import ProfileError
from fxsim.report.cost import estimate
from fxsim.targets import load_target

TABLED = ("systolic-32x32-os", "hexagon-680", "ti-c7x", "hifi5", "ethos-u55-128")


def test_a_product_by_hand():
    """Horowitz: multiply 0.2 pJ at 8 x 8 bits, add 0.1 pJ at 32."""
    assert product_pj(0.3, 0.1, 8, 8, 32) == pytest.approx(0.3)
    assert product_pj(0.3, 0.1, 4, 4, 32) == pytest.approx(0.05 + 0.1)
    assert product_pj(0.3, 0.1, 1, 1, 16) == pytest.approx(0.2 / 64 + 0.05)
    assert product_pj(0.3, 0.1, 16, 8, 32) == pytest.approx(0.4 + 0.1)


@given(st.integers(1, 16), st.integers(1, 16), st.integers(2, 64), st.sampled_from([(1, 0, 0), (0, 1, 0), (0, 0, 1)]))
def test_wider_operands_and_sums_take_more(a, w, acc, step):
    wider = [x + d for x, d in zip((a, w, acc), step, strict=True)]
    assert product_pj(0.3, 0.1, *wider) > product_pj(0.3, 0.1, a, w, acc)


def test_tables_get_smaller_with_the_process_and_larger_with_the_memory():
    old, new = technologies()["45nm"], technologies()["7nm"]
    for t in (old, new):
        assert t.sram8k.value < t.sram32k.value < t.sram1m.value < t.dram.value
        assert t.add8.value < t.add32.value < t.multiply8.value
    for key in ("add8", "add32", "multiply8", "sram8k", "sram32k", "sram1m"):
        assert getattr(new, key).value < getattr(old, key).value


@pytest.mark.parametrize(("size", "word"), [(1, 10), (8192, 10), (8193, 20), (32768, 20), (32769, 100), (1 << 30, 100)])
def test_access_by_size(size, word):
    assert technologies()["45nm"].access("sram", size).value == word / 8
    assert technologies()["45nm"].access("ddr", size).value == 1300 / 8


def test_the_45_nm_table_is_what_the_array_was_priced_with():
    p = load_target("systolic-32x32-os-int4").profile
    same = priced(p, "45nm")
    assert same.mac_energy.value == pytest.approx(p.mac_energy.value) and same.op_energy.value == p.op_energy.value
    assert same.memory["dram"].read_energy.value == pytest.approx(p.memory["dram"].read_energy.value)


@pytest.mark.parametrize("target", TABLED)
def test_another_technology_changes_energy_and_nothing_else(target):
    a, b = (estimate(small_graph(), target, technology=t) for t in ("45nm", "7nm"))
    assert b.total["energy_pj"] < a.total["energy_pj"]
    assert (b.total["cycles"], b.total["read_bytes"]) == (a.total["cycles"], a.total["read_bytes"])
    assert b.total["idle_pj"] == a.total["idle_pj"] and "idle power" in b.as_dict()["technology"]
    if "flash_pj" in a.total:
        assert b.total["flash_pj"] == a.total["flash_pj"] and "flash as the profile" in b.as_dict()["technology"]
    if HOST in a.total:
        assert b.total[HOST] == a.total[HOST]


def test_a_whole_chip_takes_no_table():
    with pytest.raises(
        ProfileError, match=r"technology on cortex-m4, a mcu: .* whole chip.*; allowed: npu, systolic and"
    ):
        estimate(small_graph(), "cortex-m4", technology="7nm")
    with pytest.raises(ProfileError, match="technology is '3nm'; allowed: '45nm', '7nm'"):
        estimate(small_graph(), "hifi5", technology="3nm")


def test_no_total_adds_the_two_worlds():
    c = estimate(small_graph(), "ethos-u55-128")
    assert c.energy_is == "operations and accesses" and c.total[HOST] > 0
    assert c.total["energy_pj"] == pytest.approx(sum(c.total[k] for k in c.energy_parts))
    assert HOST not in c.energy_parts
    assert estimate(small_graph(), "cortex-m4").energy_is == "whole chip"


def mac_pj(target, **types):
    (x,) = estimate(layer.gemm(64, 64, 64, **types), target).layers
    return dict(x.estimate.energy_pj)["mac_pj"]


def test_widths_of_multipliers_and_accumulators_change_energy():
    base = "systolic-16x16-os"
    assert mac_pj(f"{base}-binary", bits=1) < mac_pj(f"{base}-int4", bits=4) < mac_pj(base) < mac_pj(base, bits=16)
    assert mac_pj(f"{base}-acc16") < mac_pj(f"{base}-acc24") < mac_pj(base) < mac_pj(f"{base}-acc48")
    op = load_target(base).profile.op_energy.value
    assert mac_pj(base) - mac_pj(f"{base}-acc16") == pytest.approx(64**3 * op / 2)
    bits = load_target(f"{base}-int4-acc20").profile
    assert (bits.multiplier_bits.value, bits.accumulator_bits.value) == (4, 20)


@pytest.mark.parametrize("target", ["hexagon-680", "ti-c66x", "hifi4"])
def test_binary_layers_take_less_energy_on_a_dsp(target):
    p = load_target(target).profile
    one, eight = (dict(estimate_work(conv_work(bits=b, weight_bits=b), p).energy_pj)["mac_pj"] for b in (1, 8))
    assert one < eight / 2
    assert dict(estimate_work(conv_work(bits=16), p).energy_pj)["mac_pj"] > eight
