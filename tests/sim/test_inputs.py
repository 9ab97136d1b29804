"""How inputs are given, how outputs stack, and what is refused."""

import numpy as np
import pytest

import fxsim
from fxsim.errors import DumpError, InputError
from fxsim.sim.inputs import load_inputs, make_batch
from tests.sim.test_demo_model import DATA


@pytest.fixture(scope="module")
def model():
    return fxsim.read(str(DATA / "digits_int8.tflite"))


@pytest.fixture(scope="module")
def x(model):
    return load_inputs(model, "random:7", 5)["image"]


def test_three_ways_to_stack(model, x):
    axis = fxsim.simulate(model, x, keep="all")
    batch = fxsim.simulate(model, x.reshape(5, 8, 8, 1), keep="all")
    single = [fxsim.simulate(model, v, keep="all") for v in x]
    assert axis.outputs["softmax"].shape == (5, 1, 10)
    assert batch.outputs["softmax"].shape == (5, 10)
    for i in axis.kept:
        assert np.array_equal(axis.kept[i].reshape(batch.kept[i].shape), batch.kept[i])
        for n, one in enumerate(single):
            assert np.array_equal(one.kept[i], axis.kept[i][n])


def test_forms_of_input(model, x):
    expected = fxsim.simulate(model, x).outputs["softmax"]
    for form in ({"image": x}, [x], (x,)):
        assert np.array_equal(fxsim.simulate(model, form).outputs["softmax"], expected)


def test_the_callers_array_is_neither_kept_nor_changed(model, x):
    mine = x.copy()
    trace = fxsim.simulate(model, mine)
    mine[:] = 0
    assert np.array_equal(trace.tensor(14), fxsim.simulate(model, x, keep=[14]).tensor(14))


def test_tensor_by_index_and_name_kept_or_not(model, x):
    trace = fxsim.simulate(model, x)
    full = fxsim.simulate(model, x, keep="all")
    assert np.array_equal(trace.tensor("conv1"), full.kept[14])
    assert np.array_equal(trace.tensor(14), full.kept[14])
    assert trace.tensor("conv1/kernel").shape == (8, 3, 3, 1)
    assert set(fxsim.simulate(model, x, keep=["conv1", 16]).kept) == {14, 16, 23}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((1, 8, 8, 1), np.float32), r"float32; allowed: int8 \(a real value r"),
        (np.zeros((1, 8, 8, 1), np.int16), "int16; allowed: int8"),
        (
            np.zeros((8, 8, 1), np.int8),
            r"shape \[8, 8, 1\]; allowed: \[1, 8, 8, 1\], \[N, 1, 8, 8, 1\] or \[N \* 1, 8, 8, 1\]",
        ),
        (np.zeros((1, 8, 9, 1), np.int8), "shape"),
        (np.zeros((0, 8, 8, 1), np.int8), "no inference"),
        ({}, "allowed: exactly 'image'"),
        ({"imag": np.zeros((1, 8, 8, 1), np.int8)}, "allowed: exactly 'image'"),
        ([np.zeros((1, 8, 8, 1), np.int8)] * 2, "got 2 inputs; the model takes 1"),
    ],
)
def test_refusals(model, bad, message):
    with pytest.raises(InputError, match=message):
        make_batch(model, bad)


def test_keep_refusals(model, x):
    for keep, message in (
        ("everything", "allowed: 'outputs', 'all'"),
        ([999], "no tensor 999"),
        (["nothing"], "no tensor is named"),
    ):
        with pytest.raises(fxsim.FxsimError, match=message):
            fxsim.simulate(model, x, keep=keep)


def test_random_inputs_hold_the_ends_and_repeat(model):
    a, b, c = (load_inputs(model, s, 4)["image"] for s in ("random:1", "random:1", "random:2"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    for one in a:
        assert {-128, 127} <= set(one.reshape(-1).tolist())


def test_files(model, x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", image=x)
    np.savez(tmp_path / "n.npz", input_0=x)
    for name in ("x.npy", "x.npz", "n.npz"):
        assert np.array_equal(load_inputs(model, str(tmp_path / name))["image"], x)
    np.savez(tmp_path / "wrong.npz", picture=x)
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "short.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-7])
    header = (tmp_path / "x.npy").read_bytes()[:128].replace(b"(5, 1, 8, 8, 1)", b"(9999999999999,)".ljust(15))
    (tmp_path / "huge.npy").write_bytes(header)
    (tmp_path / "noise.npz").write_bytes(bytes(range(256)))
    (tmp_path / "x.txt").write_text("1 2 3")
    for name, error, message in (
        ("wrong.npz", InputError, "'picture' is no input"),
        ("pickle.npy", DumpError, "Python objects, which are never loaded"),
        ("short.npy", DumpError, "claims"),
        ("huge.npy", DumpError, "claims|not .npy"),
        ("noise.npz", DumpError, "is not .npz data"),
        ("x.txt", DumpError, "suffix is '.txt'"),
        ("missing.npy", DumpError, "cannot be read"),
    ):
        with pytest.raises(error, match=message):
            load_inputs(model, str(tmp_path / name))
    for seed in ("random:", "random:x", "random:-1"):
        with pytest.raises(InputError, match="allowed: 'random:'"):
            load_inputs(model, seed)
