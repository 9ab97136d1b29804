"""Which layers XNNPACK takes, asked of the engine at every limit; and what it computes there."""

from typing import Any

import numpy as np
import pytest

from fxsim.errors import UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from fxsim.sim.delegate import takes
from tests import engines
from tests.build import Builder
from tests.live.cases import Model, Tally, f32

pytestmark = pytest.mark.live
LARGEST = float(np.nextafter(np.float32(256), np.float32(0)))


def pair(op: str, dtype: str, a: float, b: float, out: float, activation: str = "NONE", same: bool = False) -> Model:
    """A sum, difference or product of two tensors with these scales, or of one with itself."""
    build, zeros = Builder(), (3, -5, 2) if dtype == "int8" else (3, 250, 128)
    x, y = (build.tensor(n, (256,), dtype, s, z) for n, s, z in (("a", a, zeros[0]), ("b", b, zeros[1])))
    z = build.tensor("out", (256,), dtype, out, zeros[2])
    build.op(op, [x, x if same else y], [z], fused_activation_function=activation)
    values = np.arange(256).astype(dtype)
    ins = [x] if same else [x, y]
    return Model(build.finish(ins, [z]), [values, values[::-1].copy()][: len(ins)], [z])


def unary(op: str, x: tuple[str, Any, int], out: tuple[str, Any, int], **options: Any) -> Model:
    """An op of one tensor; each is given by type, scale and zero point."""
    build, shape = Builder(), options.pop("shape", (256,))
    i, o = (build.tensor(n, shape, *t) for n, t in (("x", x), ("y", out)))
    values = np.linspace(-9, 9, 256, dtype=np.float32) if x[0] == "float32" else np.arange(256).astype(x[0])
    return Model(build.op(op, [i], [o], **options).finish([i], [o]), [values.reshape(shape)], [o])


