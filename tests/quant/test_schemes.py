"""Schemes: what each makes of a trained network, overrides, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

import fxsim
from fxsim.errors import FxsimError, UnsupportedOp
from fxsim.quant import SCHEMES, Scheme, calibrate, quantize
from fxsim.quant.weights import quantize_weight
from tests.quant import digits

ENOUGH = {  # points of accuracy that may be lost on 449 digits
    "int8": 1.0, "int8-per-tensor": 1.0, "int8-pow2": 2.0, "uint8": 1.0, "int16": 0.5, "int16x8": 1.0, "int4": 6.0,
    "weight-only-int8": 1.0, "weight-only-int4": 6.0, "int4+adaround+bias": 2.0, "int4-group+clip": 6.0,
    "kmeans4+adaround": 5.0, "apot+clip+adaround+bias": 5.0, "int4+equalize+adaround+bias": 2.0, "dynamic": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    graph, d = digits.graph(), digits.data()
    (wanted,) = fxsim.simulate(graph, d.x_test, "float32").outputs.values()
    return graph, d, digits.accuracy(wanted, d.y_test), calibrate(graph, d.x_train[:256])


@pytest.mark.parametrize("scheme", [*ENOUGH, *(s for s in SCHEMES if s not in ENOUGH)])
def test_accuracy_of_the_integers(network, scheme):
    graph, d, wanted, _ = network
    q = quantize(graph, d.x_train[:256], scheme)
    (found,) = fxsim.simulate(q, d.x_test, "generic").outputs.values()
    accuracy = digits.accuracy(found, d.y_test)
    assert 100 * (wanted - accuracy) <= ENOUGH.get(scheme, 95.0)
    assert accuracy > 0.1  # chance


def weight_bytes(graph):
    return sum(t.nbytes for t in graph.tensors if t.constant and len(t.shape) > 1)


def test_bytes_fall_with_the_bits(network):
    graph, _, _, seen = network
    elements = weight_bytes(graph) // 4
    made = {
        s: quantize(graph, scheme=s, calibrated=seen) for s in ("int8", "int4", "int2", "binary", "kmeans4", "log2")
    }
    size = {s: weight_bytes(q) for s, q in made.items()}
    assert size["int8"] == elements
    assert size["int4"] == size["log2"] == elements // 2
    assert size["int2"] == elements // 4
    assert size["binary"] == elements // 8
    assert size["kmeans4"] == elements // 2 + 5 * 16  # a codebook of 16 bytes for each of five layers
    cost = {s: fxsim.estimate(q, "cortex-m4") for s, q in made.items() if s in ("int8", "kmeans4")}
    assert cost["int8"].total is not None
    group = quantize(graph, scheme="int4-group", calibrated=seen)
    assert elements // 2 < weight_bytes(group) < elements // 2 + elements // 32 + 100


@pytest.mark.parametrize(
    ("scheme", "most"), [("kmeans4", 16), ("log2", 15), ("apot", 16), ("ternary", 3), ("binary", 2)]
)
def test_weights_take_no_more_values_than_their_bits_name(network, scheme, most):
    q = quantize(network[0], scheme=scheme, calibrated=network[3])
    for t in q.tensors:
        if t.constant and len(t.shape) > 1:
            assert 2 <= len(np.unique(t.data)) <= most
            assert t.data.dtype == np.int8


def test_overrides_by_index_name_and_op(network):
    graph, _, _, seen = network
    name = graph.nodes[3].name
    other = Scheme(weight_bits=3, granularity="tensor")
    q = quantize(graph, scheme="int8", calibrated=seen, overrides={0: 4, name: other, "FULLY_CONNECTED": 2})
    bits = {n.op + n.name: q.tensors[n.inputs[1]].qtype.bits for n in q.nodes if n.op in ("CONV_2D", "FULLY_CONNECTED")}
    assert list(bits.values()) == [4, 3, 2, 2]
    third = q.tensors[next(n for n in q.nodes if n.name == name).inputs[1]]
    assert len(third.quant.scale) == 1
    kept = quantize(graph, scheme="int8", calibrated=seen, overrides={"SOFTMAX": "float", 7: 32})
    assert [n.op for n in kept.nodes][-3:] == ["FULLY_CONNECTED", "FULLY_CONNECTED", "SOFTMAX"] or kept.nodes[
        -1
    ].op == "SOFTMAX"
    assert kept.tensors[kept.nodes[-1].inputs[0]].qtype.name == "float32"
    assert kept.tensors[kept.nodes[-1].outputs[0]].name == graph.tensors[graph.outputs[0]].name


def test_mixed_activation_widths(network):
    graph, d, _, seen = network
    wide = replace(SCHEMES["int16x8"], overrides={})
    q = quantize(graph, scheme="int8", calibrated=seen, overrides={7: wide})
    assert not fxsim.unsupported(q, "litert-reference")
    (found,) = fxsim.simulate(q, d.x_test[:64]).outputs.values()
    assert digits.accuracy(found, d.y_test[:64]) > 0.8


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weight_bits": 17}, "weight_bits is 17; allowed"),
        ({"activation_bits": 1}, "activation_bits is 1; allowed"),
        ({"weight_bits": 12}, "weight_bits is 12 with activation_bits 8; allowed: at most 8"),
        ({"granularity": "row"}, "granularity is 'row'; allowed: 'tensor', 'channel', 'group'"),
        (
            {"calibration": "max"},
            "calibration is 'max'; allowed: 'min_max', 'moving_average', 'percentile', 'entropy', 'mse'",
        ),
        ({"corrections": ("magic",)}, "corrections is 'magic'; allowed: 'equalize', 'clip', 'adaround', 'bias'"),
        ({"codebook": "log2", "weight_bits": 5}, "weight_bits is 5 with codebook 'log2'; allowed: 2..4"),
        ({"granularity": "group"}, "weight_bits is 8 with granularity 'group'; allowed: 2..4"),
        ({"granularity": "group", "weight_bits": 4, "codebook": "apot"}, "codebook is 'apot' with granularity 'group'"),
        ({"weights_symmetric": False}, "weights_symmetric is False per channel"),
        ({"percent": 20}, "percent is 20; allowed: above 50, at most 100"),
        ({"group": 1}, "group is 1"),
        ({"bias_bits": 2}, "bias_bits is 2"),
        ({"activations": "none"}, "activations is 'none'"),
    ],
)
def test_a_scheme_that_cannot_be(change, told):
    with pytest.raises(FxsimError, match=told):
        Scheme(**change)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"scheme": "int9"}, "scheme is 'int9'; allowed: 'int8'"),
        ({"scheme": "int8+magic"}, "corrections is 'magic'"),
        ({"scheme": 8}, "scheme is 8; allowed"),
        ({"overrides": {99: 4}}, r"overrides has 99, no layer of digits\.tflite; allowed: 0\.\.8"),
        ({"overrides": {0: 99}}, r"overrides\[0\] is 99; allowed"),
        ({"overrides": {0: "half"}}, r"overrides\[0\] is 'half'; allowed: weight bits, a Scheme, 'float'"),
        ({"overrides": {0: Scheme(activations="dynamic")}}, "has activations 'dynamic'; allowed: 'static'"),
        ({"calibrated": None}, "no calibration data; static activations of the scheme take some"),
        ({"scheme": "dynamic+bias"}, "no calibration data; bias of the scheme take some"),
        ({"scheme": "int8+bias", "calibration": iter(())}, "calibration is an iterator, which bias would read again"),
    ],
)
def test_what_quantize_refuses(network, call, told):
    with pytest.raises(FxsimError, match=told):
        quantize(network[0], **{"calibrated": network[3]} | call)


@pytest.mark.parametrize(
    ("scheme", "numerics", "told"),
    [
        ("w4a4", "litert-reference", "cannot run layer 0 QUANTIZE .* is int4"),
        ("binary", "litert-reference", "cannot run layer 1 CONV_2D .* is int1"),
        ("int2", "tflm", "cannot run layer 1 CONV_2D .* is int2; .* numerics 'generic' runs 1 to 16 bits"),
        ("int8", "nvdla", "cannot run layer"),
    ],
)
def test_bits_that_an_engine_cannot_run(network, scheme, numerics, told):
    with pytest.raises(UnsupportedOp, match=told):
        quantize(network[0], scheme=scheme, calibrated=network[3], numerics=numerics)
    assert quantize(network[0], scheme=scheme, calibrated=network[3], numerics="generic")


def test_a_quantized_model_is_refused(network):
    q = quantize(network[0], scheme="int8", calibrated=network[3])
    with pytest.raises(FxsimError, match="is quantized already; allowed: float models"):
        quantize(q, network[1].x_train[:4])


def test_narrow_biases_saturate(network):
    scheme = replace(SCHEMES["int8"], bias_bits=8)
    q = quantize(network[0], scheme=scheme, calibrated=network[3])
    biases = [q.tensors[n.inputs[2]].data for n in q.nodes if len(n.inputs) == 3]
    assert min(b.min() for b in biases) == -128 or max(b.max() for b in biases) == 127
    assert all(-128 <= b.min() and b.max() <= 127 for b in biases)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_clipping_never_adds_squared_error(bits):
    w = np.random.default_rng(bits).standard_t(3, size=(8, 3, 3, 5)).astype(np.float32)
    errors = []
    for corrections in ((), ("clip",)):
        made = quantize_weight(w, 0, Scheme(weight_bits=bits, corrections=corrections))
        errors.append(np.sum((made.decision.quant.dequantize(made.raw) - w) ** 2))
    assert errors[1] <= errors[0] * (1 + 1e-6)


def test_groups_follow_their_own_scale():
    rng = np.random.default_rng(0)
    w = (rng.normal(size=(4, 128)) * np.repeat([1.0, 0.05, 0.3, 0.1], 32)[None]).astype(np.float32)
    error = {}
    for granularity in ("channel", "group"):
        made = quantize_weight(w, 0, Scheme(weight_bits=4, granularity=granularity))
        error[granularity] = np.mean((made.decision.quant.dequantize(made.raw) - w) ** 2)
        assert np.abs(made.raw).max() <= 127
    assert error["group"] < error["channel"] / 2


def test_a_channel_of_zeros_and_a_bias_beyond_its_weights():
    from tests.quant.graphs import FloatBuilder

    b = FloatBuilder()
    x = b.input("x", (1, 2))
    w = np.array([[0.0, 0.0], [1e-9, 0.0], [1.0, -1.0]], np.float32)
    g = b.finish(b.dense(x, w, np.array([3.0, -2.0, 0.5], np.float32)))
    values = np.array([[1.0, 0.5], [-1.0, 0.25]], np.float32)
    for scheme in ("int8", "int4+clip", "int8-per-tensor", "ternary", "int16x8"):
        q = quantize(g, values, scheme)
        got = fxsim.simulate(q, values, "generic").kept[q.outputs[0]].reshape(2, 3)
        assert np.allclose(got[:, :2], [[3, -2]] * 2, atol=0.05), scheme
