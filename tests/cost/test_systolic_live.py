"""Systolic arrays against SCALE-Sim itself, on layers that are drawn anew for each seed."""

import os

import pytest

from benchmarks import cost_validation_systolic as systolic

PYTHON = os.environ.get("FXSIM_SCALESIM", "")


@pytest.mark.skipif(not PYTHON, reason="FXSIM_SCALESIM is unset: a Python with scalesim==3.0.0 and numpy<2")
def test_cycles_equal_scalesim_live():
    found = list(systolic.live(PYTHON, seed=int(os.environ.get("FXSIM_LIVE_SEED", "1"))))
    assert len(found) == 9 * len(systolic.ARRAYS) * len(systolic.DATAFLOWS)
    assert [r for r in found if r.cycles != r.scalesim] == []


def test_the_layers_are_the_same_on_both_sides():
    """SCALE-Sim's words and ours describe one layer: outputs without padding, a product of the same sizes."""
    for layer in systolic.layers(seed=3):
        numbers = [int(v) for v in layer.line.replace("1:1", "").split(",") if v.strip()]
        (node,) = layer.graph.nodes
        out = layer.graph.tensors[node.outputs[0]].shape
        if layer.kind == "gemm":
            m, n, _ = numbers
            assert out == (m, n)
        else:
            h, _, kernel, _, _, filters, stride = numbers
            assert out == (1, (h - kernel) // stride + 1, (h - kernel) // stride + 1, filters)
