"""Larq's binary layers and int2 weights in a model file, against definitions on +1 and -1."""

from fractions import Fraction

import numpy as np
import pytest

import fxsim
from fxsim.errors import FxsimError, ModelError, ProfileError, UnsupportedOp
from fxsim.fixed.thresholds import fold_batch_norm
from fxsim.importers import parse
from fxsim.model.ops import work
from fxsim.sim import simulate
from fxsim.sim.binary import VARIANTS
from fxsim.sim.registers import needed_bits
from tests.binary_models import Binary, bits_equal, larq_words, with_variant
from tests.build import Builder

ENDS = [-(1 << 31), -1, 0, 1, (1 << 31) - 1]


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def case(seed=0, channels=33, outputs=5, kernel=(3, 2), size=(4, 5), groups=1, batch=2, **kwargs):
    """A layer whose multipliers and biases make ties and clamps at int8, and whose thresholds include both ends."""
    rng = np.random.default_rng(seed)
    depth = kernel[0] * kernel[1] * channels // groups
    return Binary(
        signs(rng, batch, *size, channels),
        signs(rng, outputs, *kernel, channels // groups),
        np.resize([0.25, -0.5, 1.5, 2.0**-4, -0.3], outputs).astype(np.float32),
        np.resize([0.5, -3.25, 0, 0.1, 100], outputs).astype(np.float32),
        np.resize([depth // 2, *ENDS, depth, depth - 1, depth // 2 + 1], outputs),
        **kwargs,
    )


def run(binary, variant="optimized"):
    trace = simulate(parse(binary.file(), "m"), binary.words, with_variant(variant))
    return trace.outputs["y"]


def hold(binary, variant="optimized"):
    kernel = VARIANTS[variant]
    wanted = binary.expected(counted=kernel.counts_zeros, rounding=kernel.rounding)
    assert bits_equal(run(binary, variant), wanted)
    return wanted


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 64])
@pytest.mark.parametrize("output", ["float32", "int8", "int32"])
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_a_binary_convolution(channels, output, padding):
    for outputs in (1, 33):
        hold(case(channels, channels, outputs, output=output, padding=padding, scale=0.5, zero=3))


@pytest.mark.parametrize("output", ["float32", "int8", "int32"])
def test_strides_dilations_and_windows_larger_than_the_image(output):
    for stride, dilation, size in (((2, 1), (1, 2), (4, 5)), ((3, 2), (2, 1), (5, 3)), ((1, 1), (1, 1), (1, 1))):
        hold(case(1, 2, 3, (3, 3), size, stride=stride, dilation=dilation, padding="SAME", output=output))


@pytest.mark.parametrize("output", ["float32", "int8", "int32"])
@pytest.mark.parametrize("groups", [2, 3])
def test_groups(groups, output):
    hold(case(2, 32 * groups, 5 * groups, (2, 1), groups=groups, output=output, padding="SAME"))


@pytest.mark.parametrize("activation", ["RELU", "RELU_N1_TO_1", "RELU6"])
@pytest.mark.parametrize("output", ["float32", "int8"])
def test_a_fused_activation_clamps_the_sum_before_the_multiplier(activation, output):
    """An odd and an even depth: the engine clamps twice the count, which is never between two sums."""
    for channels in (3, 4):
        layer = case(3, channels, 6, (1, 1), (4, 4), activation=activation, output=output)
        free = case(3, channels, 6, (1, 1), (4, 4), output=output)
        assert not bits_equal(hold(layer), hold(free))


@pytest.mark.parametrize("channels", [1, 32, 33])
def test_zero_padding_is_corrected_behind_a_float_output(channels):
    layer = case(4, channels, 5, (3, 3), padding="SAME", pad_value=0)
    ones = case(4, channels, 5, (3, 3), padding="SAME", pad_value=1)
    assert not bits_equal(hold(layer), hold(ones))


@pytest.mark.parametrize("output", ["float32", "int8", "int32"])
def test_zero_padding_is_counted_by_the_reference(output):
    for channels, groups in ((2, 1), (34, 1), (64, 2)):
        layer = case(5, channels, 4, (3, 3), groups=groups, padding="SAME", pad_value=0, output=output)
        hold(layer, "reference")


def test_correcting_and_counting_zeros_may_differ_in_the_last_bit():
    layer = case(6, 32, 5, (3, 3), padding="SAME", pad_value=0)
    a, b = run(layer), run(layer, "reference")
    assert np.any(a != b) and np.allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_int8_ties_and_limits(variant):
    """Every sum of 9 products, times 1/2, 3/2 and 40, with zero points at both ends: half of them are ties or clamped."""
    x = np.array([[[[1 if i < k else -1 for i in range(9)] for k in range(10)]]], np.int8)
    for zero in (-128, -1, 0, 127):
        layer = Binary(
            x, np.ones((3, 1, 1, 9), np.int8), [0.5, -1.5, 40], [0, 0.5, 0], [0] * 3, output="int8", zero=zero
        )
        exact = layer.floats(counted=True)
        ties = np.abs(exact - np.trunc(exact)) == 0.5
        assert ties.sum() >= 10 and np.any(exact > 127.5 if zero >= 0 else exact < -128.5)
        hold(layer, variant)


def test_ties_tell_the_variants_apart():
    x = np.array([[[[1, -1, -1]]]], np.int8)
    layer = Binary(x, np.ones((1, 1, 1, 3), np.int8), [0.5], [1.0], [0], output="int8")
    assert [int(run(layer, v).item()) for v in VARIANTS] == [1, 0, 1, 0]


def test_what_becomes_of_a_float_beyond_32_bits():
    x = np.array([[[[1, 1, 1]]]], np.int8)
    layer = Binary(x, np.ones((2, 1, 1, 3), np.int8), [2.0**40, -(2.0**40)], [0, 0], [0, 0], output="int8")
    for variant in VARIANTS:
        assert run(layer, variant).reshape(-1).tolist() == [127, -128]


def test_floats_that_are_not_normal_are_zeros():
    """As operands, and as constants: the third bias becomes 3 * 2**-127 - 2 * 2**-127 when the depth is folded into it."""
    x = np.array([[[[1], [-1]]]], np.int8)
    tiny = 2.0**-127
    layer = Binary(x, np.ones((3, 1, 1, 1), np.int8), [tiny, 0, 3 * tiny], [1, -tiny, -2 * tiny], [0] * 3)
    assert run(layer).reshape(-1).tolist() == [1, 0, 0, 1, 0, -6 * tiny]
    assert bits_equal(run(layer), layer.expected())


def test_every_input_and_weight_of_four_channels():
    """16 pixels by 16 output channels, at every threshold: all that a 1x1 convolution of 4 channels can do."""
    patterns = np.array([[1 - 2 * (k >> i & 1) for i in range(4)] for k in range(16)], np.int8)
    for threshold in (*ENDS, 2, 3, 4):
        layer = Binary(
            patterns.reshape(1, 4, 4, 4), patterns.reshape(16, 1, 1, 4), [1] * 16, [0] * 16, [threshold] * 16,
            output="int32",
        )  # fmt: skip
        hold(layer)
    values = Binary(patterns.reshape(1, 4, 4, 4), patterns.reshape(16, 1, 1, 4), [1] * 16, [0] * 16, [0] * 16)
    assert set(hold(values).reshape(-1)) == {-4, -2, 0, 2, 4}


def test_unused_bits_of_input_and_weight_count_as_the_engine_counts_them():
    """Larq compares whole words: a bit behind the channels that differs is one more unequal bit."""
    layer = Binary(np.ones((1, 1, 1, 3), np.int8), np.ones((1, 1, 1, 3), np.int8), [1], [0], [0])
    assert run(layer).item() == 3.0
    x = np.array([[[[0b11000]]]], np.int32)
    assert simulate(parse(layer.file(), "m"), x).outputs["y"].item() == -1.0


def one_op(op, shape, dtype, out_shape, out_dtype, options=None, quant=(), out_quant=()):
    b = Builder()
    x, y = b.tensor("x", shape, dtype, *quant), b.tensor("y", out_shape, out_dtype, *out_quant)
    return b.custom(op, [x], [y], options).finish([x], [y])


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 64, 65])
def test_quantize_takes_the_sign_bit_by_bit(channels):
    rng = np.random.default_rng(channels)
    x = rng.choice(np.array([-1, 0, -0.0, 1e-45, -1e-45, -1.17e-38, -1.18e-38, -3e38], np.float32), (2, 3, channels))
    words = (channels + 31) // 32
    wanted = np.where(x <= -(2.0**-126), -1, 1)  # the engine reads what is not normal as 0
    got = simulate(parse(one_op("LceQuantize", x.shape, "float32", (2, 3, words), "int32"), "m"), x).outputs["y"]
    assert bits_equal(got, larq_words(wanted))


