"""CMSIS-NN's own unit-test vectors, each case as a graph of one layer under the profile ``cmsis-nn``: every output.

The vectors give multipliers and shifts, no scales: a layer's weight scale is then ``multiplier * 2**(shift - 31)``, and
the other scales are 1. Their clamps are no fused activations: what the layer clamps to its type is clamped further here.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fxsim.importers import check
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops.arithmetic import Sum
from fxsim.model.ops.base import Activated, Attributes
from fxsim.model.ops.conv import Conv2D, FullyConnected
from fxsim.model.ops.matmul import BatchMatMul
from fxsim.model.ops.pool import Pool2D
from fxsim.model.ops.recurrent import GATES, SequenceLstm, Svdf
from fxsim.model.ops.softmax import Softmax
from fxsim.model.ops.transpose_conv import TransposeConv
from fxsim.model.qtype import INT4, INT8, INT16, INT32, INT64, QType, QuantParams
from fxsim.sim import simulate

pytestmark = pytest.mark.corpus
Array = npt.NDArray[Any]
TYPES = {"int8": INT8, "int16": INT16, "int32": INT32, "int64": INT64}
TRANSPOSES = {
    "transpose_3dim": ((5, 4, 20), (0, 2, 1)),
    "transpose_default": ((4, 3, 3, 22), (3, 2, 1, 0)),
    "transpose_matrix": ((5, 20), (1, 0)),
    "transpose_nwhc": ((1, 19, 3, 64), (0, 2, 1, 3)),
}
"""shapes and permutations, which the vectors' tables lack"""


def real(q: Any, shift: Any) -> tuple[float, ...]:
    """The exact scales of multipliers and shifts."""
    return tuple(float(m) * 2.0 ** (int(s) - 31) for m, s in zip(np.atleast_1d(q), np.atleast_1d(shift), strict=True))


class Case:
    """One file of vectors, and the graph that is built from it."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        with np.load(path, allow_pickle=False) as z:
            self.arrays = {k: z[k] for k in z.files}
        self.config = json.loads(str(self.arrays["__config__"]))
        self.families = json.loads(str(self.arrays["__family__"])) or ["convolve_s8"]
        self.tensors: list[Tensor] = []

    def __getitem__(self, names: str) -> Any:
        """The first of the configuration's values with one of ``names``."""
        return next(self.config[n] for n in names.split() if n in self.config)

    def data(self, *names: str) -> Array:
        """The first array with one of ``names``."""
        return next(self.arrays[n] for n in names if n in self.arrays)

    def tensor(
        self, shape: Any, dtype: QType, scale: Any = (1.0,), zero: int = 0, data: Array | None = None, axis: int = 0
    ) -> int:
        """Adds a tensor."""
        scales = tuple(np.atleast_1d(scale).tolist())
        quant = QuantParams(scales, (zero,) * len(scales), axis if len(scales) > 1 else None)
        held = None if data is None else np.ascontiguousarray(data.reshape(shape))
        self.tensors.append(Tensor(len(self.tensors), str(len(self.tensors)), tuple(shape), dtype, quant, held))
        return len(self.tensors) - 1

    def weight(self, shape: tuple[int, ...], scale: Any, axis: int, zero: int = 0) -> int:
        """Adds the weight, which int4 vectors hold two to a byte."""
        raw = self.data("weights", "input_weights")
        if "s4" not in self.families[0].split("_"):
            return self.tensor(shape, INT8, scale, zero, raw, axis)
        both = np.stack([raw << 4, raw], axis=-1).reshape(-1)[: int(np.prod(shape))].astype(np.int8) >> 4
        return self.tensor(shape, INT4, scale, zero, both, axis)

    def bias(self) -> int:
        """Adds the bias, if there is one."""
        named = [n for n in ("biases", "bias", "input_bias") if n in self.arrays]
        if not named:
            return ABSENT
        raw = self.arrays[named[0]]
        return self.tensor(raw.shape, TYPES[raw.dtype.name], data=raw)

    def run(self, op: str, attributes: Attributes, inputs: list[int], output: int, values: list[Array]) -> Array:
        """The output of the one layer, clamped as the case says."""
        given = tuple(
            i for i in inputs if i != ABSENT and self.tensors[i].data is None and not self.tensors[i].variable
        )
        node = Node(0, op, tuple(inputs), (output,), attributes)
        graph = check(Graph(self.name, tuple(self.tensors), (node,), given, (output,)))
        shaped = [v.reshape(*v.shape[:0], -1, *graph.tensors[i].shape) for v, i in zip(values, given, strict=True)]
        got = simulate(graph, shaped, "cmsis-nn").tensor(output)[-1]
        limits = [
            next((self.config[k] for k in (f"OUT_ACTIVATION_{e}", f"ACTIVATION_{e}") if k in self.config), None)
            for e in ("MIN", "MAX")
        ]
        return np.clip(got, *limits) if None not in limits else got


