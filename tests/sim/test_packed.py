"""Packed kernels against the general ones, on every instruction set of this machine: equal in every bit."""

import itertools
import os
from importlib import resources
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim
from fxsim.kernels import isa, xnnpack
from fxsim.kernels.packed import chain
from fxsim.kernels.pointwise import join
from fxsim.model.graph import Tensor
from fxsim.model.qtype import QType
from fxsim.model.work import Geometry
from fxsim.numerics import Accumulator, load_numerics
from fxsim.sim import affine, natives, packed
from fxsim.sim.base import Scales, address
from fxsim.sim.inputs import load_inputs, make_batch
from fxsim.sim.layer import Layer
from fxsim.sim.packed import native_of
from fxsim.sim.plan import plan_of

ISAS = isa.available()
EXAMPLES = 200 if os.environ.get("FXSIM_LONG") == "1" else 25
pytestmark = pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")
TYPES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
SCHEMES = (
    ("double_rounding", "ties_away", False),
    ("double_rounding", "ties_pos", False),
    ("single_rounding", "ties_pos", False),
    ("single_rounding", "ties_away", False),
    ("float32", "ties_even", "above"),
    ("float32", "ties_even", True),
    ("float32", "ties_even", False),
    ("float64", "ties_away", False),
    ("float64", "ties_away", True),
)


