import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cost_builders import small_graph
from rich.console import Console

from fxsim.errors import ModelError, OutputError, ProfileError
from fxsim.files import atomic_write
from fxsim.model.graph import Graph
from fxsim.report import terminal
from fxsim.report.cost import estimate, unit_of
from fxsim.report.units import show
from fxsim.targets import describe_targets, list_targets, load_target

HEAD = (
    "layer name op runs_on macs cycles compute_cycles memory_cycles bound next_bound slack_cycles utilization read_bytes "
    "write_bytes weight_bytes energy_pj time_us"
).split()
ALL = pytest.mark.parametrize("target", list_targets())


@ALL
def test_columns(target):
    table = estimate(small_graph(), target).table
    memories = [f"{m}_{d}_bytes" for m in load_target(target).profile.memories for d in ("read", "write")]
    assert list(table.columns[: len(HEAD)]) == HEAD
    assert list(table.columns[len(HEAD) : len(HEAD) + len(memories)]) == memories
    traffic = [f"{c}_traffic_bytes" for c in ("ifm", "ofm", "weights", "bias", "scratch")]
    assert set(traffic) < set(table.columns)
    assert list(table["layer"]) == [0, 1, 2, 3, 4]
    text = ("layer", "name", "op", "runs_on", "bound", "next_bound")
    assert all(unit_of(c) for c in table.columns if c not in text)


@ALL
def test_totals_are_the_sums_and_parts_add_up(target):
    c = estimate(small_graph(), target)
    for column in c.table.columns:
        if column in c.total.index and column not in ("bound", "utilization"):
            assert c.total[column] == pytest.approx(c.table[column].sum()), column
    assert {"cycles", "energy_pj", "time_us", "macs", "read_bytes"} < set(c.total.index)
    table = c.table
    assert table["energy_pj"].to_numpy() == pytest.approx(table[list(c.energy_parts)].sum(axis=1).to_numpy())
    for way in ("read", "write"):
        memories = [f"{m}_{way}_bytes" for m in c.target.profile.memories]
        assert (table[f"{way}_bytes"] == table[memories].sum(axis=1)).all()
    classes = [k for k in table.columns if k.endswith("_traffic_bytes")]
    assert (table["read_bytes"] + table["write_bytes"] == table[classes].sum(axis=1)).all()
    peak = c.target.profile.peak_macs.value
    assert c.total["utilization"] == pytest.approx(c.total["macs"] / c.total["cycles"] / peak)
    assert c.total["peak_ram_bytes"] == c.plan.peak_ram_bytes
    assert c.total["fits"] is True


def test_fallback_share_and_bound():
    c = estimate(small_graph(), "ethos-u55-128")
    away = c.table.loc[c.table["runs_on"] == "cortex-m4", "cycles"].sum()
    assert c.total["fallback_share"] == pytest.approx(away / c.table["cycles"].sum())
    assert c.total["fallback_share"] > 0.5
    assert estimate(small_graph(), "cortex-m4").total["fallback_share"] == 0
    assert c.total["bound"] == c.table.groupby("bound")["cycles"].sum().idxmax()


def test_what_does_not_fit_is_said(tmp_path):
    from fxsim import hwfiles

    text = hwfiles.find("mcu", "cortex-m4").read_text().replace('value = 640, unit = "KiB"', 'value = 1, unit = "KiB"')
    (tmp_path / "tiny.toml").write_text(text)
    c = estimate(small_graph(), tmp_path / "tiny.toml")
    assert c.total["fits"] is False and c.total["ram_size_bytes"] == 1024
    assert "does not fit" in c.to_html(tmp_path / "tiny.html").read_text()


def test_csv_and_json_hold_the_exact_table(tmp_path):
    c = estimate(small_graph(), "ethos-u55-128")
    with c.to_csv(tmp_path / "cost.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    for written, row in zip(back, c.rows(), strict=True):
        assert {k: type(row[k])(v) for k, v in written.items()} == row
    data = json.loads(c.to_json(tmp_path / "cost.json").read_text())
    assert data["layers"] == c.rows() and data["total"] == c.totals()
    assert data["target"] == "ethos-u55-128" and data["units"]["cycles"] == "cycles" and data["evidence"]
    assert data["clock_hz"] == 500e6


def test_empty_graph_reports_nothing_but_does_not_fail(tmp_path):
    c = estimate(Graph("empty", (), (), (), ()))
    assert len(c.table) == 0 and c.total["peak_ram_bytes"] == 0
    c.to_html(tmp_path / "empty.html")
    c.to_csv(tmp_path / "empty.csv")
    c.to_json(tmp_path / "empty.json")


def test_unknown_target_and_model(tmp_path):
    with pytest.raises(ProfileError, match="no target 'cortex-m9'"):
        estimate(small_graph(), "cortex-m9")
    with pytest.raises(ModelError):
        estimate(tmp_path / "absent.tflite")


@pytest.mark.parametrize("writer", ["to_csv", "to_json", "to_html", "plot"])
def test_writers_say_where_they_failed(writer, tmp_path):
    path = tmp_path / "absent" / "cost.png"
    with pytest.raises(OutputError, match=re.escape(str(path))):
        getattr(estimate(small_graph()), writer)(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "a.txt", b"old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="no space left"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_atomic_write_replaces_and_refuses_folders(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, b"one")
    assert atomic_write(str(path), b"two").read_bytes() == b"two"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        atomic_write(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "folder"]


def test_show():
    assert show(1234567) == "1\u202f234\u202f567"
    assert show(0.123456) == "0.1235"
    assert show(True) == "yes"
    assert show("CONV_2D") == "CONV_2D"


def test_estimating_loads_neither_pandas_nor_matplotlib():
    code = (
        "import sys\n"
        "import fxsim.hwfiles\n"
        "assert 'numpy' not in sys.modules\n"
        "import fxsim.report.cost, fxsim.targets\n"
        "from cost_builders import small_graph\n"
        "fxsim.report.cost.estimate(small_graph(), 'ethos-u55-128').totals()\n"
        "heavy = {'pandas', 'matplotlib', 'numba', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    here = Path(__file__).parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_form_is_text_that_escapes_names():
    c = estimate(small_graph(layer="[bold]a[/bold]"), "ethos-u55-128")
    for form, part in (("csv", "layer,name,op"), ("json", '"layers"'), ("html", "<!DOCTYPE")):
        assert part in c.text(form)
    assert json.loads(c.text("json"))["total"] == c.totals()
    with pytest.raises(OutputError, match="format is 'xml'; allowed: 'csv', 'json', 'html'"):
        c.text("xml")
    assert "[bold]a[/bold]" in printed(terminal.cost(c))


def printed(*things):
    console = Console(file=io.StringIO(), width=160)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


def test_the_printed_table_says_totals_fallback_and_evidence():
    c = estimate(small_graph(), "ethos-u55-128")
    text = printed(terminal.cost(c)) + terminal.cost_summary(c)
    for part in (
        f"{c.total['cycles']:,} cycles",
        "off the accelerator",
        "cortex-m4",
        "fits",
        c.target.profile.evidence[:40],
    ):
        assert part in text
    assert "nothing to compute" in terminal.cost_summary(estimate(Graph("e", (), (), (), ())))


def test_targets_are_described():
    headings, rows = describe_targets()
    assert [r[0] for r in rows] == list_targets()
    assert all(len(r) == len(headings) and all(r) for r in rows)