@pytest.mark.parametrize("zero", [-128, -127, 0, 126, 127, None])
def test_quantize_from_int8_is_below_the_zero_point(zero):
    x = np.arange(-128, 128, dtype=np.int8).reshape(4, 64)
    quant = () if zero is None else (0.5, zero)
    content = one_op("LceQuantize", x.shape, "int8", (4, 2), "int32", quant=quant)
    assert bits_equal(simulate(parse(content, "m"), x).outputs["y"], larq_words(np.where(x < (zero or 0), -1, 1)))


def test_quantize_from_bool_and_back():
    x = np.random.default_rng(0).integers(0, 2, (3, 33)).astype(bool)
    content = one_op("LceQuantize", x.shape, "bool", (3, 2), "int32")
    words = simulate(parse(content, "m"), x).outputs["y"]
    assert bits_equal(words, larq_words(np.where(x, 1, -1)))
    back = simulate(parse(one_op("LceDequantize", (3, 2), "int32", x.shape, "bool"), "m"), words).outputs["y"]
    assert bits_equal(back, x)


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 64])
def test_dequantize_to_float(channels):
    x = signs(np.random.default_rng(channels), 2, 3, channels)
    words = larq_words(x)
    got = simulate(parse(one_op("LceDequantize", words.shape, "int32", x.shape, "float32"), "m"), words).outputs["y"]
    assert bits_equal(got, x.astype(np.float32))


