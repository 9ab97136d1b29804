"""C headers and packed binaries: a C compiler reads the header and prints what the model holds."""

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import fxsim
from fxsim.arith.multiplier import quantize_multiplier
from fxsim.errors import UnsupportedOp
from fxsim.exporters.device import records
from fxsim.exporters.header import number
from fxsim.fixed.packing import CODECS
from fxsim.importers import onnx as reader
from fxsim.importers import parse
from fxsim.model.qtype import QType
from tests.export.floats import encoder
from tests.export.test_onnx import add, quantized
from tests.export.test_tflite import CASES, convolution

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        pytest.skip("needs a C compiler")
    return found


def printed(compiler, folder, name, arrays, macros):
    """Compiles a program that includes the header and prints arrays and macros; what it says, by name."""
    lines = [f'#include "{name}.h"', "#include <stdio.h>", "int main(void) {", "  unsigned long i = 0;", "  (void)i;"]
    for a in arrays:
        lines.append(
            f'  printf("{a}"); for (i = 0; i < sizeof({a}) / sizeof({a}[0]); i++) printf(" %.17g", (double){a}[i]);'
        )
        lines.append('  printf("\\n");')
    lines += [f'  printf("{m} %.17g\\n", (double){m});' for m in macros]
    (folder / "main.c").write_text("\n".join([*lines, "  return 0;", "}", ""]))
    program = folder / "main"
    subprocess.run([compiler, *FLAGS, "-o", str(program), str(folder / "main.c")], check=True, cwd=folder)
    said = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {row.split()[0]: [float(v) for v in row.split()[1:]] for row in said.splitlines()}


@pytest.mark.parametrize("name", CASES)
def test_a_header_says_what_the_model_holds(compiler, name, tmp_path):
    graph = parse(CASES[name][0](), "made.tflite")
    fxsim.export(graph, tmp_path / "my-net.h")
    op = graph.nodes[0].op.lower()
    prefix = f"my_net_l0_{op}"
    what = ("weight", "bias", "multiplier", "shift", "input_shape", "output_shape")
    macros = [
        f"{prefix}_{m}".upper()
        for m in ("input_offset", "output_offset", "activation_min", "activation_max", "input_scale")
    ]
    found = printed(compiler, tmp_path, "my-net", [f"{prefix}_{w}" for w in what], macros)
    x, w, b = (graph.tensors[i] for i in graph.nodes[0].inputs)
    y = graph.tensors[graph.nodes[0].outputs[0]]
    stored = np.array(found[f"{prefix}_weight"])
    if w.qtype.bits == 8:
        assert np.array_equal(stored.reshape(w.shape), w.data)
    else:
        codec = CODECS["cmsis_s4" if w.qtype.bits == 4 else "tflite_int2"]
        assert np.array_equal(codec.unpack(stored.astype(np.uint8), w.elements), w.data.reshape(-1))
    assert found[f"{prefix}_bias"] == b.data.tolist()
    pairs = [quantize_multiplier(x.quant.scale[0] * s / y.quant.scale[0]) for s in w.quant.scale]
    assert found[f"{prefix}_multiplier"] == [p[0] for p in pairs]
    assert found[f"{prefix}_shift"] == [p[1] for p in pairs]
    assert found[f"{prefix}_input_shape"] == list(x.shape)
    assert found[macros[0]] == [-x.quant.zero_point[0]]
    assert found[macros[1]] == [y.quant.zero_point[0]]
    assert found[macros[2]] == [y.quant.zero_point[0]]  # RELU and RELU6
    six = y.qtype.max if "dense" in name else min(y.qtype.max, y.quant.zero_point[0] + round(6 / y.quant.scale[0]))
    assert found[macros[3]] == [six]
    assert found[macros[4]] == [x.quant.scale[0]]


def test_the_numbers_of_a_layer_compute_it(compiler, tmp_path):
    """The kernel that the header's note describes, in Python on the exported numbers, is the engine's."""
    graph = parse(CASES["dense int8"][0](), "made.tflite")
    (r,) = records(graph)
    x = np.random.default_rng(1).integers(-128, 128, (3, 9)).astype(np.int8)
    acc = (x.astype(int) + r.numbers["input_offset"]) @ r.blocks["weight"].data.astype(int).T + r.blocks["bias"].data
    real = r.blocks["multiplier"].data * 2.0 ** (r.blocks["shift"].data - 31.0)
    y = np.floor(acc * real + 0.5).astype(int) + r.numbers["output_offset"]
    y = np.clip(y, r.numbers["activation_min"], r.numbers["activation_max"])
    ours = np.asarray(fxsim.simulate(graph, x, "cmsis-nn").outputs["y"]).reshape(y.shape)
    assert np.abs(y - ours).max() <= 1
    assert np.mean(y != ours) < 0.05  # ties alone


