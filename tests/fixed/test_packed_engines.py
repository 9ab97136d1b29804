"""Packed int4 as engines read it: ONNX Runtime, LiteRT, and CMSIS-NN's own test vectors."""

import json
from pathlib import Path

import numpy as np
import pytest

from fxsim.fixed.packing import CODECS
from fxsim.importers import parse
from fxsim.kernels import accumulate
from fxsim.kernels.requantize import requantize
from fxsim.sim import simulate
from tests import engines
from tests.build import Builder, nibbles

CASES = 24
"""one-op models for each op"""
BLIND = {"depthwise_int4_generic_4", "depthwise_int4_generic_5", "depthwise_int4_generic_6"}
"""Cases whose biases reach 2**30: a right shift of 26 leaves nothing of the weights, which could be 0. They test rounding."""


@pytest.mark.live
@pytest.mark.parametrize("name", ["onnx_int4", "onnx_uint4", "onnx_int2", "onnx_uint2"])
def test_onnx_reads_what_is_packed(name, record_property):
    """``raw_data`` as the codec makes it, read by onnx; int4 by ONNX Runtime's DequantizeLinear as well."""
    onnx = pytest.importorskip("onnx", reason="needs onnx (the onnx extra)")
    kind = getattr(onnx.TensorProto, name.removeprefix("onnx_").upper(), None)
    if kind is None:
        pytest.skip(f"this onnx knows no {name}")
    codec, rng, compared = CODECS[name], np.random.default_rng(0), 0
    for shape in ((1,), (3,), (2, 5), (16, 16), (7, 3, 3)):
        q = rng.integers(codec.low, codec.high + 1, shape)
        packed = codec.pack(q)
        tensor = onnx.helper.make_tensor("q", kind, shape, packed.tobytes(), raw=True)
        assert np.array_equal(onnx.numpy_helper.to_array(tensor).astype(np.int8), q)
        compared += q.size
        if "4" in name:
            assert np.array_equal(_dequantized(onnx, tensor, kind), q * np.float32(0.5))
            compared += q.size
    record_property("compared", f"{name}: {compared} elements")
    print(f"{name}: {compared} elements")


def _dequantized(onnx, tensor, kind):
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    scale = onnx.numpy_helper.from_array(np.float32(0.5), "scale")
    zero = onnx.helper.make_tensor("zero", kind, (), bytes(1), raw=True)
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, tuple(tensor.dims))
    node = onnx.helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"])
    graph = onnx.helper.make_graph([node], "one", [], [output], [tensor, scale, zero])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {})[0]


def _weights(rng, shape, channels):
    """int4 weights with their ends, and power-of-two scales for each channel, which make ties."""
    return rng.integers(-8, 8, shape, dtype=np.int8), (2.0 ** rng.integers(-6, -2, channels)).tolist()


def _compare(content, x, output):
    trace = simulate(parse(content, "int4"), [x], "litert-reference")
    wanted = engines.litert_reference(content, [x])[output]
    assert np.array_equal(trace.tensor(output), wanted)
    assert np.unique(wanted).size > 3 or wanted.size < 16
    return wanted.size


@pytest.mark.live
def test_litert_dense_with_int4_weights(record_property):
    rng, compared = np.random.default_rng(1), 0
    for _ in range(CASES):
        rows, inputs, outputs = (int(v) for v in rng.integers(1, (9, 200, 40)))
        w, scale = _weights(rng, (outputs, inputs), 1)
        assert np.array_equal(CODECS["tflite_int4"].pack(w), nibbles(w))
        b = Builder()
        x = b.tensor("x", (rows, inputs), "int8", 0.5, int(rng.integers(-128, 128)))
        weight = b.tensor("w", w.shape, "int4", scale, [0], 0, w)
        bias = b.tensor("b", (outputs,), "int32", 0.5 * scale[0], 0, 0, rng.integers(-300, 300, outputs))
        y = b.tensor("y", (rows, outputs), "int8", 1.0, int(rng.integers(-128, 128)))
        content = b.op("FULLY_CONNECTED", [x, weight, bias], [y], version=10).finish([x], [y])
        assert CODECS["tflite_int4"].pack(w).tobytes() in content
        compared += _compare(content, rng.integers(-128, 128, (rows, inputs), dtype=np.int8), y)
    record_property("compared", f"FULLY_CONNECTED int4: {compared} elements")
    print(f"FULLY_CONNECTED int4: {compared} elements")


@pytest.mark.live
def test_litert_convolution_with_int4_weights(record_property):
    rng, compared = np.random.default_rng(2), 0
    for _ in range(CASES):
        size, c, o, k = (int(v) for v in rng.integers(1, (13, 20, 20, 5)))
        size = max(size, k)
        w, scale = _weights(rng, (o, k, k, c), o)
        b = Builder()
        x = b.tensor("x", (1, size, size, c), "int8", 0.5, int(rng.integers(-128, 128)))
        weight = b.tensor("w", w.shape, "int4", scale, [0] * o, 0, w)
        bias = b.tensor("b", (o,), "int32", [0.5 * s for s in scale], [0] * o, 0, rng.integers(-300, 300, o))
        y = b.tensor("y", (1, size, size, o), "int8", 1.0, int(rng.integers(-128, 128)))
        b.op("CONV_2D", [x, weight, bias], [y], version=7, padding="SAME", stride_h=1, stride_w=1,
             dilation_h_factor=1, dilation_w_factor=1)  # fmt: skip
        content = b.finish([x], [y])
        assert CODECS["tflite_int4"].pack(w).tobytes() in content
        compared += _compare(content, rng.integers(-128, 128, (1, size, size, c), dtype=np.int8), y)
    record_property("compared", f"CONV_2D int4: {compared} elements")
    print(f"CONV_2D int4: {compared} elements")


