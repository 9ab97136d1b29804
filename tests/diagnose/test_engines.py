"""Each live engine plays the device for another engine's user: the true engine is named, and no equal layer is blamed."""

import os

import numpy as np
import pytest

import fxsim
from tests import engines
from tests.golden import MODELS, Golden

QUICK = ("ad01_int8", "hello_world_int8", "mnist_lstm_int8")
"""the networks of a normal run; all of them with FXSIM_LONG=1"""
LIVE = {
    "litert-reference": engines.litert_reference,
    "litert-optimized": engines.litert_optimized,
}
pytestmark = pytest.mark.corpus
SLOW = pytest.mark.skipif(os.environ.get("FXSIM_LONG") != "1", reason="slow: FXSIM_LONG=1 runs it")


def names():
    return MODELS if os.environ.get("FXSIM_LONG") == "1" else QUICK


def dump_of(engine, golden: Golden, inference: int) -> dict[str, np.ndarray]:
    """Every tensor that the engine shows of one inference."""
    given = [x[inference] for x in golden.inputs]
    made = {n.outputs[0] for n in golden.graph.nodes} | {i for n in golden.graph.nodes for i in n.outputs}
    values = engine(golden.path.read_bytes(), given)
    tensors = golden.graph.tensors
    return {
        f"tensor_{i}": v
        for i, v in values.items()
        if i in made and not tensors[i].constant and v.dtype == tensors[i].qtype.dtype and v.shape == tensors[i].shape
    }


def check(why: fxsim.Explanation, engine: str) -> int:
    """The true engine is in the first class of every layer that differs. Returns how many do."""
    for f in why.differing:
        assert f.status == "explained", f"{engine}: layer {f.layer} {f.op}: {f.row().words}"
        assert engine in f.profiles, f"{engine}: layer {f.layer} {f.op}: {f.profiles}"
    for f in why.findings:
        assert (f.status in ("equal", "not in the dump")) == (f.mismatches == 0)
    if why.differing:
        assert engine in why.numerics
    return len(why.differing)


@pytest.mark.parametrize(
    "users",
    [
        "litert-reference",
        *(pytest.param(name, marks=SLOW) for name in ("tflm", "litert-optimized", "litert-xnnpack")),
    ],
)
@pytest.mark.parametrize("engine", LIVE)
@pytest.mark.parametrize("name", names())
def test_every_tensor_of_a_live_engine(corpus, name, engine, users):
    golden = Golden(corpus, name)
    try:
        dump = dump_of(LIVE[engine], golden, 0)
    except engines.Refused as e:
        pytest.skip(f"the engine refuses the model: {e}")
    x = [v[0] for v in golden.inputs]
    try:
        why = fxsim.explain(golden.graph, dump, x, users)
    except fxsim.UnsupportedOp as e:
        pytest.skip(f"the user's profile does not take the model: {e}")
    check(why, engine)


PREFIXES = {"litert-xnnpack": "xnn", "tflm": "tflm"}


@pytest.mark.parametrize(("engine", "prefix"), PREFIXES.items())
@pytest.mark.parametrize("name", names())
def test_outputs_alone(corpus, name, engine, prefix):
    """Engines that show no tensor within: the profile is found by its outputs."""
    golden = Golden(corpus, name)
    if f"{prefix}0_out0" not in golden.arrays or golden.graph.variables:
        pytest.skip("the engine does not take the model, or it is a stream")
    count = min(golden.count, 3)
    x = [v[:count] for v in golden.inputs]
    dump = {
        f"output_{j}": np.stack([golden.arrays[f"{prefix}{i}_out{j}"] for i in range(count)])
        for j in range(len(golden.graph.outputs))
    }
    why = fxsim.explain(golden.graph, dump, x, "litert-reference")
    if not why.equal:
        assert engine in why.numerics, why.words
        simulated = fxsim.simulate(golden.graph, x, why.profile)
        assert all(np.array_equal(simulated.kept[i], dump[f"output_{j}"]) for j, i in enumerate(golden.graph.outputs))


@SLOW
def test_xnnpack_layer_by_layer(corpus):
    """XNNPACK shows no tensor within a network: what it makes of each, as the profile that equals it does, is explained."""
    golden = Golden(corpus, "resnet8_int8")
    x = [v[:1] for v in golden.inputs]
    trace = fxsim.simulate(golden.graph, x, "litert-xnnpack", keep="all")
    live = engines.litert_xnnpack(golden.path.read_bytes(), [v[0] for v in x])
    assert np.array_equal(trace.kept[golden.graph.outputs[0]][0], live[0])
    why = fxsim.explain(golden.graph, trace, x, "litert-reference")
    assert check(why, "litert-xnnpack") > 5
    rows = why.table
    assert list(rows.status.unique()) == ["explained", "equal"]


def test_what_a_deviation_does_downstream(corpus):
    golden = Golden(corpus, "resnet8_int8")
    x = [v[:3] for v in golden.inputs]
    trace = fxsim.simulate(golden.graph, x, "litert-optimized", keep="all")
    why = fxsim.explain(golden.graph, trace, x, "litert-reference")
    rows = why.effects(x)
    assert [r.layer for r in rows] == [*(f.layer for f in why.differing), -1]
    reference = fxsim.simulate(golden.graph, x, "litert-reference")
    changed = sum(int(np.sum(trace.kept[i] != reference.kept[i])) for i in golden.graph.outputs)
    assert rows[-1].output_elements == changed
    assert all(r.here_elements > 0 or r.layer > 0 for r in rows)
    assert all(r.inferences == 3 for r in rows)