def test_sums_have_three_multipliers():
    (r,) = records(add("RELU", 5))
    assert r.numbers["left_shift"] == 20
    twice = 2 * float(np.float32(0.1))
    for label, real in (("input1", 0.5), ("input2", float(np.float32(0.07)) / twice)):
        assert (r.numbers[f"{label}_multiplier"], r.numbers[f"{label}_shift"]) == quantize_multiplier(real)
    out = quantize_multiplier(twice / ((1 << 20) * float(np.float32(0.12))))
    assert (r.numbers["output_multiplier"], r.numbers["output_shift"]) == out


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["resnet8_int8", "kws_int8", "mnist_lstm_int8", "ad01_hybrid", "seanet/seanet_conv3"])
def test_headers_of_recorded_models_compile(compiler, corpus, name, tmp_path):
    graph = fxsim.read(corpus / "models" / f"{name}.tflite")
    fxsim.export(graph, tmp_path / "net.h")
    assert printed(compiler, tmp_path, "net", [], ["NET_LAYERS"]) == {"NET_LAYERS": [len(graph.nodes)]}


def test_binaries_say_where_each_constant_lies(tmp_path):
    graph = parse(convolution("CONV_2D", "int4"), "made.tflite")
    path = fxsim.export(graph, tmp_path / "net.bin")
    data, manifest = path.read_bytes(), json.loads((tmp_path / "net.json").read_text())
    assert manifest["bytes"] == len(data)
    (layer,) = manifest["layers"]
    found = {c["what"]: c for c in layer["constants"]}
    assert all(c["offset"] % manifest["alignment"] == 0 for c in found.values())
    w, b = (graph.tensors[i] for i in graph.nodes[0].inputs[1:])

    def stored(what):
        c = found[what]
        return np.frombuffer(
            data,
            np.dtype(c["stored"]).newbyteorder("<"),
            offset=c["offset"],
            count=c["bytes"] // np.dtype(c["stored"]).itemsize,
        )

    assert found["weight"]["packing"] == "cmsis_s4"
    assert found["weight"]["bytes"] == w.elements // 2
    assert np.array_equal(CODECS["cmsis_s4"].unpack(stored("weight"), w.elements).reshape(w.shape), w.data)
    assert np.array_equal(stored("bias"), b.data)
    assert layer["numbers"]["stride_h"] == 2
    assert manifest["inputs"] == [
        {
            "name": "x",
            "type": "int8",
            "shape": [1, 7, 6, 6],
            "quantization": {"scale": [graph.tensors[0].quant.scale[0]], "zero_point": [5]},
        }
    ]


def test_binary_weights_are_bits(compiler, tmp_path):
    graph = parse(CASES["dense int8"][0](), "made.tflite")
    w = next(t for t in graph.tensors if t.name == "w")
    signs = np.where(np.random.default_rng(2).random(w.shape) < 0.5, -1, 1).astype(np.int8)
    bits = replace(w, qtype=QType(1, register=8), data=signs)
    graph = replace(graph, tensors=tuple(bits if t is w else t for t in graph.tensors))
    fxsim.export(graph, tmp_path / "m.h")
    found = printed(compiler, tmp_path, "m", ["m_l0_fully_connected_weight"], [])["m_l0_fully_connected_weight"]
    assert found == [sum(int(v < 0) << c for c, v in enumerate(row)) for row in signs]


@pytest.mark.parametrize("suffix", [".h", ".bin"])
def test_onnx_networks_are_converted_if_they_are_float(suffix, tmp_path):
    fxsim.export(parse(encoder(), "m.onnx", reader.parse), tmp_path / f"m{suffix}")
    assert (tmp_path / f"m{suffix}").stat().st_size > 1000
    with pytest.raises(UnsupportedOp, match=r"layer 0 QuantizeLinear .* is uint8; supported: float32 networks"):
        fxsim.export(parse(quantized(), "q.onnx", reader.parse), tmp_path / f"q{suffix}")
    assert not list(tmp_path.glob("q*"))


def test_numbers_that_are_not_finite_are_c():
    given = {
        "inf": float("inf"),
        "minus": float("-inf"),
        "nan": float("nan"),
        "least": -(1 << 63),
        "most": (1 << 64) - 1,
    }
    told = {k: number(v) for k, v in given.items()}
    assert told["inf"] == "(1.0f / 0.0f)"
    assert told["minus"] == "((-1.0f / 0.0f))"
    assert told["nan"] == "(0.0f / 0.0f)"
    assert told["least"] == "((-9223372036854775807LL - 1))"
    assert told["most"] == "18446744073709551615ULL"
