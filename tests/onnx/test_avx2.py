"""ONNX Runtime on x86 without VNNI: products of uint8 and int8 saturate in pairs. Asked under an emulator.

Float32 convolutions, too, which there are summed in blocks of 8 channels.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.cases import explore
from tests.onnx import emulated
from tests.onnx.cases import OnnxTally, simulated
from tests.onnx.float_convs import BLOCKS, FloatConv
from tests.onnx.products import INTEGER_TYPES, ConvCase, MatCase, convs, matrices

CASES = {
    "QLinearConv": (convs(depthwise=False), lambda c: (c.model(c.q.scales(c.products())[:3]), [c.inputs()])),
    "QLinearConv depthwise": (convs(depthwise=True), lambda c: (c.model(c.q.scales(c.products())[:3]), [c.inputs()])),
    "ConvInteger": (convs(types=INTEGER_TYPES), lambda c: (c.integer_model(), [c.inputs()])),
    "QLinearMatMul": (matrices(), lambda c: c.qlinear(c.q.scales(c.products())[:3])),
    "MatMulInteger": (matrices(types=INTEGER_TYPES), MatCase.integer),
    "QGemm": (matrices(batched=False), lambda c: c.gemm(c.q.scales(c.products())[:3])),
    "Conv": (BLOCKS, FloatConv.build),
}


@pytest.mark.skipif(not emulated.QEMU, reason="FXSIM_QEMU_X86_64 is not set: it names qemu-x86_64")
@pytest.mark.parametrize("op", CASES)
def test_haswell(tallies: Any, op: str) -> None:
    tally: OnnxTally = tallies(op, "onnxruntime-avx2")
    strategy, build = CASES[op]
    drawn: list[ConvCase | MatCase | FloatConv] = []
    explore(strategy, drawn.append, share=3)
    models = [build(case) for case in drawn]
    apart = 0
    for (content, inputs), wanted in zip(models, emulated.ask(models), strict=True):
        if wanted is None:
            continue
        tally.cases += 1
        tally.hold(simulated(content, inputs, "onnxruntime-avx2"), wanted)
        other = simulated(content, inputs, "onnxruntime")
        apart += sum(int((a != b).sum()) for a, b in zip(other, wanted, strict=True))
    assert apart or "depthwise" in op, "no pair saturated, or no block was divided: nothing was told apart"
    tally.check(10)


def test_recorded_haswell():
    """The same for recorded answers: every bit, among them what the engine computes otherwise with VNNI and AVX512."""
    apart, cases = Counter[bool](), 0
    with np.load(Path(__file__).parent / "vectors" / "haswell.npz") as found:
        for name in [n for n in found.files if n.endswith("/model")]:
            key, content = name.removesuffix("/model"), found[name].tobytes()
            inputs = [found[f"{key}/x{i}"] for i in range(9) if f"{key}/x{i}" in found.files]
            wanted, cases = found[f"{key}/y"], cases + 1
            (got,) = simulated(content, inputs, "onnxruntime-avx2")
            assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
            assert np.array_equal(got, wanted), key
            apart[key.startswith("Conv/")] += not np.array_equal(simulated(content, inputs, "onnxruntime")[0], wanted)
    assert cases > 40
    assert apart[False] >= 5  # pairs that saturate
    assert apart[True] >= 2  # blocks of 8 channels, not 16
