"""Laws of one target of every family over random layers: more MACs, wider types, slower memory never cost less."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import fxsim
from fxsim import layer
from fxsim.cost.estimate import estimate_work
from fxsim.model.ops import work
from fxsim.targets import Target, load_target

NAMES = (
    "cortex-m0plus", "cortex-m4", "cortex-m7+x-cube-ai-9", "cortex-m55", "esp32-s3", "gap8",
    "hexagon-680", "ti-c66x", "ti-c7x", "hifi5",
    "ethos-u55-128", "ethos-u85-256",
    "systolic-16x16-os", "systolic-8x8-ws-int4-bw8", "systolic-16x4-is-binary", "systolic-8x8-os-int16-acc40",
)  # fmt: skip
TARGETS = st.sampled_from([load_target(n) for n in NAMES])
size, channels, kernel = st.integers(1, 20), st.integers(1, 80), st.integers(1, 5)
CONV = st.tuples(st.just(layer.conv2d), size, size, channels, channels, kernel)
DEPTHWISE = st.tuples(st.just(layer.depthwise_conv2d), size, size, channels, kernel)
GEMM = st.tuples(st.just(layer.gemm), size, channels, channels)
LAYERS = st.one_of(CONV, DEPTHWISE, GEMM)
WIDTHS = st.integers(1, 16)


def cost(made, target, **types):
    """Of a layer on its own: a compiler's choices for whole networks promise nothing."""
    make, *sizes = made
    graph = make(*sizes, **types)
    p = target.profile
    accelerated = not (target.kind.startswith("npu") and types.get("weight_bits", 8) > 8)
    return estimate_work(work(graph, graph.nodes[0]), p, target.host, accelerated=accelerated)


@settings(max_examples=300, deadline=None)
@given(LAYERS, TARGETS, st.data())
def test_more_macs_never_cost_less(made, target, data):
    which = data.draw(st.integers(1, len(made) - 1))
    more = list(made)
    more[which] += data.draw(st.integers(1, 20))
    assert cost(tuple(more), target).cycles >= cost(made, target).cycles


@settings(max_examples=300, deadline=None)
@given(LAYERS, TARGETS, WIDTHS, WIDTHS, st.sampled_from(["bits", "weight_bits"]))
def test_wider_types_never_cost_less(made, target, a, b, which):
    other = {"weight_bits": 8} if which == "bits" else {"bits": 8}
    narrow, wide = (cost(made, target, **other | {which: n}) for n in sorted((a, b)))
    assert wide.cycles >= narrow.cycles
    moved = [sum(f.read_bytes + f.write_bytes for f in e.flows) for e in (narrow, wide)]
    assert moved[1] >= moved[0] or target.kind.startswith("npu")  # an NPU trades traffic for time


@settings(max_examples=200, deadline=None)
@given(LAYERS, TARGETS, st.floats(0.001, 1.0))
def test_a_slower_memory_never_costs_less(made, target, slower):
    p = target.profile
    for name, m in p.memory.items():
        slow = replace(m, bandwidth=replace(m.bandwidth, value=m.bandwidth.value * slower))
        changed = Target(replace(p, memory=dict(p.memory) | {name: slow}), target.host)
        assert cost(made, changed).cycles >= cost(made, target).cycles


@settings(max_examples=100, deadline=None)
@given(LAYERS, st.sampled_from(["systolic-16x16-os-bw4", "systolic-8x8-ws-int4-bw8", "systolic-4x20-is-bw1"]))
def test_overlap_orders_the_costs_of_an_array(made, name):
    graph = made[0](*made[1:])
    most, some, none = (fxsim.estimate(graph, name, o).totals()["cycles"] for o in ("max", "pipelined", "sum"))
    assert most <= some <= none + 1


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("bits", [1, 3, 5, 7, 9, 12, 15, 16])
def test_every_family_takes_every_width(target, bits):
    for made in (layer.conv2d(6, 6, 9, 5, bits=bits, weight_bits=bits), layer.gemm(1, 7, 33, bits=bits)):
        total = fxsim.estimate(made, target).totals()
        assert total["cycles"] > 0 and total["energy_pj"] + total.get("host_pj", 0) > 0


def test_an_array_uses_one_column_for_a_depthwise_layer_and_says_so():
    deep, wide = (fxsim.estimate(m, "systolic-16x16-os").rows()[0]["utilization"]
                  for m in (layer.depthwise_conv2d(16, 16, 32), layer.conv2d(16, 16, 32, 32)))  # fmt: skip
    assert deep < 1 / 16 < 0.5 < wide