def layer(
    op: str,
    scale: float = 0.5,
    *,
    bias: bool = True,
    dtype: str = "int8",
    weight_type: str = "",
    axis: int = 0,
    zero: int = 0,
    inner: int = 4,
    constant: bool = True,
) -> Model:
    """A layer with weights, of one pixel, whose rescale is ``scale``."""
    build, wt, n = Builder(), weight_type or dtype, 3
    deep, dense = op == "DEPTHWISE_CONV_2D", op == "FULLY_CONNECTED"
    n = inner if deep else n
    x = build.tensor("x", (1, inner) if dense else (1, 1, 1, inner), dtype, scale, 3)
    shape = (n, inner) if dense else (1, 1, 1, inner) if deep else (n, 1, 1, inner)
    data = (np.arange(np.prod(shape)) % 7).astype("int8" if wt == "int4" else wt).reshape(shape)
    w = build.tensor("w", shape, wt, 1.0, zero, axis, data=data if constant else None)
    ins = [x, w, *([build.tensor("b", (n,), "int32", f32(scale), 0, data=np.arange(n) * 5)] if bias else [])]
    y = build.tensor("y", (1, n) if dense else (1, 1, 1, n), dtype, 1.0, 5)
    options = {} if dense else {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    build.op(op, ins, [y], **options, **({"depth_multiplier": 1} if deep else {}))
    given = [x] if constant else [x, w]
    arrays = [np.arange(inner).astype(dtype).reshape((1, inner) if dense else (1, 1, 1, inner)), data]
    return Model(build.finish(given, [y]), arrays[: len(given)], [y])


BYTES = ("int8", 0.1, 3)
CASES: dict[str, tuple[Model, bool]] = {
    **{
        f"{op} {dtype} {ratio}": (pair(op, dtype, ratio, 1.0, 1.0), 2.0**-10 <= ratio < 256)
        for op in ("ADD", "SUB")
        for dtype in ("int8", "uint8")
        for ratio in (2.0**-10, f32(2.0**-10 * (1 - 2.0**-24)), 256.0, LARGEST)
    },
    "ADD second": (pair("ADD", "int8", 1.0, 300.0, 1.0), False),
    **{
        f"MUL {dtype} {ratio}": (pair("MUL", dtype, ratio, 1.0, 1.0), 2.0**-16 <= ratio < 256)
        for dtype in ("int8", "uint8")
        for ratio in (2.0**-16, f32(2.0**-16 * (1 - 2.0**-24)), 256.0, LARGEST)
    },
    **{
        f"QUANTIZE {s} to {t} {ratio}": (
            unary("QUANTIZE", (s, ratio, 3), (t, 1.0, 5)),
            s == t and 2.0**-8 <= ratio <= 128,
        )
        for s, t in (("int8", "int8"), ("uint8", "uint8"), ("int8", "uint8"))
        for ratio in (2.0**-8, f32(2.0**-8 * (1 - 2.0**-24)), 128.0, f32(128 * (1 + 2.0**-23)))
    },
    "QUANTIZE float32 to int8": (unary("QUANTIZE", ("float32", None, 0), BYTES), True),
    "QUANTIZE float32 to int16": (unary("QUANTIZE", ("float32", None, 0), ("int16", 0.1, 0)), False),
    "DEQUANTIZE int8": (unary("DEQUANTIZE", BYTES, ("float32", None, 0)), True),
    "DEQUANTIZE int16": (unary("DEQUANTIZE", ("int16", 0.1, 0), ("float32", None, 0)), False),
    "LOGISTIC": (unary("LOGISTIC", BYTES, ("int8", 1 / 256, -128)), True),
    "QUANTIZE of six axes": (unary("QUANTIZE", BYTES, ("int8", 0.17, 4), shape=(2, 2, 2, 2, 2, 8)), True),
    "QUANTIZE of seven axes": (unary("QUANTIZE", BYTES, ("int8", 0.17, 4), shape=(2, 2, 2, 2, 2, 2, 4)), False),
    **{
        f"LEAKY_RELU {ratio} {alpha}": (unary("LEAKY_RELU", ("int8", ratio, 3), ("int8", 1.0, 5), alpha=alpha), wanted)
        for ratio, alpha, wanted in (
            (0.5, 0.1, True),
            (2.0**-8, 1.0, True),
            (2.0**-8, 0.9, False),
            (f32(2.0**-8 * (1 - 2.0**-24)), 1.5, False),
            (128.0, 1.0, True),
            (f32(128 * (1 + 2.0**-23)), 0.5, False),
            (1.0, -127.99609375, True),
            (1.0, -128.0, False),
            (1.0, 0.0, False),
        )
    },
    **{
        f"{op} {what}": (layer(op, **settings), wanted)
        for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
        for what, settings, wanted in (
            ("int8", {}, True),
            ("uint8", {"dtype": "uint8"}, True),
            ("uint8 with a zero point", {"dtype": "uint8", "zero": 100}, True),
            ("uint8 along axis 1", {"dtype": "uint8", "axis": 1}, False),
            ("int8 along axis 1", {"axis": 1}, True),
            ("just below 256", {"scale": LARGEST}, True),
        )
    },
    "FULLY_CONNECTED without bias": (layer("FULLY_CONNECTED", bias=False), True),
    "FULLY_CONNECTED int4": (layer("FULLY_CONNECTED", weight_type="int4"), True),
    "FULLY_CONNECTED int4 odd": (layer("FULLY_CONNECTED", weight_type="int4", inner=5), False),
    "FULLY_CONNECTED with a zero point": (layer("FULLY_CONNECTED", zero=3), False),
    "FULLY_CONNECTED computed": (layer("FULLY_CONNECTED", constant=False), False),
    "CONV_2D int4": (layer("CONV_2D", weight_type="int4"), False),
}


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs ai_edge_litert (the test extra)")


@pytest.mark.parametrize("name", CASES)
def test_takes_what_the_engine_delegates(name, tallies):
    """And either way every bit is the engine's."""
    model, wanted = CASES[name]
    graph = parse(model.content, name)
    assert engines.litert_delegated(model.content) == wanted
    assert takes("xnnpack", graph, graph.nodes[0]) == wanted
    tally: Tally = tallies(f"{name} delegated", "litert-xnnpack")
    tally.compare(model)
    assert tally.elements == graph.tensors[graph.outputs[0]].elements


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_a_rescale_of_256_fails_in_the_engine(op):
    model = layer(op, 256.0)
    with pytest.raises(engines.Refused, match="failed to create XNNPACK runtime"):
        engines.litert_xnnpack(model.content, model.inputs)
    with pytest.raises(UnsupportedOp, match="a rescale by 256; the engine's delegate allows less than 256"):
        simulate(parse(model.content, op), model.inputs, "litert-xnnpack")


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
def test_activations_and_squares(litert, op, activation, dtype):
    """Bounds at ties with odd zero points, a tensor with itself, and plain pairs: 256 elements a case."""
    tally = litert(f"{op} {dtype} {activation}")
    for out in (4.0, 12.0, 100.0, 0.5, 0.013, f32(6 / 2.5)):
        for scale in (out, f32(out * 0.37)):
            for same in (False, True):
                tally.compare(pair(op, dtype, scale, scale, out, activation, same))
    tally.check(256)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(
    ("shape", "axes", "keep"),
    [
        ((2, 5, 7, 37), (1, 2), True),
        ((2, 5, 7, 37), (1, 2), False),
        ((1, 3, 3, 16), (2, 1), True),
        ((2, 3, 4, 50), (3,), True),
        ((2, 3, 4, 50), (0, 1, 2, 3), False),
        ((1, 1, 1, 33), (1, 2), True),
    ],
)
def test_means_over_many_channels(litert, dtype, shape, axes, keep):
    """Blocks of 16 channels and what is left of them; scales with ties and without."""
    tally = litert(f"MEAN {dtype} {shape}")
    kept = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
    rng = np.random.default_rng(sum(shape))
    for scale, out in ((0.1, 0.1), (0.5, 0.25), (0.07, 0.011), (1.0, 2.0)):
        b, shift = Builder(), 0 if dtype == "int8" else 128
        x, y = b.tensor("x", shape, dtype, scale, shift + 7), b.tensor("y", kept, dtype, out, shift - 31)
        content = b.op("MEAN", [x, b.constant("axes", axes)], [y], keep_dims=keep).finish([x], [y])
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        tally.compare(Model(content, [rng.integers(low, high, shape, endpoint=True).astype(dtype)], [y]))
    tally.check(int(np.prod(kept, dtype=int)))


def test_chains_that_become_tables(litert):
    """XNNPACK folds chains of functions of one tensor into one table: 256 elements a case."""
    tally = litert("chains")
    x = np.arange(256).astype(np.int8)

    def model(build: Builder, i: int, o: int) -> Model:
        return Model(build.finish([i], [o]), [x], [o])

    def tensors(b: Builder, *quants: tuple[float, int]) -> list[int]:
        return [b.tensor(f"t{n}", (256,), "int8", *q) for n, q in enumerate(quants)]

    b = Builder()
    i, gate, y = tensors(b, (0.1, 5), (1 / 256, -128), (0.05, 7))
    tally.compare(model(b.op("LOGISTIC", [i], [gate]).op("MUL", [i, gate], [y]), i, y))
    b = Builder()
    i, gate, q, y = tensors(b, (0.1, 5), (1 / 256, -128), (1 / 200, -100), (1 / 90, 3))
    tally.compare(model(b.op("LOGISTIC", [i], [gate]).op("QUANTIZE", [gate], [q]).op("QUANTIZE", [q], [y]), i, y))
    b = Builder()
    i, m, y = tensors(b, (0.1, 5), (0.05, 7), (0.2, 7))
    c = b.tensor("c", (1,), "int8", 0.03, 5, data=[77])
    tally.compare(model(b.op("MUL", [i, c], [m]).op("ADD", [m, c], [y]), i, y))
    tally.check(256)
