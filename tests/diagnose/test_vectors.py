"""Golden vectors and reproducers: what is written is what was computed, and C compilers and readmemh read it."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import fxsim
from fxsim.diagnose.reproduce import reproduce
from fxsim.diagnose.vectors import readmemh, save, vectors
from fxsim.errors import DumpError, FxsimError, OutputError
from fxsim.sim.inputs import load_inputs
from tests.prune.networks import network
from tests.sim.test_demo_model import DATA


@pytest.fixture(scope="module")
def trace():
    model = fxsim.read(str(DATA / "digits_int8.tflite"))
    return fxsim.simulate(model, load_inputs(model, "random:5", 3), keep="all")


def test_vectors_hold_what_was_computed(trace, tmp_path):
    found = vectors(trace)
    assert [v.op for v in found] == [n.op for n in trace.graph.nodes if n.op != "RESHAPE"]
    for v in found:
        node = trace.graph.nodes[v.layer]
        assert np.array_equal(v.outputs["output"], trace.tensor(node.outputs[0]))
    conv = found[0]
    t, w, b = (trace.graph.tensors[i] for i in trace.graph.nodes[0].inputs)
    windows = np.lib.stride_tricks.sliding_window_view(
        conv.inputs["input"].astype(int) - t.quant.zero_point[0], (3, 3), (2, 3)
    )
    sums = np.einsum("nbyxchw,ohwc->nbyxo", windows, w.data.astype(int)) + b.data
    assert np.array_equal(conv.outputs["accumulator"], sums)
    paths = save(found, tmp_path / "v")
    assert len(paths) == len(list((tmp_path / "v").iterdir()))
    manifest = json.loads((tmp_path / "v" / "layer0_conv_2d.json").read_text())
    assert manifest["numerics"] == "litert-reference" and manifest["arrays"]["weight"]["shape"] == [8, 3, 3, 1]
    for name, a in conv.arrays.items():
        assert np.array_equal(np.load(tmp_path / "v" / f"layer0_conv_2d_{name}.npy"), a)
        words = (tmp_path / "v" / f"layer0_conv_2d_{name}.hex").read_text().split()
        data = b"".join(bytes.fromhex(x)[::-1] for x in words)
        assert np.array_equal(np.frombuffer(data, a.dtype), a.reshape(-1))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed: it compiles the headers")
def test_headers_compile_and_hold_the_values(trace, tmp_path):
    found = vectors(trace, [0, 2, 7])
    save(found, tmp_path, ("c",))
    checks = []
    for v in found:
        for name, a in v.arrays.items():
            total = int(np.sum(a.reshape(-1).astype(np.int64) * (np.arange(a.size) % 7 + 1)))
            checks.append(
                f"{{ long long s = 0; for (int i = 0; i < {a.size}; i++) s += (long long){v.stem}_{name}[i] * (i % 7 + 1);"
                f" if (s != {total}LL) return 1; }}"
            )
    includes = "\n".join(f'#include "{v.stem}.h"' for v in found)
    (tmp_path / "t.c").write_text(f"{includes}\nint main(void) {{ {' '.join(checks)} return 0; }}")
    subprocess.run(
        ["gcc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-o", "t", "t.c"], cwd=tmp_path, check=True
    )
    assert subprocess.run(["./t"], cwd=tmp_path, check=False).returncode == 0


def test_hexadecimal_words_are_in_twos_complement():
    assert readmemh(np.array([-1, 127, -128], np.int8)) == "ff\n7f\n80\n"
    assert readmemh(np.array([-2], np.int32)) == "fffffffe\n"
    assert readmemh(np.array([1.0], np.float32)) == "3f800000\n"


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed: it reads the words")
def test_a_simulator_of_hardware_reads_the_words(trace, tmp_path):
    found = vectors(trace, [0])
    save(found, tmp_path, ("hex",))
    for name, a in found[0].arrays.items():
        bits = 8 * a.dtype.itemsize
        (tmp_path / "t.v").write_text(
            f"module t; reg signed [{bits - 1}:0] m [0:{a.size - 1}]; integer i; initial begin\n"
            f'$readmemh("{found[0].stem}_{name}.hex", m); for (i = 0; i < {a.size}; i = i + 1) $display("%0d", m[i]);\n'
            "end endmodule\n"
        )
        subprocess.run(["iverilog", "-g2005", "-o", "t", "t.v"], cwd=tmp_path, check=True)
        said = subprocess.run(["vvp", "-n", "t"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        assert [int(v) for v in said.split()] == a.reshape(-1).tolist()


def test_a_board_reads_its_vectors_back_as_a_dump(trace, tmp_path):
    save(vectors(trace, [0]), tmp_path, ("hex", "npy"))
    for suffix in ("npy", "hex"):
        (tmp_path / f"conv1.{suffix}").write_bytes((tmp_path / f"layer0_conv_2d_output.{suffix}").read_bytes())
        assert fxsim.compare(trace, tmp_path / f"conv1.{suffix}").equal


@pytest.mark.parametrize(("call", "says"), [
    (lambda t, p: vectors(t, [99]), "no layer 99"), (lambda t, p: save(vectors(t, [0]), p, ("vhdl",)), "'vhdl'"),
    (lambda t, p: save(vectors(t, [0]), p, ()), "format is ''"),
])  # fmt: skip
def test_bad_requests_are_refused(trace, tmp_path, call, says):
    with pytest.raises(FxsimError, match=says):
        call(trace, tmp_path)


def test_a_folder_that_cannot_be_made(trace, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        save(vectors(trace, [0]), tmp_path / "file" / "v")


def erring(graph, x, layer):
    """What a device computes that errs by one in some outputs of one layer, and goes on from there."""
    trace = fxsim.simulate(graph, x, keep="all")
    node = graph.nodes[layer]
    wrong = trace.tensor(node.outputs[0]).copy()
    flat = wrong.reshape(-1)
    at = np.random.default_rng(layer).permutation(flat.size)[: max(1, flat.size // 5)]
    flat[at] = np.where(flat[at] < 127, flat[at] + 1, flat[at] - 1)
    return trace, {f"tensor_{i}": (wrong if i == node.outputs[0] else v) for i, v in trace.kept.items()}


@pytest.mark.parametrize("seed", range(8))
def test_the_smallest_case_is_one_output(seed, tmp_path):
    graph = network(seed)
    shape = graph.tensors[graph.inputs[0]].shape
    x = np.random.default_rng(seed).integers(-128, 128, (2, *shape), np.int8)
    for layer, node in enumerate(graph.nodes):
        if node.op in ("RESHAPE", "CONCATENATION"):
            continue
        trace, dump = erring(graph, x, layer)
        found = reproduce(trace, dump, layer)
        assert found.cropped == (node.op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
        assert found.got.size == (1 if found.cropped else graph.tensors[node.outputs[0]].elements)
        assert not np.array_equal(found.got, found.expected)
        made = next(iter(fxsim.simulate(found.graph, found.inputs).outputs.values()))
        assert np.array_equal(made, found.got)
        files = found.save(tmp_path / f"{seed}_{layer}")
        again = fxsim.read(files[-1])
        assert np.array_equal(next(iter(fxsim.simulate(again, found.inputs).outputs.values())), found.got)
        stem = next(p for p in files if p.suffix == ".json").stem
        assert np.array_equal(np.load(tmp_path / f"{seed}_{layer}" / f"{stem}_expected.npy"), found.expected)


def test_the_first_guilty_layer_is_taken(trace):
    graph = network(2)
    x = np.zeros(graph.tensors[graph.inputs[0]].shape, np.int8)
    traced, dump = erring(graph, x, 2)
    assert reproduce(traced, dump).layer == 2
    with pytest.raises(FxsimError, match="layer 0 does not differ"):
        reproduce(traced, dump, 0)
    with pytest.raises(DumpError, match="nothing to reproduce"):
        reproduce(traced, {f"tensor_{i}": v for i, v in traced.kept.items()})


def test_layers_with_state_have_no_vectors(corpus):
    """They are left out, and refused by name; the others of a streaming network have theirs."""
    graph = fxsim.read(corpus / "models" / "keyword_svdf.tflite")
    trace = fxsim.simulate(graph, load_inputs(graph, "random:3", 2), keep="all")
    stateful = [n.index for n in graph.nodes if n.op == "SVDF"]
    found = {v.layer for v in vectors(trace)}
    assert stateful and found and not found & set(stateful)
    with pytest.raises(fxsim.FxsimError, match=r"SVDF.*reads or writes state"):
        vectors(trace, stateful[:1])
