"""Public threads, replayed from their own numbers: what users saw, and what explains it."""

import msgspec
import numpy as np
import pytest

import fxsim
from fxsim.arith.requantize import double_rounding, single_rounding
from fxsim.arith.rounding import RULES
from fxsim.importers import onnx, parse, tflite
from fxsim.model.graph import Graph
from fxsim.numerics import NumericsProfile
from tests.build import Builder
from tests.diagnose import layers


def device_of(op: str, base: str = "tflm", **parts) -> NumericsProfile:
    """A shipped profile with some fields of one op changed."""
    profile = fxsim.load_numerics(base)
    settings = profile.of(op)
    for part, fields in parts.items():
        value = fields if isinstance(fields, str) else msgspec.structs.replace(getattr(settings, part), **fields)
        settings = msgspec.structs.replace(settings, **{part: value})
    return msgspec.structs.replace(profile, name="device", ops={op: settings})


def explained(graph: Graph, outputs, x, users: str) -> fxsim.Explanation:
    return fxsim.explain(graph, {"output_0": np.asarray(outputs)}, x, users)


def test_tensorflow_102943_a_float_rescale_and_a_tie_to_even():
    """acc 585, scales of an EfficientNet layer, zero point -126: Python says -119, TFLite -120. Neither double nor single
    rounding of the exact scale gives -120: the scale is a float32 chain, 585 times it is 6.5 exactly, and goes to even."""
    scales = 0.05296124517917633, 0.024093778803944588, 0.11484327912330627
    graph = layers.dense(np.array([[117, 0]], np.int8), np.array([0], np.int32), scales, (0, -126))
    x = np.array([[5, 0]], np.int8)
    assert fxsim.simulate(graph, x, "litert-reference").kept[graph.outputs[0]].item() == -119
    why = explained(graph, np.array([[-120]], np.int8), x, "litert-reference")
    assert "litert-xnnpack" in why.numerics
    finding = why.findings[0]
    assert not finding.holds(fxsim.load_numerics("tflm").of("FULLY_CONNECTED"))  # double rounding
    assert not finding.holds(fxsim.load_numerics("cmsis-nn-single-rounding").of("FULLY_CONNECTED"))
    assert "float32" in finding.row().words
    assert "ties to even" in finding.row().words


def test_onnxruntime_25512_zero_points_folded_into_one_constant():
    """QLinearAdd of -114 and -122: the user expects -113 by the operator's definition, the engine says -112."""
    values = {"a": (0.02534690499305725, -106), "b": (0.035809919238090515, -120), "y": (0.0365859717130661, -105)}
    graph = qlinear_add(values)
    x = {"a": np.array([-114], np.int8), "b": np.array([-122], np.int8)}
    definition = device_of("QLinearAdd", "onnxruntime", variant="dequantized")
    assert fxsim.simulate(graph, x, definition).kept[graph.outputs[0]].item() == -113
    why = fxsim.explain(graph, {"output_0": np.array([-112], np.int8)}, x, definition)
    assert why.findings[0].holds(device_of("QLinearAdd", "onnxruntime", variant="folded_apart").of("QLinearAdd"))
    assert not why.findings[0].holds(definition.of("QLinearAdd"))
    assert "zero points folded into one constant" in why.words


def qlinear_add(values) -> Graph:
    from onnx import TensorProto, helper

    consts = []
    for n, (scale, zero) in values.items():
        consts.append(helper.make_tensor(f"{n}_s", TensorProto.FLOAT, [], [scale]))
        consts.append(helper.make_tensor(f"{n}_z", TensorProto.INT8, [], [zero]))
    names = ["a", "a_s", "a_z", "b", "b_s", "b_z", "y_s", "y_z"]
    node = helper.make_node("QLinearAdd", names, ["y"], domain="com.microsoft")
    infos = [helper.make_tensor_value_info(n, TensorProto.INT8, [1]) for n in ("a", "b", "y")]
    graph = helper.make_graph([node], "add", infos[:2], infos[2:], consts)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    return parse(model.SerializeToString(), "add.onnx", onnx.parse)


