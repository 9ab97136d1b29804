"""Laws of microcontrollers and DSPs over random layers: more work, wider types and slower memories never cost less."""

import pytest
from cost_builders import conv_work, plain_work, pool_work
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fxsim import hwfiles
from fxsim.cost import mcu_targets
from fxsim.cost.estimate import estimate_work
from fxsim.errors import ProfileError
from fxsim.targets import load_target, overlapped

NAMES = [
    *mcu_targets.cores(),
    *hwfiles.names("dsp"),
    "cortex-m4+x-cube-ai-9",
    "cortex-m33+microtvm",
    "gap8+tflm-reference",
]
TARGETS = st.sampled_from([load_target(n) for n in NAMES])
size, channels = st.integers(1, 24), st.integers(1, 150)
mac_layers = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["conv", "depthwise", "dense"]),
        "out_h": size,
        "out_w": size,
        "in_c": channels,
        "out_c": channels,
        "kernel": st.integers(1, 7),
        "batch": st.integers(1, 2),
    }
)
WIDTHS = [(1, 1), (8, 1), (8, 2), (8, 4), (8, 8), (16, 8)]
"""bits of activations and weights, each at least as wide as the one before"""


def cycles(work, target):
    return estimate_work(work, target.profile).cycles


@settings(max_examples=300, deadline=None)
@given(mac_layers, TARGETS, st.sampled_from(["out_h", "out_w", "in_c", "out_c", "kernel", "batch"]), st.integers(1, 20))
def test_more_macs_never_cost_less(layer, target, key, more):
    for bits, weight_bits in ((1, 1), (8, 8)):
        types = {"bits": bits, "weight_bits": weight_bits}
        assert cycles(conv_work(**layer | {key: layer[key] + more}, **types), target) >= cycles(
            conv_work(**layer, **types), target
        )


@settings(max_examples=200, deadline=None)
@given(mac_layers, TARGETS)
def test_wider_types_never_cost_less(layer, target):
    costs = [cycles(conv_work(**layer, bits=a, weight_bits=w), target) for a, w in WIDTHS]
    assert costs == sorted(costs)


@settings(max_examples=200, deadline=None)
@given(mac_layers, TARGETS, st.floats(0.01, 1.0), st.sampled_from(["sum", "max", "pipelined"]))
def test_slower_memory_never_costs_less(layer, target, slower, overlap):
    target, work = overlapped(target, overlap), conv_work(**layer)
    p = target.profile
    for name, m in p.memory.items():
        slow = replace(m, bandwidth=replace(m.bandwidth, value=m.bandwidth.value * slower))
        assert estimate_work(work, replace(p, memory=p.memory | {name: slow})).cycles >= cycles(work, target)


@settings(max_examples=200, deadline=None)
@given(mac_layers, TARGETS)
def test_overlap_orders_the_costs(layer, target):
    work = conv_work(**layer)
    most, some, none = (estimate_work(work, overlapped(target, o).profile) for o in ("max", "pipelined", "sum"))
    assert most.cycles <= some.cycles <= none.cycles + 1
    assert most.compute_cycles == some.compute_cycles == none.compute_cycles


@settings(max_examples=100, deadline=None)
@given(
    TARGETS, st.integers(1, 5000), st.integers(1, 500), st.sampled_from(["elementwise", "softmax", "lookup", "copy"])
)
def test_more_elements_never_cost_less(target, n, more, kind):
    assert cycles(plain_work(kind, n + more), target) >= cycles(plain_work(kind, n), target)


@settings(max_examples=100, deadline=None)
@given(TARGETS, size, channels, st.integers(1, 6))
def test_larger_pools_never_cost_less(target, out, c, kernel):
    assert cycles(pool_work(out, out, c, kernel + 1), target) >= cycles(pool_work(out, out, c, kernel), target)


@settings(max_examples=100, deadline=None)
@given(mac_layers, st.floats(1.0, 20.0))
def test_a_slower_instruction_never_makes_a_layer_faster(layer, factor):
    m4 = load_target("cortex-m4").profile
    k = m4.kernel
    slow = replace(k, conv=replace(k.conv, mac=replace(k.conv.mac, value=k.conv.mac.value * factor)))
    work = conv_work(**layer)
    assert estimate_work(work, replace(m4, kernel=slow)).cycles >= estimate_work(work, m4).cycles


def test_overlap_is_for_targets_that_have_the_choice():
    with pytest.raises(ProfileError, match="overlap is 'half'; allowed: 'sum', 'max', 'pipelined'"):
        overlapped(load_target("cortex-m4"), "half")
    with pytest.raises(ProfileError, match=r"overlap on ethos-u55-128.*allowed: mcu, dsp and systolic"):
        overlapped(load_target("ethos-u55-128"), "max")