def convolution(case: Case, op: str) -> Array:
    """CONV_2D and DEPTHWISE_CONV_2D, grouped and not."""
    x, (oh, ow) = case.data("input"), (case["OUTPUT_H"], case["OUTPUT_W"])
    h, w, c, o, kh, kw = (case[k] for k in ("INPUT_H", "INPUT_W", "IN_CH", "OUT_CH", "FILTER_Y", "FILTER_X"))
    (sh, sw), (dh, dw) = (case["STRIDE_Y"], case["STRIDE_X"]), (case["DILATION_Y"], case["DILATION_X"])
    pads = []
    for n, out, k, s, d, before in ((h, oh, kh, sh, dh, case["PAD_Y"]), (w, ow, kw, sw, dw, case["PAD_X"])):
        pads += [before, (out - 1) * s + (k - 1) * d + 1 - n - before]
    kind, deep = TYPES[x.dtype.name], op == "DEPTHWISE_CONV_2D"
    depth = case.config.get("FILTER_CH", c)
    scale = real(case.data("output_mult", "output_multiplier"), case.data("output_shift"))
    i = case.tensor((case["INPUT_BATCHES"], h, w, c), kind, zero=-case["INPUT_OFFSET"])
    k = case.weight((1, kh, kw, o) if deep else (o, kh, kw, depth), scale, 3 if deep else 0)
    b = case.bias()
    y = case.tensor((case["INPUT_BATCHES"], oh, ow, o), kind, zero=case["OUTPUT_OFFSET"])
    declared = "int32" if kind is INT16 and "int32" in case.name else ""
    attributes = Conv2D("NONE", sh, sw, tuple(pads), dh, dw, declared)
    return case.run(op, attributes, [i, k, b], y, [x])


def transpose_convolution(case: Case) -> Array:
    """TRANSPOSE_CONV."""
    n, h, w, c, o = (case[k] for k in ("INPUT_BATCHES", "INPUT_H", "INPUT_W", "IN_CH", "OUT_CH"))
    shape = (n, case["OUTPUT_H"], case["OUTPUT_W"], o)
    s = case.tensor((4,), INT32, data=np.array(shape, np.int32))
    k = case.weight(
        (o, case["FILTER_Y"], case["FILTER_X"], c), real(case.data("output_mult"), case.data("output_shift")), 0
    )
    x = case.tensor((n, h, w, c), INT8, zero=-case["INPUT_OFFSET"])
    b = case.bias()
    y = case.tensor(shape, INT8, zero=case["OUTPUT_OFFSET"])
    attributes = TransposeConv("NONE", case["STRIDE_Y"], case["STRIDE_X"], (case["PAD_Y"], 0, case["PAD_X"], 0))
    return case.run("TRANSPOSE_CONV", attributes, [s, k, x, b], y, [case.data("input")])


