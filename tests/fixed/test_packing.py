"""Packed integers: round trips, bytes computed by hand, limits, refusals; and the libraries that are installed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.errors import DomainError
from fxsim.fixed.codecs_axis import KerasInt2, KerasInt4, TernaryBase3
from fxsim.fixed.packing import CODECS, GptqZerosV1, dequantize_q4_0, quantize_q4_0

MULTIPLES = {
    "pulp_int4": (2, 2), "pulp_uint4": (2, 2), "pulp_int2": (4, 4), "pulp_uint2": (4, 4), "ternary_bitnet": (4, 1),
    "gguf_q4_0": (1, 32), "gguf_tq2_0": (1, 256), "gguf_tq1_0": (1, 256), "awq": (1, 8), "gptq_weights": (8, 1),
    "gptq_zeros_v1": (1, 8), "gptq_zeros_v2": (1, 8),
}  # fmt: skip


def allowed(codec):
    low, high = (1, 15) if codec.name == "gptq_zeros_v1" else (codec.low, codec.high)
    return [v for v in range(low, high + 1) if v or not codec.without_zero]


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_what_is_packed_comes_back(name, data):
    codec, (rows, columns) = CODECS[name], MULTIPLES.get(name, (1, 1))
    shape = (rows * data.draw(st.integers(0, 5)), columns * data.draw(st.integers(0, 70 if columns == 1 else 3)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = rng.choice(np.array(allowed(codec), np.int8), shape)
    packed = codec.pack(values)
    assert packed.dtype in (np.uint8, np.uint32)
    back = codec.unpack(packed, shape)
    assert back.dtype == np.int8 and back.shape == shape and np.array_equal(back, values)
    assert np.array_equal(codec.unpack(packed.astype(packed.dtype.newbyteorder("<")).tobytes(), shape), values)
    assert np.array_equal(codec.unpack(packed.view(packed.dtype.str.replace("u", "i")), shape), values)


@pytest.mark.parametrize(
    ("name", "values", "packed"),
    [
        ("tflite_int4", [-8, 7, 1], [0x78, 0x01]),
        ("tflite_int4", [[-1, 0], [1, -2]], [0x0F, 0xE1]),
        ("onnx_int4", [1, -1, 5], [0xF1, 0x05]),
        ("onnx_uint4", [1, 15, 5], [0xF1, 0x05]),
        ("cmsis_s4", [1, -1, 5], [0xF1, 0x05]),
        ("pulp_int4", [1, -1], [0xF1]),
        ("pulp_uint4", [2, 12], [0xC2]),
        ("tflite_int2", [-2, -1, 0, 1, 1], [0b01001110, 0b01]),
        ("onnx_int2", [-2, -1, 0, 1, 1], [0b01001110, 0b01]),
        ("onnx_uint2", [3, 2, 1, 0, 1], [0b00011011, 0b01]),
        ("pulp_int2", [-2, -1, 0, 1], [0b01001110]),
        ("pulp_uint2", [3, 2, 1, 0], [0b00011011]),
        # The examples of Keras's own documentation.
        ("keras_int4", [[-3, 7], [2, -8], [1, 0]], [[45, 256 - 121], [1, 0]]),
        ("keras_int2", [[-2, 1], [0, -1], [1, -2], [0, 1], [-1, 0]], [[18, 109], [3, 0]]),
        ("ternary_base3", [-1, 0, 1, -1, 1], [0 + 3 * 1 + 9 * 2 + 27 * 0 + 81 * 2]),
        ("ternary_base3", [1, 1, 1, 1, 1, -1], [242, 0 + 3 + 9 + 27 + 81]),
        ("ternary_bitnet", [[-1, 1], [0, 0], [1, -1], [0, 1]], [[0b01100100, 0b10000110]]),
        ("larq_bits", [1, -1, -1, 1], [6]),
        ("larq_bits", [[1] * 31 + [-1, -1], [-1] * 33], [[1 << 31, 1], [0xFFFFFFFF, 1]]),
        ("finn_bits", [1, 1, 1, -1], [0x0E]),
        ("finn_bits", [1] + [-1] * 8, [1, 0]),
        ("awq", [[0, 1, 2, 3, 4, 5, 6, 7]], [[0x75316420]]),
        ("gptq_weights", np.arange(8)[:, None], [[0x76543210]]),
        ("gptq_zeros_v1", [[1, 2, 3, 4, 5, 6, 7, 15]], [[0xE6543210]]),
        ("gptq_zeros_v2", [[1, 2, 3, 4, 5, 6, 7, 15]], [[0xF7654321]]),
        ("gguf_q4_0", [-8, *[0] * 15, 7, *[0] * 15], [0xF0, *[0x88] * 15]),
    ],
)
def test_bytes_computed_by_hand(name, values, packed):
    codec = CODECS[name]
    assert np.array_equal(codec.pack(values), packed)
    shape = np.shape(values)
    assert np.array_equal(codec.unpack(np.array(packed, codec.pack(values).dtype), shape), values)


def test_gguf_ternary_by_hand():
    """TQ2_0: the first values of the four quarters of a half share byte 0. TQ1_0: values 32 apart, as a fraction of 256."""
    t = np.zeros(256, np.int8)
    t[[0, 32, 64, 96]] = [1, 0, -1, 1]
    packed = CODECS["gguf_tq2_0"].pack(t)
    assert packed[0] == 0b10_00_01_10 and np.all(packed[1:] == 0b01010101)
    t = np.zeros(256, np.int8)
    t[[0, 32, 64, 96, 128]] = [1, -1, 0, 1, -1]
    packed = CODECS["gguf_tq1_0"].pack(t)
    number = 2 * 81 + 0 * 27 + 1 * 9 + 2 * 3 + 0
    assert packed[0] == -(-number * 256 // 243)
    assert packed[1] == -(-121 * 256 // 243) and packed[48] == -(-(81 + 27 + 9 + 3) * 256 // 243)


def test_awq_is_the_order_that_its_readers_reverse():
    q = np.arange(16, dtype=np.int8)[None]
    nibbles = (CODECS["awq"].pack(q)[..., None] >> np.arange(0, 32, 4, dtype=np.uint32)) & 15
    assert np.array_equal(nibbles[:, :, [0, 4, 1, 5, 2, 6, 3, 7]].reshape(1, 16), q)


def test_keras_packs_along_an_axis():
    """The examples with axis=1 of Keras's documentation."""
    assert np.array_equal(KerasInt4(1).pack([[-3, 7, 2], [-8, 1, 0]]), [[125, 2], [24, 0]])
    assert np.array_equal(KerasInt2(1).pack([[-2, 1, 0, -1, 1], [-2, 0, 1, -1, 0]]), [[256 - 58, 1], [256 - 46, 0]])
    x = np.random.default_rng(0).integers(-1, 2, (3, 7, 4))
    for axis in (0, 1, 2, -1):
        codec = TernaryBase3(axis)
        assert np.array_equal(codec.unpack(codec.pack(x), x.shape), x)


