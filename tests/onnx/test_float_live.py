"""ONNX's float32 ops on ONNX Runtime: exact where IEEE 754 leaves no choice, within a few last bits elsewhere."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build_onnx import OnnxBuilder
from tests.live.cases import explore, shapes
from tests.onnx.cases import OnnxTally, runtime, simulated

EXACT = {
    "Relu",
    "Neg",
    "Abs",
    "Sqrt",
    "Reciprocal",
    "Sigmoid",
    "Tanh",
    "LeakyRelu",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Min",
    "Max",
}
EXACT |= {"ReduceMax", "MaxPool", "GlobalMaxPool"}
"""ops in which IEEE 754, or a polynomial that fxsim follows step by step, leaves no choice"""
UNITS = 8
"""how many last bits, of the largest value around, the others may differ by"""


def near(tally: OnnxTally, op: str, content: bytes, inputs: list[Any]) -> None:
    """Counts the values that differ, and holds them to the op's last bits."""
    for a, b in zip(simulated(content, inputs), runtime(content, inputs, "DISABLE_ALL"), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        off = np.abs(a.astype(np.float64) - b.astype(np.float64))
        most = np.float32(max(1, np.abs(b).max(initial=0), *(np.abs(x).max(initial=0) for x in inputs)))
        tally.cases += 1
        tally.elements += a.size
        tally.tolerated += int(np.sum(off > 0))
        tally.most = max(tally.most, float(off.max(initial=0)))
        # a layer norm divides by a deviation that may be far below 1
        allowed = 0 if op in EXACT else UNITS * np.spacing(most) * (64 if op == "LayerNormalization" else 1)
        tally.kinds[f"{op} float32"] += a.size
        assert np.all(off <= allowed), f"{op}: {off.max()} at {b.reshape(-1)[np.argmax(off)]}"


def reals(seed: int, shape: tuple[int, ...], size: float = 3.0) -> Any:
    x = np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)
    x.reshape(-1)[: min(4, x.size)] = [0.0, -0.0, 1.0, -1.0][: x.size]
    return x


SEEDS = st.integers(0, 1 << 30)
UNARY = [
    "Relu", "Neg", "Abs", "Sqrt", "Reciprocal", "Sigmoid", "Tanh", "Erf", "Exp", "Log", "Softplus", "HardSwish", "LeakyRelu",
    "Elu", "HardSigmoid",
]  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
def test_unary(tallies, op):
    tally = tallies(op)

    def case(drawn: Any) -> None:
        seed, shape = drawn
        b = OnnxBuilder(17)
        b.op(op, [b.input("x", shape, "float32")], "y")
        x = reals(seed, shape)
        near(
            tally,
            op,
            b.finish({"y": "float32"}),
            [np.abs(x) + np.float32(0.01) if op in ("Sqrt", "Log", "Reciprocal") else x],
        )

    explore(st.tuples(SEEDS, shapes(1, 4, 8)), case, share=0.5)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"])
def test_binary(tallies, op):
    tally = tallies(op)

    def case(drawn: Any) -> None:
        seed, shape, ones = drawn
        other = tuple(1 if o else s for s, o in zip(shape, ones, strict=False)) or shape
        b = OnnxBuilder(17)
        b.op(op, [b.input("a", shape, "float32"), b.input("b", other, "float32")], "y")
        x, y = reals(seed, shape), reals(seed + 1, other) + np.float32(0.03)
        near(tally, op, b.finish({"y": "float32"}), [np.abs(x) if op == "Pow" else x, y])

    explore(st.tuples(SEEDS, shapes(1, 4, 6), st.lists(st.booleans(), min_size=4, max_size=4)), case, share=0.5)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "ReduceMean", "ReduceSum", "ReduceMax", "LayerNormalization"])
def test_rows(tallies, op):
    tally = tallies(op)

    def case(drawn: Any) -> None:
        seed, shape, axis, opset = drawn
        axis %= len(shape)
        b = OnnxBuilder(opset)
        x = b.input("x", shape, "float32")
        if op.endswith("Softmax"):
            b.op(op, [x], "y", axis=axis)
        elif op == "LayerNormalization":
            tail = shape[axis:]
            b.op(op, [x, b.constant(np.ones(tail), "float32"), b.constant(np.zeros(tail), "float32")], "y", axis=axis)
        else:
            inside = op == "ReduceSum" and opset >= 13
            extra = [b.constant([axis], "int64")] if inside else []
            b.op(op, [x, *extra], "y", keepdims=seed % 2, **({} if inside else {"axes": [axis]}))
        near(tally, op, b.finish({"y": "float32"}), [reals(seed, shape)])

    opsets = st.sampled_from([17] if op == "LayerNormalization" else [11, 13, 17])
    explore(st.tuples(SEEDS, shapes(2, 4, 9), st.integers(0, 3), opsets), case)