@pytest.mark.parametrize(
    ("scale", "zero", "wanted"),
    [
        (1.0, 0, (1, -1)), (1.0, 127, (127, 126)), (1.0, -128, (-127, -128)), (0.4, 0, (3, -3)), (2.0, 5, (6, 4)),
        (2.5, 5, (5, 5)), (1 / 128, 0, (127, -128)), (1e-6, 3, (127, -128)), (2 / 3, 0, (2, -2)),
    ],
)  # fmt: skip
def test_dequantize_to_int8(scale, zero, wanted):
    """``zero +- round(1 / scale)``, a tie away from zero, saturated; 1 / (2 / 3) is below 3 / 2, its float32 is not."""
    words = larq_words(np.array([[1, -1]], np.int8))
    content = one_op("LceDequantize", (1, 1), "int32", (1, 2), "int8", out_quant=(scale, zero))
    assert simulate(parse(content, "m"), words).outputs["y"].reshape(-1).tolist() == list(wanted)


def pool_options(kernel=(2, 3), stride=(1, 2), padding="SAME"):
    names = ("filter_height", "filter_width", "stride_height", "stride_width", "padding")
    return dict(zip(names, (*kernel, *stride, ("SAME", "VALID").index(padding)), strict=True))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("channels", [1, 33])
def test_max_pool_is_the_greatest_of_the_signs(padding, channels):
    x = np.where(
        np.random.default_rng(channels).random((2, 4, 5, channels)) < 0.2, 1, -1
    )  # seldom +1: both results occur
    (oh, ow), (top, left) = ((4, 3), (0, 1)) if padding == "SAME" else ((3, 2), (0, 0))
    wanted = np.empty((2, oh, ow, channels), np.int64)
    for y, z in np.ndindex(oh, ow):
        y0, z0 = y - top, 2 * z - left
        wanted[:, y, z] = x[:, max(y0, 0) : y0 + 2, max(z0, 0) : z0 + 3].max(axis=(1, 2))
    words = larq_words(x)
    content = one_op(
        "LceBMaxPool2d", words.shape, "int32", (2, oh, ow, words.shape[3]), "int32", pool_options(padding=padding)
    )
    got = simulate(parse(content, "m"), words).outputs["y"]
    unused = larq_words(np.ones_like(wanted))
    assert bits_equal(got, larq_words(wanted) | unused) and {-1, 1} == set(wanted.reshape(-1))


