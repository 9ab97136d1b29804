"""Devices that can be asked: Python functions, and a program in C built here, each with an arithmetic of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

import fxsim
from fxsim.arith.rounding import RULES
from fxsim.cli import app
from fxsim.diagnose.blackbox import Command
from fxsim.numerics import Accumulator, NumericsProfile, OpNumerics, Requantize
from tests.diagnose import layers

MOST = 200
"""queries"""


def layer(ties: bool = True):
    rng = np.random.default_rng(5)
    weight = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    scales = (2.0**-6, 2.0**-7, 2.0**-4) if ties else (0.0137, [0.011, 0.007, 0.02, 0.013], 0.051)
    return layers.conv(weight, rng.integers(-900, 900, 4).astype(np.int32), scales, (5, -9), (7, 6))


def profile(**parts) -> NumericsProfile:
    base = fxsim.load_numerics("tflm")
    settings = OpNumerics(parts.get("accumulator", base.accumulator), parts.get("requantize", base.requantize))
    return msgspec.structs.replace(base, name="device", ops={**base.ops, "CONV_2D:int8": settings})


def function_of(graph, numerics):
    """The device: what it computes with, and how often it was asked."""
    asked = []

    def device(x):
        asked.append(x)
        return fxsim.simulate(graph, x, numerics).kept[graph.outputs[0]]

    return device, asked


def identified(graph, device, true: OpNumerics, users="tflm"):
    found = fxsim.explain(graph, device, numerics=users, queries=MOST)
    finding = found.findings[0]
    assert finding.members, found.words
    assert finding.holds(true), found.words
    return found, finding


LONG = os.environ.get("FXSIM_LONG") == "1"


def some(rows, kept):
    """The rows of a normal run, and the others for FXSIM_LONG=1."""
    skip = pytest.mark.skipif(not LONG, reason="one of many alike: FXSIM_LONG=1 runs it")
    return [
        pytest.param(*(r if isinstance(r, tuple) else (r,)), marks=() if n in kept else skip)
        for n, r in enumerate(rows)
    ]


@pytest.mark.parametrize("rule", some(sorted(RULES), (0, 5)))
def test_any_rounding_rule(rule):
    graph = layer()
    numerics = profile(requantize=Requantize(scheme="single_rounding", rounding=rule))
    device, asked = function_of(graph, numerics)
    found, finding = identified(graph, device, numerics.of("CONV_2D", "int8"))
    assert len(asked) == found.queries <= MOST
    assert len(finding.kinds) == 1
    others = [r for r in RULES if r != rule]
    apart = [
        r
        for r in others
        if not finding.holds(profile(requantize=Requantize(scheme="single_rounding", rounding=r)).of("CONV_2D", "int8"))
    ]
    assert apart == others  # the class holds no other rule


def extremes(graph, count):
    """Inputs of the ends of their range, of a few values near them, and of any."""
    rng, shape = np.random.default_rng(4), (count, *graph.tensors[graph.inputs[0]].shape)
    ends, near = rng.choice([-128, 127], shape), rng.choice([-128, -127, 0, 126, 127], shape)
    x = np.where(np.arange(count).reshape(-1, 1, 1, 1, 1) % 3 == 0, ends, near).astype(np.int8)
    x[2::3] = rng.integers(-128, 128, x[2::3].shape)
    x[:2] = np.array([-128, 127]).reshape(2, 1, 1, 1, 1)
    return x


@pytest.mark.parametrize(
    "accumulator",
    some(
        [
            Accumulator(bits=16),
            Accumulator(bits=16, overflow="saturate"),
            Accumulator(bits=17, overflow="saturate", at="end"),
            Accumulator(order="pairs16"),
        ],
        (1,),
    ),
)
def test_width_policy_and_order_of_the_accumulator(accumulator):
    graph = layer(ties=False)
    numerics = profile(accumulator=accumulator)
    device, asked = function_of(graph, numerics)
    _, finding = identified(graph, device, numerics.of("CONV_2D", "int8"))
    assert len(asked) <= MOST
    held = {s.accumulator for s in finding.kinds[0]}
    assert accumulator in held
    x = extremes(graph, 200)  # others are there only if no input tells them apart
    expected = fxsim.simulate(graph, x, numerics).kept[graph.outputs[0]]
    for other in held - {accumulator}:
        assert np.array_equal(fxsim.simulate(graph, x, profile(accumulator=other)).kept[graph.outputs[0]], expected), (
            other
        )


def test_a_device_that_is_the_users_own_simulation():
    graph = layer()
    device, _ = function_of(graph, "tflm")
    found = fxsim.explain(graph, device, numerics="tflm")
    assert found.equal
    assert "litert-reference" in found.numerics
    assert found.profile.name == "tflm"


def test_what_was_found_simulates_the_device(tmp_path):
    graph = layer(ties=False)
    numerics = profile(
        requantize=Requantize(rounding="ties_odd"), accumulator=Accumulator(bits=17, overflow="saturate")
    )
    device, _ = function_of(graph, numerics)
    found = fxsim.explain(graph, device, numerics="litert-reference")
    found.save(tmp_path / "found.toml")
    x = np.random.default_rng(9).integers(-128, 128, (20, 1, 7, 6, 3)).astype(np.int8)
    ours = fxsim.simulate(graph, x, tmp_path / "found.toml").kept[graph.outputs[0]]
    assert np.array_equal(ours, fxsim.simulate(graph, x, numerics).kept[graph.outputs[0]])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: np.zeros(3, np.int8), "allowed: int8"),
        (lambda x: np.zeros((1, 7, 6, 4), np.int16), "is int16"),
        (lambda x: [np.zeros((1, 7, 6, 4), np.int8)] * 2, "gave 2 outputs"),
    ],
)
def test_answers_that_do_not_fit(answer, message):
    with pytest.raises(fxsim.DumpError, match=message):
        fxsim.explain(layer(), answer)


def test_a_device_that_answers_at_random():
    graph, rng = layer(), np.random.default_rng(0)

    def device(x):
        return rng.integers(-128, 128, graph.tensors[graph.outputs[0]].shape).astype(np.int8)

    with pytest.raises(fxsim.DumpError, match="other answers when the same input is given again"):
        fxsim.explain(graph, device, numerics="tflm")


# A program in C


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The device, built, and its layer: the file that it reads and the model of the same."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed: it builds the device")
    folder = tmp_path_factory.mktemp("device")
    source = Path(__file__).with_name("device.c")
    subprocess.run([gcc, "-O1", "-o", folder / "device", source], check=True)
    rng = np.random.default_rng(3)
    weight, bias = rng.integers(-127, 128, (6, 24)).astype(np.int8), rng.integers(-800, 800, 6).astype(np.int32)
    scales, zeros, rows = (2.0**-5, 2.0**-7, 2.0**-3), (11, -7), 3
    graph = layers.dense(weight, bias, scales, zeros, rows)
    (folder / "dense.tflite").write_bytes(layers.dense_file(weight, bias, scales, zeros, rows))
    (folder / "layer.bin").write_bytes(layers.constants(weight, bias, scales, zeros, rows))
    return folder, graph


@pytest.mark.parametrize(
    ("quirk", "change"),
    some(
        [
            ("none", {}),
            ("once", {"requantize": {"scheme": "single_rounding", "rounding": "ties_pos"}}),
            ("floor", {"requantize": {"scheme": "single_rounding", "rounding": "to_neg"}}),
            ("saturate18", {"accumulator": {"bits": 18, "overflow": "saturate"}}),
            ("wrap16", {"accumulator": {"bits": 16}}),
            ("no-input-zero", {"operands": {"input_zero_point": "ignored"}}),
            ("no-bias", {"operands": {"bias": "ignored"}}),
            ("no-saturation", {"requantize": {"limit": "wrap"}}),
        ],
        (0, 3),
    ),
)
def test_a_program_in_c(program, quirk, change):
    folder, graph = program
    settings = fxsim.load_numerics("tflm").of("FULLY_CONNECTED", "int8")
    for part, fields in change.items():
        settings = msgspec.structs.replace(
            settings, **{part: msgspec.structs.replace(getattr(settings, part), **fields)}
        )
    device = Command(f"{folder}/device {folder}/layer.bin {quirk} {{input:raw}} {{output:raw}}", graph)
    found, finding = identified(graph, device, settings)
    assert found.queries <= MOST
    assert found.equal == (quirk == "none")
    assert len(finding.kinds) == 1


def test_commands_that_fail(program):
    folder, graph = program
    with pytest.raises(fxsim.FxsimError, match="left with 2: usage"):
        fxsim.explain(graph, Command(f"{folder}/device {{input}} {{output}}", graph))
    with pytest.raises(fxsim.FxsimError, match="cannot be run"):
        fxsim.explain(graph, Command(f"{folder}/nothing {{input}} {{output}}", graph))
    with pytest.raises(fxsim.FxsimError, match=r"allowed: a command with \{input\} and \{output\}"):
        Command("./run_board.sh {input}", graph)
    with pytest.raises(fxsim.FxsimError, match="quotes do not close"):
        Command("./run 'board.sh {input} {output}", graph)


def command_line(*args) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["explain", *map(str, args)])
    return done.exit_code, done.output


def test_the_command_line_asks_a_program(program, tmp_path):
    folder, graph = program
    device = f"{folder}/device {folder}/layer.bin floor {{input:raw}} {{output:raw}}"
    code, said = command_line(folder / "dense.tflite", "--device", device, "-n", "tflm", "-o", tmp_path / "found.toml")
    assert code == 0, said
    assert "rounds once, down; your simulation: rounds twice, ties away" in " ".join(said.split())
    assert "the device was asked" in said
    x = np.random.default_rng(1).integers(-128, 128, (3, 24)).astype(np.int8)
    ours = fxsim.simulate(graph, x, tmp_path / "found.toml").kept[graph.outputs[0]]
    assert np.array_equal(ours, Command(device, graph)(x)[0].reshape(ours.shape))


def test_the_command_line_reads_a_dump(program, tmp_path):
    folder, graph = program
    x = np.random.default_rng(2).integers(-128, 128, (3, 24)).astype(np.int8)
    floors = profile().of("CONV_2D", "int8")
    floors = msgspec.structs.replace(floors, requantize=Requantize(scheme="single_rounding", rounding="to_neg"))
    numerics = msgspec.structs.replace(fxsim.load_numerics("tflm"), name="device", ops={"FULLY_CONNECTED": floors})
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "dump.npz", output_0=fxsim.simulate(graph, x, numerics).kept[graph.outputs[0]])
    code, said = command_line(
        folder / "dense.tflite", tmp_path / "dump.npz", "-i", tmp_path / "x.npy", "-n", "tflm",
        "--separate", tmp_path / "telling.npz",
    )  # fmt: skip
    assert code == 0, said
    assert "down; your simulation: rounds twice, ties away" in " ".join(said.split())
    assert "kinds of arithmetic fit this data, the simplest first" in said
    assert f"NEW_DUMP --input {tmp_path / 'telling.npz'}" in said.replace("\n", "")
    with np.load(tmp_path / "telling.npz") as file:
        telling = dict(file)
    assert telling["x"].shape[1:] == (3, 24)
    before = fxsim.explain(graph, tmp_path / "dump.npz", x, "tflm").findings[0]
    again = {"output_0": fxsim.simulate(graph, telling, numerics).kept[graph.outputs[0]]}
    after = fxsim.explain(graph, again, telling, "tflm").findings[0]
    assert len(after.kinds) < len(before.kinds)  # the offered command is worth its run
    assert after.holds(floors)


def test_the_evidence_is_counted():
    """The confidence is a count of elements, and the count is that of the rival's own misses."""
    graph = layer()
    x = np.random.default_rng(4).integers(-128, 128, (2, 1, 7, 6, 3)).astype(np.int8)
    numerics = profile(requantize=Requantize(scheme="single_rounding", rounding="to_neg"))
    dump = fxsim.simulate(graph, x, numerics).kept[graph.outputs[0]]
    found = fxsim.explain(graph, {"output_0": dump}, x, "tflm")
    (row,) = found.rows
    rivals = [
        np.count_nonzero(fxsim.simulate(graph, x, n).kept[graph.outputs[0]] != dump)
        for n in ("tflm", "litert-reference", "litert-xnnpack", "onnxruntime")
        if n in fxsim.list_numerics()
    ]
    assert row.sampled == row.elements == dump.size
    assert 0 < row.separating <= min(rivals)
    assert f"{row.separating:,} of {row.sampled:,} elements tell the nearest other off" in row.confidence
    assert row.confidence in found.words


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--device", "a {input} {output}", "--html", "p.html"), "--html with a dump"),
        (("--device", "a {input} {output}", "-o", "p.txt"), "allowed: '.toml'"),
        (("--device", "a {input} {output}", "--separate", "p.csv"), "allowed: '.npz'"),
    ],
)
def test_requests_that_cannot_be_met_are_refused_before_the_search(program, options, says):
    folder, _ = program
    done = CliRunner().invoke(app, ["explain", str(folder / "dense.tflite"), *options])
    assert isinstance(done.exception, fxsim.FxsimError)
    assert says in str(done.exception)