@pytest.mark.parametrize(
    ("x", "weight", "true", "device"),
    [
        ([210, 198, 234], [-81, -80, 127], -3132, -3050),  # onnxruntime#16105: -32850 saturates to -32768
        ([211, 171], [71, 107], 33278, 32767),  # pytorch#44939: FBGEMM and QNNPACK differ
    ],
)
def test_pairs_of_16_saturating_bits(x, weight, true, device):
    assert np.dot(x, weight) == true
    step, middle = abs(true - device) / 8, (true + device) // 2  # so that both sums are outputs
    graph = layers.dense(np.array([weight], np.int8), np.array([-middle], np.int32), (1.0, 1.0, step), (-128, 0))
    stored = (np.array([x]) - 128).astype(np.int8)
    seen = np.array([[round((device - middle) / step)]], np.int8)
    why = explained(graph, seen, stored, "tflm")
    finding = why.findings[0]
    assert finding.status == "explained"
    assert finding.holds(device_of("FULLY_CONNECTED", accumulator={"order": "pairs16"}).of("FULLY_CONNECTED"))
    assert not finding.holds(finding.users)


def test_hls4ml_311_an_average_in_its_own_ten_bits():
    """Averages 17.97, 9.81, 4.86 of 64 values in ap_fixed<10,7> come out as 0.875: the sum saturates at 511."""
    b = Builder()
    x = b.tensor("x", (1, 8, 8, 3), "int16", 2.0**-3, 0)
    y = b.tensor("y", (1, 1, 1, 3), "int16", 2.0**-3, 0)
    b.op("AVERAGE_POOL_2D", [x], [y], padding="VALID", filter_height=8, filter_width=8, stride_h=1, stride_w=1)
    graph = parse(b.finish([x], [y]), "pool.tflite", tflite.parse)
    rng = np.random.default_rng(0)
    means = 17.974936, 9.814308, 4.8630896
    values = np.stack([np.clip(np.rint(rng.normal(mean * 8, 6, (8, 8))), 0, 511) for mean in means], axis=-1)
    x = values[np.newaxis].astype(np.int16)
    seen = np.full((1, 1, 1, 3), 7, np.int16)  # 0.875 in eighths
    why = explained(graph, seen, x, "tflm")
    finding = why.findings[0]
    assert finding.status == "explained"
    found = {(m.settings.accumulator.bits, m.settings.accumulator.overflow) for m in finding.members}
    assert (10, "saturate") in found
    assert all(overflow == "saturate" for _, overflow in found)


def test_hls4ml_324_an_accumulator_of_the_inputs_seven_bits():
    """Accuracy 0.7502 fell to 0.2020 when accum_t became the input's ap_fixed<7,1>: each product loses its last six bits
    (AP_TRN), and the sum wraps (AP_WRAP)."""
    rng = np.random.default_rng(5)
    weight, x = (rng.integers(-32, 33, (rows, 16)).astype(np.int8) for rows in (12, 8))  # six bits of fraction
    graph = layers.dense(weight, np.zeros(12, np.int32), (2.0**-6, 2.0**-6, 2.0**-6), rows=8)
    device = device_of(
        "FULLY_CONNECTED", accumulator={"bits": 7, "overflow": "wrap", "product_shift": 6, "product_rounding": "to_neg"}
    )
    why = explained(graph, fxsim.simulate(graph, x, device).kept[graph.outputs[0]], x, "tflm")
    found = {m.settings.accumulator for m in why.findings[0].members}
    assert {(a.bits, a.overflow, a.product_shift, a.product_rounding) for a in found} == {(7, "wrap", 6, "to_neg")}
    assert "accumulator of 7 bits, products shifted right by 6" in why.words


@pytest.mark.parametrize(("acc", "q", "shift"), [(7984, 1583594044, -9)])
def test_tensorflow_25087_two_roundings(acc, q, shift):
    """7984 * 0.00144...: TFLite's two roundings give 12, one rounding and real arithmetic 11."""
    assert double_rounding(RULES["ties_away"], acc, q, shift) == 12
    assert single_rounding(RULES["ties_pos"], acc, q, shift) == 11
    scale = float(np.float32(q * 2.0 ** (shift - 31)))
    weight, bias = np.array([[127, 109]], np.int8), np.array([acc - 62 * 127 - 109], np.int32)
    graph = layers.dense(weight, bias, (1.0, scale, 1.0))
    x = np.array([[62, 1]], np.int8)
    why = explained(graph, np.array([[11]], np.int8), x, "tflm")
    assert "cmsis-nn-single-rounding" in why.numerics
    assert not why.findings[0].holds(fxsim.load_numerics("tflm").of("FULLY_CONNECTED"))


