"""Each live engine plays the device for another engine's user: the true engine is named, and no equal layer is blamed."""

import os

import numpy as np
import pytest

import fxsim
from fxsim.importers import parse, tflite
from tests import engines
from tests.build import Builder
from tests.diagnose.live_dumps import DEVICES, STYLES, dump, profile_of
from tests.golden import MODELS, Golden

QUICK = ("autoencoder", "hello_world_int8", "micro_speech")
"""the networks of a normal run; all of them with FXSIM_LONG=1"""
LONG = os.environ.get("FXSIM_LONG") == "1"
USERS = ("tflm", "litert-reference", "litert-optimized", "litert-xnnpack")
pytestmark = pytest.mark.corpus
SLOW = pytest.mark.skipif(not LONG, reason="slow: FXSIM_LONG=1 runs it")


def names():
    return MODELS if LONG else QUICK


def pairs():
    """Devices, and the profiles of users who hold them against their simulation: in a normal run one each."""
    for device in DEVICES:
        others = () if "QDQ" in device else tuple(u for u in USERS if u != device)
        users = (*(("onnxruntime-avx2",) if device in STYLES else ()), *others)
        yield from ((device, u) for u in (users if LONG else users[:1]))


def check(why: fxsim.Explanation, engine: str, trace: fxsim.Trace, dump) -> int:
    """The true engine is in the first class of every layer that differs, and no equal one is blamed. Returns how many do."""
    for f in why.differing:
        if f.status == "within":  # a stretch of layers with sums in float32, whose order is ONNX Runtime's own
            assert engine == "onnxruntime"
            continue
        assert f.status == "explained", f"{engine}: layer {f.layer} {f.op}: {f.row().words}"
        assert engine in f.profiles or f.outcome is None, f"{engine}: layer {f.layer} {f.op}: {f.profiles}"
    try:
        rows = fxsim.compare(trace, dump, mode="single").rows  # shares no search with explain
    except fxsim.DumpError:  # no layer has its inputs and its outputs in the dump
        rows = ()
    judged, wrong = {r.layer for r in rows if r.layer >= 0}, {r.layer for r in rows if r.layer >= 0 and r.mismatches}
    assert {f.layer for f in why.differing} & judged == wrong
    return len(why.differing)


@pytest.mark.parametrize(("device", "users"), list(pairs()))
@pytest.mark.parametrize("name", names())
def test_every_tensor_of_a_live_engine(corpus, name, device, users):
    golden = Golden(corpus, name)
    try:
        seen = dump(device, golden)
    except (engines.Refused, fxsim.UnsupportedOp) as e:
        pytest.skip(f"the engine refuses the model, or it has no form for it: {e}")
    try:
        trace = fxsim.simulate(seen.graph, seen.inputs, users)
    except (fxsim.UnsupportedOp, fxsim.ProfileError) as e:
        pytest.skip(f"the user's profile does not take the model: {e}")
    why = fxsim.explain(seen.graph, seen.arrays, seen.inputs, users)
    differing, engine = check(why, profile_of(device), trace, seen.arrays), profile_of(device)
    if differing and device not in STYLES:
        assert engine in why.numerics


def test_a_stream_is_explained_too(corpus):
    """Layers of state are no arithmetic: they are not searched, and what follows them is judged alone."""
    seen = dump("tflm", Golden(corpus, "hey_jarvis_stream"))
    why = fxsim.explain(seen.graph, seen.arrays, seen.inputs, "litert-reference")
    assert why.equal
    assert "READ_VARIABLE" in {f.op for f in why.findings}


def test_nothing_is_named_where_no_layer_is_judged_alone():
    """Two layers seen as one: no profile makes what the device did, so none is said to explain it."""
    b = Builder()
    x, y = (b.tensor(n, (1, 8), "int8", 0.05, 0) for n in "xy")
    h = b.tensor("h", (1, 8), "int8", 1 / 256, -128)
    b.op("LOGISTIC", [x], [h])
    b.op("QUANTIZE", [h], [y])
    graph = parse(b.finish([x], [y]), "two.tflite", tflite.parse)
    x = np.arange(-40, 40, 10, np.int8)[np.newaxis]
    why = fxsim.explain(graph, {"output_0": np.array([[9, -3, 77, 1, 0, 5, -128, 4]], np.int8)}, x, "tflm")
    assert [f.status for f in why.findings] == ["not in the dump", "within"]
    assert why.numerics == ()
    assert "profiles" not in why.words


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
    user = fxsim.simulate(golden.graph, x, "litert-reference")
    assert check(why, "litert-xnnpack", user, trace) > 5
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