@pytest.mark.parametrize("name", CODECS)
def test_values_out_of_range_are_refused(name):
    codec, (rows, columns) = CODECS[name], MULTIPLES.get(name, (1, 1))
    for wrong in (codec.low - 1, codec.high + 1, *([0] if codec.without_zero else [])):
        values = np.full((rows, columns), allowed(codec)[0], np.int64)
        values[-1, -1] = wrong
        with pytest.raises(DomainError, match=rf"{name}: value at \[{rows - 1}, {columns - 1}\] is {wrong}; allowed"):
            codec.pack(values)
    with pytest.raises(DomainError, match=f"{name}: values are float64; allowed: integers"):
        codec.pack(np.ones((rows, columns)))


@pytest.mark.parametrize("name", CODECS)
def test_wrong_lengths_are_refused(name):
    codec, (rows, columns) = CODECS[name], MULTIPLES.get(name, (1, 1))
    packed = codec.pack(np.full((rows, columns), allowed(codec)[0]))
    longer = np.append(packed, packed)
    with pytest.raises(DomainError, match=f"{name}: data has .*needed"):
        codec.unpack(longer, (rows, columns))
    with pytest.raises(DomainError, match=f"{name}: data has .*needed"):
        codec.unpack(packed.tobytes()[:-1], (rows, columns))
    with pytest.raises(DomainError, match=f"{name}: data is float32"):
        codec.unpack(packed.astype(np.float32), (rows, columns))
    with pytest.raises(DomainError, match=f"{name}: shape is"):
        codec.unpack(packed, (-rows, columns))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("pulp_int4", (3,), "3 values; allowed: multiples of 2"),
        ("pulp_uint2", (2,), "2 values; allowed: multiples of 4"),
        ("ternary_bitnet", (5, 4), "first size that is a multiple of 4"),
        ("gguf_q4_0", (2, 31), "divides by 32"),
        ("gguf_tq1_0", (128,), "divides by 256"),
        ("awq", (8, 12), "that of axis 1 divisible by 8"),
        ("gptq_weights", (12, 8), "that of axis 0 divisible by 8"),
        ("larq_bits", (), "at least one axis"),
        ("keras_int2", (), "axis is 0"),
    ],
)
def test_shapes_that_have_no_packed_form_are_refused(name, shape, message):
    values = np.full(shape, allowed(CODECS[name])[0])
    with pytest.raises(DomainError, match=message):
        CODECS[name].pack(values)
    with pytest.raises(DomainError, match=message):
        CODECS[name].unpack(b"", shape)


