"""Whole models on fresh inputs: every tensor against live LiteRT reference kernels, every output against live TFLM.

The inputs of a model are one sequence: noise over the full range with both ends and the zero point in every inference,
then all at the least, all at the greatest, all at the zero point, and a ramp. Ties are the matter of the one-op tests.
"""

import os

import numpy as np
import pytest

import fxsim
from fxsim.sim.inputs import random_values
from tests import engines
from tests.golden import MODELS
from tests.sim.test_demo_model import DATA

pytestmark = pytest.mark.live
SEED = int(os.environ.get("FXSIM_LIVE_SEED", "20261"))
NAMES = ("demo", *MODELS)


def special_values(t):
    """Five inferences that random data hardly meets."""
    if t.qtype.kind == "float":
        return np.stack(
            [np.full(t.shape, v, np.float32) for v in (-100, 100, 0, 1e-8)]
            + [np.linspace(-3, 3, t.elements, dtype=np.float32).reshape(t.shape)]
        )
    zero = t.quant.zero_point[0]
    flat = [np.full(t.shape, v, t.qtype.dtype) for v in (t.qtype.min, t.qtype.max, zero)]
    span = t.qtype.max - t.qtype.min + 1
    ramp = (t.qtype.min + np.arange(t.elements) % span).reshape(t.shape).astype(t.qtype.dtype)
    return np.stack([*flat, ramp, ramp[..., ::-1]])


def values(graph, t, rng, noisy):
    """The sequence of one input; an output shape that a layer takes as input is always the declared one."""
    sized = [n for n in graph.nodes if n.op == "TRANSPOSE_CONV" and n.inputs[0] == t.index]
    if sized:
        return np.tile(np.array(graph.tensors[sized[0].outputs[0]].shape, t.qtype.dtype), (noisy + 5, 1))
    return np.concatenate([random_values(t, rng, noisy), special_values(t)])


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """A model, its sequence of inputs, and the file's bytes."""
    if request.param == "demo":
        path = str(DATA / "digits_int8.tflite")
    else:
        path = request.getfixturevalue("corpus") / "models" / f"{request.param}.tflite"
    graph = fxsim.read(path)
    rng = np.random.default_rng(SEED)
    noisy = 1 if request.param == "mobilenet_v2" else 4
    inputs = [values(graph, graph.tensors[i], rng, noisy) for i in graph.inputs]
    with open(path, "rb") as f:
        return graph, inputs, f.read()


def sequence(inputs):
    return [[x[n] for x in inputs] for n in range(len(inputs[0]))]


def test_every_tensor_of_litert_reference(case):
    graph, inputs, content = case
    trace = fxsim.simulate(graph, inputs, "litert-reference", keep="all")
    elements = mismatches = 0
    for n, recorded in enumerate(engines.litert_reference_sequence(content, sequence(inputs))):
        for index, values in trace.kept.items():
            if index not in graph.inputs:
                assert recorded[index].shape == values[n].shape
                elements += values[n].size
                mismatches += int(np.sum(recorded[index] != values[n]))
    assert elements > 0
    assert mismatches == 0, f"{mismatches} of {elements} elements differ"


def test_every_tensor_of_litert_optimized(case):
    graph, inputs, content = case
    trace = fxsim.simulate(graph, inputs, "litert-optimized", keep="all")
    elements = mismatches = 0
    for n, recorded in enumerate(engines.litert_optimized_sequence(content, sequence(inputs))):
        for index, values in trace.kept.items():
            if index not in graph.inputs:
                elements += values[n].size
                mismatches += int(np.sum(recorded[index] != values[n]))
    assert elements > 0
    assert mismatches == 0, f"{mismatches} of {elements} elements differ"


def test_every_output_of_litert_xnnpack(case):
    graph, inputs, content = case
    trace = fxsim.simulate(graph, inputs, "litert-xnnpack")
    elements = mismatches = 0
    for n, recorded in enumerate(engines.litert_xnnpack_sequence(content, sequence(inputs))):
        for index, values in zip(graph.outputs, recorded, strict=True):
            ours = trace.tensor(index)[n]
            elements += ours.size
            mismatches += int(np.sum(values != ours))
    assert elements > 0
    assert mismatches == 0, f"{mismatches} of {elements} elements differ"


def test_every_output_of_tflm(case):
    graph, inputs, content = case
    if "ad01_hybrid" in graph.name:  # neither takes it
        with pytest.raises(fxsim.UnsupportedOp):
            fxsim.simulate(graph, inputs, "tflm")
        with pytest.raises(engines.Refused):
            engines.tflm_sequence(content, sequence(inputs))
        return
    trace = fxsim.simulate(graph, inputs, "tflm")
    elements = mismatches = 0
    for n, recorded in enumerate(engines.tflm_sequence(content, sequence(inputs))):
        for index, values in zip(graph.outputs, recorded, strict=True):
            ours = trace.tensor(index)[n]
            elements += ours.size
            mismatches += int(np.sum(values.reshape(ours.shape) != ours))
    assert elements > 0
    assert mismatches == 0, f"{mismatches} of {elements} elements differ"
