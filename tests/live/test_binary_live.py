"""Binary layers as Larq Compute Engine computes them, and int2 weights as LiteRT does: every bit.

Larq is asked where ``FXSIM_LARQ`` names a Python that has it: see :mod:`tests.larq_run`.
"""

import os
from collections import Counter

import numpy as np
import pytest

from fxsim.errors import UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests import engines, larq_run
from tests.binary_models import ACTIVATIONS, Binary, bits_equal, with_variant
from tests.live.cases import EXAMPLES
from tests.sim.test_binary_model import dense_int2, network, one_op, pool_options, signs

pytestmark = pytest.mark.live
needs_larq = pytest.mark.skipif(
    larq_run.VARIABLE not in os.environ, reason="FXSIM_LARQ names no Python with larq-compute-engine and numpy<2"
)
KERNELS = {"optimized": "optimized", "indirect": "optimized", "reference": "reference"}
"""the engine's kernels -> the variant that they are"""


def draw(rng):
    """A layer: depths around the words, odd ones, groups; rescales that tie and clamp; thresholds beyond both ends."""
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    channels = int(rng.choice([1, 2, 31, 32, 33, 34, 64, 70])) if groups == 1 else 32 * groups * int(rng.integers(1, 3))
    outputs = int(rng.choice([1, 3, 4, 31, 32, 33, 36, 64, 65])) * groups
    kernel, stride = (tuple(int(v) for v in rng.integers(1, 4, 2)) for _ in range(2))
    size = tuple(int(v) for v in (rng.integers(1, 4, 2) if rng.random() < 0.15 else rng.integers(5, 9, 2)))
    fits = min(size) >= 5
    depth = kernel[0] * kernel[1] * channels // groups
    ends = [-(1 << 31), (1 << 31) - 1, -1, 0, depth - 1, depth]
    return Binary(
        signs(rng, 2, *size, channels),
        signs(rng, outputs, *kernel, channels // groups),
        rng.choice([-1.5, -0.5, 0.25, 0.5, 1, 2.0**-4, 0.3, 1e-40, 2.0**-126], outputs).astype(np.float32),
        rng.choice([-3.5, 0, 0.5, 7, 0.125, 0.7], outputs).astype(np.float32),
        np.where(rng.random(outputs) < 0.3, rng.choice(ends, outputs), rng.integers(-1, depth + 2, outputs)),
        str(rng.choice(["float32", "int8", "int32"])),
        str(rng.choice(["SAME", "SAME", "VALID"])) if fits else "SAME",
        int(rng.choice([0, 1])),
        str(rng.choice(["NONE", *ACTIVATIONS])),
        stride,
        tuple(int(v) for v in rng.choice([1, 1, 1, 2], 2)) if fits else (1, 1),
        float(rng.choice([0.25, 0.5, 1.0, 4.0, 0.3])),
        int(rng.choice([-128, -1, 0, 5, 127])),
    )


@needs_larq
@pytest.mark.parametrize("kernels", KERNELS)
def test_convolutions(kernels, record_property):
    tally: Counter[str] = Counter()
    for seed in range(20 * EXAMPLES):
        layer = draw(np.random.default_rng(seed))
        content = layer.file()
        try:
            wanted = larq_run.ask(content, [layer.words], kernels)[0]
        except engines.Refused:
            tally["refused"] += 1
            continue
        try:
            got = simulate(parse(content, "m"), layer.words, with_variant(KERNELS[kernels])).outputs["y"]
        except UnsupportedOp as e:
            assert "windows within the image" in str(e)  # where the engine drops its correction
            tally["unsupported"] += 1
            continue
        assert bits_equal(got, wanted), f"seed {seed}: {np.sum(got != wanted)} of {got.size} elements differ"
        tally[layer.output] += 1
        tally["elements"] += got.size
        if layer.output == "int8":
            y = layer.floats(counted=kernels == "reference") if got.size < 2000 else np.zeros(0)
            tally["ties"] += int(np.sum(np.abs(y - np.trunc(y)) == 0.5))
            tally["clamped"] += int(np.sum((y > 127.5) | (y < -128.5)))
    record_property("compared", str(tally))
    print(kernels, dict(tally))
    assert tally["ties"] and tally["clamped"] and min(tally[o] for o in ("float32", "int8", "int32")) > EXAMPLES
    assert tally["unsupported"] < EXAMPLES


@needs_larq
def test_every_sum_at_every_multiplier():
    """All sums of 9 products by multipliers that make ties, to int8 with zero points at both ends, and beyond 32 bits."""
    x = np.array([[[[1 if i < k else -1 for i in range(9)] for k in range(10)]]], np.int8)
    for zero in (-128, -1, 0, 127):
        for scale in (1.0, 0.3):
            multiplier = [0.5, -1.5, 40, 2.0**40, -(2.0**40), 2.0**31, 1e-45]
            layer = Binary(
                x, np.ones((7, 1, 1, 9), np.int8), multiplier, [0, 0.5, 0, 0, 0, 0, 0.5], [0] * 7, "int8",
                zero=zero, scale=scale,
            )  # fmt: skip
            wanted = larq_run.ask(layer.file(), [layer.words])[0]
            assert bits_equal(simulate(parse(layer.file(), "m"), layer.words).outputs["y"], wanted)


@needs_larq
def test_casts_and_pools():
    rng = np.random.default_rng(0)
    floats = np.array([-1, 1, 0.0, -0.0, 1e-45, -1e-45, -1.17e-38, -1.18e-38, 3e38, -3e38], np.float32)
    for channels in (1, 31, 32, 33, 64, 129):
        words = (channels + 31) // 32
        x = rng.choice(floats, (2, 3, channels))
        cases = [(one_op("LceQuantize", x.shape, "float32", (2, 3, words), "int32"), x)]
        for zero in (-128, -127, 0, 127):
            quant = (0.5, zero)
            small = rng.integers(-128, 128, (2, 3, channels)).astype(np.int8)
            cases.append((one_op("LceQuantize", x.shape, "int8", (2, 3, words), "int32", quant=quant), small))
        cases.append((one_op("LceQuantize", x.shape, "bool", (2, 3, words), "int32"), x < 0))
        packed = rng.integers(-(1 << 31), 1 << 31, (2, 3, words)).astype(np.int32)  # unused bits are set as well
        for out, quant in (
            ("float32", ()), ("bool", ()), *(("int8", (s, z)) for s in (1.0, 0.4, 2.5, 2 / 3, 1e-6) for z in (-128, 5, 127)),
        ):  # fmt: skip
            cases.append((one_op("LceDequantize", packed.shape, "int32", x.shape, out, out_quant=quant), packed))
        image = rng.integers(-(1 << 31), 1 << 31, (2, 5, 4, words)).astype(np.int32)
        for padding, shape in (("SAME", (2, 5, 2, words)), ("VALID", (2, 4, 1, words))):
            pool = one_op("LceBMaxPool2d", image.shape, "int32", shape, "int32", pool_options(padding=padding))
            cases.append((pool, image))
        for content, value in cases:
            got = simulate(parse(content, "m"), value).outputs["y"]
            assert bits_equal(got, larq_run.ask(content, [value])[0])


@needs_larq
def test_a_network():
    content, rng = network(), np.random.default_rng(3)
    for _ in range(20):
        x = rng.normal(size=(1, 6, 6, 33)).astype(np.float32)
        assert bits_equal(simulate(parse(content, "m"), x).outputs["y"], larq_run.ask(content, [x])[0])


@pytest.mark.parametrize("per_channel", [False, True])
def test_int2_weights_of_a_dense_layer(per_channel):
    """Sums that fall on ties of the rescale by 1/8 (and 1/4), in every number of weights modulo 4."""
    for seed in range(EXAMPLES):
        rng = np.random.default_rng(seed)
        units, depth = int(rng.integers(1, 7)), int(rng.integers(1, 40))
        content, x, _ = dense_int2(rng, units, depth, per_channel=per_channel)
        wanted = engines.litert_reference(content, [x])
        graph = parse(content, "m")
        assert bits_equal(simulate(graph, x).outputs["y"], wanted[graph.outputs[0]])
