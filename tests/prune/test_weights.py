"""Zeros where they were asked for, and what they are worth."""

from importlib import resources
from itertools import pairwise

import numpy as np
import pytest

import fxsim
from fxsim import prune
from fxsim.prune import SCHEDULES, schedule
from fxsim.prune.scores import weighted
from tests.prune.networks import network


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_the_share_of_zeros_is_as_asked(scope, method):
    graph = network(4)
    pruned = prune.weights(graph, 0.75, method, scope=scope)
    total = sum(t.elements for _, t in weighted(graph))
    zeros = 0
    for (_, before), (_, after) in zip(weighted(graph), weighted(pruned), strict=True):
        gone = after.reals(after.data) == 0
        zeros += int(gone.sum())
        assert np.array_equal(np.asarray(after.data)[~gone], np.asarray(before.data)[~gone])
        if scope == "layer":
            assert gone.sum() >= int(0.75 * before.elements)
        if method == "magnitude" and scope == "layer":
            assert np.abs(before.reals(before.data))[gone].max() <= np.abs(before.reals(before.data))[~gone].min()
    assert int(0.75 * total) - len(weighted(graph)) <= zeros <= 0.8 * total


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
def test_of_each_m_the_n_best_stay(pattern):
    n, m = map(int, pattern.split(":"))
    graph = network(5)
    for (node, before), (_, after) in zip(
        weighted(graph), weighted(prune.weights(graph, pattern=pattern)), strict=True
    ):
        if node.op == "DEPTHWISE_CONV_2D":
            assert np.array_equal(before.data, after.data)
            continue
        rows, kept = (np.abs(t.reals(t.data)).reshape(-1, t.shape[-1]) for t in (before, after))
        for start in range(0, rows.shape[1], m):
            a, b = rows[:, start : start + m], kept[:, start : start + m]
            most = -(-n * a.shape[1] // m)
            assert np.all((b > 0).sum(axis=1) <= most)
            best = np.sort(a, axis=1)[:, ::-1][:, :most]
            assert np.array_equal(np.sort(b, axis=1)[:, ::-1][:, :most], best)


def test_two_of_four_is_recognized():
    graph = network(6)
    rows = prune.sparsity(prune.weights(graph, pattern="2:4"))
    wide = {n.index for n, t in weighted(graph) if n.op != "DEPTHWISE_CONV_2D" and t.shape[-1] >= 4}
    assert wide and all(r.two_of_four for r in rows if r.layer in wide)
    assert not any(r.two_of_four for r in prune.sparsity(graph))


def test_a_threshold_takes_what_is_below():
    graph = network(7)
    for (_, before), (_, after) in zip(weighted(graph), weighted(prune.weights(graph, threshold=1.0)), strict=True):
        assert np.array_equal(after.reals(after.data) == 0, np.abs(before.reals(before.data)) < 1.0)


def test_zeros_are_worth_something_only_where_weights_are_encoded():
    graph = fxsim.read(resources.files("fxsim.data") / "digits_int8.tflite")
    sparse = prune.weights(graph, 0.8)
    for target in ("cortex-m4", "hexagon-680", "systolic-16x16-os"):
        assert fxsim.estimate(sparse, target).total.cycles == fxsim.estimate(graph, target).total.cycles
    a, b = (fxsim.estimate(g, "ethos-u55-128") for g in (graph, sparse))
    assert b.total.cycles < a.total.cycles


@pytest.mark.parametrize("shape", SCHEDULES)
def test_schedules_rise_from_nothing_to_the_end(shape):
    values = [schedule(s, 10, 0.9, shape, begin=2) for s in range(12)]
    assert values[:2] == [0, 0] and values[10:] == [0.9, 0.9]
    assert all(a <= b for a, b in pairwise(values))
    assert schedule(6, 10, 0.8, "cubic", begin=2) == pytest.approx(0.8 * (1 - 0.5**3))


@pytest.mark.parametrize(("options", "says"), [
    ({}, "exactly one"), ({"sparsity": 0.5, "threshold": 1}, "exactly one"), ({"sparsity": 1.0}, "below 1"),
    ({"pattern": "4:2"}, "N below M"), ({"pattern": "rows"}, "N:M"), ({"sparsity": 0.5, "scope": "all"}, "'global'"),
    ({"sparsity": 0.5, "method": {1: np.zeros(3)}}, "finite numbers of shape"),
])  # fmt: skip
def test_bad_arguments_are_refused(options, says):
    with pytest.raises(fxsim.FxsimError, match=says):
        prune.weights(network(0), **options)


@pytest.mark.parametrize(("options", "says"), [
    ({"shape": "square"}, "'cubic'"), ({"final": 1.0}, "below 1"), ({"begin": 10}, "0..9"),
])  # fmt: skip
def test_bad_schedules_are_refused(options, says):
    with pytest.raises(fxsim.FxsimError, match=says):
        schedule(1, 10, **({"final": 0.5} | options))