def dense(case: Case) -> Array:
    """FULLY_CONNECTED, per tensor and per channel."""
    x, o, depth = case.data("input"), case["OUT_CH"], case["ACCUMULATION_DEPTH"]
    kind = TYPES[x.dtype.name]
    if "output_multiplier" in case.arrays:
        scale = real(case.data("output_multiplier"), case.data("output_shift"))
    else:
        scale = real(case["OUTPUT_MULTIPLIER"], case["OUTPUT_SHIFT"])
    i = case.tensor((case["INPUT_BATCHES"], depth), kind, zero=-case["INPUT_OFFSET"])
    k = case.weight((o, depth), scale, 0, -case.config.get("FILTER_OFFSET", 0))
    b = case.bias()
    y = case.tensor((case["INPUT_BATCHES"], o), kind, zero=case["OUTPUT_OFFSET"])
    return case.run("FULLY_CONNECTED", FullyConnected(), [i, k, b], y, [x])


def batch_matmul(case: Case) -> Array:
    """BATCH_MATMUL."""
    values = [case.data("lhs_input_tensor"), case.data("rhs_input_tensor")]
    kind, scale = TYPES[values[0].dtype.name], real(case["OUTPUT_MULTIPLIER"], case["OUTPUT_SHIFT"])
    sizes = ("BATCH", "HEIGHT", "ROWS", "COLS")
    x, w = (
        case.tensor([case[f"{side}_{s}"] for s in sizes], kind, by, -case[f"{side}_OFFSET"])
        for side, by in (("LHS", scale), ("RHS", (1.0,)))
    )
    y = case.tensor([case[f"OUTPUT_{s}"] for s in sizes], kind, zero=case["OUTPUT_OFFSET"])
    return case.run("BATCH_MATMUL", BatchMatMul(bool(case["ADJ_X"]), bool(case["ADJ_Y"])), [x, w], y, values)


def pooling(case: Case, op: str) -> Array:
    """MAX_POOL_2D and AVERAGE_POOL_2D."""
    x, n = case.data("input_tensor"), case["BATCH_SIZE"]
    size, kernel, stride = (
        (case[a], case[b]) for a, b in (("INPUT_H", "INPUT_W"), ("FILTER_H", "FILTER_W"), ("STRIDE_H", "STRIDE_W"))
    )
    out, before = (case["OUTPUT_H"], case["OUTPUT_W"]), (case["PADDING_H"], case["PADDING_W"])
    pads = [
        p for m, o, k, s, b in zip(size, out, kernel, stride, before, strict=True) for p in (b, (o - 1) * s + k - m - b)
    ]
    kind = TYPES[x.dtype.name]
    i = case.tensor((n, *size, case["INPUT_C"]), kind)
    y = case.tensor((n, *out, case["OUTPUT_C"]), kind)
    return case.run(op, Pool2D("NONE", *stride, tuple(pads), *kernel), [i], y, [x])


def addition(case: Case) -> Array:
    """ADD: the scales whose rescales are the given ones."""
    kind = TYPES[case.data("input1").dtype.name]
    one, two = (real(case[f"INPUT{i}_MULT"], case[f"INPUT{i}_SHIFT"])[0] for i in (1, 2))
    out = 2 * max(one, two) / real(case["OUTPUT_MULT"], case["OUTPUT_SHIFT"])[0] / 2.0 ** case["LEFT_SHIFT"]
    return _pointwise(case, "ADD", kind, (one, two, out))


def product(case: Case) -> Array:
    """MUL."""
    kind = TYPES[case.data("input1").dtype.name]
    return _pointwise(case, "MUL", kind, (real(case["OUTPUT_MULT"], case["OUTPUT_SHIFT"])[0], 1.0, 1.0))


def _pointwise(case: Case, op: str, kind: QType, scales: tuple[float, float, float]) -> Array:
    values = [case.data("input1"), case.data("input2")]
    ins = [
        case.tensor(v.shape, kind, s, -case[f"INPUT{i}_OFFSET"])
        for v, s, i in zip(values, scales, (1, 2), strict=False)
    ]
    y = case.tensor(values[0].shape, kind, scales[2], case["OUTPUT_OFFSET"])
    return case.run(op, Sum() if op == "ADD" else Activated(), ins, y, values)


