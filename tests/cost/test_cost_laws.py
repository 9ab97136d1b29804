"""Laws that hold on every target, over random layers."""

import dataclasses

import pytest
from cost_builders import conv_work, plain_work, pool_work
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsim.cost.estimate import estimate_work
from fxsim.cost.layer import input_footprint_bytes, total_bytes
from fxsim.targets import list_targets, load_target

TARGETS = [t for t in map(load_target, list_targets()) if t.kind != "systolic"]
"""systolic arrays take layers with MACs only; their laws are in test_systolic.py"""
PLAIN = ("elementwise", "softmax", "lookup", "copy", "reduce")
size = st.integers(1, 40)
channels = st.integers(1, 200)

mac_layers = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["conv", "depthwise", "dense"]),
        "out_h": size,
        "out_w": size,
        "in_c": channels,
        "out_c": channels,
        "kernel": st.integers(1, 10),
        "bits": st.sampled_from([8, 16]),
        "weight_bits": st.sampled_from([4, 8]),
        "batch": st.integers(1, 3),
    }
)
pool_layers = st.fixed_dictionaries(
    {
        "out_h": size,
        "out_w": size,
        "channels": channels,
        "kernel": st.integers(1, 10),
        "bits": st.sampled_from([8, 16]),
    }
)
plain_layers = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(PLAIN),
        "elements": st.integers(1, 20_000),
        "per_element": st.integers(1, 5),
        "inputs": st.integers(1, 3),
        "bits": st.sampled_from([8, 16]),
        "requantized": st.booleans(),
        "constants": st.integers(0, 1000),
    }
)
layers = st.one_of(
    mac_layers.map(lambda a: (conv_work, a)),
    pool_layers.map(lambda a: (pool_work, a)),
    plain_layers.map(lambda a: (plain_work, a)),
)
where = st.tuples(st.sampled_from(TARGETS), st.booleans())


def cost(work, at):
    target, accelerated = at
    return estimate_work(work, target.profile, target.host, accelerated=accelerated)


@settings(deadline=None)
@given(layers, where)
def test_no_layer_beats_the_roofline_or_is_free(layer, at):
    build, arguments = layer
    work, profile = build(**arguments), at[0].profile
    e = cost(work, at)
    assert e.cycles > 0
    assert e.cycles >= work.macs / profile.peak_macs.value
    speeds = profile.bytes_per_cycle
    for memory, speed in speeds.items():
        assert e.cycles >= e.memory_cycles >= total_bytes(e.flows, memory) / speed
    assert e.bound in ("compute", *speeds)
    parts = dict(e.energy_pj)
    assert min(parts.values()) >= 0 and sum(parts.values()) > 0


@settings(deadline=None)
@given(layers, where)
def test_what_must_cross_a_memory_does(layer, at):
    build, arguments = layer
    work, profile = build(**arguments), at[0].profile
    e = cost(work, at)
    moved = {c: [0, 0] for c in ("ifm", "ofm", "weights", "bias", "scratch")}
    for f in e.flows:
        if f.memory == profile.memory_of("activations" if f.tensor in ("ifm", "ofm", "scratch") else "constants"):
            moved[f.tensor][0] += f.read_bytes
            moved[f.tensor][1] += f.write_bytes
    assert moved["ifm"][0] >= input_footprint_bytes(work)
    assert moved["ofm"][1] >= work.output_bytes
    assert moved["weights"][0] + moved["bias"][0] >= work.constant_bytes


GROWS = {
    conv_work: ["out_h", "out_w", "in_c", "out_c", "kernel", "batch"],
    pool_work: ["out_h", "out_w", "channels", "kernel"],
    plain_work: ["elements", "per_element", "inputs", "constants"],
}


@settings(max_examples=400, deadline=None)
@given(layers, where, st.data())
def test_a_larger_layer_never_costs_less(layer, at, data):
    build, arguments = layer
    key = data.draw(st.sampled_from(GROWS[build]))
    larger = arguments | {key: arguments[key] + data.draw(st.integers(1, 20))}
    small, large = cost(build(**arguments), at), cost(build(**larger), at)
    assert large.cycles >= small.cycles
    assert large.compute_cycles >= small.compute_cycles or at[0].kind.startswith(
        "npu"
    )  # an NPU may trade it for traffic


@settings(deadline=None)
@given(layers, where)
def test_wider_types_never_cost_less(layer, at):
    build, arguments = layer
    for key, narrow, wide in (("bits", 8, 16), ("weight_bits", 4, 8)):
        if key in arguments:
            a, b = (cost(build(**arguments | {key: v}), at) for v in (narrow, wide))
            assert b.cycles >= a.cycles
            if key == "bits":
                assert sum(f.read_bytes + f.write_bytes for f in b.flows) > 0


@settings(deadline=None)
@given(mac_layers, where)
def test_more_requantization_or_operations_never_cost_less(arguments, at):
    work = conv_work(**arguments)
    more = dataclasses.replace(work, bias_bytes=work.bias_bytes * 2)
    assert cost(more, at).cycles >= cost(work, at).cycles


@settings(deadline=None)
@given(plain_layers, where)
def test_rescaling_never_costs_less(arguments, at):
    without, rescaled = (cost(plain_work(**arguments | {"requantized": r}), at) for r in (False, True))
    assert rescaled.cycles >= without.cycles


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_energy_of_a_single_core_grows_with_its_cycles(target):
    if target.kind == "mcu":
        a, b = (estimate_work(conv_work(out_c=c), target.profile) for c in (8, 9))
        assert sum(v for _, v in b.energy_pj) > sum(v for _, v in a.energy_pj)
        assert sum(v for _, v in a.energy_pj) == pytest.approx(a.cycles * target.profile.cycle_pj)