def test_pools_and_norms(tallies):
    for op in ("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization"):
        tally = tallies(op)
        for seed in range(12):
            rng = np.random.default_rng(seed)
            shape = (1, int(rng.integers(1, 5)), int(rng.integers(3, 9)), int(rng.integers(3, 9)))
            b = OnnxBuilder(19)
            ins = [b.input("x", shape, "float32")]
            options: dict[str, Any] = {}
            if op in ("AveragePool", "MaxPool"):
                options = {
                    "kernel_shape": [2, 3],
                    "strides": [int(v) for v in rng.integers(1, 3, 2)],
                    "pads": [0, 1, 1, 0],
                }
                options["ceil_mode"] = int(rng.integers(2))
                if op == "AveragePool":
                    options["count_include_pad"] = int(rng.integers(2))
            if op == "BatchNormalization":
                ins += [b.constant(rng.uniform(0.5, 2, shape[1]), "float32") for _ in range(4)]
            b.op(op, ins, "y", **options)
            near(tally, op, b.finish({"y": "float32"}), [reals(seed, shape)])


def test_products_of_small_integers_are_exact(tallies):
    """Where products and sums are integers below 2**24, no order of additions changes a bit."""
    tally: OnnxTally = tallies("Conv, MatMul, Gemm on integers")
    for seed in range(30):
        rng = np.random.default_rng(seed)
        b = OnnxBuilder(17)
        x, w = rng.integers(-128, 128, (1, 4, 6, 6)), rng.integers(-128, 128, (3, 4, 3, 3))
        b.op(
            "Conv", [b.input("x", x.shape, "float32"), b.constant(w, "float32"), b.constant([1, 2, 3], "float32")], "y"
        )
        tally.ask(b.finish({"y": "float32"}), [x.astype(np.float32)], "DISABLE_ALL")
        b = OnnxBuilder(17)
        x, w = rng.integers(-128, 128, (2, 3, 40)), rng.integers(-128, 128, (40, 9))
        b.op("MatMul", [b.input("x", x.shape, "float32"), b.constant(w, "float32")], "y")
        tally.ask(b.finish({"y": "float32"}), [x.astype(np.float32)], "DISABLE_ALL")
        b = OnnxBuilder(17)
        ins = [b.input("x", (40, 3), "float32"), b.constant(w.T, "float32"), b.constant(np.arange(9), "float32")]
        b.op("Gemm", ins, "y", transA=1, transB=1, alpha=0.5, beta=2.0)
        tally.ask(b.finish({"y": "float32"}), [x[0].T.astype(np.float32)], "DISABLE_ALL")
    tally.check(20)


LAYOUTS: list[tuple[str, int, list[tuple[Any, str]], dict[str, Any]]] = [
    ("Reshape", 13, [([0, -1], "int64")], {}),
    ("Flatten", 13, [], {"axis": 2}),
    ("Transpose", 13, [], {"perm": [2, 0, 3, 1]}),
    ("Transpose", 13, [], {}),
    ("Pad", 13, [([0, 1, 0, 2, 1, 0, 0, 1], "int64"), (2.5, "float32")], {}),
    ("Pad", 13, [([0, 1, 0, 2, 0, 0, 0, 1], "int64")], {"mode": "edge"}),
    ("Pad", 13, [([0, 0, 1, 2, 0, 0, 1, 1], "int64")], {"mode": "reflect"}),
    ("Pad", 10, [], {"pads": [0, 1, 0, 2, 1, 0, 0, 1], "value": 1.5}),
    ("Slice", 13, [([1, -3], "int64"), ([100, 0], "int64"), ([2, -1], "int64"), ([1, -1], "int64")], {}),
    ("Slice", 13, [([-1], "int64"), ([-(1 << 40)], "int64"), ([3], "int64"), ([-2], "int64")], {}),
    ("Slice", 9, [], {"starts": [1], "ends": [3], "axes": [2]}),
    ("Squeeze", 13, [([0], "int64")], {}),
    ("Squeeze", 11, [], {"axes": [0]}),
    ("Unsqueeze", 13, [([0, -1], "int64")], {}),
    ("Gather", 13, [([[0, -1], [1, 1]], "int64")], {"axis": 2}),
    ("Expand", 13, [([2, 1, 3, 4, 5], "int64")], {}),
    ("Clip", 13, [(-0.5, "float32"), (0.75, "float32")], {}),
    ("Clip", 10, [], {"min": -0.5, "max": 0.75}),
    ("Identity", 13, [], {}),
]


@pytest.mark.parametrize(("op", "opset", "constants", "options"), LAYOUTS)
def test_layout(tallies, op, opset, constants, options):
    tally = tallies(f"{op} opset {opset}")
    b = OnnxBuilder(opset)
    x = reals(5, (1, 3, 4, 5))
    b.op(op, [b.input("x", x.shape, "float32"), *(b.constant(v, t) for v, t in constants)], "y", **options)
    tally.ask(b.finish({"y": "float32"}), [x], "DISABLE_ALL")
    tally.check(1)


@pytest.mark.parametrize(("opset", "sizes"), [(13, [1, 3]), (13, None), (11, [2, 2]), (18, None)])
def test_split_and_concat(tallies, opset, sizes):
    tally = tallies(f"Split opset {opset}")
    b, x = OnnxBuilder(opset), reals(3, (2, 4, 3))
    ins = [b.input("x", x.shape, "float32")]
    options: dict[str, Any] = {"num_outputs": 2} if opset == 18 else {}
    if sizes and opset >= 13:
        ins.append(b.constant(sizes, "int64"))
    elif sizes:
        options["split"] = sizes
    b.op("Split", ins, ["a", "b"], axis=1, **options)
    b.op("Concat", ["b", "a"], "y", axis=1)
    tally.ask(b.finish({"y": "float32", "a": "float32"}), [x], "DISABLE_ALL")
    tally.check(1)