def _cmsis(arrays, packing="cmsis_s4"):
    """One s4 case by fxsim's kernels: its outputs, as a flat array."""
    config = json.loads(str(arrays["__config__"]))
    family = json.loads(str(arrays["__family__"]))[0]
    need = lambda *names: next((arrays[n] for n in names if n in arrays), None)  # noqa: E731
    multiplier, shift = need("output_multiplier", "output_mult"), need("output_shift")
    depthwise, dense = "depthwise" in family, "fully" in family
    n, c, o = config["INPUT_BATCHES"], config["IN_CH"], config["OUT_CH"]
    if dense:
        multiplier, shift = np.full(o, config["OUTPUT_MULTIPLIER"]), np.full(o, config["OUTPUT_SHIFT"])
        config |= {"FILTER_X": 1, "FILTER_Y": 1, "STRIDE_X": 1, "STRIDE_Y": 1, "DILATION_X": 1, "DILATION_Y": 1,
                   "PAD_X": 0, "PAD_Y": 0, "OUTPUT_H": 1, "OUTPUT_W": 1}  # fmt: skip
    kh, kw, oh, ow = (config[k] for k in ("FILTER_Y", "FILTER_X", "OUTPUT_H", "OUTPUT_W"))
    sh, sw, dh, dw = (config[k] for k in ("STRIDE_Y", "STRIDE_X", "DILATION_Y", "DILATION_X"))
    stored = (kh, kw, o) if depthwise else (o, kh, kw, c)
    weight = CODECS[packing].unpack(need("input_weights", "weights"), stored)
    h, w, zero = config["INPUT_H"], config["INPUT_W"], -config["INPUT_OFFSET"]
    x = need("input").reshape(n, h, w, c)
    top, left = config["PAD_Y"], config["PAD_X"]
    need_h, need_w = (oh - 1) * sh + (kh - 1) * dh + 1, (ow - 1) * sw + (kw - 1) * dw + 1
    padded = np.full((n, max(need_h, h + top), max(need_w, w + left), c), zero, np.int16)
    padded[:, top : top + h, left : left + w] = x
    bias = need("input_bias", "biases", "bias")
    bias = np.zeros(o, np.int32) if bias is None else bias
    acc = np.empty((n, oh, ow, o), np.int32)
    window = (sh, sw, dh, dw)
    if depthwise:
        padded = np.repeat(padded, o // c, axis=3)
        accumulate.depthwise("wrap")(padded, weight, bias, zero, window, 0, 0, acc)
    else:
        kernel = np.ascontiguousarray(weight.transpose(1, 2, 3, 0))
        accumulate.conv("wrap")(padded, kernel, bias, zero, window, 1, 0, 0, acc)
    out = np.empty((n * oh * ow, o), np.int8)
    requantize("double_rounding", "ties_away")(
        acc.reshape(-1, o), multiplier.astype(np.int64), shift.astype(np.int64), np.zeros(o), config["OUTPUT_OFFSET"],
        config["OUT_ACTIVATION_MIN"], config["OUT_ACTIVATION_MAX"], out,
    )  # fmt: skip
    return out.reshape(-1), need("output", "output_ref")


@pytest.mark.corpus
def test_cmsis_nn_s4_vectors(corpus: Path, record_property):
    """Every s4 case of convolution, depthwise and dense, in every bit; with the nibbles exchanged, none that sees weights."""
    files = sorted((corpus / "vectors" / "cmsis_nn").glob("*int4*.npz"))
    families, compared, exchanged = set(), 0, set()
    for path in files:
        with np.load(path) as arrays:
            data = {k: arrays[k] for k in arrays.files}
        got, wanted = _cmsis(data)
        assert np.array_equal(got, wanted), f"{path.name}: {np.sum(got != wanted)} of {got.size} differ"
        families.add(json.loads(str(data["__family__"]))[0])
        compared += got.size
        key = "input_weights" if "input_weights" in data else "weights"
        raw = data[key].view(np.uint8)
        data[key] = raw >> 4 | raw << 4
        if np.array_equal(_cmsis(data)[0], wanted):
            exchanged.add(path.stem)
    assert len(files) >= 21 and exchanged <= BLIND
    assert {f.split("_s4")[0] for f in families} >= {"convolve", "depthwise_conv", "fully_connected"}
    record_property("compared", f"CMSIS-NN s4: {len(files)} cases, {compared} elements")
    print(f"CMSIS-NN s4: {len(files)} cases, {compared} elements")