def test_codes_that_mean_nothing_are_refused():
    for name, data, shape in [
        ("ternary_base3", [243], (5,)), ("ternary_bitnet", [0b11], (4,)), ("gguf_tq2_0", [3] + [0] * 63, (256,)),
        ("larq_bits", [1 << 5], (5,)), ("finn_bits", [0x20], (5,)),
    ]:  # fmt: skip
        codec = CODECS[name]
        with pytest.raises(DomainError, match=f"{name}: .*allowed"):
            codec.unpack(np.array(data, codec.pack(np.ones(shape, np.int8)).dtype), shape)


def test_tail_of_a_stream_is_not_read():
    assert CODECS["tflite_int4"].unpack(bytes([0xF1]), 1) == [1]


def test_gptq_zero_points_on_which_readers_differ():
    """0 - 1 wraps to 15, which old readers take for 16."""
    word = np.array([[0xFFFFFFFF]], np.uint32)
    assert np.all(GptqZerosV1(fifteen=16).unpack(word, (1, 8)) == 16)
    assert np.all(GptqZerosV1(fifteen=0).unpack(word, (1, 8)) == 0)
    for fifteen in (0, 16):
        assert np.array_equal(GptqZerosV1(fifteen=fifteen).pack(np.full((1, 8), fifteen)), word)
        with pytest.raises(DomainError, match=f"a zero point is {16 - fifteen}; allowed"):
            GptqZerosV1(fifteen=fifteen).pack(np.full((1, 8), 16 - fifteen))
    with pytest.raises(DomainError, match="readers take for 0 or 16"):
        CODECS["gptq_zeros_v1"].unpack(word, (1, 8))
    with pytest.raises(DomainError, match="fifteen is 3; allowed"):
        GptqZerosV1(fifteen=3)
    v1 = CODECS["gptq_zeros_v1"].pack([[7, 8, 9, 1, 2, 3, 4, 15]])
    assert np.array_equal(v1 + np.uint32(0x11111111), CODECS["gptq_zeros_v2"].pack([[7, 8, 9, 1, 2, 3, 4, 15]]))


def naive_q4_0(x, fused):
    """One block, in exact fractions and one rounding after the other."""
    from fractions import Fraction

    top = max(range(32), key=lambda i: (abs(x[i]), -i))
    d = np.float32(x[top]) / np.float32(-8)
    inverse = np.float32(1) / d if d else np.float32(0)
    codes = []
    for v in x:
        if fused:
            exact = Fraction(float(v)) * Fraction(float(inverse)) + Fraction(17, 2)
            biased = np.float32(float(exact)) if Fraction(float(exact)) == exact else round_f32(exact)
        else:
            biased = v * inverse + np.float32(8.5)
        codes.append(min(15, int(biased)))
    return np.float16(d).tobytes() + bytes(codes[j] | codes[j + 16] << 4 for j in range(16))