NORMS = [  # gamma, beta, mean, var: ordinary, negative, constant of both signs, and zeros of the norm on a sum
    (1.5, 0.3, 2.2, 4.0), (-0.7, 0.1, -3.0, 1.3), (0.0, 0.5, 1.0, 1.0), (0.0, -0.5, 1.0, 1.0), (1.0, 0.0, 0.0, 1.0),
    (-1.0, 0.0, 0.0, 1.0), (2.0, -1.0, 3.0, 4.0), (-2.0, 4.0, 1.0, 1.0), (1e-3, 100.0, 0.0, 1.0), (3.0, -1e4, 0.0, 1e-6),
]  # fmt: skip


@pytest.mark.parametrize("depth", [1, 8, 9, 33])
def test_a_batch_norm_is_a_threshold_of_the_count_for_every_accumulator(depth):
    """A float normalization and its sign, against bits of one binary layer, whose thresholds ``fold_batch_norm`` makes.

    Pixel ``i`` has ``i`` channels at -1, so that the sums are all that there are: ``depth, depth - 2, ..., -depth``. A
    negative slope turns the channel's weights around.
    """
    folded = fold_batch_norm([0], *(list(column) for column in zip(*NORMS, strict=True)))
    pixels = np.array([[-1 if i < k else 1 for i in range(depth)] for k in range(depth + 1)], np.int8)
    weights = np.repeat(folded.sign.astype(np.int8), depth).reshape(len(NORMS), 1, 1, depth)
    least = folded.thresholds[:, 0]
    # The bit is set for sums below the threshold t: count > (depth - t) / 2.
    thresholds = np.clip((depth - least) >> 1, ENDS[0], ENDS[-1])
    x = pixels.reshape(1, 1, depth + 1, depth)
    layer = Binary(x, weights, [1] * len(NORMS), [0] * len(NORMS), thresholds, output="int32")
    dots = depth - 2 * np.arange(depth + 1)
    wanted = np.empty((1, 1, depth + 1, len(NORMS)), np.int8)
    zeros = 0
    for c, (gamma, beta, mean, var) in enumerate(NORMS):
        for k, dot in enumerate(dots.tolist()):
            # gamma * (dot - mean) / sqrt(var) >= -beta, exactly: the sign of u + v * sqrt(var), u = gamma * (dot - mean)
            u, v = Fraction(gamma) * (dot - Fraction(mean)), Fraction(beta)
            left, right = u * abs(u), -v * abs(v) * Fraction(var)
            zeros += left == right
            wanted[0, 0, k, c] = 1 if left >= right else -1
    assert zeros >= 1 or depth == 1
    assert bits_equal(run(layer), larq_words(wanted))


def test_a_float_norm_in_the_file_and_a_threshold_make_the_same_bits():
    """The same network twice: multiplier, bias and LceQuantize; or one bit-packed output. Exact in float32 here."""
    depth, gamma, beta = 33, np.array([0.5, 2.0, 0.25, 1.0]), np.array([3.0, -8.0, 0.125, 0.0])
    pixels = np.array([[-1 if i < k else 1 for i in range(depth)] for k in range(depth + 1)], np.int8)
    x, w = pixels.reshape(1, 1, depth + 1, depth), np.ones((4, 1, 1, depth), np.int8)
    folded = fold_batch_norm([0], gamma.tolist(), beta.tolist(), [0] * 4, [1] * 4)
    packed = Binary(x, w, gamma, beta, (depth - folded.thresholds[:, 0]) >> 1, output="int32")
    b = Builder()
    source, weight = b.tensor("x", packed.words.shape, "int32"), b.constant("w", larq_words(w))
    scale, offset = b.constant("m", gamma, "float32"), b.constant("b", beta, "float32")
    real, y = b.tensor("real", (1, 1, depth + 1, 4), "float32"), b.tensor("y", (1, 1, depth + 1, 1), "int32")
    b.custom("LceBconv2d", [source, weight, scale, offset, -1], [real], packed.options)
    content = b.custom("LceQuantize", [real], [y]).finish([source], [y])
    assert bits_equal(run(packed), simulate(parse(content, "m"), packed.words).outputs["y"])