def extremum(case: Case) -> Array:
    """MAXIMUM and MINIMUM, broadcast."""
    shapes = [[case[f"{s}_{i}"] for s in ("BATCH", "HEIGHT", "WIDTH", "CHANNEL")] for i in (1, 2)]
    ins = [case.tensor(s, INT8, zero=-128) for s in shapes]
    y = case.tensor([case[f"OUTPUT_{s}"] for s in ("BATCH", "HEIGHT", "WIDTH", "CHANNEL")], INT8, zero=-128)
    values = [case.data("input_tensor_1"), case.data("input_tensor_2")]
    return case.run(case["LAYER_TYPE"].upper(), Attributes(), ins, y, values)


def softmax(case: Case) -> Array:
    """SOFTMAX: the input's rescale is ``scale * 2**26``."""
    shape = (case["NUM_ROWS"], case["ROW_SIZE"])
    i = case.tensor(shape, INT8, real(case["INPUT_MULT"], case["INPUT_LEFT_SHIFT"])[0] * 2.0**-26)
    return case.run("SOFTMAX", Softmax(1.0), [i], case.tensor(shape, INT8, 1 / 256, -128), [case.data("input")])


def padding(case: Case) -> Array:
    """PAD with the zero point."""
    pads = np.array([[case[f"{side}_PAD_{a}"] for side in ("PRE", "POST")] for a in "NHWC"], np.int32)
    shape = np.array([case[f"INPUT_{a}"] for a in "NHWC"])
    i = case.tensor(shape.tolist(), INT8, zero=case["PAD_VALUE"])
    p = case.tensor(pads.shape, INT32, data=pads)
    y = case.tensor((shape + pads.sum(axis=1)).tolist(), INT8, zero=case["PAD_VALUE"])
    return case.run("PAD", Attributes(), [i, p], y, [case.data("input_tensor")])


def transposition(case: Case) -> Array:
    """TRANSPOSE."""
    shape, perm = TRANSPOSES[case.name]
    i = case.tensor(shape, INT8)
    p = case.tensor((len(perm),), INT32, data=np.array(perm, np.int32))
    return case.run(
        "TRANSPOSE", Attributes(), [i, p], case.tensor([shape[a] for a in perm], INT8), [case.data("input_tensor")]
    )


