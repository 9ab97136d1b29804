"""Measures against their definitions, and data that is refused."""

from importlib import resources

import numpy as np
import pytest

import fxsim
from fxsim import evaluate
from fxsim.evaluation import metrics
from fxsim.evaluation.data import load, prepared
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.qtype import INT8, QuantParams

pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.fixture(scope="module")
def digits():
    folder = resources.files("fxsim.data")
    with np.load(folder / "digits_recordings.npz", allow_pickle=False) as z:
        return fxsim.read(folder / "digits_int8.tflite"), z["inputs"], z["labels"]


def test_the_demo_model_is_evaluated_as_its_outputs_say(digits):
    model, x, y = digits
    seen = []
    e = evaluate(model, (x, y), progress=seen.append)
    raw = next(iter(fxsim.simulate(model, x).outputs.values())).reshape(len(x), -1)
    predicted = raw.argmax(axis=1)
    assert e.examples == len(x) and seen[-1] == len(x)
    assert e.accuracy == np.mean(predicted == y)
    assert e.confusion.sum() == len(x) and np.trace(e.confusion) == np.sum(predicted == y)
    assert e.top_k[1] == e.accuracy <= e.top_k[5]
    assert list(e.table["label"]) == list(range(10))
    for row in e.classes:
        hits, made, true = (
            np.sum((predicted == row.label) & (y == row.label)), np.sum(predicted == row.label), np.sum(y == row.label),
        )  # fmt: skip
        assert row.support == true
        assert row.precision == pytest.approx(hits / made if made else 0)
        assert row.recall == pytest.approx(hits / true if true else 0)


def test_real_inputs_are_quantized_with_the_input_scale(digits):
    model, x, y = digits
    t = model.tensors[model.inputs[0]]
    assert np.array_equal(prepared(model, t.quant.dequantize(x).astype(np.float32)), x)
    assert evaluate(model, (t.quant.dequantize(x), y)).scores.tolist() == evaluate(model, (x, y)).scores.tolist()


def test_agreement_counts_equal_decisions(digits):
    model, x, y = digits
    mine, other = evaluate(model, (x, y)), evaluate(model, (x, y), numerics="tflm")
    same = np.mean(mine.scores.argmax(axis=1) == other.scores.argmax(axis=1))
    assert evaluate(model, (x, y), numerics="tflm", reference=model).agreement == same
    assert evaluate(model, (x, y), numerics="tflm", reference=mine).agreement == same


def test_top_k_breaks_ties_as_argmax_does():
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert metrics.top_k(scores, np.array([1, 2]), 1) == 0.0
    assert metrics.top_k(scores, np.array([0, 1]), 1) == 1.0
    assert metrics.top_k(scores, np.array([1, 2]), 2) == 1.0
    assert metrics.top_k(scores, np.array([2, 0]), 2) == 0.0


def test_auc_is_the_chance_of_a_right_order():
    rng = np.random.default_rng(3)
    score, positive = rng.integers(0, 6, 200).astype(float), rng.random(200) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert metrics.area(positive, score) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert metrics.area(np.ones(4, bool), np.arange(4.0)) is None


def test_anomaly_detection_ranks_by_reconstruction_error():
    quant = QuantParams((0.1,), (0,))
    tensors = (Tensor(0, "x", (1, 4), INT8, quant), Tensor(1, "y", (1, 4), INT8, quant))
    relu = Graph("relu", tensors, (Node(0, "RELU", (0,), (1,), spec("RELU").attributes(), "relu"),), (0,), (1,))
    x = np.array([[1, 2, 3, 4], [1, 2, 3, -4], [0, 0, 0, 0], [-9, -9, 0, 0]], np.int8)
    e = evaluate(relu, (x, [0, 1, 0, 1]), task="anomaly")
    assert e.scores[:, 1] == pytest.approx([0, 0.04, 0, 0.405])
    assert (e.auc, e.accuracy, e.confusion) == (1.0, None, None)
    assert evaluate(relu, (x, [1, 0, 0, 0]), task="anomaly").auc == pytest.approx(1 / 6)
    with pytest.raises(fxsim.FxsimError, match="labels 0 and 1"):
        evaluate(relu, (x, [0, 1, 2, 3]), task="anomaly")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((np.zeros((3, 8, 8, 1)), np.zeros(2, int)), "N at least 1"),
        ((np.zeros((0, 8, 8, 1)), np.zeros(0, int)), "N at least 1"),
        ((np.full((2, 8, 8, 1), np.nan), np.zeros(2, int)), "finite"),
        ((np.zeros((2, 8, 8, 1)), np.array([0, -1])), "whole numbers"),
        ((np.zeros((2, 8, 8, 1)), np.array([0.5, 1])), "whole numbers"),
        ((np.zeros((2, 8, 8, 1)), np.array([0, 10])), "beyond the 10 scores"),
        ((np.zeros((2, 8, 9, 1)), np.array([0, 1])), "shape"),
        (7, "a pair"),
    ],
)  # fmt: skip
def test_bad_data_is_refused(digits, data, says):
    with pytest.raises(fxsim.FxsimError, match=says):
        evaluate(digits[0], data)


def test_files_without_labels_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), z=np.zeros(2, int))
    with pytest.raises(fxsim.FxsimError, match="exactly one entry of 'y'"):
        load(tmp_path / "d.npz")


def test_the_picture_is_drawn(digits, tmp_path):
    model, x, y = digits
    evaluate(model, (x, y)).plot(tmp_path / "e.png")
    assert (tmp_path / "e.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(fxsim.FxsimError, match=r"allowed: .*png"):
        evaluate(model, (x, y)).plot(tmp_path / "e.tiff")