def quiet(seed: int = 0, size=(10, 10), stride: int = 1, padding: str = "SAME", **options) -> tuple[Graph, np.ndarray]:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (8, 3, 3, 4)).astype(np.int8)
    bias, scales = rng.integers(-500, 500, 8).astype(np.int32), (2.0**-5, 2.0**-7, 2.0**-2)
    graph = layers.conv(weight, bias, scales, (9, -4), size, stride, padding, **options)
    return graph, rng.integers(-100, 101, (3, 1, *size, 4)).astype(np.int8)


def test_tflite_micro_3252_validated_with_one_rounding_deployed_with_two():
    graph, x = quiet()
    device = fxsim.simulate(graph, x, "tflm").kept[graph.outputs[0]]
    why = explained(graph, device, x, "cmsis-nn-single-rounding")
    assert 0.001 < np.mean(device != fxsim.simulate(graph, x, "cmsis-nn-single-rounding").kept[graph.outputs[0]]) < 0.05
    assert {"tflm", "litert-reference"} <= set(why.numerics)
    assert "rounds twice, ties away; your simulation: rounds once, ties up" in why.words


def test_esp_nn_31_trailing_padding_dropped():
    """3x3, stride 2, SAME on an even size: padding lies at the end only, where the device reads on."""
    graph, x = quiet(1, stride=2)
    device = device_of("CONV_2D", operands={"odd": "dropped"})
    seen = fxsim.simulate(graph, x, device).kept[graph.outputs[0]]
    wrong = np.argwhere(seen != fxsim.simulate(graph, x, "tflm").kept[graph.outputs[0]])
    assert all(y == 4 or z == 4 for _, _, y, z, _ in wrong)
    why = explained(graph, seen, x, "tflm")
    assert why.findings[0].holds(device.of("CONV_2D"))
    assert "trailing SAME padding dropped" in why.words


def test_esp_dl_286_a_simulator_that_adds_in_float32():
    """An int16 layer on a chip that adds in integers, checked against a simulator whose sums have 24 bits."""
    rng = np.random.default_rng(2)
    weight = rng.integers(-127, 128, (16, 600)).astype(np.int8)
    graph = layers.dense(weight, np.zeros(16, np.int64), (0.01, 0.01, 0.33), rows=60, dtype="int16")
    x = rng.integers(-32768, 32768, (60, 600)).astype(np.int16)
    simulator = device_of("FULLY_CONNECTED", accumulator={"order": "float32", "bits": 64})
    chip = fxsim.simulate(graph, x, "tflm").kept[graph.outputs[0]]
    assert np.any(chip != fxsim.simulate(graph, x, simulator).kept[graph.outputs[0]])
    why = fxsim.explain(graph, {"output_0": chip}, x, simulator)
    assert "tflm" in why.numerics
    assert "one product after the other; your simulation: sums in float32" in why.words


def test_quantlib_11_one_back_end_floors():
    graph, x = quiet(3)
    floors = device_of("CONV_2D", requantize={"scheme": "single_rounding", "rounding": "to_neg"})
    nearest = device_of("CONV_2D", requantize={"scheme": "single_rounding", "rounding": "ties_pos"})
    seen = fxsim.simulate(graph, x, floors).kept[graph.outputs[0]]
    why = fxsim.explain(graph, {"output_0": seen}, x, nearest)
    assert why.findings[0].holds(floors.of("CONV_2D"))
    assert "rounds once, down; your simulation: rounds once, ties up" in why.words


def test_ai8x_124_averages_without_their_fraction():
    b = Builder()
    x = b.tensor("x", (1, 6, 6, 4), "int8", 0.5, 0)
    y = b.tensor("y", (1, 3, 3, 4), "int8", 0.5, 0)
    b.op("AVERAGE_POOL_2D", [x], [y], padding="VALID", filter_height=2, filter_width=2, stride_h=2, stride_w=2)
    graph = parse(b.finish([x], [y]), "pool.tflite", tflite.parse)
    x = np.random.default_rng(0).integers(-128, 128, (2, 1, 6, 6, 4)).astype(np.int8)
    device = device_of("AVERAGE_POOL_2D", requantize={"rounding": "to_neg"})
    seen = fxsim.simulate(graph, x, device).kept[graph.outputs[0]]
    why = explained(graph, seen, x, "tflm")
    assert why.findings[0].holds(device.of("AVERAGE_POOL_2D"))
    assert "down" in why.words