def network():
    """float -> bits -> convolution -> bits -> pool -> convolution -> int8: all ops at work."""
    rng, b = np.random.default_rng(0), Builder()
    x, bits = b.tensor("x", (1, 6, 6, 33), "float32"), b.tensor("bits", (1, 6, 6, 2), "int32")
    b.custom("LceQuantize", [x], [bits])
    first = case(1, 33, 40, (3, 3), (6, 6), padding="SAME", output="int32")
    t, hidden = b.constant("t", rng.integers(130, 170, 40)), b.tensor("hidden", (1, 6, 6, 2), "int32")
    b.custom("LceBconv2d", [bits, b.constant("w1", larq_words(first.w)), -1, -1, t], [hidden], first.options)
    small = b.tensor("small", (1, 3, 3, 2), "int32")
    b.custom("LceBMaxPool2d", [hidden], [small], pool_options((2, 2), (2, 2)))
    second = case(2, 40, 4, (3, 3), (3, 3), output="int8")
    m, bias = b.constant("m", [0.5, 1, -1, 0.3], "float32"), b.constant("b", [0, 1, 2, 3], "float32")
    y = b.tensor("y", (1, 1, 1, 4), "int8", 0.5, 0)
    b.custom("LceBconv2d", [small, b.constant("w2", larq_words(second.w)), m, bias, -1], [y], second.options)
    return b.finish([x], [y])


def test_a_network_is_estimated_and_its_registers_are_reported():
    graph = parse(network(), "m.tflite")
    conv = graph.nodes[1]
    w = work(graph, conv)
    assert (w.macs, w.activation_bits, w.weight_bits) == (36 * 40 * 9 * 33, 1, 1)
    for target in fxsim.list_targets():
        assert len(fxsim.estimate(graph, target).layers) == 4
    assert needed_bits(graph) == ()
    x = np.random.default_rng(1).normal(size=(3, 1, 6, 6, 33)).astype(np.float32)
    trace = simulate(graph, x)
    stats = {s.layer: s for s in trace.stats}
    assert 0 == stats[1].acc_min < stats[1].acc_max <= 9 * 33 and stats[1].overflows == 0
    assert len(trace.channels) == 44


def test_the_register_and_the_clamps_of_a_layer():
    x = np.ones((1, 1, 1, 3), np.int8)
    layer = Binary(
        x,
        np.array([[1, 1, 1], [-1, -1, -1], [1, -1, -1]], np.int8).reshape(3, 1, 1, 3),
        [100] * 3,
        [0] * 3,
        [0] * 3,
        output="int8",
        activation="RELU",
    )
    trace = simulate(parse(layer.file(), "m"), layer.words)
    (stats,) = trace.stats
    assert trace.outputs["y"].reshape(-1).tolist() == [127, 0, 0]
    assert (stats.acc_min, stats.acc_max, stats.clamped_low, stats.clamped_high) == (0, 3, 2, 1)


GOOD = case(0, 33, 3, (2, 2), (3, 3))
CONV_OPTIONS = (
    "channels_in",
    "stride_height",
    "stride_width",
    "dilation_height_factor",
    "dilation_width_factor",
    "padding",
    "pad_values",
    "fused_activation_function",
)


@pytest.mark.parametrize("option", CONV_OPTIONS)
@pytest.mark.parametrize("value", [None, -1, 99, 1 << 31, 1 << 62, 0.5, "text", [1, 2], {"a": 1}])
def test_a_wrong_option_ends_in_one_line(option, value):
    with pytest.raises((ModelError, UnsupportedOp), match="LceBconv2d") as e:
        simulate(parse(GOOD.file(**{option: value}), "m"), GOOD.words)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "options", [None, b"", b"\0", b"\xff" * 40, b"\x28\x01", b"\0" * 40, bytes(range(64)), 5, [1, 2], "x", {}]
)
def test_options_that_are_no_map_of_the_op(options):
    b = Builder()
    x, y = b.tensor("x", (1, 4, 4, 1), "int32"), b.tensor("y", (1, 4, 4, 1), "int32")
    content = b.custom("LceBMaxPool2d", [x], [y], options).finish([x], [y])
    with pytest.raises((ModelError, UnsupportedOp), match="layer 0 LceBMaxPool2d"):
        parse(content, "m")


def test_no_flipped_bit_of_the_options_brings_a_traceback():
    good = bytearray(GOOD.file())
    start = good.index(b"channels_in")
    refused = 0
    for at in range(start, start + 260):
        for bit in (0, 3, 7):
            good[at] ^= 1 << bit
            try:
                simulate(parse(bytes(good), "m"), GOOD.words)
            except FxsimError:
                refused += 1
            good[at] ^= 1 << bit
    assert refused > 100


