"""The register that no input can overflow: exact for every layer and channel, and reached by a constructed input."""

import numpy as np
import pytest

import fxsim
from fxsim.arith.bounds import bits_needed
from fxsim.errors import DomainError
from fxsim.kernels.ordered import HIGH, LOW
from fxsim.sim.plan import plan_of
from fxsim.sim.registers import channel_ranges, layers_of
from tests.sim.test_demo_model import DATA


@pytest.fixture(scope="module")
def model():
    return fxsim.read(str(DATA / "digits_int8.tflite"))


def reaches(model, layer, prepared, channel):
    """Runs the layer on its worst input, and sees the register come to the very end of its range."""
    worst = fxsim.worst_input(model, layer, channel)
    _, seen = prepared.watched(worst.inputs)
    assert worst.value in (seen[channel, LOW], seen[channel, HIGH])
    return worst


def test_every_channel_reaches_its_limit_and_needs_all_its_bits(model):
    rows = {r.layer: r for r in fxsim.needed_bits(model)}
    count = 0
    for layer, _, _, prepared in layers_of(plan_of(model, fxsim.load_numerics("litert-reference"))):
        ranges = channel_ranges(prepared)
        for channel, (low, high) in enumerate(ranges):
            worst = reaches(model, layer, prepared, channel)
            assert bits_needed(min(0, worst.value), max(0, worst.value)) == bits_needed(low, high)
            count += 1
        assert rows[layer].bits == max(bits_needed(*r) for r in ranges)
    assert count == 8 + 8 + 8 + 16 + 64 + 10


def test_no_random_input_goes_farther(model):
    rng = np.random.default_rng(0)
    trace = fxsim.simulate(model, rng.integers(-128, 128, (20, 1, 8, 8, 1)).astype(np.int8))
    rows = {r.layer: r for r in fxsim.needed_bits(model)}
    for s in trace.stats:
        if s.layer in rows:
            assert rows[s.layer].low <= s.acc_min
            assert s.acc_max <= rows[s.layer].high


@pytest.mark.corpus
@pytest.mark.parametrize(
    "name",
    [
        *("kws_int8", "hey_jarvis_stream", "micro_speech", "ad01_int8"),
        *("seanet/seanet_conv0", "seanet/seanet_transpose_conv0", "seanet/seanet_transpose_conv4"),
    ],
)
def test_real_models(corpus, name):
    """Strides, padding wider than the image's reach, depth multipliers, dense layers, 64-bit sums, spread inputs."""
    graph = fxsim.read(corpus / "models" / f"{name}.tflite")
    for layer, _, _, prepared in layers_of(plan_of(graph, fxsim.load_numerics("litert-reference"))):
        for channel in {0, prepared.geometry.out_c // 2, prepared.geometry.out_c - 1}:
            reaches(graph, layer, prepared, channel)


def test_the_fast_path_is_taken_only_where_it_is_proved_equal(model, tmp_path):
    """At the needed width the plain sum serves a saturating register; one bit less, and the slow kernel must."""
    need = {r.layer: r.bits for r in fxsim.needed_bits(model)}
    for bits in (max(need.values()), min(need.values()) - 1):
        path = tmp_path / f"{bits}.toml"
        path.write_text(f'base = "litert-reference"\n[accumulator]\nbits = {bits}\noverflow = "saturate"\n')
        rows = fxsim.needed_bits(model, str(path))
        for (_, _, _, prepared), row in zip(
            layers_of(plan_of(model, fxsim.load_numerics(str(path)))), rows, strict=True
        ):
            assert row.safe == (row.bits <= bits)
            assert prepared.policy == ("wrap" if row.safe else "saturate")


ORDERS = {
    "tree": "lanes = 4",
    "lanes": "lanes = 3",
    "pairs16": "",
    "spill16": "lanes = 32",
    "float32": "",
    "float16": "lanes = 8",
}


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_in_a_model(model, tmp_path, order):
    """Orders that round nothing and overflow nothing give the plain sum; the others differ, and say where first."""
    x = np.random.default_rng(1).integers(-128, 128, (2, 1, 8, 8, 1)).astype(np.int8)
    path = tmp_path / "o.toml"
    path.write_text(f'base = "tflm"\n[accumulator]\norder = "{order}"\n{ORDERS[order]}\n')
    mine, plain = fxsim.simulate(model, x, str(path), keep="all"), fxsim.simulate(model, x, "tflm", keep="all")
    same = fxsim.compare(mine, plain).equal
    assert same == (order in ("tree", "lanes", "float32"))
    if order in ("pairs16", "spill16"):
        hit = next(s for s in mine.stats if s.overflows)
        assert len(hit.first_overflow) == 1 + len(model.tensors[model.nodes[hit.layer].outputs[0]].shape)
        assert mine.channels["overflows"].sum() == sum(s.overflows for s in mine.stats)


def test_refusals(model):
    with pytest.raises(DomainError, match=r"layer 2 has no accumulator; allowed: \[0, 1, 3, 4, 7, 8\]"):
        fxsim.worst_input(model, 2, 0)
    with pytest.raises(DomainError, match=r"no channel 8; allowed: 0..7"):
        fxsim.worst_input(model, 0, 8)
