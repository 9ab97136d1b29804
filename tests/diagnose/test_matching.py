"""Dumps that lie otherwise than the model: found out, said, and never guessed at."""

import pickle
import re

import numpy as np
import pytest

import fxsim
from fxsim.errors import DumpError
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.qtype import INT16, QuantParams
from fxsim.sim.inputs import load_inputs
from tests.sim.test_demo_model import DATA


@pytest.fixture(scope="module")
def trace():
    model = fxsim.read(str(DATA / "digits_int8.tflite"))
    return fxsim.simulate(model, load_inputs(model, "random:5"), keep="all")


def index(trace, name):
    return trace.graph.tensor(name).index


@pytest.mark.parametrize("key", ["{i}", "tensor {i}", "TENSOR_{i}", "conv1", "CONV1"])
def test_keys_that_name_a_tensor(trace, key):
    a = trace.tensor("conv1")
    key = key.format(i=index(trace, "conv1"))
    result = fxsim.compare(trace, {key: a})
    assert result.equal and result.rows[0].name == "conv1"
    assert bool(result.notes) == (
        key not in ("conv1", f"tensor {index(trace, 'conv1')}", f"TENSOR_{index(trace, 'conv1')}")
    )


def test_a_layer_number_means_its_output(trace):
    result = fxsim.compare(trace, {"layer_0": trace.tensor("conv1")})
    assert result.equal and result.rows[0].name == "conv1" and "that number" in result.notes[0]