def test_many_or_long_options_are_refused():
    for options in ({f"k{i}": i for i in range(65)}, {"k" * (1 << 16): 1}):
        with pytest.raises(ModelError, match=r"(options|bytes of options); allowed"):
            parse(one_op("LceBMaxPool2d", (1, 4, 4, 1), "int32", (1, 4, 4, 1), "int32", options), "m")


def conv_file(
    x=(1, 3, 3, 2),
    w=(3, 2, 2, 2),
    y=(1, 2, 2, 3),
    m=(3,),
    b=(3,),
    t=(3,),
    out="float32",
    types=("int32", "int32"),
    **changed,
):
    f = Builder()
    xi = f.tensor("x", x, types[0])
    constants = [
        f.constant(k, np.ones(s), d)
        for k, s, d in (("w", w, types[1]), ("m", m, "float32"), ("b", b, "float32"), ("t", t, "int32"))
    ]
    yi = f.tensor("y", y, out)
    return f.custom("LceBconv2d", [xi, *constants], [yi], GOOD.options | changed).finish([xi], [yi])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": (1, 3, 3, 1)}, r"input 'x' has 1 words a pixel; channels_in is 33, which takes 2"),
        ({"x": (3, 3, 2)}, r"allowed rank: 4"),
        ({"w": (3, 2, 2)}, r"allowed rank: 4"),
        ({"w": (3, 2, 2, 1)}, r"fits no grouping of 33 input channels in 2 words"),
        ({"w": (3, 2, 2, 3)}, r"fits no grouping"),
        ({"w": (3, 2, 2, 1), "channels_in": 64}, r"fits no grouping"),  # 3 outputs in 2 groups
        ({"y": (1, 2, 2, 1)}, r"declared \[1, 2, 2, 1\], but the op makes \[1, 2, 2, 3\]"),
        ({"out": "int32"}, r"the op makes \[1, 2, 2, 1\]"),
        ({"m": (2,)}, r"multiplier 'm' has shape \[2\]; allowed: \[3\]"),
        ({"b": (3, 1)}, r"bias 'b' has shape \[3, 1\]; allowed: \[3\]"),
        ({"t": (4,), "out": "int32", "y": (1, 2, 2, 1)}, r"threshold 't' has shape \[4\]; allowed: \[3\]"),
        ({"types": ("int8", "int32")}, r"input 0 'x' is int8; supported: 'int32'"),
        ({"types": ("int32", "int64")}, r"input 1 'w' is int64; supported: 'int32'"),
        ({"out": "int16"}, r"output 'y' is int16; supported: 'float32', 'int8', 'int32'"),
        ({"out": "int8"}, r"tensor 'y' has no scale"),
        ({"pad_values": 2}, r"pad_values is 2; allowed: 0, 1"),
        ({"fused_activation_function": 4}, r"fused activation is TANH"),
        ({"dilation_height_factor": 1 << 30, "padding": 0, "y": (1, 3, 3, 3)}, r"the padded image is 1073741827x4"),
    ],
)  # fmt: skip
def test_wrong_ranks_widths_and_types(changed, message):
    with pytest.raises((ModelError, UnsupportedOp), match=message):
        simulate(parse(conv_file(**changed), "m"), np.zeros(changed.get("x", (1, 3, 3, 2)), np.int32))