def round_f32(exact):
    """An exact positive fraction rounded to float32, ties to even."""
    exponent = 0
    while exact >= 2 << exponent:
        exponent += 1
    while exact < 1 << exponent if exponent >= 0 else exact * (1 << -exponent) < 1:
        exponent -= 1
    scaled = exact * 2 ** (23 - exponent)
    return np.float32(float(round(scaled)) * 2.0 ** (exponent - 23))


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from(["normal", "halves", "edge", "zero", "equal"]))
def test_q4_0_equals_its_naive_twin(seed, fused, kind):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 32)).astype(np.float32)
    if kind == "halves":  # exact ties of the quantizer: multiples of d / 2
        x = (rng.integers(-16, 17, (3, 32)) / 2).astype(np.float32) * np.float32(0.375)
    elif kind == "edge":  # a neighbour of a tie: there fused and separate rounding part
        x = np.nextafter((rng.integers(-15, 16, (3, 32)) / np.float32(2)) / np.float32(3), np.float32(0)) * np.float32(
            0.7
        )
    elif kind == "zero":
        x[0] = 0
        x[1, 1:] = 0
    elif kind == "equal":
        x[:, 5:9] = np.array([9, -9, 9, -9])
    raw = quantize_q4_0(x, fused=fused)
    assert raw.shape == (3, 18)
    assert [r.tobytes() for r in raw] == [naive_q4_0(row, fused) for row in x]
    d, codes = raw[:, :2].copy().view("<f2").astype(np.float32), CODECS["gguf_q4_0"].unpack(raw[:, 2:], (3, 32))
    assert np.array_equal(dequantize_q4_0(raw, (3, 32)), d * codes)


def test_fusing_the_product_and_the_sum_changes_bytes():
    """The reference is not one function: what a C compiler contracts decides some bits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2**14, 32)).astype(np.float32)
    k = rng.integers(-15, 16, x.shape).astype(np.float32)
    x[:, 1:] = np.abs(x[:, :1]) * k[:, 1:] / 16  # near ties of the quantizer
    assert np.any(quantize_q4_0(x) != quantize_q4_0(x, fused=True))


def test_q4_0_refusals():
    for bad, message in [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (1e6, "below 524160"),
        (1e-38, "above 2.4e-38"),
    ]:
        with pytest.raises(DomainError, match=message):
            quantize_q4_0(np.full(32, bad, np.float32))
    with pytest.raises(DomainError, match="divides by 32"):
        quantize_q4_0(np.zeros(33))
    with pytest.raises(DomainError, match="divides by 32"):
        dequantize_q4_0(bytes(18), 31)
    with pytest.raises(DomainError, match="17 bytes; needed: 18"):
        dequantize_q4_0(bytes(17), 32)


@pytest.mark.live
def test_gguf_package_agrees(record_property):
    gguf = pytest.importorskip("gguf", reason="needs gguf, llama.cpp's own package")
    types, quants = gguf.GGMLQuantizationType, gguf.quants
    rng = np.random.default_rng(2)
    x = rng.normal(size=(64, 2048)).astype(np.float32)
    x = np.concatenate([x, np.round(x * 4) / 8, np.zeros_like(x[:1])])
    wanted = quants.quantize(x, types.Q4_0)
    assert np.array_equal(quantize_q4_0(x, fused=True), wanted)
    assert np.array_equal(dequantize_q4_0(wanted, x.shape), quants.dequantize(wanted, types.Q4_0))
    t = rng.integers(-1, 2, (64, 1024)).astype(np.float32)
    t[:, ::256] = 1
    for kind, name in ((types.TQ1_0, "gguf_tq1_0"), (types.TQ2_0, "gguf_tq2_0")):
        codes = quants.quantize(t, kind).reshape(256, -1)[:, :-2]
        assert np.array_equal(CODECS[name].pack(t.astype(np.int8)).reshape(256, -1), codes)
        assert np.array_equal(CODECS[name].unpack(codes, t.shape), t)
    record_property("compared", f"Q4_0 {x.size} values, TQ1_0 and TQ2_0 {t.size} each")
