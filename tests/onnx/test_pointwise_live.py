"""ONNX's quantized element-wise, pooling, softmax and layout ops on ONNX Runtime: every bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build_onnx import OnnxBuilder
from tests.live.cases import VALUES, Values, decades, explore, shapes
from tests.onnx.cases import BYTES, OnnxTally, Params, limits_of, params

TYPES = st.sampled_from(BYTES)


def every(dtype: str) -> Any:
    """All 256 values of a byte."""
    return np.arange(256, dtype=np.uint8).view(dtype)


@st.composite
def binaries(draw: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], list[Params], Values, Values]:
    """Two operands that broadcast: full, a scalar, a row, a column, one channel."""
    dtype = draw(TYPES)
    full = draw(shapes(1, 4, 9))
    small = tuple(s if draw(st.booleans()) else 1 for s in full)
    small = small[draw(st.integers(0, len(small))) :] if draw(st.booleans()) else small
    a, b = (full, small) if draw(st.booleans()) else (small, full)
    return dtype, a, b, [draw(params(dtype)) for _ in range(3)], draw(VALUES), draw(VALUES)


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_binary(tallies, op):
    """Shapes of all kinds, then all 65,536 pairs of bytes for some scales."""
    tally: OnnxTally = tallies(op)

    def hold(case: Any) -> None:
        dtype, a, b, (p, q, r), x, y = case
        maker = OnnxBuilder()
        ins = [maker.input("a", a, dtype), *maker.scalars(p.scale, p.zero, dtype)]
        ins += [maker.input("b", b, dtype), *maker.scalars(q.scale, q.zero, dtype)]
        maker.op(op, [*ins, *maker.scalars(r.scale, r.zero, dtype)], "y")
        tally.ask(maker.finish({"y": dtype}), [x.fill(a, dtype, p.zero), y.fill(b, dtype, q.zero)])

    explore(binaries(), hold, share=2)
    pairs = st.tuples(TYPES.flatmap(lambda t: st.tuples(st.just(t), params(t), params(t), params(t))))

    def whole(case: Any) -> None:
        ((dtype, p, q, r),) = case
        a, b = (np.ascontiguousarray(v) for v in np.meshgrid(every(dtype), every(dtype)))
        maker = OnnxBuilder()
        ins = [maker.input("a", a.shape, dtype), *maker.scalars(p.scale, p.zero, dtype)]
        ins += [maker.input("b", b.shape, dtype), *maker.scalars(q.scale, q.zero, dtype)]
        maker.op(op, [*ins, *maker.scalars(r.scale, r.zero, dtype)], "y")
        tally.ask(maker.finish({"y": dtype}), [a, b])

    explore(pairs, whole, share=0.5)
    tally.check(1000)


TELLING = [Params(0.4105466902256012, 225), Params(0.061551690101623535, 200), Params(0.006926320027559996, 205)]
"""scales with which 4 or 5 of all pairs of bytes tell apart where the multiply-adds of QLinearAdd are fused"""


@pytest.mark.parametrize(("a", "b"), [((256, 256), (256, 256)), ((256, 1), (256, 256)), ((256, 256), (256, 1))])
def test_where_additions_are_fused(tallies, a, b):
    tally, (p, q, r) = tallies("QLinearAdd, telling scales"), TELLING
    maker = OnnxBuilder()
    ins = [maker.input("a", a, "uint8"), *maker.scalars(p.scale, p.zero, "uint8")]
    ins += [maker.input("b", b, "uint8"), *maker.scalars(q.scale, q.zero, "uint8")]
    maker.op("QLinearAdd", [*ins, *maker.scalars(r.scale, r.zero, "uint8")], "y")
    row = np.broadcast_to(every("uint8"), (256, 256))
    column = every("uint8")[:, np.newaxis]
    first = np.ascontiguousarray(np.broadcast_to(column, a) if b[1] > 1 else row)
    second = np.ascontiguousarray(row if b[1] > 1 else column)
    tally.ask(maker.finish({"y": "uint8"}), [first, second])
    tally.check(65536)


@pytest.mark.parametrize("op", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_tables(tallies, op):
    """All 256 values of a byte for every scale."""
    tally = tallies(op)
    sigmoid = op == "QLinearSigmoid"

    def hold(case: Any) -> None:
        dtype, p, q, alpha = case
        maker = OnnxBuilder()
        ins = [maker.input("x", (256,), dtype), *maker.scalars(p.scale, p.zero, dtype)]
        options = {} if sigmoid else {"alpha": alpha}
        maker.op(op, [*ins, *maker.scalars(q.scale, q.zero, dtype)], "y", **options)
        tally.ask(maker.finish({"y": dtype}), [every(dtype)])

    low = (-5, -2) if sigmoid else (-3, 0.5)
    drawn = TYPES.flatmap(lambda t: st.tuples(st.just(t), params(t), params(t, *low), st.floats(-0.5, 1, width=32)))
    explore(drawn, hold, share=2)
    tally.check(200)


@st.composite
def pools(draw: Any) -> Any:
    """Windows with strides, padding, dilation-free, of one or two axes."""
    dtype, axes = draw(TYPES), draw(st.sampled_from([1, 2, 2]))
    kernel = [draw(st.integers(1, 4)) for _ in range(axes)]
    pads = [draw(st.integers(0, kernel[i % axes] - 1)) for i in range(2 * axes)]
    size = [max(draw(st.integers(1, 9)), kernel[i] - pads[i] - pads[i + axes], 1) for i in range(axes)]
    if draw(st.integers(0, 3)) == 0:  # a window that is the whole image is a global pool
        kernel, pads = size, [0] * (2 * axes)
    options = {
        "kernel_shape": kernel, "pads": pads, "strides": [draw(st.integers(1, 3)) for _ in range(axes)],
        "ceil_mode": draw(st.integers(0, 1)),
    }  # fmt: skip
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 6)), *size)
    p, q = draw(params(dtype)), draw(params(dtype))
    q = replace(q, scale=p.scale) if draw(st.booleans()) else q  # ties
    return dtype, shape, options, draw(st.integers(0, 1)), p, q, draw(VALUES)


def test_qlinear_average_pool(tallies):
    tally = tallies("QLinearAveragePool")

    def hold(case: Any) -> None:
        dtype, shape, options, include, p, q, x = case
        maker = OnnxBuilder()
        ins = [maker.input("x", shape, dtype), *maker.scalars(p.scale, p.zero, dtype)]
        maker.op(
            "QLinearAveragePool",
            [*ins, *maker.scalars(q.scale, q.zero, dtype)],
            "y",
            count_include_pad=include,
            **options,
        )
        tally.ask(maker.finish({"y": dtype}), [x.fill(shape, dtype, p.zero)])

    explore(pools(), hold, share=2)
    tally.check(5)


def test_max_pool(tallies):
    tally = tallies("MaxPool")

    def hold(case: Any) -> None:
        dtype, shape, options, _, _, _, x = case
        maker = OnnxBuilder()
        maker.op("MaxPool", [maker.input("x", shape, dtype)], "y", **options)
        tally.ask(maker.finish({"y": dtype}), [x.fill(shape, dtype)])

    explore(pools(), hold)
    tally.check(5)


def test_qlinear_global_average_pool(tallies):
    tally = tallies("QLinearGlobalAveragePool")
    drawn = TYPES.flatmap(lambda t: st.tuples(st.just(t), params(t), params(t), VALUES, shapes(4, 4, 9), st.booleans()))

    def hold(case: Any) -> None:
        dtype, p, q, x, shape, last = case
        maker = OnnxBuilder()
        ins = [maker.input("x", shape, dtype), *maker.scalars(p.scale, p.zero, dtype)]
        ins += maker.scalars(q.scale, q.zero, dtype)
        maker.op("QLinearGlobalAveragePool", ins, "y", channels_last=int(last))
        tally.ask(maker.finish({"y": dtype}), [x.fill(shape, dtype, p.zero)])

    explore(drawn, hold, share=2)
    tally.check(1)


def test_qlinear_softmax(tallies):
    """Rows of 1 to 300, along any axis, by the rules of opset 13 and those before; usual and odd output scales."""
    tally = tallies("QLinearSoftmax")
    usual = st.sampled_from([Params(1 / 256, -128), Params(1 / 256, 0), Params(1 / 255, 3)])

    def hold(case: Any) -> None:
        dtype, p, q, x, shape, axis, opset = case
        low, high = limits_of(dtype)
        maker = OnnxBuilder()
        ins = [maker.input("x", shape, dtype), *maker.scalars(p.scale, p.zero, dtype)]
        ins += maker.scalars(q.scale, min(max(q.zero, low), high), dtype)
        maker.op("QLinearSoftmax", ins, "y", axis=axis % len(shape), opset=opset)
        tally.ask(maker.finish({"y": dtype}), [x.fill(shape, dtype, p.zero)])

    wide = st.integers(1, 300).map(lambda n: (2, n))
    drawn = TYPES.flatmap(
        lambda t: st.tuples(
            st.just(t), params(t, -3, 0), usual | params(t, -4, -1), VALUES, wide | shapes(1, 4, 7), st.integers(0, 3),
            st.sampled_from([13, 13, 12]),
        )
    )  # fmt: skip
    explore(drawn, hold, share=3)
    tally.check(20)


def test_qlinear_concat(tallies):
    tally = tallies("QLinearConcat")
    drawn = TYPES.flatmap(
        lambda t: st.tuples(
            st.just(t),
            st.lists(st.tuples(params(t), VALUES), min_size=1, max_size=4),
            params(t),
            shapes(2, 4, 5),
            st.booleans(),
        )
    )

    def hold(case: Any) -> None:
        dtype, parts, q, shape, same = case
        maker, xs = OnnxBuilder(), []
        ins = list(maker.scalars(q.scale, q.zero, dtype))
        for i, (p, x) in enumerate(parts):
            p = q if same and i == 0 else p
            ins += [maker.input(f"x{i}", shape, dtype), *maker.scalars(p.scale, p.zero, dtype)]
            xs.append(x.fill(shape, dtype, p.zero))
        maker.op("QLinearConcat", ins, "y", axis=1)
        tally.ask(maker.finish({"y": dtype}), xs)

    explore(drawn, hold)
    tally.check(10)


REALS = st.builds(lambda seed, size: (seed, size), st.integers(0, 1 << 30), st.sampled_from([0.01, 1.0, 30.0, 1e4]))


def reals(drawn: tuple[int, float], shape: tuple[int, ...], scale: float) -> Any:
    """float32 values: many, halves of the scale among them, and the ends."""
    seed, size = drawn
    rng = np.random.default_rng(seed)
    x = rng.normal(0, size, shape).astype(np.float32)
    halves = ((rng.integers(-300, 300, shape) + 0.5) * scale).astype(np.float32)
    x = np.where(rng.integers(0, 3, shape) == 0, halves, x)
    x.reshape(-1)[:2] = [np.finfo(np.float32).max, -np.finfo(np.float32).max][: x.size]
    return x


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint4", "int4"])
def test_quantize_linear(tallies, dtype):
    """One scale, one an axis, and blocks along an axis; halves and the ends of float32 among the values."""
    tally = tallies(f"QuantizeLinear {dtype}")
    zero = st.integers(*{"uint4": (0, 15), "int4": (-8, 7), "uint16": (0, 65535)}.get(dtype) or limits_of(dtype))

    def hold(case: Any) -> None:
        values, shape, axis, kind, scale, zeros, ties = case
        axis %= len(shape)
        maker = OnnxBuilder()
        size = (shape[axis],) if kind == "axis" else ()
        scale = 2.0**-3 if ties else scale
        scales = np.full(size, np.float32(scale)) * (1 + np.arange(int(np.prod(size))).reshape(size))
        ins = [maker.input("x", shape, "float32"), maker.constant(scales, "float32")]
        ins.append(maker.constant(np.full(size, zeros), dtype))
        y = maker.op("QuantizeLinear", ins, axis=axis)
        back = maker.op("DequantizeLinear", [y, *ins[1:]], "r", axis=axis)
        tally.ask(maker.finish({back: "float32"}), [reals(values, shape, scale)], "DISABLE_ALL")

    drawn = st.tuples(
        REALS, shapes(1, 4, 6), st.integers(0, 3), st.sampled_from(["one", "axis"]), decades(-3, 0.5), zero,
        st.booleans(),
    )  # fmt: skip
    explore(drawn, hold)
    tally.check(5)


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8"])
@pytest.mark.parametrize("block", [0, 2, 16])
def test_dequantize_blocks(tallies, dtype, block):
    """Constants of 4 and 8 bits, one scale for each block along an axis."""
    tally = tallies(f"DequantizeLinear {dtype} by {block or 'axis'}")
    low, high = {"int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127)}[dtype]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shape, axis = tuple(int(v) for v in rng.integers(1, 40, 2)), int(rng.integers(2))
        scales = list(shape)
        scales[axis] = -(-shape[axis] // block) if block else shape[axis]
        sized = tuple(scales) if block else (shape[axis],)
        maker = OnnxBuilder()
        w = maker.constant(rng.integers(low, high + 1, shape), dtype)
        ins = [
            w,
            maker.constant(rng.uniform(0.01, 1, sized), "float32"),
            maker.constant(rng.integers(low, high + 1, sized), dtype),
        ]
        real = maker.op("DequantizeLinear", ins, axis=axis, **({"block_size": block} if block else {}))
        maker.op("Add", [maker.input("x", shape, "float32"), real], "y")
        tally.ask(maker.finish({"y": "float32"}), [np.zeros(shape, np.float32)], "DISABLE_ALL")
    tally.check(1)


def test_dynamic_quantize_linear(tallies):
    tally = tallies("DynamicQuantizeLinear")

    def hold(case: Any) -> None:
        values, shape, shift = case
        maker = OnnxBuilder()
        maker.op("DynamicQuantizeLinear", [maker.input("x", shape, "float32")], ["y", "s", "z"])
        x = np.clip(reals(values, shape, 0.25), -1e6, 1e6) + np.float32(shift)
        tally.ask(maker.finish({"y": "uint8", "s": "float32", "z": "uint8"}), [x.astype(np.float32)])

    explore(st.tuples(REALS, shapes(1, 3, 7), st.sampled_from([0.0, 2e6, -2e6])), hold, share=2)
    tally.check(2)
