"""Calibration: every way to give data says the same, it goes on where it stopped, and bad data is told apart."""

import numpy as np
import pytest

from fxsim.errors import DumpError, FxsimError, InputError
from fxsim.quant import calibrate as public
from fxsim.quant import quantize
from fxsim.quant.calibration import BATCH, calibrate, inputs_of, load_calibration
from fxsim.sim.real.plan import run
from tests.quant.graphs import FloatBuilder


def model(name="model.tflite", seed=0):
    b, rng = FloatBuilder(name), np.random.default_rng(seed)
    x = b.input("x", (1, 6, 6, 2))
    y = b.conv(x, rng.normal(size=(3, 3, 3, 2)), rng.normal(size=3), activation="RELU")
    return b.finish(b.pool(y, "AVERAGE_POOL_2D", 2))


def two_inputs():
    b = FloatBuilder()
    x, y = b.input("x", (1, 3)), b.input("y", (1, 3))
    return b.finish(b.add(x, y))


X = np.random.default_rng(1).normal(size=(3 * BATCH + 5, 6, 6, 2)).astype(np.float32)


def states(calibration):
    return {i: [a.tolist() for a in seen.state()] for i, seen in sorted(calibration.observers.items())}


def test_ranges_are_those_of_the_float_network():
    g = model()
    seen = calibrate(g, X)
    made = run(g, X, "float32", keep=list(seen.observers))
    assert set(seen.observers) == {g.inputs[0], g.nodes[0].outputs[0], g.nodes[1].outputs[0]}
    assert seen.count == len(X)
    for i, observer in seen.observers.items():
        assert (observer.low, observer.high) == (made[i].min(), made[i].max())
        assert observer.elements == made[i].size


def test_every_way_to_give_data_is_the_same(tmp_path):
    g, wanted = model(), states(calibrate(model(), X))
    np.savez(tmp_path / "in.npz", x=X)
    np.savez(tmp_path / "labelled.npz", x=X, y=np.zeros(len(X), int))
    np.save(tmp_path / "in.npy", X)
    parts = [X[i : i + BATCH] for i in range(0, len(X), BATCH)]
    ways = [
        {"x": X},
        [X],
        parts,
        iter(parts),
        X[:, None],
        X.astype(np.float64),
        tmp_path / "in.npz",
        str(tmp_path / "in.npy"),
    ]
    for way in (*ways, tmp_path / "labelled.npz"):
        assert states(calibrate(g, way)) == wanted
    assert inputs_of(g, tmp_path / "in.npz")[1] == len(X)
    a, b = np.ones((4, 1, 3), np.float32), 2 * np.ones((4, 1, 3), np.float32)
    for both in ([a, b], {"x": a, "y": b}, [[a, b]], iter([{"x": a, "y": b}])):
        assert calibrate(two_inputs(), both).observers[2].high == 3


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("fxsim.quant.calibration.SAVE_SECONDS", -1.0)
    g, state, told = model(), tmp_path / "state.npz", []

    def stopping():
        yield X[:BATCH]
        yield X[BATCH : 2 * BATCH]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(g, stopping(), state=state)
    assert load_calibration(state, g).count == 2 * BATCH
    resumed = calibrate(g, X, state=state, progress=told.append)
    assert states(resumed) == states(calibrate(g, X))
    assert told[-1] == len(X)
    again = calibrate(g, X, state=state)
    assert states(again) == states(resumed) == states(load_calibration(state, g))
    with pytest.raises(InputError, match=f"has seen {len(X)} inferences; the data has 3"):
        calibrate(g, X[:3], state=state)
    with pytest.raises(DumpError, match="of another graph"):
        calibrate(model(seed=9), X, state=state)
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("how", ["text", "foreign", "short"])
def test_a_foreign_state_is_refused(tmp_path, how):
    state = tmp_path / "state.npz"
    if how == "text":
        state.write_text("nothing")
    elif how == "foreign":
        np.savez(state, a=np.zeros(3))
    else:
        calibrate(model(), X[:4], state=state)
        arrays = dict(np.load(state))
        np.savez(state, **{k: v[:3] if k.startswith("counts") else v for k, v in arrays.items()})
    with pytest.raises(DumpError, match=r"state\.npz: is no"):
        calibrate(model(), X, state=state)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (X[..., :1], r"input 'x' has shape \[53, 6, 6, 1\]; allowed: \[1, 6, 6, 2\]"),
        (np.where(X == X.max(), np.nan, X), "input 'x' is nan at .*; allowed: finite values"),
        (np.full_like(X, np.inf), "input 'x' is inf"),
        (X.astype(np.int32), "input 'x' is int32"),
        (X[:0], "hold no inference"),
        ([], "the calibration data is empty; allowed: at least 1 inference"),
        (iter([]), "the calibration data is empty"),
        (3, "calibration data is int"),
        ({"y": X}, "got inputs 'y'; allowed: exactly 'x'"),
        (np.full_like(X, 3e38), r"tensor \d+ 'conv_2d\d+' is .* on the calibration data; allowed: finite values"),
        ("missing.npz", "missing.npz: cannot be read"),
    ],
)
def test_bad_data(data, told):
    with pytest.raises(FxsimError, match=told):
        calibrate(model(), data)


@pytest.mark.parametrize("value", [0.0, 1.5, -2.0])
@pytest.mark.parametrize("method", ["int8", "int4+clip+adaround+bias", "int16x8"])
def test_constant_data_makes_a_network_that_runs(value, method):
    import fxsim

    x = np.full((4, 6, 6, 2), value, np.float32)
    q = quantize(model(), x, method)
    want = run(model(), x, "float32", keep=model().outputs)[model().outputs[0]]
    got = fxsim.simulate(q, x).kept[q.outputs[0]]
    assert np.abs(got.reshape(want.shape) - want).max() <= 0.2 * np.abs(want).max() + 0.05


def test_a_calibration_serves_many_schemes_but_one_graph():
    seen = public(model(), X)
    assert quantize(model(), scheme="int8", calibrated=seen).tensors[0].quant is not None
    assert quantize(model(), scheme="int16x8", calibrated=seen).tensors[0].qtype.name == "int16"
    with pytest.raises(DumpError, match="calibration is of another graph"):
        quantize(model(seed=5), scheme="int8", calibrated=seen)
