"""Slots, tails and scratchpads of vector DSPs, by hand."""

import pytest
from cost_builders import conv_work
from msgspec.structs import replace

from fxsim import hwfiles
from fxsim.cost.estimate import estimate_work
from fxsim.report.cost import estimate
from fxsim.targets import load_target

NAMES = hwfiles.names("dsp")
HVX, C66, C7X, HIFI = (load_target(n).profile for n in ("hexagon-680", "ti-c66x", "ti-c7x", "hifi5"))


def vector(dsp, **changes):
    v = dsp.vector
    new = {k: replace(getattr(v, k), value=float(x)) if not isinstance(x, str) else x for k, x in changes.items()}
    return replace(dsp, vector=replace(v, **new))


def test_there_are_real_ones_that_say_they_are_unvalidated():
    assert len(NAMES) >= 4
    for n in NAMES:
        p = load_target(n).profile
        assert p.evidence.startswith("unvalidated") and not p.error_band


def test_slots_and_loads_set_the_rate():
    assert HVX.vector.mac_issue == 1  # two multiplications a packet, but one load, which each of them needs
    assert vector(HVX, mac_loads=0.5).vector.mac_issue == 2
    assert vector(HVX, mac_loads=0.1).vector.mac_issue == 2
    assert vector(HVX, load_slots=0.5).vector.mac_issue == 0.5
    assert C66.vector.mac_issue == pytest.approx(2 / 1.5)  # two .D units load what 4/3 DDOTP4H take


def test_convolution_on_c66x_by_hand():
    e = estimate_work(conv_work(8, 8, 16, 32, 3), C66)
    # two sums: 16 vectors of channels; 16 / 4 = 4 deep; 9 taps: 64 * 9 * 16 * 4 = 36864 DDOTP4H, 0.75 cycles each;
    # requantization 64 * 16 * 6 = 6144; call 500
    assert e.compute_cycles == 27648 + 6144 + 500
    # DDR: 4608 + 128 = 4736 B at 4 B a cycle = 1184; L2: 1024 + 2048 + 2 * 4736 = 12544 / 16 = 784
    assert e.memory_cycles == 1184
    assert e.cycles == 500 + 8 * 200 + 33792 + 1184 // 8  # eight pieces: the first is not hidden


def test_a_scratchpad_has_two_halves():
    # 256 x 256 x 16 in and out, 2304 + 64 B of constants, in pieces of 224 KiB
    e = estimate_work(conv_work(256, 256, 16, 16, 3), C7X)
    rounds = -(-(2 * 256 * 256 * 16 + 2304 + 64) // (448 * 1024 // 2))
    assert rounds == 10
    assert next(f.read_bytes for f in e.flows if (f.memory, f.tensor) == ("ddr", "weights")) == 2304 * rounds
    cache = replace(C7X, overlap="max")
    whole = estimate_work(conv_work(256, 256, 16, 16, 3), cache)
    assert next(f.read_bytes for f in whole.flows if (f.memory, f.tensor) == ("ddr", "weights")) == 2304 * 5


def test_tails_are_filled_or_left_to_the_scalar_unit():
    def busy(dsp, channels):
        return estimate_work(conv_work(4, 4, 64, channels, 3), dsp).compute_cycles

    lanes = 16  # 64 bytes of 32 bits
    assert busy(C7X, lanes + 1) == busy(C7X, 2 * lanes)
    scalar = vector(C7X, tails="scalar")
    assert busy(scalar, lanes + 1) == busy(C7X, lanes + 1)  # 576 products one by one take longer than a vector
    fast = replace(scalar, scalar=replace(scalar.scalar, mac=replace(scalar.scalar.mac, value=0.01),
                                          op=replace(scalar.scalar.op, value=1.0)))  # fmt: skip
    assert busy(C7X, lanes) < busy(fast, lanes + 1) < busy(C7X, lanes + 1)
    assert busy(fast, 2 * lanes) == busy(C7X, 2 * lanes)


@pytest.mark.parametrize("dsp", [HVX, C66, C7X, HIFI], ids=lambda d: d.name)
def test_binary_products_are_words(dsp):
    binary, int8 = (estimate_work(conv_work(16, 16, 256, 64, 3, bits=b, weight_bits=b), dsp) for b in (1, 8))
    assert binary.compute_cycles < int8.compute_cycles
    shallow = [estimate_work(conv_work(4, 4, 1, 64, 3, bits=b, weight_bits=b), dsp).compute_cycles for b in (1, 8)]
    assert shallow[0] <= shallow[1]


def test_binary_convolution_on_hvx_by_hand():
    e = estimate_work(conv_work(8, 8, 64, 48, 3, bits=1, weight_bits=1), HVX)
    # 2 vectors of channels, 64 / 32 = 2 words deep: 64 * 9 * 2 * 2 = 2304 steps of 4; requantization 64 * 2 * 8
    assert e.compute_cycles == (2304 * 4 + 1024) // 2 + 2000


@pytest.mark.parametrize("name", NAMES)
def test_a_network_fits_and_costs(name):
    from fxsim import layer

    c = estimate([layer.conv2d(32, 32, 16, 32), layer.depthwise_conv2d(32, 32, 32), layer.gemm(1, 10, 32)], name)
    assert c.total["fits"] and c.total["cycles"] > 0 and 0 < c.total["utilization"] < 1