@pytest.mark.parametrize(
    ("op", "shape", "dtype", "out_shape", "out_dtype", "message"),
    [
        ("LceQuantize", (2, 33), "float32", (2, 1), "int32", r"the op makes \[2, 2\]"),
        ("LceQuantize", (2, 33), "int16", (2, 2), "int32", "is int16; supported"),
        ("LceQuantize", (), "float32", (1,), "int32", "is a scalar"),
        ("LceQuantize", (2, 33), "float32", (2, 2), "float32", "output 'y' is float32; supported: 'int32'"),
        ("LceDequantize", (2, 1), "int32", (2, 33), "float32", "33 channels take 2 words"),
        ("LceDequantize", (2, 3), "int32", (2, 33), "float32", "33 channels take 2 words"),
        ("LceDequantize", (2, 2), "int32", (3, 33), "float32", r"the op makes \[2, 33\]"),
        ("LceDequantize", (2, 2), "int32", (), "float32", "scalar output"),
        ("LceDequantize", (2, 2), "int32", (2, 33), "int16", "is int16; supported"),
        ("LceDequantize", (2, 2), "int32", (2, 33), "int8", "has no scale"),
    ],
)
def test_casts_that_do_not_fit(op, shape, dtype, out_shape, out_dtype, message):
    with pytest.raises((ModelError, UnsupportedOp), match=message):
        simulate(parse(one_op(op, shape, dtype, out_shape, out_dtype), "m"), np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("variant", "layer", "message"),
    [
        ("reference", case(0, 33, padding="SAME", pad_value=0), "zero padding of 33 channels"),
        ("optimized", case(0, 32, padding="SAME", pad_value=0, output="int8"), "NONE into float32"),
        ("optimized", case(0, 32, padding="SAME", pad_value=0, activation="RELU"), "NONE into float32"),
        ("optimized", case(0, 32, size=(2, 2), padding="SAME", pad_value=0), "windows within the image"),
    ],
)
def test_zero_padding_that_the_engine_refuses_or_drops(variant, layer, message):
    with pytest.raises(UnsupportedOp, match=message):
        run(layer, variant)


def test_an_unknown_variant_and_values_that_are_not_finite():
    with pytest.raises(ProfileError, match="variant is 'fast'; allowed: 'optimized', "):
        run(GOOD, "fast")
    for value in (np.inf, np.nan, 3e38):
        layer = Binary(GOOD.x, GOOD.w, [1, value, 1], [0] * 3, [0] * 3)
        with pytest.raises(UnsupportedOp, match="not finite"):
            run(layer)


def test_a_custom_op_does_not_pass_for_a_builtin_one():
    b = Builder()
    x, y = b.tensor("x", (1, 4), "int8", 1.0, 0), b.tensor("y", (1, 4), "int8", 1.0, 0)
    content = b.custom("RELU", [x], [y]).finish([x], [y])
    with pytest.raises(UnsupportedOp, match="op CUSTOM RELU is not supported"):
        parse(content, "m")


def dense_int2(rng, units, depth, *, per_channel=False):
    """A FULLY_CONNECTED of int2 weights, its input, and its weights."""
    b, w = Builder(), rng.integers(-2, 2, (units, depth))
    x = b.tensor("x", (3, depth), "int8", 0.5, 3)
    scale = [0.25, 0.5][:1] * units if per_channel else 0.25
    weight = b.tensor("w", w.shape, "int2", scale, 0, 0, w)
    y = b.tensor("y", (3, units), "int8", 1.0, -2)
    content = b.op("FULLY_CONNECTED", [x, weight], [y]).finish([x], [y])
    return content, rng.integers(-128, 128, (3, depth)).astype(np.int8), w


@pytest.mark.parametrize(("units", "depth"), [(1, 1), (1, 2), (1, 3), (3, 5), (4, 4), (5, 33)])
def test_int2_weights_are_four_a_byte_the_first_lowest(units, depth):
    """Odd counts leave part of the last byte unused; -2 to 1 all occur, so ternary networks do too."""
    content, x, w = dense_int2(np.random.default_rng(units * depth), units, depth)
    graph = parse(content, "m")
    assert graph.tensor("w").qtype.name == "int2" and np.array_equal(graph.tensor("w").data, w)
    acc = (x.astype(np.int64) - 3) @ w.T
    wanted = np.sign(acc) * ((np.abs(acc) + 4) // 8) - 2  # acc / 8, ties away from zero
    assert np.array_equal(simulate(graph, x).outputs["y"], np.clip(wanted, -128, 127))
    assert work(graph, graph.nodes[0]).weight_bits == 2 and graph.tensor("w").nbytes == (units * depth + 3) // 4


def test_int2_weights_are_taken_where_the_engine_takes_them():
    b = Builder()
    x, y = b.tensor("x", (1, 2, 2, 1), "int8", 0.5, 0), b.tensor("y", (1, 2, 2, 1), "int8", 1.0, 0)
    w = b.tensor("w", (1, 1, 1, 1), "int2", [0.5], 0, 0, [[[[1]]]])
    b.op("CONV_2D", [x, w], [y], padding="VALID", stride_h=1, stride_w=1)
    with pytest.raises(UnsupportedOp, match="input 1 'w' is int2; supported: 'int8', 'uint8', 'int4'"):
        parse(b.finish([x], [y]), "m")