def svdf(case: Case) -> Array:
    """SVDF: a sequence of inferences, of which the vectors hold the last output."""
    batch, k, filters, steps, rank = (
        case[s] for s in ("INPUT_BATCHES", "INPUT_SIZE", "FEATURE_BATCHES", "TIME_BATCHES", "RANK")
    )
    assert not case.data("state").any(), "a run starts with an empty state"
    kind = TYPES[case.data("state").dtype.name]
    i = case.tensor((batch, k), INT8, zero=-case["INPUT_OFFSET"])
    f = case.tensor((filters, k), INT8, real(case["MULTIPLIER_IN"], case["SHIFT_1"]), data=case.data("weights_feature"))
    t = case.tensor(
        (filters, steps), kind, real(case["MULTIPLIER_OUT"], case["SHIFT_2"]), data=case.data("weights_time")
    )
    b, s = case.bias(), _state(case, (batch, filters * steps), kind)
    y = case.tensor((batch, filters // rank), INT8, zero=case["OUTPUT_OFFSET"])
    return case.run("SVDF", Svdf(rank=rank), [i, f, t, b, s], y, [case.data("input_sequence")])


def _state(case: Case, shape: tuple[int, ...], kind: QType, scale: float = 1.0, zero: int = 0) -> int:
    index = case.tensor(shape, kind, scale, zero)
    t = case.tensors[index]
    case.tensors[index] = Tensor(t.index, t.name, t.shape, t.qtype, t.quant, None, variable=True)
    return index


def lstm(case: Case) -> Array:
    """UNIDIRECTIONAL_SEQUENCE_LSTM: the scales whose rescales are the given ones."""
    x, (n, steps, k, units) = (
        case.data("input_tensor"),
        (case[s] for s in ("BATCH_SIZE", "TIME_STEPS", "INPUT_SIZE", "HIDDEN_SIZE")),
    )
    kind = TYPES[x.dtype.name]
    hidden = 2.0**-30 / real(case["OUTPUT_MULTIPLIER"], case["OUTPUT_SHIFT"])[0]
    cell = 2.0**-30 / real(case["INPUT_TO_CELL_MULTIPLIER"], case["INPUT_TO_CELL_SHIFT"])[0]
    assert real(case["FORGET_TO_CELL_MULTIPLIER"], case["FORGET_TO_CELL_SHIFT"]) == (2.0**-15,)
    in_zero, out_zero = -case["INPUT_ZERO_POINT"], case["OUTPUT_ZERO_POINT"]
    lead = (steps, n) if case["TIME_MAJOR"] else (n, steps)
    ins = [case.tensor((*lead, k), kind, 1.0, in_zero)]
    for side, size, scale in (("INPUT", k, 1.0), ("HIDDEN", units, hidden)):
        for gate in GATES:
            by = real(case[f"{gate.upper()}_GATE_{side}_MULTIPLIER"], case[f"{gate.upper()}_GATE_{side}_SHIFT"])[0]
            raw = case.data(f"{gate}_gate_{side.lower()}_weights")
            ins.append(case.tensor((units, size), INT8, by * 2.0**-12 / scale, data=raw))
    ins += [ABSENT] * 3
    ins += [case.tensor((units,), TYPES[(b := case.data(f"{g}_gate_bias")).dtype.name], data=b) for g in GATES]
    ins += [ABSENT, ABSENT, _state(case, (n, units), kind, hidden, out_zero), _state(case, (n, units), INT16, cell)]
    y = case.tensor((*lead, units), kind, hidden, out_zero)
    attributes = SequenceLstm("TANH", case["CELL_CLIP"] * cell, 0.0, bool(case["TIME_MAJOR"]))
    return case.run("UNIDIRECTIONAL_SEQUENCE_LSTM", attributes, [*ins, *[ABSENT] * 4], y, [x])


FAMILIES = {
    "grouped_convolve": lambda case: convolution(case, "CONV_2D"),
    "convolve": lambda case: convolution(case, "CONV_2D"),
    "depthwise_conv": lambda case: convolution(case, "DEPTHWISE_CONV_2D"),
    "transpose_conv": transpose_convolution,
    "reverse_transpose_conv": transpose_convolution,
    "fully_connected": dense,
    "batch_matmul": batch_matmul,
    "max_pool": lambda case: pooling(case, "MAX_POOL_2D"),
    "avgpool": lambda case: pooling(case, "AVERAGE_POOL_2D"),
    "elementwise_add": addition,
    "elementwise_mul": product,
    "maximum_minimum": extremum,
    "softmax": softmax,
    "pad": padding,
    "transpose": transposition,
    "svdf": svdf,
    "lstm": lstm,
}
"""the beginning of a family's name (the longest counts) -> what builds and runs its layer"""
CASES = 104
"""files of vectors in the corpus"""


def _cases(corpus: Path) -> list[Path]:
    return sorted((corpus / "vectors" / "cmsis_nn").glob("*.npz"))


def test_every_vector_of_cmsis_nn(corpus):
    """Every case, by each of the kernels that it was made for, 0 elements differ."""
    paths, elements, families, wrong = _cases(corpus), 0, set(), []
    for path in paths:
        for family in Case(path).families:
            case = Case(path)
            build = FAMILIES[max((f for f in FAMILIES if family.startswith(f)), key=len)]
            wanted = case.data("output_ref", "output")
            got = build(case).reshape(-1)
            assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), path.stem
            differ = int(np.sum(got != wanted))
            elements, families = elements + wanted.size, families | {family}
            if differ:
                wrong.append(f"{path.stem} ({family}): {differ} of {wanted.size}")
    assert not wrong, wrong
    assert (len(paths), len(families), elements > 78_000) == (CASES, 36, True), (len(paths), len(families), elements)
