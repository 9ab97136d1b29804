"""Round trip: quantized models written as .tflite, run by the live engines, equal in every bit to the simulator."""

import numpy as np
import pytest

import fxsim
from fxsim.exporters.tflite import encode
from fxsim.quant import calibrate, quantize
from tests import engines
from tests.quant.graphs import FloatBuilder

pytest.importorskip("ai_edge_litert")
ENGINES = {
    "litert-reference": lambda content, x, i: engines.litert_reference(content, x)[i],
    "litert-optimized": lambda content, x, i: engines.litert_optimized(content, x)[i],
    "litert-xnnpack": lambda content, x, i: engines.litert_xnnpack(content, x)[0],
}


def network():
    """Every kind of constraint: products, pools, sums, joins, fixed scales, a move."""
    b, rng = FloatBuilder(), np.random.default_rng(0)
    x = b.input("x", (1, 8, 8, 4))
    y = b.conv(x, rng.normal(size=(8, 3, 3, 4)) / 4, rng.normal(size=8), padding="SAME", activation="RELU")
    z = b.conv(y, rng.normal(size=(8, 1, 1, 8)) / 3, rng.normal(size=8))
    s = b.add(y, z, activation="RELU6")
    p = b.pool(s, "MAX_POOL_2D", 2)
    m = b.pool(p, "AVERAGE_POOL_2D", 2)
    gate = b.op("LOGISTIC", (m,))
    joined = b.concat([m, gate])
    flat = b.reshape(joined, (1, 64))
    out = b.dense(flat, rng.normal(size=(10, 64)) / 8, rng.normal(size=10))
    return b.finish(b.softmax(out))


X = np.random.default_rng(1).normal(size=(24, 1, 8, 8, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def calibrated():
    return calibrate(network(), X)


@pytest.mark.parametrize("io", ["float32", "integer"])
@pytest.mark.parametrize("scheme", ["int8", "int8-per-tensor", "int8-pow2", "int16x8", "int4", "kmeans4", "int4-group"])
@pytest.mark.parametrize("numerics", ENGINES)
def test_the_engine_computes_what_the_simulator_does(calibrated, numerics, scheme, io):
    q = quantize(network(), scheme=scheme, io=io, calibrated=calibrated, numerics=numerics)
    content, source = encode(q), q.tensors[q.inputs[0]]
    x = X if source.quant is None else source.quant.quantize(X, source.qtype)
    mine = fxsim.simulate(q, x, numerics).kept[q.outputs[0]]
    for n in range(len(x)):
        live = ENGINES[numerics](content, [x[n]], q.outputs[0])
        assert np.array_equal(mine[n].reshape(live.shape), live)


def dense():
    b, rng = FloatBuilder(), np.random.default_rng(2)
    x = b.input("x", (1, 24))
    h = b.dense(x, rng.normal(size=(32, 24)), rng.normal(size=32), activation="RELU")
    return b.finish(b.dense(h, rng.normal(size=(6, 32)), rng.normal(size=6)))


@pytest.mark.parametrize(
    ("scheme", "numerics"),
    [(s, "litert-reference") for s in ("dynamic", "weight-only-int8", "weight-only-int4")]
    + [("dynamic", "litert-xnnpack")],
)
def test_float_data_with_integer_weights(scheme, numerics):
    """DEQUANTIZE by channel, of 8 and of 4 bits; and inputs that are quantized at run time."""
    q = quantize(dense(), scheme=scheme, numerics=numerics)
    assert sum(n.op == "DEQUANTIZE" for n in q.nodes) == (0 if scheme == "dynamic" else 2)
    x = np.random.default_rng(3).normal(size=(16, 1, 24)).astype(np.float32)
    mine = fxsim.simulate(q, x, numerics).kept[q.outputs[0]]
    for n in range(len(x)):
        live = ENGINES[numerics](encode(q), [x[n]], q.outputs[0])
        assert np.array_equal(mine[n].reshape(live.shape), live)


def test_engines_without_scales_by_channel_refuse_them():
    gaps = fxsim.unsupported(quantize(dense(), scheme="weight-only-int8"), "tflm")
    assert "DEQUANTIZE" in {g.op for g in gaps}


def test_what_is_written_is_read_again(calibrated, tmp_path):
    q = quantize(network(), scheme="int8", calibrated=calibrated)
    again = fxsim.read(fxsim.export(q, tmp_path / "m.tflite"))
    assert np.array_equal(*(fxsim.simulate(g, X).kept[g.outputs[0]] for g in (q, again)))
