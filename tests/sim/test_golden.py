"""Every recorded tensor of the reference engine and every output of all four, all bits."""

import numpy as np
import pytest

import fxsim
from tests.golden import MODELS, Golden, differing

pytestmark = pytest.mark.corpus


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_of_litert_reference(corpus, name):
    golden = Golden(corpus, name)
    trace = fxsim.simulate(golden.graph, golden.inputs, "litert-reference", keep="all")
    elements = mismatches = tensors = 0
    for i in range(golden.count):
        for index, recorded in golden.tensors(i):
            ours = trace.tensor(index)[i] if index in trace.kept else trace.tensor(index)
            elements, tensors = elements + ours.size, tensors + 1
            mismatches += differing(ours, recorded)
    made = {t for n in golden.graph.nodes for t in n.outputs if golden.graph.tensors[t].qtype.kind != "resource"}
    assert tensors >= golden.count * len(made), "a layer without a recording"
    assert (mismatches, elements > 0) == (0, True), f"{mismatches} of {elements} elements differ"


PREFIXES = {"litert-reference": "ref", "litert-xnnpack": "xnn", "litert-optimized": "opt", "tflm": "tflm"}


@pytest.mark.parametrize(("numerics", "prefix"), PREFIXES.items())
@pytest.mark.parametrize("name", MODELS)
def test_every_output(corpus, name, numerics, prefix):
    golden = Golden(corpus, name)
    if f"{prefix}0_out0" not in golden.arrays:  # the engine does not take the model: nor does fxsim
        with pytest.raises(fxsim.UnsupportedOp, match="float32 inputs with int8 weights"):
            fxsim.simulate(golden.graph, golden.inputs, numerics)
        return
    trace = fxsim.simulate(golden.graph, golden.inputs, numerics)
    compared = 0
    for i in range(golden.count):
        for j, index in enumerate(golden.graph.outputs):
            recorded = golden.arrays[f"{prefix}{i}_out{j}"]
            assert np.array_equal(trace.tensor(index)[i], recorded)
            compared += recorded.size
    assert compared > 0


def test_the_two_engines_part_in_a_dense_layer(corpus):
    """The corpus can tell the profiles apart: they are not copies of each other."""
    golden = Golden(corpus, "ad01_int8")
    a, b = (fxsim.simulate(golden.graph, golden.inputs, n, keep="all") for n in ("litert-reference", "tflm"))
    first = fxsim.compare(a, b).first_divergence
    assert first is not None
    assert first.op == "FULLY_CONNECTED"
    assert abs(first.got - first.expected) == 1
