"""Ladders and allocations on a small trained network: what they state is what the parts say alone."""

import numpy as np
import pytest

import fxsim
from fxsim.choose.allocate import budget_of
from fxsim.choose.ladder import RUNGS, steps

pytest.importorskip("sklearn", reason="needs scikit-learn")
pytest.importorskip("torch", reason="needs torch")


@pytest.fixture(scope="module")
def digits():
    from tests.quant import digits as source

    d = source.data()
    return source.graph(), {
        "x_train": d.x_train,
        "y_train": d.y_train,
        "x_test": d.x_test[:200],
        "y_test": d.y_test[:200],
    }


@pytest.fixture(scope="module")
def found(digits):
    return fxsim.ladder(*digits, "cortex-m4", ("float32", "float16", "int8", "int4", "binary"))


def test_each_rung_says_what_its_network_does(digits, found):
    model, data = digits
    assert [(r.rung, r.repair) for r in found.rungs] == [
        ("float32", "none"), ("float16", "none"), ("int8", "none"), ("int8", "corrected"), ("int4", "none"),
        ("int4", "corrected"), ("binary", "none"), ("binary", "corrected"),
    ]  # fmt: skip
    for r in found.rungs:
        made = found.graphs[r.rung, r.repair]
        e = fxsim.evaluate(made, (data["x_test"], data["y_test"]), r.numerics)
        assert r.accuracy == e.accuracy
        total = fxsim.estimate(made, "cortex-m4").totals()
        assert r.flash_bytes == total["flash_bytes"]
        assert r.cycles == (None if r.rung == "float16" else total["cycles"])
    plain = fxsim.quantize(model, data["x_train"][:256], "int8", io="integer")
    assert next(r for r in found.rungs if r.rung == "int8").flash_bytes == fxsim.estimate(plain).totals()["flash_bytes"]


def test_fewer_bits_are_smaller(found):
    sizes = {r.rung: r.flash_bytes for r in found.rungs}
    assert sizes["float32"] > sizes["float16"] > sizes["int8"] > sizes["int4"] > sizes["binary"]
    best = {r.rung: r.accuracy for r in found.rungs if r.repair == "corrected"}
    assert best["int8"] > best["binary"]


def test_nothing_beats_the_best(found):
    for r in (r for r in found.rungs if r.best):
        for o in found.rungs:
            if o.time_us is not None:
                mine, other = ((-q.accuracy, q.flash_bytes, q.time_us, q.energy_pj) for q in (r, o))
                assert other == mine or any(a > b for a, b in zip(other, mine, strict=True))
    assert any(r.best for r in found.rungs)


def test_a_trained_rung_is_what_the_trainer_gives(digits):
    model, data = digits
    seen = []

    def train(graph, scheme, parts):
        seen.append((scheme.weight_bits, len(parts.train)))
        return fxsim.quantize(model, parts.calibration, scheme, io="integer")

    result = fxsim.ladder(model, data, rungs=("int8",), corrected=False, train=train)
    assert seen == [(8, len(data["x_train"]))]
    assert [r.repair for r in result.rungs] == ["none", "trained"]
    assert result.rungs[0].accuracy == result.rungs[1].accuracy
    assert steps(("int8",), corrected=False, train=True) == 2
    assert steps(RUNGS) == 4 + 2 * 6


def test_data_that_judges_and_calibrates_is_owned_up_to(digits):
    model, data = digits
    result = fxsim.ladder(model, (data["x_test"], data["y_test"]), rungs=("int8",), corrected=False)
    assert "also judge" in result.notes[0]


def test_the_picture(found, tmp_path):
    found.plot(tmp_path / "l.png")
    assert (tmp_path / "l.png").read_bytes()[:4] == b"\x89PNG"


class TestBudget:
    @pytest.mark.parametrize("budget", ["3.5 KiB", "2.8KiB", "1.02 ms", "48 uJ"])
    def test_it_is_kept_and_proved(self, digits, budget):
        model, data = digits
        a = fxsim.allocate_bits(model, data, budget)
        total = fxsim.estimate(a.graph, "cortex-m4").totals()
        fields = {"bytes": "flash_bytes", "time": "time_us", "energy": "energy_pj"}
        goal = budget_of(budget)
        assert total[fields[goal.resource]] == a.price.of(goal.resource) <= goal.amount
        assert a.accuracy == fxsim.evaluate(a.graph, (data["x_test"], data["y_test"]), a.numerics).accuracy
        assert {r.bits for r in a.layers} <= {8, 4, 2}

    def test_room_is_used(self, digits):
        a = fxsim.allocate_bits(*digits, "1 MiB")
        assert {r.bits for r in a.layers} == {8} and a.price == a.uniform[8][1]

    def test_what_cannot_be_met_says_the_nearest(self, digits):
        with pytest.raises(fxsim.FxsimError, match=r"nothing within 1 KiB on cortex-m4; the nearest takes 1\.\d+ KiB"):
            fxsim.allocate_bits(*digits, "1 KiB")

    @pytest.mark.parametrize("text", ["", "5", "5 apples", "0 ms", "-3 KiB", "1e3 ms"])
    def test_budgets_that_are_none(self, text):
        with pytest.raises(fxsim.FxsimError, match="KiB"):
            budget_of(text)

    @pytest.mark.parametrize(("text", "resource", "amount"), [
        ("40KiB", "bytes", 40960), ("2.5 ms", "time", 2500), ("3 µs", "time", 3), ("80 uJ", "energy", 80e6),
        ("2mJ", "energy", 2e9),
    ])  # fmt: skip
    def test_budgets_that_are(self, text, resource, amount):
        goal = budget_of(text)
        assert (goal.resource, goal.amount) == (resource, amount)

    def test_widths_that_are_none(self, digits):
        with pytest.raises(fxsim.FxsimError, match=r"1\.\.16"):
            fxsim.allocate_bits(*digits, "1 MiB", bits=(8, 0))


def test_noise_rises_with_fewer_bits(digits):
    model, data = digits
    x = data["x_test"][:32]
    float_graph = fxsim.quant.prepared(model)
    by_bits = {}
    for scheme in ("int16x8", "int8", "int4"):
        rows = fxsim.noise(fxsim.quantize(model, data["x_train"][:64], scheme), float_graph, x)
        assert len(rows) >= len(float_graph.nodes) - 1
        by_bits[scheme] = np.mean([r.sqnr_db for r in rows if np.isfinite(r.sqnr_db)])
        for r in rows:
            assert not np.isfinite(r.own_sqnr_db) or r.own_sqnr_db > r.sqnr_db - 3
    assert by_bits["int16x8"] > by_bits["int8"] > by_bits["int4"]


@pytest.mark.parametrize(("rungs", "says"), [((), "no rung"), (("int3",), "scheme is 'int3'")])
def test_bad_rungs_are_refused(digits, rungs, says):
    with pytest.raises(fxsim.FxsimError, match=says):
        fxsim.ladder(*digits, rungs=rungs)


def test_bad_data_is_refused(digits):
    with pytest.raises(fxsim.FxsimError, match="lacks 'y_train'"):
        fxsim.ladder(digits[0], {"x_train": 1, "x_test": 2, "y_test": 3})