def choice(rng, low, high, shape):
    """Values that love the ends and the middle of their range."""
    ends = np.array([low, low + 1, (low + high) // 2, 0 if low <= 0 <= high else low, high - 1, high])
    return np.where(rng.random(shape) < 0.4, rng.choice(ends, shape), rng.integers(low, high, shape, endpoint=True))


def drawn(seed, apart):
    """A layer whose products, ties and clamps reach their ends, its input and the type of its output."""
    rng = np.random.default_rng(seed)
    pick = lambda *values: values[int(rng.integers(len(values)))]  # noqa: E731
    kh, kw, dh, dw, sh, sw = (
        pick(1, 2, 3, 5),
        pick(1, 2, 3, 4, 5),
        pick(1, 2),
        pick(1, 1, 2),
        pick(1, 2, 3),
        pick(1, 2, 3),
    )
    pad = tuple(int(v) for v in rng.integers(0, 3, 4)) if pick(True, False) else (0, 0, 0, 0)
    channels = pick(1, 2, 3, 4, 5, 8, 12, 16, 24, 33)
    out_c = max(channels, 2) if apart else pick(1, 2, 7, 8, 10, 16, 17, 24, 40, 64, 70, 129)
    channels = out_c if apart else channels
    h = (kh - 1) * dh + 1 + int(rng.integers(0, 7))
    w = (kw - 1) * dw + 1 + int(rng.integers(0, 30 if apart else 7))
    out_h = (h + pad[0] + pad[1] - (kh - 1) * dh - 1) // sh + 1
    out_w = (w + pad[2] + pad[3] - (kw - 1) * dw - 1) // sw + 1
    g = Geometry(
        pick(1, 1, 2), h, w, channels, out_h, out_w, out_c, kh, kw, sh, sw, dh, dw, groups=channels if apart else 1
    )
    name = pick(*TYPES)
    wide_weight = name != "int8" and pick(True, False)
    weight = choice(rng, *((-255, 255) if wide_weight else (-128, 127)), (kh, kw, 1 if apart else channels, out_c))
    bias = choice(rng, -(1 << 12), 1 << 12, out_c).astype(np.int32)
    if pick(True, False, False):
        bias = choice(rng, -(1 << 31), (1 << 31) - 1, out_c).astype(np.int32)
    scheme, rounding, saturating = pick(*SCHEMES)
    real = 2.0 ** -rng.integers(-2 if pick(True, False) else 4, 16, out_c) * pick(1.0, 0.75, 0.50000001, 0.7)
    real = real.astype(np.float32 if scheme == "float32" else np.float64)
    mantissa, shift = np.frexp(real.astype(np.float64))
    scales = Scales(np.minimum(np.rint(mantissa * 2.0**31).astype(np.int64), 2**31 - 1), shift.astype(np.int64), real)
    out = pick(*TYPES)
    low, high = TYPES[out]
    clamp = (low, high) if pick(True, False) else tuple(sorted(int(v) for v in rng.integers(low, high, 2)))
    zero = int(choice(rng, low, high, ()))
    lanes, tail = (16, "ties_away") if "rounding" in scheme and pick(True, False) else (0, "ties_away")
    x_low, x_high = TYPES[name]
    policy, bits = pick(("wrap", 32), ("wrap", 32), ("saturate", int(rng.integers(8, 31))))
    layer = Layer(
        g, (sh, sw, dh, dw), pad, weight.astype(np.int16 if wide_weight else np.int8), bias,
        0 if name == "int16" else int(choice(rng, x_low, x_high, ())), TYPES[name], np.dtype(name),
        Accumulator(bits=bits, overflow=policy), policy, 32, scales, scheme, rounding, lanes, tail, "channels",
        saturating, zero, clamp,
    )  # fmt: skip
    x = choice(rng, x_low, x_high, (g.batch, h, w, channels)).astype(name)
    return layer, x, np.dtype(out)


def run_native(made, inputs, out):
    room = np.full(made.room, 0x55, np.uint8)  # held by a name: the block knows its address only
    block = made.block(inputs, [out], room)
    chain()(np.array([[made.function().address, address(block)]], np.int64))


def check(layer, x, out, name):
    made = native_of(layer, out, name)
    assert made is not None
    g = layer.geometry
    shape = (g.batch, g.out_h, g.out_w, g.out_c)
    expected, got = np.empty(shape, out), np.full(int(np.prod(shape)) + 64, 77, out)
    layer.requantize(layer.accumulate(x), layer.clamp, expected)
    run_native(made, [np.concatenate([x.reshape(-1), np.full(16, 99, x.dtype)])], got)
    assert np.array_equal(got[:-64].reshape(shape), expected)
    assert np.all(got[-64:] == 77), "written beyond the output"


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("apart", [False, True])
@settings(max_examples=EXAMPLES)
@given(seed=st.integers(0, 2**32))
def test_packed_layers_equal_the_general_kernels(name, apart, seed):
    room = (1 << 9, 1 << 11, packed.RING)[seed % 3]
    whole = packed.WHOLE if seed % 2 else 0
    with mock.patch.multiple(
        packed, RING=room, NARROW=1, WHOLE=whole
    ):  # small images in strips, whole, and line by line
        check(*drawn(seed, apart), name)


@pytest.mark.parametrize("name", ISAS)
def test_bare_sums_of_matrices_on_every_tile(name):
    """Rows, inputs and columns around the ends of tiles and of what is written at once; sums wrap."""
    rng, limit = np.random.default_rng(0), (1 << 31) - 1
    for tile in isa.tiles(isa.kind(name, 4), False):
        with mock.patch.object(isa, "tiles", lambda code, clamped, tile=tile: (tile,)):
            for m, k, n in itertools.product((1, 7, 30, 37, 67), (1, 4, 66), (1, 16, 63, 65, 130)):
                x, weight = choice(rng, 0, 255, (m, k)).astype(np.uint8), choice(rng, -128, 127, (k, n)).astype(np.int8)
                bias, zero = choice(rng, -limit, limit, n).astype(np.int32), int(choice(rng, 0, 255, ()))
                geometry, free = Geometry(1, 1, m, k, 1, m, n), (0, 0, 0, 0)
                sums = packed.Sums(geometry, free, weight[None, None], bias, zero, x.dtype)
                made = packed.native(sums, packed.SUMS, np.dtype(np.int32), name)
                got = np.full(m * n + 64, 77, np.int32)
                run_native(made, [np.concatenate([x.reshape(-1), np.full(16, 99, np.uint8)])], got)
                expected = ((x.astype(np.int64) - zero) @ weight.astype(np.int64) + bias).astype(np.int32)
                assert np.array_equal(got[:-64].reshape(m, n), expected), (tile, m, k, n)
                assert np.all(got[-64:] == 77), "written beyond the output"


@pytest.mark.parametrize("numerics", ["litert-reference", "litert-xnnpack", "litert-optimized", "cmsis-nn"])
@pytest.mark.parametrize("model", ["kws_int8", "resnet8_int8", "vww_int8", "ad01_int8", "mobilenet_v2"])
def test_models_in_machine_code_equal_layer_by_layer(corpus, model, numerics):
    """Every tensor, where a watched run computes layer by layer with the general kernels."""
    graph = fxsim.read(corpus / "models" / f"{model}.tflite")
    plan, batch = plan_of(graph, load_numerics(numerics)), make_batch(graph, load_inputs(graph, "random:7", 2))
    assert sum(s.native is not None for s in plan.steps) > len(plan.steps) // 2
    fast, slow = plan.workspace(), plan.workspace()
    for n in range(batch.count):
        for ws, watch in ((fast, None), (slow, lambda step, inputs: None)):
            batch.load(n, ws.values)
            plan.run(ws, watch)
        for t, a, b in zip(graph.tensors, fast.values, slow.values, strict=True):
            assert np.array_equal(a, b), t.name


@pytest.mark.parametrize("model", ["kws_int8", "resnet8_int8", "mobilenet_v2", "okay_nabu_stream"])
def test_threads_and_shared_memory_change_no_bit(corpus, model):
    """The outputs alone, where tensors share memory, and several threads, against every tensor kept on one."""
    graph = fxsim.read(corpus / "models" / f"{model}.tflite")
    x = load_inputs(graph, "random:5", 9)
    kept = fxsim.simulate(graph, x, keep="all", threads=1)
    for threads in (1, 2, 3):
        outputs = fxsim.simulate(graph, x, threads=threads).outputs
        for name, expected in kept.outputs.items():
            assert np.array_equal(outputs[name], expected)
    middle = list(kept.kept)[len(kept.kept) // 2]
    assert np.array_equal(fxsim.simulate(graph, x, keep=[middle], threads=2).kept[middle], kept.kept[middle])


@settings(max_examples=EXAMPLES)
@given(seed=st.integers(0, 2**32))
def test_sums_of_two_tensors_at_their_ends(seed):
    """Both ways of a sum against the general kernels, with lengths that leave a rest."""
    rng = np.random.default_rng(seed)
    count, dtype = int(rng.integers(16, 90)), rng.choice([np.int8, np.uint8])
    ends = np.iinfo(dtype)
    a, b = (choice(rng, ends.min, ends.max, count).astype(dtype) for _ in range(2))
    zeros = [int(v) for v in choice(rng, ends.min, ends.max, 3)]
    clamp = tuple(sorted(int(v) for v in rng.integers(ends.min, ends.max, 2)))
    tensors = [Tensor(i, str(i), (count,), QType(8, np.dtype(dtype).kind == "i"), None) for i in range(3)]
    q, shift = rng.integers(1 << 30, 1 << 31, 3), rng.integers(-20, 1, 3)
    rule = str(rng.choice(["ties_away", "ties_pos"]))
    expected, got = np.empty(count, dtype), np.full(count + 16, 77, dtype)
    join("double_rounding", rule, "sum")(a, b, np.array(zeros[:2]), q, shift, 20, zeros[2], *clamp, expected)
    for found in (affine.affine, lambda *_: None):  # one rounding where that serves, and all three
        with mock.patch.object(affine, "affine", found):
            made = natives.doubly_rounded(tensors, zeros, q, shift, 20, rule, clamp)
        got[:count] = 77
        run_native(made, [a, b], got)
        assert np.array_equal(got[:count], expected) and np.all(got[count:] == 77)
    multipliers, by = rng.integers(-(1 << 20), 1 << 20, 2), int(rng.integers(1, 29))
    xnnpack.add()(a, b, np.array(zeros[:2]), multipliers, by, zeros[2], *clamp, expected)
    run_native(natives.once_rounded(tensors, zeros, multipliers, by, clamp), [a, b], got)
    assert np.array_equal(got[:count], expected)


def test_an_instruction_set_that_there_is_not_is_refused():
    with pytest.raises(fxsim.errors.FxsimError, match=r"FXSIM_ISA is 'mmx'; allowed on this machine: .*portable"):
        isa.instruction_set("mmx")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("keep", ["outputs", "all"])
def test_a_batch_is_what_its_inferences_are_alone(threads, keep):
    """In one loop of machine code, in parts on several threads, and one after the other."""
    model = fxsim.read(resources.files("fxsim.data") / "digits_int8.tflite")
    x = np.random.default_rng(threads).integers(-128, 128, (37, 8, 8, 1)).astype(np.int8)
    for count in (1, 2, 5, 37):
        seen = []
        for numerics in ("litert-reference", "litert-xnnpack"):
            batch = fxsim.simulate(model, x[:count], numerics, keep, seen.append, threads)
            for n in range(count):
                alone = fxsim.simulate(model, x[n : n + 1], numerics, keep)
                for i, v in alone.kept.items():
                    assert np.array_equal(batch.kept[i].reshape(count, -1)[n], v.reshape(-1))
        assert seen.count(count) == 2 and max(seen) == count
