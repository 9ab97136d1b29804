"""int16 activations with int8 weights: sums of 64 bits, or of 32 where the bias is declared so; one-op models."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite
from hypothesis import strategies as st

from tests.build import Builder
from tests.live.cases import Model, explore, f32
from tests.live.test_ops_live import convs, denses, hold

pytestmark = pytest.mark.live
BIAS_TYPES = st.sampled_from(["int64", "int64", "int32"])


@st.composite
def biased(draw: Any, cases: st.SearchStrategy[Any], types: st.SearchStrategy[str] = BIAS_TYPES) -> Any:
    """A case whose bias, or missing bias, is of a drawn type."""
    return replace(draw(cases), bias_type=draw(types))


def test_int16_conv_2d(tally):
    """All geometries, at least 20 elements a case; ties and clamps occur."""
    explore(biased(convs(depthwise=False, dtype="int16")), lambda case: hold(tally, case), share=2)
    tally.check(20, ties=True, clamps=True)


def test_int16_depthwise_conv_2d(tally):
    """All geometries, at least 20 elements a case; ties and clamps occur. The sum always has 64 bits."""
    cases = biased(convs(depthwise=True, dtype="int16"), st.just("int64"))
    explore(cases, lambda case: hold(tally, case), share=2)
    tally.check(20, ties=True, clamps=True)


def test_int16_fully_connected(tally):
    """Rows, units and inner sizes of all kinds, at least 15 elements a case; ties and clamps occur."""
    explore(biased(denses("int16")), lambda case: hold(tally, case), share=2)
    tally.check(15, ties=True, clamps=True)


OPS = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"]


def bias_alone(op: str, bias: Any, dtype: str, scale: float, weight: float, out: float) -> Model:
    """A layer whose accumulators are its biases: one channel for each, all weights zero."""
    dense, deep, n, b = op == "FULLY_CONNECTED", op == "DEPTHWISE_CONV_2D", bias.size, Builder()
    x = np.zeros((1, 1) if dense else (1, 1, 1, 1), np.int16)
    options: dict[str, Any] = {} if dense else {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    if deep:
        options["depth_multiplier"] = n
    else:
        options["quantized_bias_type"] = getattr(tflite.TensorType, dtype.upper())
    ins = [b.constant("shape", [1, 1, 1, n])] if op == "TRANSPOSE_CONV" else []
    shape = (n, 1) if dense else (1, 1, 1, n) if deep else (n, 1, 1, 1)
    i, w = b.tensor("x", x.shape, "int16", scale, 0), b.tensor("w", shape, "int8", weight, 0, data=np.zeros(n))
    ins += [w, i] if ins else [i, w]
    ins.append(b.tensor("b", (n,), dtype, f32(scale * weight), 0, data=bias))
    y = b.tensor("y", (*x.shape[:-1], n), "int16", out, 0)
    b.op(op, ins, [y], **options)
    return Model(b.finish([i], [y]), [x], [y])


@pytest.mark.parametrize("op", OPS)
def test_rescale_of_wide_sums(engine, tallies, op):
    """Sums up to the 47 bits that the engines promise, ties among them, with rescales of 15 and of 31 bits."""
    tally = tallies(f"{op} int16 rescale", engine)
    ends = [(1 << 47) - 1, 1 << 46, 1 << 40, 1 << 33, (1 << 31) + 1, 1 << 31, 1 << 30]
    bias = np.array([-(1 << 47), *(-e for e in ends), *range(-300, 301), *ends], np.int64)
    for weight in (
        1.0,
        0.5,
        2.0**-6,
        2.0**-15,
        2.0**-31,
        1 - 2.0**-16,
        1 - 2.0**-17,
        1 - 2.0**-15,
        0.75 + 2.0**-15,
        3.7e-5,
        2.0**7,
    ):
        tally.compare(bias_alone(op, bias, "int64", 1.0, weight, 1.0))
        if op not in ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
            tally.compare(bias_alone(op, np.clip(bias, -(1 << 31), (1 << 31) - 1), "int32", 1.0, weight, 1.0))
    tally.check(bias.size - 200)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("op", OPS[:3])
def test_weights_given_at_run_time(engine, tallies, op, dtype):
    """Layers whose weight is an input of the model, at least 15 elements a case; ties occur."""
    tally = tallies(f"{op} {dtype} given weights", engine)
    drawn = denses(dtype) if op == "FULLY_CONNECTED" else convs(depthwise=op == "DEPTHWISE_CONV_2D", dtype=dtype)
    cases = biased(drawn, st.just("int64" if dtype == "int16" else "int32"))
    given = cases.filter(lambda case: case.weight_type == "int8").map(lambda case: replace(case, given=True))
    explore(given, lambda case: hold(tally, case))
    tally.check(15, ties=True)