READINGS = {
    "channels first": (lambda a: np.moveaxis(a, -1, -3), "channels first"),
    "channels first, flat": (lambda a: np.moveaxis(a, -1, -3).reshape(-1), "channels first"),
    "rows and columns": (lambda a: np.swapaxes(a, -3, -2), "rows and columns swapped"),
    "rows and columns, channels first": (lambda a: np.moveaxis(a, (-1, -3), (-3, -1)), "swapped, channels first"),
    "uint8": (lambda a: (a.astype(int) + 128).astype(np.uint8), "int8 \\+ 128"),
    "bytes": (lambda a: a.view(np.uint8), "two's complement"),
    "int32": (lambda a: a.astype(np.int32), "as int8"),
    "integers as floats": (lambda a: a.astype(np.float32), "reals as integers"),
    "sign bit": (lambda a: a ^ np.int8(-128), "128 added"),
    "uint8, channels first": (
        lambda a: np.moveaxis((a.astype(int) + 128).astype(np.uint8), -1, -3), "int8 \\+ 128, with channels first",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", READINGS)
@pytest.mark.parametrize("noisy", [False, True], ids=["exact", "off by one"])
def test_other_layouts_and_types_are_found_and_said(trace, what, noisy):
    change, said = READINGS[what]
    a = trace.tensor("conv1").copy()
    if noisy:
        a.reshape(-1)[::3] = np.clip(a.reshape(-1)[::3].astype(int) + 1, -128, 127)
    result = fxsim.compare(trace, {"conv1": change(a)})
    assert result.mismatches == np.sum(a != trace.tensor("conv1"))
    assert pytest.approx(0, abs=1) == result.rows[0].max_lsb
    (note,) = result.notes
    assert re.search(said, note)


def test_real_values_are_divided_by_the_scale(trace):
    t = trace.graph.tensor("conv1")
    reals = t.quant.dequantize(trace.tensor("conv1")).astype(np.float32)
    result = fxsim.compare(trace, {"conv1": reals})
    assert result.equal and "divided by the scale" in result.notes[0]
    reals.reshape(-1)[7] += 0.4 * t.quant.scale[0]
    with pytest.raises(DumpError, match="no multiple of the scale"):
        fxsim.compare(trace, {"conv1": reals})


def test_byte_order():
    quant = QuantParams((0.01,), (0,))
    tensors = tuple(Tensor(i, f"t{i}", (1, 64), INT16, quant) for i in range(2))
    graph = Graph("r", tensors, (Node(0, "RELU", (0,), (1,), spec("RELU").attributes(), "r"),), (0,), (1,))
    x = np.random.default_rng(0).integers(-32768, 32768, (1, 64)).astype(np.int16)
    trace = fxsim.simulate(graph, x, keep="all")
    result = fxsim.compare(trace, {"t1": trace.tensor("t1").byteswap()})
    assert result.equal and "bytes swapped" in result.notes[0]


def test_unnamed_arrays_are_known_by_size_or_content(trace):
    softmax = trace.tensor("softmax")
    result = fxsim.compare(trace, {"mystery": trace.tensor("conv1").reshape(-1)})
    assert result.equal and result.rows[0].name == "conv1"
    assert "content" in result.notes[0] or "only one" in result.notes[0]
    assert softmax.size == 10


def test_two_tensors_of_one_content_are_not_guessed_between(trace):
    values = trace.tensors([i for n in trace.graph.nodes for i in n.outputs])
    same = [
        (i, j) for i in values for j in values if i < j and np.array_equal(values[i].reshape(-1), values[j].reshape(-1))
    ]
    assert same, "the demo model has a reshape"
    with pytest.raises(DumpError, match=f"tensor_{same[0][0]}.*tensor_{same[0][1]}|fit equally well"):
        fxsim.compare(trace, {"mystery": values[same[0][0]].reshape(-1)})


def test_strangers_are_refused(trace):
    rng = np.random.default_rng(0)
    strange = rng.integers(-128, 128, trace.tensor("conv1").shape).astype(np.int8)
    with pytest.raises(DumpError, match="nan"):
        fxsim.compare(trace, {"conv1": np.full(strange.shape, np.nan, np.float32)})
    sizes = [trace.graph.tensors[i].elements for n in trace.graph.nodes for i in n.outputs]
    if sizes.count(strange.size) > 1:
        with pytest.raises(DumpError, match="names no tensor"):
            fxsim.compare(trace, {"mystery": strange})


@pytest.mark.parametrize("mode", ["entire", "single"])
def test_reused_memory_is_recognized(trace, mode):
    dump = {f"tensor_{i}": trace.tensor(i).copy() for i in trace.graph.inputs}
    dump |= {"conv1": trace.tensor("conv1").copy(), "conv2": trace.tensor("conv2")}
    other = trace.tensor("conv2").reshape(-1)
    first = dump["conv1"].reshape(-1)
    first[: min(first.size, other.size)] = other[: min(first.size, other.size)]
    assert np.mean(first == trace.tensor("conv1").reshape(-1)) < 0.5
    assert any("'conv1' holds the values of tensor" in n for n in fxsim.compare(trace, dump, mode).notes)


def test_reused_memory_is_recognized_on_a_device_that_differs_everywhere(trace):
    """The values are another tensor's as the dump has it, not as fxsim computes it."""
    theirs = fxsim.simulate(trace.graph, load_inputs(trace.graph, "random:5"), "litert-xnnpack", keep="all")
    dump = {f"tensor_{i}": v.copy() for i, v in theirs.kept.items()}
    made = (trace.graph.nodes[k].outputs[0] for k in (0, 1))
    first, second = sorted(made, key=lambda i: dump[f"tensor_{i}"].size)
    values = dump[f"tensor_{second}"]
    values ^= (np.random.default_rng(0).random(values.shape) < 0.4).astype(np.int8)  # off by one in many elements
    dump[f"tensor_{first}"].reshape(-1)[:] = values.reshape(-1)[: dump[f"tensor_{first}"].size]
    for mode in ("entire", "single"):
        (note,) = fxsim.compare(trace, dump, mode).notes
        assert note.startswith(f"tensor {first} ") and f"holds the values of tensor {second} " in note
    dump = {f"tensor_{i}": v.copy() for i, v in theirs.kept.items()}
    dump[f"tensor_{first}"] ^= (np.random.default_rng(0).random(dump[f"tensor_{first}"].shape) < 0.4).astype(np.int8)
    dump[f"tensor_{second}"] = dump[f"tensor_{first}"].copy()  # and what was never written
    (note,) = fxsim.compare(trace, dump).notes
    assert note.startswith(f"tensor {second} ") and f"holds the values of tensor {first} " in note


def test_constants_in_a_dump_are_compared_too(trace):
    constant = next(t for t in trace.graph.tensors if t.constant and t.qtype.name == "int8")
    dump = {f"tensor_{constant.index}": constant.data, "conv1": trace.tensor("conv1")}
    assert fxsim.compare(trace, dump).equal
    dump[f"tensor_{constant.index}"] = constant.data ^ np.int8(1)
    result = fxsim.compare(trace, dump)
    assert result.mismatches == constant.elements and result.rows[0].layer == -1
    assert all(str(n) for n in result.notes)


def test_runs_that_differ_are_left_out(trace):
    a = trace.tensor("conv1")
    b = a.copy()
    b.reshape(-1)[0] ^= 1
    result = fxsim.compare(trace, {"conv1": a, "softmax": trace.tensor("softmax")}, again={"conv1": b})
    assert [r.name for r in result.rows] == ["softmax"]
    assert "differs between two runs" in result.notes[0]


class TestSingle:
    """Each layer on the device's own inputs."""

    def test_equal_dumps_are_equal_layer_by_layer(self, trace):
        dump = {f"tensor_{i}": v for i, v in trace.kept.items()}
        result = fxsim.compare(trace, dump, mode="single")
        assert result.equal and len(result.rows) == len(trace.graph.nodes)

    def test_only_the_guilty_layer_is_blamed(self, trace):
        """A device that errs in one layer and computes the rest from that error."""
        graph = trace.graph
        device = {i: v.copy() for i, v in trace.kept.items()}
        plan, guilty = trace.plan, 1
        for step in plan.steps:
            ins = [device.get(i, plan.workspace().values[i]) for i in step.inputs]
            outs = [np.empty(graph.tensors[i].shape, graph.tensors[i].qtype.dtype) for i in step.outputs]
            ins = [v.reshape(graph.tensors[i].shape) for i, v in zip(step.inputs, ins, strict=True)]
            step.run(plan.workspace(), ins, outs)
            if step.node.index == guilty:
                outs[0].reshape(-1)[::2] = np.clip(outs[0].reshape(-1)[::2].astype(int) + 1, -128, 127)
            for i, v in zip(step.outputs, outs, strict=True):
                device[i] = v.reshape(device[i].shape)
            for alias, source in plan.views.items():
                if source in step.outputs:
                    device[alias] = device[source].reshape(device[alias].shape)
        dump = {f"tensor_{i}": v for i, v in device.items()}
        entire = fxsim.compare(trace, dump)
        single = fxsim.compare(trace, dump, mode="single")
        assert [r.layer for r in single.rows if r.mismatches] == [guilty]
        assert len([r for r in entire.rows if r.mismatches]) > 1

    def test_outputs_without_inputs_say_nothing(self, trace):
        with pytest.raises(DumpError, match="inputs together with"):
            fxsim.compare(trace, {"softmax": trace.tensor("softmax")}, mode="single")

    def test_unknown_modes_are_refused(self, trace):
        with pytest.raises(fxsim.FxsimError, match="'single'"):
            fxsim.compare(trace, {"softmax": trace.tensor("softmax")}, mode="one")


@pytest.mark.corpus
def test_single_mode_leaves_state_alone(corpus):
    """Layers that write to variables are not run again: they would write to the dump."""
    graph = fxsim.read(corpus / "models" / "keyword_svdf.tflite")
    trace = fxsim.simulate(graph, load_inputs(graph, "random:3"), keep="all")
    dump = {f"tensor_{i}": v.copy() for i, v in trace.kept.items()}
    before = {k: v.copy() for k, v in dump.items()}
    for v in dump.values():
        v.flags.writeable = False
    result = fxsim.compare(trace, dump, "single")
    assert result.equal and not result.notes
    assert all(np.array_equal(before[k], v) for k, v in dump.items())
    stateful = {i for n in graph.nodes if n.op == "SVDF" for i in n.outputs}
    assert stateful and not stateful & {t.index for t in result.tensors}


def test_what_the_network_makes_alike_is_not_named(trace):
    """A view of a tensor that differs everywhere, and a float simulation, which has no views."""
    x = load_inputs(trace.graph, "random:5")
    real = fxsim.simulate(trace.graph, x, "float32", keep="all")
    dump = {f"tensor_{i}": np.nextafter(v, np.float32(np.inf)) for i, v in real.kept.items() if v.dtype == np.float32}
    assert not fxsim.compare(real, dump).notes
    dump = {f"tensor_{i}": v ^ np.int8(1) for i, v in trace.kept.items() if v.dtype == np.int8}
    for mode in ("entire", "single"):
        assert not fxsim.compare(trace, dump, mode).notes


def test_a_comparison_can_be_pickled(trace):
    dump = {f"tensor_{i}": v ^ np.int8(1) for i, v in trace.kept.items() if v.dtype == np.int8}
    result = fxsim.compare(trace, dump)
    again = pickle.loads(pickle.dumps(result))
    assert (again.rows, again.notes, again.first_divergence) == (result.rows, result.notes, result.first_divergence)
    assert (again.elements, again.mismatches, again.numerics) == (result.elements, result.mismatches, result.numerics)
    assert again.not_in_dump == result.not_in_dump and str(again.first_divergence) == str(result.first_divergence)
    assert all(np.array_equal(again.maps[i], result.maps[i]) for i in result.maps)


def test_the_first_divergence_is_told_at_once(trace):
    values = trace.tensor("conv1").copy()
    values.reshape(-1)[3] ^= 1
    dump = {"conv1": values}
    result = fxsim.compare(trace, dump)
    expected = values.reshape(-1)[3]
    values[...] = 7
    assert result.first_divergence.expected == expected


def test_a_list_for_each_inference(trace, tmp_path):
    """As a board prints them; and one row for each inference."""
    trace = fxsim.simulate(trace.graph, load_inputs(trace.graph, "random:5", 4), keep="all")
    values = trace.tensor("conv1")
    count = trace.batch.count
    log = tmp_path / "board.log"
    rows = values.reshape(count, -1)
    log.write_text("".join(f"conv1: {row.tolist()} {n} us\n" for n, row in enumerate(rows)))
    result = fxsim.compare(trace, log)
    assert result.equal and f"{count} lists, one an inference" in result.notes[0]
    folder = tmp_path / "twice"
    folder.mkdir()
    np.save(folder / "conv1.npy", rows[:2].reshape(-1))  # the same two inferences in two files are no four
    np.savetxt(folder / "conv1.csv", rows[:2].reshape(-1), fmt="%d")
    with pytest.raises(DumpError, match="holds 2 of them"):
        fxsim.compare(trace, folder)
    assert fxsim.compare(trace, {"conv1": rows}).equal and fxsim.compare(trace, {"mystery": rows}).equal
    height, width, channels = trace.graph.tensor("conv1").shape[1:]
    assert fxsim.compare(trace, {"conv1": values.reshape(count, height * width, channels)}).equal
    with pytest.raises(DumpError, match=r"has shape .*; allowed"):
        fxsim.compare(trace, {"conv1": values.reshape(count * 3, -1)})
    with pytest.raises(DumpError, match=f"the dump holds {count - 1} of them, the simulation {count} inferences"):
        fxsim.compare(trace, {"conv1": rows[1:]})


def test_a_folder_with_other_files(trace, tmp_path):
    np.save(tmp_path / "conv1.npy", trace.tensor("conv1"))
    (tmp_path / "notes.txt").write_text("taken on Tuesday\n")
    result = fxsim.compare(trace, tmp_path)
    assert result.equal and any("notes.txt: left out: holds no list of numbers" in n for n in result.notes)


def test_single_mode_judges_what_reads_the_models_input(trace):
    dump = {"conv1": trace.tensor("conv1") ^ np.int8(1), "conv2": trace.tensor("conv2")}
    result = fxsim.compare(trace, dump, "single")
    first = next(n for n in trace.graph.nodes if trace.graph.tensors[n.outputs[0]].name == "conv1")
    assert result.first_divergence.layer == first.index and result.rows[0].mismatches == dump["conv1"].size


def test_memory_is_judged_by_the_first_inference(corpus):
    """Written state comes first in the order of layers, and last in time."""
    graph = fxsim.read(corpus / "models" / "keyword_svdf.tflite")
    trace = fxsim.simulate(graph, load_inputs(graph, "random:3", 4), keep="all")
    early, late = (next(n.outputs[0] for n in nodes) for nodes in (graph.nodes, reversed(graph.nodes)))
    dump = {f"tensor_{i}": trace.tensor(i).copy() for i in (early, late)}
    dump[f"tensor_{early}"][2] ^= 1
    dump[f"tensor_{late}"][1] ^= 1
    result = fxsim.compare(trace, dump)
    assert (result.first_divergence.tensor, result.first_divergence.index[0]) == (late, 1)
